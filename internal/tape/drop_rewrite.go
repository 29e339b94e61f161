package tape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"tapedeck/internal/idset"
)

// maxDropTries bounds how often the files of a date are listed again because another process
// replaced them. Each time that process has finished something.
const maxDropTries = 100

// dropFromDate removes rows of trades from one partition, in one atomic step unless another process
// replaces files meanwhile. An id that was restored since the drop was decided stays.
func (d *Dir) dropFromDate(ctx context.Context, date string, drops symbolRuns) error {
	ids := map[string]idset.Set{}
	known := map[string]segmentRuns{} // by path; files never change
	for try := 0; ; try++ {
		dropped, err := d.Dropped()
		if err != nil {
			return err
		}
		for symbol, runs := range drops {
			ids[symbol] = idsOf(runs).Intersect(dropped[symbol])
		}
		affected, err := d.segmentsWith(ctx, date, ids, known)
		if err != nil {
			return err
		}
		var staged []string
		if staged, err = d.stageWithout(ctx, affected, ids); err == nil {
			err = d.replaceDropped(ctx, date, ids, known, affected, staged)
		}
		if err == nil {
			return nil
		}
		for _, path := range staged {
			d.staging.remove(path)
		}
		if !errors.Is(err, ErrChanged) || try == maxDropTries {
			return err
		}
	}
}

// segmentsWith returns the segments of a date that have any of the ids. known holds what was read
// before.
func (d *Dir) segmentsWith(
	ctx context.Context, date string, ids map[string]idset.Set, known map[string]segmentRuns,
) ([]segmentRuns, error) {
	files, _, err := readPartition(d.catalog, Trades, date, func(name string) (segmentRuns, error) {
		path := segmentPath(Trades, date, name)
		if file, ok := known[path]; ok {
			return file, nil
		}
		file, err := d.readSegmentRuns(date, name)
		if err == nil {
			known[path] = file
		}
		return file, err
	})
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(file segmentRuns) bool {
		for symbol, runs := range file.runs {
			if len(ids[symbol]) > 0 && slices.ContainsFunc(runs, func(r IDRun) bool { return ids[symbol].Overlaps(r.Range) }) {
				return false
			}
		}
		return true
	})
	return files, ctx.Err()
}

// stageWithout writes the segments again without some ids, and reads the new files again to prove
// that they have exactly the others. Segments of which nothing is left have no new file. It returns
// the files that it wrote even after an error.
func (d *Dir) stageWithout(ctx context.Context, segments []segmentRuns, ids map[string]idset.Set) (staged []string, err error) {
	var encoder encoder[Trade]
	for _, file := range segments {
		if err := ctx.Err(); err != nil {
			return staged, err
		}
		if subtractAll(file.runs, ids).count() == 0 {
			continue
		}
		prefix, _, _ := strings.Cut(strings.TrimSuffix(file.name(), ".parquet"), "-")
		path, _, err := d.staging.write(stagedName(prefix), func(w io.Writer) error {
			return d.copyWithout(ctx, &encoder, w, file, ids)
		})
		if err != nil {
			return staged, asChanged(err)
		}
		staged = append(staged, path)
		if err := d.proveWithout(path, file, ids); err != nil {
			return staged, asChanged(err)
		}
	}
	return staged, nil
}

// copyWithout writes the rows of a segment that do not have some ids.
func (d *Dir) copyWithout(
	ctx context.Context, e *encoder[Trade], w io.Writer, file segmentRuns, ids map[string]idset.Set,
) error {
	if !file.sorted {
		rows, err := d.ReadTrades(file.Path)
		if err != nil {
			return err
		}
		slices.SortFunc(rows, compareTrades)
		rows = slices.DeleteFunc(rows, func(t Trade) bool { return ids[t.Symbol].Contains(t.ID) })
		rows = slices.CompactFunc(rows, sameTrade)
		return encodeTrades(e, w, rows, runsOf(rows), d.identity(), file.origin)
	}
	c, err := openColumns(d.catalog.path(file.Path))
	if err != nil {
		return err
	}
	defer c.close()
	writer := e.start(w)
	runs := symbolRuns{}
	var rows []Trade
	for {
		more, err := c.read()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if !more {
			break
		}
		from := 0
		for i, symbol := range c.symbols {
			rows = c.appendTrades(rows[:0], symbol, from, c.ends[i])
			rows = appendWithout(rows[:0], rows, ids[symbol])
			runs.add(rows)
			if _, err := writer.Write(rows); err != nil {
				return err
			}
			from = c.ends[i]
		}
	}
	if err := setMetadata(writer, runs, d.identity(), file.origin); err != nil {
		return err
	}
	return writer.Close()
}

// proveWithout reads a staged file and the segment that it is to replace, and returns an error
// unless the file has exactly the ids that it must have.
func (d *Dir) proveWithout(staged string, file segmentRuns, ids map[string]idset.Set) error {
	before, err := scan(d.catalog.path(file.Path), file.Date)
	if err != nil {
		return fmt.Errorf("read %q: %w", file.Path, err)
	}
	after, err := scan(staged, file.Date)
	if err != nil {
		return fmt.Errorf("read %q again: %w", staged, err)
	}
	want := subtractAll(before.runs, ids)
	same := func(a, b []IDRun) bool { return slices.Equal(idsOf(a), idsOf(b)) }
	if after.rows-after.duplicates != want.count() || !maps.EqualFunc(want, after.runs, same) {
		return fmt.Errorf("check %q: its ids are not those of %q without the dropped ones", staged, file.Path)
	}
	return nil
}

// replaceDropped replaces segments of one date by staged files. The error is ErrChanged if the date
// has other segments with any of the ids by now. A partition without segments is removed.
func (d *Dir) replaceDropped(
	ctx context.Context, date string, ids map[string]idset.Set, known map[string]segmentRuns,
	affected []segmentRuns, staged []string,
) error {
	unlock, err := d.publisher.lock()
	if err != nil {
		return err
	}
	defer unlock()
	now, err := d.segmentsWith(ctx, date, ids, known)
	if err != nil {
		return err
	}
	samePath := func(a, b segmentRuns) bool { return a.Path == b.Path }
	dropped, err := d.Dropped()
	if err != nil {
		return err
	}
	restored := false
	for symbol, set := range ids {
		restored = restored || set.Intersect(dropped[symbol]).Count() < set.Count()
	}
	if restored || !slices.EqualFunc(now, affected, samePath) {
		return fmt.Errorf("replace segments of %s: %w", date, ErrChanged)
	}
	if len(affected) > 0 {
		rep := &replacement{table: Trades, date: date, staged: staged, replaced: map[string]bool{}}
		for _, file := range affected {
			rep.replaced[file.name()] = true
		}
		if _, err := d.publisher.replacer.replace(rep); err != nil {
			return err
		}
	} else if err := d.publisher.replacer.syncExchanges(Trades); err != nil {
		return err // an earlier try may have died before it was durable
	}
	return d.publisher.removeIfEmpty(Trades, date)
}

// removeIfEmpty removes a partition that has no files. The caller holds the writers' lock, so that
// no file is added meanwhile.
func (p *publisher) removeIfEmpty(table Table, date string) error {
	path := p.partition(table, date)
	if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
		return nil // it does not exist, or is used
	}
	if err := p.disk.Remove(path); err != nil {
		return fmt.Errorf("remove %q: %w", path, err)
	}
	return p.syncDirs(p.table(table))
}

// removeRecords removes the rows of one partition for which drops returns true, in one atomic step.
// A file that cannot be read stays where it is.
func removeRecords[T any](ctx context.Context, p *publisher, table Table, date string, drops func(T) bool) error {
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	names, err := p.catalog.files(table, date)
	if err != nil {
		return err
	}
	var kept []T
	replaced := map[string]bool{}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		rows, err := readRows[T](p.catalog.segment(table, date, name))
		if err != nil {
			continue
		}
		if left := slices.DeleteFunc(slices.Clone(rows), drops); len(left) < len(rows) {
			kept = append(kept, left...)
			replaced[name] = true
		}
	}
	if len(replaced) == 0 {
		if len(names) == 0 {
			return nil
		}
		return p.replacer.syncExchanges(table) // an earlier try may have died before it was durable
	}
	rep := &replacement{table: table, date: date, replaced: replaced}
	if len(kept) > 0 {
		staged, _, err := p.staging.write(stagedName(string(table)), rowsWriter(kept))
		if err != nil {
			return err
		}
		rep.staged = []string{staged}
	}
	if _, err := p.replacer.replace(rep); err != nil {
		for _, path := range rep.staged {
			p.staging.remove(path)
		}
		return err
	}
	return nil
}
