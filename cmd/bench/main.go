// Command bench runs the benchmarks of BENCHMARKS.md several times and rewrites its tables.
//
// A benchmark is an ordinary Go benchmark that measures two things alternately and reports figures under
// its own names. rows.go lists which figures the tables contain and the bars that they must reach. A
// figure that misses its bar is in the table like any other.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/benchtest"
)

func main() { os.Exit(run()) }

func run() int {
	quick := flag.Bool("quick", false, "one run of each except the long ones; prints the table and does not change BENCHMARKS.md")
	only := flag.String("only", "", "only benchmarks whose name contains this; does not change BENCHMARKS.md")
	runs := flag.Int("runs", 5, "number of runs of each benchmark")
	large := flag.Bool("large", false, "only the large benchmarks; writes the second table of BENCHMARKS.md")
	growth := flag.String("growth", "", "only the cost of commands on tapes of so many million trades, such as 1,10,100; "+
		"writes the third table of BENCHMARKS.md and its plot "+growthPicture)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	binaries, err := newBinaries(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer binaries.remove()
	if *growth != "" {
		if err := measureGrowth(ctx, binaries, *growth); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if *quick {
		*runs = 1
	}
	started := time.Now()
	chosen, rows, start := benchmarks(), rows(), tableStart
	if *large {
		chosen, rows, start = largeBenchmarks(), largeRows(), largeStart
	}
	figures := map[string]map[string][]float64{} // by benchmark, by metric
	for _, b := range chosen {
		if *quick && b.long || !strings.Contains(b.name, *only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …", b.id())
		benchmarkStarted := time.Now()
		got, err := b.measure(ctx, binaries, *runs)
		if err != nil {
			fmt.Fprintf(os.Stderr, " %v\n", err)
			return 1
		}
		fmt.Fprintf(os.Stderr, " %.0f s\n", time.Since(benchmarkStarted).Seconds())
		if missing := missingMetric(rows, b, got); missing != "" {
			fmt.Fprintf(os.Stderr, "%s did not report %q\n", b.id(), missing)
			return 1
		}
		figures[b.id()] = got
	}
	table := render(rows, figures, describe(ctx))
	fmt.Print(table)
	fmt.Fprintf(os.Stderr, "everything took %.0f s\n", time.Since(started).Seconds())
	if *quick || *only != "" {
		return 0
	}
	if err := rewrite("BENCHMARKS.md", start, table); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// measure runs the benchmark in a process of its own and returns its metrics.
func (b benchmark) measure(ctx context.Context, built *binaries, runs int) (map[string][]float64, error) {
	count := runs
	if b.runs > 0 {
		runs, count = min(runs, b.runs), min(runs, b.runs)
	}
	if b.turns {
		count = 1
	}
	binary, err := built.testOf(ctx, b.pkg)
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"-test.run", "^$", "-test.bench", "^" + b.name + "$", "-test.benchtime", "1x", "-test.count", strconv.Itoa(count),
		"-test.timeout", "3h",
	}, b.args...)
	command := exec.CommandContext(ctx, binary, args...)
	command.Dir = b.pkg
	command.Env = append(os.Environ(),
		fmt.Sprintf("%s=%d", benchtest.RunsVariable, runs), fmt.Sprintf("%s=%s", benchtest.ProgramVariable, built.program))
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s%s", err, out, stderr.Bytes())
	}
	got := map[string][]float64{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !b.isLine(fields[0]) {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("read %q: %w", lines.Text(), err)
			}
			got[fields[i+1]] = append(got[fields[i+1]], value)
		}
	}
	return got, nil
}

// missingMetric returns a metric that a row needs and the benchmark did not report, or "".
func missingMetric(rows []row, b benchmark, got map[string][]float64) string {
	for _, r := range rows {
		if r.benchmark == b.id() && !r.optional && len(got[r.metric]) == 0 {
			return r.metric
		}
	}
	return ""
}

// median returns the median, the least and the greatest of some values.
func median(values []float64) (middle, least, greatest float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	middle = (sorted[(n-1)/2] + sorted[n/2]) / 2
	return middle, sorted[0], sorted[n-1]
}

// isLine reports whether a name in the output is that of the benchmark or of a sub-benchmark.
func (b benchmark) isLine(name string) bool {
	rest, ok := strings.CutPrefix(name, b.name)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '-')
}

// describe returns the version, the date and the machine of a measurement.
func describe(ctx context.Context) string {
	version := "of unknown version"
	if out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("tapedeck %s, measured %s on %s, %d processors, %s",
		version, time.Now().UTC().Format("2006-01-02"), processor(), runtime.NumCPU(), runtime.Version())
}

// render returns the table of the rows with figures.
func render(rows []row, figures map[string]map[string][]float64, machine string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s. The ratio or figure is the median of the runs; the spread is the least and the greatest.\n\n", machine)
	out.WriteString("| measurement | compared with | ratio or figure | spread | absolute | bar | reached | runs |\n|---|---|---:|---:|---:|---:|---|---|\n")
	for _, r := range rows {
		values := figures[r.benchmark][r.metric]
		if len(values) == 0 {
			continue
		}
		middle, least, greatest := median(values)
		bar, reached := "", ""
		if r.bar != 0 {
			ok, sign := middle >= r.bar, "≥"
			if r.atMost {
				ok, sign = middle <= r.bar, "≤"
			}
			bar, reached = fmt.Sprintf("%s %s", sign, number(r.bar)), "no"
			if ok {
				reached = "yes"
			}
		}
		absolute := ""
		if values := figures[r.benchmark][r.absolute]; len(values) > 0 {
			middle, _, _ := median(values)
			absolute = number(middle) + " " + r.absoluteUnit
		}
		spread := number(least) + " – " + number(greatest)
		runs := strconv.Itoa(len(values))
		if len(values) == 1 {
			spread = ""
		}
		if r.runs != "" {
			runs = r.runs
		}
		fmt.Fprintf(&out, "| %s | %s | %s %s | %s | %s | %s | %s | %s |\n",
			r.label, r.comparison, number(middle), r.unit, spread, absolute, bar, reached, runs)
	}
	return out.String()
}

// number formats a value with three significant digits.
func number(v float64) string {
	switch {
	case v < 0:
		return "-" + number(-v)
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// processor returns the model name of the processor.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}

// measureGrowth measures commands on tapes of several sizes and writes the table and the plot.
func measureGrowth(ctx context.Context, built *binaries, sizes string) error {
	b := growthBenchmark()
	b.args = []string{"-growth", sizes}
	figures, err := b.measure(ctx, built, 1)
	if err != nil {
		return err
	}
	table := renderGrowth(figures, describe(ctx), growthPicture)
	fmt.Print(table)
	if err := os.WriteFile(growthPicture, []byte(drawGrowth(figures)), 0o644); err != nil {
		return err
	}
	return rewrite("BENCHMARKS.md", growthStart, table)
}

// The tables in BENCHMARKS.md are between these lines.
const (
	tableStart    = "<!-- benchmarks: make bench writes what follows -->\n"
	largeStart    = "<!-- large: make bench-large writes what follows -->\n"
	growthStart   = "<!-- growth: make bench-growth writes what follows -->\n"
	tableEnd      = "<!-- end of benchmarks -->\n"
	growthPicture = "cmd/bench/growth.svg"
)

// rewrite replaces the table between start and tableEnd in a file.
func rewrite(path, start, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), start)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !ok || !ended {
		return fmt.Errorf("%s has no lines %q and %q around the table", path, start, tableEnd)
	}
	staged, err := os.CreateTemp(filepath.Dir(path), ".benchmarks-*")
	if err != nil {
		return err
	}
	_, err = staged.WriteString(before + start + "\n" + table + "\n" + tableEnd + after)
	if err := errors.Join(err, staged.Chmod(0o644), staged.Close()); err != nil {
		return errors.Join(err, os.Remove(staged.Name()))
	}
	return os.Rename(staged.Name(), path)
}
