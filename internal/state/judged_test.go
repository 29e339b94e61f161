package state

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/window"
)

func judgedSpans(reason string, windows ...window.Window) (out []JudgedSpan) {
	for _, w := range windows {
		out = append(out, JudgedSpan{w.Start, w.End, reason})
	}
	return out
}

// spansOf returns the spans of a detector and symbol on the date of minutes.
func spansOf(d *Dir, detector, symbol string) []JudgedSpan {
	for _, outcome := range JudgedOf(d, minutes(0, 1).Start) {
		if outcome.Detector == detector && outcome.Symbol == symbol {
			return outcome.Spans
		}
	}
	return nil
}

func TestJudgedReplacesWhatWasRecorded(t *testing.T) {
	d := newDir(t)
	record := func(keep bool, spans ...JudgedSpan) {
		t.Helper()
		if err := RecordJudged(d, []Judged{{"price_jump", "AAAUSDT", spans}}, keep); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want ...JudgedSpan) {
		t.Helper()
		if diff := cmp.Diff(want, spansOf(d, "price_jump", "AAAUSDT")); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
	}
	judged := func(start, end int) JudgedSpan { return judgedSpans("", minutes(start, end))[0] }
	because := func(reason string, start, end int) JudgedSpan { return judgedSpans(reason, minutes(start, end))[0] }
	record(false, because(ReasonHistory, 0, 5), judged(5, 6))
	record(false, judged(6, 7), because(ReasonWaiting, 7, 9))
	check(because(ReasonHistory, 0, 5), judged(5, 7), because(ReasonWaiting, 7, 9))
	record(false, judged(7, 10))
	check(because(ReasonHistory, 0, 5), judged(5, 10))
	// With keep, what was judged stays so, and the rest is replaced.
	record(true, because(ReasonFailed, 2, 12), judged(1, 2))
	check(because(ReasonHistory, 0, 1), judged(1, 2), because(ReasonFailed, 2, 5), judged(5, 10), because(ReasonFailed, 10, 12))
	// Without it, a later outcome counts: trades that arrived late are being judged again.
	record(false, because(ReasonWaiting, 5, 8))
	check(because(ReasonHistory, 0, 1), judged(1, 2), because(ReasonFailed, 2, 5), because(ReasonWaiting, 5, 8), judged(8, 10),
		because(ReasonFailed, 10, 12))
}

func TestJudgedOfADamagedFileIsNothing(t *testing.T) {
	d := newDir(t)
	outcome := []Judged{{"price_jump", "AAAUSDT", judgedSpans("", minutes(0, 5))}}
	if err := RecordJudged(d, outcome, false); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(d.Path(JudgedDir), "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte(`{"groups":[{"detectors":["price_`), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := spansOf(d, "price_jump", "AAAUSDT"); got != nil {
		t.Errorf("spans: %v", got)
	}
	if err := RecordJudged(d, outcome, false); err != nil || !slices.Equal(spansOf(d, "price_jump", "AAAUSDT"), outcome[0].Spans) {
		t.Errorf("%v, %v", spansOf(d, "price_jump", "AAAUSDT"), err)
	}
}

func TestChangedDetectorHasJudgedNothing(t *testing.T) {
	d := newDir(t)
	define := func(hashes map[string]string, want ...string) {
		t.Helper()
		if changed, err := RecordDefinitions(d, hashes); err != nil || !slices.Equal(changed, want) {
			t.Errorf("changed %q, %v, want %q", changed, err, want)
		}
	}
	define(map[string]string{"price_jump": "1", "own": "1"})
	spans := append(judgedSpans(ReasonHistory, minutes(0, 5)), judgedSpans("", minutes(5, 9))...)
	if err := RecordJudged(d, []Judged{{"price_jump", "AAAUSDT", spans}, {"own", "AAAUSDT", spans}}, false); err != nil {
		t.Fatal(err)
	}
	define(map[string]string{"own": "1"})
	define(map[string]string{"price_jump": "1", "own": "2"}, "own")
	if got := spansOf(d, "price_jump", "AAAUSDT"); !slices.Equal(got, spans) {
		t.Errorf("price_jump: %v", got)
	}
	want := append(judgedSpans(ReasonHistory, minutes(0, 5)), judgedSpans(ReasonChanged, minutes(5, 9))...)
	if got := spansOf(d, "own", "AAAUSDT"); !slices.Equal(got, want) {
		t.Errorf("own: %v", got)
	}
}

// TestJudgedIsCompact records a day of 1,000 symbols and 12 detectors, minute by minute at its end.
func TestJudgedIsCompact(t *testing.T) {
	d := newDir(t)
	detectors := strings.Fields("a b c d e f g h i j k l")
	var symbols []string
	for i := range 1000 {
		symbols = append(symbols, strings.Repeat(string(rune('A'+i%26)), 1+i/26)+"USDT")
	}
	for _, w := range []window.Window{minutes(0, 600), minutes(600, 601), minutes(601, 602)} {
		var outcomes []Judged
		for _, detector := range detectors {
			for _, symbol := range symbols {
				outcomes = append(outcomes, Judged{detector, symbol, judgedSpans("", w)})
			}
		}
		began := time.Now()
		if err := RecordJudged(d, outcomes, false); err != nil {
			t.Fatal(err)
		}
		t.Logf("recorded in %v", time.Since(began))
	}
	files, err := filepath.Glob(filepath.Join(d.Path(JudgedDir), "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil || len(text) > 40_000 || strings.Count(string(text), `"start"`) != 1 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}
