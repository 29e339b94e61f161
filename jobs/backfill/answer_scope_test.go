package backfill

import (
	"strings"
	"testing"
	"time"

	"tapedeck/internal/window"
)

// A symbol without trades on the tape has no first and last trade that a summary could name.
func TestScopeOfSymbolsWithoutTrades(t *testing.T) {
	day := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	if got := scopeOf([]Answer{{}, {Window: window.Window{Start: day, End: day.Add(time.Hour)}}}); strings.Contains(got, "0001") || !strings.Contains(got, "2026-01-15 01:00:00") {
		t.Error(got)
	}
	if got := scopeOf([]Answer{{}, {}}); got != "inside the tape" {
		t.Error(got)
	}
}
