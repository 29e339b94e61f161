package detect

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

var testOrigin = tape.Origin{Source: tape.FromFile}

func TestRunFindsInjectedEventsOnly(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	summary := runDetect(t, dir, Options{Now: begin.Add(length + time.Hour), RunID: "run-1"})
	var want, got []string
	for _, e := range events {
		if e.detector == masked {
			continue
		}
		want = append(want, fmt.Sprintf("%s %s %s", e.detector, e.symbol, begin.Add(e.at).Format("02 15:04")))
	}
	for _, a := range summary.Alerts {
		// the minute that ends at At or contains it
		got = append(got, fmt.Sprintf("%s %s %s", a.Detector, a.Symbol, time.UnixMicro(a.At-1).UTC().Format("02 15:04")))
		if a.RunID != "run-1" || a.FoundAt != begin.Add(length+time.Hour).UnixMicro() {
			t.Errorf("alert with run %q, found at %d", a.RunID, a.FoundAt)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts (-want +got):\n%s", diff)
	}
	for _, line := range describe(summary.Alerts) {
		t.Log(line)
	}
	if summary.Published.Rows != int64(len(got)) || len(summary.New) != len(got) || len(summary.Waiting) != 0 || summary.Symbols != 6 {
		t.Errorf("summary: %d published, %d new, %d waiting, %d symbols", summary.Published.Rows, len(summary.New), len(summary.Waiting), summary.Symbols)
	}
	t.Run("a second run finds nothing new", func(t *testing.T) {
		again := runDetect(t, dir, Options{Now: begin.Add(length + 2*time.Hour)})
		if len(again.Alerts) != 0 || !again.Judged.IsEmpty() {
			t.Errorf("judged %v, %d alerts", again.Judged, len(again.Alerts))
		}
	})
	t.Run("a run over a window adds nothing", func(t *testing.T) {
		again := runDetect(t, dir, Options{From: begin, To: begin.Add(length), Now: begin.Add(length + 2*time.Hour)})
		if len(again.New) != 0 || again.Published.Rows != 0 {
			t.Errorf("%d new, %d published", len(again.New), again.Published.Rows)
		}
		if diff := cmp.Diff(describe(summary.Alerts), describe(again.Alerts)); diff != "" {
			t.Errorf("alerts (-first +again):\n%s", diff)
		}
	})
}

// TestAlertsDoNotDependOnRuns checks that many runs, over a growing tape or over given windows, raise the
// alerts of one run.
func TestAlertsDoNotDependOnRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector: make test-all")
	}
	rows := smallMarket(2)
	whole := newTape(t, rows)
	runDetect(t, whole, Options{Detectors: allDetectors(t), Now: begin.Add(length + time.Hour)})
	want := alertsOnTape(t, whole)
	if len(want) < len(events)-1 {
		t.Fatalf("only %d alerts to compare", len(want))
	}
	for name, grown := range map[string]struct {
		seed   uint64
		errors []time.Duration // by which the clock is wrong
	}{
		"the tape grows":                      {2, []time.Duration{0}},
		"the tape grows and the clock is set": {5, []time.Duration{0, time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTape(t)
			random := rand.New(rand.NewPCG(grown.seed, 9))
			runs := 0
			for from := time.Duration(0); from < length; {
				to := min(length, from+time.Duration(random.Int64N(int64(150*time.Minute))))
				if from == 0 {
					to = 19*time.Hour + 55*time.Minute
				}
				publish(t, dir, between(rows, from, to))
				wrong := grown.errors[random.IntN(len(grown.errors))]
				runDetect(t, dir, Options{Detectors: allDetectors(t), Now: begin.Add(to + wrong)})
				from, runs = to, runs+1
			}
			runDetect(t, dir, Options{Detectors: allDetectors(t), Now: begin.Add(length + time.Hour)})
			if diff := cmp.Diff(want, alertsOnTape(t, dir)); diff != "" {
				t.Errorf("%d runs (-whole +split):\n%s", runs, diff)
			}
		})
	}
	t.Run("given windows", func(t *testing.T) {
		dir := newTape(t, rows)
		// Cut through the middle of every event, and minute by minute around one.
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
			runDetect(t, dir, Options{Detectors: allDetectors(t), From: begin.Add(cuts[i]), To: begin.Add(cuts[i+1]), Now: begin.Add(length + time.Hour)})
		}
		if diff := cmp.Diff(want, alertsOnTape(t, dir)); diff != "" {
			t.Errorf("alerts (-whole +split):\n%s", diff)
		}
	})
}

// TestNoLookAhead checks for several instants that a run over the tape up to that instant raises the alerts
// that a run over the whole tape raises up to then.
func TestNoLookAhead(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector: make test-all")
	}
	rows := smallMarket(3)
	whole := newTape(t, rows)
	all := runDetect(t, whole, Options{Detectors: allDetectors(t), Now: begin.Add(length + time.Hour), DryRun: true}).Alerts
	if len(all) < len(events)-1 {
		t.Fatalf("only %d alerts to compare", len(all))
	}
	for _, e := range events {
		for _, after := range []time.Duration{time.Minute, 4 * time.Minute} {
			cut := e.at + after
			dir := newTape(t, between(rows, 0, cut))
			got := runDetect(t, dir, Options{Detectors: allDetectors(t), From: begin.Add(cut - time.Hour), To: begin.Add(cut), Now: begin.Add(cut + time.Hour), DryRun: true}).Alerts
			var want []tape.Alert
			for _, alert := range all {
				if at := time.UnixMicro(alert.At); at.After(begin.Add(cut-time.Hour)) && !at.After(begin.Add(cut)) {
					want = append(want, alert)
				}
			}
			if diff := cmp.Diff(describe(want), describe(got)); diff != "" {
				t.Errorf("cut at %v (-whole +cut):\n%s", begin.Add(cut), diff)
			}
		}
	}
}

func TestSymbolWaitsForMissingIDs(t *testing.T) {
	rows := smallMarket(4)
	want := func() []string {
		dir := newTape(t, rows)
		runDetect(t, dir, Options{Now: begin.Add(length + time.Hour)})
		return alertsOnTape(t, dir)
	}()
	// Trades around the first pump are missing, as after a disconnected stream.
	missing := between(map[string][]tape.Trade{"AGAINBTC": rows["AGAINBTC"]}, 20*time.Hour+10*time.Minute, 20*time.Hour+24*time.Minute)["AGAINBTC"]
	left := between(rows, 0, length)
	left["AGAINBTC"] = slices.DeleteFunc(left["AGAINBTC"], func(trade tape.Trade) bool {
		return trade.ID >= missing[0].ID && trade.ID <= missing[len(missing)-1].ID
	})
	dir := newTape(t, left)
	now := begin.Add(length + time.Hour)
	summary := runDetect(t, dir, Options{Now: now})
	if len(summary.Waiting) != 1 || summary.Waiting[0].Symbol != "AGAINBTC" || summary.Waiting[0].Gap.First != missing[0].ID ||
		summary.Waiting[0].Since.After(begin.Add(20*time.Hour+10*time.Minute)) {
		t.Fatalf("waiting: %+v", summary.Waiting)
	}
	first := copyOf(t, dir)
	others := slices.DeleteFunc(slices.Clone(want), func(line string) bool { return strings.Contains(line, "AGAINBTC") })
	if diff := cmp.Diff(others, alertsOnTape(t, dir)); diff != "" {
		t.Errorf("before backfill (-want +got):\n%s", diff)
	}
	again := runDetect(t, dir, Options{Now: now.Add(time.Minute)})
	if len(again.Waiting) != 1 || again.Symbols != 0 {
		t.Errorf("a second run judged %d symbols, %d wait", again.Symbols, len(again.Waiting))
	}
	t.Run("until they arrive", func(t *testing.T) {
		publish(t, dir, map[string][]tape.Trade{"AGAINBTC": missing})
		if after := runDetect(t, dir, Options{Now: now.Add(2 * time.Minute)}); len(after.Waiting) != 0 {
			t.Errorf("waiting: %+v", after.Waiting)
		}
		if diff := cmp.Diff(want, alertsOnTape(t, dir)); diff != "" {
			t.Errorf("after backfill (-want +got):\n%s", diff)
		}
	})
	ids := idset.Range{First: missing[0].ID, Last: missing[len(missing)-1].ID}
	for name, record := range map[string]func(*tape.Dir) error{
		"until the exchange is known to lack them": func(dir *tape.Dir) error {
			return dir.RecordAbsent("AGAINBTC", idset.Set{ids}, now)
		},
		"until they are dropped on purpose": func(dir *tape.Dir) error {
			return dir.RecordDropped("AGAINBTC", tape.IDRun{
				Range: ids, FirstAt: missing[0].TradedAt, LastAt: missing[len(missing)-1].TradedAt,
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyOf(t, first)
			if err := record(dir); err != nil {
				t.Fatal(err)
			}
			if summary := runDetect(t, dir, Options{Now: now.Add(time.Minute)}); len(summary.Waiting) != 0 {
				t.Errorf("waiting: %+v", summary.Waiting)
			}
			// The pump in the gap cannot be found, but the later one is.
			pumps := slices.DeleteFunc(alertsOnTape(t, dir), func(line string) bool { return !strings.Contains(line, "AGAINBTC") })
			if len(pumps) != 1 || !strings.HasPrefix(pumps[0], "15 21:03") {
				t.Errorf("pumps: %q", pumps)
			}
		})
	}
}

// TestLateTradesAreJudged publishes the trades of one symbol after those of the others were judged, as a
// backfill that goes symbol by symbol does.
func TestLateTradesAreJudged(t *testing.T) {
	rows := smallMarket(5)
	whole := newTape(t, rows)
	runDetect(t, whole, Options{Now: begin.Add(length + time.Hour)})
	late := func(from, to time.Duration) map[string][]tape.Trade {
		return between(map[string][]tape.Trade{"PUMPBTC": rows["PUMPBTC"]}, from, to)
	}
	first := between(rows, 0, length)
	first["PUMPBTC"] = late(0, 20*time.Hour+17*time.Minute+20*time.Second)["PUMPBTC"]
	dir := newTape(t, first)
	runDetect(t, dir, Options{Now: begin.Add(length + time.Hour)})
	publish(t, dir, late(20*time.Hour+17*time.Minute+20*time.Second, length))
	runDetect(t, dir, Options{Now: begin.Add(length + 2*time.Hour)})
	// The minute in which the trades of the symbol ended was judged as it was then, so its score may differ.
	if diff := cmp.Diff(names(alertsOnTape(t, whole)), names(alertsOnTape(t, dir))); diff != "" {
		t.Errorf("alerts (-complete +late):\n%s", diff)
	}
}

// TestEarlierHistoryIsJudged adds history before what was judged, without which there was no baseline.
func TestEarlierHistoryIsJudged(t *testing.T) {
	rows := smallMarket(6)
	whole := newTape(t, rows)
	runDetect(t, whole, Options{Now: begin.Add(length + time.Hour)})
	dir := newTape(t, between(rows, 20*time.Hour, length))
	if summary := runDetect(t, dir, Options{Now: begin.Add(length)}); len(summary.Alerts) != 0 {
		t.Fatalf("judged without history: %q", describe(summary.Alerts))
	}
	publish(t, dir, between(rows, 0, 20*time.Hour))
	runDetect(t, dir, Options{Now: begin.Add(length + time.Hour)})
	if diff := cmp.Diff(alertsOnTape(t, whole), alertsOnTape(t, dir)); diff != "" {
		t.Errorf("alerts (-complete +later history):\n%s", diff)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	summary := runDetect(t, dir, Options{Now: begin.Add(length + time.Hour), DryRun: true})
	if len(summary.New) != len(events)-1 || summary.Published.Rows != 0 || len(alertsOnTape(t, dir)) != 0 {
		t.Errorf("%d new, %d published", len(summary.New), summary.Published.Rows)
	}
	if _, err := os.Stat(dir.State().Path(progressFile)); !os.IsNotExist(err) {
		t.Errorf("state file: %v", err)
	}
}

func TestEmptyTape(t *testing.T) {
	summary := runDetect(t, newTape(t), Options{Now: begin})
	if len(summary.Alerts) != 0 || summary.Symbols != 0 || len(summary.Detectors) != 3 {
		t.Errorf("%+v", summary)
	}
}

func TestThresholds(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	opt := Options{Now: begin.Add(length + time.Hour), DryRun: true, Detectors: []string{"pump_burst"},
		Thresholds: map[string]map[string]any{"pump_burst": {"min_rush_buys": 1000, "thin_rush_buys": 1000}}}
	if summary := runDetect(t, dir, opt); len(summary.Alerts) != 0 {
		t.Errorf("alerts below the threshold: %q", describe(summary.Alerts))
	}
	all := strings.Join(allDetectors(t), ", ")
	for want, opt := range map[string]Options{
		`unknown detector "pump"; the detectors are ` + all:                         {Detectors: []string{"pump"}},
		`pump_burst has no parameter "min_rush_bys"; did you mean "min_rush_buys"?`: {Thresholds: map[string]map[string]any{"pump_burst": {"min_rush_bys": 3}}},
		`parameter min_rush_buys of pump_burst: "many" is not a BIGINT`:             {Thresholds: map[string]map[string]any{"pump_burst": {"min_rush_buys": "many"}}},
		`thresholds for an unknown detector "x"; the detectors are ` + all:          {Thresholds: map[string]map[string]any{"x": {}}},
		`window_end of whale_order is not a threshold`:                              {Thresholds: map[string]map[string]any{"whale_order": {"window_end": begin}}},
		`a window needs both a start and an end`:                                    {From: begin},
	} {
		_, err := Run(t.Context(), dir, opt)
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

const ownDetector = `-- own returns one row per symbol.
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

// queriesDir returns a directory with one detector.
func queriesDir(t *testing.T, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "detect"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "detect", name+".sql"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestWrongDetectorIsAProblem checks that a wrong file, or one that returns something other than alerts, does
// not stop the other detectors.
func TestWrongDetectorIsAProblem(t *testing.T) {
	dir := newTape(t, between(smallMarket(1), 0, 19*time.Hour))
	for name, test := range map[string]struct {
		text, want string
		alerts     int
	}{
		"right":      {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low").Replace(ownDetector), "", 6},
		"severity":   {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "dire").Replace(ownDetector), `own.sql returned a row for "AGAINBTC" whose severity is "dire" instead of low, medium or high`, 0},
		"outside":    {strings.NewReplacer("AT_IS", "$window_start::TIMESTAMP", "SEVERITY_IS", "low").Replace(ownDetector), `own.sql returned a row for "AGAINBTC" at 2026-01-15T11:30:00Z, outside its window, which is after 2026-01-15T11:30:00Z and up to 2026-01-15T13:00:00Z`, 0},
		"column":     {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low", "message       VARCHAR", "massage       VARCHAR").Replace(ownDetector), `own.sql:13: a detector must return a column message of type VARCHAR`, 0},
		"sql column": {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low", "min(id) AS first_id", "min(idd) AS first_id").Replace(ownDetector), `own.sql:20: Binder Error: Referenced column "idd" not found in FROM clause! Candidate bindings: "id", "traded_at", "date"`, 0},
		"parameter":  {strings.NewReplacer("AT_IS", "$window_ende::TIMESTAMP", "SEVERITY_IS", "low").Replace(ownDetector), `own.sql:16: $window_ende is not in the header; did you mean $window_end?`, 0},
		"memory":     {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low", "min(id) AS first_id", "(SELECT len(list(i)) FROM range(500000000) AS endless(i)) AS first_id").Replace(ownDetector), "Out of Memory Error", 0},
		"statement":  {strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low", "ORDER BY symbol\n", "ORDER BY symbol; DROP TABLE trades").Replace(ownDetector), `own.sql:27: a second statement follows this semicolon; a query must be one SELECT`, 0},
	} {
		if testing.Short() && name == "memory" {
			continue // filling it takes seconds
		}
		t.Run(name, func(t *testing.T) {
			queries := queriesDir(t, "own", test.text)
			summary, err := Run(t.Context(), dir, Options{QueriesDir: queries, DryRun: true, MemoryLimit: "400MB",
				From: begin.Add(18 * time.Hour), To: begin.Add(19 * time.Hour), Now: begin.Add(20 * time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			var problems []string
			for _, problem := range summary.Problems {
				problems = append(problems, strings.TrimPrefix(problem.Error(), filepath.Join(queries, "detect")+"/"))
			}
			got := strings.Join(problems, "\n")
			if strings.Contains(got, "\n") {
				t.Errorf("more than one line: %q", got)
			}
			if name == "memory" && strings.Contains(got, test.want) {
				got = test.want
			}
			if got != test.want {
				t.Errorf("problem:\n%s\nwant:\n%s", got, test.want)
			}
			if len(summary.Alerts) != test.alerts {
				t.Errorf("%d alerts, want %d: %q", len(summary.Alerts), test.alerts, describe(summary.Alerts))
			}
			if ran := len(summary.Detectors); ran != len(allDetectors(t)) && test.want != "" || ran != len(allDetectors(t))+1 && test.want == "" {
				t.Errorf("ran: %q", summary.Detectors)
			}
		})
	}
}

func TestDetectorTimeout(t *testing.T) {
	text := strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low", "FROM trades", "FROM trades\nCROSS JOIN range(100000000) AS a\nCROSS JOIN range(100000000) AS b").Replace(ownDetector)
	queries := queriesDir(t, "own", text)
	dir := newTape(t, between(smallMarket(1), 0, 19*time.Hour))
	summary, err := Run(t.Context(), dir, Options{QueriesDir: queries, Detectors: []string{"own"}, Timeout: 200 * time.Millisecond, Now: begin.Add(20 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if len(summary.Problems) != 1 || !strings.HasSuffix(summary.Problems[0].Error(), "own.sql took longer than 200ms and was stopped") {
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
	// The footer stays intact, so only reading the pages shows the damage.
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
	if len(summary.Broken) != 1 || len(alertsOnTape(t, dir)) != 0 {
		t.Errorf("broken %v, alerts %q", summary.Broken, alertsOnTape(t, dir))
	}
}

// TestRecentAlertsAreHandedOver checks what notifications get: the alerts of this run, and in the next hour also
// from runs that find nothing new, with the incidents that the summary has.
func TestRecentAlertsAreHandedOver(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	now := begin.Add(length)
	first := runDetect(t, dir, Options{Now: now})
	recent := slices.DeleteFunc(slices.Clone(first.New), func(a tape.Alert) bool { return a.At < now.Add(-25*time.Hour).UnixMicro() })
	if len(recent) == 0 || len(recent) != len(first.New) || len(first.Incidents) == 0 {
		t.Fatalf("%d of %d alerts are recent, in %d incidents", len(recent), len(first.New), len(first.Incidents))
	}
	for after, want := range map[time.Duration]int{0: len(recent), 59 * time.Minute: len(recent), 61 * time.Minute: 0} {
		summary := first
		if after > 0 {
			summary = runDetect(t, dir, Options{Now: now.Add(after)})
			if len(summary.New) != 0 {
				t.Errorf("after %v: %d new alerts", after, len(summary.New))
			}
		}
		if diff := cmp.Diff(describe(recent[:want]), describe(summary.Recent.Alerts)); diff != "" {
			t.Errorf("recent alerts after %v (-want +got):\n%s", after, diff)
		}
		incidents := first.Incidents
		if want == 0 {
			incidents = nil
		}
		if diff := cmp.Diff(incidents, summary.Recent.Incidents); diff != "" {
			t.Errorf("incidents after %v (-want +got):\n%s", after, diff)
		}
	}
	// A run over an earlier window does not hide later alerts from the incidents of notifications.
	window := runDetect(t, dir, Options{Now: now, From: begin.Add(20 * time.Hour), To: begin.Add(21 * time.Hour)})
	if diff := cmp.Diff(first.Incidents, window.Recent.Incidents); diff != "" || len(window.Incidents) == 0 || len(window.Incidents) >= len(first.Incidents) {
		t.Errorf("incidents of a window: %+v\n%s", window.Incidents, diff)
	}
	if dry := runDetect(t, dir, Options{Now: now, From: begin, To: now, DryRun: true}); len(dry.Recent.Alerts) != 0 {
		t.Errorf("%d recent alerts after a dry run", len(dry.Recent.Alerts))
	}
}
