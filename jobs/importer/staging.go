package importer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/ingest"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// FutureError is returned for a row that traded after Options.Latest.
type FutureError struct {
	position string
	row      int64
	At       time.Time
	Latest   time.Time
}

func (e *FutureError) Error() string {
	return fmt.Sprintf("%s %d traded at %s UTC, which is in the future", e.position, e.row, e.At.Format(time.DateTime))
}

// staging stages the trades of one file and checks that each id occurs once. Rows come sorted by
// (date, symbol, id), or by id if the file has one symbol.
type staging struct {
	newLoad  func() *tape.Loader
	position string // what a position in the file is called: line or row
	latest   int64  // a row cannot have traded later, in microseconds since the epoch; 0: it can

	load     *tape.Loader
	last     tape.Trade
	lastAt   int64                  // the position of last; 0 before the first row
	symbols  map[string]*symbolRows // by name
	current  *symbolRows            // of last's symbol
	voided   int64
	repeated int64
	inexact  int64
}

// symbolRows counts what a file has of one symbol.
type symbolRows struct {
	ids  idset.Set
	rows int64
}

// restart discards what was staged and begins with the first row again.
func (s *staging) restart() {
	s.discard()
	*s = staging{newLoad: s.newLoad, position: s.position, latest: s.latest, load: s.newLoad(), symbols: map[string]*symbolRows{}}
}

// discard removes what was staged and not published.
func (s *staging) discard() {
	if s.load != nil {
		s.load.Discard()
	}
}

// add stages a batch, which it changes. Two rows that have the same id and differ make the file
// unusable.
func (s *staging) add(ctx context.Context, b *ingest.Batch) error {
	kept := b.Trades[:0]
	for i := range b.Trades {
		t, at := &b.Trades[i], b.Positions[i]
		if s.lastAt == 0 || t.Symbol != s.last.Symbol {
			s.current = s.symbols[t.Symbol]
			if s.current == nil {
				if err := symbol.Check(t.Symbol); err != nil {
					return fileErrorf("%s %d: %w", s.position, at, err)
				}
				s.current = &symbolRows{}
				s.symbols[t.Symbol] = s.current
			}
		} else if t.ID == s.last.ID {
			if *t != s.last {
				return fileErrorf("%s %d: id %d of %s differs from the row with the same id in %s %d",
					s.position, max(at, s.lastAt), t.ID, t.Symbol, s.position, min(at, s.lastAt))
			}
			s.repeated++
			continue
		}
		if s.latest > 0 && t.TradedAt > s.latest {
			return fileError(&FutureError{s.position, at, time.UnixMicro(t.TradedAt).UTC(), time.UnixMicro(s.latest).UTC()})
		}
		if !s.current.add(t.ID) {
			return fileErrorf("%s %d: id %d of %s is in the file with another date too", s.position, at, t.ID, t.Symbol)
		}
		s.last, s.lastAt = *t, at
		kept = append(kept, *t)
	}
	s.inexact += b.Inexact
	return s.load.Add(ctx, kept, b.Inexact)
}

// add counts an id. It returns false if the id was counted before.
func (r *symbolRows) add(id int64) bool {
	r.rows++
	switch n := len(r.ids); {
	case n == 0 || id > r.ids[n-1].Last:
		r.ids.Append(id)
	case r.ids.Contains(id):
		return false
	default:
		r.ids = r.ids.Add(idset.Range{First: id, Last: id})
	}
	return true
}

// summarize adds the counts to a summary.
func (s *staging) summarize(out *FileSummary) {
	for symbol, counted := range s.symbols {
		out.Symbols = append(out.Symbols, symbol)
		out.Rows += counted.rows
		all := idset.Range{First: counted.ids[0].First, Last: counted.ids[len(counted.ids)-1].Last}
		out.Missing = idset.Sum(out.Missing, all.Count()-counted.rows)
	}
	slices.Sort(out.Symbols)
	out.Repeated, out.Voided, out.Inexact = s.repeated, s.voided, s.inexact
}
