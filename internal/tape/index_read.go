package tape

import (
	"iter"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/symbol"
)

// Names lists the symbols that are on the tape or ever were, sorted. What is on the tape and no symbol
// is not among them; see NotSymbols.
func (x *Index) Names() []symbol.Name {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mergeNames()
	return slices.Clone(x.merged.names)
}

// Symbols returns the texts of Names.
func (x *Index) Symbols() []string { return symbol.Strings(x.Names()) }

// NotSymbols lists the texts in the column symbol of trades that no symbol can have, sorted. Another
// program or an earlier version wrote them. They can have any characters; symbol.Quote shows them.
func (x *Index) NotSymbols() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mergeNames()
	return slices.Clone(x.merged.notSymbols)
}

func (x *Index) mergeNames() {
	if x.merged.names != nil {
		return
	}
	present, known := map[string]bool{}, map[string]bool{}
	for _, part := range x.parts {
		for text := range part.runs {
			present[text], known[text] = true, true
		}
	}
	for text := range x.bounds {
		known[text] = true
	}
	names, invalid := symbol.ParseAll(slices.Sorted(maps.Keys(known)))
	x.merged.names = append([]symbol.Name{}, names...)
	x.merged.notSymbols = slices.DeleteFunc(invalid, func(text string) bool { return !present[text] })
}

// runsOf returns a symbol's runs of ids over all dates.
func (x *Index) runsOf(symbol string) []IDRun {
	if x.merged.runs == nil {
		x.mergeRuns()
	}
	if set := x.merged.runs[symbol]; set != nil {
		return set.runs
	}
	return nil
}

// IDs returns the ids of a symbol that are on the tape.
func (x *Index) IDs(symbol string) idset.Set {
	x.mu.Lock()
	defer x.mu.Unlock()
	return idsOf(x.runsOf(symbol))
}

// Bounds returns the bounds of a symbol. ok is false if nothing of it was ever published.
func (x *Index) Bounds(symbol string) (bounds Bounds, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.boundsOf(symbol, x.runsOf(symbol))
}

// AllBounds iterates over the symbols that have bounds, in alphabetical order.
func (x *Index) AllBounds() iter.Seq2[string, Bounds] {
	return func(yield func(string, Bounds) bool) {
		for _, symbol := range x.Symbols() {
			if bounds, ok := x.Bounds(symbol); ok && !yield(symbol, bounds) {
				return
			}
		}
	}
}

func (x *Index) boundsOf(symbol string, runs []IDRun) (Bounds, bool) {
	bounds, ok := x.bounds[symbol]
	if len(runs) > 0 {
		bounds, ok = bounds.extend(runs[0], ok), true
		bounds = bounds.extend(runs[len(runs)-1], true)
		bounds = bounds.onDayOf(runs, x.dropped[symbol])
	}
	return bounds, ok
}

// Gaps returns a symbol's gaps inside its bounds, in ascending order.
func (x *Index) Gaps(symbol string) []Gap {
	x.mu.Lock()
	defer x.mu.Unlock()
	runs := x.runsOf(symbol)
	bounds, ok := x.boundsOf(symbol, runs)
	if !ok {
		return nil
	}
	gaps := gapsBetween(symbol, runs, bounds)
	for i := range gaps {
		gaps[i].narrow(x.evidence.answers[symbol])
	}
	return gaps
}

// Dropped returns the ids of a symbol that were removed from the tape on purpose, as runs with the
// times of the dropped trades, in ascending order. Nothing that a run overlaps in time is complete.
func (x *Index) Dropped(symbol string) []IDRun {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.dropped[symbol])
}

// AllDropped iterates over the ids that were removed from the tape on purpose and are not on it,
// by symbol, also of symbols of which nothing is left. Symbols and ids are ascending.
func (x *Index) AllDropped() iter.Seq2[string, IDRun] {
	return func(yield func(string, IDRun) bool) {
		x.mu.Lock()
		dropped := x.dropped // replaced as a whole, never changed
		x.mu.Unlock()
		for _, text := range slices.Sorted(maps.Keys(dropped)) {
			if !symbol.IsValid(text) {
				continue
			}
			for _, run := range subtractIDs(dropped[text], x.IDs(text)) {
				if !yield(text, run) {
					return
				}
			}
		}
	}
}

// Broken lists the segments of trades that could not be read or are stray, in the order of their paths.
func (x *Index) Broken() []BrokenSegment {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.listBroken()
}

func (x *Index) listBroken() []BrokenSegment {
	out := x.listStrays()
	for path, err := range x.broken {
		out = append(out, BrokenSegment{path, err})
	}
	slices.SortFunc(out, func(a, b BrokenSegment) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// idsOn returns the ids of a symbol in the partitions of some dates.
func (x *Index) idsOn(symbol string, dates []string) idset.Set {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out idset.Set
	for _, date := range dates {
		part := x.parts[date]
		if part == nil || part.runs[symbol] == nil {
			continue
		}
		if ids := idsOf(part.runs[symbol].runs); out == nil {
			out = ids
		} else {
			out = out.Union(ids)
		}
	}
	return out
}

// overlaps reports whether any of the ids in runs is in the partitions of some dates.
func (x *Index) overlaps(dates []string, bySymbol symbolRuns) bool {
	for symbol, runs := range bySymbol {
		published := x.idsOn(symbol, dates)
		if slices.ContainsFunc(runs, func(run IDRun) bool { return published.Overlaps(run.Range) }) {
			return true
		}
	}
	return false
}

// neighbors returns the trades with the ids before and after a run in the partitions of some dates. No
// id of the run is in them.
func (x *Index) neighbors(symbol string, dates []string, run IDRun) []tradeTime {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []tradeTime
	for _, date := range dates {
		if part := x.parts[date]; part != nil && part.runs[symbol] != nil {
			out = append(out, neighborsOf(run, part.runs[symbol].runs)...)
		}
	}
	return out
}

// around is neighbors in all partitions.
func (x *Index) around(symbol string, run IDRun) []tradeTime {
	x.mu.Lock()
	defer x.mu.Unlock()
	return neighborsOf(run, x.runsOf(symbol))
}

// neighborsOf returns the trades before and after a run in runs, which are ascending and have no id of it.
func neighborsOf(run IDRun, runs []IDRun) (out []tradeTime) {
	i := sort.Search(len(runs), func(i int) bool { return runs[i].First > run.First })
	if i > 0 {
		out = append(out, tradeTime{runs[i-1].Last, runs[i-1].LastAt})
	}
	if i < len(runs) {
		out = append(out, tradeTime{runs[i].First, runs[i].FirstAt})
	}
	return out
}

// possibleDates returns the dates on which ids of a date's rows may be on the tape: the date
// itself, and an adjacent one if a time is within an hour of it. A trade at midnight can be
// recorded on either side, and some files of the archive have an id on two days.
func possibleDates(date string, micros ...int64) []string {
	const hour = int64(time.Hour / time.Microsecond)
	first, next := dateBounds(date)
	dates := []string{date}
	if slices.ContainsFunc(micros, func(at int64) bool { return at < first+hour }) {
		dates = append(dates, DateOf(first-1))
	}
	if slices.ContainsFunc(micros, func(at int64) bool { return at >= next-hour }) {
		dates = append(dates, DateOf(next))
	}
	return dates
}

// adjacentDates returns a date and those before and after it.
func adjacentDates(date string) []string {
	first, next := dateBounds(date)
	return possibleDates(date, first, next-1)
}
