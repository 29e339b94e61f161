package detect

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// minutesByReason counts the minutes of a symbol in w by reason: "" are judged, "none" have no record.
func minutesByReason(t *testing.T, dir *tape.Dir, detector, symbol string, w window.Window) map[string]int {
	t.Helper()
	claims, out := claimsOf(t, dir, w), map[string]int{}
	for at := w.Start; at.Before(w.End); at = at.Add(time.Minute) {
		reason, ok := claims[judgedMinute{detector, symbol, at.Unix()}]
		if !ok {
			reason = "none"
		}
		out[reason]++
	}
	return out
}

func wantMinutes(t *testing.T, dir *tape.Dir, detector, symbol string, w window.Window, want map[string]int) {
	t.Helper()
	got := minutesByReason(t, dir, detector, symbol, w)
	for _, reason := range []string{"", state.ReasonHistory, state.ReasonGap, state.ReasonDropped, state.ReasonWaiting, state.ReasonUnknown, state.ReasonFailed, state.ReasonChanged, "none"} {
		if got[reason] != want[reason] {
			t.Errorf("%s of %s from %s: %d minutes are %q, want %d", detector, symbol, rfc3339(w.Start), got[reason], reason, want[reason])
		}
	}
}

// hoursOf is a window in hours since begin.
func hoursOf(from, to int) window.Window {
	return window.Window{Start: begin.Add(time.Duration(from) * time.Hour), End: begin.Add(time.Duration(to) * time.Hour)}
}

func whaleOnly(opt Options) Options {
	opt.Detectors = []string{"whale_order"}
	return opt
}

// TestQuietSymbolIsJudgedOnceItsRecordIsKnown: CALMUSDT has no trades after the 20th hour, while the others
// go on. Whether something is missing there shows later.
func TestQuietSymbolIsJudgedOnceItsRecordIsKnown(t *testing.T) {
	rows := smallMarket(1)
	first := between(rows, 0, 24*time.Hour)
	first["CALMUSDT"] = between(map[string][]tape.Trade{"CALMUSDT": rows["CALMUSDT"]}, 0, 20*time.Hour)["CALMUSDT"]
	quiet := hoursOf(21, 23)
	newest := first["CALMUSDT"][len(first["CALMUSDT"])-1]
	t.Run("by an answer of the exchange", func(t *testing.T) {
		dir := newTape(t, first)
		runDetect(t, dir, whaleOnly(Options{Now: begin.Add(24 * time.Hour)}))
		wantMinutes(t, dir, "whale_order", "CALMUSDT", quiet, map[string]int{state.ReasonUnknown: 120})
		wantMinutes(t, dir, "whale_order", "PUMPBTC", quiet, map[string]int{"": 120})
		answer := state.SymbolAnswers{LastBefore: []state.Answer{{At: begin.Add(22 * time.Hour), ID: newest.ID}}}
		if err := state.RecordAnswers(dir.State(), state.Answers{"CALMUSDT": answer}); err != nil {
			t.Fatal(err)
		}
		runDetect(t, dir, whaleOnly(Options{Now: begin.Add(24*time.Hour + time.Minute)}))
		wantMinutes(t, dir, "whale_order", "CALMUSDT", quiet, map[string]int{"": 60, state.ReasonUnknown: 60})
	})
	t.Run("by trades that fill it", func(t *testing.T) {
		dir := newTape(t, first)
		runDetect(t, dir, whaleOnly(Options{Now: begin.Add(24 * time.Hour)}))
		publish(t, dir, map[string][]tape.Trade{"CALMUSDT": between(map[string][]tape.Trade{"CALMUSDT": rows["CALMUSDT"]}, 20*time.Hour, 24*time.Hour)["CALMUSDT"]})
		runDetect(t, dir, whaleOnly(Options{Now: begin.Add(24*time.Hour + time.Minute)}))
		wantMinutes(t, dir, "whale_order", "CALMUSDT", quiet, map[string]int{"": 120})
	})
	t.Run("not by a trade after a gap", func(t *testing.T) {
		dir := newTape(t, first)
		runDetect(t, dir, whaleOnly(Options{Now: begin.Add(24 * time.Hour)}))
		publish(t, dir, map[string][]tape.Trade{"CALMUSDT": between(map[string][]tape.Trade{"CALMUSDT": rows["CALMUSDT"]}, 24*time.Hour, 25*time.Hour)["CALMUSDT"]})
		runDetect(t, dir, whaleOnly(Options{Now: begin.Add(25 * time.Hour)}))
		got := minutesByReason(t, dir, "whale_order", "CALMUSDT", quiet)
		if got[""] != 0 || got[state.ReasonWaiting]+got[state.ReasonUnknown] != 120 {
			t.Errorf("minutes by reason: %v", got)
		}
	})
}

func TestWaitingMinutesAreNotJudged(t *testing.T) {
	rows := smallMarket(4)
	missing := between(map[string][]tape.Trade{"AGAINBTC": rows["AGAINBTC"]}, 20*time.Hour, 21*time.Hour)["AGAINBTC"]
	left := between(rows, 0, 24*time.Hour)
	left["AGAINBTC"] = slices.DeleteFunc(left["AGAINBTC"], func(trade tape.Trade) bool {
		return trade.ID >= missing[0].ID && trade.ID <= missing[len(missing)-1].ID
	})
	dir, now := newTape(t, left), begin.Add(24*time.Hour)
	runDetect(t, dir, whaleOnly(Options{Now: now}))
	wantMinutes(t, dir, "whale_order", "AGAINBTC", hoursOf(20, 23), map[string]int{state.ReasonWaiting: 180})
	publish(t, dir, map[string][]tape.Trade{"AGAINBTC": missing})
	// A run of another detector says nothing about this one.
	runDetect(t, dir, Options{Now: now.Add(time.Minute), Detectors: []string{"pump_burst"}})
	wantMinutes(t, dir, "whale_order", "AGAINBTC", hoursOf(20, 23), map[string]int{state.ReasonWaiting: 180})
	runDetect(t, dir, whaleOnly(Options{Now: now.Add(2 * time.Minute)}))
	wantMinutes(t, dir, "whale_order", "AGAINBTC", hoursOf(20, 23), map[string]int{"": 180})
}

func TestDryRunRecordsNothing(t *testing.T) {
	dir := newTape(t, between(smallMarket(1), 0, 19*time.Hour))
	runDetect(t, dir, whaleOnly(Options{Now: begin.Add(20 * time.Hour), DryRun: true}))
	if _, err := os.Stat(dir.State().Path(state.JudgedDir)); err == nil {
		t.Error("a dry run recorded what it judged")
	}
	wantMinutes(t, dir, "whale_order", "CALMUSDT", hoursOf(15, 16), map[string]int{"none": 60})
}

// TestJudgedAfterALostFile: what is lost is not claimed, and a run over the window claims it again without a
// second alert.
func TestJudgedAfterALostFile(t *testing.T) {
	rows := smallMarket(1)
	dir := newTape(t, rows)
	now := begin.Add(length + time.Hour)
	runDetect(t, dir, Options{Now: now})
	alerts := alertsOnTape(t, dir)
	if err := os.RemoveAll(dir.State().Path(state.JudgedDir)); err != nil {
		t.Fatal(err)
	}
	runDetect(t, dir, Options{Now: now.Add(time.Minute)})
	wantMinutes(t, dir, "whale_order", "CALMUSDT", hoursOf(14, 29), map[string]int{"none": 15 * 60})
	runDetect(t, dir, Options{Now: now.Add(time.Minute), From: begin.Add(15 * time.Hour), To: begin.Add(17 * time.Hour)})
	wantMinutes(t, dir, "whale_order", "CALMUSDT", hoursOf(14, 29), map[string]int{"": 2 * 60, "none": 13 * 60})
	if got := alertsOnTape(t, dir); !slices.Equal(got, alerts) {
		t.Errorf("alerts: %q, want %q", got, alerts)
	}
	// Without its progress, detect judges the whole tape again.
	if err := os.Remove(dir.State().Path(progressFile)); err != nil {
		t.Fatal(err)
	}
	runDetect(t, dir, Options{Now: now.Add(2 * time.Minute)})
	wantMinutes(t, dir, "whale_order", "CALMUSDT", hoursOf(14, 29), map[string]int{"": 15 * 60})
	if got := alertsOnTape(t, dir); !slices.Equal(got, alerts) {
		t.Errorf("alerts: %q, want %q", got, alerts)
	}
}

func TestFailedDetectorHasJudgedNothing(t *testing.T) {
	good := strings.NewReplacer("AT_IS", "$window_end::TIMESTAMP", "SEVERITY_IS", "low").Replace(ownDetector)
	queries := queriesDir(t, "own", strings.Replace(good, "min(id) AS first_id", "min(id) + error('no')::BIGINT AS first_id", 1))
	dir := newTape(t, between(smallMarket(1), 0, 8*time.Hour))
	opt := Options{Now: begin.Add(9 * time.Hour), QueriesDir: queries, Detectors: []string{"own"}}
	if summary, err := Run(t.Context(), dir, opt); err != nil || len(summary.Problems) != 1 {
		t.Fatalf("problems: %v %v", summary.Problems, err)
	}
	span := hoursOf(1, 7) // across midnight
	wantMinutes(t, dir, "own", "CALMUSDT", span, map[string]int{state.ReasonFailed: 360})
	if err := os.WriteFile(filepath.Join(queries, "detect", "own.sql"), []byte(good), 0o644); err != nil {
		t.Fatal(err)
	}
	opt.Now = opt.Now.Add(time.Minute)
	runDetect(t, dir, opt)
	wantMinutes(t, dir, "own", "CALMUSDT", span, map[string]int{"": 360})
	// Another version of the detector has not judged it.
	changed := strings.Replace(good, "'low'", "'high'", 1)
	if changed == good {
		t.Fatal("the detector has not changed")
	}
	if err := os.WriteFile(filepath.Join(queries, "detect", "own.sql"), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	opt.Now = opt.Now.Add(time.Minute)
	runDetect(t, dir, opt)
	wantMinutes(t, dir, "own", "CALMUSDT", span, map[string]int{state.ReasonChanged: 360})
	opt.From, opt.To = span.Start, span.End
	runDetect(t, dir, opt)
	wantMinutes(t, dir, "own", "CALMUSDT", span, map[string]int{"": 360})
}

// TestMinutesWithDroppedIDsAreJudgedOnceRestored: dropped ids have a reason of their own, and the minutes
// are judged when the ids are back.
func TestMinutesWithDroppedIDsAreJudgedOnceRestored(t *testing.T) {
	rows := smallMarket(4)
	dropped := between(map[string][]tape.Trade{"AGAINBTC": rows["AGAINBTC"]}, 20*time.Hour, 21*time.Hour)["AGAINBTC"]
	first, last := dropped[0], dropped[len(dropped)-1]
	left := between(rows, 0, 24*time.Hour)
	left["AGAINBTC"] = slices.DeleteFunc(left["AGAINBTC"], func(trade tape.Trade) bool { return trade.ID >= first.ID && trade.ID <= last.ID })
	dir, now := newTape(t, left), begin.Add(24*time.Hour)
	run := tape.IDRun{Range: idset.Range{First: first.ID, Last: last.ID}, FirstAt: first.TradedAt, LastAt: last.TradedAt}
	if err := dir.RecordDropped("AGAINBTC", run); err != nil {
		t.Fatal(err)
	}
	runDetect(t, dir, whaleOnly(Options{Now: now}))
	got := minutesByReason(t, dir, "whale_order", "AGAINBTC", hoursOf(20, 23))
	if got[state.ReasonDropped] < 60 || got[""]+got[state.ReasonDropped] != 180 {
		t.Errorf("minutes by reason: %v", got)
	}
	if err := dir.RestoreDropped("AGAINBTC", idset.Set{run.Range}); err != nil {
		t.Fatal(err)
	}
	publish(t, dir, map[string][]tape.Trade{"AGAINBTC": dropped})
	// A run of another detector leaves it to this one.
	runDetect(t, dir, Options{Now: now.Add(time.Minute), Detectors: []string{"pump_burst"}})
	runDetect(t, dir, whaleOnly(Options{Now: now.Add(2 * time.Minute)}))
	wantMinutes(t, dir, "whale_order", "AGAINBTC", hoursOf(20, 23), map[string]int{"": 180})
}

// TestMinutesOfDroppedAlertsAreNotJudged: without its alert, a minute must not look quiet.
func TestMinutesOfDroppedAlertsAreNotJudged(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	opt := whaleOnly(Options{Now: begin.Add(length + time.Hour)})
	runDetect(t, dir, opt)
	alerts, err := dir.ReadAlerts("", "")
	if err != nil || len(alerts) == 0 {
		t.Fatalf("%d alerts, %v", len(alerts), err)
	}
	symbol := alerts[0].Symbol
	whole := minutesByReason(t, dir, "whale_order", symbol, hoursOf(0, 29))
	plan, err := dir.PlanDrop(t.Context(), tape.DropQuery{What: tape.DropsAlerts, Detector: "whale_order", Symbols: []string{symbol}})
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Drop(t.Context(), plan, tape.DropRecord{At: opt.Now.UnixMicro()}, nil); err != nil {
		t.Fatal(err)
	}
	got := minutesByReason(t, dir, "whale_order", symbol, hoursOf(0, 29))
	if n := got[state.ReasonDropped]; n == 0 || int64(n) > plan.Rows() || got[""] != whole[""]-n {
		t.Errorf("%d alerts dropped; minutes by reason before %v, after %v", plan.Rows(), whole, got)
	}
	opt.From, opt.To = begin, begin.Add(length)
	runDetect(t, dir, opt)
	if got := minutesByReason(t, dir, "whale_order", symbol, hoursOf(0, 29)); got[state.ReasonDropped] != 0 {
		t.Errorf("judged again: %v", got)
	}
}

// TestClaimsComeAfterTheirAlerts stops a run right before, and right after, its claims are durable.
func TestClaimsComeAfterTheirAlerts(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	now := begin.Add(length + time.Hour)
	// The directory of claims cannot be created, so the run fails where it would record the first claim.
	if err := os.WriteFile(dir.State().Path(state.JudgedDir), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), dir, whaleOnly(Options{Now: now, From: begin.Add(20 * time.Hour), To: begin.Add(length)})); err == nil {
		t.Fatal("no error")
	}
	if got := alertsOnTape(t, dir); len(got) != 2 {
		t.Errorf("alerts before their claims: %q", got)
	}
	if _, err := Run(t.Context(), dir, whaleOnly(Options{Now: now})); err == nil {
		t.Fatal("no error")
	}
	if err := os.Remove(dir.State().Path(state.JudgedDir)); err != nil {
		t.Fatal(err)
	}
	// Nor may the progress be ahead of the claims, or they would never be made.
	runDetect(t, dir, whaleOnly(Options{Now: now}))
	wantMinutes(t, dir, "whale_order", "CALMUSDT", hoursOf(13, 29), map[string]int{"": 16 * 60})
	if got := alertsOnTape(t, dir); len(got) != 2 {
		t.Errorf("alerts: %q", got)
	}
}
