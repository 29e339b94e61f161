package schedule

import (
	"bytes"
	"context"
	"encoding/json"
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

// notes is a Ledger and a StateWriter in memory.
type notes struct {
	mu    sync.Mutex
	runs  []tape.Run
	state state.Scheduler
	known bool // the state was written
	// refuse, where it is set, is the error of the next writes; the row is written all the same where ambiguous.
	refuse    error
	ambiguous bool
}

func (n *notes) PublishRuns(_ context.Context, runs []tape.Run) (tape.Published, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse != nil && !n.ambiguous {
		return tape.Published{}, n.refuse
	}
	n.runs = append(n.runs, runs...)
	return tape.Published{Rows: int64(len(runs))}, n.refuse
}

func (n *notes) ReadRuns(string, string) ([]tape.Run, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.runs), nil
}

func (n *notes) MergeRecords(context.Context, tape.Table, string, int) (int, bool, error) {
	return 0, false, nil
}

func (n *notes) ReadState(_ string, v any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.known {
		return fs.ErrNotExist
	}
	text, err := json.Marshal(n.state)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

func (n *notes) WriteState(_ string, v any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	n.state, n.known = state.Scheduler{}, true
	return json.Unmarshal(text, &n.state)
}

func mustParse(t *testing.T, text string) []Job {
	t.Helper()
	jobs, err := Parse("crontab.yaml", []byte(text), time.Now(), windowed)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

// windowed is a Validate for which backfill takes a window and report --since one's end.
func windowed(args []string) (Takes, error) {
	switch {
	case args[0] == "backfill":
		return TakesWindow, nil
	case args[0] == "report":
		return TakesEnd, nil
	}
	return TakesNothing, nil
}

func options(jobs []Job, book *notes, start Start) Options {
	return Options{Jobs: jobs, Start: start, Ledger: book, State: book, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, PID: 1}
}

// outcomes lists the rows as "minute:second job outcome", in the order they were written.
func outcomes(book *notes) []string {
	var out []string
	for _, row := range book.runs {
		out = append(out, time.UnixMicro(row.ScheduledAt).UTC().Format("04:05 ")+row.Job+" "+string(row.Outcome))
	}
	return out
}

func TestEveryRunIsWrittenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &notes{}
		jobs := mustParse(t, `
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
				panic("in the middle of it")
			}
			return Exit{Report: Report{Rows: 7, Bytes: 70, Message: "7 rows"}}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- Run(ctx, options(jobs, book, start)) }()
		time.Sleep(4*time.Minute + 50*time.Second) // the bubble's clock begins at midnight
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
		sortRows := func(rows []string) map[string]int {
			counts := map[string]int{}
			for _, row := range rows {
				counts[row]++
			}
			return counts
		}
		if diff := cmp.Diff(sortRows(want), sortRows(outcomes(book))); diff != "" {
			t.Error(diff)
		}
		for _, row := range book.runs {
			if row.ID == "" || row.FinishedAt < row.StartedAt || row.Attempt != 1 {
				t.Errorf("odd row %+v", row)
			}
			switch row.Job {
			case "fails":
				if row.Message != "fetch trades: no route to host" || row.Exit != 1 {
					t.Errorf("the failed run's row does not say why: %+v", row)
				}
			case "quick":
				if row.Rows != 7 || row.Bytes != 70 || row.Message != "7 rows" {
					t.Errorf("what the run reported is not in its row: %+v", row)
				}
			case "hangs":
				if row.Message != "it ran for more than 30s" {
					t.Errorf("message %q", row.Message)
				}
			}
		}
		for _, job := range book.state.Jobs {
			if job.Run != nil {
				t.Errorf("%s is said to run after the end", job.Name)
			}
		}
		if book.state.StoppedAt.IsZero() {
			t.Error("the state does not say that the scheduler ended cleanly")
		}
	})
}

func TestAPanicDoesNotDisableItsJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, calls := &notes{}, 0
		start := func(context.Context, []string, string, func(string)) Exit {
			calls++
			panic("again")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute+time.Second)
		defer cancel()
		if err := Run(ctx, options(mustParse(t, "jobs:\n- {name: a, schedule: '* * * * *', run: detect}\n"), book, start)); err != nil {
			t.Fatal(err)
		}
		if calls != 4 {
			t.Errorf("it ran %d times in 4 minutes", calls)
		}
	})
}

func TestStopEndsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &notes{}
		start := func(ctx context.Context, _ []string, _ string, _ func(string)) Exit {
			<-ctx.Done()
			time.Sleep(3 * time.Second) // it takes its time
			return Exit{Code: 143, Signal: "terminated"}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		if err := Run(ctx, options(mustParse(t, "jobs:\n- {name: a, schedule: '* * * * *', run: detect}\n"), book, start)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"01:00 a killed"}, outcomes(book)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &notes{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Run(ctx, options(mustParse(t, "jobs:\n- {name: a, schedule: '@daily', run: detect}\n"), book, nil))
		}()
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if age := time.Since(book.state.BeatAt); age > beat {
			t.Errorf("the state is %v old", age)
		}
		if want := time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC); !book.state.Jobs[0].NextAt.Equal(want) {
			t.Errorf("next run at %v, want %v", book.state.Jobs[0].NextAt, want)
		}
		cancel()
		<-done
	})
}

func TestOutputLines(t *testing.T) {
	var lines []string
	w := &lineWriter{emit: func(line string) { lines = append(lines, line) }}
	for _, part := range []string{"a\nb", "c\r\n", "\n", strings.Repeat("x", 10_000), "\nbad \xff\nend"} {
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
	}
	w.flush()
	want := []string{"a", "bc", strings.Repeat("x", longestLine) + "… (cut)", "bad \uFFFD", "end"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestChildsLogRecordsAreNotQuotedTwice(t *testing.T) {
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("run said", said(`{"msg":"segment published"}`))
	if !strings.Contains(log.String(), `"record":{"msg":"segment published"}`) {
		t.Error(log.String())
	}
}
