package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/analytics"
	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

var origin = tape.Origin{Source: tape.FromFile}

// day0 is a midnight: the generated market begins 30 hours before it ends, and crosses it.
var begin = time.Date(2026, 1, 14, 18, 0, 0, 0, time.UTC)

const length = 30 * time.Hour

// event is what is put into the generated market.
type event struct {
	detector, symbol string
	at               time.Duration // since begin
}

// masked is a pump within a day of another one of the symbol, whose rush orders are in its baseline: it is not found.
const masked = "a second pump"

var events = []event{
	{"pump_burst", "PUMPBTC", 20*time.Hour + 17*time.Minute},
	{"pump_burst", "AGAINBTC", 20*time.Hour + 19*time.Minute},
	{masked, "AGAINBTC", 27*time.Hour + 3*time.Minute},
	{"flash_crash", "CRASHUSDT", 25*time.Hour + 59*time.Minute},
	{"whale_order", "WHALEUSDT", 22*time.Hour + 31*time.Minute},
	{"whale_order", "THINUSDT", 29*time.Hour + 40*time.Minute},
}

// smallMarket makes the trades of a small market, the same for the same seed, in order of time for each symbol.
func smallMarket(seed uint64) map[string][]tape.Trade {
	out := map[string][]tape.Trade{}
	for i, symbol := range []string{"PUMPBTC", "AGAINBTC", "CRASHUSDT", "WHALEUSDT", "THINUSDT", "CALMUSDT"} {
		m := &maker{random: rand.New(rand.NewPCG(seed, uint64(i))), symbol: symbol, price: 100, id: int64(1000 * (i + 1))}
		every := 20 * time.Second
		if symbol == "THINUSDT" {
			every = 40 * time.Minute
		}
		at := time.Duration(m.random.Int64N(int64(every)))
		for at < length {
			next := at + time.Duration(float64(every)*m.random.ExpFloat64())
			for _, e := range events {
				if e.symbol == symbol && e.at >= at && e.at < next {
					m.play(e)
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

type maker struct {
	random *rand.Rand
	symbol string
	price  float64
	id     int64
	trades []tape.Trade
}

// order adds one taker's order of a quote value that moves the price by a fraction over some levels.
func (m *maker) order(at time.Duration, quote, move float64, levels int) {
	for i := range levels {
		m.price *= 1 + move/float64(levels)
		price := math.Round(m.price*1e4) / 1e4
		m.trades = append(m.trades, tape.Trade{
			Symbol: m.symbol, Price: price, Qty: math.Round(quote/float64(levels)/price*1e4) / 1e4,
			TradedAt: begin.Add(at).Truncate(time.Millisecond).UnixMicro() + int64(i), IsBuyerMaker: move < 0,
		})
	}
}

func (m *maker) play(e event) {
	switch e.detector {
	case "pump_burst", masked: // three minutes of rush buys, then slowly back
		for i := range 120 {
			m.order(e.at+time.Duration(i)*1500*time.Millisecond, 150, 0.002, 3)
		}
		for i := range 60 {
			m.order(e.at+4*time.Minute+time.Duration(i)*time.Minute, 150, -0.004, 2)
		}
	case "flash_crash": // 20 % down within 40 s, half of it back in two minutes
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
	if _, err := dir.Publish(t.Context(), all, origin); err != nil {
		t.Fatal(err)
	}
}

// between gives the trades of [from, to), since begin.
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

// found are the detectors whose events are put into the generated market, and which therefore run where a test does not say more.
var found = []string{"flash_crash", "pump_burst", "whale_order"}

// every gives the names of all detectors that come with tapedeck.
func every(t *testing.T) (names []string) {
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

func mustRun(t *testing.T, dir *tape.Dir, opt Options) Summary {
	t.Helper()
	if opt.Detectors == nil && opt.QueriesDir == "" {
		opt.Detectors = found
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

// show gives alerts as lines, without what belongs to the run.
func show(alerts []tape.Alert) (out []string) {
	for _, a := range alerts {
		out = append(out, fmt.Sprintf("%s %s %s %v %s %d-%d %s %s", time.UnixMicro(a.At).UTC().Format("02 15:04"), a.Detector, a.Symbol, a.Score, a.Severity, a.FirstID, a.LastID, a.Message, a.Extra))
	}
	slices.Sort(out)
	return out
}

// names gives the identities of what show gave.
func names(lines []string) (out []string) {
	for _, line := range lines {
		out = append(out, strings.Join(strings.Fields(line)[:4], " "))
	}
	return out
}

func onTape(t *testing.T, dir *tape.Dir) []string {
	t.Helper()
	alerts, err := dir.ReadAlerts("", "")
	if err != nil {
		t.Fatal(err)
	}
	return show(alerts)
}

func TestFindsWhatWasPutInAndNothingElse(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	summary := mustRun(t, dir, Options{Now: begin.Add(length + time.Hour), RunID: "run-1"})
	var want, have []string
	for _, e := range events {
		if e.detector == masked {
			continue
		}
		want = append(want, fmt.Sprintf("%s %s %s", e.detector, e.symbol, begin.Add(e.at).Format("02 15:04")))
	}
	for _, a := range summary.Alerts {
		// The minute of the clock that ends at At, or that At lies in.
		have = append(have, fmt.Sprintf("%s %s %s", a.Detector, a.Symbol, time.UnixMicro(a.At-1).UTC().Format("02 15:04")))
		if a.RunID != "run-1" || a.FoundAt != begin.Add(length+time.Hour).UnixMicro() {
			t.Errorf("alert with run %q, found at %d", a.RunID, a.FoundAt)
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("alerts (-want +have):\n%s", diff)
	}
	for _, line := range show(summary.Alerts) {
		t.Log(line)
	}
	if summary.Published.Rows != int64(len(have)) || len(summary.New) != len(have) || len(summary.Waiting) != 0 || summary.Symbols != 6 {
		t.Errorf("summary: %d published, %d new, %d waiting, %d symbols", summary.Published.Rows, len(summary.New), len(summary.Waiting), summary.Symbols)
	}
	t.Run("again nothing is new", func(t *testing.T) {
		again := mustRun(t, dir, Options{Now: begin.Add(length + 2*time.Hour)})
		if len(again.Alerts) != 0 || !again.From.IsZero() {
			t.Errorf("judged %v to %v, %d alerts", again.From, again.To, len(again.Alerts))
		}
	})
	t.Run("a window given adds nothing", func(t *testing.T) {
		again := mustRun(t, dir, Options{From: begin, To: begin.Add(length), Now: begin.Add(length + 2*time.Hour)})
		if len(again.New) != 0 || again.Published.Rows != 0 {
			t.Errorf("%d new, %d published", len(again.New), again.Published.Rows)
		}
		if diff := cmp.Diff(show(summary.Alerts), show(again.Alerts)); diff != "" {
			t.Errorf("alerts (-first +again):\n%s", diff)
		}
	})
}

// TestRunsSplitAnyWayFindTheSame holds the promise that sixty runs equal one: the tape grows and detect runs after each growth.
func TestRunsSplitAnyWayFindTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long with the race detector; make test-all runs it")
	}
	rows := smallMarket(2)
	whole := newTape(t, rows)
	mustRun(t, whole, Options{Detectors: every(t), Now: begin.Add(length + time.Hour)})
	want := onTape(t, whole)
	if len(want) < len(events)-1 {
		t.Fatalf("only %d alerts to compare", len(want))
	}
	t.Run("the tape grows", func(t *testing.T) {
		dir := newTape(t)
		random := rand.New(rand.NewPCG(2, 9))
		runs := 0
		for from := time.Duration(0); from < length; {
			to := min(length, from+time.Duration(random.Int64N(int64(150*time.Minute))))
			if from == 0 {
				to = 19*time.Hour + 55*time.Minute
			}
			publish(t, dir, between(rows, from, to))
			mustRun(t, dir, Options{Detectors: every(t), Now: begin.Add(to)})
			from, runs = to, runs+1
		}
		mustRun(t, dir, Options{Detectors: every(t), Now: begin.Add(length + time.Hour)})
		if diff := cmp.Diff(want, onTape(t, dir)); diff != "" {
			t.Errorf("%d runs (-whole +split):\n%s", runs, diff)
		}
	})
	t.Run("windows are given", func(t *testing.T) {
		if testing.Short() {
			t.Skip("takes long: make test-all")
		}
		dir := newTape(t, rows)
		// Cuts through the middle of every event, and minute by minute around one.
		cuts := []time.Duration{0}
		for _, e := range events {
			cuts = append(cuts, e.at+time.Minute)
		}
		for i := range 6 {
			cuts = append(cuts, 20*time.Hour+time.Duration(15+i)*time.Minute)
		}
		cuts = append(cuts, length)
		slices.Sort(cuts)
		for i := range cuts[1:] {
			mustRun(t, dir, Options{Detectors: every(t), From: begin.Add(cuts[i]), To: begin.Add(cuts[i+1]), Now: begin.Add(length + time.Hour)})
		}
		if diff := cmp.Diff(want, onTape(t, dir)); diff != "" {
			t.Errorf("alerts (-whole +split):\n%s", diff)
		}
	})
}

// TestNoLookAhead: for an instant T, the alerts up to T of a run over the whole tape are those of a run over the tape cut at T.
func TestNoLookAhead(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long with the race detector; make test-all runs it")
	}
	rows := smallMarket(3)
	whole := newTape(t, rows)
	all := mustRun(t, whole, Options{Detectors: every(t), Now: begin.Add(length + time.Hour), DryRun: true}).Alerts
	if len(all) < len(events)-1 {
		t.Fatalf("only %d alerts to compare", len(all))
	}
	instants := []time.Duration{time.Minute, 4 * time.Minute}
	if testing.Short() {
		instants = instants[:1]
	}
	for _, e := range events {
		for _, after := range instants {
			cut := e.at + after
			dir := newTape(t, between(rows, 0, cut))
			have := mustRun(t, dir, Options{Detectors: every(t), From: begin.Add(cut - time.Hour), To: begin.Add(cut), Now: begin.Add(cut + time.Hour), DryRun: true}).Alerts
			var want []tape.Alert
			for _, alert := range all {
				if at := time.UnixMicro(alert.At); at.After(begin.Add(cut-time.Hour)) && !at.After(begin.Add(cut)) {
					want = append(want, alert)
				}
			}
			if diff := cmp.Diff(show(want), show(have)); diff != "" {
				t.Errorf("cut at %v (-whole +cut):\n%s", begin.Add(cut), diff)
			}
		}
	}
}

func TestSymbolWaitsWhereIdsAreMissing(t *testing.T) {
	rows := smallMarket(4)
	want := func() []string {
		dir := newTape(t, rows)
		mustRun(t, dir, Options{Now: begin.Add(length + time.Hour)})
		return onTape(t, dir)
	}()
	// Trades are lost around the first pump, as by a stream that was down.
	hole := between(map[string][]tape.Trade{"AGAINBTC": rows["AGAINBTC"]}, 20*time.Hour+10*time.Minute, 20*time.Hour+24*time.Minute)["AGAINBTC"]
	left := between(rows, 0, length)
	left["AGAINBTC"] = slices.DeleteFunc(left["AGAINBTC"], func(trade tape.Trade) bool {
		return trade.ID >= hole[0].ID && trade.ID <= hole[len(hole)-1].ID
	})
	dir := newTape(t, left)
	now := begin.Add(length + time.Hour)
	summary := mustRun(t, dir, Options{Now: now})
	if len(summary.Waiting) != 1 || summary.Waiting[0].Symbol != "AGAINBTC" || summary.Waiting[0].Gap.First != hole[0].ID ||
		summary.Waiting[0].Since.After(begin.Add(20*time.Hour+10*time.Minute)) {
		t.Fatalf("waiting: %+v", summary.Waiting)
	}
	others := slices.DeleteFunc(slices.Clone(want), func(line string) bool { return strings.Contains(line, "AGAINBTC") })
	if diff := cmp.Diff(others, onTape(t, dir)); diff != "" {
		t.Errorf("before healing (-want +have):\n%s", diff)
	}
	again := mustRun(t, dir, Options{Now: now.Add(time.Minute)})
	if len(again.Waiting) != 1 || again.Symbols != 0 {
		t.Errorf("a second run judged %d symbols, %d wait", again.Symbols, len(again.Waiting))
	}
	t.Run("until they come", func(t *testing.T) {
		publish(t, dir, map[string][]tape.Trade{"AGAINBTC": hole})
		if healed := mustRun(t, dir, Options{Now: now.Add(2 * time.Minute)}); len(healed.Waiting) != 0 {
			t.Errorf("waiting: %+v", healed.Waiting)
		}
		if diff := cmp.Diff(want, onTape(t, dir)); diff != "" {
			t.Errorf("after healing (-want +have):\n%s", diff)
		}
	})
	t.Run("or until the exchange is known to lack them", func(t *testing.T) {
		dir := newTape(t, left)
		mustRun(t, dir, Options{Now: now})
		if err := dir.RecordAbsent("AGAINBTC", idset.Set{{First: hole[0].ID, Last: hole[len(hole)-1].ID}}, now); err != nil {
			t.Fatal(err)
		}
		if summary := mustRun(t, dir, Options{Now: now.Add(time.Minute)}); len(summary.Waiting) != 0 {
			t.Errorf("waiting: %+v", summary.Waiting)
		}
		// The pump in the hole cannot be seen, the later one can.
		pumps := slices.DeleteFunc(onTape(t, dir), func(line string) bool { return !strings.Contains(line, "AGAINBTC") })
		if len(pumps) != 1 || !strings.HasPrefix(pumps[0], "15 21:03") {
			t.Errorf("pumps: %q", pumps)
		}
	})
}

// TestTradesThatCameLateAreJudged: one symbol reaches the tape hours after the others, as by a backfill that goes symbol by symbol.
func TestTradesThatCameLateAreJudged(t *testing.T) {
	rows := smallMarket(5)
	whole := newTape(t, rows)
	mustRun(t, whole, Options{Now: begin.Add(length + time.Hour)})
	behind := func(from, to time.Duration) map[string][]tape.Trade {
		return between(map[string][]tape.Trade{"PUMPBTC": rows["PUMPBTC"]}, from, to)
	}
	first := between(rows, 0, length)
	first["PUMPBTC"] = behind(0, 20*time.Hour+17*time.Minute+20*time.Second)["PUMPBTC"]
	dir := newTape(t, first)
	mustRun(t, dir, Options{Now: begin.Add(length + time.Hour)})
	publish(t, dir, behind(20*time.Hour+17*time.Minute+20*time.Second, length))
	mustRun(t, dir, Options{Now: begin.Add(length + 2*time.Hour)})
	// The minute in which the symbol stood still was judged as it was then, so its numbers may differ, but not what was found.
	if diff := cmp.Diff(names(onTape(t, whole)), names(onTape(t, dir))); diff != "" {
		t.Errorf("alerts (-at once +late):\n%s", diff)
	}
}

// TestEarlierHistoryIsJudged: history that a backfill put before what was judged makes judging possible that was not.
func TestEarlierHistoryIsJudged(t *testing.T) {
	rows := smallMarket(6)
	whole := newTape(t, rows)
	mustRun(t, whole, Options{Now: begin.Add(length + time.Hour)})
	dir := newTape(t, between(rows, 20*time.Hour, length))
	if summary := mustRun(t, dir, Options{Now: begin.Add(length)}); len(summary.Alerts) != 0 {
		t.Fatalf("judged without history: %q", show(summary.Alerts))
	}
	publish(t, dir, between(rows, 0, 20*time.Hour))
	mustRun(t, dir, Options{Now: begin.Add(length + time.Hour)})
	if diff := cmp.Diff(onTape(t, whole), onTape(t, dir)); diff != "" {
		t.Errorf("alerts (-at once +history later):\n%s", diff)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	summary := mustRun(t, dir, Options{Now: begin.Add(length + time.Hour), DryRun: true})
	if len(summary.New) != len(events)-1 || summary.Published.Rows != 0 || len(onTape(t, dir)) != 0 {
		t.Errorf("%d new, %d published", len(summary.New), summary.Published.Rows)
	}
	if _, err := os.Stat(dir.StatePath(stateName)); !os.IsNotExist(err) {
		t.Errorf("the state: %v", err)
	}
}

func TestEmptyTape(t *testing.T) {
	summary := mustRun(t, newTape(t), Options{Now: begin})
	if len(summary.Alerts) != 0 || summary.Symbols != 0 || len(summary.Detectors) != 3 {
		t.Errorf("%+v", summary)
	}
}

func TestThresholds(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	opt := Options{Now: begin.Add(length + time.Hour), DryRun: true, Detectors: []string{"pump_burst"},
		Thresholds: map[string]map[string]any{"pump_burst": {"min_rush_buys": 1000, "thin_rush_buys": 1000}}}
	if summary := mustRun(t, dir, opt); len(summary.Alerts) != 0 {
		t.Errorf("alerts in spite of the threshold: %q", show(summary.Alerts))
	}
	all := strings.Join(every(t), ", ")
	for want, opt := range map[string]Options{
		`there is no detector "pump"; there are ` + all:                       {Detectors: []string{"pump"}},
		`pump_burst has no parameter "min_rush_bys": is it "min_rush_buys"?`:  {Thresholds: map[string]map[string]any{"pump_burst": {"min_rush_bys": 3}}},
		`parameter min_rush_buys of pump_burst: "many" is not a BIGINT`:       {Thresholds: map[string]map[string]any{"pump_burst": {"min_rush_buys": "many"}}},
		`thresholds for a detector "x", which is not there; there are ` + all: {Thresholds: map[string]map[string]any{"x": {}}},
		`window_end of whale_order is not a threshold`:                        {Thresholds: map[string]map[string]any{"whale_order": {"window_end": begin}}},
		`a window has a start and an end`:                                     {From: begin},
	} {
		_, err := Run(t.Context(), dir, opt)
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

const ownDetector = `-- own says what it is told to.
--
-- reads:   trades        from window_start
-- param:   window_start  TIMESTAMP  UTC
-- param:   window_end    TIMESTAMP  UTC
-- column:  symbol        VARCHAR    symbol
-- column:  at            TIMESTAMP  UTC
-- column:  score         DOUBLE     dimensionless
-- column:  severity      VARCHAR    low
-- column:  message       VARCHAR    sentence
-- column:  first_id      BIGINT     id
-- column:  last_id       BIGINT     id
-- key:     symbol, at
SELECT
    symbol,
    AT_IS AS at,
    1.0::DOUBLE AS score,
    'SEVERITY_IS' AS severity,
    'found' AS message,
    min(id) AS first_id,
    max(id) AS last_id,
FROM trades
WHERE
    traded_at >= $window_start::TIMESTAMP
    AND traded_at < $window_end::TIMESTAMP
GROUP BY symbol
ORDER BY symbol
`

// TestOwnDetectors: a wrong file, or one that returns what no alert can be made of, is a problem of its own; the others run.
func TestOwnDetectors(t *testing.T) {
	dir := newTape(t, between(smallMarket(1), 0, 19*time.Hour))
	for name, test := range map[string]struct {
		text, want string
		alerts     int
	}{
		"right":      {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low").Replace(ownDetector), "", 6},
		"severity":   {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "dire").Replace(ownDetector), `own.sql returned a row for "AGAINBTC" whose severity is "dire": it is low, medium or high`, 0},
		"outside":    {strings.NewReplacer("AT_IS", "$window_start::TIMESTAMP", "SEVERITY_IS", "low").Replace(ownDetector), `own.sql returned a row for "AGAINBTC" at 2026-01-15T11:30:00Z, which is outside of its window, after 2026-01-15T11:30:00Z and up to 2026-01-15T13:00:00Z`, 0},
		"column":     {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low", "message       VARCHAR", "massage       VARCHAR").Replace(ownDetector), `own.sql:13: a detector returns a column message of type VARCHAR`, 0},
		"sql column": {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low", "min(id) AS first_id", "min(idd) AS first_id").Replace(ownDetector), `own.sql:20: Binder Error: Referenced column "idd" not found in FROM clause! Candidate bindings: "id", "traded_at", "date"`, 0},
		"parameter":  {strings.NewReplacer("AT_IS", "$window_ende::TIMESTAMP", "SEVERITY_IS", "low").Replace(ownDetector), `own.sql:16: $window_ende is not in the header: is it $window_end?`, 0},
		"memory":     {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low", "min(id) AS first_id", "(SELECT len(list(i)) FROM range(500000000) AS endless(i)) AS first_id").Replace(ownDetector), "Out of Memory Error", 0},
		"statement":  {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low", "ORDER BY symbol\n", "ORDER BY symbol; DROP TABLE trades").Replace(ownDetector), `own.sql:27: a second statement begins after this semicolon: a query is one SELECT`, 0},
	} {
		if testing.Short() && name == "memory" {
			continue // filling it takes seconds
		}
		t.Run(name, func(t *testing.T) {
			queries := t.TempDir()
			if err := os.Mkdir(filepath.Join(queries, "detect"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(queries, "detect", "own.sql"), []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			summary, err := Run(t.Context(), dir, Options{QueriesDir: queries, DryRun: true, MemoryLimit: "400MB",
				From: begin.Add(18 * time.Hour), To: begin.Add(19 * time.Hour), Now: begin.Add(20 * time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			var problems []string
			for _, problem := range summary.Problems {
				problems = append(problems, strings.TrimPrefix(problem.Error(), filepath.Join(queries, "detect")+"/"))
			}
			have := strings.Join(problems, "\n")
			if strings.Contains(have, "\n") {
				t.Errorf("not one line: %q", have)
			}
			if name == "memory" && strings.Contains(have, test.want) {
				have = test.want
			}
			if have != test.want {
				t.Errorf("problem:\n%s\nwant:\n%s", have, test.want)
			}
			if len(summary.Alerts) != test.alerts {
				t.Errorf("%d alerts, want %d: %q", len(summary.Alerts), test.alerts, show(summary.Alerts))
			}
			if ran := len(summary.Detectors); ran != len(every(t)) && test.want != "" || ran != len(every(t))+1 && test.want == "" {
				t.Errorf("ran: %q", summary.Detectors)
			}
		})
	}
}

func TestEndlessDetectorIsEnded(t *testing.T) {
	queries := t.TempDir()
	if err := os.Mkdir(filepath.Join(queries, "detect"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low", "FROM trades", "FROM trades\nCROSS JOIN range(100000000) AS a\nCROSS JOIN range(100000000) AS b").Replace(ownDetector)
	if err := os.WriteFile(filepath.Join(queries, "detect", "own.sql"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := newTape(t, between(smallMarket(1), 0, 19*time.Hour))
	summary, err := Run(t.Context(), dir, Options{QueriesDir: queries, Detectors: []string{"own"}, Timeout: 200 * time.Millisecond, Now: begin.Add(20 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if len(summary.Problems) != 1 || !strings.HasSuffix(summary.Problems[0].Error(), "own.sql took longer than 200ms and was ended") {
		t.Errorf("problems: %v", summary.Problems)
	}
}

func TestDamagedSegmentStopsTheRun(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	files, err := filepath.Glob(filepath.Join(dir.Path(), "trades", "date=2026-01-15", "*.parquet"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	// The footer stays whole, so that only reading the pages shows the damage.
	for i := 100; i < len(content)/2; i++ {
		content[i] ^= 0x55
	}
	if err := os.WriteFile(files[0], content, 0o644); err != nil {
		t.Fatal(err)
	}
	summary, err := Run(t.Context(), dir, Options{Now: begin.Add(length + time.Hour)})
	if err == nil || !strings.Contains(err.Error(), filepath.Base(files[0])) {
		t.Errorf("error %v does not name the segment", err)
	}
	if len(summary.Broken) != 1 || len(onTape(t, dir)) != 0 {
		t.Errorf("broken %v, alerts %q", summary.Broken, onTape(t, dir))
	}
}
