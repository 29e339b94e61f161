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
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// ErrNoSymbols is returned if there are no symbols in the options and none on the tape.
var ErrNoSymbols = errors.New("no symbols were named and there are none on the tape yet")

// resolveSymbols returns the symbols to fetch. A pending symbol that the exchange no longer lists
// is dropped with a warning.
func resolveSymbols(
	ctx context.Context, dir *tape.Dir, rest *binance.REST, opt Options, onTape []symbol.Name,
) (names []symbol.Name, cost binance.Cost, err error) {
	pending, err := pendingSymbols(dir)
	if err != nil {
		return nil, cost, err
	}
	list := opt.Symbols
	if list.IsEmpty() {
		recorded := onTape
		if len(recorded) == 0 {
			recorded = opt.DefaultSymbols
		}
		list = binance.ListOf(slices.Concat(recorded, pending)...)
	}
	for {
		if list.IsEmpty() {
			return nil, cost, ErrNoSymbols
		}
		names, asked, err := rest.Resolve(ctx, list, binance.ResolveOptions{OnTape: onTape})
		cost = cost.Plus(asked)
		var unknown *binance.UnknownSymbolError
		if !errors.As(err, &unknown) {
			return names, cost, err
		}
		i := slices.IndexFunc(pending, func(name symbol.Name) bool { return name.String() == unknown.Symbol })
		if i < 0 {
			return nil, cost, err
		}
		opt.Logger.Warn("pending symbol dropped because the exchange no longer lists it", "symbol", pending[i])
		if err := removePending(dir, pending[i]); err != nil {
			return nil, cost, err
		}
		list = list.Without(pending[i])
	}
}

// reportNotSymbols warns of names on the tape that no symbol can have. Nothing is fetched for them.
func reportNotSymbols(dir *tape.Dir, index *tape.Index, opt Options) error {
	texts := index.NotSymbols()
	if len(texts) > 0 {
		opt.Logger.Warn("names on the tape that no symbol can have are left out; tapedeck drop --not-symbols removes their rows",
			"count", len(texts), "first", symbol.Quote(texts[0]))
	}
	return dir.RecordNotSymbols(texts)
}

// pendingDir is the state directory with one empty file for each symbol that a backfill has started
// and not finished. A backfill that ended before it published anything would otherwise lose track
// of its symbols, because the next one takes the symbols that are on the tape.
const pendingDir = "begun"

// pendingSymbols returns the symbols that a backfill has started and not finished, sorted. A file
// with another name is left alone.
func pendingSymbols(dir *tape.Dir) ([]symbol.Name, error) {
	entries, err := os.ReadDir(dir.State().Path(pendingDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []symbol.Name
	for _, entry := range entries {
		if name, err := symbol.FromFileName(entry.Name()); err == nil {
			names = append(names, name)
		}
	}
	return symbol.Sort(names), err
}

// pendingPath returns the path of the file that marks a symbol as started.
func pendingPath(dir *tape.Dir, name symbol.Name) string {
	return dir.State().Path(filepath.Join(pendingDir, name.FileName()))
}

// addPending marks a symbol as started. The mark need not survive a power cut, so nothing is
// synced.
func addPending(dir *tape.Dir, name symbol.Name) error {
	disk := durable.OS{}
	if err := disk.Mkdir(dir.State().Path(pendingDir)); err != nil {
		return err
	}
	file, err := disk.Create(pendingPath(dir, name))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

// removePending marks a symbol as finished. A file of an earlier version is not encoded.
func removePending(dir *tape.Dir, name symbol.Name) error {
	for _, path := range []string{pendingPath(dir, name), dir.State().Path(filepath.Join(pendingDir, name.String()))} {
		if err := (durable.OS{}).Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
