package state

import "time"

// BudgetFile is the name of the file in which package binance keeps the request weight in use. A Blocked
// is a part of its content.
const BudgetFile = "budget.json"

// LongestBan is the exchange's longest ban (rest-api.md, "IP Limits": "from 2 minutes to 3 days"). A wait
// beyond it is an error of a server or damage of a file, and counts as this long.
const LongestBan = 3 * 24 * time.Hour

// Blocked is a wait that the exchange demands before the next request.
type Blocked struct {
	Until  time.Time `json:"blocked_until,omitzero"`
	Banned bool      `json:"banned,omitempty"` // a ban (418), not a limit (429)
}

// At returns the wait as it is at the time now: over, or LongestBan from now at most.
func (b Blocked) At(now time.Time) Blocked {
	latest := now.Add(LongestBan)
	switch {
	case !b.Until.After(now):
		return Blocked{}
	case b.Until.After(latest):
		b.Until = latest
	}
	return b
}
