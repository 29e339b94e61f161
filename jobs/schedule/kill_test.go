package schedule

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// The simulated clock: a day in two seconds, from some days before New York's clock goes forward.
const simulatedSpeed = 24 * 3600 / 2

var simulatedStart = time.Date(2026, 3, 6, 0, 0, 0, 0, time.UTC)

const simulatedCrontab = `
jobs:
  - {name: quick, schedule: "0 * * * *", run: backfill quick}
  - {name: each, schedule: "*/20 * * * *", run: backfill slow, catch_up: all, catch_up_limit: 10}
  - {name: newyork, schedule: "30 2,14 * * *", timezone: America/New_York, run: backfill flaky, retries: 2, backoff: 60s, overlap: queue}
  - {name: none, schedule: "*/30 * * * *", run: backfill quick, catch_up: none}
  - {name: replace, schedule: "15 * * * *", run: backfill slow, overlap: replace}
  - {name: look, schedule: "@every 45m", run: detect hang}
`

// simulate is a scheduler on the tape at path, whose clock runs fast from the instant in real time that the environment names.
func simulate(path string) {
	began, _ := strconv.ParseInt(os.Getenv("SIMULATED_FROM"), 10, 64)
	now := func() time.Time {
		return simulatedStart.Add(time.Duration(time.Now().UnixNano()-began) * simulatedSpeed)
	}
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	release, err := Claim(filepath.Join(path, "lock"))
	fail(err)
	defer release()
	dir, err := tape.Create(path, "", simulatedStart)
	fail(err)
	jobs, err := Parse("crontab.yaml", []byte(simulatedCrontab), now(), windowed)
	fail(err)
	for i := range jobs {
		jobs[i].Timeout = time.Second // in real time
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	children := &Children{Path: os.Args[0], Env: os.Environ(), Grace: 20 * time.Millisecond}
	fail(Run(ctx, Options{
		Jobs: jobs, Start: children.Start, Ledger: dir, State: dir, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: now, PID: os.Getpid(),
		After: func(d time.Duration) <-chan time.Time { return time.After(d / simulatedSpeed) }, Beat: time.Hour,
	}))
}

// work is one run: it notes that it was there, and then does what its command line says.
func work(args []string) {
	signal.Ignore(syscall.SIGTERM) // the worst there can be
	notes, err := os.OpenFile(os.Getenv("SIMULATED_NOTES"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		os.Exit(1)
	}
	fmt.Fprintln(notes, os.Getpid(), os.Getenv(RunIDVariable), strings.Join(args, " "))
	switch args[1] {
	case "slow":
		time.Sleep(rand.N(40 * time.Millisecond))
	case "flaky":
		if rand.N(3) == 0 {
			os.Exit(1)
		}
	case "hang":
		if rand.N(4) == 0 {
			select {}
		}
	}
}

// TestKilledAtAnyInstant kills the scheduler again and again and then holds the ledger to the guarantee of this package.
// SCHEDULE_KILLS says how often; `make sched-soak` does it 50 times.
func TestKilledAtAnyInstant(t *testing.T) {
	kills := 15
	if testing.Short() {
		kills = 5
	}
	if text := os.Getenv("SCHEDULE_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	path, notes := t.TempDir(), filepath.Join(t.TempDir(), "notes")
	if err := os.WriteFile(notes, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	environ := append(childEnviron(), "SIMULATED_NOTES="+notes, fmt.Sprint("SIMULATED_FROM=", began.UnixNano()))
	random := rand.New(rand.NewPCG(1, uint64(kills)))
	simulated := func() time.Time { return simulatedStart.Add(time.Since(began) * simulatedSpeed) }
	live := func(enough func() bool, signal os.Signal) *os.ProcessState {
		scheduler := exec.Command(os.Args[0], "scheduler", path)
		scheduler.Env, scheduler.Stderr = environ, os.Stderr
		if err := scheduler.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); !enough(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error("the scheduler does not get on")
				break
			}
		}
		if err := scheduler.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		scheduler.Wait()
		return scheduler.ProcessState
	}
	for range kills {
		// A life ends a random moment after so many runs have begun, or before any has.
		runs, moment := len(linesOf(t, notes))+random.IntN(5), time.Duration(random.Int64N(int64(50*time.Millisecond)))
		var until time.Time
		ended := live(func() bool {
			if until.IsZero() && len(linesOf(t, notes)) >= runs {
				until = time.Now().Add(moment)
			}
			return !until.IsZero() && time.Now().After(until)
		}, syscall.SIGKILL)
		if ended.Exited() {
			t.Fatalf("the scheduler ended by itself: %v", ended)
		}
		noRunIsAlive(t, notes)
	}
	dir, err := tape.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := Parse("crontab.yaml", []byte(simulatedCrontab), simulatedStart, windowed)
	if err != nil {
		t.Fatal(err)
	}
	// The last one lives until it has made up for all that the others left.
	left := simulated()
	if ended := live(func() bool {
		var scheduler state.Scheduler
		if err := dir.ReadState(state.SchedulerFile, &scheduler); err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(jobs, func(job Job) bool {
			return job.Takes == TakesWindow && scheduler.DoneUntil[job.Name].Before(job.times.last(left))
		})
	}, syscall.SIGTERM); !ended.Success() {
		t.Fatalf("the last scheduler was asked to end and ended with %v", ended)
	}
	stopped := simulated()
	noRunIsAlive(t, notes)

	rows, err := dir.ReadRuns("", "")
	if err != nil {
		t.Fatal(err)
	}
	everyRunHasItsRow(t, notes, rows)
	for _, job := range jobs {
		if job.Takes == TakesWindow {
			windowsFollowOneAnother(t, job, rows, left)
		}
	}
	counts := map[state.Outcome]int{}
	for _, row := range rows {
		counts[row.Outcome]++
	}
	files, err := filepath.Glob(filepath.Join(path, "runs", "*", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills over %.1f simulated days: %d rows %v in %d files", kills, stopped.Sub(simulatedStart).Hours()/24, len(rows), counts, len(files))
	if counts[state.OK] < kills/4 || kills >= 50 && counts[state.Lost] == 0 {
		t.Error("too little happened for this to prove anything")
	}
}

// noRunIsAlive fails if a process that was started as a run is still there a moment after its scheduler went.
func noRunIsAlive(t *testing.T, notes string) {
	t.Helper()
	for _, line := range linesOf(t, notes) {
		pid, err := strconv.Atoi(strings.Fields(line)[0])
		if err != nil {
			t.Fatal(err)
		}
		command, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || !strings.Contains(string(command), "SIMULATED_NOTES="+notes) {
			continue // gone, or another process by now
		}
		waitGone(t, pid)
	}
}

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		out = append(out, lines.Text())
	}
	return out
}

// everyRunHasItsRow: a process that began as a run has exactly one row, and no row stands twice.
func everyRunHasItsRow(t *testing.T, notes string, rows []tape.Run) {
	t.Helper()
	byID := map[string]int{}
	for _, row := range rows {
		byID[row.ID]++
		if byID[row.ID] > 1 {
			t.Errorf("run %s stands in the ledger %d times", row.ID, byID[row.ID])
		}
	}
	for _, line := range linesOf(t, notes) {
		if id := strings.Fields(line)[1]; byID[id] != 1 {
			t.Errorf("run %s has %d rows: %s", id, byID[id], line)
		}
	}
}

// windowsFollowOneAnother: what was done or given up of a job are windows without a hole or an overlap, from due instant to due
// instant, up to the end.
func windowsFollowOneAnother(t *testing.T, job Job, rows []tape.Run, left time.Time) {
	t.Helper()
	var settled []tape.Run
	for _, row := range rows {
		if row.Job == job.Name && !settles(row, job).IsZero() {
			settled = append(settled, row)
		}
	}
	slices.SortFunc(settled, func(a, b tape.Run) int { return int(a.WindowStart - b.WindowStart) })
	if len(settled) == 0 {
		t.Errorf("%s: nothing was done", job.Name)
		return
	}
	until := settled[0].WindowStart
	for _, row := range settled {
		if row.WindowStart != until || row.WindowEnd <= row.WindowStart || row.WindowEnd != row.ScheduledAt {
			t.Errorf("%s: after %v comes the window from %v to %v (%s, scheduled %v)", job.Name, time.UnixMicro(until).UTC(), time.UnixMicro(row.WindowStart).UTC(),
				time.UnixMicro(row.WindowEnd).UTC(), row.Outcome, time.UnixMicro(row.ScheduledAt).UTC())
		}
		if due := time.UnixMicro(row.ScheduledAt).UTC(); !job.Next(due.Add(-time.Second)).Equal(due) {
			t.Errorf("%s: was never due at %v", job.Name, due)
		}
		until = row.WindowEnd
	}
	if end := time.UnixMicro(until).UTC(); end.Before(job.times.last(left)) {
		t.Errorf("%s: done until %v only", job.Name, end)
	}
}
