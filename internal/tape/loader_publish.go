package tape

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Publish makes everything added durable and visible, with its conflicts as Dir.Publish does. After an
// error some of the segments may be on
// the tape, each complete; loading the same trades again completes it.
func (l *Loader) Publish(ctx context.Context) (Published, error) {
	defer l.Discard()
	for len(l.open) > 0 {
		s := l.open[0]
		l.open = l.open[1:]
		if err := l.finish(s); err != nil {
			return Published{}, err
		}
	}
	for retry := 0; ; retry++ {
		out, overlapping, err := l.tryPublish(ctx, retry)
		if err != nil || len(overlapping) == 0 {
			out.Dropped = l.dropped
			l.comparison.describe(&out, nil)
			return out, err
		}
		if err := l.rewrite(ctx, overlapping); err != nil {
			return Published{}, err
		}
	}
}

// tryPublish makes the segments visible under the writers' lock. If others published any of their
// ids meanwhile, it publishes nothing and returns the indexes of the segments to write again; at
// the last retry it writes them again itself.
func (l *Loader) tryPublish(ctx context.Context, retry int) (out Published, overlapping []int, err error) {
	unlock, err := l.dir.publisher.lock()
	if err != nil {
		return out, nil, err
	}
	defer unlock()
	var dates []string
	for _, s := range l.finished {
		dates = append(dates, adjacentDates(s.date)...)
	}
	slices.Sort(dates)
	if err := l.dir.index.refreshDates(slices.Compact(dates)); err != nil {
		return out, nil, err
	}
	if l.droppedIDs, err = l.dir.droppedFor(l.origin); err != nil {
		return out, nil, err
	}
	for i, s := range l.finished {
		if l.dir.index.overlaps(adjacentDates(s.date), s.runs) || overlapsDropped(s.runs, l.droppedIDs) {
			overlapping = append(overlapping, i)
		}
	}
	if len(overlapping) > 0 {
		if retry < loaderRetries {
			return out, overlapping, nil
		}
		if err := l.rewrite(ctx, overlapping); err != nil {
			return out, nil, err
		}
	}
	if err := l.check(); err != nil {
		return out, nil, err
	}
	// This load also promises that the rows it found on the tape are durable.
	for _, date := range slices.Sorted(maps.Keys(l.partial)) {
		if err := l.dir.publisher.sync(Trades, date); err != nil {
			return out, nil, err
		}
	}
	if err := l.comparison.record(ctx, l.comparison.conflicts); err != nil {
		return out, nil, err
	}
	var published []symbolRuns
	for _, s := range l.finished {
		if s.rows == 0 {
			continue
		}
		var path string
		if path, err = l.dir.publisher.publishFile(s.file, Trades, s.date); err != nil {
			break
		}
		out.add(path, s.rows, s.file.bytes)
		published = append(published, s.runs)
	}
	if extendErr := l.dir.extent.extend(published); err == nil {
		err = extendErr
	}
	for _, date := range slices.Sorted(maps.Keys(l.restored)) {
		if err == nil {
			err = l.dir.restorePublished(l.restored[date], adjacentDates(date))
		}
	}
	return out, nil, err
}

// check returns a *DisagreementError if the trades are not of the tape's market. The caller holds the
// writers' lock.
func (l *Loader) check() error {
	if err := l.comparison.agree(); err != nil {
		return err
	}
	ends, err := l.dir.extent.ends()
	if err != nil {
		return err
	}
	for _, s := range l.finished {
		if err := l.comparison.checkSeams(adjacentDates(s.date), s.runs, ends); err != nil {
			return err
		}
	}
	return nil
}

// rewrite writes some of the finished segments again without the ids that are on the tape.
func (l *Loader) rewrite(ctx context.Context, indexes []int) error {
	for _, i := range indexes {
		if err := l.rewriteSegment(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (l *Loader) rewriteSegment(ctx context.Context, i int) error {
	old := l.finished[i]
	c, err := openColumns(old.file.path)
	if err != nil {
		return fmt.Errorf("read %q again: %w", old.file.path, err)
	}
	defer c.close()
	origin, err := readOrigin(c.file.File)
	if err != nil {
		return fmt.Errorf("read %q again: %w", old.file.path, err)
	}
	s, err := l.newSegment(old.date)
	if err != nil {
		return err
	}
	l.inexact += origin.Inexact
	for {
		more, err := c.read()
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && more {
			err = l.copyUnpublished(ctx, s, c)
		}
		if err != nil {
			s.file.discard()
			return err
		}
		if !more {
			break
		}
	}
	if err := old.file.discard(); err != nil {
		return err
	}
	n := len(l.finished)
	if err := l.finish(s); err != nil {
		return err
	}
	l.finished[i] = s
	l.finished = l.finished[:n]
	return nil
}

// copyUnpublished writes the rows of a row group that are not on the tape.
func (l *Loader) copyUnpublished(ctx context.Context, s *loaderSegment, c *columns) error {
	from := 0
	var rows []Trade
	for i, symbol := range c.symbols {
		l.setSymbol(s, symbol)
		rows = c.appendTrades(rows[:0], symbol, from, c.ends[i])
		kept, err := l.leaveOut(ctx, s, rows)
		if err == nil {
			err = s.write(kept)
		}
		if err != nil {
			return err
		}
		from = c.ends[i]
	}
	return nil
}
