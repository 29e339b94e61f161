package backfill

import (
	"fmt"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// SymbolSummary is what a backfill did for one symbol.
type SymbolSummary struct {
	Symbol symbol.Name
	// Missing is how many ids were missing at the start, without those known to be absent at the
	// exchange.
	Missing int64
	// Fetched is how many trades were published, FromArchive how many of them came from the
	// archive.
	Fetched, FromArchive int64
	// Bytes is the size of the new segments, Inexact the number of values in them whose double does
	// not print back as the exchange's decimal string.
	Bytes, Inexact int64
	// Absent is how many ids the exchange turned out not to have.
	Absent int64
	// StillMissing are the ids that could not be fetched.
	StillMissing idset.Set
	// Cost is what was requested by REST, Days the number of archive files used. Planned is how many
	// of the requests found out what is missing; only a total has them.
	Cost    binance.Cost
	Planned int64
	Days    int
	// Conflicts counts trades whose ids are on the tape with another content; the tape keeps its
	// rows. ConflictRows are the first few.
	Conflicts    int64
	ConflictRows []tape.Conflict
	// Dropped is how many ids were not fetched because they were dropped from the tape on purpose.
	Dropped int64
	// Answer is the part of the window that the run is about.
	Answer Answer
	// Problem is why ids are still missing; nil if nothing went wrong. A later run may succeed.
	Problem error

	absent idset.Set // recorded as absent at the exchange in this run
}

// hasWork reports whether anything was missing or fetched.
func (s SymbolSummary) hasWork() bool { return s.Missing != 0 || s.Fetched != 0 || s.Days != 0 }

// String says what was fetched and what is still missing.
func (s SymbolSummary) String() string {
	if !s.hasWork() {
		return "nothing was fetched"
	}
	text := wording.Count(s.Fetched, "trade") + " fetched"
	if s.FromArchive > 0 {
		text += fmt.Sprintf(", %s of them from %s", wording.Comma(s.FromArchive), wording.Count(s.Days, "archive file"))
	}
	if s.Cost.Requests > 0 {
		text += fmt.Sprintf(", with %s (weight %s)", wording.Count(s.Cost.Requests, "request"), wording.Comma(s.Cost.Weight))
		if s.Planned > 0 {
			text += fmt.Sprintf(", %s of them to find out what is missing", wording.Comma(s.Planned))
		}
	}
	if s.Absent > 0 {
		text += fmt.Sprintf("; the exchange does not have %s", wording.Count(s.Absent, "id"))
	}
	if s.Conflicts > 0 {
		text += fmt.Sprintf("; %s with the tape", wording.Count(s.Conflicts, "conflict"))
	}
	return text + fmt.Sprintf("; %s still missing", wording.Comma(s.StillMissing.Count()))
}

// Summary is what a backfill did.
type Summary struct {
	Plan    Plan
	Symbols []SymbolSummary // those that had something missing, in the plan's order
}

// Total adds up the symbols. Its Symbol, Answer and Problem are empty, and only the Count of its
// StillMissing is meaningful.
func (s Summary) Total() SymbolSummary {
	total := SymbolSummary{Cost: s.Plan.Asked, Planned: s.Plan.Asked.Requests}
	stillMissing := int64(0)
	for _, symbol := range s.Plan.Symbols {
		total.Dropped += symbol.Dropped
	}
	for _, symbol := range s.Symbols {
		total.Missing = idset.Sum(total.Missing, symbol.Missing)
		total.Fetched += symbol.Fetched
		total.FromArchive += symbol.FromArchive
		total.Bytes += symbol.Bytes
		total.Inexact += symbol.Inexact
		total.Absent += symbol.Absent
		total.Conflicts += symbol.Conflicts
		total.ConflictRows = append(total.ConflictRows, symbol.ConflictRows...)
		total.Cost = total.Cost.Plus(symbol.Cost)
		total.Days += symbol.Days
		stillMissing = idset.Sum(stillMissing, symbol.StillMissing.Count())
	}
	if stillMissing > 0 {
		total.StillMissing = idset.Set{{First: 1, Last: stillMissing}}
	}
	return total
}

// Complete reports whether nothing is missing any more that the exchange has.
func (s Summary) Complete() bool { return s.Total().StillMissing.Count() == 0 }
