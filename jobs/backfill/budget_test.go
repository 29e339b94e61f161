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

// The exchange counts in windows of its own, on the wall clock, and the test fails if any of them sees more than the limit.
func TestTwoBackfillsAndAStreamStayInTheBudgetOfOneVolume(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes tens of seconds with the race detector")
	}
	const limit, window = 300, time.Second
	w := newWorldWith(t, tape.AggTrade, append(market("BTCUSDT", 0, 24_000, day0, now), market("ETHUSDT", 0, 24_000, day0, now)...),
		exchange.Options{WeightLimit: limit, WeightWindow: window})
	w.seed("BTCUSDT", idset.Range{First: 0, Last: 0}, idset.Range{First: 23_999, Last: 23_999})
	w.seed("ETHUSDT", idset.Range{First: 0, Last: 0}, idset.Range{First: 23_999, Last: 23_999})
	// What newWorld asked for was booked on another clock: 20 of the first window are used.
	limits := []binance.RateLimit{{Kind: "REQUEST_WEIGHT", Interval: "SECOND", Num: 1, Limit: limit - 20}}
	process := func() *binance.REST {
		budget := binance.OpenBudget(w.dir.StatePath("budget.json"), binance.BudgetOptions{})
		if err := budget.SetLimits(limits); err != nil {
			t.Fatal(err)
		}
		rest := binance.NewREST(w.exchange.URL(), budget, binance.RESTOptions{})
		t.Cleanup(rest.Close)
		return rest
	}
	ctx, end := context.WithCancel(t.Context())
	var stream, backfills sync.WaitGroup
	asked := atomic.Int64{}
	rest := process()
	stream.Go(func() { // as the stream does for its symbols and its clock
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
		dir, err := tape.Open(w.dir.Path())
		if err != nil {
			t.Fatal(err)
		}
		backfills.Go(func() {
			opt := w.opt
			opt.Source = RESTOnly
			if summary, err := Run(t.Context(), dir, Clients{REST: rest}, opt); err != nil || !summary.Complete() {
				t.Error(err, summary.Total())
			}
		})
	}
	backfills.Wait()
	end()
	stream.Wait()
	w.wantTape("BTCUSDT", idset.Range{First: 0, Last: 23_999})
	w.wantTape("ETHUSDT", idset.Range{First: 0, Last: 23_999})
	served := w.exchange.Served()
	if asked.Load() == 0 || served.Endpoints[aggTradesPath].Requests < 2*24 {
		t.Errorf("%d tickers, %+v", asked.Load(), served.Endpoints)
	}
}

// Whatever the gaps are, healing them costs a request for every thousand ids that a gap has, and hardly more.
func TestTheRequestsOfRandomGaps(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes tens of seconds with the race detector")
	}
	const ids = 20_000
	rows := market("BTCUSDT", 0, ids, day0, now)
	random := rand.New(rand.NewPCG(7, 7))
	for range 4 {
		w := newWorld(t, tape.AggTrade, rows)
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
		w.seed("BTCUSDT", have...)
		before := w.exchange.Served().Endpoints
		summary := w.mustRun(nil)
		w.wantTape("BTCUSDT", idset.Range{First: 0, Last: ids - 1})
		requests := int64(0)
		for path, endpoint := range w.exchange.Served().Endpoints {
			requests += endpoint.Requests - before[path].Requests
		}
		if most := 1.05*float64(pages) + float64(gaps); float64(requests) > most || summary.Total().Fetched != missing {
			t.Errorf("%d gaps of %d ids: %d requests, promised were %.2f; fetched %d", gaps, missing, requests, most, summary.Total().Fetched)
		}
	}
}

// A ban is known to the next process too: it asks nothing.
func TestABanIsKeptByTheNextProcess(t *testing.T) {
	w := newWorld(t, tape.AggTrade, market("BTCUSDT", 0, 1000, day0, now))
	w.seed("BTCUSDT", idset.Range{First: 0, Last: 9}, idset.Range{First: 990, Last: 999})
	w.inject(exchange.Fault{Kind: exchange.REST418, Match: "fromId", RetryAfter: 3 * time.Hour})
	for process := range 2 {
		before := w.requests(aggTradesPath)
		opt := w.opt
		summary, err := Run(t.Context(), w.dir, w.client(), opt)
		var banned *binance.BannedError
		if err == nil && len(summary.Symbols) == 1 {
			err = summary.Symbols[0].Problem
		}
		if !errors.As(err, &banned) || summary.Complete() {
			t.Errorf("process %d: %v, %+v", process, err, summary.Total())
		}
		if asked := w.requests(aggTradesPath) - before; asked != int64(1-process) {
			t.Errorf("process %d made %d requests", process, asked)
		}
	}
}

// answers notes when each answer came.
type answers struct {
	http.RoundTripper
	mu sync.Mutex
	at []time.Time
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := a.RoundTripper.RoundTrip(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
	return answer, err
}

var benchWindow = flag.Duration("window", 6*time.Second, "length of the windows in which the exchange of BenchmarkREST counts")

// BenchmarkREST fetches three windows' worth of a budget of 6,000 a minute from an exchange that answers after 50 ms. of-budget is the rate between the ends of the first
// and the last window over the rate that the limit allows, of which the budget leaves 2 % to others. The exchange's own window is a minute; a shorter one makes it harder, for
// what is lost a window is the same.
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
		budget := binance.OpenBudget(dir.StatePath("budget.json"), binance.BudgetOptions{})
		if err := budget.SetLimits([]binance.RateLimit{{Kind: "REQUEST_WEIGHT", Interval: "SECOND", Num: int64(window / time.Second), Limit: limit}}); err != nil {
			b.Fatal(err)
		}
		times := &answers{RoundTripper: http.DefaultTransport}
		rest := binance.NewREST(server.URL(), budget, binance.RESTOptions{Transport: times})
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
