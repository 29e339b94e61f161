package tape

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// replaceTrades replaces segments of one date's trades by staged files that are durable. First it
// reads the staged files again and proves that they hold exactly the ids of the segments, each
// once, and only rows of that date.
func (p *publisher) replaceTrades(
	ctx context.Context, date string, staged []string, segments []Segment,
) (out MergeResult, err error) {
	want, err := p.scanAll(ctx, date, segments)
	if err != nil {
		return out, asChanged(err)
	}
	have := map[string]*runSet{}
	for _, path := range staged {
		found, err := scan(path, date)
		if err != nil {
			return out, fmt.Errorf("read %q again: %w", path, err)
		}
		if found.duplicates > 0 || found.misplaced > 0 {
			return out, fmt.Errorf("check %q: %d rows are repeated, %d belong to another date",
				path, found.duplicates, found.misplaced)
		}
		for symbol, runs := range found.runs {
			if have[symbol] == nil {
				have[symbol] = &runSet{}
			}
			if n := countCommon(have[symbol].runs, runs); n > 0 {
				return out, fmt.Errorf("check %q: %d ids of %s are repeated", path, n, symbol)
			}
			have[symbol].add(runs)
		}
		info, err := os.Stat(path)
		if err != nil {
			return out, err
		}
		out.Bytes += info.Size()
	}
	if !maps.EqualFunc(want, have, func(a, b *runSet) bool { return slices.Equal(idsOf(a.runs), idsOf(b.runs)) }) {
		return out, fmt.Errorf("check the merged segments of %s: their ids differ from the replaced segments'", date)
	}
	unlock, err := p.lockUntil(ctx)
	if err != nil {
		return out, err
	}
	defer unlock()
	rep := &replacement{table: Trades, date: date, staged: staged, replaced: map[string]bool{}}
	for _, s := range segments {
		rep.replaced[filepath.Base(s.Path)] = true
	}
	names, err := p.catalog.files(Trades, date)
	if err != nil {
		return out, err
	}
	for _, name := range names {
		if rep.replaced[name] {
			out.Before++
		}
	}
	if out.Before != len(rep.replaced) {
		return out, fmt.Errorf("replace segments of %s: %w", date, ErrChanged)
	}
	out.After = len(staged)
	out.Atomic, err = p.replacer.replace(rep)
	return out, err
}

// scanAll returns the ids of the rows of segments, by symbol.
func (p *publisher) scanAll(ctx context.Context, date string, segments []Segment) (map[string]*runSet, error) {
	var mu sync.Mutex
	out := map[string]*runSet{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(filesAtOnce)
	for _, s := range segments {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			found, err := scan(p.catalog.path(s.Path), date)
			if err != nil {
				return fmt.Errorf("read %q: %w", s.Path, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for symbol, runs := range found.runs {
				if out[symbol] == nil {
					out[symbol] = &runSet{}
				}
				out[symbol].add(runs)
			}
			return nil
		})
	}
	return out, group.Wait()
}
