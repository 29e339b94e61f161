package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/tape"
)

// TestReportThatTelegramRefuses requires a report that reached nobody, and never will, not to count as done.
func TestReportThatTelegramRefuses(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ok":false}`)
	}))
	t.Cleanup(api.Close)
	start := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	place := t.TempDir()
	dir, err := tape.Create(filepath.Join(place, "data"), tape.AggTrade, start)
	if err != nil {
		t.Fatal(err)
	}
	var rows []tape.Trade
	for id := range int64(100) {
		rows = append(rows, tape.Trade{
			Symbol: "BTCUSDT", ID: id, Price: 1, Qty: 1, FirstTradeID: id, LastTradeID: id, TradedAt: start.Add(time.Duration(id) * time.Second).UnixMicro(),
		})
	}
	if _, err := dir.Publish(t.Context(), rows, tape.Origin{Source: tape.FromStream}); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(place, "config.yaml")
	if err := os.WriteFile(config, []byte("telegram:\n  chats:\n    - {id: 42}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	status := run([]string{
		"report", "--config", config, "--data-dir", dir.Path(), "--sections", "completeness",
		"--from", "2026-01-15T00:00:10Z", "--to", "2026-01-15T00:01:10Z", "--send",
	}, []string{
		"TAPEDECK_NOW=2026-01-15T01:00:00Z", "TAPEDECK_TELEGRAM_URL=" + api.URL, "TAPEDECK_TELEGRAM_TOKEN=1:STAND-IN-FOR-A-BOT",
	}, strings.NewReader(""), &stdout, &stderr)
	if status != exitPartial || !strings.Contains(stderr.String(), "tapedeck: Telegram refuses 1 message, which will not be sent again") {
		t.Errorf("status %d: %s", status, stderr.String())
	}
}
