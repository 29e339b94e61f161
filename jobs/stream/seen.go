package stream

import (
	"slices"
	"sort"
	"time"
)

// maxRuns is how many separate runs of ids a symbol remembers. With more the oldest is forgotten; the
// tape knows those ids.
const maxRuns = 256

// seen is the ids of one symbol that were received, as runs in ascending order with a hole before each
// but the first. Ordinarily it is one run, and an id extends it.
type seen struct {
	runs []run
}

type run struct {
	first, last int64
	// holeAt is when the hole before the run was first noticed, and told whether it was reported.
	holeAt int64 // by deck.clock
	told   bool
}

// gap is a hole in the ids that no connection has filled.
type gap struct{ first, last int64 }

// add reports whether the id is new.
func (s *seen) add(id, now int64) bool {
	n := len(s.runs)
	if n == 0 {
		s.runs = append(s.runs, run{first: id, last: id})
		return true
	}
	top := &s.runs[n-1]
	switch {
	case id == top.last+1:
		top.last++
		return true
	case id > top.last:
		if n == maxRuns {
			copy(s.runs, s.runs[1:])
			s.runs = s.runs[:n-1]
		}
		s.runs = append(s.runs, run{first: id, last: id, holeAt: now})
		return true
	case id >= top.first:
		return false
	}
	// The id is late: it lies below the last run.
	i := sort.Search(n, func(i int) bool { return s.runs[i].last >= id })
	if s.runs[i].first <= id {
		return false
	}
	below, above := i > 0 && s.runs[i-1].last+1 == id, s.runs[i].first-1 == id
	switch {
	case below && above:
		s.runs[i-1].last = s.runs[i].last
		s.runs = slices.Delete(s.runs, i, i+1)
	case below:
		s.runs[i-1].last = id
	case above:
		s.runs[i].first = id
	case i == 0 && n == maxRuns:
		// Older than all that is remembered, which is full.
	default:
		if n == maxRuns {
			s.runs = slices.Delete(s.runs, 0, 1)
			i--
		}
		late := run{first: id, last: id, holeAt: s.runs[i].holeAt, told: s.runs[i].told}
		if i == 0 {
			s.runs[0].holeAt, s.runs[0].told, late.told = now, false, false
		}
		s.runs = slices.Insert(s.runs, i, late)
	}
	return true
}

// gaps gives the holes that have been open for so long and were not given before.
func (s *seen) gaps(now int64, patience time.Duration) []gap {
	var out []gap
	for i := 1; i < len(s.runs); i++ {
		if r := &s.runs[i]; !r.told && now-r.holeAt >= int64(patience) {
			r.told = true
			out = append(out, gap{s.runs[i-1].last + 1, r.first - 1})
		}
	}
	return out
}
