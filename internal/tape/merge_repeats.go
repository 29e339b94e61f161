package tape

import "time"

// repeats compares the rows that a merge leaves out, because their ids occur before, with those that
// stay.
type repeats struct {
	comparison *comparison
	now        time.Time
	kept       Trade // the row written last
	keptOrigin Origin
	rejected   map[string]string // the path of the first segment that differs, by symbol
}

// add compares a row with the one written last, which has its id. Its error is that of check.
func (r *repeats) add(h *head, row int) error {
	symbol := r.comparison.of(h.symbol())
	other := h.trade(h.symbol(), row)
	if sameContent(&r.kept, &other) {
		symbol.compared++
		return nil
	}
	origin := h.origin
	origin.At = r.now
	conflict := newConflict(&r.kept, r.keptOrigin, &other, origin)
	if symbol.differ(conflict); symbol.differing == 1 {
		if r.rejected == nil {
			r.rejected = map[string]string{}
		}
		r.rejected[h.symbol()] = h.path
	}
	r.comparison.conflicts = append(r.comparison.conflicts, conflict)
	if len(r.comparison.conflicts) > disagreeMost {
		return r.reject(symbol)
	}
	return nil
}

// check returns a BrokenSegment with a *DisagreementError if a segment disagrees wholesale with the
// others.
func (r *repeats) check() error {
	for _, symbol := range r.comparison.symbols {
		if symbol.wholesale(0) {
			return r.reject(symbol)
		}
	}
	return nil
}

func (r *repeats) reject(symbol *agreement) error {
	return BrokenSegment{r.rejected[symbol.sample.Symbol], r.comparison.disagreement(symbol)}
}
