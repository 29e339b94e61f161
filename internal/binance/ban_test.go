package binance

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/symbol"
)

// TestBanEndsAfterThreeDays: no server can block requests for longer than the exchange's longest ban.
func TestBanEndsAfterThreeDays(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"418, 31 years":     respond(418, `{}`, "Retry-After", "999999999"),
		"418, overflow":     respond(418, `{}`, "Retry-After", "9223372036854775807"),
		"418, a date":       respond(418, `{}`, "Retry-After", "Thu, 01 Jan 2099 00:00:00 GMT"),
		"418, in the text":  respond(418, `{"code":-1003,"msg":"IP banned until 9999999999999."}`),
		"429, 31 years":     respond(429, `{}`, "Retry-After", "999999999"),
		"firewall, 3 years": respond(403, `{}`, "Retry-After", "99999999"),
	} {
		t.Run(name, func(t *testing.T) {
			clock := newTestClock()
			client, _ := newTestREST(t, clock, answer)
			_, err := client.AggTrades(t.Context(), symbol.Must("BTCUSDT"), 1, 10)
			if err == nil {
				t.Fatal("no error")
			}
			blocked, err := client.Budget().State()
			if err != nil {
				t.Fatal(err)
			}
			if wait := blocked.BlockedUntil.Sub(clock.now()); wait > state.LongestBan || wait < state.LongestBan-time.Hour {
				t.Errorf("blocked for %s", wait)
			}
		})
	}
}

// TestPersistedBanEnds opens budgets that an earlier version or a wrong clock has blocked for decades.
func TestPersistedBanEnds(t *testing.T) {
	for _, banned := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "budget.json")
		text := fmt.Sprintf(`{"limits":[{"Kind":"REQUEST_WEIGHT","Interval":"MINUTE","Num":1,"Limit":6000}],
			"blocked_until":"2058-08-07T00:00:00Z","banned":%t,"meters":[]}`, banned)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			budget := OpenBudget(path, BudgetOptions{})
			before, err := budget.State()
			if err != nil || !before.BlockedUntil.Equal(time.Now().Add(state.LongestBan)) || before.Banned != banned {
				t.Fatalf("%+v, %v", before, err)
			}
			time.Sleep(state.LongestBan - time.Minute)
			if later, err := budget.State(); err != nil || !later.BlockedUntil.Equal(before.BlockedUntil) {
				t.Errorf("after that it was blocked until %v, now until %v, %v", before.BlockedUntil, later.BlockedUntil, err)
			}
			time.Sleep(time.Minute)
			if _, err := budget.reserve(t.Context(), 4, restTimeout); err != nil {
				t.Errorf("after three days: %v", err)
			}
		})
	}
}

// TestImpossibleLimitsAreIgnored: the limits of a server cannot stop requests for years either, nor can
// the usage that it reports.
func TestImpossibleLimitsAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "budget.json")
		budget := OpenBudget(path, BudgetOptions{})
		if err := budget.SetLimits([]RateLimit{
			{limitWeight, "DAY", 100_000, 1}, {limitCalls, "DAY", 9223372036854775807, 1}, {limitWeight, "MINUTE", 1, 9223372036854775807},
			{limitWeight, "MINUTE", 1, 1200},
		}); err != nil {
			t.Fatal(err)
		}
		if got, err := budget.State(); err != nil || len(got.Limits) != 1 || got.Limits[0].Limit != 1200 {
			t.Errorf("%+v, %v", got.Limits, err)
		}
		began := time.Now()
		for range 3 {
			held, err := budget.reserve(t.Context(), 4, restTimeout)
			if err != nil {
				t.Fatal(err)
			}
			if err := budget.complete(held, reportedLimits{used: map[string]int64{"1m": 9223372036854775807}}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 5*time.Minute {
			t.Errorf("three requests took %s", took)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), `"MINUTE"`, `"YEARS"`)), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := budget.State(); err != nil || got.WeightPerMinute() != 6000*budgetShare/100 {
			t.Errorf("limits of a damaged file: %+v, %v", got, err)
		}
	})
}
