package backfill

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"tapedeck/internal/binance"
	"tapedeck/internal/durable"
	"tapedeck/internal/tape"
)

// ErrNoSymbols is returned if there are no symbols in the options and none on the tape.
var ErrNoSymbols = errors.New("no symbols were named and there are none on the tape yet")

// resolveSymbols returns the symbols to fetch. A pending symbol that the exchange no longer lists
// is dropped with a warning.
func resolveSymbols(
	ctx context.Context, dir *tape.Dir, rest *binance.REST, opt Options, onTape []string,
) (symbols []string, cost binance.Cost, err error) {
	pending, err := pendingSymbols(dir)
	if err != nil {
		return nil, cost, err
	}
	words := opt.Symbols
	if len(words) == 0 {
		if words = onTape; len(onTape) == 0 {
			words = opt.DefaultSymbols
		}
		words = slices.Concat(words, pending)
	}
	for {
		if len(words) == 0 {
			return nil, cost, ErrNoSymbols
		}
		list, err := binance.ParseSymbolList(words)
		if err != nil {
			return nil, cost, err
		}
		symbols, asked, err := rest.Resolve(ctx, list, binance.ResolveOptions{OnTape: onTape})
		cost = cost.Plus(asked)
		var unknown *binance.UnknownSymbolError
		if !errors.As(err, &unknown) || !slices.Contains(pending, unknown.Symbol) {
			return symbols, cost, err
		}
		opt.Logger.Warn("pending symbol dropped because the exchange no longer lists it", "symbol", unknown.Symbol)
		if err := removePending(dir, unknown.Symbol); err != nil {
			return nil, cost, err
		}
		words = slices.DeleteFunc(slices.Clone(words), func(word string) bool { return word == unknown.Symbol })
	}
}

// pendingDir is the state directory with one empty file for each symbol that a backfill has started
// and not finished. A backfill that ended before it published anything would otherwise lose track
// of its symbols, because the next one takes the symbols that are on the tape.
const pendingDir = "begun"

// pendingSymbols returns the symbols that a backfill has started and not finished, sorted.
func pendingSymbols(dir *tape.Dir) ([]string, error) {
	entries, err := os.ReadDir(dir.State().Path(pendingDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var symbols []string
	for _, entry := range entries { // sorted by name
		symbols = append(symbols, entry.Name())
	}
	return symbols, err
}

// addPending marks a symbol as started. The mark need not survive a power cut, so nothing is
// synced.
func addPending(dir *tape.Dir, symbol string) error {
	disk := durable.OS{}
	if err := disk.Mkdir(dir.State().Path(pendingDir)); err != nil {
		return err
	}
	file, err := disk.Create(dir.State().Path(filepath.Join(pendingDir, symbol)))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

// removePending marks a symbol as finished.
func removePending(dir *tape.Dir, symbol string) error {
	err := durable.OS{}.Remove(dir.State().Path(filepath.Join(pendingDir, symbol)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
