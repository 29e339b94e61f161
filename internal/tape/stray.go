package tape

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"tapedeck/internal/idset"
	"tapedeck/internal/wording"
)

// StrayError is why readers leave a segment out although it can be read: somebody put it where it does
// not belong. The other segments have no id twice and no row of another date, feed or tape. Repair heals it,
// except one of another feed.
type StrayError struct {
	// Symbol and IDs are a sample of what is wrong. Rows counts all of it: the rows that are also in Other,
	// occur twice, or belong to another date.
	Symbol string
	IDs    idset.Range
	Rows   int64
	// Other is the path of a segment that has the sample too, or empty.
	Other string
	// Date is the date of the sample, if it is not that of the segment's directory; otherwise it is empty.
	Date string
	// Feed is the segment's feed if it is not the tape's; otherwise it is empty.
	Feed Feed
	// OtherTape is true if another tape's metadata is in it: somebody copied it from there.
	OtherTape bool
	// runs are all rows of the segment.
	runs symbolRuns
}

func (e *StrayError) Error() string {
	sample := fmt.Sprintf("%s %d to %d", e.Symbol, e.IDs.First, e.IDs.Last)
	switch {
	case e.Feed != "":
		return fmt.Sprintf("its rows are of the feed %s, which is not that of the tape", e.Feed)
	case e.OtherTape:
		return "it was copied from another tape"
	case e.Date != "":
		return fmt.Sprintf("%s to another date, such as %s, of %s", wording.Count(e.Rows, "row belongs", "rows belong"), sample, e.Date)
	case e.Other != "":
		return fmt.Sprintf("%s also in %s, such as %s", wording.Count(e.Rows, "row is", "rows are"), e.Other, sample)
	}
	return fmt.Sprintf("%s in it twice", wording.Count(e.Rows, "row is", "rows are"))
}

// IsStray reports whether the segment can be read, but does not belong where it is.
func (b BrokenSegment) IsStray() bool {
	var stray *StrayError
	return errors.As(b.Err, &stray)
}

func (b BrokenSegment) isOtherFeed() bool {
	var stray *StrayError
	return errors.As(b.Err, &stray) && stray.Feed != ""
}

func (b BrokenSegment) isOtherTape() bool {
	var stray *StrayError
	return errors.As(b.Err, &stray) && stray.OtherTape
}

// Touches reports whether the segment can have trades for which match returns true. One that cannot be
// read can have any.
func (b BrokenSegment) Touches(match func(symbol string, run IDRun) bool) bool {
	var stray *StrayError
	return !errors.As(b.Err, &stray) || anyRun(stray.runs, match)
}

// strayCandidate is a segment that may be stray.
type strayCandidate struct {
	path string
	date string
	footer
}

// ids counts the ids of a segment.
func (f footer) ids() (n int64) {
	for _, runs := range f.runs {
		n += idsOf(runs).Count()
	}
	return n
}

// findStrays returns which segments are stray, by path: those of another feed, tape or date, and of those that
// have ids in common all but one. A segment that tapedeck wrote stays rather than one of another program, and a
// large one rather than a small one.
func findStrays(tape identity, candidates []strayCandidate) map[string]*StrayError {
	strays := map[string]*StrayError{}
	kept := candidates[:0:0]
	for _, c := range candidates {
		if stray := c.alone(tape); stray != nil {
			strays[c.path] = stray
		} else {
			kept = append(kept, c)
		}
	}
	count := make(map[string]int64, len(kept))
	for _, c := range kept {
		count[c.path] = c.ids()
	}
	slices.SortFunc(kept, func(a, b strayCandidate) int {
		return cmp.Or(boolOrder(a.foreign, b.foreign), cmp.Compare(count[b.path], count[a.path]), cmp.Compare(a.path, b.path))
	})
	accepted := map[string]*runSet{}
	owners := map[string]map[string]symbolRuns{} // by symbol and path
	for _, c := range kept {
		if stray := c.common(accepted); stray != nil {
			stray.Other = ownerOf(owners[stray.Symbol], stray.Symbol, stray.IDs.First)
			strays[c.path] = stray
			continue
		}
		for symbol, runs := range c.runs {
			if accepted[symbol] == nil {
				accepted[symbol], owners[symbol] = &runSet{}, map[string]symbolRuns{}
			}
			accepted[symbol].add(runs)
			owners[symbol][c.path] = c.runs
		}
	}
	return strays
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// alone returns what makes a segment stray whatever the others hold, or nil.
func (c strayCandidate) alone(tape identity) *StrayError {
	stray := &StrayError{runs: c.runs, Rows: c.repeated}
	switch {
	case !tape.sameFeed(c.tape):
		stray.Feed = c.tape.feed
		return stray
	case !tape.sameTape(c.tape):
		stray.OtherTape = true
		return stray
	case c.outsideOf(c.date, stray):
		return stray
	case c.repeated > 0:
		return stray
	}
	return nil
}

// outsideOf describes the runs that do not belong to a date, and reports whether there are any.
func (f footer) outsideOf(date string, stray *StrayError) bool {
	first, next := dateBounds(date)
	outside := int64(0)
	for _, symbol := range slices.Sorted(maps.Keys(f.runs)) {
		for _, run := range f.runs[symbol] {
			at := run.FirstAt
			if at >= first && at < next {
				at = run.LastAt
			}
			if at >= first && at < next {
				continue
			}
			if outside == 0 {
				stray.Symbol, stray.IDs, stray.Date = symbol, run.Range, DateOf(at)
			}
			outside += run.Range.Count()
		}
	}
	if outside = max(outside, f.misplaced); outside > 0 {
		stray.Rows = outside
		if stray.Date == "" { // the first and last rows of all runs are of the date
			stray.Symbol = slices.Min(slices.Collect(maps.Keys(f.runs)))
			stray.IDs, stray.Date = f.runs[stray.Symbol][0].Range, "another date"
		}
	}
	return outside > 0
}

// common describes the ids that a segment has in common with those accepted before, or returns nil.
func (c strayCandidate) common(accepted map[string]*runSet) *StrayError {
	var stray *StrayError
	for _, symbol := range slices.Sorted(maps.Keys(c.runs)) {
		if accepted[symbol] == nil {
			continue
		}
		both := idsOf(c.runs[symbol]).Intersect(idsOf(accepted[symbol].runs))
		if len(both) == 0 {
			continue
		}
		if stray == nil {
			stray = &StrayError{Symbol: symbol, IDs: both[0], runs: c.runs}
		}
		stray.Rows += both.Count()
	}
	return stray
}

// ownerOf returns the path of the segment that has an id.
func ownerOf(owners map[string]symbolRuns, symbol string, id int64) string {
	for _, path := range slices.Sorted(maps.Keys(owners)) {
		if idsOf(owners[path][symbol]).Contains(id) {
			return path
		}
	}
	return ""
}
