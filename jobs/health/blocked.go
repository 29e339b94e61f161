package health

import (
	"fmt"
	"time"

	"tapedeck/internal/state"
)

// blockedWarning returns a line about a wait that the exchange demands, or "". It delays what asks for
// history, not the stream. A file that is missing or damaged says nothing.
func blockedWarning(reader StateReader, now time.Time) string {
	var blocked state.Blocked
	if reader.Read(state.BudgetFile, &blocked) != nil {
		return ""
	}
	blocked = blocked.At(now)
	verb := "limits this address (429)"
	if blocked.Banned {
		verb = "has banned this address (418)"
	}
	if blocked.Until.IsZero() {
		return ""
	}
	return fmt.Sprintf("the exchange %s until %s; backfill waits or fails until then", verb, blocked.Until.UTC().Format(time.RFC3339))
}
