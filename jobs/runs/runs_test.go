package runs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/tape"
)

func at(t *testing.T, text string) int64 {
	t.Helper()
	instant, err := time.Parse(time.DateTime, text)
	if err != nil {
		t.Fatal(err)
	}
	return instant.UnixMicro()
}

// testLedger returns a tape with a few rows, each in a file of its own.
func testLedger(t *testing.T) *tape.Dir {
	t.Helper()
	dir, err := tape.Create(t.TempDir(), "", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []tape.Run{
		{ID: "r1", Job: "heal", Outcome: "ok", Attempt: 1, ScheduledAt: at(t, "2026-01-14 23:00:00"), StartedAt: at(t, "2026-01-14 23:00:00"), FinishedAt: at(t, "2026-01-14 23:00:04"),
			WindowStart: at(t, "2026-01-14 22:00:00"), WindowEnd: at(t, "2026-01-14 23:00:00"), Rows: 12, Message: "12 trades"},
		{ID: "r2", Job: "heal", Outcome: "failed", Exit: 1, Attempt: 2, ScheduledAt: at(t, "2026-01-15 00:00:00"), StartedAt: at(t, "2026-01-15 00:00:00"), FinishedAt: at(t, "2026-01-15 00:03:20"),
			WindowStart: at(t, "2026-01-14 23:00:00"), WindowEnd: at(t, "2026-01-15 00:00:00"), Message: "no route\nto host", Output: "one\ntapedeck: no route to host\n"},
		{ID: "r3", Job: "look", Outcome: "skipped", Exit: -1, Attempt: 1, ScheduledAt: at(t, "2026-01-15 00:10:00"), FinishedAt: at(t, "2026-01-15 00:10:00"), Message: "the previous run was still active"},
		{ID: "r4", Job: "look", Outcome: "lost", Exit: -1, Attempt: 1, StartedAt: at(t, "2026-01-15 00:05:00"), FinishedAt: at(t, "2026-01-15 00:12:30")},
	} {
		if _, err := dir.PublishRuns(t.Context(), []tape.Run{row}); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLast(t *testing.T) {
	dir := testLedger(t)
	for name, c := range map[string]struct {
		opt  Options
		want string
	}{
		"all":    {Options{}, "r4 r3 r2 r1"},
		"most":   {Options{Most: 3}, "r4 r3 r2"},
		"job":    {Options{Job: "heal"}, "r2 r1"},
		"failed": {Options{FailedOnly: true}, "r4 r2"},
		"since":  {Options{Since: time.Date(2026, 1, 15, 0, 5, 0, 0, time.UTC)}, "r4 r3"},
		"none":   {Options{Job: "absent"}, ""},
	} {
		rows, err := Last(dir, c.opt)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, row := range rows {
			got = append(got, row.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

func TestWrite(t *testing.T) {
	rows, err := Last(testLedger(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var table, lines, output strings.Builder
	for width, want := range map[int]string{
		0: `
FINISHED (UTC)  JOB   OUTCOME  TRY  TOOK   WINDOW (UTC)                ROWS  MESSAGE
01-14 23:00:04  heal  ok       1    4s     22:00 to 23:00              12    12 trades
01-15 00:03:20  heal  failed   2    3m20s  01-14 23:00 to 01-15 00:00  0     no route to host
01-15 00:10:00  look  skipped  1    -      -                           0     the previous run was still active
01-15 00:12:30  look  lost     1    7m30s  -                           0
`,
		75: `
FINISHED (UTC)  JOB   OUTCOME  TRY  TOOK   WINDOW (UTC)                ROWS
01-14 23:00:04  heal  ok       1    4s     22:00 to 23:00              12
  12 trades
01-15 00:03:20  heal  failed   2    3m20s  01-14 23:00 to 01-15 00:00  0
  no route to host
01-15 00:10:00  look  skipped  1    -      -                           0
  the previous run was still active
01-15 00:12:30  look  lost     1    7m30s  -                           0
`,
	} {
		table.Reset()
		if err := WriteTable(&table, rows, width); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, "\n"+table.String()); diff != "" {
			t.Errorf("width %d:\n%s", width, diff)
		}
	}
	if err := WriteLines(&lines, rows[2:3]); err != nil {
		t.Fatal(err)
	}
	want := `{"id":"r2","job":"heal","command":"","outcome":"failed","exit":1,"attempt":2,"scheduled_at":"2026-01-15T00:00:00Z","started_at":"2026-01-15T00:00:00Z",` +
		`"finished_at":"2026-01-15T00:03:20Z","window_start":"2026-01-14T23:00:00Z","window_end":"2026-01-15T00:00:00Z","rows":0,"bytes":0,"message":"no route\nto host",` +
		`"output":"one\ntapedeck: no route to host\n"}` + "\n"
	if diff := cmp.Diff(want, lines.String()); diff != "" {
		t.Error(diff)
	}
	if err := WriteOutput(&output, rows[2]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("\nr2, failed, exit 1; last output:\n  one\n  tapedeck: no route to host\n", output.String()); diff != "" {
		t.Error(diff)
	}
	rows[0].Message = strings.Repeat("long ", 50)
	rows[1].WindowStart, rows[1].WindowEnd = at(t, "2025-12-31 23:00:00"), at(t, "2026-01-01 00:00:30")
	table.Reset()
	if err := WriteTable(&table, rows[:2], 120); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(table.String()) {
		if n := len([]rune(strings.TrimSpace(line))); n > 120 {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	if text := table.String(); strings.Contains(text, "TRY") || !strings.Contains(text, "2026-01-15 00:10:00") || !strings.Contains(text, "2025-12-31 23:00:00 to 2026-01-01 00:00:30") {
		t.Error(text)
	}
	if got, want := Summary(rows), "4 runs: 1 ok, 1 failed, 1 lost, 1 skipped"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := Summary(nil); got != "no runs" {
		t.Error(got)
	}
}
