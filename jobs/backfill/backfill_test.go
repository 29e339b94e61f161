package backfill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
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
)

var (
	day0 = time.Date(2026, 1, 13, 0, 0, 0, 0, time.UTC)
	now  = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
)

// rowAt makes the n-th aggregate trade of a symbol; each has two raw trades.
func rowAt(symbol string, id int64, at time.Time) exchange.MemoryRow {
	return exchange.MemoryRow{Symbol: symbol, Kind: exchange.AggTrade, Row: exchange.Row{
		ID: id, FirstTradeID: 10 * id, LastTradeID: 10*id + 1, Price: fmt.Sprintf("%d.%02d000000", 100+id%50, id%100), Qty: fmt.Sprintf("0.%05d000", id%99999+1),
		TradedAt: at.UnixMicro(), BuyerMaker: id%3 == 0,
	}}
}

// market makes count aggregate trades of a symbol from id first on, evenly from from to until.
func market(symbol string, first int64, count int, from, until time.Time) []exchange.MemoryRow {
	rows := make([]exchange.MemoryRow, count)
	step := until.Sub(from) / time.Duration(count)
	for i := range rows {
		rows[i] = rowAt(symbol, first+int64(i), from.Add(time.Duration(i)*step).Truncate(time.Microsecond))
	}
	return rows
}

// clock is a clock that moves only when somebody waits.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	return ctx.Err()
}

// world is a stand-in exchange, a tape and a client between them.
type world struct {
	t        *testing.T
	exchange *exchange.Server
	dir      *tape.Dir
	clients  Clients
	rows     map[string][]exchange.MemoryRow
	log      *strings.Builder
	opt      Options
}

func newWorld(t *testing.T, feed tape.Feed, rows []exchange.MemoryRow) *world {
	t.Helper()
	return newWorldWith(t, feed, rows, exchange.Options{})
}

func newWorldWith(t *testing.T, feed tape.Feed, rows []exchange.MemoryRow, opt exchange.Options) *world {
	t.Helper()
	opt.Speed, opt.Start = exchange.Manual, now
	w := &world{t: t, rows: map[string][]exchange.MemoryRow{}, log: &strings.Builder{}}
	for _, row := range rows {
		w.rows[row.Symbol] = append(w.rows[row.Symbol], row)
	}
	w.exchange = exchange.StartTest(t, exchange.NewMemory(nil, rows), opt)
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data"), feed, day0)
	if err != nil {
		t.Fatal(err)
	}
	w.dir = dir
	w.clients = w.client()
	w.opt = Options{Now: now, Run: "run-1", Logger: slog.New(slog.NewTextHandler(&lockedWriter{out: w.log}, nil))}
	// The limits are known, so that requests for them do not get in the way of counting.
	if _, _, err := w.clients.REST.ExchangeInfo(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

type lockedWriter struct {
	mu  sync.Mutex
	out *strings.Builder
}

func (w *lockedWriter) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(text)
}

// client makes a client as another process would.
func (w *world) client() Clients {
	c := &clock{at: now}
	budget := binance.OpenBudget(w.dir.StatePath("budget.json"), binance.BudgetOptions{Now: c.now, Sleep: c.sleep})
	rest := binance.NewREST(w.exchange.URL(), budget, binance.RESTOptions{Sleep: c.sleep})
	archive := binance.NewArchive(w.exchange.URL(), binance.ArchiveOptions{Sleep: c.sleep})
	w.t.Cleanup(rest.Close)
	w.t.Cleanup(archive.Close)
	return Clients{REST: rest, Archive: archive}
}

func (w *world) inject(faults ...exchange.Fault) {
	w.t.Helper()
	for _, fault := range faults {
		if _, err := w.exchange.Inject(fault); err != nil {
			w.t.Fatal(err)
		}
	}
}

// requests counts what an endpoint was asked.
func (w *world) requests(path string) int64 { return w.exchange.Served().Endpoints[path].Requests }

const aggTradesPath = "/api/v3/aggTrades"

func (w *world) run(change func(*Options)) (Summary, error) {
	w.t.Helper()
	opt := w.opt
	if change != nil {
		change(&opt)
	}
	return Run(w.t.Context(), w.dir, w.clients, opt)
}

func (w *world) mustRun(change func(*Options)) Summary {
	w.t.Helper()
	summary, err := w.run(change)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.log)
	}
	return summary
}

// seed publishes some ids of a symbol, as a stream had done.
func (w *world) seed(symbol string, ids ...idset.Range) {
	w.t.Helper()
	var trades []tape.Trade
	for _, row := range w.rows[symbol] {
		for _, span := range ids {
			if row.ID >= span.First && row.ID <= span.Last {
				trades = append(trades, w.trade(row))
			}
		}
	}
	if _, err := w.dir.Publish(w.t.Context(), trades, tape.Origin{Source: tape.FromStream}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) trade(row exchange.MemoryRow) tape.Trade {
	price, _, err := tape.ParseDecimal([]byte(row.Price))
	if err != nil {
		w.t.Fatal(err)
	}
	qty, _, err := tape.ParseDecimal([]byte(row.Qty))
	if err != nil {
		w.t.Fatal(err)
	}
	return tape.Trade{Symbol: row.Symbol, ID: row.ID, Price: price, Qty: qty, FirstTradeID: row.FirstTradeID,
		LastTradeID: row.LastTradeID, TradedAt: row.TradedAt, IsBuyerMaker: row.BuyerMaker}
}

// onTape reads all trades back.
func (w *world) onTape() map[string][]tape.Trade {
	w.t.Helper()
	segments, broken, err := w.dir.Segments(tape.Trades, "", "")
	if err != nil || len(broken) > 0 {
		w.t.Fatal(err, broken)
	}
	out := map[string][]tape.Trade{}
	for _, segment := range segments {
		trades, err := w.dir.ReadTrades(segment.Path)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, trade := range trades {
			out[trade.Symbol] = append(out[trade.Symbol], trade)
			if tape.DateOf(trade.TradedAt) != segment.Date {
				w.t.Errorf("%s holds a trade of %s", segment.Path, tape.DateOf(trade.TradedAt))
			}
		}
	}
	return out
}

// wantTape compares the tape with the exchange's rows in spans of ids.
func (w *world) wantTape(symbol string, spans ...idset.Range) {
	w.t.Helper()
	got := map[int64]tape.Trade{}
	for _, trade := range w.onTape()[symbol] {
		if _, twice := got[trade.ID]; twice {
			w.t.Errorf("%s %d is on the tape twice", symbol, trade.ID)
		}
		got[trade.ID] = trade
	}
	want := map[int64]tape.Trade{}
	for _, row := range w.rows[symbol] {
		for _, span := range spans {
			if row.ID >= span.First && row.ID <= span.Last {
				want[row.ID] = w.trade(row)
			}
		}
	}
	if maps.Equal(want, got) { // cmp takes seconds for as many
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		if len(diff) > 3000 {
			diff = diff[:3000]
		}
		w.t.Errorf("%s (-want +got):\n%s\n%s", symbol, diff, w.log)
	}
}

func TestAWindowIsFetchedIntoAnEmptyTape(t *testing.T) {
	rows := append(market("BTCUSDT", 1000, 5000, day0, now), market("ETHUSDT", 0, 300, day0, now)...)
	w := newWorld(t, tape.AggTrade, rows)
	window := func(opt *Options) {
		opt.From, opt.To, opt.Symbols = day0.Add(12*time.Hour), now, []string{"BTCUSDT", "ETHUSDT"}
	}
	before := w.requests(aggTradesPath)
	summary := w.mustRun(window)
	w.wantTape("BTCUSDT", idset.Range{First: 2000, Last: 5999})
	w.wantTape("ETHUSDT", idset.Range{First: 60, Last: 299})
	total := summary.Total()
	if !summary.Complete() || total.Fetched != 4240 || total.Missing != 4240 || total.Absent != 0 || total.Inexact != 0 {
		t.Errorf("summary = %+v", total)
	}
	asked := w.requests(aggTradesPath) - before
	if asked != 4+5 || total.Cost.Requests != asked+1 || total.Cost.Weight != 4*asked+20 {
		t.Errorf("asked %d requests, counted %+v", asked, total.Cost)
	}
	again := w.mustRun(window)
	if again.Plan.Missing() != 0 || len(again.Symbols) != 0 {
		t.Errorf("the second run found something missing: %+v", again)
	}
	if state, err := w.clients.REST.Budget().State(); err != nil || state.UsedWeight < total.Cost.Weight {
		t.Errorf("the budget does not know of it: %+v, %v", state, err)
	}
}

func TestOnlyTheGapsAreFetchedAndWithinTheRequestsPromised(t *testing.T) {
	rows := append(market("BTCUSDT", 0, 12000, day0, now), market("ETHUSDT", 0, 3000, day0, now)...)
	for _, tc := range []struct {
		name string
		have []idset.Range
		gaps []int64
	}{
		{"one of one id", []idset.Range{{First: 0, Last: 99}, {First: 101, Last: 11999}}, []int64{1}},
		{"one of exactly a page", []idset.Range{{First: 0, Last: 99}, {First: 1100, Last: 11999}}, []int64{1000}},
		{"one of a page and one", []idset.Range{{First: 0, Last: 99}, {First: 1101, Last: 11999}}, []int64{1001}},
		{"many small in one page", []idset.Range{{First: 0, Last: 99}, {First: 101, Last: 200}, {First: 210, Last: 300}, {First: 305, Last: 11999}}, []int64{1, 9, 4}},
		{"a small and a large one", []idset.Range{{First: 0, Last: 499}, {First: 500, Last: 999}, {First: 7500, Last: 9000}, {First: 9010, Last: 11999}}, []int64{6500, 9}},
		{"none", []idset.Range{{First: 0, Last: 11999}}, nil},
	} {
		if testing.Short() && len(tc.gaps) == 1 {
			continue // the others have one too
		}
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tape.AggTrade, rows)
			w.seed("BTCUSDT", tc.have...)
			before := w.exchange.Served().Endpoints
			summary := w.mustRun(nil)
			w.wantTape("BTCUSDT", idset.Range{First: 0, Last: 11999})
			missing, pages := int64(0), int64(0)
			for _, n := range tc.gaps {
				missing += n
				pages += (n + 999) / 1000
			}
			if total := summary.Total(); total.Fetched != missing || total.Missing != missing || !summary.Complete() {
				t.Errorf("fetched %d of %d", total.Fetched, missing)
			}
			requests := int64(0)
			for path, endpoint := range w.exchange.Served().Endpoints {
				requests += endpoint.Requests - before[path].Requests
			}
			if most := 1.05*float64(pages) + float64(len(tc.gaps)); float64(requests) > most {
				t.Errorf("%d requests, promised were %.2f", requests, most)
			}
			if len(w.onTape()["ETHUSDT"]) > 0 {
				t.Error("a symbol that is not on the tape was fetched")
			}
		})
	}
}

func TestAWindowTakesOnlyWhatTradedInIt(t *testing.T) {
	rows := market("BTCUSDT", 0, 6000, day0, now) // 100 an hour
	w := newWorld(t, tape.AggTrade, rows)
	w.seed("BTCUSDT", idset.Range{First: 1000, Last: 1099}, idset.Range{First: 4000, Last: 4099})
	// A window inside of the gap: the gap is not its business beyond it.
	w.mustRun(func(opt *Options) { opt.From, opt.To = day0.Add(20*time.Hour), day0.Add(30*time.Hour) })
	w.wantTape("BTCUSDT", idset.Range{First: 1000, Last: 1099}, idset.Range{First: 2000, Last: 2999}, idset.Range{First: 4000, Last: 4099})
	// One that begins before the tape and ends in it.
	w.mustRun(func(opt *Options) { opt.From, opt.To = day0.Add(5*time.Hour), day0.Add(10*time.Hour+30*time.Minute) })
	w.wantTape("BTCUSDT", idset.Range{First: 500, Last: 1099}, idset.Range{First: 2000, Last: 2999}, idset.Range{First: 4000, Last: 4099})
	// One after the tape, and one before it.
	w.mustRun(func(opt *Options) { opt.From, opt.To = day0.Add(50*time.Hour), now.Add(time.Hour) })
	w.mustRun(func(opt *Options) { opt.From, opt.To = day0.Add(-time.Hour), day0.Add(time.Hour) })
	w.wantTape("BTCUSDT", idset.Range{First: 0, Last: 99}, idset.Range{First: 500, Last: 1099}, idset.Range{First: 2000, Last: 2999}, idset.Range{First: 4000, Last: 4099}, idset.Range{First: 5000, Last: 5999})
	// And everything else without one.
	summary := w.mustRun(nil)
	w.wantTape("BTCUSDT", idset.Range{First: 0, Last: 5999})
	if !summary.Complete() {
		t.Errorf("%+v", summary.Total())
	}
}

func TestAWindowWithoutTrades(t *testing.T) {
	w := newWorld(t, tape.AggTrade, market("BTCUSDT", 5, 100, day0, day0.Add(time.Hour)))
	for _, window := range [][2]time.Time{{day0.Add(-48 * time.Hour), day0.Add(-24 * time.Hour)}, {day0.Add(2 * time.Hour), day0.Add(3 * time.Hour)}} {
		summary := w.mustRun(func(opt *Options) {
			opt.From, opt.To, opt.Symbols, opt.Source = window[0], window[1], []string{"BTCUSDT"}, RESTOnly
		})
		if summary.Plan.Missing() != 0 || len(w.onTape()) != 0 {
			t.Errorf("%v: %+v", window, summary.Total())
		}
	}
}

func TestTheTradeFeedIsFetchedByItsOwnIds(t *testing.T) {
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
	w := newWorld(t, tape.RawTrade, rows)
	w.rows["BTCUSDT"] = nil
	for _, row := range rows {
		if row.Kind == exchange.Trade {
			w.rows["BTCUSDT"] = append(w.rows["BTCUSDT"], row)
		}
	}
	summary := w.mustRun(func(opt *Options) {
		opt.From, opt.To, opt.Symbols = day0.Add(20000*time.Second), day0.Add(40000*time.Second), []string{"BTCUSDT"}
	})
	w.wantTape("BTCUSDT", idset.Range{First: 7000, Last: 8999})
	if got := summary.Plan.Weight(); got != 50 || summary.Total().Cost.Weight != 50+8+20 {
		t.Errorf("planned weight %d, used %+v", got, summary.Total().Cost)
	}
}

func TestFaultsOfRESTAreRiddenOut(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long with the race detector; make test-all runs it")
	}
	for _, kind := range []exchange.FaultKind{exchange.REST429, exchange.REST418, exchange.REST403, exchange.REST5xx, exchange.RESTReset, exchange.RESTTruncated, exchange.RESTLater} {
		t.Run(string(kind), func(t *testing.T) {
			rows := market("BTCUSDT", 0, 5000, day0, now)
			w := newWorld(t, tape.AggTrade, rows)
			w.seed("BTCUSDT", idset.Range{First: 0, Last: 9}, idset.Range{First: 4990, Last: 4999})
			w.inject(exchange.Fault{Kind: kind, Count: 4, Match: "fromId", RetryAfter: time.Nanosecond})
			summary := w.mustRun(func(opt *Options) { opt.Source, opt.Parallel = RESTOnly, 2 })
			w.wantTape("BTCUSDT", idset.Range{First: 0, Last: 4999})
			if served := w.exchange.Served().Faults[kind]; served != 4 || !summary.Complete() || summary.Total().Absent != 0 {
				t.Errorf("%d faults served, %+v", served, summary.Total())
			}
		})
	}
}

func TestIdsThatTheExchangeDoesNotHaveAreRecordedOnce(t *testing.T) {
	var rows []exchange.MemoryRow
	for _, row := range market("BTCUSDT", 0, 5000, day0, now) {
		if row.ID == 700 || row.ID >= 1000 && row.ID < 1010 || row.ID >= 2200 && row.ID < 4400 || row.ID == 4600 || row.ID == 4602 {
			continue
		}
		rows = append(rows, row)
	}
	w := newWorld(t, tape.AggTrade, rows)
	w.seed("BTCUSDT", idset.Range{First: 0, Last: 99}, idset.Range{First: 4990, Last: 4999})
	// The first answer to the gap of one id comes cut at its beginning as well.
	w.inject(exchange.Fault{Kind: exchange.RESTLater, Count: 3, Match: "fromId"})
	summary := w.mustRun(func(opt *Options) { opt.Source = RESTOnly })
	w.wantTape("BTCUSDT", idset.Range{First: 0, Last: 4999})
	absent, err := w.dir.Absent()
	if err != nil {
		t.Fatal(err)
	}
	want := idset.Set{{First: 700, Last: 700}, {First: 1000, Last: 1009}, {First: 2200, Last: 4399}, {First: 4600, Last: 4600}, {First: 4602, Last: 4602}}
	if diff := cmp.Diff(want, absent["BTCUSDT"]); diff != "" {
		t.Errorf("absent (-want +got):\n%s\n%s", diff, w.log)
	}
	if total := summary.Total(); !summary.Complete() || total.Absent != want.Count() {
		t.Errorf("%+v", total)
	}
	before := w.requests(aggTradesPath)
	again := w.mustRun(nil)
	if asked := w.requests(aggTradesPath) - before; asked != 0 || again.Plan.Missing() != 0 || again.Plan.Symbols[0].Absent != want.Count() {
		t.Errorf("asked again, %d times: %+v", asked, again.Plan)
	}
}

// The exchange shows nothing before id 3000, which is no proof that there is nothing.
func TestWhatIsNotShownIsNotAbsent(t *testing.T) {
	w := newWorld(t, tape.AggTrade, market("BTCUSDT", 3000, 100, day0.Add(48*time.Hour), now))
	old := market("BTCUSDT", 2000, 100, day0, day0.Add(time.Hour))
	w.rows["BTCUSDT"] = append(old, w.rows["BTCUSDT"]...)
	w.seed("BTCUSDT", idset.Range{First: 2000, Last: 2099}, idset.Range{First: 3000, Last: 3099})
	summary := w.mustRun(nil)
	if summary.Complete() || summary.Total().Absent != 0 || summary.Symbols[0].StillMissing.Count() != 900 {
		t.Errorf("%+v", summary.Total())
	}
	if absent, err := w.dir.Absent(); err != nil || len(absent) != 0 {
		t.Errorf("recorded as absent: %v, %v", absent, err)
	}
}

func TestAnUnknownSymbolIsOneClearError(t *testing.T) {
	w := newWorld(t, tape.AggTrade, append(market("BTCUSDT", 0, 10, day0, now), market("ETHUSDT", 0, 10, day0, now)...))
	before := w.requests(aggTradesPath)
	for name, want := range map[string]string{
		"BTCUSD":   `the exchange lists no symbol "BTCUSD"; did you mean "BTCUSDT"?`,
		"eth-usdt": `the exchange lists no symbol "eth-usdt"; did you mean "ETHUSDT"?`,
		"XYZ":      `the exchange lists no symbol "XYZ"`,
		"XYZ*":     `no trading symbol matches "XYZ*"`,
	} {
		_, err := w.run(func(opt *Options) { opt.From, opt.To, opt.Symbols = day0, now, []string{"BTCUSDT", name} })
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(w.onTape()) != 0 || w.requests(aggTradesPath) != before {
		t.Error("something was fetched all the same")
	}
	if _, err := w.run(nil); !errors.Is(err, ErrNoSymbols) {
		t.Errorf("no symbols at all: %v", err)
	}
	if _, err := w.run(func(opt *Options) { opt.From, opt.To, opt.Symbols = now, day0, []string{"BTCUSDT"} }); err == nil {
		t.Error("a window that ends before it begins is taken")
	}
	w.mustRun(func(opt *Options) { opt.From, opt.To, opt.Symbols = day0, now, []string{"*USDT"} })
	if len(w.onTape()) != 2 {
		t.Error("the pattern did not fetch both symbols")
	}
}

func TestWordsMeanTheSymbolsThatTheStreamTakesThemFor(t *testing.T) {
	var rows []exchange.MemoryRow
	for _, symbol := range []string{"BTCUSDT", "ETHUSDT", "ETHBTC"} {
		rows = append(rows, market(symbol, 0, 10, day0, now)...)
	}
	w := newWorld(t, tape.AggTrade, rows)
	w.seed("ETHBTC", idset.Range{First: 0, Last: 4}, idset.Range{First: 6, Last: 9})
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
		"*,![":           `symbol pattern "![": syntax error in pattern`,
	} {
		plan, err := Prepare(t.Context(), w.dir, w.clients, Options{From: day0, To: now, Now: now, Symbols: strings.Split(words, ",")})
		var got []string
		for _, symbol := range plan.Symbols {
			got = append(got, symbol.Symbol)
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, not %q", words, got, want)
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

func TestARunThatWasEndedGoesOnWhereItWas(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes tens of seconds with the race detector")
	}
	const rows = 130_000
	w := newWorld(t, tape.AggTrade, market("BTCUSDT", 0, rows, now.Add(-10*time.Hour), now))
	window := w.opt
	window.From, window.To, window.Symbols = now.Add(-10*time.Hour), now, []string{"BTCUSDT"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := window
	ended.Progress = &stopAfter{left: 1, cancel: cancel}
	summary, err := Run(ctx, w.dir, w.clients, ended)
	if !errors.Is(err, context.Canceled) || summary.Total().Fetched != 100_000 {
		t.Fatalf("%v, %+v", err, summary.Total())
	}
	before := w.requests(aggTradesPath)
	summary, err = Run(t.Context(), w.dir, w.client(), window)
	if err != nil {
		t.Fatal(err)
	}
	if total := summary.Total(); total.Missing != 30_000 || total.Fetched != 30_000 {
		t.Errorf("%+v", total)
	}
	if asked := w.requests(aggTradesPath) - before; asked > 32 {
		t.Errorf("%d requests for the 30 pages that were left", asked)
	}
	w.wantTape("BTCUSDT", idset.Range{First: 0, Last: rows})
}

func TestTwoBackfillsAtOnceKeepTheBudgetAndWriteEachTradeOnce(t *testing.T) {
	rows := append(market("BTCUSDT", 0, 12_000, day0, now), market("ETHUSDT", 0, 8_000, day0, now)...)
	w := newWorld(t, tape.AggTrade, rows)
	var work sync.WaitGroup
	for range 2 {
		clients := w.client()
		dir, err := tape.Open(w.dir.Path())
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			opt := w.opt
			opt.From, opt.To, opt.Symbols, opt.Source = day0, now, []string{"BTCUSDT", "ETHUSDT"}, RESTOnly
			if _, err := Run(t.Context(), dir, clients, opt); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	w.wantTape("BTCUSDT", idset.Range{First: 0, Last: 11_999})
	w.wantTape("ETHUSDT", idset.Range{First: 0, Last: 7_999})
	state, err := w.clients.REST.Budget().State()
	served := int64(0)
	for _, endpoint := range w.exchange.Served().Endpoints {
		served += endpoint.Weight
	}
	if err != nil || state.UsedWeight != served {
		t.Errorf("the budget counted %d, the exchange %d (%v)", state.UsedWeight, served, err)
	}
}
