package schedule

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
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
	"tapedeck/internal/window"
)

// The simulated clock: a day takes two seconds. It starts a few days before New York's clock goes
// forward.
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

// trueTime returns the simulated time, which starts at the real time that the environment names.
func trueTime() time.Time {
	start, _ := strconv.ParseInt(os.Getenv("SIMULATED_FROM"), 10, 64)
	return simulatedStart.Add(time.Duration(time.Now().UnixNano()-start) * simulatedSpeed)
}

// clockOffset returns by how much the clock is wrong at present: the content of a file that the test
// replaces.
func clockOffset() time.Duration {
	text, _ := os.ReadFile(os.Getenv("SIMULATED_OFFSET"))
	offset, _ := time.ParseDuration(string(text))
	return offset
}

// simulate runs a scheduler on the tape at path, with a fast clock that may be set at any time.
func simulate(path string) {
	now := func() time.Time { return trueTime().Add(clockOffset()) }
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	unlock, err := Lock(filepath.Join(path, "lock"))
	// A child that was forked when the last scheduler was killed holds its lock until it begins to run.
	for deadline := time.Now().Add(time.Minute); errors.Is(err, ErrLocked) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		unlock, err = Lock(filepath.Join(path, "lock"))
	}
	fail(err)
	defer unlock()
	dir, err := tape.Create(path, "", simulatedStart)
	fail(err)
	jobs, err := Parse("crontab.yaml", []byte(simulatedCrontab), now(), validateWindows)
	fail(err)
	for i := range jobs {
		jobs[i].Timeout = time.Second // in real time
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	children := &Children{Path: os.Args[0], Env: os.Environ(), Grace: 20 * time.Millisecond}
	fail(Run(ctx, Options{
		Jobs: jobs, Start: children.Start, Ledger: dir, State: dir.State(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: now,
		After: func(d time.Duration) <-chan time.Time { return time.After(d / simulatedSpeed) }, Heartbeat: time.Hour,
	}))
}

// work is one run: it appends itself to the file of notes, and then does what its command line
// says.
func work(args []string) {
	signal.Ignore(syscall.SIGTERM) // the worst case
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
	// Like a backfill, it asks somebody else what time it is.
	if i := slices.Index(args, "--to"); i >= 0 {
		if to, err := time.Parse(time.RFC3339Nano, args[i+1]); err != nil || to.After(trueTime()) {
			fd, _ := strconv.Atoi(os.Getenv(ReportVariable))
			json.NewEncoder(os.NewFile(uintptr(fd), "report")).Encode(Report{CoveredUntil: trueTime()})
			os.Exit(3)
		}
	}
}

// TestKilledAtAnyInstant kills the scheduler repeatedly and then checks the guarantee of this
// package on the ledger. SCHEDULE_KILLS sets how often; `make sched-soak` does it 50 times.
func TestKilledAtAnyInstant(t *testing.T) { killRepeatedly(t, false) }

// TestKilledWhileTheClockIsSet kills the scheduler repeatedly, too, while the clock is set by an hour or a
// day, ahead or back, at random instants: no time may be skipped.
func TestKilledWhileTheClockIsSet(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some simulated days")
	}
	killRepeatedly(t, true)
}

// killRepeatedly is both tests. With steps, the clock is set at random instants.
func killRepeatedly(t *testing.T, steps bool) {
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
	start := time.Now()
	offset := filepath.Join(t.TempDir(), "offset")
	environ := append(childEnviron(), "SIMULATED_NOTES="+notes, "SIMULATED_OFFSET="+offset, fmt.Sprint("SIMULATED_FROM=", start.UnixNano()))
	random := rand.New(rand.NewPCG(1, uint64(kills)))
	setClock := func(by time.Duration) {
		if err := os.WriteFile(offset+"+", []byte(by.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(offset+"+", offset); err != nil {
			t.Fatal(err)
		}
	}
	setRandomly := func() {
		if steps {
			setClock([]time.Duration{0, 0, time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour}[random.IntN(6)])
		}
	}
	simulated := func() time.Time { return simulatedStart.Add(time.Since(start) * simulatedSpeed) }
	runScheduler := func(enough func() bool, signal os.Signal) *os.ProcessState {
		scheduler := exec.Command(os.Args[0], "scheduler", path)
		scheduler.Env, scheduler.Stderr = environ, os.Stderr
		if err := scheduler.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(5 * time.Minute); !enough(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error("the scheduler makes no progress")
				break
			}
		}
		if err := scheduler.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		scheduler.Wait()
		return scheduler.ProcessState
	}
	var begun time.Time // when the first scheduler had started
	for i := range kills {
		// Each scheduler is killed a random moment after a random number of runs has started.
		runs, moment := len(linesOf(t, notes))+random.IntN(5), time.Duration(random.Int64N(int64(50*time.Millisecond)))
		var until time.Time
		if i > 0 {
			setRandomly()
		}
		ended := runScheduler(func() bool {
			if begun.IsZero() {
				if _, err := os.Stat(filepath.Join(path, ".state", state.SchedulerFile)); err == nil {
					begun = simulated()
				}
				return false
			}
			if until.IsZero() && len(linesOf(t, notes)) >= runs {
				until = time.Now().Add(moment)
				setRandomly()
			}
			return !until.IsZero() && time.Now().After(until)
		}, syscall.SIGKILL)
		if ended.Exited() {
			t.Fatalf("the scheduler exited by itself: %v", ended)
		}
		checkNoRunIsAlive(t, notes)
	}
	dir, err := tape.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := Parse("crontab.yaml", []byte(simulatedCrontab), simulatedStart, validateWindows)
	if err != nil {
		t.Fatal(err)
	}
	// The last one runs until it has made up for everything that the others left undone.
	setClock(0)
	lastStart := simulated()
	if ended := runScheduler(func() bool {
		var scheduler state.Scheduler
		if err := dir.State().Read(state.SchedulerFile, &scheduler); err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(jobs, func(job Job) bool {
			return job.Window == WindowSinceDone && scheduler.DoneUntil[job.Name].Before(job.times.last(lastStart))
		})
	}, syscall.SIGTERM); !ended.Success() {
		t.Fatalf("the last scheduler was stopped and exited with %v", ended)
	}
	stopped := simulated()
	checkNoRunIsAlive(t, notes)

	rows, err := dir.ReadRuns("", "")
	if err != nil {
		t.Fatal(err)
	}
	checkEveryRunHasARow(t, notes, rows)
	for _, job := range jobs {
		switch {
		case job.Window != WindowSinceDone:
		case steps:
			checkNoTimeIsSkipped(t, job, rows, begun, lastStart)
		default:
			checkWindowsAreConsecutive(t, job, rows, lastStart)
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
		t.Error("too few runs to prove anything")
	}
}

// checkNoRunIsAlive fails if a run's process is alive after its scheduler is gone.
func checkNoRunIsAlive(t *testing.T, notes string) {
	t.Helper()
	for _, line := range linesOf(t, notes) {
		pid, err := strconv.Atoi(strings.Fields(line)[0])
		if err != nil {
			t.Fatal(err)
		}
		command, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || !strings.Contains(string(command), "SIMULATED_NOTES="+notes) {
			continue // gone, or the pid belongs to another process
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

// checkEveryRunHasARow checks that every process that started as a run has exactly one row, and no
// id has two.
func checkEveryRunHasARow(t *testing.T, notes string, rows []tape.Run) {
	t.Helper()
	byID := map[string]int{}
	for _, row := range rows {
		byID[row.ID]++
		if byID[row.ID] > 1 {
			t.Errorf("run %s has %d rows", row.ID, byID[row.ID])
		}
	}
	for _, line := range linesOf(t, notes) {
		if id := strings.Fields(line)[1]; byID[id] != 1 {
			t.Errorf("run %s has %d rows: %s", id, byID[id], line)
		}
	}
}

// checkNoTimeIsSkipped checks that the windows of a job that were done or given up cover the time from
// when it was first due after begun to when it was last due before lastStart.
func checkNoTimeIsSkipped(t *testing.T, job Job, rows []tape.Run, begun, lastStart time.Time) {
	t.Helper()
	var done []window.Window
	for _, row := range rows {
		if row.Job == job.Name && !settledUntil(row, job).IsZero() {
			done = append(done, window.Window{Start: instant(row.WindowStart), End: settledUntil(row, job)})
		}
	}
	all := window.Window{Start: job.Next(begun), End: job.times.last(lastStart)}
	for _, gap := range all.Subtract(window.Merge(done)) {
		t.Errorf("%s: nobody did [%v, %v)", job.Name, gap.Start, gap.End)
	}
}

// checkWindowsAreConsecutive checks that the windows of a job that were done or given up go from
// due instant to due instant, without a gap or an overlap, up to the last one before lastStart.
func checkWindowsAreConsecutive(t *testing.T, job Job, rows []tape.Run, lastStart time.Time) {
	t.Helper()
	var settled []tape.Run
	for _, row := range rows {
		if row.Job == job.Name && !settledUntil(row, job).IsZero() {
			settled = append(settled, row)
		}
	}
	slices.SortFunc(settled, func(a, b tape.Run) int { return int(a.WindowStart - b.WindowStart) })
	if len(settled) == 0 {
		t.Errorf("%s: no window is settled", job.Name)
		return
	}
	until := settled[0].WindowStart
	for _, row := range settled {
		if row.WindowStart != until || row.WindowEnd <= row.WindowStart || row.WindowEnd != row.ScheduledAt {
			t.Errorf("%s: after %v follows the window from %v to %v (%s, scheduled %v)", job.Name, time.UnixMicro(until).UTC(), time.UnixMicro(row.WindowStart).UTC(),
				time.UnixMicro(row.WindowEnd).UTC(), row.Outcome, time.UnixMicro(row.ScheduledAt).UTC())
		}
		if due := time.UnixMicro(row.ScheduledAt).UTC(); !job.Next(due.Add(-time.Second)).Equal(due) {
			t.Errorf("%s: a run at %v, when it was not due", job.Name, due)
		}
		until = row.WindowEnd
	}
	if end := time.UnixMicro(until).UTC(); end.Before(job.times.last(lastStart)) {
		t.Errorf("%s: done only until %v", job.Name, end)
	}
}
