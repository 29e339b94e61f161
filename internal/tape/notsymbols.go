package tape

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// notSymbolsName is the state file with the texts that Index.NotSymbols returned last. It spares
// health to read the tape.
const notSymbolsName = "not-symbols.json"

// RecordNotSymbols remembers the texts of Index.NotSymbols for LastNotSymbols. On a tape that is not
// writable it does nothing.
func (d *Dir) RecordNotSymbols(texts []string) error {
	last, err := d.LastNotSymbols()
	if err == nil && slices.Equal(last, texts) {
		return nil
	}
	if err := d.state.Write(notSymbolsName, append([]string{}, texts...)); err != nil && !IsReadOnly(err) {
		return fmt.Errorf("record which names on the tape are not symbols: %w", err)
	}
	return nil
}

// LastNotSymbols returns the texts that RecordNotSymbols recorded last.
func (d *Dir) LastNotSymbols() (texts []string, err error) {
	if err := d.state.Read(notSymbolsName, &texts); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return texts, nil
}
