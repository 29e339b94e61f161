package tape

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tapedeck/internal/symbol"
	"tapedeck/internal/wording"
)

// Future says that a symbol has trades that are later than a check by more than ClockSkew. Times are UTC.
type Future struct {
	Symbol string
	// LatestAt is when the latest of them traded. PastUntil is the latest time up to which the symbol is known
	// to have trades that are not of the future; zero if there are none.
	LatestAt, PastUntil time.Time
}

// add takes a run of ids into account. It reports whether the run has trades of the future.
func (f *Future) add(run IDRun, checkedAt time.Time) bool {
	first, last := timeOf(min(run.FirstAt, run.LastAt)), timeOf(max(run.FirstAt, run.LastAt))
	late := last.After(checkedAt.Add(ClockSkew))
	past := last
	if late {
		past = first
		if last.After(f.LatestAt) {
			f.LatestAt = last
		}
	}
	if !past.After(checkedAt.Add(ClockSkew)) && past.After(f.PastUntil) {
		f.PastUntil = past
	}
	return late
}

// String says it in a sentence without a dot.
func (f Future) String() string {
	return fmt.Sprintf("%s has trades of the future, up to %s UTC", wording.Name(f.Symbol), f.LatestAt.UTC().Format("2006-01-02 15:04:05.000"))
}

// Drop returns the command that removes the trades later than the check.
func (f Future) Drop(checkedAt time.Time) string {
	return fmt.Sprintf("tapedeck drop --symbols %s --from %s --to %s", f.Symbol, checkedAt.UTC().Truncate(time.Second).Format(time.RFC3339),
		f.LatestAt.Truncate(time.Second).Add(time.Second).Format(time.RFC3339))
}

// Future lists the symbols with trades that are later than the time of a check by more than ClockSkew, sorted.
func (x *Index) Future(checkedAt time.Time) (out []Future) {
	x.mu.Lock()
	defer x.mu.Unlock()
	late := map[string]bool{}
	first := DateOf(checkedAt.Add(ClockSkew).UnixMicro())
	for date, part := range x.parts {
		if date < first {
			continue
		}
		for name, set := range part.runs {
			if !symbol.IsValid(name) {
				continue
			}
			for _, run := range set.runs {
				late[name] = late[name] || new(Future).add(run, checkedAt)
			}
		}
	}
	for name, found := range late {
		if !found {
			continue
		}
		f := Future{Symbol: name}
		for _, part := range x.parts {
			if set := part.runs[name]; set != nil {
				for _, run := range set.runs {
					f.add(run, checkedAt)
				}
			}
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Future) int { return cmp.Compare(a.Symbol, b.Symbol) })
	return out
}
