// Package benchtest is what the benchmarks of the packages share: turns that are set up for once, and what a process used.
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

// RunsVariable names how often [Turns] takes its turn; cmd/bench sets it.
const RunsVariable = "TAPEDECK_BENCH_RUNS"

// ProgramVariable names the program where it is built already; cmd/bench sets it.
const ProgramVariable = "TAPEDECK_BENCH_PROGRAM"

// Turns measures as often as RunsVariable says, once where it says nothing. What a turn reports stands on a line of its own, so that whoever reads them sees the spread; what
// all turns need is made once, before.
func Turns(b *testing.B, turn func(b *testing.B)) {
	b.Helper()
	for range Runs(b) {
		if !b.Run("turn", turn) {
			return
		}
	}
}

// Runs is how often RunsVariable says to measure.
func Runs(b *testing.B) int {
	b.Helper()
	text := os.Getenv(RunsVariable)
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s is %q: it is how often to measure", RunsVariable, text)
	}
	return n
}

// Program builds the program as make build does, where it is not built already, and gives its path.
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
	if out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "tapedeck/cmd/tapedeck").CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return nil
}

// ProcessorTime is what this process has used of the processors so far. It says more than the clock where others use them too.
func ProcessorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err) // it takes no argument that could be wrong
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// ticks a second in which Linux tells processor times, whatever its own are.
const ticks = 100

// ProcessorTimeOf is what another process has used of the processors so far.
func ProcessorTimeOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skipf("this system does not tell: %v", err)
	}
	// The name in parentheses may hold anything; utime and stime are the 12th and 13th after it.
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

// Resident is a process's resident memory in MB: as it is, and the most that it was. pid 0 is this process.
func Resident(b *testing.B, pid int) (now, most float64) {
	b.Helper()
	if pid == 0 {
		pid = os.Getpid()
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skipf("this system does not tell: %v", err)
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
