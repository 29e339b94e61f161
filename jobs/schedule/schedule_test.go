package schedule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// memoryLedger is a Ledger and a StateStore in memory.
type memoryLedger struct {
	mu      sync.Mutex
	runs    []tape.Run
	state   state.Scheduler
	written bool // the state was written
	damaged bool // it is read as damaged, until it is set aside
	// fail is the error of the next writes; if ambiguous, they store the row all the same.
	fail      error
	ambiguous bool
	// published, if set, receives after a row was stored. It is buffered, and sends are dropped if
	// it is full.
	published chan struct{}
}

func (m *memoryLedger) PublishRuns(_ context.Context, runs []tape.Run) (tape.Published, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil && !m.ambiguous {
		return tape.Published{}, m.fail
	}
	m.runs = append(m.runs, runs...)
	select {
	case m.published <- struct{}{}:
	default:
	}
	return tape.Published{Rows: int64(len(runs))}, m.fail
}

func (m *memoryLedger) ReadRuns(string, string) ([]tape.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.runs), nil
}

func (m *memoryLedger) MergeRecords(context.Context, tape.Table, string, int) (int, bool, error) {
	return 0, false, nil
}

func (m *memoryLedger) Read(_ string, v any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.written {
		return fs.ErrNotExist
	}
	text, err := json.Marshal(m.state)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return err
	}
	if m.damaged { // after some of it has been read
		return &state.DamagedError{Path: "schedule.json", Err: errors.New("damaged")}
	}
	return nil
}

func (m *memoryLedger) SetAside(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.written, m.damaged = false, false
	return nil
}

func (m *memoryLedger) Write(_ string, v any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	m.state, m.written = state.Scheduler{}, true
	return json.Unmarshal(text, &m.state)
}

func parseJobs(t *testing.T, text string) []Job {
	t.Helper()
	jobs, err := Parse("crontab.yaml", []byte(text), time.Now(), validateWindows)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

// validateWindows is a Validate for which backfill takes a window and report the end of one.
func validateWindows(args []string) (WindowMode, error) {
	switch {
	case args[0] == "backfill":
		return WindowSinceDone, nil
	case args[0] == "report":
		return WindowEnd, nil
	}
	return NoWindow, nil
}

func options(jobs []Job, ledger *memoryLedger, start Start) Options {
	return Options{Jobs: jobs, Start: start, Ledger: ledger, State: ledger, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now}
}

// outcomes returns the rows as "minute:second job outcome", in the order in which they were
// written.
func outcomes(ledger *memoryLedger) []string {
	var out []string
	for _, row := range ledger.runs {
		out = append(out, time.UnixMicro(row.ScheduledAt).UTC().Format("04:05 ")+row.Job+" "+string(row.Outcome))
	}
	return out
}

func TestEveryRunGetsARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &memoryLedger{}
		jobs := parseJobs(t, `
jobs:
  - {name: quick, schedule: "*/2 * * * *", run: quick}
  - {name: slow, schedule: "* * * * *", run: slow}
  - {name: hangs, schedule: "1 * * * *", run: hangs, timeout: 30s}
  - {name: fails, schedule: "3 * * * *", run: fails}
  - {name: bursts, schedule: "3 * * * *", run: bursts}
`)
		start := func(ctx context.Context, args []string, runID string, output func(string)) Exit {
			switch args[0] {
			case "slow":
				time.Sleep(90 * time.Second)
			case "hangs":
				<-ctx.Done()
				return Exit{Code: 143, Signal: "terminated"}
			case "fails":
				output("tapedeck: fetch trades: no route to host")
				output("hint: look at the network")
				return Exit{Code: 1}
			case "bursts":
				panic("unexpected")
			}
			return Exit{Report: Report{Rows: 7, Bytes: 70, Message: "7 rows"}}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- Run(ctx, options(jobs, ledger, start)) }()
		time.Sleep(4*time.Minute + 50*time.Second) // the clock of synctest starts at midnight
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want := []string{
			"01:00 hangs timeout",
			"02:00 quick ok",
			"02:00 slow skipped",
			"01:00 slow ok",
			"03:00 fails failed",
			"03:00 bursts failed",
			"04:00 slow skipped",
			"04:00 quick ok",
			"03:00 slow ok",
		}
		got := outcomes(ledger) // runs that finish in the same instant are written in any order
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for _, row := range ledger.runs {
			if row.ID == "" || row.FinishedAt < row.StartedAt || row.Attempt != 1 {
				t.Errorf("invalid row %+v", row)
			}
			switch row.Job {
			case "fails":
				if row.Message != "fetch trades: no route to host" || row.Exit != 1 {
					t.Errorf("the failed run's row lacks the reason: %+v", row)
				}
			case "quick":
				if row.Rows != 7 || row.Bytes != 70 || row.Message != "7 rows" {
					t.Errorf("the row lacks what the run reported: %+v", row)
				}
			case "hangs":
				if row.Message != "timed out after 30s" {
					t.Errorf("message %q", row.Message)
				}
			}
		}
		for _, job := range ledger.state.Jobs {
			if job.Run != nil {
				t.Errorf("%s is still active in the state", job.Name)
			}
		}
		if ledger.state.StoppedAt.IsZero() {
			t.Error("stopped_at is not set after a clean stop")
		}
	})
}

func TestPanicDoesNotDisableJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger, calls := &memoryLedger{}, 0
		start := func(context.Context, []string, string, func(string)) Exit {
			calls++
			panic("again")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute+time.Second)
		defer cancel()
		if err := Run(ctx, options(parseJobs(t, "jobs:\n- {name: a, schedule: '* * * * *', run: detect}\n"), ledger, start)); err != nil {
			t.Fatal(err)
		}
		if calls != 4 {
			t.Errorf("ran %d times in 4 minutes, want 4", calls)
		}
	})
}

func TestStopKillsActiveRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &memoryLedger{}
		start := func(ctx context.Context, _ []string, _ string, _ func(string)) Exit {
			<-ctx.Done()
			time.Sleep(3 * time.Second)
			return Exit{Code: 143, Signal: "terminated"}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		if err := Run(ctx, options(parseJobs(t, "jobs:\n- {name: a, schedule: '* * * * *', run: detect}\n"), ledger, start)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"01:00 a killed"}, outcomes(ledger)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestObserveShowsEachChange requires that an observer sees when a job is due next, that it runs, and
// how it ended.
func TestObserveShowsEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := func(context.Context, []string, string, func(string)) Exit {
			time.Sleep(10 * time.Second)
			return Exit{Report: Report{Message: "7 rows"}}
		}
		observed := options(parseJobs(t, "jobs:\n- {name: a, schedule: '* * * * *', run: detect}\n"), &memoryLedger{}, start)
		var seen []string
		observed.Observe = func(jobs []state.Job) {
			text := jobs[0].NextAt.Format("04:05") + " " + jobs[0].Message
			if jobs[0].Run != nil {
				text += " runs since " + jobs[0].Run.StartedAt.Format("04:05")
			}
			if len(seen) == 0 || seen[len(seen)-1] != text {
				seen = append(seen, text)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 119*time.Second)
		defer cancel()
		if err := Run(ctx, observed); err != nil {
			t.Fatal(err)
		}
		want := []string{"01:00 ", "02:00 ", "02:00  runs since 01:00", "02:00 7 rows"}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Error(diff)
		}
	})
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &memoryLedger{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Run(ctx, options(parseJobs(t, "jobs:\n- {name: a, schedule: '@daily', run: detect}\n"), ledger, nil))
		}()
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if age := time.Since(ledger.state.BeatAt); age > defaultHeartbeat {
			t.Errorf("the state is %v old", age)
		}
		if want := time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC); !ledger.state.Jobs[0].NextAt.Equal(want) {
			t.Errorf("next run at %v, want %v", ledger.state.Jobs[0].NextAt, want)
		}
		cancel()
		<-done
	})
}

func TestLineWriterSplitsLines(t *testing.T) {
	var lines []string
	w := &lineWriter{emit: func(line string) { lines = append(lines, line) }}
	for _, part := range []string{"a\nb", "c\r\n", "\n", strings.Repeat("x", 10_000), "\nbad \xff\nend"} {
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
	}
	w.flush()
	want := []string{"a", "bc", strings.Repeat("x", maxLine) + "… (cut)", "bad \uFFFD", "end"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestLogRecordsOfChildrenAreNotQuoted(t *testing.T) {
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("run output", lineAttr(`{"msg":"segment published"}`))
	if !strings.Contains(log.String(), `"record":{"msg":"segment published"}`) {
		t.Error(log.String())
	}
}
