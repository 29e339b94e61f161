package market

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/standin/exchange"
)

func perpetual(t testing.TB, config PerpetualConfig) *Perpetual {
	t.Helper()
	if config.Now.IsZero() {
		config.Now = noon
	}
	v, err := NewPerpetual(config)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestRestartedMarketShowsTheSameRows starts one market at many times, with other histories, and reads
// it in other ways. Each (symbol, id) must have one content.
func TestRestartedMarketShowsTheSameRows(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector; make test-all runs it")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	type key struct {
		symbol string
		kind   exchange.Kind
		id     int64
	}
	shown, again := map[key]exchange.Row{}, 0
	note := func(symbol string, kind exchange.Kind, row exchange.Row) {
		k := key{symbol, kind, row.ID}
		before, ok := shown[k]
		if ok && before != row {
			t.Fatalf("%s %s: %+v, and after a restart %+v", symbol, kind, before, row)
		}
		if ok {
			again++
		}
		shown[k] = row
	}
	midnight := time.Date(2026, 1, 16, 0, 0, 0, 0, time.UTC)
	incidents := perpetual(t, PerpetualConfig{Seed: 7, Now: midnight}).Injected(midnight.AddDate(0, 0, -1), midnight)
	if len(incidents) == 0 {
		t.Fatal("no incidents")
	}
	for n := range 40 {
		// Restarts around midnight and around an incident, and anywhere in the day.
		now := midnight.Add(time.Duration(random.Int64N(int64(10*time.Minute))) - 5*time.Minute)
		switch n % 3 {
		case 1:
			now = incidents[n%len(incidents)].At.Add(time.Duration(random.Int64N(int64(20 * time.Minute))))
		case 2:
			now = midnight.Add(-time.Duration(random.Int64N(int64(24 * time.Hour))))
		}
		config := PerpetualConfig{Seed: 7, Now: now}
		if n%2 == 0 {
			config.History = time.Duration(1+random.IntN(600)) * time.Second
		}
		v := perpetual(t, config)
		kind := exchange.Kinds()[n%2]
		from := now.UnixMicro()
		for range 30 { // live time
			until := from + 1 + random.Int64N(10*second)
			v.Release(until)
			for _, e := range v.Between(nil, kind, from, until) {
				note(v.Symbols()[e.Symbol].Name, kind, e.Row)
			}
			from = until
		}
		for range 20 { // pages of history
			symbol := v.Symbols()[random.IntN(len(v.Symbols()))].Name
			at := now.Add(-time.Duration(random.Int64N(int64(15 * time.Minute))))
			if first, ok := v.FirstAt(symbol, kind, at.UnixMicro()); ok {
				for _, row := range v.Rows(nil, symbol, kind, first, 1+random.IntN(300)) {
					note(symbol, kind, row)
				}
			}
		}
	}
	if again < 1000 {
		t.Errorf("only %d rows were shown twice", again)
	}
	other := perpetual(t, PerpetualConfig{Seed: 8})
	id, _ := other.LastBefore("BTCUSDT", exchange.AggTrade, noon.UnixMicro())
	same := perpetual(t, PerpetualConfig{Seed: 7})
	if cmp.Equal(other.Rows(nil, "BTCUSDT", exchange.AggTrade, id-50, 50), same.Rows(nil, "BTCUSDT", exchange.AggTrade, id-50, 50)) {
		t.Error("two seeds give the same rows")
	}
}

// TestPerpetualSequences reads some hours around a midnight, in order.
func TestPerpetualSequences(t *testing.T) {
	now := time.Date(2026, 3, 2, 0, 30, 0, 0, time.UTC)
	v := perpetual(t, PerpetualConfig{Seed: 3, Now: now, Symbols: 24})
	for _, s := range v.Symbols() {
		first, ok := v.FirstAt(s.Name, exchange.AggTrade, now.Add(-4*time.Hour).UnixMicro())
		if !ok {
			t.Fatalf("%s: no trades", s.Name)
		}
		aggs := v.Rows(nil, s.Name, exchange.AggTrade, first, 1<<30)
		raws := v.Rows(nil, s.Name, exchange.Trade, aggs[0].FirstTradeID, 1<<30)
		tick, step, minimum := units(t, s.TickSize), units(t, s.StepSize), units(t, s.MinNotional)
		order := 0.0
		for i, agg := range aggs {
			if i > 0 && (agg.ID != aggs[i-1].ID+1 || agg.FirstTradeID != aggs[i-1].LastTradeID+1 || agg.TradedAt < aggs[i-1].TradedAt) {
				t.Fatalf("%s: %+v follows %+v", s.Name, agg, aggs[i-1])
			}
			price, qty, sum := units(t, agg.Price), units(t, agg.Qty), int64(0)
			for id := agg.FirstTradeID; id <= agg.LastTradeID; id++ {
				r := raws[0]
				raws = raws[1:]
				part := units(t, r.Qty)
				if r.ID != id || r.Price != agg.Price || r.TradedAt != agg.TradedAt || r.BuyerMaker != agg.BuyerMaker || part <= 0 {
					t.Fatalf("%s: raw trade %+v of %+v", s.Name, r, agg)
				}
				sum += part
			}
			if sum != qty || price <= 0 || price%tick != 0 || qty%step != 0 {
				t.Fatalf("%s: %+v, its trades sum to %d, tick %d, step %d", s.Name, agg, sum, tick, step)
			}
			order += float64(price) / 1e8 * float64(qty)
			if i+1 < len(aggs) && aggs[i+1].TradedAt != agg.TradedAt {
				if order < .99*float64(minimum) {
					t.Fatalf("%s: an order of %.8f at %+v is below the minimum", s.Name, order/1e8, agg)
				}
				order = 0
			}
		}
		if len(raws) > 0 {
			t.Errorf("%s: %d raw trades belong to no aggregated one", s.Name, len(raws))
		}
		for range 50 {
			for _, kind := range exchange.Kinds() {
				rows := aggs
				if kind == exchange.Trade {
					rows = v.Rows(nil, s.Name, kind, aggs[0].FirstTradeID, 300)
				}
				i := rand.IntN(len(rows))
				at := rows[i].TradedAt
				j := slices.IndexFunc(rows, func(r exchange.Row) bool { return r.TradedAt == at })
				if id, ok := v.FirstAt(s.Name, kind, at); !ok || j > 0 && id != rows[j].ID {
					t.Fatalf("%s %s: FirstAt(%d) = %d, want %d", s.Name, kind, at, id, rows[j].ID)
				}
				if id, ok := v.LastBefore(s.Name, kind, at); !ok || j > 0 && id != rows[j-1].ID {
					t.Fatalf("%s %s: LastBefore(%d) = %d, want %d", s.Name, kind, at, id, rows[j-1].ID)
				}
				if got := v.Rows(nil, s.Name, kind, rows[i].ID, 3); got[0] != rows[i] {
					t.Fatalf("%s %s: the row %d is %+v, want %+v", s.Name, kind, rows[i].ID, got[0], rows[i])
				}
			}
		}
	}
}

// TestPerpetualHistory reads the edges: of the market, of --history and of what is released.
func TestPerpetualHistory(t *testing.T) {
	v := perpetual(t, PerpetualConfig{Seed: 1, History: 10 * time.Minute})
	first := v.Rows(nil, "BTCUSDT", exchange.AggTrade, 0, 1)[0]
	if from := noon.Add(-10 * time.Minute).UnixMicro(); first.TradedAt < from || first.TradedAt > from+60*second {
		t.Errorf("the first row is of %s", time.UnixMicro(first.TradedAt).UTC())
	}
	if id, ok := v.FirstAt("BTCUSDT", exchange.AggTrade, 0); !ok || id != first.ID {
		t.Errorf("FirstAt(1970) = %d, %t, want %d", id, ok, first.ID)
	}
	if _, ok := v.LastBefore("BTCUSDT", exchange.AggTrade, first.TradedAt); ok {
		t.Error("LastBefore(the first row) found a row")
	}
	last, ok := v.LastBefore("BTCUSDT", exchange.AggTrade, math.MaxInt64)
	rows := v.Rows(nil, "BTCUSDT", exchange.AggTrade, 0, 1<<30)
	if !ok || rows[len(rows)-1].ID != last || rows[len(rows)-1].TradedAt >= noon.UnixMicro() {
		t.Errorf("LastBefore(ever) = %d, the rows end with %+v", last, rows[len(rows)-1])
	}
	if _, ok := v.FirstAt("BTCUSDT", exchange.AggTrade, noon.UnixMicro()); ok {
		t.Error("FirstAt(now) found a row")
	}
	whole := perpetual(t, PerpetualConfig{Seed: 1})
	if row := whole.Rows(nil, "BTCUSDT", exchange.AggTrade, 0, 1)[0]; row.TradedAt > perpetualEpoch.Add(time.Minute).UnixMicro() {
		t.Errorf("the market begins at %s", time.UnixMicro(row.TradedAt).UTC())
	}
	if _, err := NewPerpetual(PerpetualConfig{Now: perpetualEpoch.Add(-1)}); err == nil {
		t.Error("a market before its beginning was created")
	}
	if got := v.Rows(nil, "NOSUCH", exchange.AggTrade, 0, 5); got != nil {
		t.Errorf("rows of an unknown symbol: %v", got)
	}
}

// asMarket returns the last history of a Perpetual in the form that the rules read.
func asMarket(v *Perpetual, now time.Time, history time.Duration) *Market {
	m := &Market{config: Config{Start: now, History: history}, byName: map[string]*pair{}, symbols: v.Symbols()}
	for _, p := range v.pairs {
		copied := *p.pair
		for minute := now.Add(-history).UnixMicro() / minuteMicros; minute < now.UnixMicro()/minuteMicros; minute++ {
			for _, r := range v.minute(p, minute).rows {
				copied.append(r)
			}
		}
		copied.visible = copied.rows
		m.pairs, m.byName[p.name] = append(m.pairs, &copied), &copied
	}
	for _, e := range v.Injected(now.Add(-history), now) {
		m.incidents = append(m.incidents, &incident{event: e})
	}
	return m
}

// TestRulesFindThePerpetualIncidents expects that the rules find the incidents that have half a day before
// them, and raise hardly anything else.
func TestRulesFindThePerpetualIncidents(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: make test-all")
	}
	missed, found, other := 0, 0, 0
	for seed := range uint64(5) {
		now := time.Date(2026, 1, 17, 0, 0, 0, 0, time.UTC)
		m := asMarket(perpetual(t, PerpetualConfig{Seed: seed, Now: now}), now, 48*time.Hour)
		alarmed := map[Event]bool{}
		for _, s := range m.Symbols() {
			for _, a := range alerts(m, s) {
				e, ok := explained(m, a)
				if ok && e.Kind == a.kind {
					alarmed[e] = true
				}
				if !ok && a.kind != SilentSymbol {
					other++
					t.Logf("seed %d: %s on %s at %s, but there is no incident", seed, a.kind, a.symbol, a.at)
				}
			}
		}
		for _, e := range m.Injected() {
			if e.At.Before(now.Add(-36 * time.Hour)) {
				continue
			}
			if found++; !alarmed[e] {
				missed++
				t.Logf("seed %d: %s on %s at %s was not found: %s", seed, e.Kind, e.Symbol, e.At, e.Note)
			}
		}
	}
	fmt.Printf("%d incidents, %d missed, %d alerts about nothing\n", found, missed, other)
	if missed > found/5 || other > 10 {
		t.Errorf("%d of %d incidents were missed, %d alerts are about nothing", missed, found, other)
	}
}

func BenchmarkPerpetualStart(b *testing.B) {
	for b.Loop() {
		v := perpetual(b, PerpetualConfig{Seed: 1, Now: time.Date(2036, 1, 15, 12, 0, 0, 0, time.UTC)})
		for _, s := range v.Symbols() {
			v.LastBefore(s.Name, exchange.AggTrade, math.MaxInt64)
		}
	}
}

func BenchmarkPerpetualDay(b *testing.B) {
	rows := 0
	for b.Loop() {
		v := perpetual(b, PerpetualConfig{Seed: 1, History: 24 * time.Hour})
		for _, s := range v.Symbols() {
			rows += len(v.Rows(nil, s.Name, exchange.AggTrade, 0, 1<<30))
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "trades/s")
	b.ReportMetric(float64(rows)/float64(b.N), "trades/op")
}
