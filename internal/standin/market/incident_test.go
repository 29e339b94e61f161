package market

import (
	"math"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/standin/exchange"
)

// start returns another hour of the day for each seed, because activity depends on the hour.
func start(seed uint64) time.Time {
	return time.Date(2026, 1, 15, int(seed*5%24), 17, 3, 0, time.UTC)
}

// TestRulesFindTheStandardIncidents expects that the rules find each incident of the default market
// and nothing else.
func TestRulesFindTheStandardIncidents(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: make test-all")
	}
	seeds := uint64(10)
	if testing.Short() || raced {
		seeds = 3
	}
	locations := make(map[string]bool)
	for seed := range seeds {
		m := market(t, Config{Seed: seed, Start: start(seed)})
		events := m.Injected()
		if len(events) != 4 {
			t.Errorf("seed %d: %d incidents, want 4", seed, len(events))
		}
		found := make(map[Event]int)
		for _, s := range m.Symbols() {
			for _, a := range alerts(m, s) {
				e, ok := explained(m, a)
				if ok && e.Kind == a.kind {
					found[e]++
				}
				if !ok && a.kind != SilentSymbol { // a thin coin may not trade for a long time: here once in twenty days
					t.Errorf("seed %d: %s on %s at %s, but there is no incident", seed, a.kind, a.symbol, a.at)
				}
			}
		}
		for _, e := range events {
			locations[e.Kind+" "+e.Symbol] = true
			if found[e] == 0 {
				t.Errorf("seed %d: %s on %s at %s was not found: %s", seed, e.Kind, e.Symbol, e.At, e.Note)
			}
			if e.From.Before(m.config.Start.Add(12*time.Hour-DefaultHistory)) || e.To.After(m.config.Start) || e.At.Before(e.From) || !e.At.Before(e.To) {
				t.Errorf("seed %d: %s from %s to %s, onset %s", seed, e.Kind, e.From, e.To, e.At)
			}
		}
	}
	if len(locations) <= 4 {
		t.Errorf("all seeds choose the same symbols: %v", locations)
	}
}

// TestRulesFindEveryKind schedules each kind of incident and expects that its rule finds it.
func TestRulesFindEveryKind(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: make test-all")
	}
	var incidents []Incident
	for _, kind := range Kinds() {
		incidents = append(incidents, Incident{Kind: kind})
	}
	seeds := uint64(4)
	if testing.Short() || raced {
		seeds = 1
	}
	ratio := func(a, b float64) float64 { return a / b }
	for seed := range seeds {
		m := market(t, Config{Seed: seed, Start: start(seed), Symbols: 40, Incidents: incidents})
		raised := append(crossAlarms(m, "ETHBTC", ratio, "ETHUSDT", "BTCUSDT"), crossAlarms(m, "BTCUSDC", ratio, "BTCUSDT", "USDCUSDT")...)
		for _, s := range m.Symbols() {
			raised = append(raised, alerts(m, s)...)
		}
		found := make(map[Event]bool)
		for _, a := range raised {
			if e, ok := explained(m, a); ok && e.Kind == a.kind {
				found[e] = true
			}
		}
		for _, e := range m.Injected() {
			if !found[e] {
				t.Errorf("seed %d: %s on %s at %s was not found: %s", seed, e.Kind, e.Symbol, e.At, e.Note)
			}
		}
	}
}

// TestTradesShowTheIncidents measures the standard incidents in the trades.
func TestTradesShowTheIncidents(t *testing.T) {
	seeds := uint64(3)
	if raced {
		seeds = 1
	}
	for seed := range seeds {
		m := market(t, Config{Seed: seed + 40})
		for _, e := range m.Injected() {
			p := m.byName[e.Symbol]
			var symbol exchange.Symbol
			for _, s := range m.Symbols() {
				if s.Name == e.Symbol {
					symbol = s
				}
			}
			b, first := bars(m, symbol)
			onset := int(e.At.Sub(first) / time.Minute)
			before := b[onset-1].close
			switch e.Kind {
			case PumpBurst:
				rush, high := 0.0, 0.0
				for _, x := range b[onset : onset+4] {
					rush, high = max(rush, x.rushBuys), max(high, x.high)
				}
				if rush < 24 || high/before < 1.10 || high/before > 1.45 {
					t.Errorf("seed %d: pump of %.0f rush buys a minute and %+.1f %%", seed, rush, 100*(high/before-1))
				}
				if end := b[onset+50].close; end/before > 1+.5*(high/before-1) {
					t.Errorf("seed %d: no dump follows the pump: %g, %g, %g", seed, before, high, end)
				}
			case FlashCrash:
				low := math.Inf(1)
				for _, x := range b[onset : onset+10] {
					low = min(low, x.low)
				}
				if end := b[onset+20].close; low/before > .88 || (end-low)/(before-low) < .3 {
					t.Errorf("seed %d: crash from %g to %g and back to %g", seed, before, low, end)
				}
			case WhaleOrder:
				order, largest := 0.0, 0.0
				for _, x := range b[:onset] {
					largest = max(largest, x.largest)
				}
				for i := range p.visible {
					if r := p.row(i); r.time == e.At.UnixMicro() {
						order += float64(r.price*p.tick) / 1e8 * float64(r.qty*p.step) / 1e8
					}
				}
				if order < 4*largest || math.Abs(b[onset].close/before-1) < .015 {
					t.Errorf("seed %d: whale of %.0f after %.0f moves the price by %+.1f %%", seed, order, largest, 100*(b[onset].close/before-1))
				}
			case SilentSymbol:
				a, _ := m.FirstAt(e.Symbol, exchange.AggTrade, e.From.UnixMicro())
				z, _ := m.FirstAt(e.Symbol, exchange.AggTrade, e.To.UnixMicro())
				if a != z || e.To.Sub(e.From) < 2*time.Hour {
					t.Errorf("seed %d: %d trades in a silence from %s to %s", seed, z-a, e.From, e.To)
				}
			}
		}
	}
}

func TestSizeScalesAnIncident(t *testing.T) {
	high := func(size float64) float64 {
		m := market(t, Config{History: time.Hour, Incidents: []Incident{{Kind: PumpBurst, Symbol: "VIBUSDT", At: noon.Add(-30 * time.Minute), Size: size}}})
		b, _ := bars(m, m.Symbols()[14])
		top := 0.0
		for _, x := range b[29:35] {
			top = max(top, x.high)
		}
		return top/b[28].close - 1
	}
	if whole, half := high(1), high(.5); half > .75*whole || half < .25*whole {
		t.Errorf("a pump of size 0.5 rises %.3f, one of size 1 %.3f", half, whole)
	}
}

func TestIncidentInLiveTime(t *testing.T) {
	at := noon.Add(2 * time.Minute)
	m := market(t, Config{History: time.Hour, Incidents: []Incident{{Kind: WhaleOrder, Symbol: "BELUSDT", At: at}}})
	if events := m.Injected(); len(events) != 1 || events[0].At.Sub(at).Abs() > time.Minute {
		t.Fatalf("scheduled: %v", events)
	}
	count := func(e Event) int {
		first, ok := m.FirstAt(e.Symbol, exchange.AggTrade, e.At.UnixMicro())
		if !ok {
			return 0
		}
		n := 0
		for _, row := range m.Rows(nil, e.Symbol, exchange.AggTrade, first, 100) {
			if row.TradedAt == e.At.UnixMicro() {
				n++
			}
		}
		return n
	}
	e := m.Injected()[0]
	if count(e) != 0 {
		t.Error("the whale's order came early")
	}
	m.Extend(noon.Add(5 * time.Minute))
	if n := count(e); n < 8 {
		t.Errorf("the whale's order has %d prices", n)
	}
}

func TestNewRejectsImpossibleConfigs(t *testing.T) {
	for want, config := range map[string]Config{
		"no start":    {},
		"history of":  {Start: noon, History: -1},
		"symbols":     {Start: noon, Symbols: MaxSymbols + 1},
		"rate":        {Start: noon, Rate: math.NaN()},
		"shorten it":  {Start: noon, Rate: 5000},
		"no such":     {Start: noon, Incidents: []Incident{{Kind: "banana"}}},
		"no symbol":   {Start: noon, Incidents: []Incident{{Kind: PumpBurst, Symbol: "NOSUCH"}}},
		"has no room": {Start: noon, History: time.Hour, Incidents: []Incident{{Kind: PumpBurst}}},
		"suits it":    {Start: noon, Symbols: 2, Incidents: []Incident{{Kind: PumpBurst}}},
		"trade yet":   {Start: noon, History: time.Hour, Incidents: []Incident{{Kind: PumpBurst, Symbol: "VIBUSDT", At: noon.Add(-2 * time.Hour)}}},
		"size":        {Start: noon, Incidents: []Incident{{Kind: PumpBurst, Size: -1}}},
	} {
		_, err := New(config)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", config, err, want)
		}
	}
	quiet := market(t, Config{Quiet: true, History: time.Hour, Incidents: []Incident{{Kind: "banana"}}})
	if events := quiet.Injected(); len(events) != 0 {
		t.Errorf("a quiet market has %v", events)
	}
	if events := market(t, Config{History: time.Hour}).Injected(); len(events) != 0 {
		t.Errorf("a market of an hour has %v", events)
	}
}
