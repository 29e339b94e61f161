package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// files is a StateReader of state files by name.
type files map[string]string

func (f files) Read(name string, v any) error {
	text, ok := f[name]
	if !ok {
		return fmt.Errorf("open %q: %w", name, fs.ErrNotExist)
	}
	return json.Unmarshal([]byte(text), v)
}

const (
	streamText = `{"beat":12,"started_at":"2026-01-15T00:00:00Z","updated_at":"2026-01-15T12:00:00.5Z","last_flush_at":"2026-01-15T11:59:50Z","unflushed_trades":17,
		"counters":{"conflicts":6,"trades":1000,"gaps":2,"missing":30,"reconnects":4,"bytes":50000,"rows":990},
		"connections":[{"up":true,"last_received_at":"2026-01-15T11:59:59Z"},{"up":false}],
		"delay_ms":1250,"least_delay_ms":50,
		"symbols":{"BTCUSDT":{"last_received_at":"2026-01-15T11:59:59Z","last_traded_at":"2026-01-15T11:59:58Z",
			"written_until":"2026-01-15T11:59:50.5Z","watched_until":"2026-01-15T11:59:51Z"},"ETHUSDT":{},"币安人生USDT":{}}}`
	scheduleText = `{"beat_at":"2026-01-15T12:00:00Z","started_at":"2026-01-15T00:00:00Z","crontab_error":"wrong","unwritten_runs":1,"jobs":[
		{"name":"heal","next_at":"2026-01-15T12:05:00Z","run":{"id":"x"},"waiting":2,"last_done_at":"2026-01-15T11:55:00Z","failures":3,
		"totals":{"runs":{"ok":5,"failed":3,"skipped":1},"seconds":100.5,"within":[2,3,4,6,8,8,8,8],"rows":70,"bytes":700}},
		{"name":"heal"},{"name":"new"}]}`
)

func sources() Sources {
	return Sources{
		State: files{"stream.json": streamText, "schedule.json": scheduleText}, Version: "v1",
		Outbox: func() (int, time.Time, error) { return 7, time.Unix(1000, 0), nil },
		Disk:   func() (uint64, uint64, error) { return 5e9, 1e9, nil },

		LogDropped: func() int64 { return 5 },
	}
}

func scrape(t *testing.T, s Sources, path string) (int, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	Handler(s, slog.New(slog.DiscardHandler)).ServeHTTP(recorder, httptest.NewRequest("GET", path, nil))
	return recorder.Code, recorder.Body.String()
}

func TestMetrics(t *testing.T) {
	status, text := scrape(t, sources(), "/metrics")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, text)
	}
	for _, want := range []string{
		`tapedeck_build_info{version="v1"} 1`,
		`tapedeck_last_sign_of_life_timestamp_seconds{service="stream"} 1.7684784005e+09`,
		`tapedeck_beats_total{service="stream"} 12`, `tapedeck_beats_total{service="schedule"} 0`,
		`tapedeck_stream_trades_total 1000`, `tapedeck_stream_gaps_total 2`, `tapedeck_stream_missing_total 30`, `tapedeck_stream_reconnects_total 4`, `tapedeck_stream_bytes_total 50000`,
		`tapedeck_stream_unflushed_trades 17`, `tapedeck_stream_connections{state="up"} 1`, `tapedeck_stream_connections{state="down"} 1`,
		`tapedeck_stream_symbols{state="heard"} 1`, `tapedeck_stream_symbols{state="silent"} 2`,
		`tapedeck_runs_total{job="heal",outcome="ok"} 5`, `tapedeck_runs_total{job="heal",outcome="failed"} 3`, `tapedeck_runs_total{job="heal",outcome="skipped"} 1`,
		`tapedeck_run_duration_seconds_bucket{job="heal",le="1"} 2`, `tapedeck_run_duration_seconds_bucket{job="heal",le="60"} 6`,
		// Series without any run.
		`tapedeck_runs_total{job="heal",outcome="lost"} 0`, `tapedeck_run_duration_seconds_bucket{job="new",le="1"} 0`, `tapedeck_run_duration_seconds_bucket{job="new",le="300"} 0`,
		`tapedeck_runs_total{job="new",outcome="failed"} 0`,

		`tapedeck_run_duration_seconds_bucket{job="heal",le="+Inf"} 8`, `tapedeck_run_duration_seconds_sum{job="heal"} 100.5`,
		`tapedeck_run_last_success_timestamp_seconds{job="heal"} 1.7684781e+09`, `tapedeck_run_failures_in_a_row{job="heal"} 3`, `tapedeck_run_running{job="heal"} 1`,
		`tapedeck_run_waiting{job="heal"} 2`, `tapedeck_run_rows_total{job="heal"} 70`, `tapedeck_runs_unwritten 1`, `tapedeck_crontab_wrong 1`,
		`tapedeck_outbox_messages 7`, `tapedeck_outbox_oldest_timestamp_seconds 1000`, `tapedeck_disk_free_bytes 5e+09`, `tapedeck_disk_written_bytes_per_day 1e+09`,
		`tapedeck_source_errors{source="stream"} 0`, `tapedeck_log_lines_dropped_total 5`,
		`tapedeck_stream_conflicts_total 6`, `tapedeck_stream_delay_seconds 1.25`, `tapedeck_stream_lag_seconds{symbol="BTCUSDT"} 7.5`,
		`tapedeck_stream_received_until_timestamp_seconds{symbol="BTCUSDT"} 1.768478398e+09`,
		`tapedeck_stream_written_until_timestamp_seconds{symbol="BTCUSDT"} 1.7684783905e+09`,
		`tapedeck_stream_known_until_timestamp_seconds{symbol="BTCUSDT"} 1.768478391e+09`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no line %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestMissingAndUnreadableSources: a missing source has no metrics; an unreadable one is reported
// and does not affect the others.
func TestMissingAndUnreadableSources(t *testing.T) {
	status, text := scrape(t, Sources{State: files{}}, "/metrics")
	if status != http.StatusOK || strings.Contains(text, "tapedeck_stream") || strings.Contains(text, "tapedeck_run") || !strings.Contains(text, "tapedeck_build_info") {
		t.Errorf("status %d:\n%s", status, text)
	}
	broken := sources()
	broken.State = files{"stream.json": `{"started_at":`}
	broken.Outbox = func() (int, time.Time, error) { return 0, time.Time{}, errors.New("permission denied") }
	_, text = scrape(t, broken, "/metrics")
	for _, want := range []string{`tapedeck_source_errors{source="stream"} 1`, `tapedeck_source_errors{source="outbox"} 1`, `tapedeck_disk_free_bytes 5e+09`} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %q:\n%s", want, text)
		}
	}
}

func TestHealthz(t *testing.T) {
	for _, c := range []struct {
		health func() (bool, string, error)
		status int
		want   string
	}{
		{nil, 200, "alive\n"},
		{func() (bool, string, error) { return true, "stream: 2 symbols", nil }, 200, "healthy: stream: 2 symbols\n"},
		{func() (bool, string, error) { return false, "the scheduler hangs", nil }, 503, "unhealthy: the scheduler hangs\n"},
		{func() (bool, string, error) { return true, "", errors.New("read the state: broken") }, 503, "read the state: broken\n"},
	} {
		status, text := scrape(t, Sources{State: files{}, Health: c.health}, "/healthz")
		if status != c.status || text != c.want {
			t.Errorf("%d %q, want %d %q", status, text, c.status, c.want)
		}
	}
}

func TestServer(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	server, err := Listen(ctx, "127.0.0.1:0", sources(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	address := server.Addr().String()
	answer, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || !strings.Contains(string(text), "tapedeck_stream_trades_total 1000") {
		t.Errorf("%v: %s", err, text)
	}
	if _, err := Listen(ctx, address, sources(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("two servers listen on one address")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("the server still listens")
	}
}
