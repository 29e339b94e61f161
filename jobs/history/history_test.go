package history

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

var update = flag.Bool("update", false, "rewrite golden files")

func at(t *testing.T, text string) time.Time {
	t.Helper()
	instant, err := time.Parse(time.DateTime, text)
	if err != nil {
		t.Fatal(err)
	}
	return instant
}

func id(n int64) *int64 { return &n }

// night returns a tape with the events of a night: a connection is lost and resumed, ids are missing
// of which some are fetched, some are not at the exchange, some are dropped and some are still
// missing; the recorder is killed, started and stopped.
func night(t *testing.T) *tape.Dir {
	t.Helper()
	dir, err := tape.Create(t.TempDir(), "", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	gap := func(symbol string, first, last int64, event string) tape.RecorderEvent {
		return tape.RecorderEvent{Event: event, Symbol: symbol, FirstID: id(first), LastID: id(last), IDs: last - first + 1, RunID: "stream-1",
			Message: "no connection delivered these ids"}
	}
	for _, e := range []struct {
		at string
		tape.RecorderEvent
	}{
		{"2026-01-14 09:00:00", tape.RecorderEvent{Event: tape.EventStarted, Message: "3 symbols, aggTrade, from wss://data-stream.binance.vision", RunID: "stream-1"}},
		{"2026-01-14 09:00:01", tape.RecorderEvent{Event: tape.EventConnected, Connection: "1.1", RunID: "stream-1"}},
		{"2026-01-14 22:10:00", tape.RecorderEvent{Event: tape.EventLost, Connection: "1.1", RunID: "stream-1",
			Message: "read the next message: connection reset by peer after 14 hours; the exchange answers again a moment later"}},
		{"2026-01-14 22:10:00", tape.RecorderEvent{Event: tape.EventLost, Connection: "1.2", RunID: "stream-1",
			Message: "read the next message: connection reset by peer after 14 hours; the exchange answers again a moment later"}},
		{"2026-01-14 22:10:03", tape.RecorderEvent{Event: tape.EventResumed, Connection: "1.1", Message: "down for 3.2s", RunID: "stream-1"}},
		{"2026-01-14 22:10:03", tape.RecorderEvent{Event: tape.EventResumed, Connection: "1.2", RunID: "stream-1"}},
		{"2026-01-14 22:10:04", gap("BTCUSDT", 101, 148, tape.EventGap)},
		{"2026-01-14 22:15:04", gap("BTCUSDT", 101, 148, tape.EventHealed)},
		{"2026-01-14 23:00:00", gap("BTCUSDT", 160, 161, tape.EventGap)},
		{"2026-01-14 23:00:00", gap("ETHUSDT", 11, 14, tape.EventGap)},
		{"2026-01-14 23:30:00", gap("XRPUSDT", 5, 5, tape.EventGap)},
		{"2026-01-14 23:40:00", gap("XRPUSDT", 7, 7, tape.EventGap)},
		{"2026-01-15 00:05:00", gap("BTCUSDT", 160, 161, tape.EventHealed)},
		{"2026-01-15 02:00:00", tape.RecorderEvent{Event: tape.EventKilled, Message: "process 7; this is its last sign of life; 12 trades not written then", RunID: "stream-1"}},
		{"2026-01-15 02:30:00", tape.RecorderEvent{Event: tape.EventStarted, Message: "3 symbols, aggTrade, from wss://data-stream.binance.vision", RunID: "stream-2"}},
		{"2026-01-15 02:30:01", tape.RecorderEvent{Event: tape.EventConnected, Connection: "1.1", Message: "3 streams, after 2 failed attempts", RunID: "stream-2"}},
		{"2026-01-15 05:00:00", tape.RecorderEvent{Event: tape.EventStopped, Message: "SIGTERM", RunID: "stream-2"}},
		{"2026-01-15 05:00:05", tape.RecorderEvent{Event: tape.EventStarted, Message: "3 symbols, aggTrade, from wss://data-stream.binance.vision", RunID: "stream-3"}},
		{"2026-01-15 12:00:00", gap("BTCUSDT", 900, 900, tape.EventGap)}, // after the window
	} {
		e.At = at(t, e.at).UnixMicro()
		if _, err := dir.PublishRecorderEvents(t.Context(), []tape.RecorderEvent{e.RecorderEvent}); err != nil {
			t.Fatal(err)
		}
	}
	var rows []tape.Trade
	for symbol, missing := range map[string]idset.Set{
		"BTCUSDT": nil, "ETHUSDT": {{First: 13, Last: 13}}, "XRPUSDT": {{First: 5, Last: 5}, {First: 7, Last: 7}},
	} {
		for n := int64(1); n <= 200; n++ {
			if !missing.Contains(n) {
				rows = append(rows, tape.Trade{Symbol: symbol, ID: n, Price: 1, Qty: 1, FirstTradeID: n, LastTradeID: n,
					TradedAt: at(t, "2026-01-14 22:00:00").Add(time.Duration(n) * time.Second).UnixMicro()})
			}
		}
	}
	if _, err := dir.Publish(t.Context(), rows, tape.Origin{Source: tape.FromStream}); err != nil {
		t.Fatal(err)
	}
	if err := dir.RecordAbsent("XRPUSDT", idset.Set{{First: 5, Last: 5}}, at(t, "2026-01-15 01:00:00")); err != nil {
		t.Fatal(err)
	}
	dropped := at(t, "2026-01-14 22:00:07").UnixMicro()
	if err := dir.RecordDropped("XRPUSDT", tape.IDRun{Range: idset.Range{First: 7, Last: 7}, FirstAt: dropped, LastAt: dropped}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestNight compares what a person sees with golden files, on terminals of several widths.
func TestNight(t *testing.T) {
	dir := night(t)
	w := window.Window{Start: at(t, "2026-01-14 10:00:00"), End: at(t, "2026-01-15 10:00:00")}
	running := Sign{RunID: "stream-3", At: w.End, Running: true}
	for name, c := range map[string]struct {
		opt   Options
		width int
	}{
		"night-80":  {Options{Window: w, Last: running}, 80},
		"night-160": {Options{Window: w, Last: running}, 160},
		"night-eth": {Options{Window: w, Symbols: []string{"ETHUSDT"}, Last: running}, 0},
		// The last recorder was killed, and nobody has noticed.
		"killed": {Options{Window: window.Window{Start: at(t, "2026-01-15 04:00:00"), End: w.End},
			Last: Sign{RunID: "stream-3", At: at(t, "2026-01-15 06:00:00")}}, 80},
		"before": {Options{Window: window.Window{Start: at(t, "2026-01-13 00:00:00"), End: at(t, "2026-01-14 00:00:00")}, Last: running}, 80},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := Read(t.Context(), dir, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := WriteTable(&out, h, c.width); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(out.String()) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); c.width > 0 && n > c.width {
					t.Errorf("a line of %d characters: %q", n, line)
				}
			}
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

// TestRecorded computes how long recorders ran, over windows that cut runs.
func TestRecorded(t *testing.T) {
	dir := night(t)
	for name, c := range map[string]struct {
		start, end string
		last       Sign
		want       time.Duration
		running    bool
	}{
		"before the first":      {"2026-01-14 07:00:00", "2026-01-14 08:00:00", Sign{Running: true}, 0, false},
		"in the first":          {"2026-01-14 10:00:00", "2026-01-14 11:00:00", Sign{Running: true}, time.Hour, true},
		"over the kill":         {"2026-01-15 01:00:00", "2026-01-15 03:00:00", Sign{Running: true}, 90 * time.Minute, true},
		"between two":           {"2026-01-15 02:05:00", "2026-01-15 02:25:00", Sign{Running: true}, 0, false},
		"all of them":           {"2026-01-14 00:00:00", "2026-01-16 00:00:00", Sign{RunID: "stream-3", Running: true}, 38*time.Hour + 30*time.Minute - 5*time.Second, true},
		"the last one was cut":  {"2026-01-15 06:00:00", "2026-01-15 09:00:00", Sign{RunID: "stream-3", At: at(t, "2026-01-15 07:00:00")}, time.Hour, false},
		"cut before the window": {"2026-01-15 08:00:00", "2026-01-15 09:00:00", Sign{RunID: "stream-3", At: at(t, "2026-01-15 07:00:00")}, 0, false},
	} {
		h, err := Read(t.Context(), dir, Options{Window: window.Window{Start: at(t, c.start), End: at(t, c.end)}, Last: c.last})
		if err != nil {
			t.Fatal(err)
		}
		if h.Recorded != c.want || h.RunningSince.IsZero() == c.running {
			t.Errorf("%s: %s, running since %s; want %s, %v", name, h.Recorded, h.RunningSince, c.want, c.running)
		}
	}
}

// TestOutageThatGoesOn: what a connection that is still down misses is not known yet.
func TestOutageThatGoesOn(t *testing.T) {
	dir, err := tape.Create(t.TempDir(), "", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	start := at(t, "2026-01-15 08:00:00")
	events := []tape.RecorderEvent{
		{Event: tape.EventStarted, RunID: "a"}, {Event: tape.EventConnected, Connection: "1.1", RunID: "a"},
		{Event: tape.EventGap, Symbol: "BTCUSDT", FirstID: id(5), LastID: id(9), IDs: 5, Message: tape.GapBeforeStart, RunID: "a"},
		{Event: tape.EventLost, Connection: "1.1", Message: "reset", RunID: "a"},
	}
	for i := range events {
		events[i].At = start.Add(time.Duration(i) * time.Minute).UnixMicro()
	}
	if _, err := dir.PublishRecorderEvents(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	end := start.Add(10 * time.Minute)
	h, err := Read(t.Context(), dir, Options{Window: window.Window{Start: start, End: end}, Last: Sign{RunID: "a", At: end, Running: true}})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(Summary(h), "\n")
	for _, want := range []string{"It lost 1 connection. 5 ids were missing before a start.", "Still down: connection 1.1 since 08:03:00."} {
		if !strings.Contains(text, want) {
			t.Errorf("summary %q lacks %q", text, want)
		}
	}
}

// TestTotalsDoNotWrap: a tape that another program wrote can lack more ids than an int64 counts.
func TestTotalsDoNotWrap(t *testing.T) {
	const most = int64(1)<<62 + 1
	h := &History{Known: true}
	for range 3 {
		h.Events = append(h.Events, Event{RecorderEvent: tape.RecorderEvent{Event: tape.EventGap, Symbol: "BTCUSDT", IDs: most}})
		h.Open = append(h.Open, tape.Gap{Symbol: "BTCUSDT", First: 0, Last: most})
	}
	text := strings.Join(Summary(h), "\n")
	if strings.Contains(text, "-") || !strings.Contains(text, "9,223,372,036,854,775,807 ids") {
		t.Error(text)
	}
	var out strings.Builder
	if err := WriteTable(&out, h, 0); err != nil || strings.Contains(out.String(), "-9,") {
		t.Errorf("%v, %s", err, out.String())
	}
}
