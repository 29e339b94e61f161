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
)

// slidingServer is the strictest exchange: in no span of a window may the weight it saw go over its
// limit.
type slidingServer struct {
	mu    sync.Mutex
	at    []time.Time
	costs []int64
	peak  int64
	total int64
}

func (s *slidingServer) take(at time.Time, window time.Duration, cost int64) {
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

// Two processes and several goroutines share a file, in a bubble where waiting takes no time, so
// this is as fast as clients could ask.
func TestTheBudgetIsKeptAndUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "budget.json")
	synctest.Test(t, func(t *testing.T) {
		const limit, cost, bursts = 200, 4, 11
		const requests = bursts * (limit * budgetShare / 100 / cost)
		var made atomic.Int64
		server := &slidingServer{}
		begin := time.Now()
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
						server.take(time.Now(), time.Minute, cost)
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
		elapsed := time.Since(begin)
		rate := float64(server.total) * (bursts - 1) / bursts / elapsed.Minutes() // the first minute's share is there from the start
		t.Logf("%d weight in %s: %.1f a minute of %d, at most %d in any minute", server.total, elapsed, rate, limit, server.peak)
		if rate < 0.95*limit {
			t.Errorf("%.1f used a minute, under 95%% of %d", rate, limit)
		}
	})
}

func TestTheServersCountIsBelieved(t *testing.T) {
	clock := newTestClock()
	client, _ := restFor(t, clock, says(200, `[]`, "X-MBX-USED-WEIGHT-1M", "5878"), says(200, `[]`, "X-MBX-USED-WEIGHT-1M", "5900"))
	for range 2 {
		if _, err := client.AggTrades(t.Context(), "BNBBTC", 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(clock.slept) == 0 || clock.slept[0] < 50*time.Second {
		t.Errorf("went on although another program at this address has used the minute: waits %v", clock.slept)
	}
}

func TestWhatAKilledProcessHeldComesBack(t *testing.T) {
	clock := newTestClock()
	path := filepath.Join(t.TempDir(), "budget.json")
	budget := OpenBudget(path, BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	if err := budget.SetLimits([]RateLimit{{limitWeight, "MINUTE", 1, 10}}); err != nil {
		t.Fatal(err)
	}
	if _, err := budget.reserve(t.Context(), 8, restTimeout); err != nil { // and never settled
		t.Fatal(err)
	}
	begin := clock.now()
	other := OpenBudget(path, BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	if _, err := other.reserve(t.Context(), 8, restTimeout); err != nil {
		t.Fatal(err)
	}
	if waited := clock.now().Sub(begin); waited < time.Minute+restTimeout || waited > time.Minute+restTimeout+time.Second {
		t.Errorf("waited %s", waited)
	}
}

func TestABudgetFileThatIsNoneCountsAsUsed(t *testing.T) {
	clock := newTestClock()
	path := filepath.Join(t.TempDir(), "budget.json")
	if err := os.WriteFile(path, []byte("{cut"), 0o644); err != nil {
		t.Fatal(err)
	}
	begin := clock.now()
	budget := OpenBudget(path, BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	if _, err := budget.reserve(t.Context(), 4, restTimeout); err != nil {
		t.Fatal(err)
	}
	if waited := clock.now().Sub(begin); waited < time.Minute || waited > 5*time.Minute+2*time.Second {
		t.Errorf("waited %s", waited)
	}
}

func TestAClockSetBackDoesNotStopTheBudget(t *testing.T) {
	clock := newTestClock()
	budget := OpenBudget(filepath.Join(t.TempDir(), "budget.json"), BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	if err := budget.SetLimits([]RateLimit{{limitWeight, "MINUTE", 1, 10}}); err != nil {
		t.Fatal(err)
	}
	if _, err := budget.reserve(t.Context(), 8, restTimeout); err != nil {
		t.Fatal(err)
	}
	clock.sleep(t.Context(), -24*time.Hour)
	begin := clock.now()
	if _, err := budget.reserve(t.Context(), 8, restTimeout); err != nil {
		t.Fatal(err)
	}
	if waited := clock.now().Sub(begin); waited > 2*time.Minute {
		t.Errorf("waited %s", waited)
	}
}

func TestABudgetThatCannotBeWrittenFailsTheRequest(t *testing.T) {
	budget := OpenBudget(filepath.Join(t.TempDir(), "missing", "budget.json"), BudgetOptions{})
	if _, err := budget.reserve(t.Context(), 4, restTimeout); err == nil {
		t.Error("no error")
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	clock := newTestClock()
	ctx, cancel := context.WithCancel(t.Context())
	client, _ := restFor(t, clock, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.Itoa(6000))
		fmt.Fprint(w, `[]`)
		cancel()
	})
	client.AggTrades(ctx, "BNBBTC", 1, 1)
	if _, err := client.AggTrades(ctx, "BNBBTC", 1, 1); err == nil {
		t.Error("no error")
	}
}
