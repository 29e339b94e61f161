package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
)

// The generated market lasts from begin for length, across a midnight.
var begin = time.Date(2026, 1, 14, 18, 0, 0, 0, time.UTC)

const length = 30 * time.Hour

// event is injected into the generated market.
type event struct {
	detector, symbol string
	at               time.Duration // since begin
}

// masked is a second pump of a symbol within a day. It is not found, because the rush orders of the first one
// are in its baseline.
const masked = "a second pump"

var events = []event{
	{"pump_burst", "PUMPBTC", 20*time.Hour + 17*time.Minute},
	{"pump_burst", "AGAINBTC", 20*time.Hour + 19*time.Minute},
	{masked, "AGAINBTC", 27*time.Hour + 3*time.Minute},
	{"flash_crash", "CRASHUSDT", 25*time.Hour + 59*time.Minute},
	{"whale_order", "WHALEUSDT", 22*time.Hour + 31*time.Minute},
	{"whale_order", "THINUSDT", 29*time.Hour + 40*time.Minute},
}

// smallMarket returns the trades of a small market, ordered by time for each symbol. They only depend on the seed.
func smallMarket(seed uint64) map[string][]tape.Trade {
	out := map[string][]tape.Trade{}
	for i, symbol := range []string{"PUMPBTC", "AGAINBTC", "CRASHUSDT", "WHALEUSDT", "THINUSDT", "CALMUSDT"} {
		m := &generator{random: rand.New(rand.NewPCG(seed, uint64(i))), symbol: symbol, price: 100, id: int64(1000 * (i + 1))}
		every := 20 * time.Second
		if symbol == "THINUSDT" {
			every = 40 * time.Minute
		}
		at := time.Duration(m.random.Int64N(int64(every)))
		for at < length {
			next := at + time.Duration(float64(every)*m.random.ExpFloat64())
			for _, e := range events {
				if e.symbol == symbol && e.at >= at && e.at < next {
					m.inject(e)
				}
			}
			at = next
			if at < length {
				m.order(at, 20+200*m.random.Float64(), m.random.NormFloat64()*0.0003, 1)
			}
		}
		slices.SortStableFunc(m.trades, func(a, b tape.Trade) int { return int(a.TradedAt - b.TradedAt) })
		for j := range m.trades {
			m.trades[j].ID = m.id + int64(j)
			m.trades[j].FirstTradeID, m.trades[j].LastTradeID = m.trades[j].ID, m.trades[j].ID
		}
		out[symbol] = m.trades
	}
	return out
}

type generator struct {
	random *rand.Rand
	symbol string
	price  float64
	id     int64
	trades []tape.Trade
}

// order adds one taker order of a quote value, which moves the price by a fraction over several levels.
func (m *generator) order(at time.Duration, quote, move float64, levels int) {
	for i := range levels {
		m.price *= 1 + move/float64(levels)
		price := math.Round(m.price*1e4) / 1e4
		m.trades = append(m.trades, tape.Trade{
			Symbol: m.symbol, Price: price, Qty: math.Round(quote/float64(levels)/price*1e4) / 1e4,
			TradedAt: begin.Add(at).Truncate(time.Millisecond).UnixMicro() + int64(i), IsBuyerMaker: move < 0,
		})
	}
}

func (m *generator) inject(e event) {
	switch e.detector {
	case "pump_burst", masked: // three minutes of rush buys, then a slow return
		for i := range 120 {
			m.order(e.at+time.Duration(i)*1500*time.Millisecond, 150, 0.002, 3)
		}
		for i := range 60 {
			m.order(e.at+4*time.Minute+time.Duration(i)*time.Minute, 150, -0.004, 2)
		}
	case "flash_crash": // 20 % down in 40 s, half of it back in two minutes
		for i := range 40 {
			m.order(e.at+time.Duration(i)*time.Second, 150, -0.0055, 2)
		}
		for i := range 40 {
			m.order(e.at+45*time.Second+time.Duration(i)*3*time.Second, 150, 0.0027, 1)
		}
	case "whale_order":
		m.order(e.at, 40_000, 0.02, 12)
	}
}

func newTape(t *testing.T, rows ...map[string][]tape.Trade) *tape.Dir {
	t.Helper()
	dir, err := tape.Create(t.TempDir(), tape.AggTrade, begin)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		publish(t, dir, r)
	}
	return dir
}

func publish(t *testing.T, dir *tape.Dir, rows map[string][]tape.Trade) {
	t.Helper()
	var all []tape.Trade
	for _, trades := range rows {
		all = append(all, trades...)
	}
	if _, err := dir.Publish(t.Context(), all, testOrigin); err != nil {
		t.Fatal(err)
	}
}

// between returns the trades of [from, to), counted from begin.
func between(rows map[string][]tape.Trade, from, to time.Duration) map[string][]tape.Trade {
	out := map[string][]tape.Trade{}
	for symbol, trades := range rows {
		for _, trade := range trades {
			if at := time.UnixMicro(trade.TradedAt); !at.Before(begin.Add(from)) && at.Before(begin.Add(to)) {
				out[symbol] = append(out[symbol], trade)
			}
		}
	}
	return out
}

// injectedDetectors are the detectors of the injected events. They run unless a test names others.
var injectedDetectors = []string{"flash_crash", "pump_burst", "whale_order"}

// allDetectors returns the names of the embedded detectors.
func allDetectors(t *testing.T) (names []string) {
	t.Helper()
	queries, problems := analytics.Load("")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, query := range queries {
		if query.Kind == analytics.Detect {
			names = append(names, query.Name)
		}
	}
	return names
}

func runDetect(t *testing.T, dir *tape.Dir, opt Options) Summary {
	t.Helper()
	if opt.Detectors == nil && opt.QueriesDir == "" {
		opt.Detectors = injectedDetectors
	}
	summary, err := Run(t.Context(), dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range summary.Problems {
		t.Error(problem)
	}
	return summary
}

// describe returns one line per alert, sorted, without what depends on the run.
func describe(alerts []tape.Alert) (out []string) {
	for _, a := range alerts {
		out = append(out, fmt.Sprintf("%s %s %s %v %s %d-%d %s %s", time.UnixMicro(a.At).UTC().Format("02 15:04"), a.Detector, a.Symbol, a.Score, a.Severity, a.FirstID, a.LastID, a.Message, a.Extra))
	}
	slices.Sort(out)
	return out
}

// names returns the identities of the alerts that describe returned.
func names(lines []string) (out []string) {
	for _, line := range lines {
		out = append(out, strings.Join(strings.Fields(line)[:4], " "))
	}
	return out
}

func alertsOnTape(t *testing.T, dir *tape.Dir) []string {
	t.Helper()
	alerts, err := dir.ReadAlerts("", "")
	if err != nil {
		t.Fatal(err)
	}
	return describe(alerts)
}
