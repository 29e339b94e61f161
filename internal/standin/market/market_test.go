package market

import (
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/standin/exchange"
)

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

func market(t testing.TB, config Config) *Market {
	t.Helper()
	if config.Start.IsZero() {
		config.Start = noon
	}
	m, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// allRows returns all visible rows of a market by symbol.
func allRows(m *Market, kind exchange.Kind) map[string][]exchange.Row {
	rows := make(map[string][]exchange.Row)
	for _, s := range m.Symbols() {
		rows[s.Name] = m.Rows(nil, s.Name, kind, math.MinInt64, math.MaxInt)
	}
	return rows
}

func equal(a, b map[string][]exchange.Row) bool {
	if len(a) != len(b) {
		return false
	}
	for symbol := range a {
		if !slices.Equal(a[symbol], b[symbol]) {
			return false
		}
	}
	return true
}

// pumpSoon describes a market of two hours with an incident in progress at Start.
func pumpSoon(seed uint64) Config {
	return Config{Seed: seed, Start: noon, History: 2 * time.Hour, Incidents: []Incident{
		{Kind: PumpBurst, Symbol: "VIBUSDT", At: noon.Add(-time.Minute)},
		{Kind: VolatilityRegime, Symbol: "LINKUSDT", At: noon.Add(10 * time.Second)},
	}}
}

func TestSameSeedSameTrades(t *testing.T) {
	one, other := market(t, pumpSoon(7)), market(t, pumpSoon(7))
	if !equal(allRows(one, exchange.AggTrade), allRows(other, exchange.AggTrade)) || !equal(allRows(one, exchange.Trade), allRows(other, exchange.Trade)) {
		t.Error("two markets of one seed differ")
	}
	if !slices.Equal(one.Injected(), other.Injected()) {
		t.Error("two markets of one seed have different incidents")
	}
	if equal(allRows(one, exchange.AggTrade), allRows(market(t, pumpSoon(8)), exchange.AggTrade)) {
		t.Error("two seeds give the same market")
	}
}

func TestStepsOfExtendDoNotMatter(t *testing.T) {
	whole, stepped := market(t, pumpSoon(7)), market(t, pumpSoon(7))
	before := allRows(stepped, exchange.AggTrade)
	end := noon.Add(7*time.Minute + 311*time.Millisecond)
	whole.Extend(end)
	for at, n := noon, 0; at.Before(end); n++ {
		at = at.Add(time.Duration(1+n*n%977) * 3 * time.Millisecond)
		stepped.Extend(at)
		stepped.Extend(at.Add(-time.Second)) // does nothing
	}
	whole.Extend(stepped.Horizon()) // the last step may end a little after end
	got := allRows(stepped, exchange.AggTrade)
	if !equal(allRows(whole, exchange.AggTrade), got) {
		t.Error("the market depends on the steps of Extend")
	}
	for symbol, rows := range before {
		if !slices.Equal(rows, got[symbol][:len(rows)]) {
			t.Errorf("%s: extending changed what was visible before", symbol)
		}
	}
	if last := got["BTCUSDT"][len(got["BTCUSDT"])-1].TradedAt; last >= stepped.Horizon().UnixMicro() {
		t.Error("a row at or after the horizon is visible")
	}
}

func TestIDsAreConsecutive(t *testing.T) {
	m := market(t, Config{Seed: 3, History: 10 * time.Hour})
	raws := allRows(m, exchange.Trade)
	for symbol, aggs := range allRows(m, exchange.AggTrade) {
		raw := raws[symbol]
		if len(aggs) == 0 {
			t.Errorf("%s: no trades", symbol)
			continue
		}
		at := 0
		for i, agg := range aggs {
			if i > 0 && (agg.ID != aggs[i-1].ID+1 || agg.FirstTradeID != aggs[i-1].LastTradeID+1 || agg.TradedAt < aggs[i-1].TradedAt) {
				t.Fatalf("%s: %+v follows %+v", symbol, agg, aggs[i-1])
			}
			sum := int64(0)
			for id := agg.FirstTradeID; id <= agg.LastTradeID; id++ {
				r := raw[at]
				at++
				if r.ID != id || r.FirstTradeID != id || r.LastTradeID != id || r.Price != agg.Price || r.TradedAt != agg.TradedAt || r.BuyerMaker != agg.BuyerMaker {
					t.Fatalf("%s: raw trade %+v of %+v", symbol, r, agg)
				}
				part := units(t, r.Qty)
				if part <= 0 {
					t.Fatalf("%s: raw trade %+v", symbol, r)
				}
				sum += part
			}
			if sum != units(t, agg.Qty) {
				t.Fatalf("%s: raw trades of %+v sum to %d", symbol, agg, sum)
			}
		}
		if at != len(raw) {
			t.Errorf("%s: %d raw trades, %d of them in aggregated ones", symbol, len(raw), at)
		}
	}
	if id := m.Rows(nil, "BTCUSDT", exchange.AggTrade, 0, 1)[0].ID; id < 3_000_000_000 {
		t.Errorf("BTCUSDT's first id is %d, want one beyond 32 bits", id)
	}
	if rows := m.Rows(nil, "LUMAUSDT", exchange.Trade, 0, 1); rows[0].ID != 0 || time.UnixMicro(rows[0].TradedAt).Before(noon.Add(-listedBefore)) {
		t.Errorf("the first trade of the new listing is %+v", rows[0])
	}
}

// units parses a decimal of exactly eight places into hundred-millionths.
func units(t *testing.T, text string) int64 {
	t.Helper()
	whole, rest, ok := strings.Cut(text, ".")
	if !ok || len(rest) != 8 || len(whole) == 0 || len(whole) > 1 && whole[0] == '0' {
		t.Fatalf("%q is not a decimal of eight places", text)
	}
	n, err := strconv.ParseInt(whole+rest, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPricesAndQuantitiesAreOnTheGrid(t *testing.T) {
	m := market(t, Config{Seed: 4, Symbols: 60, History: 3 * time.Hour})
	for _, s := range m.Symbols() {
		tick, step, minimum := units(t, s.TickSize), units(t, s.StepSize), units(t, s.MinNotional)
		p := m.byName[s.Name]
		var order float64
		for i, row := range m.Rows(nil, s.Name, exchange.AggTrade, 0, math.MaxInt) {
			price, qty := units(t, row.Price), units(t, row.Qty)
			if price <= 0 || qty <= 0 || price%tick != 0 || qty%step != 0 {
				t.Fatalf("%s: %+v is off the grid of %s and %s", s.Name, row, s.TickSize, s.StepSize)
			}
			if r := p.row(i); r.price*p.tick != price || r.qty*p.step != qty {
				t.Fatalf("%s: %+v was printed from %+v", s.Name, row, r)
			}
			order += float64(price) / 1e8 * float64(qty)
			if i+1 == p.visible || p.row(i+1).time != row.TradedAt {
				if order < .99*float64(minimum) {
					t.Fatalf("%s: an order of %.8f at %+v is below the minimum of %s", s.Name, order/1e8, row, s.MinNotional)
				}
				order = 0
			}
		}
	}
}

func TestReadMethodsAgree(t *testing.T) {
	m := market(t, Config{Seed: 5, History: 30 * time.Minute})
	for _, kind := range []exchange.Kind{exchange.AggTrade, exchange.Trade} {
		rows := m.Rows(nil, "ETHUSDT", kind, 0, math.MaxInt)
		first, last := rows[0], rows[len(rows)-1]
		for _, i := range []int{0, 1, 17, len(rows) / 2, len(rows) - 1} {
			if got := m.Rows(nil, "ETHUSDT", kind, rows[i].ID, 5); !slices.Equal(got, rows[i:min(i+5, len(rows))]) {
				t.Errorf("five rows of kind %s from row %d: %v", kind, i, got)
			}
			at := rows[i].TradedAt
			want := i
			for want > 0 && rows[want-1].TradedAt == rows[i].TradedAt {
				want--
			}
			if id, ok := m.FirstAt("ETHUSDT", kind, at); !ok || id != rows[want].ID {
				t.Errorf("FirstAt(%d) = %d, %t, want %d", rows[i].TradedAt, id, ok, rows[want].ID)
			}
			if id, ok := m.LastBefore("ETHUSDT", kind, at); ok != (want > 0) || ok && id != rows[want-1].ID {
				t.Errorf("LastBefore(%d) = %d, %t", rows[i].TradedAt, id, ok)
			}
		}
		if got := m.Rows(nil, "ETHUSDT", kind, last.ID+1, 5); len(got) != 0 {
			t.Errorf("rows after the last: %v", got)
		}
		if id, ok := m.LastBefore("ETHUSDT", kind, noon.UnixMicro()); !ok || id != last.ID {
			t.Errorf("LastBefore(start) = %d, %t, want %d", id, ok, last.ID)
		}
		if id, ok := m.FirstAt("ETHUSDT", kind, noon.Add(-time.Hour).UnixMicro()); !ok || id != first.ID {
			t.Errorf("FirstAt(long ago) = %d, %t, want %d", id, ok, first.ID)
		}
		if _, ok := m.FirstAt("ETHUSDT", kind, noon.UnixMicro()); ok {
			t.Error("FirstAt(start) found a row")
		}
		reused := m.Rows(rows[:0:0], "ETHUSDT", kind, first.ID, 3)
		if got := m.Rows(reused[:1], "ETHUSDT", kind, first.ID+1, 2); !slices.Equal(got, rows[:3]) {
			t.Errorf("Rows appended to a slice with one row = %v", got)
		}
		if got := m.Rows(nil, "NOSUCH", kind, 0, 5); got != nil {
			t.Errorf("rows of an unknown symbol: %v", got)
		}
		if got := m.Rows(nil, "ETHUSDT", kind, 0, -1); got != nil {
			t.Errorf("rows with a negative limit: %v", got)
		}
	}
}

func TestDecimal(t *testing.T) {
	for units, want := range map[int64]string{
		0: "0.00000000", 1: "0.00000001", 1e8: "1.00000000", 9425017000000: "94250.17000000", 120_000_000: "1.20000000",
		math.MaxInt64: "92233720368.54775807",
	} {
		if got := decimal(units); got != want {
			t.Errorf("decimal(%d) = %q, want %q", units, got, want)
		}
	}
}

func TestReadWhileExtending(t *testing.T) {
	m := market(t, Config{Seed: 6, History: time.Minute, Rate: 20})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for _, kind := range []exchange.Kind{exchange.AggTrade, exchange.Trade} {
		readers.Go(func() {
			next := m.Rows(nil, "BTCUSDT", kind, 0, 1)[0].ID
			var rows []exchange.Row
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				horizon := m.Horizon()
				last, _ := m.LastBefore("BTCUSDT", kind, horizon.UnixMicro())
				rows = m.Rows(rows[:0], "BTCUSDT", kind, next, 500)
				for _, row := range rows {
					if row.ID != next {
						t.Errorf("kind %s: read %d, want %d", kind, row.ID, next)
						return
					}
					next++
				}
				if len(rows) < 500 && next <= last {
					t.Errorf("kind %s: %d was visible, read up to %d", kind, last, next)
				}
				runtime.Gosched()
			}
		})
	}
	for at := noon; at.Before(noon.Add(20 * time.Second)); at = at.Add(77 * time.Millisecond) {
		m.Extend(at)
	}
	close(done)
	readers.Wait()
}

func TestSizeOfTheDefaultMarket(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := market(t, Config{Seed: 9})
	runtime.GC()
	runtime.ReadMemStats(&after)
	rows := 0
	for _, p := range m.pairs {
		rows += p.visible
	}
	if rows < 400_000 || rows > 700_000 {
		t.Errorf("the default market has %d aggregated trades, want 400,000 to 700,000", rows)
	}
	if each := float64(after.HeapAlloc-before.HeapAlloc) / float64(rows); each > 48 {
		t.Errorf("%.1f bytes per aggregated trade, want at most 48", each)
	}
	runtime.KeepAlive(m)
}

func TestManySymbols(t *testing.T) {
	m := market(t, Config{Seed: 1, Symbols: MaxSymbols, History: 10 * time.Minute})
	names := make(map[string]bool)
	for _, s := range m.Symbols() {
		if names[s.Name] {
			t.Errorf("two symbols are named %s", s.Name)
		}
		names[s.Name] = true
		if s.Name != s.Base+s.Quote {
			t.Errorf("%s trades %s in %s", s.Name, s.Base, s.Quote)
		}
	}
	if len(names) != MaxSymbols {
		t.Errorf("%d symbols, want %d", len(names), MaxSymbols)
	}
	few := Config{Seed: 1, Symbols: 3, History: 10 * time.Minute, Start: noon}
	for symbol, rows := range allRows(market(t, few), exchange.AggTrade) {
		if symbol == "BTCUSDT" && len(rows) == 0 {
			t.Error("BTCUSDT does not trade in a market of three symbols")
		}
	}
}

func TestActivity(t *testing.T) {
	m := market(t, Config{Seed: 12, Quiet: true})
	b, first := bars(m, m.Symbols()[0])
	var night, day, squares, products float64
	for i, x := range b {
		switch first.Add(time.Duration(i) * time.Minute).Hour() {
		case 2, 3, 4, 5:
			night += x.orders / 240
		case 14, 15, 16, 17:
			day += x.orders / 240
		}
	}
	if day < 1.3*night {
		t.Errorf("%.0f orders a minute by day, %.0f by night: want 1.3 times as many by day", day, night)
	}
	// Orders come in bursts: their numbers in consecutive minutes are correlated.
	mean := 0.0
	for _, x := range b {
		mean += x.orders / float64(len(b))
	}
	for i := 1; i < len(b); i++ {
		products += (b[i].orders - mean) * (b[i-1].orders - mean)
		squares += (b[i].orders - mean) * (b[i].orders - mean)
	}
	if products/squares < .3 {
		t.Errorf("correlation of successive minutes is %.2f, want bursts", products/squares)
	}
	if squares/float64(len(b)) < 1.5*mean {
		t.Errorf("orders a minute have variance %.0f and mean %.0f, which a Poisson process has too", squares/float64(len(b)), mean)
	}
}

// TestCrossesAgree compares crosses with the prices implied by other pairs, with and without a de-peg.
func TestCrossesAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("two days of all symbols")
	}
	ratio := func(a, b float64) float64 { return a / b }
	for _, incidents := range [][]Incident{{}, {{Kind: CrossPair, Symbol: "ETHBTC"}}} {
		m := market(t, Config{Seed: 11, Incidents: incidents})
		found := append(crossAlarms(m, "ETHBTC", ratio, "ETHUSDT", "BTCUSDT"), crossAlarms(m, "BTCUSDC", ratio, "BTCUSDT", "USDCUSDT")...)
		if len(incidents) == 0 && len(found) > 0 {
			t.Errorf("without an incident %d minutes are 1 %% off, the first at %s", len(found), found[0].at)
		}
		if len(incidents) > 0 && len(found) < 5 {
			t.Errorf("in a de-peg %d minutes are 1 %% off, want several", len(found))
		}
		for _, a := range found {
			if _, ok := explained(m, a); !ok {
				t.Errorf("%s is off at %s without reason", a.symbol, a.at)
			}
		}
	}
}

// TestBetweenReturnsTheRowsOfEachSlice asks for the rows of consecutive slices of time, with a pause, and
// compares them with Rows.
func TestBetweenReturnsTheRowsOfEachSlice(t *testing.T) {
	m := market(t, Config{Seed: 3, History: time.Hour, Symbols: 20, Rate: 20, Quiet: true})
	from, until := noon.UnixMicro(), noon.Add(2*time.Minute).UnixMicro()
	pauseFrom, pauseUntil := noon.Add(time.Minute).UnixMicro(), noon.Add(80*time.Second).UnixMicro()
	for _, kind := range exchange.Kinds() {
		got := map[int][]exchange.Row{}
		last := int64(0)
		for at, step := from, int64(1); at < until; step = step%977_001*3 + 1 {
			next := min(at+step, until)
			if at < pauseFrom && next > pauseFrom {
				next = pauseFrom
			}
			m.Release(next)
			for _, e := range m.Between(nil, kind, at, next) {
				if e.TradedAt <= at || e.TradedAt > next || e.TradedAt < last {
					t.Fatalf("%d in (%d, %d] after %d", e.TradedAt, at, next, last)
				}
				last = e.TradedAt
				got[e.Symbol] = append(got[e.Symbol], e.Row)
			}
			if at = next; at == pauseFrom {
				at = pauseUntil
			}
		}
		total := 0
		for i, symbol := range m.Symbols() {
			var want []exchange.Row
			if first, ok := m.FirstAt(symbol.Name, kind, from+1); ok {
				want = slices.DeleteFunc(m.Rows(nil, symbol.Name, kind, first, 1<<20), func(r exchange.Row) bool {
					return r.TradedAt > until || r.TradedAt > pauseFrom && r.TradedAt <= pauseUntil
				})
			}
			if diff := cmp.Diff(want, got[i]); diff != "" {
				t.Fatalf("%s %s (-Rows +Between):\n%.1000s", symbol.Name, kind, diff)
			}
			total += len(want)
		}
		if total < 1000 {
			t.Errorf("%s: only %d rows", kind, total)
		}
	}
}
