package backfill

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"tapedeck/internal/tape"
)

// begunDir holds an empty file for each symbol of which a backfill was to fetch the first trades and has not come to its end. Without it a
// backfill that was ended early would forget those symbols: the next one of "what is on the tape" would not know them.
const begunDir = "begun"

// Begun lists the symbols that a backfill has begun and not finished, sorted.
func Begun(dir *tape.Dir) ([]string, error) {
	entries, err := os.ReadDir(dir.StatePath(begunDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, entry := range entries {
		out = append(out, entry.Name())
	}
	slices.Sort(out)
	return out, err
}

// begunAndGone says whether an error is that nobody knows a symbol which a backfill had begun.
func begunAndGone(dir *tape.Dir, err error) bool {
	unknown, ok := err.(*UnknownSymbolError)
	if !ok {
		return false
	}
	begun, err := Begun(dir)
	return err == nil && slices.Contains(begun, unknown.Symbol)
}

// begin writes down that a symbol is to be fetched.
func begin(dir *tape.Dir, symbol string) error {
	if err := os.MkdirAll(dir.StatePath(begunDir), 0o755); err != nil {
		return err
	}
	return os.WriteFile(dir.StatePath(filepath.Join(begunDir, symbol)), nil, 0o644)
}

// finish forgets it again.
func finish(dir *tape.Dir, symbol string) error {
	err := os.Remove(dir.StatePath(filepath.Join(begunDir, symbol)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
