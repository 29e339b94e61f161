package tape

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Strays lists the segments of trades that are stray, in the order of their paths.
func (x *Index) Strays() []BrokenSegment {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.listStrays()
}

func (x *Index) listStrays() []BrokenSegment {
	var out []BrokenSegment
	for _, path := range slices.Sorted(maps.Keys(x.strays)) {
		out = append(out, BrokenSegment{path, x.strays[path]})
	}
	return out
}

// StrayIDs returns the ids of a symbol in stray segments of the tape. Some may be in other segments
// too. Nothing else on the tape says that they are there.
func (x *Index) StrayIDs(symbol string) (out []IDRun) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var set runSet
	for _, stray := range x.strays {
		if stray.Feed == "" && !stray.OtherTape {
			set.add(stray.runs[symbol])
		}
	}
	return set.runs
}

// findStrays finds the stray segments and takes their ids out of the index. On a tape without any it costs
// nothing, because the sets of ids notice what they are given twice.
func (x *Index) findStrays() {
	if x.evicts {
		return
	}
	for path := range x.strays { // start with all ids
		if date, ok := dateOfPath(path); ok && x.parts[date] != nil {
			x.parts[date].collect(date, nil)
			x.merged = merged{}
		}
	}
	x.strays = nil
	for date, part := range x.parts {
		if part.suspect {
			x.leaveOut(findStrays(x.tape, part.candidates(date, nil)), date)
		}
	}
	if x.merged.runs != nil && len(x.strays) == 0 {
		return
	}
	if overlap := x.mergeRuns(); !overlap {
		return
	}
	// An id is on several dates.
	var all []strayCandidate
	dates := slices.Sorted(maps.Keys(x.parts))
	for _, date := range dates {
		all = append(all, x.parts[date].candidates(date, x.strays)...)
	}
	x.leaveOut(findStrays(x.tape, all), dates...)
	x.mergeRuns()
}

// candidates returns the segments of a partition that are not known to be stray.
func (p *partition) candidates(date string, known map[string]*StrayError) (out []strayCandidate) {
	for name, file := range p.files {
		if path := segmentPath(Trades, date, name); known[path] == nil {
			out = append(out, strayCandidate{path, date, file})
		}
	}
	return out
}

// leaveOut adds strays, and takes their ids out of the partitions of some dates.
func (x *Index) leaveOut(strays map[string]*StrayError, dates ...string) {
	if len(strays) == 0 {
		return
	}
	if x.strays == nil {
		x.strays = map[string]*StrayError{}
	}
	maps.Copy(x.strays, strays)
	for _, date := range dates {
		x.parts[date].collect(date, x.strays)
	}
	x.merged = merged{}
}

// collect sets the runs to those of the segments that are not in strays.
func (p *partition) collect(date string, strays map[string]*StrayError) {
	p.runs = map[string]*runSet{}
	for _, c := range p.candidates(date, strays) {
		for symbol, runs := range c.runs {
			if p.runs[symbol] == nil {
				p.runs[strings.Clone(symbol)] = &runSet{}
			}
			p.runs[symbol].add(runs)
		}
	}
}

// dateOfPath returns the date of the partition of a segment of trades.
func dateOfPath(path string) (date string, ok bool) {
	return strings.CutPrefix(filepath.Base(filepath.Dir(path)), "date=")
}

// mergeRuns sets the runs of each symbol over all dates, and reports whether any id is on several dates.
func (x *Index) mergeRuns() (overlap bool) {
	x.merged = merged{runs: map[string]*runSet{}}
	for _, date := range slices.Sorted(maps.Keys(x.parts)) {
		for symbol, set := range x.parts[date].runs {
			all := x.merged.runs[symbol]
			if all == nil {
				all = &runSet{}
				x.merged.runs[symbol] = all
			}
			overlap = all.add(set.runs) || overlap
		}
	}
	return overlap
}
