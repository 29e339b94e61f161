package tape

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"tapedeck/internal/durable"
)

// ErrChanged says that a partition's segments are no longer those that a replacement was made from.
var ErrChanged = errors.New("the partition changed meanwhile")

// Replacement is what Replace did.
type Replacement struct {
	Before, After int // segments
	Bytes         int64
	// Atomic is false where the file system cannot exchange two directories: for an instant a reader saw fewer rows.
	Atomic bool
}

// StagedPath gives a new path in the staging directory at which a segment can be written that Replace will take.
func (d *Dir) StagedPath() string {
	return filepath.Join(d.StagingPath(), durable.UniqueName(string(FromCompact), ".parquet.tmp"))
}

// Replace puts staged files (from StagedPath) in the place of some segments of one date's trades, in one atomic step; segments that came meanwhile stay. Before
// that it reads the staged files and proves that they hold exactly the ids of what they replace, each once, all of that date. It makes them durable. On an
// error the tape holds the same rows as before, in the old files or in the new, and the staged files are gone.
func (d *Dir) Replace(ctx context.Context, date string, staged []string, replaced []Segment) (out Replacement, err error) {
	defer func() {
		if err != nil {
			for _, path := range staged {
				d.disk.Remove(path)
			}
		}
	}()
	want, err := d.contents(ctx, date, replaced)
	if errors.Is(err, os.ErrNotExist) { // another process was quicker
		return out, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		return out, err
	}
	have := map[string]*timedSet{}
	for _, path := range staged {
		found, err := scan(path, date)
		if err != nil {
			return out, fmt.Errorf("read %q again: %w", path, err)
		}
		if found.twice > 0 || found.misplaced > 0 {
			return out, fmt.Errorf("check %q: %d rows stand twice, %d belong to another date", path, found.twice, found.misplaced)
		}
		for symbol, runs := range found.spans {
			if have[symbol] == nil {
				have[symbol] = &timedSet{}
			}
			if n := overlap(have[symbol].runs, runs); n > 0 {
				return out, fmt.Errorf("check %q: %d ids of %s stand twice", path, n, symbol)
			}
			have[symbol].add(runs)
		}
		size, err := d.syncStaged(path)
		if err != nil {
			return out, err
		}
		out.Bytes += size
	}
	if !maps.EqualFunc(want, have, func(a, b *timedSet) bool { return sameIDs(a.runs, b.runs) }) {
		return out, fmt.Errorf("check the merged segments of %s: they do not hold the ids of what they replace", date)
	}
	unlock, err := d.lock(writersLock)
	if err != nil {
		return out, err
	}
	defer unlock()
	names := map[string]bool{}
	for _, s := range replaced {
		names[filepath.Base(s.Path)] = true
	}
	there, err := d.files(Trades, date)
	if err != nil {
		return out, err
	}
	for _, name := range there {
		if names[name] {
			out.Before++
		}
	}
	if out.Before != len(names) {
		return out, fmt.Errorf("replace segments of %s: %w", date, ErrChanged)
	}
	out.After = len(staged)
	out.Atomic, err = d.swapPartition(Trades, date, staged, names)
	return out, err
}

// contents reads the ids of some segments, several at once.
func (d *Dir) contents(ctx context.Context, date string, segments []Segment) (map[string]*timedSet, error) {
	var mu sync.Mutex
	out := map[string]*timedSet{}
	return out, together(len(segments), func(i int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		found, err := scan(filepath.Join(d.path, segments[i].Path), date)
		if err != nil {
			return fmt.Errorf("read %q: %w", segments[i].Path, err)
		}
		mu.Lock()
		defer mu.Unlock()
		for symbol, runs := range found.spans {
			if out[symbol] == nil {
				out[symbol] = &timedSet{}
			}
			out[symbol].add(runs)
		}
		return nil
	})
}

func sameIDs(a, b []timedSpan) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].first != b[i].first || a[i].last != b[i].last {
			return false
		}
	}
	return true
}

// syncStaged makes a file that another writer made durable, and gives its size.
func (d *Dir) syncStaged(path string) (int64, error) {
	if err := d.disk.SyncFile(path); err != nil {
		return 0, fmt.Errorf("sync %q: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
