package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// TestMetricsAddr requires the metrics of the scheduler's state to be served, and nothing to be
// served without the flag.
func TestMetricsAddr(t *testing.T) {
	dir, err := tape.Create(t.TempDir(), "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	scheduler := state.Scheduler{BeatAt: time.Now(), Jobs: []state.Job{{Name: "heal", Totals: state.RunTotals{Runs: map[state.Outcome]int64{state.OK: 3}, Within: []int64{3, 3, 3, 3, 3, 3, 3, 3}}}}}
	if err := dir.State().Write(state.SchedulerFile, scheduler); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a := &app{log: slog.New(slog.NewJSONHandler(&log, nil)), started: time.Now()}
	if services, err := a.metrics(t.Context(), metricsFlags{}, dir, nil); err != nil || len(services) > 0 {
		t.Fatalf("without an address: %v, %v", services, err)
	}
	services, err := a.metrics(t.Context(), metricsFlags{MetricsAddr: "127.0.0.1:0"}, dir, nil, health.Schedule)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- runServices(ctx, services...) }()
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
	if _, err := a.metrics(t.Context(), metricsFlags{MetricsAddr: listenAddress(line.Address)}, dir, nil); err == nil {
		t.Error("two servers listen on one address")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestRunServicesStopsAllWhenOneEnds: whether a service ends with an error or without, the others
// are stopped, and the first error is returned.
func TestRunServicesStopsAllWhenOneEnds(t *testing.T) {
	broken := errors.New("broken")
	untilStopped := serviceFunc(func(ctx context.Context) error { <-ctx.Done(); return nil })
	for _, want := range []error{nil, broken} {
		ending := serviceFunc(func(context.Context) error { return want })
		if err := runServices(t.Context(), untilStopped, ending, untilStopped); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
}
