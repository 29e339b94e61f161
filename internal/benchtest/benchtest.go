// Package benchtest helps benchmarks to measure repeatedly after one setup, to build the program, and to
// measure the processor time and the memory of a process.
package benchtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RunsVariable is the environment variable with the number of turns of [Turns]; cmd/bench sets it.
const RunsVariable = "TAPEDECK_BENCH_RUNS"

// ProgramVariable is the environment variable with the path of a program that [Program] need not
// build; cmd/bench sets it.
const ProgramVariable = "TAPEDECK_BENCH_PROGRAM"

// Turns runs turn as a sub-benchmark Runs times. Each turn reports on its own line, so that the spread
// is visible; the setup that the turns share runs once before.
func Turns(b *testing.B, turn func(b *testing.B)) {
	b.Helper()
	for range Runs(b) {
		if !b.Run("turn", turn) {
			return
		}
	}
}

// Runs returns the number of runs in RunsVariable, or 1 if it is not set.
func Runs(b *testing.B) int {
	b.Helper()
	text := os.Getenv(RunsVariable)
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s is %q: want a number above 0", RunsVariable, text)
	}
	return n
}

// Program returns the path of the program in ProgramVariable. If that is not set, it builds the program
// as make build does.
func Program(b *testing.B) string {
	b.Helper()
	if path := os.Getenv(ProgramVariable); path != "" {
		return path
	}
	path := filepath.Join(b.TempDir(), "tapedeck")
	if err := BuildProgram(b.Context(), path); err != nil {
		b.Fatal(err)
	}
	return path
}

// BuildProgram builds the program as make build does.
func BuildProgram(ctx context.Context, path string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "tapedeck/cmd/tapedeck")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return nil
}

// ProcessorTime returns the processor time of this process so far. On a busy machine it is a better
// measure than the clock.
func ProcessorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err) // impossible: both arguments are valid
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// ticks is the number of units a second in which Linux reports processor times.
const ticks = 100

// ProcessorTimeOf returns the processor time of another process so far.
func ProcessorTimeOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skipf("this system has no /proc: %v", err)
	}
	// The name in parentheses may contain spaces; utime and stime are the 12th and 13th field after it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var used time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		used += time.Duration(n) * time.Second / ticks
	}
	return used
}

// Resident returns a process's resident memory in MB: the current one and the maximum. pid 0 means this
// process.
func Resident(b *testing.B, pid int) (now, most float64) {
	b.Helper()
	if pid == 0 {
		pid = os.Getpid()
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skipf("this system has no /proc: %v", err)
	}
	read := func(key string) float64 {
		_, rest, ok := strings.Cut(string(text), "\n"+key+":")
		size, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		kb, err := strconv.ParseFloat(size, 64)
		if !ok || err != nil {
			b.Fatalf("no %s in %s", key, text)
		}
		return kb * 1024 / 1e6
	}
	return read("VmRSS"), read("VmHWM")
}
