package tape

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"tapedeck/internal/durable"
	"tapedeck/internal/idset"

	"github.com/parquet-go/parquet-go"
)

const (
	// loadRows bounds a segment of a Load, as compaction does: 100 to 150 MB.
	loadRows = 16 << 20
	// loadOpen bounds the dates that a Load has open at once: each holds a row group, about 20 MB.
	loadOpen = 4
	// loadPatience is how often a Load leaves the lock to write again what others published meanwhile, before it does so under the lock.
	loadPatience = 3
)

// Load puts a long run of trades on the tape: in few large segments, in bounded memory, and visible only when all of it is there. What was added
// lies in the staging directory until Publish, and Discard takes it away. Its methods are called from one goroutine; other Loads
// and Publish calls may go on beside it.
type Load struct {
	dir     *Dir
	origin  Origin
	open    []*loading // by last use
	closed  []*loading
	order   map[string]lastRow // by date: the last row added
	there   map[string]bool    // dates of which rows were left out that are on the tape
	writers []*parquet.GenericWriter[Trade]
	chunk   []Trade
	inexact int64
	dropped int64
}

// loading is a segment under way; its file stays open, and so locked, until it is placed.
type loading struct {
	date  string
	file  *stagedFile
	out   *parquet.GenericWriter[Trade] // nil when the segment is finished
	rows  int64
	spans map[string][]timedSpan

	// What is on the tape of the symbol added last.
	symbol string
	on     idset.Set
}

// Load begins a load. One of Publish and Discard ends it; Discard after Publish does nothing.
func (d *Dir) Load(origin Origin) *Load {
	return &Load{dir: d, origin: origin, order: map[string]lastRow{}, there: map[string]bool{}}
}

// Add stages trades less those that are on the tape. Within a date they come sorted by (symbol, id) and each once, over all calls;
// ErrUnsorted where they do not. inexact counts the values among them whose double does not print back as the exchange's decimal.
func (l *Load) Add(ctx context.Context, trades []Trade, inexact int64) error {
	if err := check(trades); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.inexact += inexact
	for start := 0; start < len(trades); {
		first := trades[start]
		day := dayOf(first.TradedAt)
		end := start + 1
		for end < len(trades) && trades[end].Symbol == first.Symbol && dayOf(trades[end].TradedAt) == day {
			end++
		}
		if err := l.add(ctx, dateOfDay(day), trades[start:end]); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// add stages rows of one date and symbol.
func (l *Load) add(ctx context.Context, date string, rows []Trade) error {
	last, ok := l.order[date]
	if ok && (rows[0].Symbol < last.symbol || rows[0].Symbol == last.symbol && rows[0].ID <= last.id) {
		return ErrUnsorted
	}
	for i := 1; i < len(rows); i++ {
		if rows[i].ID <= rows[i-1].ID {
			return ErrUnsorted
		}
	}
	final := rows[len(rows)-1]
	l.order[date] = lastRow{final.Symbol, final.ID}
	s, err := l.at(ctx, date)
	if err != nil {
		return err
	}
	if s.symbol != final.Symbol {
		s.symbol, s.on = final.Symbol, l.dir.index.spansOn(final.Symbol, around(date))
	}
	kept := rows
	if s.on.Overlaps(idset.Range{First: rows[0].ID, Last: final.ID}) {
		kept = l.chunk[:0]
		for _, row := range rows {
			if !s.on.Contains(row.ID) {
				kept = append(kept, row)
			}
		}
		l.chunk = kept
		l.dropped += int64(len(rows) - len(kept))
		l.there[date] = true
	}
	return l.write(s, kept)
}

func (l *Load) write(s *loading, rows []Trade) error {
	if len(rows) == 0 {
		return nil
	}
	if _, err := s.out.Write(rows); err != nil {
		return fmt.Errorf("write %q: %w", s.file.path, err)
	}
	addSpans(s.spans, rows)
	s.rows += int64(len(rows))
	return nil
}

// at gives the open segment of a date.
func (l *Load) at(ctx context.Context, date string) (*loading, error) {
	for i, s := range l.open {
		if s.date != date {
			continue
		}
		l.open = append(slices.Delete(l.open, i, i+1), s)
		if s.rows < loadRows {
			return s, nil
		}
		l.open = l.open[:len(l.open)-1]
		if err := l.finish(s); err != nil {
			return nil, err
		}
		break
	}
	if len(l.open) == loadOpen {
		oldest := l.open[0]
		l.open = slices.Delete(l.open, 0, 1)
		if err := l.finish(oldest); err != nil {
			return nil, err
		}
	}
	if err := l.dir.index.refreshDates(around(date)); err != nil {
		return nil, err
	}
	s, err := l.begin(date)
	if err != nil {
		return nil, err
	}
	l.open = append(l.open, s)
	return s, ctx.Err()
}

func (l *Load) begin(date string) (*loading, error) {
	file, err := l.dir.createStaged(durable.UniqueName(string(l.origin.Source), ".parquet.tmp"))
	if err != nil {
		return nil, err
	}
	s := &loading{date: date, file: file, spans: map[string][]timedSpan{}}
	if n := len(l.writers); n > 0 {
		s.out, l.writers = l.writers[n-1], l.writers[:n-1]
		s.out.Reset(file)
	} else {
		s.out = parquet.NewGenericWriter[Trade](file, writerOptions()...)
	}
	return s, nil
}

// finish makes a segment whole and durable, and leaves it staged; one without rows is removed. The caller has taken it out of open.
func (l *Load) finish(s *loading) error {
	if s.rows == 0 {
		l.writers = append(l.writers, s.out)
		return s.file.discard()
	}
	l.closed = append(l.closed, s)
	origin := l.origin
	origin.Inexact, l.inexact = l.inexact, 0 // it is told once
	err := setSegmentMetadata(s.out, s.spans, l.dir.Feed(), origin)
	if err == nil {
		err = s.out.Close()
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", s.file.path, err)
	}
	l.writers = append(l.writers, s.out)
	s.out = nil
	return s.file.sync()
}

// Publish makes what was added durable and visible. After an error some of the segments may be on the tape, never half of one; loading the
// same trades again completes it.
func (l *Load) Publish(ctx context.Context) (Published, error) {
	defer l.Discard()
	for len(l.open) > 0 {
		s := l.open[0]
		l.open = l.open[1:]
		if err := l.finish(s); err != nil {
			return Published{}, err
		}
	}
	for attempt := 0; ; attempt++ {
		out, again, err := l.place(ctx, attempt == loadPatience)
		if err != nil || len(again) == 0 {
			out.Dropped = l.dropped
			return out, err
		}
		for _, i := range again {
			if err := l.rewrite(ctx, i); err != nil {
				return Published{}, err
			}
		}
	}
}

// place makes the segments visible under the writers' lock. Where others published any of their ids meanwhile, it gives the segments to write again, or
// with insist does that itself.
func (l *Load) place(ctx context.Context, insist bool) (out Published, again []int, err error) {
	unlock, err := l.dir.lock(writersLock)
	if err != nil {
		return out, nil, err
	}
	defer unlock()
	var dates []string
	for _, s := range l.closed {
		dates = append(dates, around(s.date)...)
	}
	slices.Sort(dates)
	if err := l.dir.index.refreshDates(slices.Compact(dates)); err != nil {
		return out, nil, err
	}
	for i, s := range l.closed {
		if !l.dir.index.meets(s.date, s.spans) {
			continue
		}
		if !insist {
			again = append(again, i)
		} else if err := l.rewrite(ctx, i); err != nil {
			return out, nil, err
		}
	}
	if len(again) > 0 {
		return out, again, nil
	}
	// Rows that are there already count as published by this load too.
	for _, date := range sortedKeys(l.there) {
		if err := l.dir.settle(Trades, date); err != nil {
			return out, nil, err
		}
	}
	var placed []map[string][]timedSpan
	for _, s := range l.closed {
		if s.rows == 0 {
			continue
		}
		name := filepath.Join(string(Trades), "date="+s.date, filepath.Base(s.file.path[:len(s.file.path)-len(".tmp")]))
		if err = s.file.place(name); err != nil {
			break
		}
		out.Rows += s.rows
		out.Bytes += s.file.out.n
		out.Segments = append(out.Segments, name)
		placed = append(placed, s.spans)
	}
	if wide := l.dir.widenExtent(placed); err == nil {
		err = wide
	}
	return out, nil, err
}

// rewrite writes a staged segment again without the ids that are on the tape.
func (l *Load) rewrite(ctx context.Context, i int) error {
	old := l.closed[i]
	c, err := openColumns(old.file.path)
	if err != nil {
		return fmt.Errorf("read %q again: %w", old.file.path, err)
	}
	defer c.close()
	origin := Origin{}
	if text, ok := c.file.Lookup(originKey); ok {
		if err := json.Unmarshal([]byte(text), &origin); err != nil {
			return fmt.Errorf("read %q again: %w", old.file.path, err)
		}
	}
	s, err := l.begin(old.date)
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
			err = l.copyMissing(s, c)
		}
		if err != nil {
			s.file.discard()
			return err
		}
		if !more {
			break
		}
	}
	l.dropped += old.rows - s.rows
	l.there[old.date] = true
	if err := old.file.discard(); err != nil {
		return err
	}
	n := len(l.closed)
	if err := l.finish(s); err != nil {
		return err
	}
	l.closed[i] = s
	l.closed = l.closed[:n]
	return nil
}

// copyMissing writes those rows of a row group that are not on the tape.
func (l *Load) copyMissing(s *loading, c *columns) error {
	from := 0
	for run, symbol := range c.symbols {
		on := l.dir.index.spansOn(symbol, around(s.date))
		l.chunk = l.chunk[:0]
		for row := from; row < c.ends[run]; row++ {
			if !on.Contains(c.ids[row]) {
				l.chunk = c.appendTrades(l.chunk, symbol, row, row+1)
			}
		}
		if err := l.write(s, l.chunk); err != nil {
			return err
		}
		from = c.ends[run]
	}
	return nil
}

// Discard removes what was staged and not published.
func (l *Load) Discard() {
	for _, s := range slices.Concat(l.open, l.closed) {
		s.file.discard()
	}
	l.open, l.closed = nil, nil
}

// meets says whether any of the ids of a date's spans is on the tape.
func (x *Index) meets(date string, spans map[string][]timedSpan) bool {
	near := around(date)
	for symbol, runs := range spans {
		on := x.spansOn(symbol, near)
		for _, run := range runs {
			if on.Overlaps(idset.Range{First: run.first, Last: run.last}) {
				return true
			}
		}
	}
	return false
}
