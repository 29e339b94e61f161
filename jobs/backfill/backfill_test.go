package backfill

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/progress"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

func TestWindowIsFetchedIntoAnEmptyTape(t *testing.T) {
	rows := append(market("BTCUSDT", 1000, 5000, day0, now), market("ETHUSDT", 0, 300, day0, now)...)
	h := newHarness(t, tape.AggTrade, rows)
	secondHalf := func(opt *Options) {
		opt.Window.Start, opt.Window.End, opt.Symbols = day0.Add(12*time.Hour), now, symbolsOf("BTCUSDT", "ETHUSDT")
	}
	before := h.requests(aggTradesPath)
	summary := h.mustBackfill(secondHalf)
	h.checkTape("BTCUSDT", idset.Range{First: 2000, Last: 5999})
	h.checkTape("ETHUSDT", idset.Range{First: 60, Last: 299})
	total := summary.Total()
	if !summary.Complete() || total.Fetched != 4240 || total.Missing != 4240 || total.Absent != 0 || total.Inexact != 0 {
		t.Errorf("summary = %+v", total)
	}
	asked := h.requests(aggTradesPath) - before
	if asked != 4+5 || total.Cost.Requests != asked+2 || total.Cost.Weight != 4*asked+20+1 {
		t.Errorf("asked %d requests, counted %+v", asked, total.Cost)
	}
	again := h.mustBackfill(secondHalf)
	if again.Plan.Missing() != 0 || len(again.Symbols) != 0 {
		t.Errorf("the second run found missing ids: %+v", again)
	}
	if state, err := h.clients.REST.Budget().State(); err != nil || state.UsedWeight < total.Cost.Weight {
		t.Errorf("the budget lacks the weight of the requests: %+v, %v", state, err)
	}
}

func TestGapsAreFetchedWithinTheRequestLimit(t *testing.T) {
	rows := append(market("BTCUSDT", 0, 12000, day0, now), market("ETHUSDT", 0, 3000, day0, now)...)
	for _, tc := range []struct {
		name string
		have []idset.Range
		gaps []int64
	}{
		{"one id", []idset.Range{{First: 0, Last: 99}, {First: 101, Last: 11999}}, []int64{1}},
		{"exactly one page", []idset.Range{{First: 0, Last: 99}, {First: 1100, Last: 11999}}, []int64{1000}},
		{"one page and one id", []idset.Range{{First: 0, Last: 99}, {First: 1101, Last: 11999}}, []int64{1001}},
		{"several small gaps in one page", []idset.Range{{First: 0, Last: 99}, {First: 101, Last: 200}, {First: 210, Last: 300}, {First: 305, Last: 11999}}, []int64{1, 9, 4}},
		{"a small and a large gap", []idset.Range{{First: 0, Last: 499}, {First: 500, Last: 999}, {First: 7500, Last: 9000}, {First: 9010, Last: 11999}}, []int64{6500, 9}},
		{"none", []idset.Range{{First: 0, Last: 11999}}, nil},
	} {
		if testing.Short() && len(tc.gaps) == 1 {
			continue // the other cases cover single gaps too
		}
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t, tape.AggTrade, rows)
			h.publish("BTCUSDT", tc.have...)
			before := h.exchange.Served().Endpoints
			summary := h.mustBackfill(nil)
			h.checkTape("BTCUSDT", idset.Range{First: 0, Last: 11999})
			missing, pages := int64(0), int64(0)
			for _, n := range tc.gaps {
				missing += n
				pages += (n + 999) / 1000
			}
			if total := summary.Total(); total.Fetched != missing || total.Missing != missing || !summary.Complete() {
				t.Errorf("fetched %d of %d", total.Fetched, missing)
			}
			requests := int64(0)
			for path, endpoint := range h.exchange.Served().Endpoints {
				requests += endpoint.Requests - before[path].Requests
			}
			if most := 1.05*float64(pages) + float64(len(tc.gaps)); float64(requests) > most {
				t.Errorf("%d requests, at most %.2f allowed", requests, most)
			}
			if len(h.readTape()["ETHUSDT"]) > 0 {
				t.Error("fetched a symbol that is not on the tape")
			}
		})
	}
}

func TestOnlyTheWindowIsFetched(t *testing.T) {
	rows := market("BTCUSDT", 0, 6000, day0, now) // 100 an hour
	h := newHarness(t, tape.AggTrade, rows)
	h.publish("BTCUSDT", idset.Range{First: 1000, Last: 1099}, idset.Range{First: 4000, Last: 4099})
	// A window inside a gap.
	h.mustBackfill(func(opt *Options) { opt.Window.Start, opt.Window.End = day0.Add(20*time.Hour), day0.Add(30*time.Hour) })
	h.checkTape("BTCUSDT", idset.Range{First: 1000, Last: 1099}, idset.Range{First: 2000, Last: 2999}, idset.Range{First: 4000, Last: 4099})
	// A window that starts before the tape and ends in it.
	h.mustBackfill(func(opt *Options) {
		opt.Window.Start, opt.Window.End = day0.Add(5*time.Hour), day0.Add(10*time.Hour+30*time.Minute)
	})
	h.checkTape("BTCUSDT", idset.Range{First: 500, Last: 1099}, idset.Range{First: 2000, Last: 2999}, idset.Range{First: 4000, Last: 4099})
	// A window after the tape, and one before it.
	h.mustBackfill(func(opt *Options) { opt.Window.Start, opt.Window.End = day0.Add(50*time.Hour), now.Add(time.Hour) })
	h.mustBackfill(func(opt *Options) { opt.Window.Start, opt.Window.End = day0.Add(-time.Hour), day0.Add(time.Hour) })
	h.checkTape("BTCUSDT", idset.Range{First: 0, Last: 99}, idset.Range{First: 500, Last: 1099}, idset.Range{First: 2000, Last: 2999}, idset.Range{First: 4000, Last: 4099}, idset.Range{First: 5000, Last: 5999})
	// No window: all gaps inside the tape.
	summary := h.mustBackfill(nil)
	h.checkTape("BTCUSDT", idset.Range{First: 0, Last: 5999})
	if !summary.Complete() {
		t.Errorf("%+v", summary.Total())
	}
}

func TestWindowWithoutTrades(t *testing.T) {
	h := newHarness(t, tape.AggTrade, market("BTCUSDT", 5, 100, day0, day0.Add(time.Hour)))
	for _, window := range []window.Window{
		{Start: day0.Add(-48 * time.Hour), End: day0.Add(-24 * time.Hour)},
		{Start: day0.Add(2 * time.Hour), End: day0.Add(3 * time.Hour)},
	} {
		summary := h.mustBackfill(func(opt *Options) {
			opt.Window, opt.Symbols, opt.Source = window, symbolsOf("BTCUSDT"), RESTOnly
		})
		if summary.Plan.Missing() != 0 || len(h.readTape()) != 0 {
			t.Errorf("%v: %+v", window, summary.Total())
		}
	}
}

func TestRawTradesAreFetchedByTheirOwnIDs(t *testing.T) {
	var rows []exchange.MemoryRow
	for i := range int64(3000) {
		at := day0.Add(time.Duration(i) * 20 * time.Second)
		agg := rowAt("BTCUSDT", i, at)
		agg.FirstTradeID, agg.LastTradeID = 5000+2*i, 5001+2*i
		rows = append(rows, agg)
		for raw := agg.FirstTradeID; raw <= agg.LastTradeID; raw++ {
			trade := agg
			trade.Kind, trade.ID, trade.FirstTradeID, trade.LastTradeID = exchange.Trade, raw, raw, raw
			rows = append(rows, trade)
		}
	}
	h := newHarness(t, tape.RawTrade, rows)
	h.rows["BTCUSDT"] = nil
	for _, row := range rows {
		if row.Kind == exchange.Trade {
			h.rows["BTCUSDT"] = append(h.rows["BTCUSDT"], row)
		}
	}
	summary := h.mustBackfill(func(opt *Options) {
		opt.Window.Start, opt.Window.End, opt.Symbols = day0.Add(20000*time.Second), day0.Add(40000*time.Second), symbolsOf("BTCUSDT")
	})
	h.checkTape("BTCUSDT", idset.Range{First: 7000, Last: 8999})
	if got := summary.Plan.Weight(); got != 50 || summary.Total().Cost.Weight != 50+8+20+1 {
		t.Errorf("planned weight %d, used %+v", got, summary.Total().Cost)
	}
}

func TestRESTFaultsAreRetried(t *testing.T) {
	if testing.Short() {
		t.Skip("slow with the race detector; make test-all runs it")
	}
	for _, kind := range []exchange.FaultKind{exchange.REST429, exchange.REST418, exchange.REST403, exchange.REST5xx, exchange.RESTReset, exchange.RESTTruncated, exchange.RESTLater} {
		t.Run(string(kind), func(t *testing.T) {
			rows := market("BTCUSDT", 0, 5000, day0, now)
			h := newHarness(t, tape.AggTrade, rows)
			h.publish("BTCUSDT", idset.Range{First: 0, Last: 9}, idset.Range{First: 4990, Last: 4999})
			h.inject(exchange.Fault{Kind: kind, Count: 4, Match: "fromId", RetryAfter: time.Nanosecond})
			summary := h.mustBackfill(func(opt *Options) { opt.Source, opt.Parallel = RESTOnly, 2 })
			h.checkTape("BTCUSDT", idset.Range{First: 0, Last: 4999})
			if served := h.exchange.Served().Faults[kind]; served != 4 || !summary.Complete() || summary.Total().Absent != 0 {
				t.Errorf("%d faults served, %+v", served, summary.Total())
			}
		})
	}
}

func TestAbsentIDsAreRecordedAndNotRequestedAgain(t *testing.T) {
	var rows []exchange.MemoryRow
	for _, row := range market("BTCUSDT", 0, 5000, day0, now) {
		if row.ID == 700 || row.ID >= 1000 && row.ID < 1010 || row.ID >= 2200 && row.ID < 4400 || row.ID == 4600 || row.ID == 4602 {
			continue
		}
		rows = append(rows, row)
	}
	h := newHarness(t, tape.AggTrade, rows)
	h.publish("BTCUSDT", idset.Range{First: 0, Last: 99}, idset.Range{First: 4990, Last: 4999})
	// The first answers also lack rows at their beginning.
	h.inject(exchange.Fault{Kind: exchange.RESTLater, Count: 3, Match: "fromId"})
	summary := h.mustBackfill(func(opt *Options) { opt.Source = RESTOnly })
	h.checkTape("BTCUSDT", idset.Range{First: 0, Last: 4999})
	absent, err := h.dir.Absent()
	if err != nil {
		t.Fatal(err)
	}
	want := idset.Set{{First: 700, Last: 700}, {First: 1000, Last: 1009}, {First: 2200, Last: 4399}, {First: 4600, Last: 4600}, {First: 4602, Last: 4602}}
	if diff := cmp.Diff(want, absent["BTCUSDT"]); diff != "" {
		t.Errorf("absent (-want +got):\n%s\n%s", diff, h.log)
	}
	if total := summary.Total(); !summary.Complete() || total.Absent != want.Count() {
		t.Errorf("%+v", total)
	}
	before := h.requests(aggTradesPath)
	again := h.mustBackfill(nil)
	if asked := h.requests(aggTradesPath) - before; asked != 0 || again.Plan.Missing() != 0 || again.Plan.Symbols[0].Absent != want.Count() {
		t.Errorf("%d requests in the second run: %+v", asked, again.Plan)
	}
}

// The exchange returns nothing before id 3000, which does not prove that there is nothing.
func TestIDsBelowAllAnswersAreNotAbsent(t *testing.T) {
	h := newHarness(t, tape.AggTrade, market("BTCUSDT", 3000, 100, day0.Add(48*time.Hour), now))
	old := market("BTCUSDT", 2000, 100, day0, day0.Add(time.Hour))
	h.rows["BTCUSDT"] = append(old, h.rows["BTCUSDT"]...)
	h.publish("BTCUSDT", idset.Range{First: 2000, Last: 2099}, idset.Range{First: 3000, Last: 3099})
	summary := h.mustBackfill(nil)
	if summary.Complete() || summary.Total().Absent != 0 || summary.Symbols[0].StillMissing.Count() != 900 {
		t.Errorf("%+v", summary.Total())
	}
	if absent, err := h.dir.Absent(); err != nil || len(absent) != 0 {
		t.Errorf("recorded as absent: %v, %v", absent, err)
	}
}

func TestUnknownSymbolIsNamedWithTheNearest(t *testing.T) {
	h := newHarness(t, tape.AggTrade, append(market("BTCUSDT", 0, 10, day0, now), market("ETHUSDT", 0, 10, day0, now)...))
	before := h.requests(aggTradesPath)
	for name, want := range map[string]string{
		"BTCUSD":   `the exchange lists no symbol "BTCUSD"; did you mean "BTCUSDT"?`,
		"eth-usdt": `the exchange lists no symbol "eth-usdt"; did you mean "ETHUSDT"?`,
		"XYZ":      `the exchange lists no symbol "XYZ"`,
		"XYZ*":     `no trading symbol matches "XYZ*"`,
	} {
		_, err := h.run(func(opt *Options) {
			opt.Window.Start, opt.Window.End, opt.Symbols = day0, now, symbolsOf("BTCUSDT", name)
		})
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(h.readTape()) != 0 || h.requests(aggTradesPath) != before {
		t.Error("fetched something in spite of the error")
	}
	if _, err := h.run(nil); !errors.Is(err, ErrNoSymbols) {
		t.Errorf("no symbols at all: %v", err)
	}
	if _, err := h.run(func(opt *Options) { opt.Window.Start, opt.Window.End, opt.Symbols = now, day0, symbolsOf("BTCUSDT") }); err == nil {
		t.Error("accepted a window that ends before it starts")
	}
	h.mustBackfill(func(opt *Options) { opt.Window.Start, opt.Window.End, opt.Symbols = day0, now, symbolsOf("*USDT") })
	if len(h.readTape()) != 2 {
		t.Error("the pattern did not fetch both symbols")
	}
}

func TestNamesAndPatternsChooseSymbols(t *testing.T) {
	var rows []exchange.MemoryRow
	for _, symbol := range []string{"BTCUSDT", "ETHUSDT", "ETHBTC"} {
		rows = append(rows, market(symbol, 0, 10, day0, now)...)
	}
	h := newHarness(t, tape.AggTrade, rows)
	h.publish("ETHBTC", idset.Range{First: 0, Last: 4}, idset.Range{First: 6, Last: 9})
	for words, want := range map[string]string{
		"btcusdt":        "BTCUSDT",
		"ethbtc":         "ETHBTC",
		"*usdt,ETHBTC":   "BTCUSDT ETHBTC ETHUSDT",
		"ETH*,!*BTC":     "ETHUSDT",
		"*,!eth*":        "BTCUSDT",
		"*USDT>1e-12":    "BTCUSDT ETHUSDT",
		"*USDT>1e30":     `no trading symbol matches "*USDT>1e30"`,
		"ETH*>1e30":      "ETHBTC", // it is on the tape
		"*USDT>lots":     `symbol pattern "*USDT>lots": ">" needs the least volume of 24 hours in quote asset, for example *USDT>1000000`,
		"ETHBTC,!ETHBTC": "no symbol is left: the words with a leading ! exclude all of them",
		"*,![":           `"[" is neither a symbol nor a pattern, such as *USDT: besides * and ? it can have letters, digits, "_", "-" and "."`,
	} {
		list, err := binance.ParseSymbolList(strings.Split(words, ","))
		var plan Plan
		if err == nil {
			plan, err = Prepare(t.Context(), h.dir, h.clients, Options{Window: window.Window{Start: day0, End: now}, Now: now, Symbols: list})
		}
		var got []string
		for _, symbol := range plan.Symbols {
			got = append(got, symbol.Symbol.String())
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", words, got, want)
		}
	}
}

// stopAfter cancels a run after some pieces, as a signal would.
type stopAfter struct {
	progress.None
	left   int
	cancel context.CancelFunc
}

func (s *stopAfter) Set(string, int64) {
	if s.left--; s.left == 0 {
		s.cancel()
	}
}

func TestCancelledRunContinuesWhereItStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("takes tens of seconds with the race detector")
	}
	const rows = 130_000
	h := newHarness(t, tape.AggTrade, market("BTCUSDT", 0, rows, now.Add(-10*time.Hour), now))
	opt := h.opt
	opt.Window.Start, opt.Window.End, opt.Symbols = now.Add(-10*time.Hour), now, symbolsOf("BTCUSDT")
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := opt
	cancelled.Progress = &stopAfter{left: 1, cancel: cancel}
	summary, err := Run(ctx, h.dir, h.clients, cancelled)
	if !errors.Is(err, context.Canceled) || summary.Total().Fetched != 100_000 {
		t.Fatalf("%v, %+v", err, summary.Total())
	}
	before := h.requests(aggTradesPath)
	summary, err = Run(t.Context(), h.dir, h.client(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if total := summary.Total(); total.Missing != 30_000 || total.Fetched != 30_000 {
		t.Errorf("%+v", total)
	}
	if asked := h.requests(aggTradesPath) - before; asked > 32 {
		t.Errorf("%d requests for the remaining 30 pages", asked)
	}
	h.checkTape("BTCUSDT", idset.Range{First: 0, Last: rows})
}

func TestConcurrentBackfillsShareTheBudgetAndWriteEachTradeOnce(t *testing.T) {
	rows := append(market("BTCUSDT", 0, 12_000, day0, now), market("ETHUSDT", 0, 8_000, day0, now)...)
	h := newHarness(t, tape.AggTrade, rows)
	var work sync.WaitGroup
	for range 2 {
		clients := h.client()
		dir, err := tape.Open(h.dir.Path())
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			opt := h.opt
			opt.Window.Start, opt.Window.End, opt.Symbols, opt.Source = day0, now, symbolsOf("BTCUSDT", "ETHUSDT"), RESTOnly
			if _, err := Run(t.Context(), dir, clients, opt); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	h.checkTape("BTCUSDT", idset.Range{First: 0, Last: 11_999})
	h.checkTape("ETHUSDT", idset.Range{First: 0, Last: 7_999})
	state, err := h.clients.REST.Budget().State()
	served := int64(0)
	for _, endpoint := range h.exchange.Served().Endpoints {
		served += endpoint.Weight
	}
	if err != nil || state.UsedWeight != served {
		t.Errorf("the budget counted %d, the exchange %d (%v)", state.UsedWeight, served, err)
	}
}
