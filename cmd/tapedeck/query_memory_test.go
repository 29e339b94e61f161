package main

import (
	"flag"
	"os"
	"os/exec"
	"testing"

	"tapedeck/internal/benchtest"
)

var queryMillions = flag.Int("query-millions", 4, "millions of trades of BenchmarkQueryAll")

// ofMillions is a tape of so many million trades of 200 symbols, half a million a day.
func ofMillions(millions int) benchTape {
	return benchTape{days: 2 * millions, segments: 2, symbols: 200, rows: 250_000}
}

// BenchmarkQueryAll measures query "FROM trades" of a whole tape, in each format that goes to a file or a
// pipe: the peak of the process's memory and its time.
func BenchmarkQueryAll(b *testing.B) {
	binary, dir := benchtest.Program(b), ofMillions(*queryMillions).create(b)
	benchtest.Turns(b, func(b *testing.B) {
		for _, format := range []string{"table", "csv", "json"} {
			used := benchtest.Run(b, binary, "query", "FROM trades", "--format", format, "--data-dir", dir.Path())
			b.ReportMetric(float64(used.Memory)/1e6, "MB-"+format)
			b.ReportMetric(used.Wall.Seconds(), "s-"+format)
		}
	})
}

// TestMemoryDoesNotGrowWithTheResult: a query of four times the rows takes about the same memory, in every
// format.
func TestMemoryDoesNotGrowWithTheResult(t *testing.T) {
	if testing.Short() {
		t.Skip("writes and reads millions of rows")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("the memory of a process is read from /proc")
	}
	program, err := exec.LookPath("tapedeck") // TestMain puts it there
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOMEMLIMIT", "100MiB")
	small, large := ofMillions(1).create(t), ofMillions(4).create(t)
	for _, format := range []string{"table", "csv", "json"} {
		peak := func(dir string) int64 {
			return benchtest.Run(t, program, "query", "FROM trades", "--format", format, "--memory", "300MB", "--threads", "1", "--data-dir", dir).Memory
		}
		before, after := peak(small.Path()), peak(large.Path())
		t.Logf("%s: %d MB, and %d MB with four times the rows", format, before/1e6, after/1e6)
		if before == 0 || float64(after) > 1.5*float64(before) {
			t.Errorf("%s: the peak of memory grows from %d MB to %d MB with four times the rows", format, before/1e6, after/1e6)
		}
	}
}
