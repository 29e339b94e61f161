package tape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"tapedeck/internal/idset"
)

// maxRepairRows bounds the rows that are held until they are written: 64 MB.
const maxRepairRows = 1 << 20

// stage compares the rows of a stray with those on the tape and stages the others. If it has new ids that
// another stray of this round has too, it is left for the next round.
func (r *repairRound) stage(ctx context.Context, path string) error {
	found := readSegmentFooter(r.dir.catalog.path(path))
	if found.err != nil {
		return found.err
	}
	for symbol, runs := range found.runs {
		if set := r.added[symbol]; set != nil && countCommon(set.runs, runs) > 0 {
			return nil
		}
	}
	s := &strayRows{round: r, path: path, stray: repairedStray{path: path, staged: map[string][]string{}, runs: symbolRuns{}}}
	s.stray.date, _ = dateOfPath(path)
	err := s.read(ctx)
	var disagreement *DisagreementError
	var damaged BrokenSegment
	switch {
	case errors.As(err, &disagreement):
		r.left[path] = disagreement
	case errors.As(err, &damaged):
		r.left[path] = damaged.Err
	case err == nil:
		r.twice += s.twice - int64(len(s.comparison.conflicts))
		r.moved, r.dropped = r.moved+s.stray.runs.count(), r.dropped+s.dropped
		r.conflicts = append(r.conflicts, s.comparison.conflicts...)
		r.done = append(r.done, s.stray)
		for symbol, runs := range s.stray.runs {
			if r.added[symbol] == nil {
				r.added[symbol] = &runSet{}
			}
			r.added[symbol].add(runs)
		}
		return nil
	}
	for _, staged := range s.stray.staged {
		for _, path := range staged {
			r.dir.staging.remove(path)
		}
	}
	if r.left[path] != nil {
		return nil
	}
	return err
}

// strayRows are the rows of a stray that is being repaired.
type strayRows struct {
	round      *repairRound
	path       string
	stray      repairedStray
	origin     Origin
	comparison *comparison
	existing   *existingRows
	// twice counts rows whose ids are on the tape or occur before, dropped those that were dropped on purpose.
	twice, dropped int64

	before Trade // the row before; its symbol is empty if there is none
	last   Trade // the last row that is to be kept, likewise
	held   int
	rows   map[string][]Trade // of new ids that are not written yet, by date
	enc    encoder[Trade]
}

// read reads the whole stray. The error is a BrokenSegment if it is damaged.
func (s *strayRows) read(ctx context.Context) error {
	file, err := openExisting(s.round.dir.catalog, s.path)
	if err != nil {
		return BrokenSegment{s.path, err}
	}
	s.origin = file.origin
	s.origin.At = s.round.now
	s.comparison = newComparison(s.round.dir, s.origin)
	s.existing = s.round.dir.newExistingRows(s.round.index.datesWith(file.ids))
	for _, stray := range s.round.index.Strays() {
		s.existing.broken[stray.Path] = true
	}
	s.rows = map[string][]Trade{}
	if file.sorted {
		err = s.readSorted(ctx)
	} else {
		var c *columns
		if c, err = readUnsorted(s.round.dir.catalog.path(s.path)); err == nil {
			err = s.addGroup(ctx, c)
		} else {
			err = BrokenSegment{s.path, err}
		}
	}
	if err != nil {
		return err
	}
	if err := s.comparison.agree(); err != nil {
		return err
	}
	return s.flush()
}

func (s *strayRows) readSorted(ctx context.Context) error {
	c, err := openColumns(s.round.dir.catalog.path(s.path))
	if err != nil {
		return BrokenSegment{s.path, err}
	}
	defer c.close()
	for {
		more, err := c.read()
		if err != nil {
			return BrokenSegment{s.path, err}
		}
		if !more {
			return nil
		}
		if err := s.addGroup(ctx, c); err != nil {
			return err
		}
	}
}

// addGroup adds the rows of a row group.
func (s *strayRows) addGroup(ctx context.Context, c *columns) error {
	from := 0
	var rows []Trade
	for i, symbol := range c.symbols {
		rows = c.appendTrades(rows[:0], symbol, from, c.ends[i])
		from = c.ends[i]
		if err := validate(rows); err != nil {
			return BrokenSegment{s.path, err}
		}
		if !slices.IsSortedFunc(rows, compareTrades) || compareTrades(s.before, rows[0]) > 0 {
			return BrokenSegment{s.path, ErrUnsorted}
		}
		s.before = rows[len(rows)-1]
		onTape := s.round.index.IDs(symbol)
		kept, met := split(nil, nil, rows, onTape)
		if err := s.comparison.compare(ctx, s.existing, met); err != nil {
			return err
		}
		if s.comparison.unreadable > 0 {
			return fmt.Errorf("compare %q: %w", s.path, ErrChanged)
		}
		s.twice += int64(len(met))
		wanted := withoutDropped(kept, s.round.droppedIDs)
		s.dropped += int64(len(kept) - len(wanted))
		if err := s.add(wanted); err != nil {
			return err
		}
	}
	return nil
}

// add adds rows whose ids are not on the tape.
func (s *strayRows) add(rows []Trade) error {
	for i := range rows {
		row := &rows[i]
		if sameTrade(*row, s.last) { // twice in this segment
			s.twice++
			if conflict, differs := s.comparison.repeated(&s.last, row); differs {
				s.comparison.conflicts = append(s.comparison.conflicts, conflict)
			}
			continue
		}
		s.last = *row
		date := DateOf(row.TradedAt)
		s.rows[date] = append(s.rows[date], *row)
		if s.held++; s.held == maxRepairRows {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes the rows that are held, a segment for each date.
func (s *strayRows) flush() error {
	if err := s.checkSeams(); err != nil {
		return err
	}
	for _, date := range slices.Sorted(maps.Keys(s.rows)) {
		rows := s.rows[date]
		runs := runsOf(rows)
		prefix, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(s.path), ".parquet"), "-")
		path, _, err := s.round.dir.staging.write(stagedName(prefix), func(w io.Writer) error {
			return encodeTrades(&s.enc, w, rows, runs, s.round.dir.identity(), s.origin)
		})
		if err != nil {
			return err
		}
		s.stray.staged[date] = append(s.stray.staged[date], path)
		if err := prove(path, date, runs); err != nil {
			return err
		}
		for symbol, added := range runs {
			s.stray.runs[symbol] = append(s.stray.runs[symbol], added...)
		}
	}
	s.rows, s.held = map[string][]Trade{}, 0
	return nil
}

// prove reads a staged segment again and returns an error unless it has exactly the ids of runs.
func prove(path, date string, runs symbolRuns) error {
	found, err := scan(path, date)
	if err != nil {
		return fmt.Errorf("read %q again: %w", path, err)
	}
	same := func(a, b []IDRun) bool { return slices.Equal(idsOf(a), idsOf(b)) }
	if found.misplaced+found.duplicates > 0 || !maps.EqualFunc(found.runs, runs, same) {
		return fmt.Errorf("check %q: its rows are not those that were written", path)
	}
	return nil
}

// checkSeams returns a *DisagreementError if time runs back where new ids meet those on the tape.
func (s *strayRows) checkSeams() error {
	for _, rows := range s.rows {
		for symbol, runs := range runsOf(rows) {
			for _, run := range runs {
				for _, on := range s.round.index.around(symbol, run) {
					if err := s.comparison.checkSeam(symbol, run, on); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// datesWith returns the dates of the partitions that have an id from the first to the last of a symbol's, or
// one next to them.
func (x *Index) datesWith(ids map[string]idset.Set) (dates []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	found := map[string]bool{}
	for date, part := range x.parts {
		for symbol, set := range ids {
			runs := part.runs[symbol]
			if runs == nil || len(runs.runs) == 0 || len(set) == 0 {
				continue
			}
			if runs.runs[0].First <= set[len(set)-1].Last+1 && runs.runs[len(runs.runs)-1].Last+1 >= set[0].First {
				found[date] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
