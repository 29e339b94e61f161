package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/jobs/health"
	"tapedeck/jobs/metrics"
)

// Nothing can open the tape any more if its tape.json is gone, although the recorder continues.
func TestHealthzNoticesThatTapeJSONIsGone(t *testing.T) {
	path := t.TempDir()
	dir, err := tape.Create(path, tape.RawTrade, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := &app{dataDir: path, stderr: &bytes.Buffer{}, log: slog.New(slog.DiscardHandler)}
	services, err := a.metrics(t.Context(), metricsFlags{"127.0.0.1:0"}, dir, nil, health.Stream)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- services[0].Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	if err := os.Remove(filepath.Join(path, "tape.json")); err != nil {
		t.Fatal(err)
	}
	reply, err := http.Get("http://" + services[0].(*metrics.Server).Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), `tape.json" is missing`) ||
		!strings.Contains(string(text), `{"format":1,"feed":"trade","made_at":"`) {
		t.Errorf("%s: %s, %v", reply.Status, text, err)
	}
}
