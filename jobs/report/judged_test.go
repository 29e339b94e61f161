package report_test

import (
	"strings"
	"testing"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/jobs/report"
)

// TestNoAlertsNeedsJudgedMinutes builds reports of a tape without alerts of which the detectors judged
// different parts, and looks for the same words in every format.
func TestNoAlertsNeedsJudgedMinutes(t *testing.T) {
	symbols := []string{"BTCUSDT", "ETHUSDT"}
	middle := sampleStart.Add(2 * time.Hour)
	for _, c := range []struct {
		name   string
		judged func(*testing.T, *tape.Dir)
		want   string
		level  report.Level // of the statement; "" for none
	}{
		{"nothing", func(*testing.T, *tape.Dir) {}, "not judged at all", report.Fair},
		{"everything", func(t *testing.T, dir *tape.Dir) {
			judge(t, dir, sampleStart.Add(-time.Hour), sampleEnd.Add(time.Hour), "", symbols...)
		}, "all 240 minutes of each symbol judged", ""},
		{"a tape of two hours", func(t *testing.T, dir *tape.Dir) {
			judge(t, dir, sampleStart, sampleEnd, state.ReasonHistory, symbols...)
		}, "none of 240 minutes of each symbol judged: 240 without history to compare with", report.Fair},
		{"half", func(t *testing.T, dir *tape.Dir) {
			judge(t, dir, sampleStart, middle, state.ReasonHistory, symbols...)
			judge(t, dir, middle, sampleEnd, "", symbols...)
		}, "120 of 240 minutes of each symbol judged, the rest lacks history to compare with", report.Fair},
		{"one symbol", func(t *testing.T, dir *tape.Dir) {
			judge(t, dir, sampleStart, sampleEnd, "", symbols[0])
			judge(t, dir, sampleStart, middle, state.ReasonWaiting, symbols[1])
		}, "240 of 480 minutes of 2 symbols together judged; 120 not looked at, 120 waiting for missing ids", report.Fair},
		{"the last minutes are not judged yet", func(t *testing.T, dir *tape.Dir) {
			judge(t, dir, sampleStart, sampleEnd.Add(-2*time.Minute), "", symbols...)
		}, "238 of 240 minutes of each symbol judged, no detector has looked at the rest", report.Note},
		{"some detectors", func(t *testing.T, dir *tape.Dir) {
			spans := []state.JudgedSpan{{Start: sampleStart, End: sampleEnd}}
			if err := state.RecordJudged(dir.State(), []state.Judged{{Detector: "pump_burst", Symbol: "BTCUSDT", Spans: spans},
				{Detector: "pump_burst", Symbol: "ETHUSDT", Spans: spans}, {Detector: "gone", Symbol: "ETHUSDT", Spans: spans}}, false); err != nil {
				t.Fatal(err)
			}
		}, "all 240 minutes of each symbol judged by 1 of 12 detectors", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := newTape(t, tape.AggTrade, sampleTrades([]market{markets[0], markets[2]}, nil))
			c.judged(t, dir)
			built := build(t, dir, func(o *report.Options) { o.Sections = []string{"incidents"} })
			if built.Judged.Text != c.want {
				t.Fatalf("judged: %q, want %q", built.Judged.Text, c.want)
			}
			level := report.Level("")
			for _, statement := range built.Statements {
				if strings.HasPrefix(statement.Text, "Alerts may be missing: "+c.want) {
					level = statement.Level
				}
			}
			if level != c.level {
				t.Errorf("the statement has the level %q, want %q: %v", level, c.level, built.Statements)
			}
			for format, writer := range formats {
				text := strings.Join(strings.Fields(write(t, built, writer)), " ")
				want := "no alerts; " + c.want
				if format == "json" {
					want = `"text": "` + c.want
				}
				if format != "csv" && format != "xlsx" && !strings.Contains(text, want) {
					t.Errorf("%s lacks %q", format, want)
				}
			}
			if message := report.Message(built); !strings.Contains(message, "No alerts; "+c.want) {
				t.Errorf("the message lacks it:\n%s", message)
			}
		})
	}
}
