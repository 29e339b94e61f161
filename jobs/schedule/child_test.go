package schedule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tapedeck/internal/state"
)

// TestMain makes this test binary stand in for children, whose behavior is the first argument.
func TestMain(m *testing.M) {
	if os.Getenv("SCHEDULE_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "report":
		fmt.Println("one")
		fmt.Fprintln(os.Stderr, "tapedeck: two")
		fd, _ := strconv.Atoi(os.Getenv(ReportVariable))
		fmt.Fprintf(os.NewFile(uintptr(fd), "report"), `{"rows":5,"bytes":50,"window_end":"2026-01-15T00:00:00Z","message":%q}`, os.Getenv(RunIDVariable))
		os.Exit(3)
	case "succeed":
	case "obey":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		fmt.Println("up")
		<-signals
		os.Exit(1)
	case "ignore":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("up")
		select {}
	case "crash":
		syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		select {}
	case "flood":
		line := strings.Repeat("x", 1<<16)
		for range 64 {
			fmt.Print(line)
		}
	case "leave-behind": // leaves a process in its group that holds its output open
		child := exec.Command(os.Args[0], "ignore")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
		fmt.Println("left", child.Process.Pid)
	case "parent": // a scheduler that will be killed; prints the pid of its child
		one := Children{Path: os.Args[0], Env: os.Environ(), Grace: time.Second}
		one.Start(context.Background(), []string{"pid"}, "r", func(line string) { fmt.Println(line) })
	case "eat": // allocates without end, up to a limit like that of a container
		limit := syscall.Rlimit{Cur: 1 << 30, Max: 1 << 30}
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
			os.Exit(99)
		}
		for eaten := []byte{1}; ; {
			eaten = append(eaten, eaten...)
		}
	case "chatter": // prints without end
		for {
			fmt.Println(strings.Repeat("chatter ", 20))
		}
	case "orphan": // leaves a process outside of its group, which ends when the pipe at the path is closed
		child := exec.Command(os.Args[0], "read", os.Args[2])
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
		fmt.Println("left", child.Process.Pid)
	case "read":
		os.ReadFile(os.Args[2])
	case "scheduler":
		simulate(os.Args[2])
	case "backfill", "detect": // a run of the simulated scheduler
		work(os.Args[1:])
	case "pid":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println(os.Getpid())
		select {}
	}
	os.Exit(0)
}

func children(grace time.Duration) *Children {
	return &Children{Path: os.Args[0], Env: childEnviron(), Grace: grace}
}

// childEnviron returns the environment that makes this binary a child. It turns off the second that
// the race detector would sleep at the end of each.
func childEnviron() []string {
	return append(os.Environ(), "SCHEDULE_TEST_CHILD=1", "GORACE=atexit_sleep_ms=0")
}

func TestChildReports(t *testing.T) {
	var lines []string
	exit := children(time.Second).Start(t.Context(), []string{"report"}, "run-1", func(line string) { lines = append(lines, line) })
	want := Exit{Code: 3, Report: Report{Rows: 5, Bytes: 50, WindowEnd: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), Message: "run-1"}}
	if diff := cmp.Diff(want, exit); diff != "" {
		t.Error(diff)
	}
	if len(lines) != 2 || !strings.Contains(strings.Join(lines, "\n"), "tapedeck: two") {
		t.Errorf("lines %q", lines)
	}
}

func TestChildIsStopped(t *testing.T) {
	for name, c := range map[string]struct {
		grace time.Duration
		want  Exit
	}{
		"obey":   {time.Minute, Exit{Code: 1}},
		"ignore": {50 * time.Millisecond, Exit{Code: 128 + 9, Signal: "killed"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			exit := children(c.grace).Start(ctx, []string{name}, "r", func(line string) {
				if line == "up" {
					cancel()
				}
			})
			if diff := cmp.Diff(c.want, exit); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestChildCrashes(t *testing.T) {
	exit := children(time.Second).Start(t.Context(), []string{"crash"}, "r", func(string) {})
	if exit.Code == 0 || exit.Err != nil {
		t.Errorf("%+v", exit)
	}
}

func TestMissingBinary(t *testing.T) {
	absent := Children{Path: "/nonexistent/tapedeck"}
	exit := absent.Start(t.Context(), []string{"detect"}, "r", func(string) {})
	if exit.Err == nil || exit.Code != -1 {
		t.Errorf("%+v", exit)
	}
}

func TestLongLineIsTruncated(t *testing.T) {
	var total int
	exit := children(time.Second).Start(t.Context(), []string{"flood"}, "r", func(line string) { total += len(line) })
	if exit.Code != 0 || total > 2*maxLine {
		t.Errorf("%+v, kept %d bytes of one line", exit, total)
	}
}

func TestLeftoverProcessesAreKilled(t *testing.T) {
	var left int
	exit := children(200*time.Millisecond).Start(t.Context(), []string{"leave-behind"}, "r", func(line string) {
		fmt.Sscanf(line, "left %d", &left)
	})
	if exit.Code != 0 || left == 0 {
		t.Fatalf("%+v, left process %d", exit, left)
	}
	waitGone(t, left)
}

func TestChildrenDieWithKilledScheduler(t *testing.T) {
	parent := exec.Command(os.Args[0], "parent")
	parent.Env = childEnviron()
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	parent.Wait()
	waitGone(t, pid)
}

// TestBadJobsDoNotAffectOthers checks that jobs that hang, crash, print without end and use up
// memory get their rows, while a good one goes on.
func TestBadJobsDoNotAffectOthers(t *testing.T) {
	jobs := parseJobs(t, `
jobs:
  - {name: good, schedule: "@every 1s", run: succeed}
  - {name: hangs, schedule: "@every 1s", run: ignore}
  - {name: crashes, schedule: "@every 1s", run: crash}
  - {name: chatters, schedule: "@every 1s", run: chatter}
  - {name: eats, schedule: "@every 1s", run: eat}
`)
	for i := range jobs {
		jobs[i].Timeout = 20 * time.Second
		if name := jobs[i].Name; name == "hangs" || name == "chatters" {
			jobs[i].Timeout = 2 * time.Second
		}
	}
	ledger := &memoryLedger{published: make(chan struct{}, 1)}
	opt := options(jobs, ledger, children(50*time.Millisecond).Start)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	enough := func() bool { // rows of every job
		ledger.mu.Lock()
		defer ledger.mu.Unlock()
		counts := map[string]int{}
		for _, row := range ledger.runs {
			if row.Outcome != state.Skipped && (row.Job != "chatters" || row.Output != "") { // it may start so late that it prints nothing
				counts[row.Job]++
			}
		}
		return counts["hangs"] > 1 && counts["crashes"] > 1 && counts["chatters"] > 0 && counts["eats"] > 0 && counts["good"] > 1
	}
	returned := make(chan error)
	go func() { returned <- Run(ctx, opt) }()
	for timeout := time.After(5 * time.Minute); !enough(); {
		select {
		case <-ledger.published:
		case <-timeout:
			t.Fatal("not enough runs in time")
		}
	}
	cancel()
	if err := <-returned; err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]map[state.Outcome]bool{}
	for _, row := range ledger.runs {
		if row.Outcome == state.Skipped || row.Outcome == state.Killed {
			continue
		}
		if outcomes[row.Job] == nil {
			outcomes[row.Job] = map[state.Outcome]bool{}
		}
		outcomes[row.Job][row.Outcome] = true
		if len(row.Output) > maxTailBytes || len(row.Message) > 2*maxReason {
			t.Errorf("%s: its row has %d bytes of output and %d of message", row.Job, len(row.Output), len(row.Message))
		}
		if row.Job == "chatters" && row.Output != "" && !strings.HasPrefix(row.Output, "chatter") {
			t.Errorf("output %q", row.Output)
		}
	}
	want := map[string]map[state.Outcome]bool{"good": {state.OK: true}, "hangs": {state.Timeout: true}, "crashes": {state.Failed: true}, "chatters": {state.Timeout: true}, "eats": {state.Failed: true}}
	if diff := cmp.Diff(want, outcomes); diff != "" {
		t.Error(diff)
	}
}

func TestKernelKillsChildrenFirst(t *testing.T) {
	if _, err := os.Stat("/proc/self/oom_score_adj"); err != nil {
		t.Skip("no /proc: ", err)
	}
	c := children(time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var score []byte
	c.Start(ctx, []string{"pid"}, "r", func(pid string) {
		c.starting.Lock() // until the child is completely set up
		defer c.starting.Unlock()
		score, _ = os.ReadFile("/proc/" + pid + "/oom_score_adj")
		cancel()
	})
	if got := strings.TrimSpace(string(score)); got != "500" {
		t.Errorf("the child's oom_score_adj is %q, want 500", got)
	}
}

// TestOrphansAreReaped makes this process the one that orphans fall to, as the first process of a
// container is.
func TestOrphansAreReaped(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skip("cannot become a subreaper: ", err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	c := children(time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Reap(ctx) }()
	// Reap must not take the exit status of runs.
	for range 5 {
		if exit := c.Start(t.Context(), []string{"report"}, "r", func(string) {}); exit.Code != 3 || exit.Err != nil {
			t.Errorf("%+v", exit)
		}
	}
	var orphan int
	exit := c.Start(t.Context(), []string{"orphan", pipe}, "r", func(line string) { fmt.Sscanf(line, "left %d", &orphan) })
	if exit.Code != 0 || orphan == 0 {
		t.Fatalf("%+v, orphan %d", exit, orphan)
	}
	writer, err := os.OpenFile(pipe, os.O_WRONLY, 0) // blocks until the orphan reads
	if err != nil {
		t.Fatal(err)
	}
	writer.Close()
	// WNOWAIT waits for the orphan's end without reaping it. The error is ECHILD when it was reaped.
	for !errors.Is(unix.Waitid(unix.P_PID, orphan, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.ECHILD) {
		runtime.Gosched()
	}
	if err := syscall.Kill(orphan, 0); err != syscall.ESRCH {
		t.Errorf("the orphan is still in the process table: %v", err)
	}
	cancel()
	<-done
}

// waitGone waits until a process has exited, whether it was reaped or not, and kills it if that
// takes too long.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			t.Fatal(err)
		case n == 0:
			syscall.Kill(pid, syscall.SIGKILL)
			t.Errorf("process %d is still alive", pid)
		}
		return
	}
}
