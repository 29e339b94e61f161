package tape

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/idset"
)

const (
	// loaderRows bounds a segment of a Loader, as a compaction does: 100 to 150 MB.
	loaderRows = 16 << 20
	// loaderOpenDates bounds the dates that a Loader writes at the same time. Each holds a row group
	// in memory, about 20 MB.
	loaderOpenDates = 4
	// loaderRetries is how often Publish releases the lock to write segments again that overlap with
	// what others published meanwhile. After that it writes them again under the lock.
	loaderRetries = 3
)

// Loader adds a large number of trades to the tape: in few large segments, in bounded memory, and
// visible only when all of them are staged. Call Publish or Discard at the end; Discard after
// Publish does nothing. A Loader is not safe for concurrent use, but several Loaders and Publish
// calls may run at the same time.
type Loader struct {
	dir      *Dir
	origin   Origin
	open     []*loaderSegment   // in order of their last use
	finished []*loaderSegment   // complete and staged
	last     map[string]lastRow // the last row added, by date
	partial  map[string]bool    // dates of which rows on the tape were left out
	encoders []*encoder[Trade]  // not in use
	chunk    []Trade
	met      []Trade // rows whose ids are on the tape or were dropped
	inexact  int64
	dropped  int64

	comparison *comparison
	droppedIDs symbolRuns            // to leave out
	restored   map[string]symbolRuns // added ids that had been dropped, by date; only if origin.Restores
}

// loaderSegment is a segment being written. Its file stays open, and so locked, until it is
// published.
type loaderSegment struct {
	date    string
	file    *stagedFile
	encoder *encoder[Trade] // nil when the segment is finished
	rows    int64
	runs    symbolRuns

	// The symbol added last, and its ids that are on the tape, and those that were dropped too.
	symbol             string
	published, leftOut idset.Set
	existing           *existingRows // the rows of the tape on the date and those beside it
}

// NewLoader returns a Loader. origin describes all of its trades.
func (d *Dir) NewLoader(origin Origin) *Loader {
	return &Loader{
		dir: d, origin: origin, last: map[string]lastRow{}, partial: map[string]bool{}, restored: map[string]symbolRuns{},
		comparison: newComparison(d, origin),
	}
}

// Add stages the trades that are not on the tape, and compares the others with the rows there, as
// Dir.Publish does. The trades of a date must be sorted by (symbol, id) over all calls, each id once;
// otherwise the error is ErrUnsorted. inexact is the number of
// values in trades whose double does not print back as the exchange's decimal.
func (l *Loader) Add(ctx context.Context, trades []Trade, inexact int64) error {
	if err := validate(trades); err != nil {
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
func (l *Loader) add(ctx context.Context, date string, rows []Trade) error {
	last, ok := l.last[date]
	if ok && (rows[0].Symbol < last.symbol || rows[0].Symbol == last.symbol && rows[0].ID <= last.id) {
		return ErrUnsorted
	}
	for i := 1; i < len(rows); i++ {
		if rows[i].ID <= rows[i-1].ID {
			return ErrUnsorted
		}
	}
	final := rows[len(rows)-1]
	l.last[date] = lastRow{final.Symbol, final.ID}
	s, err := l.segmentOf(ctx, date)
	if err != nil {
		return err
	}
	if s.symbol != final.Symbol {
		l.setSymbol(s, final.Symbol)
	}
	if l.origin.Restores {
		l.noteRestored(date, rows)
	}
	kept := rows
	if s.leftOut.Overlaps(idset.Range{First: rows[0].ID, Last: final.ID}) {
		if kept, err = l.leaveOut(ctx, s, rows); err != nil {
			return err
		}
	}
	return s.write(kept)
}

// leaveOut returns the rows, which are of the segment's symbol, that are not on the tape and were not
// dropped. It compares those that are on the tape.
func (l *Loader) leaveOut(ctx context.Context, s *loaderSegment, rows []Trade) ([]Trade, error) {
	l.chunk, l.met = split(l.chunk[:0], l.met[:0], rows, s.leftOut)
	if len(l.met) == 0 {
		return l.chunk, nil
	}
	l.dropped += int64(len(l.met))
	l.partial[s.date] = true
	l.met = slices.DeleteFunc(l.met, func(row Trade) bool { return !s.published.Contains(row.ID) })
	return l.chunk, l.comparison.compare(ctx, s.existing, l.met)
}

func (s *loaderSegment) write(rows []Trade) error {
	if len(rows) == 0 {
		return nil
	}
	if _, err := s.encoder.writer.Write(rows); err != nil {
		return fmt.Errorf("write %q: %w", s.file.path, err)
	}
	s.runs.add(rows)
	s.rows += int64(len(rows))
	return nil
}

// segmentOf returns the open segment of a date. It finishes a full one, and the one that was unused
// longest if too many are open.
func (l *Loader) segmentOf(ctx context.Context, date string) (*loaderSegment, error) {
	if i := slices.IndexFunc(l.open, func(s *loaderSegment) bool { return s.date == date }); i >= 0 {
		s := l.open[i]
		l.open = slices.Delete(l.open, i, i+1)
		if s.rows < loaderRows {
			l.open = append(l.open, s)
			return s, nil
		}
		if err := l.finish(s); err != nil {
			return nil, err
		}
	}
	if len(l.open) == loaderOpenDates {
		oldest := l.open[0]
		l.open = slices.Delete(l.open, 0, 1)
		if err := l.finish(oldest); err != nil {
			return nil, err
		}
	}
	if err := l.dir.index.refreshDates(adjacentDates(date)); err != nil {
		return nil, err
	}
	var err error
	if l.droppedIDs, err = l.dir.droppedFor(l.origin); err != nil {
		return nil, err
	}
	s, err := l.newSegment(date)
	if err != nil {
		return nil, err
	}
	l.open = append(l.open, s)
	return s, ctx.Err()
}

func (l *Loader) newSegment(date string) (*loaderSegment, error) {
	file, err := l.dir.staging.create(stagedName(string(l.origin.Source)))
	if err != nil {
		return nil, err
	}
	s := &loaderSegment{
		date: date, file: file, runs: symbolRuns{}, encoder: new(encoder[Trade]),
		existing: l.dir.newExistingRows(adjacentDates(date)),
	}
	if n := len(l.encoders); n > 0 {
		s.encoder, l.encoders = l.encoders[n-1], l.encoders[:n-1]
	}
	s.encoder.start(file)
	return s, nil
}

// finish completes a segment, which is not in l.open, and makes it durable in the staging
// directory. A segment without rows is removed.
func (l *Loader) finish(s *loaderSegment) error {
	s.existing = nil
	if s.rows == 0 {
		l.encoders = append(l.encoders, s.encoder)
		return s.file.discard()
	}
	l.finished = append(l.finished, s)
	origin := l.origin
	origin.Inexact, l.inexact = l.inexact, 0 // counted in one segment only
	err := setMetadata(s.encoder.writer, s.runs, l.dir.identity(), origin)
	if err == nil {
		err = s.encoder.writer.Close()
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", s.file.path, err)
	}
	l.encoders = append(l.encoders, s.encoder)
	s.encoder = nil
	return s.file.sync()
}

// Discard removes everything staged and not published.
func (l *Loader) Discard() {
	for _, s := range slices.Concat(l.open, l.finished) {
		s.file.discard()
	}
	l.open, l.finished = nil, nil
}

// readOrigin returns the origin in a segment's metadata, which is zero if another program wrote it.
func readOrigin(file *parquet.File) (origin Origin, err error) {
	if text, ok := file.Lookup(originKey); ok {
		err = json.Unmarshal([]byte(text), &origin)
	}
	return origin, err
}
