package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
)

// pendingTexts returns the texts of the messages to a chat, in order.
func pendingTexts(t *testing.T, o *Outbox, chat string) (texts []string) {
	t.Helper()
	entries, _, err := o.scan()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.message.Chat == chat {
			texts = append(texts, e.message.Parts[0].HTML)
		}
	}
	return texts
}

// TestOneIncidentIsOneMessage checks that detectors that agree cause one message, and another one
// only if the severity rises or the cooldown is over.
func TestOneIncidentIsOneMessage(t *testing.T) {
	h := newHarness(t)
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	o := h.outbox(Chat{ID: "1"}, Chat{ID: "2", Severity: "medium"}, Chat{ID: "3", Detectors: []string{"whale_order"}})
	var alerts []tape.Alert
	step := func(after time.Duration, severity string, detectors ...string) {
		t.Helper()
		for _, detector := range detectors {
			alerts = append(alerts, newAlerts(now.Add(after), detector, "ABTC", "low")...)
		}
		names := []string{}
		for _, a := range alerts {
			names = append(names, a.Detector)
		}
		slices.Sort(names)
		incident := analytics.Incident{
			Symbol: "ABTC", StartedAt: now, LastAt: now.Add(after), Severity: severity, Detectors: slices.Compact(names), Symbols: []string{"ABTC"}, Message: "m",
		}
		// Some of these were enqueued before, as if a run were repeated.
		if _, err := o.EnqueueAlerts(t.Context(), alerts, []analytics.Incident{incident}, now.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(chat string, n int) []string {
		t.Helper()
		texts := pendingTexts(t, o, chat)
		if len(texts) != n {
			t.Fatalf("chat %s has %d messages, want %d:\n%s", chat, len(texts), n, strings.Join(texts, "\n\n"))
		}
		return texts
	}
	step(0, "low", "price_jump", "pump_burst")
	if texts := want("1", 1); !strings.Contains(texts[0], "2 detectors agree: price_jump, pump_burst") {
		t.Error(texts)
	}
	want("2", 0)
	step(time.Minute, "medium", "volume_spike", "whale_order")
	if texts := want("1", 2); !strings.Contains(texts[1], ", medium\n") || !strings.Contains(texts[1], "4 detectors agree") {
		t.Error(texts)
	}
	want("2", 1)
	want("3", 1)
	step(2*time.Minute, "medium", "flow_imbalance")
	want("1", 2)
	step(40*time.Minute, "medium", "vwap_deviation")
	want("1", 3)
	want("3", 1)
}

// TestIncidentShowsItsMostSevereAlert checks whose text a message about an incident has.
func TestIncidentShowsItsMostSevereAlert(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	alert := func(after time.Duration, detector, severity string, score float64) tape.Alert {
		a := newAlerts(now.Add(after), detector, "ABTC", severity)[0]
		a.Score, a.Message = score, detector+" says so"
		return a
	}
	first := alert(0, "price_jump", "low", 9)
	for name, c := range map[string]struct {
		alerts  []tape.Alert
		message string
		want    string
	}{
		"most severe":    {[]tape.Alert{first, alert(time.Minute, "pump_burst", "high", 2), alert(2*time.Minute, "whale_order", "medium", 50)}, "pump_burst says so", "🔴 <b>ABTC</b> pump_burst, high\npump_burst says so\n2026-01-15 12:01:00 UTC, score 2.0"},
		"highest score":  {[]tape.Alert{first, alert(time.Minute, "pump_burst", "low", 10)}, "pump_burst says so", "🔴 <b>ABTC</b> pump_burst, high\npump_burst says so\n2026-01-15 12:01:00 UTC, score 10.0"},
		"an earlier run": {[]tape.Alert{first}, "flash_crash says so", "🔴 <b>ABTC</b> incident, high\nflash_crash says so\nsince 2026-01-15 12:00:00 UTC"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newHarness(t).outbox(Chat{ID: "1"}, Chat{ID: "2", Detectors: []string{"price_jump"}})
			incident := analytics.Incident{Symbol: "ABTC", StartedAt: now, LastAt: now.Add(time.Hour), Severity: "high", Detectors: []string{"price_jump"}, Symbols: []string{"ABTC"}, Message: c.message}
			if _, err := o.EnqueueAlerts(t.Context(), c.alerts, []analytics.Incident{incident}, now.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if texts := pendingTexts(t, o, "1"); len(texts) != 1 || texts[0] != c.want {
				t.Errorf("messages %q, want %q", texts, c.want)
			}
			if texts := pendingTexts(t, o, "2"); len(texts) != 1 || !strings.Contains(texts[0], "price_jump says so") {
				t.Errorf("messages to a chat that receives one detector: %q", texts)
			}
		})
	}
}

// TestMarketWideIncidentIsOneMessage checks that any number of symbols and runs causes one message.
func TestMarketWideIncidentIsOneMessage(t *testing.T) {
	h := newHarness(t)
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	o := h.outbox(Chat{ID: "1"}, Chat{ID: "4", Symbols: []string{"*BTC"}}, Chat{ID: "5", Symbols: []string{"OTHER"}})
	var alerts []tape.Alert
	var symbols []string
	more := func(after time.Duration, n int) {
		t.Helper()
		for range n {
			symbols = append(symbols, fmt.Sprintf("S%02dBTC", len(symbols)))
			alerts = append(alerts, newAlerts(now.Add(after), "price_jump", symbols[len(symbols)-1], "low")...)
		}
		incident := analytics.Incident{
			Symbol: analytics.AllSymbols, StartedAt: now, LastAt: now.Add(after), Severity: "medium", Detectors: []string{"price_jump"}, Symbols: symbols, Message: fmt.Sprintf("%d of 100 symbols at once", len(symbols)),
		}
		own := analytics.Incident{Symbol: "ALONEBTC", StartedAt: now, LastAt: now, Severity: "low", Detectors: []string{"whale_order"}, Symbols: []string{"ALONEBTC"}}
		all := slices.Concat(alerts, newAlerts(now, "whale_order", "ALONEBTC", "low"))
		if _, err := o.EnqueueAlerts(t.Context(), all, []analytics.Incident{incident, own}, now.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	more(0, 40)
	for _, chat := range []string{"1", "4"} {
		texts := pendingTexts(t, o, chat)
		if len(texts) != 2 || !strings.Contains(texts[0], "Market-wide</b>, medium\n40 of 100 symbols at once (price_jump)\nS00BTC, S01BTC,") ||
			!strings.Contains(texts[0], "and 10 more") || !strings.Contains(texts[1], "ALONEBTC") {
			t.Errorf("%s: %q", chat, texts)
		}
	}
	more(2*time.Minute, 10)
	if texts := pendingTexts(t, o, "1"); len(texts) != 2 {
		t.Errorf("repeated: %q", texts)
	}
	if texts := pendingTexts(t, o, "5"); len(texts) != 0 {
		t.Errorf("filtered symbols arrived: %q", texts)
	}
}

// TestRecoveryIsSentOnceToChatsThatReceivedTheIncident checks that the recovery may come from
// another detector.
func TestRecoveryIsSentOnceToChatsThatReceivedTheIncident(t *testing.T) {
	h := newHarness(t)
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	o := h.outbox(Chat{ID: "1"}, Chat{ID: "2", Severity: "high"})
	var alerts []tape.Alert
	step := func(after time.Duration, more []tape.Alert) {
		t.Helper()
		alerts = append(alerts, more...)
		incident := analytics.Incident{Symbol: "ABTC", StartedAt: now, LastAt: now.Add(after), Severity: "low", Detectors: []string{"dump_burst", "flash_crash"}, Symbols: []string{"ABTC"}, Message: "m"}
		if _, err := o.EnqueueAlerts(t.Context(), alerts, []analytics.Incident{incident}, now.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	step(0, newAlerts(now, "dump_burst", "ABTC", "low"))
	step(time.Minute, newAlerts(now.Add(time.Minute), "flash_crash", "ABTC", "low")) // the same incident
	step(6*time.Minute, recovered(newAlerts(now.Add(6*time.Minute), "flash_crash", "ABTC", "low")))
	step(8*time.Minute, recovered(newAlerts(now.Add(8*time.Minute), "flash_crash", "ABTC", "low")))
	step(9*time.Minute, newAlerts(now.Add(9*time.Minute), "volume_spike", "ABTC", "low"))
	texts := pendingTexts(t, o, "1")
	if len(texts) != 2 || !strings.Contains(texts[0], "dump_burst") || !strings.HasPrefix(texts[1], "✅ <b>ABTC</b> flash_crash, recovered\n") {
		t.Errorf("%d: %s", len(texts), strings.Join(texts, "\n\n"))
	}
	if texts := pendingTexts(t, o, "2"); len(texts) != 0 {
		t.Error(texts)
	}
}
