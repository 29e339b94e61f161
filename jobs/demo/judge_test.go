package demo

import (
	"strings"
	"testing"
	"time"

	"tapedeck/internal/standin/market"
)

func TestJudge(t *testing.T) {
	onset := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	pump := market.Event{Kind: "pump_burst", Symbol: "AUSDT", At: onset, From: onset.Add(-time.Minute), To: onset.Add(5 * time.Minute)}
	crash := market.Event{Kind: "flash_crash", Symbol: "BUSDT", At: onset.Add(time.Hour), To: onset.Add(time.Hour + time.Minute)}
	whale := market.Event{Kind: "whale_order", Symbol: "CUSDT", At: onset.Add(2 * time.Hour), To: onset.Add(2 * time.Hour)}
	silent := market.Event{Kind: "silent_symbol", Symbol: "DUSDT", At: onset, To: onset.Add(3 * time.Hour)}
	injected := []market.Event{pump, crash, whale, silent}

	all := []alert{
		{"pump_burst", "AUSDT", onset.Add(90 * time.Second)},
		{"pump_burst", "AUSDT", onset.Add(30 * time.Second)},
		{"whale_order", "AUSDT", onset.Add(time.Minute)}, // explained by the pump
		{"flash_crash", "BUSDT", onset.Add(time.Hour + 20*time.Second)},
		{"whale_order", "CUSDT", onset.Add(2*time.Hour + time.Second)},
	}
	if v := judge(injected, all); len(v.missed) != 0 || len(v.unexplained) != 0 || len(v.found) != 3 || v.found[0].delay != 30*time.Second {
		t.Errorf("%+v", v)
	}
	// Alerts before the onset, long after the end, of another symbol and of another detector find nothing.
	wrong := []alert{
		{"pump_burst", "AUSDT", onset.Add(-time.Second)},
		{"pump_burst", "AUSDT", onset.Add(20 * time.Minute)},
		{"pump_burst", "BUSDT", onset.Add(time.Minute)},
		{"flash_crash", "CUSDT", onset.Add(2*time.Hour + time.Second)},
	}
	if v := judge(injected, wrong); len(v.missed) != 3 || len(v.unexplained) != 3 {
		t.Errorf("%+v", v)
	}
	// A promised kind that is not in the market counts as missed.
	if v := judge([]market.Event{pump}, all[:3]); len(v.missed) != 2 {
		t.Errorf("%+v", v)
	}
}

func TestReadAlerts(t *testing.T) {
	alerts, err := readAlerts(strings.NewReader(`{"detector":"pump_burst","symbol":"AUSDT","at":"2026-01-15T12:00:30Z","score":3.5}` + "\n"))
	if err != nil || len(alerts) != 1 || alerts[0].Detector != "pump_burst" || alerts[0].At.Second() != 30 {
		t.Error(alerts, err)
	}
	if _, err := readAlerts(strings.NewReader("tapedeck: no\n")); err == nil {
		t.Error("a line that is not JSON was accepted")
	}
}
