package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/jobs/health"
)

// TestWatch: --metrics-addr serves what the scheduler's state says, and nothing listens without it.
func TestWatch(t *testing.T) {
	dir, err := tape.Create(t.TempDir(), "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	scheduler := state.Scheduler{BeatAt: time.Now(), Jobs: []state.Job{{Name: "heal", Totals: state.RunTotals{Runs: map[state.Outcome]int64{state.OK: 3}, Within: []int64{3, 3, 3, 3, 3, 3, 3, 3}}}}}
	if err := dir.WriteState(state.SchedulerFile, scheduler); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a := &app{log: slog.New(slog.NewJSONHandler(&log, nil)), started: time.Now()}
	none, err := a.watch(t.Context(), watchFlags{}, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	none()
	if log.Len() > 0 {
		t.Errorf("without an address: %s", log.String())
	}
	stop, err := a.watch(t.Context(), watchFlags{MetricsAddr: "127.0.0.1:0"}, dir, nil, health.Schedule)
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Address string }
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/metrics": `tapedeck_runs_total{job="heal",outcome="ok"} 3`, "/healthz": "healthy: scheduler: 1 job"} {
		answer, err := http.Get("http://" + line.Address + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, %s: %s", path, err, answer.Status, text)
		}
	}
	if _, err := a.watch(t.Context(), watchFlags{MetricsAddr: line.Address}, dir, nil); err == nil {
		t.Error("two listen at one address")
	}
	stop()
}
