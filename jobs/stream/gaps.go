package stream

import (
	"slices"
	"time"

	"tapedeck/internal/idset"
)

// gapPatience is how long another connection may take to deliver an id before its absence is
// reported.
const gapPatience = 5 * time.Second

// symbolGap is a range of ids of a symbol that no connection delivered in time, or that are missing
// between what was on the tape at the start and the first id that was received.
type symbolGap struct {
	symbol string
	ids    idset.Range
	before bool // the start
}

// message is the log message about the gap.
func (g symbolGap) message() string {
	if g.before {
		return "ids missing before the start"
	}
	return "gap in the stream"
}

// awaitFirst makes the tracker compare the first ids of symbols with the last ones on the tape. It is
// called before the symbols are requested.
func (t *tracker) awaitFirst(onTape map[string]int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onTape = onTape
}

// gapBefore returns the ids that are missing before the first one that was received, once, when that has
// been known for patience.
func (s *trackedSymbol) gapBefore(now int64, patience time.Duration) (gap idset.Range, ok bool) {
	if s.onTape < 0 || now-s.firstAt < int64(patience) {
		return gap, false
	}
	gap = idset.Range{First: s.onTape + 1, Last: s.ids.runs[0].first - 1}
	s.onTape = -1
	return gap, gap.Last >= gap.First
}

// reportGaps counts, logs and returns the gaps that have been open for at least patience, each once.
func (t *tracker) reportGaps(patience time.Duration) (gaps []symbolGap) {
	t.mu.Lock()
	now := t.clock.now()
	t.gapped = slices.DeleteFunc(t.gapped, func(s *trackedSymbol) bool {
		if gap, ok := s.gapBefore(now, patience); ok {
			gaps = append(gaps, symbolGap{s.name.String(), gap, true})
			t.counts.GapsBefore++
			t.counts.MissingBefore += gap.Last - gap.First + 1
		}
		for _, gap := range s.ids.newGaps(now, patience) {
			gaps = append(gaps, symbolGap{s.name.String(), gap, false})
			t.counts.Gaps++
			t.counts.Missing += gap.Last - gap.First + 1
		}
		s.gapped = s.ids.hasGaps() || s.onTape >= 0
		return !s.gapped
	})
	t.mu.Unlock()
	const most = 20 // lines per report
	for i, gap := range gaps {
		if i == most {
			t.log.Warn("more gaps in the stream", "gaps", len(gaps)-most)
			break
		}
		t.log.Warn(gap.message(), "symbol", gap.symbol, "first_id", gap.ids.First, "last_id", gap.ids.Last,
			"missing", gap.ids.Last-gap.ids.First+1)
	}
	return gaps
}
