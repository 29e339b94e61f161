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

// all is everything a reader can see of a market.
func all(m *Market, kind Kind) map[string][]Row {
	rows := make(map[string][]Row)
	for _, s := range m.Symbols() {
		rows[s.Name] = m.Rows(s.Name, kind, math.MinInt64, math.MaxInt)
	}
	return rows
}

func equal(a, b map[string][]Row) bool {
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

// pumpSoon is a market of two hours with an incident under way at Start.
func pumpSoon(seed uint64) Config {
	return Config{Seed: seed, Start: noon, History: 2 * time.Hour, Incidents: []Incident{
		{Kind: PumpBurst, Symbol: "VIBUSDT", At: noon.Add(-time.Minute)},
		{Kind: VolatilityRegime, Symbol: "LINKUSDT", At: noon.Add(10 * time.Second)},
	}}
}

func TestSameSeedSameTrades(t *testing.T) {
	one, other := market(t, pumpSoon(7)), market(t, pumpSoon(7))
	if !equal(all(one, AggTrades), all(other, AggTrades)) || !equal(all(one, Trades), all(other, Trades)) {
		t.Error("two markets of one seed differ")
	}
	if !slices.Equal(one.Injected(), other.Injected()) {
		t.Error("two markets of one seed have other incidents")
	}
	if equal(all(one, AggTrades), all(market(t, pumpSoon(8)), AggTrades)) {
		t.Error("two seeds give the same market")
	}
}

func TestExtendInAnySteps(t *testing.T) {
	whole, cut := market(t, pumpSoon(7)), market(t, pumpSoon(7))
	before := all(cut, AggTrades)
	end := noon.Add(7*time.Minute + 311*time.Millisecond)
	whole.Extend(end)
	for at, n := noon, 0; at.Before(end); n++ {
		at = at.Add(time.Duration(1+n*n%977) * 3 * time.Millisecond)
		cut.Extend(at)
		cut.Extend(at.Add(-time.Second)) // does nothing
	}
	whole.Extend(cut.Horizon()) // the last cut may lie a little after end
	got := all(cut, AggTrades)
	if !equal(all(whole, AggTrades), got) {
		t.Error("the market depends on how the calls to Extend are cut")
	}
	for symbol, rows := range before {
		if !slices.Equal(rows, got[symbol][:len(rows)]) {
			t.Errorf("%s: extending changed what was visible before", symbol)
		}
	}
	if last := got["BTCUSDT"][len(got["BTCUSDT"])-1].Time; last >= cut.Horizon().UnixMicro() {
		t.Error("a row at or after the horizon is visible")
	}
}

func TestIDsFollowOneAnother(t *testing.T) {
	m := market(t, Config{Seed: 3, History: 10 * time.Hour})
	raws := all(m, Trades)
	for symbol, aggs := range all(m, AggTrades) {
		raw := raws[symbol]
		if len(aggs) == 0 {
			t.Errorf("%s: no trades", symbol)
			continue
		}
		at := 0
		for i, agg := range aggs {
			if i > 0 && (agg.ID != aggs[i-1].ID+1 || agg.FirstTradeID != aggs[i-1].LastTradeID+1 || agg.Time < aggs[i-1].Time) {
				t.Fatalf("%s: after %+v comes %+v", symbol, aggs[i-1], agg)
			}
			sum := int64(0)
			for id := agg.FirstTradeID; id <= agg.LastTradeID; id++ {
				r := raw[at]
				at++
				if r.ID != id || r.FirstTradeID != id || r.LastTradeID != id || r.Price != agg.Price || r.Time != agg.Time || r.BuyerMaker != agg.BuyerMaker {
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
	if id := m.Rows("BTCUSDT", AggTrades, 0, 1)[0].ID; id < 3_000_000_000 {
		t.Errorf("BTCUSDT's first id is %d, want one beyond 32 bits", id)
	}
	if rows := m.Rows("LUMAUSDT", Trades, 0, 1); rows[0].ID != 0 || time.UnixMicro(rows[0].Time).Before(noon.Add(-listedBefore)) {
		t.Errorf("the new listing begins with %+v", rows[0])
	}
}

// units reads a decimal of eight places, strictly, as hundred-millionths.
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

func TestGrid(t *testing.T) {
	m := market(t, Config{Seed: 4, Symbols: 60, History: 3 * time.Hour})
	for _, s := range m.Symbols() {
		tick, step, least := units(t, s.TickSize), units(t, s.StepSize), units(t, s.MinNotional)
		p := m.byName[s.Name]
		var order float64
		for i, row := range m.Rows(s.Name, AggTrades, 0, math.MaxInt) {
			price, qty := units(t, row.Price), units(t, row.Qty)
			if price <= 0 || qty <= 0 || price%tick != 0 || qty%step != 0 {
				t.Fatalf("%s: %+v is off the grid of %s and %s", s.Name, row, s.TickSize, s.StepSize)
			}
			if r := p.tape.at(i); r.price*p.spec.tick != price || r.qty*p.spec.step != qty {
				t.Fatalf("%s: %+v is printed from %+v", s.Name, row, r)
			}
			order += float64(price) / 1e8 * float64(qty)
			if i+1 == p.tape.visible || p.tape.at(i+1).time != row.Time {
				if order < .99*float64(least) {
					t.Fatalf("%s: an order of %.8f at %+v is under the minimum of %s", s.Name, order/1e8, row, s.MinNotional)
				}
				order = 0
			}
		}
	}
}

func TestReading(t *testing.T) {
	m := market(t, Config{Seed: 5, History: 30 * time.Minute})
	for _, kind := range []Kind{AggTrades, Trades} {
		rows := m.Rows("ETHUSDT", kind, 0, math.MaxInt)
		first, last := rows[0], rows[len(rows)-1]
		for _, i := range []int{0, 1, 17, len(rows) / 2, len(rows) - 1} {
			if got := m.Rows("ETHUSDT", kind, rows[i].ID, 5); !slices.Equal(got, rows[i:min(i+5, len(rows))]) {
				t.Errorf("five rows of kind %d from the one of number %d: %v", kind, i, got)
			}
			at := time.UnixMicro(rows[i].Time)
			want := i
			for want > 0 && rows[want-1].Time == rows[i].Time {
				want--
			}
			if id, ok := m.FirstAt("ETHUSDT", kind, at); !ok || id != rows[want].ID {
				t.Errorf("FirstAt(%d) = %d, %t, want %d", rows[i].Time, id, ok, rows[want].ID)
			}
			if id, ok := m.LastBefore("ETHUSDT", kind, at); ok != (want > 0) || ok && id != rows[want-1].ID {
				t.Errorf("LastBefore(%d) = %d, %t", rows[i].Time, id, ok)
			}
		}
		if got := m.Rows("ETHUSDT", kind, last.ID+1, 5); len(got) != 0 {
			t.Errorf("rows after the last: %v", got)
		}
		if id, ok := m.LastBefore("ETHUSDT", kind, noon); !ok || id != last.ID {
			t.Errorf("LastBefore(start) = %d, %t, want %d", id, ok, last.ID)
		}
		if id, ok := m.FirstAt("ETHUSDT", kind, noon.Add(-time.Hour)); !ok || id != first.ID {
			t.Errorf("FirstAt(long ago) = %d, %t, want %d", id, ok, first.ID)
		}
		if _, ok := m.FirstAt("ETHUSDT", kind, noon); ok {
			t.Error("FirstAt(start) found a row")
		}
		reused := m.AppendRows(rows[:0:0], "ETHUSDT", kind, first.ID, 3)
		if got := m.AppendRows(reused[:1], "ETHUSDT", kind, first.ID+1, 2); !slices.Equal(got, rows[:3]) {
			t.Errorf("AppendRows = %v", got)
		}
		if got := m.Rows("NOSUCH", kind, 0, 5); got != nil {
			t.Errorf("rows of an unknown symbol: %v", got)
		}
		if got := m.Rows("ETHUSDT", kind, 0, -1); got != nil {
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

func TestReadersWhileItGrows(t *testing.T) {
	m := market(t, Config{Seed: 6, History: time.Minute, Rate: 20})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for _, kind := range []Kind{AggTrades, Trades} {
		readers.Go(func() {
			next := m.Rows("BTCUSDT", kind, 0, 1)[0].ID
			var rows []Row
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				horizon := m.Horizon()
				last, _ := m.LastBefore("BTCUSDT", kind, horizon)
				rows = m.AppendRows(rows[:0], "BTCUSDT", kind, next, 500)
				for _, row := range rows {
					if row.ID != next {
						t.Errorf("kind %d: read %d, want %d", kind, row.ID, next)
						return
					}
					next++
				}
				if len(rows) < 500 && next <= last {
					t.Errorf("kind %d: %d was visible, read up to %d", kind, last, next)
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

func TestDayIsOfTheSizeThatADemoBears(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := market(t, Config{Seed: 9})
	runtime.GC()
	runtime.ReadMemStats(&after)
	rows := 0
	for _, p := range m.pairs {
		rows += p.tape.visible
	}
	if rows < 400_000 || rows > 700_000 {
		t.Errorf("the default market has %d aggregated trades, want 400,000 to 700,000", rows)
	}
	if each := float64(after.HeapAlloc-before.HeapAlloc) / float64(rows); each > 48 {
		t.Errorf("%.1f bytes an aggregated trade, want 48 at most", each)
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
	// One more symbol leaves the trades of the others as they are.
	few := Config{Seed: 1, Symbols: 3, History: 10 * time.Minute, Start: noon}
	for symbol, rows := range all(market(t, few), AggTrades) {
		if symbol == "BTCUSDT" && len(rows) == 0 {
			t.Error("BTCUSDT does not trade alone")
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
		t.Errorf("%.0f orders a minute by day, %.0f by night: want a day", day, night)
	}
	// Lively minutes follow lively ones: the number of orders is correlated from one minute to the next.
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
		t.Errorf("variance %.0f of orders a minute with mean %.0f: no livelier than chance", squares/float64(len(b)), mean)
	}
}

// TestCrossesAgree holds the crosses to the pairs they follow from, unless an incident parts them.
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
