package backfill

import (
	"errors"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/symbol"
	"tapedeck/internal/window"
)

// archiveComplete is how old a time is when the archive has it, or never will: a day's file appears some
// hours after the day's end.
const archiveComplete = 72 * time.Hour

// CoveredUntil returns the instant up to which a later run over the plan's window has nothing left to do;
// the window's start if none of it is done, and the zero time without a window. What the exchange does not
// have, and a symbol that it does not know, is done; what it has not answered yet, or may still have, is
// not.
func (s Summary) CoveredUntil() time.Time {
	asked, answerable := s.Plan.Window, s.Plan.Answerable
	if asked == (window.Window{}) {
		return time.Time{}
	}
	until := asked.End
	earlier := func(at time.Time) {
		if at.Before(until) {
			until = at
		}
	}
	if answerable.IsEmpty() {
		return asked.Start
	}
	earlier(answerable.End)
	gone := map[symbol.Name]bool{}
	for _, symbol := range s.Symbols {
		gone[symbol.Symbol] = errors.Is(symbol.Problem, binance.ErrUnknownSymbol)
		if !gone[symbol.Symbol] && (symbol.Problem != nil || len(symbol.StillMissing) > 0) {
			return asked.Start
		}
	}
	answers := s.answers()
	for _, symbol := range s.Plan.Symbols {
		answer := answers[symbol.Symbol]
		switch {
		case gone[symbol.Symbol] || errors.Is(symbol.Problem, binance.ErrUnknownSymbol):
		case symbol.Problem != nil:
			return asked.Start
		case answer.Behind:
			earlier(answer.Window.End)
		case answer.Silent:
			// A trade that appears later has a higher id, and the ids before it are a gap that later
			// windows fill.
		case answer.Window.Start.After(asked.Start) || answer.Window.IsEmpty():
			// REST does not show so old trades. The archive may soon.
			if before := s.Plan.Clock.Exchange.Add(-archiveComplete); asked.Start.After(before) {
				return asked.Start
			}
		default:
			earlier(answer.Window.End)
		}
	}
	if until.Before(asked.Start) {
		until = asked.Start
	}
	return until
}
