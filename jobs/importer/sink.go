package importer

import (
	"context"
	"slices"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

// sink stages a file's trades and sees to it that each id stands once. Rows come sorted by (date, symbol, id) or, of one symbol, by id.
type sink struct {
	load    *tape.Load
	name    string // what a place in the file is called: line, row
	last    tape.Trade
	place   int64               // of last; 0 before the first row
	symbols map[string]*holding // by name
	current *holding            // of last's symbol
	damaged int64
	doubled int64
	inexact int64
}

// holding is what a file holds of a symbol.
type holding struct {
	ids  idset.Set
	rows int64
}

func newSink(load *tape.Load, name string) *sink {
	return &sink{load: load, name: name, symbols: map[string]*holding{}}
}

// add stages a batch, which it changes. A problem where two rows of one id differ.
func (s *sink) add(ctx context.Context, b *batch) error {
	kept := b.trades[:0]
	for i := range b.trades {
		t := &b.trades[i]
		if s.place == 0 || t.Symbol != s.last.Symbol {
			s.current = s.symbols[t.Symbol]
			if s.current == nil {
				s.current = &holding{}
				s.symbols[t.Symbol] = s.current
			}
		} else if t.ID == s.last.ID {
			if *t != s.last {
				return problemf("%s %d: id %d of %s stands in %s %d with another content", s.name, max(b.places[i], s.place), t.ID, t.Symbol, s.name, min(b.places[i], s.place))
			}
			s.doubled++
			continue
		}
		if !s.current.take(t.ID) {
			return problemf("%s %d: id %d of %s stands in the file for another day too", s.name, b.places[i], t.ID, t.Symbol)
		}
		s.last, s.place = *t, b.places[i]
		kept = append(kept, *t)
	}
	s.inexact += b.inexact
	return s.load.Add(ctx, kept, b.inexact)
}

// take notes an id; false where it was noted before.
func (h *holding) take(id int64) bool {
	h.rows++
	n := len(h.ids)
	switch {
	case n == 0 || id > h.ids[n-1].Last+1:
		h.ids = append(h.ids, idset.Range{First: id, Last: id})
	case id == h.ids[n-1].Last+1:
		h.ids[n-1].Last = id
	case h.ids.Contains(id):
		return false
	default:
		h.ids = h.ids.Add(idset.Range{First: id, Last: id})
	}
	return true
}

// tell puts what was seen into a summary.
func (s *sink) tell(out *FileSummary) {
	for symbol, held := range s.symbols {
		out.Symbols = append(out.Symbols, symbol)
		out.Rows += held.rows
		out.Missing += held.ids[len(held.ids)-1].Last - held.ids[0].First + 1 - held.rows
	}
	slices.Sort(out.Symbols)
	out.Doubled, out.Damaged, out.Inexact = s.doubled, s.damaged, s.inexact
}
