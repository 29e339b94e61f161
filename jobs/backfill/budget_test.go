package backfill

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tapedeck/internal/benchtest"
	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
)

// The stand-in exchange fails the test if the weight in one of its own windows exceeds the limit.
func TestTwoBackfillsAndAStreamShareOneBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("takes tens of seconds with the race detector")
	}
	const limit, window = 300, time.Second
	h := newHarnessWith(t, tape.AggTrade, append(market("BTCUSDT", 0, 24_000, day0, now), market("ETHUSDT", 0, 24_000, day0, now)...),
		exchange.Options{WeightLimit: limit, WeightWindow: window})
	h.publish("BTCUSDT", idset.Range{First: 0, Last: 0}, idset.Range{First: 23_999, Last: 23_999})
	h.publish("ETHUSDT", idset.Range{First: 0, Last: 0}, idset.Range{First: 23_999, Last: 23_999})
	// newHarness used another clock: its requests of weight 20 count in the exchange's first
	// window.
	limits := []binance.RateLimit{{Kind: "REQUEST_WEIGHT", Interval: "SECOND", Num: 1, Limit: limit - 20}}
	process := func() *binance.REST {
		budget := binance.OpenBudget(h.dir.State().Path("budget.json"), binance.BudgetOptions{})
		if err := budget.SetLimits(limits); err != nil {
			t.Fatal(err)
		}
		rest := binance.NewREST(h.exchange.URL(), budget, binance.ClientOptions{})
		t.Cleanup(rest.Close)
		return rest
	}
	ctx, cancel := context.WithCancel(t.Context())
	var stream, backfills sync.WaitGroup
	asked := atomic.Int64{}
	rest := process()
	stream.Go(func() { // like the stream does for its symbols and its clock
		for ctx.Err() == nil {
			if _, err := rest.Tickers(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			asked.Add(1)
		}
	})
	for range 2 {
		rest := process()
		dir, err := tape.Open(h.dir.Path())
		if err != nil {
			t.Fatal(err)
		}
		backfills.Go(func() {
			opt := h.opt
			opt.Source = RESTOnly
			if summary, err := Run(t.Context(), dir, Clients{REST: rest}, opt); err != nil || !summary.Complete() {
				t.Error(err, summary.Total())
			}
		})
	}
	backfills.Wait()
	cancel()
	stream.Wait()
	h.checkTape("BTCUSDT", idset.Range{First: 0, Last: 23_999})
	h.checkTape("ETHUSDT", idset.Range{First: 0, Last: 23_999})
	served := h.exchange.Served()
	if asked.Load() == 0 || served.Endpoints[aggTradesPath].Requests < 2*24 {
		t.Errorf("%d tickers, %+v", asked.Load(), served.Endpoints)
	}
}

// Filling gaps costs little more than one request for every thousand ids of each gap.
func TestRequestsForRandomGaps(t *testing.T) {
	if testing.Short() {
		t.Skip("takes tens of seconds with the race detector")
	}
	const ids = 20_000
	rows := market("BTCUSDT", 0, ids, day0, now)
	random := rand.New(rand.NewPCG(7, 7))
	for range 4 {
		h := newHarness(t, tape.AggTrade, rows)
		missing, pages, gaps := int64(0), int64(0), int64(0)
		var have []idset.Range
		for next := int64(0); ; {
			kept := 1 + random.Int64N(int64(1)<<random.IntN(12))
			lost := 1 + random.Int64N(int64(1)<<random.IntN(13))
			if next+kept+lost >= ids-1 {
				have = append(have, idset.Range{First: next, Last: ids - 1})
				break
			}
			have = append(have, idset.Range{First: next, Last: next + kept - 1})
			next += kept + lost
			missing += lost
			pages += (lost + 999) / 1000
			gaps++
		}
		h.publish("BTCUSDT", have...)
		before := h.exchange.Served().Endpoints
		summary := h.mustBackfill(nil)
		h.checkTape("BTCUSDT", idset.Range{First: 0, Last: ids - 1})
		requests := int64(0)
		for path, endpoint := range h.exchange.Served().Endpoints {
			requests += endpoint.Requests - before[path].Requests
		}
		if most := 1.05*float64(pages) + float64(gaps); float64(requests) > most || summary.Total().Fetched != missing {
			t.Errorf("%d gaps of %d ids: %d requests, at most %.2f allowed; fetched %d", gaps, missing, requests, most, summary.Total().Fetched)
		}
	}
}

// A ban applies to the next process too: it sends no request.
func TestBanAppliesToTheNextProcess(t *testing.T) {
	h := newHarness(t, tape.AggTrade, market("BTCUSDT", 0, 1000, day0, now))
	h.publish("BTCUSDT", idset.Range{First: 0, Last: 9}, idset.Range{First: 990, Last: 999})
	h.inject(exchange.Fault{Kind: exchange.REST418, Match: "fromId", RetryAfter: 3 * time.Hour})
	for process := range 2 {
		before := h.requests(aggTradesPath)
		opt := h.opt
		summary, err := Run(t.Context(), h.dir, h.client(), opt)
		var banned *binance.BannedError
		if err == nil && len(summary.Symbols) == 1 {
			err = summary.Symbols[0].Problem
		}
		if !errors.As(err, &banned) || summary.Complete() {
			t.Errorf("process %d: %v, %+v", process, err, summary.Total())
		}
		if asked := h.requests(aggTradesPath) - before; asked != int64(1-process) {
			t.Errorf("process %d made %d requests", process, asked)
		}
	}
}

// answerTimes records when each answer was received.
type answerTimes struct {
	http.RoundTripper
	mu sync.Mutex
	at []time.Time
}

func (a *answerTimes) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := a.RoundTripper.RoundTrip(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
	return answer, err
}

var benchWindow = flag.Duration("window", 6*time.Second, "length of the exchange's windows in BenchmarkREST")

// BenchmarkREST fetches three windows' worth of a budget of 6,000 per minute from an exchange that
// answers after 50 ms. of-budget is the rate from the end of the first window to the end of the
// last, divided by the rate that the limit allows; the budget leaves 2 % to others. The exchange's
// own window is a minute. A shorter one is harder, because the loss per window is the same.
func BenchmarkREST(b *testing.B) {
	window := *benchWindow
	limit := int64(6000 * window / time.Minute)
	perWindow := limit * 98 / 100 / 4
	ids := 3 * perWindow * 1000
	rows := market("BTCUSDT", 0, int(ids)+2, day0, now)
	benchtest.Turns(b, func(b *testing.B) {
		server := exchange.StartTest(b, exchange.NewMemory(nil, rows),
			exchange.Options{Speed: exchange.Manual, Start: now, Latency: 50 * time.Millisecond, WeightLimit: limit, WeightWindow: window})
		dir, err := tape.Create(b.TempDir()+"/data", tape.AggTrade, day0)
		if err != nil {
			b.Fatal(err)
		}
		budget := binance.OpenBudget(dir.State().Path("budget.json"), binance.BudgetOptions{})
		if err := budget.SetLimits([]binance.RateLimit{{Kind: "REQUEST_WEIGHT", Interval: "SECOND", Num: int64(window / time.Second), Limit: limit}}); err != nil {
			b.Fatal(err)
		}
		times := &answerTimes{RoundTripper: http.DefaultTransport}
		rest := binance.NewREST(server.URL(), budget, binance.ClientOptions{Transport: times})
		defer rest.Close()
		edges := []tape.Trade{
			{Symbol: "BTCUSDT", ID: 0, Price: 1, Qty: 1, TradedAt: day0.UnixMicro()}, {Symbol: "BTCUSDT", ID: ids + 1, Price: 1, Qty: 1, TradedAt: now.UnixMicro()},
		}
		if _, err := dir.Publish(b.Context(), edges, tape.Origin{Source: tape.FromStream}); err != nil {
			b.Fatal(err)
		}
		summary, err := Run(b.Context(), dir, Clients{REST: rest}, Options{Source: RESTOnly, Now: now})
		if err != nil || !summary.Complete() {
			b.Fatal(err, summary.Total())
		}
		rate := float64(4*2*perWindow) / times.at[len(times.at)-1].Sub(times.at[perWindow-1]).Seconds()
		b.ReportMetric(rate/(float64(limit)/window.Seconds()), "of-budget")
		b.ReportMetric(float64(len(times.at))/float64(ids/1000), "of-least-requests")
		b.ReportMetric(float64(summary.Total().Fetched)/times.at[len(times.at)-1].Sub(times.at[0]).Seconds(), "trades/s")
	})
}
