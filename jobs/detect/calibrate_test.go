package detect

import (
	"testing"
	"time"
)

func TestCalibrate(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	opt := Options{From: begin.Add(13 * time.Hour), To: begin.Add(length), Now: begin.Add(length + time.Hour), Detectors: []string{"whale_order", "flash_crash"}}
	alerts := func(budget float64) (whale, crash Proposal) {
		out, err := Calibrate(t.Context(), dir, opt, budget)
		if err != nil || len(out.Problems) > 0 || len(out.Skipped) > 0 || len(out.Detectors) != 2 {
			t.Fatal(out, err)
		}
		return out.Detectors[1], out.Detectors[0]
	}
	// There are two whales in 17 hours, which is 0.7 days. A budget of two per day for two detectors allows none
	// for each; a budget of six allows two.
	whale, crash := alerts(2)
	if whale.Param != "min_ratio" || whale.Current != 3 || whale.AlertsCurrent != 2 || whale.AlertsThreshold != 0 || whale.Threshold < 189 || whale.SymbolDays != 6 {
		t.Errorf("whale_order: %+v", whale)
	}
	if whale.MediumParam != "medium_ratio" || whale.HighParam != "high_ratio" {
		t.Errorf("whale_order: %+v", whale)
	}
	if crash.AlertsCurrent != 1 || crash.AlertsThreshold != 0 {
		t.Errorf("flash_crash: %+v", crash)
	}
	whale, _ = alerts(6)
	if whale.AlertsThreshold != 2 || whale.Threshold < 0.75 || whale.Threshold > 3 {
		t.Errorf("whale_order: %+v", whale)
	}
	// A run with the proposed threshold raises what was predicted.
	whale, _ = alerts(3)
	opt.Detectors, opt.DryRun = []string{"whale_order"}, true
	opt.Thresholds = map[string]map[string]any{"whale_order": {"min_ratio": whale.Threshold}}
	if got := len(runDetect(t, dir, opt).Alerts); int64(got) != whale.AlertsThreshold || got != 1 {
		t.Errorf("%d alerts at the threshold %v, which allows %d", got, whale.Threshold, whale.AlertsThreshold)
	}
	if _, err := Calibrate(t.Context(), dir, opt, 0); err == nil {
		t.Error("a budget of 0 was accepted")
	}
}
