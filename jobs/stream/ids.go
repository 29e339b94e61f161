package stream

import (
	"slices"
	"sort"
	"time"

	"tapedeck/internal/idset"
)

// maxRuns is how many separate runs of ids are kept per symbol. The oldest run is dropped for
// another; the tape still recognizes its ids.
const maxRuns = 256

// receivedIDs is the set of ids of one symbol that were received: runs in ascending order, with a
// gap before each except the first. It is usually one run that each id extends.
type receivedIDs struct {
	runs []idRun
}

type idRun struct {
	first, last int64
	// gapSince is when the gap before the run was noticed, by the run's clock; gapReported is set
	// once it was reported.
	gapSince    int64
	gapReported bool
}

// add reports whether the id is new.
func (r *receivedIDs) add(id, now int64) bool {
	n := len(r.runs)
	if n == 0 {
		r.runs = append(r.runs, idRun{first: id, last: id})
		return true
	}
	top := &r.runs[n-1]
	switch {
	case id == top.last+1:
		top.last++
		return true
	case id > top.last:
		if n == maxRuns {
			copy(r.runs, r.runs[1:])
			r.runs = r.runs[:n-1]
		}
		r.runs = append(r.runs, idRun{first: id, last: id, gapSince: now})
		return true
	case id >= top.first:
		return false
	}
	return r.addBelow(id, now)
}

// addBelow adds an id below the last run.
func (r *receivedIDs) addBelow(id, now int64) bool {
	n := len(r.runs)
	i := sort.Search(n, func(i int) bool { return r.runs[i].last >= id })
	if r.runs[i].first <= id {
		return false
	}
	extendsBelow, extendsAbove := i > 0 && r.runs[i-1].last+1 == id, r.runs[i].first-1 == id
	switch {
	case extendsBelow && extendsAbove:
		r.runs[i-1].last = r.runs[i].last
		r.runs = slices.Delete(r.runs, i, i+1)
	case extendsBelow:
		r.runs[i-1].last = id
	case extendsAbove:
		r.runs[i].first = id
	case i == 0 && n == maxRuns:
		// Below all runs, and there is no room for another.
	default:
		if n == maxRuns {
			r.runs = slices.Delete(r.runs, 0, 1)
			i--
		}
		late := idRun{first: id, last: id, gapSince: r.runs[i].gapSince, gapReported: r.runs[i].gapReported}
		if i == 0 {
			r.runs[0].gapSince, r.runs[0].gapReported, late.gapReported = now, false, false
		}
		r.runs = slices.Insert(r.runs, i, late)
	}
	return true
}

// hasGaps reports whether there is a gap between the ids.
func (r *receivedIDs) hasGaps() bool { return len(r.runs) > 1 }

// newGaps returns the gaps that have been open for at least patience and were not returned before.
func (r *receivedIDs) newGaps(now int64, patience time.Duration) []idset.Range {
	var gaps []idset.Range
	for i := 1; i < len(r.runs); i++ {
		if run := &r.runs[i]; !run.gapReported && now-run.gapSince >= int64(patience) {
			run.gapReported = true
			gaps = append(gaps, idset.Range{First: r.runs[i-1].last + 1, Last: run.first - 1})
		}
	}
	return gaps
}
