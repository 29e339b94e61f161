package backfill

import (
	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

const (
	// overlapIDs is how many ids beside the missing ones are requested too. They are on the tape, so
	// they show whether the exchange is the one that was recorded. It is more than the number that
	// tape.Dir.Publish needs to refuse another market.
	overlapIDs = 30
	// conflictSamples is how many conflicts of a symbol are kept to be shown.
	conflictSamples = 3
)

// withOverlap returns ids and some beside them that are on the tape: before the first or after the
// last, preferably without another request.
func withOverlap(ids, onTape idset.Set) idset.Set {
	if len(ids) == 0 {
		return ids
	}
	first, last := ids[0].First, ids[len(ids)-1].Last
	least := len(pagesOf(ids))
	var chosen idset.Set
	for _, beside := range []idset.Range{{First: max(first-overlapIDs, 0), Last: first - 1}, {First: last + 1, Last: last + overlapIDs}} {
		if beside.First > beside.Last {
			continue
		}
		overlap := onTape.Intersect(idset.Set{beside})
		if len(overlap) == 0 {
			continue
		}
		extended := ids.Union(overlap)
		if len(pagesOf(extended)) == least {
			return extended
		}
		if chosen == nil {
			chosen = extended
		}
	}
	if chosen == nil {
		return ids
	}
	return chosen
}

// countConflicts adds the conflicts of a publication to the summary.
func (s *SymbolSummary) countConflicts(published tape.Published) {
	s.Conflicts += published.Conflicts
	room := max(conflictSamples-len(s.ConflictRows), 0)
	s.ConflictRows = append(s.ConflictRows, published.ConflictRows[:min(room, len(published.ConflictRows))]...)
}
