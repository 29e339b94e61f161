package report_test

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/analytics"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/jobs/report"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// The window of the samples.
var (
	sampleStart = time.Date(2026, 1, 15, 9, 0, 0, 0, time.UTC)
	sampleEnd   = sampleStart.Add(4 * time.Hour)
)

// market generates the trades of one symbol.
type market struct {
	symbol   string
	price    float64 // of the first trade
	decimals int
	every    time.Duration // interval between trades
	trend    float64       // of the price over the window; 0.1 means +10 %
	qty      float64
}

// chineseSymbol is a symbol that exists on the exchange.
const chineseSymbol = "币安人生USDT"

var markets = []market{
	{"BTCUSDT", 61837.64, 2, 7 * time.Second, 0.021, 0.013},
	{"DOGEBTC", 0.00000161, 8, 3 * time.Minute, -0.12, 1500},
	{"ETHUSDT", 2683.1, 2, 11 * time.Second, -0.004, 0.4},
	{chineseSymbol, 0.2513, 4, 40 * time.Second, 0.31, 210},
	{"QUIETEUR", 1.5, 2, 2 * time.Hour, 0, 10},
}

// trades returns the same trades every time, from 15 minutes before the window to 15 minutes after
// it.
func (m market) trades() (out []tape.Trade) {
	unit := math.Pow(10, float64(m.decimals))
	from, until := sampleStart.Add(-15*time.Minute), sampleEnd.Add(15*time.Minute)
	id := int64(1000)
	for at := from; at.Before(until); at = at.Add(m.every) {
		part := float64(at.Sub(from)) / float64(until.Sub(from))
		wave := 1 + 0.004*math.Sin(20*part) + m.trend*part
		size := m.qty * (1 + 0.8*math.Sin(float64(id)*1.7))
		out = append(out, tape.Trade{
			Symbol: m.symbol, ID: id, Price: math.Round(m.price*wave*unit) / unit, Qty: math.Round(size*1e5+1) / 1e5,
			FirstTradeID: 2*id - 1, LastTradeID: 2 * id, TradedAt: at.UnixMicro(), IsBuyerMaker: id%3 == 0,
		})
		id++
	}
	return out
}

// sampleTrades returns the trades of the markets without those that skip selects.
func sampleTrades(markets []market, skip func(tape.Trade) bool) (out []tape.Trade) {
	for _, m := range markets {
		for _, trade := range m.trades() {
			if skip == nil || !skip(trade) {
				out = append(out, trade)
			}
		}
	}
	return out
}

// sampleAlerts have messages that only a user's own detector might write.
var sampleAlerts = []tape.Alert{
	{Detector: "pump_burst", Symbol: chineseSymbol, At: sampleStart.Add(95 * time.Minute).UnixMicro(), Score: 41.25, Severity: "high", Message: "rush of 22 buys in a minute, price up 4.1 %", FirstID: 1100, LastID: 1140, Extra: "{}"},
	{Detector: "whale_order", Symbol: "BTCUSDT", At: sampleStart.Add(30 * time.Minute).UnixMicro(), Score: 3.5, Severity: "medium", Message: "=HYPERLINK(\"x\";\"y\")", FirstID: 1300, LastID: 1300, Extra: "{}"},
	{Detector: "whale_order", Symbol: "DOGEBTC", At: sampleStart.Add(31 * time.Minute).UnixMicro(), Score: 3.25, Severity: "low", Message: "two\nlines | and `marks` <b>", FirstID: 1010, LastID: 1010, Extra: "{}"},
}

var sampleRuns = []tape.Run{
	{ID: "a1", Job: "detect", Command: "detect", StartedAt: sampleStart.Add(time.Minute).UnixMicro(), FinishedAt: sampleStart.Add(time.Minute + 1500*time.Millisecond).UnixMicro(), Attempt: 1, Outcome: "ok", Rows: 2},
	{ID: "a2", Job: "backfill", Command: "backfill --since 1h", StartedAt: sampleStart.Add(time.Hour).UnixMicro(), FinishedAt: sampleStart.Add(61 * time.Minute).UnixMicro(), Attempt: 2, Outcome: "failed", Exit: 1, Rows: 0, Message: "no route to host"},
}

// sampleTape creates a tape with the markets, the alerts and the runs. A recorder watched it, and
// every detector judged it, from 15 minutes before the window until 15 minutes after it.
func sampleTape(t *testing.T, skip func(tape.Trade) bool) *tape.Dir {
	t.Helper()
	dir := newTape(t, tape.AggTrade, sampleTrades(markets, skip), sampleAlerts...)
	if _, err := dir.PublishRuns(t.Context(), sampleRuns); err != nil {
		t.Fatal(err)
	}
	var symbols []string
	for _, m := range markets {
		symbols = append(symbols, m.symbol)
	}
	watch(t, dir, sampleStart.Add(-15*time.Minute), sampleEnd.Add(15*time.Minute), symbols...)
	judge(t, dir, sampleStart.Add(-15*time.Minute), sampleEnd.Add(15*time.Minute), "", symbols...)
	return dir
}

// judge records what every detector did with a window of each symbol: why it was not judged, or "".
func judge(t *testing.T, dir *tape.Dir, from, until time.Time, reason string, symbols ...string) {
	t.Helper()
	queries, _ := analytics.Load("", analytics.Detect)
	var outcomes []state.Judged
	for _, query := range queries {
		for _, symbol := range symbols {
			outcomes = append(outcomes, state.Judged{Detector: query.Name, Symbol: symbol, Spans: []state.JudgedSpan{{Start: from, End: until, Reason: reason}}})
		}
	}
	if err := state.RecordJudged(dir.State(), outcomes, false); err != nil {
		t.Fatal(err)
	}
}

// watch makes the tape claim that a recorder watched the symbols from from until until.
func watch(t *testing.T, dir *tape.Dir, from, until time.Time, symbols ...string) {
	t.Helper()
	spans := map[string][]window.Window{}
	for _, symbol := range symbols {
		spans[symbol] = []window.Window{{Start: from, End: until}}
	}
	if err := dir.RecordWatched("recorder-"+from.Format("150405"), spans); err != nil {
		t.Fatal(err)
	}
}

// build builds the report of the samples.
func build(t *testing.T, dir *tape.Dir, change func(*report.Options)) *report.Report {
	t.Helper()
	opt := report.Options{Window: window.Window{Start: sampleStart, End: sampleEnd}, Now: sampleEnd.Add(time.Minute), Threads: 2}
	if change != nil {
		change(&opt)
	}
	built, err := report.Build(t.Context(), dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func write(t *testing.T, r *report.Report, writer func(io.Writer, *report.Report) error) string {
	t.Helper()
	var out strings.Builder
	if err := writer(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func asTable(opt report.TableOptions) func(io.Writer, *report.Report) error {
	return func(w io.Writer, r *report.Report) error { return report.Table(w, r, opt) }
}

// golden compares a text with a file in testdata.
func golden(t *testing.T, name, have string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), have); diff != "" {
		t.Errorf("%s (-want +have):\n%s", path, diff)
	}
}

// manyMarkets returns n symbols with few trades each.
func manyMarkets(n int) (out []market) {
	for i := range n {
		out = append(out, market{
			symbol: fmt.Sprintf("C%03dUSDT", i), price: math.Pow(10, float64(i%9-4)) * 1.2345, decimals: min(8, 6-i%9+2),
			every: time.Duration(5+i%7) * time.Minute, trend: float64(i%41-20) / 100, qty: math.Pow(10, float64(4-i%9)),
		})
	}
	return out
}
