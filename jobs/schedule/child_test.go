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
	return &Children{Path: os.Args[0], Env: append(os.Environ(), "SCHEDULE_TEST_CHILD=1"), Grace: grace}
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
	parent.Env = append(os.Environ(), "SCHEDULE_TEST_CHILD=1")
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
