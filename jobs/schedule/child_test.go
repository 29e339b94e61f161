package schedule

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tapedeck/internal/state"
)

// TestMain lets this test binary stand in for the children: their behaviour is the first argument.
func TestMain(m *testing.M) {
	if os.Getenv("SCHEDULE_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "talk":
		fmt.Println("one")
		fmt.Fprintln(os.Stderr, "tapedeck: two")
		fd, _ := strconv.Atoi(os.Getenv(ReportVariable))
		fmt.Fprintf(os.NewFile(uintptr(fd), "report"), `{"rows":5,"bytes":50,"window_end":"2026-01-15T00:00:00Z","message":%q}`, os.Getenv(RunIDVariable))
		os.Exit(3)
	case "obey":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		fmt.Println("up")
		<-signals
		fmt.Println("going")
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
	case "offspring": // leaves a process behind that holds its output open
		child := exec.Command(os.Args[0], "ignore")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
		fmt.Println("left", child.Process.Pid)
	case "parent": // a scheduler that gets killed: one child, whose pid it prints
		one := Children{Path: os.Args[0], Env: os.Environ(), Grace: time.Second}
		one.Start(context.Background(), []string{"pid"}, "r", func(line string) { fmt.Println(line) })
	case "eat": // memory without end, up to a limit that stands in for a container's
		limit := syscall.Rlimit{Cur: 1 << 30, Max: 1 << 30}
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
			os.Exit(99)
		}
		for eaten := []byte{1}; ; {
			eaten = append(eaten, eaten...)
		}
	case "chatter": // lines without end
		for {
			fmt.Println(strings.Repeat("chatter ", 20))
		}
	case "score":
		score, _ := os.ReadFile("/proc/self/oom_score_adj")
		fmt.Println(strings.TrimSpace(string(score)))
	case "orphan": // leaves a process behind outside of its group, which ends
		child := exec.Command(os.Args[0], "brief")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
		fmt.Println("left", child.Process.Pid)
	case "brief":
		time.Sleep(100 * time.Millisecond)
	case "scheduler":
		simulate(os.Args[2])
	case "backfill", "detect": // a run under the simulated scheduler
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

// childEnviron makes this binary a child. The race detector would have each of them sleep for a second at its end.
func childEnviron() []string {
	return append(os.Environ(), "SCHEDULE_TEST_CHILD=1", "GORACE=atexit_sleep_ms=0")
}

func TestChildSaysWhatItDid(t *testing.T) {
	var lines []string
	exit := children(time.Second).Start(t.Context(), []string{"talk"}, "run-1", func(line string) { lines = append(lines, line) })
	want := Exit{Code: 3, Report: Report{Rows: 5, Bytes: 50, WindowEnd: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), Message: "run-1"}}
	if diff := cmp.Diff(want, exit); diff != "" {
		t.Error(diff)
	}
	if len(lines) != 2 || !strings.Contains(strings.Join(lines, "\n"), "tapedeck: two") {
		t.Errorf("lines %q", lines)
	}
}

func TestChildIsEnded(t *testing.T) {
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

func TestChildThatCannotBeStarted(t *testing.T) {
	absent := Children{Path: "/nonexistent/tapedeck"}
	exit := absent.Start(t.Context(), []string{"detect"}, "r", func(string) {})
	if exit.Err == nil || exit.Code != -1 {
		t.Errorf("%+v", exit)
	}
}

func TestFloodOfOutputIsCut(t *testing.T) {
	var total int
	exit := children(time.Second).Start(t.Context(), []string{"flood"}, "r", func(line string) { total += len(line) })
	if exit.Code != 0 || total > 2*longestLine {
		t.Errorf("%+v, %d characters of one line kept", exit, total)
	}
}

func TestNothingOfARunIsLeft(t *testing.T) {
	var left int
	exit := children(200*time.Millisecond).Start(t.Context(), []string{"offspring"}, "r", func(line string) {
		fmt.Sscanf(line, "left %d", &left)
	})
	if exit.Code != 0 || left == 0 {
		t.Fatalf("%+v, offspring %d", exit, left)
	}
	waitGone(t, left)
}

func TestNoChildOutlivesAKilledScheduler(t *testing.T) {
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

// TestBadJobsHarmNobody: jobs that hang, crash, flood and eat memory get their rows, and a good one runs on.
func TestBadJobsHarmNobody(t *testing.T) {
	jobs := mustParse(t, `
jobs:
  - {name: good, schedule: "@every 1s", run: brief}
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
	book := &notes{}
	opt := options(jobs, book, children(50*time.Millisecond).Start)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	enough := func() bool { // rows of each bad job, and of the good one
		book.mu.Lock()
		defer book.mu.Unlock()
		counts := map[string]int{}
		for _, row := range book.runs {
			if row.Outcome != state.Skipped {
				counts[row.Job]++
			}
		}
		return counts["hangs"] > 1 && counts["crashes"] > 1 && counts["chatters"] > 0 && counts["eats"] > 0 && counts["good"] > 1
	}
	ended := make(chan error)
	go func() { ended <- Run(ctx, opt) }()
	for deadline := time.Now().Add(time.Minute); !enough() && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]map[state.Outcome]bool{}
	for _, row := range book.runs {
		if row.Outcome == state.Skipped || row.Outcome == state.Killed {
			continue
		}
		if outcomes[row.Job] == nil {
			outcomes[row.Job] = map[state.Outcome]bool{}
		}
		outcomes[row.Job][row.Outcome] = true
		if len(row.Output) > mostBytesRow || len(row.Message) > 2*longestReason {
			t.Errorf("%s: %d bytes of output and %d of message in its row", row.Job, len(row.Output), len(row.Message))
		}
		if row.Job == "chatters" && !strings.HasPrefix(row.Output, "chatter") {
			t.Errorf("output %q", row.Output)
		}
	}
	want := map[string]map[state.Outcome]bool{"good": {state.OK: true}, "hangs": {state.Timeout: true}, "crashes": {state.Failed: true}, "chatters": {state.Timeout: true}, "eats": {state.Failed: true}}
	if diff := cmp.Diff(want, outcomes); diff != "" {
		t.Error(diff)
	}
}

func TestTheKernelTakesAChildFirst(t *testing.T) {
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	// The child may look before the parent has said so.
	for deadline := time.Now().Add(10 * time.Second); ; {
		var said string
		children(time.Second).Start(t.Context(), []string{"score"}, "r", func(line string) { said = line })
		if said == "500" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the child's score is %s, this process's %s", said, own)
		}
	}
}

// TestOrphansAreReaped: a process that a run left behind falls to the scheduler where that is the first process of a container. Here it is made
// the one that orphans fall to.
func TestOrphansAreReaped(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skip("cannot take orphans: ", err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	c := children(time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Reap(ctx) }()
	var left int
	// Runs that end in between must not lose their exit status to it.
	for range 5 {
		if exit := c.Start(t.Context(), []string{"talk"}, "r", func(string) {}); exit.Code != 3 || exit.Err != nil {
			t.Errorf("%+v", exit)
		}
	}
	if exit := c.Start(t.Context(), []string{"orphan"}, "r", func(line string) { fmt.Sscanf(line, "left %d", &left) }); exit.Code != 0 || left == 0 {
		t.Fatalf("%+v, orphan %d", exit, left)
	}
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(left, 0) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is still in the process table")
		}
	}
	cancel()
	<-done
}

// waitGone waits until the process is dead; one that nobody has reaped yet counts as dead.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return
		}
		if _, rest, ok := strings.Cut(string(stat), ") "); ok && rest[0] == 'Z' {
			return
		}
	}
	syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("process %d is still alive", pid)
}
