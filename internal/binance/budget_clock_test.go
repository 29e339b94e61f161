package binance

import (
	"path/filepath"
	"testing"
	"time"
)

// TestLimitsFromTheFutureAreNotFresh requires limits to be read again after a clock that was ahead was set
// back.
func TestLimitsFromTheFutureAreNotFresh(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	budget := OpenBudget(filepath.Join(t.TempDir(), "budget.json"), BudgetOptions{})
	budget.now = func() time.Time { return now }
	if err := budget.SetLimits([]RateLimit{{limitWeight, "MINUTE", 1, 200}}); err != nil {
		t.Fatal(err)
	}
	for step, fresh := range map[time.Duration]bool{0: true, 23 * time.Hour: true, 25 * time.Hour: false, -time.Hour: false, -24 * time.Hour: false} {
		budget.now = func() time.Time { return now.Add(step) }
		if state, err := budget.State(); err != nil || state.LimitsFresh != fresh {
			t.Errorf("%v later: fresh %v, %v; want %v", step, state.LimitsFresh, err, fresh)
		}
	}
}
