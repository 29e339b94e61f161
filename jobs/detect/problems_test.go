package detect

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/tape"
)

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
