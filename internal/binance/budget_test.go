package binance

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/symbol"
)

// slidingServer is the strictest exchange: it measures the weight in every span of a window.
type slidingServer struct {
	mu    sync.Mutex
	at    []time.Time
	costs []int64
	peak  int64
	total int64
}

func (s *slidingServer) record(at time.Time, window time.Duration, cost int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.costs = append(s.at, at), append(s.costs, cost)
	s.total += cost
	used := int64(0)
	for i := range s.at {
		if s.at[i].After(at.Add(-window)) && !s.at[i].After(at) {
			used += s.costs[i]
		}
	}
	s.peak = max(s.peak, used)
}

// TestBudgetKeepsAndUsesTheLimit: two budgets with several goroutines share a file. The test runs
// in a synctest bubble, so the clients send as fast as they are allowed to.
func TestBudgetKeepsAndUsesTheLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "budget.json")
	synctest.Test(t, func(t *testing.T) {
		const limit, cost, bursts = 200, 4, 11
		const requests = bursts * (limit * budgetShare / 100 / cost)
		var made atomic.Int64
		server := &slidingServer{}
		start := time.Now()
		var work sync.WaitGroup
		for process := range 2 {
			budget := OpenBudget(path, BudgetOptions{})
			if err := budget.SetLimits([]RateLimit{{limitWeight, "MINUTE", 1, limit}, {limitCalls, "MINUTE", 5, 61000}, {"ORDERS", "DAY", 1, 5}}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				work.Go(func() {
					for made.Add(1) <= requests {
						held, err := budget.reserve(t.Context(), cost, restTimeout)
						if err != nil {
							t.Errorf("process %d: %v", process, err)
							return
						}
						time.Sleep(50 * time.Millisecond)
						server.record(time.Now(), time.Minute, cost)
						time.Sleep(50 * time.Millisecond)
						if err := budget.complete(held, reportedLimits{}); err != nil {
							t.Errorf("process %d: %v", process, err)
						}
					}
				})
			}
		}
		work.Wait()
		if server.peak > limit {
			t.Errorf("%d used in a minute, the limit is %d", server.peak, limit)
		}
		elapsed := time.Since(start)
		rate := float64(server.total) * (bursts - 1) / bursts / elapsed.Minutes() // the first minute's share is available from the start
		t.Logf("%d weight in %s: %.1f a minute of %d, at most %d in any minute", server.total, elapsed, rate, limit, server.peak)
		if rate < 0.95*limit {
			t.Errorf("%.1f used per minute, less than 95%% of %d", rate, limit)
		}
	})
}

func TestReportedUsageCounts(t *testing.T) {
	clock := newTestClock()
	client, _ := newTestREST(t, clock, respond(200, `[]`, "X-MBX-USED-WEIGHT-1M", "5878"), respond(200, `[]`, "X-MBX-USED-WEIGHT-1M", "5900"))
	for range 2 {
		if _, err := client.AggTrades(t.Context(), symbol.Must("BNBBTC"), 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(clock.slept) == 0 || clock.slept[0] < 50*time.Second {
		t.Errorf("sent a request although another program had used the limit: waits %v", clock.slept)
	}
}

func TestReservationOfAKilledProcessExpires(t *testing.T) {
	clock := newTestClock()
	path := filepath.Join(t.TempDir(), "budget.json")
	budget := OpenBudget(path, BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	if err := budget.SetLimits([]RateLimit{{limitWeight, "MINUTE", 1, 10}}); err != nil {
		t.Fatal(err)
	}
	if _, err := budget.reserve(t.Context(), 8, restTimeout); err != nil { // never completed
		t.Fatal(err)
	}
	start := clock.now()
	other := OpenBudget(path, BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	if _, err := other.reserve(t.Context(), 8, restTimeout); err != nil {
		t.Fatal(err)
	}
	if waited := clock.now().Sub(start); waited < time.Minute+restTimeout || waited > time.Minute+restTimeout+time.Second {
		t.Errorf("waited %s", waited)
	}
}

func TestDamagedBudgetFileCountsAsUsed(t *testing.T) {
	clock := newTestClock()
	path := filepath.Join(t.TempDir(), "budget.json")
	if err := os.WriteFile(path, []byte("{cut"), 0o644); err != nil {
		t.Fatal(err)
	}
	start := clock.now()
	budget := OpenBudget(path, BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	if _, err := budget.reserve(t.Context(), 4, restTimeout); err != nil {
		t.Fatal(err)
	}
	if waited := clock.now().Sub(start); waited < time.Minute || waited > 5*time.Minute+2*time.Second {
		t.Errorf("waited %s", waited)
	}
}

func TestClockSetBackDoesNotBlockTheBudget(t *testing.T) {
	clock := newTestClock()
	budget := OpenBudget(filepath.Join(t.TempDir(), "budget.json"), BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	if err := budget.SetLimits([]RateLimit{{limitWeight, "MINUTE", 1, 10}}); err != nil {
		t.Fatal(err)
	}
	if _, err := budget.reserve(t.Context(), 8, restTimeout); err != nil {
		t.Fatal(err)
	}
	clock.sleep(t.Context(), -24*time.Hour)
	start := clock.now()
	if _, err := budget.reserve(t.Context(), 8, restTimeout); err != nil {
		t.Fatal(err)
	}
	if waited := clock.now().Sub(start); waited > 2*time.Minute {
		t.Errorf("waited %s", waited)
	}
}

func TestUnwritableBudgetFailsTheRequest(t *testing.T) {
	budget := OpenBudget(filepath.Join(t.TempDir(), "no data", ".state", "budget.json"), BudgetOptions{})
	if _, err := budget.reserve(t.Context(), 4, restTimeout); err == nil {
		t.Error("no error")
	}
}

func TestWaitForTheBudgetIsCancelled(t *testing.T) {
	clock := newTestClock()
	ctx, cancel := context.WithCancel(t.Context())
	client, _ := newTestREST(t, clock, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.Itoa(6000))
		fmt.Fprint(w, `[]`)
		cancel()
	})
	client.AggTrades(ctx, symbol.Must("BNBBTC"), 1, 1)
	if _, err := client.AggTrades(ctx, symbol.Must("BNBBTC"), 1, 1); err == nil {
		t.Error("no error")
	}
}
