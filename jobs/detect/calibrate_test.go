package detect

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestThresholdsOfSymbols(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	with := func(symbols map[string]map[string]any) (out []string) {
		opt := Options{Now: begin.Add(length + time.Hour), DryRun: true, Detectors: []string{"pump_burst", "whale_order"}, SymbolThresholds: map[string]map[string]map[string]any{"pump_burst": symbols}}
		for _, alert := range mustRun(t, dir, opt).Alerts {
			out = append(out, alert.Detector+" "+alert.Symbol)
		}
		slices.Sort(out)
		return out
	}
	never := map[string]any{"min_rush_buys": 1000, "thin_rush_buys": 1000}
	for name, test := range map[string]struct {
		symbols map[string]map[string]any
		want    string
	}{
		"none":                           {nil, "pump_burst AGAINBTC, pump_burst PUMPBTC, whale_order THINUSDT, whale_order WHALEUSDT"},
		"one":                            {map[string]map[string]any{"PUMPBTC": never}, "pump_burst AGAINBTC, whale_order THINUSDT, whale_order WHALEUSDT"},
		"a pattern":                      {map[string]map[string]any{"*BTC": never}, "whale_order THINUSDT, whale_order WHALEUSDT"},
		"a name beats a pattern":         {map[string]map[string]any{"*BTC": never, "PUMPBTC": {"min_rush_buys": 10}}, "pump_burst PUMPBTC, whale_order THINUSDT, whale_order WHALEUSDT"},
		"the longer pattern beats":       {map[string]map[string]any{"*BTC": never, "PUMP*BTC": {"min_rush_buys": 10}}, "pump_burst PUMPBTC, whale_order THINUSDT, whale_order WHALEUSDT"},
		"one that is no symbol's is lax": {map[string]map[string]any{"XBTC": never}, "pump_burst AGAINBTC, pump_burst PUMPBTC, whale_order THINUSDT, whale_order WHALEUSDT"},
	} {
		t.Run(name, func(t *testing.T) {
			if have := strings.Join(with(test.symbols), ", "); have != test.want {
				t.Errorf("found %s, want %s", have, test.want)
			}
		})
	}
	for want, symbols := range map[string]map[string]map[string]map[string]any{
		`pump_burst has no parameter "min_zz": is it "min_z"?`:       {"pump_burst": {"*": {"min_zz": 3}}},
		`thresholds of pump_burst: "[" is not a symbol or a pattern`: {"pump_burst": {"[": {"min_z": 3}}},
	} {
		if _, err := Run(t.Context(), dir, Options{Now: begin.Add(length), SymbolThresholds: symbols}); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// cheat raises an alert at the end of each minute whose next one is dearer.
const cheat = `-- cheat looks ahead.
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
WITH hours AS (
    SELECT
        symbol,
        time_bucket(INTERVAL 2 HOURS, traded_at) AS hour,
        max(price) AS high,
        min(id) AS first_id,
        max(id) AS last_id,
    FROM trades
    WHERE
        traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY
        symbol,
        hour,
)

SELECT
    symbol,
    hour + INTERVAL 1 HOUR AS at,
    high AS score,
    'low' AS severity,
    'high' AS message,
    first_id,
    last_id,
FROM hours
WHERE
    hour + INTERVAL 1 HOUR > $window_start::TIMESTAMP
    AND hour + INTERVAL 1 HOUR <= $window_end::TIMESTAMP
ORDER BY
    symbol,
    hour
`

func TestCheckLookAhead(t *testing.T) {
	rows := smallMarket(3)
	dir := newTape(t, rows)
	opt := Options{From: begin.Add(14 * time.Hour), To: begin.Add(28 * time.Hour), Now: begin.Add(length + time.Hour)}
	t.Run("those that come with it", func(t *testing.T) {
		if testing.Short() {
			t.Skip("takes long: make test-all")
		}
		opt := opt
		opt.Detectors = found
		checked, err := CheckLookAhead(t.Context(), dir, opt)
		if err != nil || len(checked.Problems) > 0 {
			t.Fatal(err, checked.Problems)
		}
		inside := slices.ContainsFunc(checked.Cuts, func(cut time.Time) bool { return !cut.Equal(cut.Truncate(time.Minute)) })
		if len(checked.Found) > 0 || len(checked.Cuts) < 12 || !inside || len(checked.Detectors) != len(found) || checked.Alerts < len(events)-1 {
			t.Errorf("cut at %v, %d alerts of %v, differing: %v", checked.Cuts, checked.Alerts, checked.Detectors, checked.Found)
		}
	})
	t.Run("one that cheats", func(t *testing.T) {
		opt := opt
		opt.QueriesDir, opt.Detectors = t.TempDir(), []string{"cheat"}
		if err := os.Mkdir(filepath.Join(opt.QueriesDir, "detect"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(opt.QueriesDir, "detect", "cheat.sql"), []byte(cheat), 0o644); err != nil {
			t.Fatal(err)
		}
		checked, err := CheckLookAhead(t.Context(), dir, opt)
		if err != nil || len(checked.Problems) > 0 {
			t.Fatal(err, checked.Problems)
		}
		if len(checked.Found) == 0 || checked.Found[0].Detector != "cheat" {
			t.Errorf("differing: %v", checked.Found)
		}
	})
}

func TestCalibrate(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	opt := Options{From: begin.Add(13 * time.Hour), To: begin.Add(length), Now: begin.Add(length + time.Hour), Detectors: []string{"whale_order", "flash_crash"}}
	alarms := func(budget float64) (whale, crash Calibration) {
		out, err := Calibrate(t.Context(), dir, opt, budget)
		if err != nil || len(out.Problems) > 0 || len(out.Skipped) > 0 || len(out.Detectors) != 2 {
			t.Fatal(out, err)
		}
		return out.Detectors[1], out.Detectors[0]
	}
	// Two whales in 17 hours, which is 0.7 days. A budget of two a day for two detectors leaves none for each; one of six leaves two.
	whale, crash := alarms(2)
	if whale.Param != "min_ratio" || whale.Current != 3 || whale.AlarmsCurrent != 2 || whale.AlarmsThreshold != 0 || whale.Threshold < 189 || whale.SymbolDays != 6 {
		t.Errorf("whale_order: %+v", whale)
	}
	if whale.MediumParam != "medium_ratio" || whale.HighParam != "high_ratio" {
		t.Errorf("whale_order: %+v", whale)
	}
	if crash.AlarmsCurrent != 1 || crash.AlarmsThreshold != 0 {
		t.Errorf("flash_crash: %+v", crash)
	}
	whale, _ = alarms(6)
	if whale.AlarmsThreshold != 2 || whale.Threshold < 0.75 || whale.Threshold > 3 {
		t.Errorf("whale_order: %+v", whale)
	}
	// What is calibrated keeps its promise.
	whale, _ = alarms(3)
	opt.Detectors, opt.DryRun = []string{"whale_order"}, true
	opt.Thresholds = map[string]map[string]any{"whale_order": {"min_ratio": whale.Threshold}}
	if have := len(mustRun(t, dir, opt).Alerts); int64(have) != whale.AlarmsThreshold || have != 1 {
		t.Errorf("%d alerts at the threshold %v, which allows %d", have, whale.Threshold, whale.AlarmsThreshold)
	}
	if _, err := Calibrate(t.Context(), dir, opt, 0); err == nil {
		t.Error("a budget of nothing was taken")
	}
}

// TestUnjudgedIsCounted: what has too little history, or a hole that nobody can fill, is neither alarm nor all-clear.
func TestUnjudgedIsCounted(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	summary := mustRun(t, dir, Options{Now: begin.Add(length + time.Hour), DryRun: true})
	if len(summary.Unjudged) != 6 {
		t.Fatalf("unjudged: %+v", summary.Unjudged)
	}
	for _, u := range summary.Unjudged {
		// The record begins within minutes of 18:00; at 07:00 there are 720 minutes before the full hour. THINUSDT begins up to 40 minutes later.
		if u.Gap != 0 || u.History < 12*60 || u.History > 14*60 {
			t.Errorf("unjudged: %+v", u)
		}
	}
	late := mustRun(t, dir, Options{From: begin.Add(20 * time.Hour), To: begin.Add(22 * time.Hour), Now: begin.Add(length + time.Hour), DryRun: true})
	if len(late.Unjudged) != 0 {
		t.Errorf("unjudged: %+v", late.Unjudged)
	}
}
