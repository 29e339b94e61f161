// Command bench runs the benchmarks of BENCHMARKS.md several times and rewrites its tables.
//
// A benchmark is an ordinary Go benchmark that measures two things alternately and reports figures under
// its own names. rows.go lists which figures the tables contain and the bars that they must reach. A
// figure that misses its bar is in the table like any other.
package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/benchtest"
	"tapedeck/internal/durable"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	quick := flag.Bool("quick", false, "one run of each except the long ones; prints the table and does not change BENCHMARKS.md")
	only := flag.String("only", "", "only benchmarks whose name contains this; does not change BENCHMARKS.md")
	runs := flag.Int("runs", 5, "number of runs of each benchmark")
	large := flag.Bool("large", false, "only the large benchmarks; writes the second table of BENCHMARKS.md")
	growth := flag.String("growth", "", "only the cost of commands on tapes of so many million trades, such as 1,10,100; "+
		"writes the third table of BENCHMARKS.md and its plot "+growthPicture)
	year := flag.Bool("year", false, "only a tape of a year; writes the table of a year in BENCHMARKS.md")
	yearTape := flag.String("year-tape", "", "where the tape of -year is kept; empty: a temporary directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	binaries, err := newBinaries(ctx)
	if err != nil {
		return err
	}
	defer binaries.remove()
	if *growth != "" {
		return measureGrowth(ctx, binaries, *growth)
	}
	if *quick {
		*runs = 1
	}
	chosen, start := benchmarks(), tableStart
	if *large {
		chosen, start = largeBenchmarks(), largeStart
	}
	if *year {
		chosen, start = []*benchmark{yearBenchmark()}, yearStart
		chosen[0].args = append(chosen[0].args, "-wide-tape", *yearTape)
	}
	chosen = slices.DeleteFunc(chosen, func(b *benchmark) bool {
		return *quick && b.long || !strings.Contains(b.name, *only)
	})
	table, err := measureAll(ctx, binaries, chosen, *runs)
	if err != nil || *quick || *only != "" {
		return err
	}
	return rewrite("BENCHMARKS.md", start, table)
}

// measureAll runs the benchmarks, and prints and returns their table.
func measureAll(ctx context.Context, built *binaries, chosen []*benchmark, runs int) (table string, err error) {
	started := time.Now()
	for _, b := range chosen {
		fmt.Fprintf(os.Stderr, "%s … ", b.name)
		benchmarkStarted := time.Now()
		if err := b.measure(ctx, built, runs); err != nil {
			return "", err
		}
		fmt.Fprintf(os.Stderr, "%.0f s\n", time.Since(benchmarkStarted).Seconds())
		for _, r := range b.rows {
			if !r.optional && len(b.figures[r.metric]) == 0 {
				return "", fmt.Errorf("%s did not report %q", b.name, r.metric)
			}
		}
	}
	table = render(chosen, describe(ctx))
	fmt.Print(table)
	fmt.Fprintf(os.Stderr, "everything took %.0f s\n", time.Since(started).Seconds())
	return table, nil
}

// measure runs the benchmark in a process of its own and sets its figures.
func (b *benchmark) measure(ctx context.Context, built *binaries, runs int) error {
	if b.runs > 0 {
		runs = min(runs, b.runs)
	}
	count := 1
	if b.repeated {
		count = runs
	}
	binary, err := built.testOf(ctx, b.pkg)
	if err != nil {
		return err
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
		return fmt.Errorf("%w\n%s%s", err, out, stderr.Bytes())
	}
	b.figures = map[string][]float64{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !b.isLine(fields[0]) {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("read %q: %w", line, err)
			}
			b.figures[fields[i+1]] = append(b.figures[fields[i+1]], value)
		}
	}
	return nil
}

// median returns the median, the least and the greatest of some values.
func median(values []float64) (middle, least, greatest float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	middle = (sorted[(n-1)/2] + sorted[n/2]) / 2
	return middle, sorted[0], sorted[n-1]
}

// isLine reports whether a name in the output is that of the benchmark or of a sub-benchmark.
func (b *benchmark) isLine(name string) bool {
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
func render(benchmarks []*benchmark, machine string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s. The ratio or figure is the median of the runs; the spread is the least and the greatest.\n\n", machine)
	out.WriteString("| measurement | compared with | ratio or figure | spread | absolute | bar | reached | runs |\n|---|---|---:|---:|---:|---:|---|---|\n")
	for _, b := range benchmarks {
		for _, r := range b.rows {
			if values := b.figures[r.metric]; len(values) > 0 {
				r.render(&out, values, b.figures[r.absolute])
			}
		}
	}
	return out.String()
}

func (r row) render(out io.Writer, values, absolutes []float64) {
	middle, least, greatest := median(values)
	bar, reached, absolute, spread := "", "", "", ""
	if limit := cmp.Or(r.atLeast, r.atMost); limit != 0 {
		bar, reached = "≥ "+number(limit), "no"
		if r.atMost != 0 {
			bar = "≤ " + number(limit)
		}
		if r.atLeast != 0 && middle >= limit || r.atMost != 0 && middle <= limit {
			reached = "yes"
		}
	}
	if len(absolutes) > 0 {
		middle, _, _ := median(absolutes)
		absolute = number(middle) + " " + r.absoluteUnit
	}
	if len(values) > 1 {
		spread = number(least) + " – " + number(greatest)
	}
	fmt.Fprintf(out, "| %s | %s | %s %s | %s | %s | %s | %s | %s |\n",
		r.label, r.comparison, number(middle), r.unit, spread, absolute, bar, reached, cmp.Or(r.runs, strconv.Itoa(len(values))))
}

// number formats a value with three significant digits.
func number(v float64) string {
	digits := 2
	switch size := math.Abs(v); {
	case size >= 100:
		digits = 0
	case size >= 10:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
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
	if err := b.measure(ctx, built, 1); err != nil {
		return err
	}
	table := renderGrowth(b.figures, describe(ctx), growthPicture)
	fmt.Print(table)
	if err := durable.WriteContent(growthPicture, drawGrowth(b.figures)); err != nil {
		return err
	}
	return rewrite("BENCHMARKS.md", growthStart, table)
}

// The tables in BENCHMARKS.md are between these lines.
const (
	tableStart    = "<!-- benchmarks: make bench writes what follows -->\n"
	largeStart    = "<!-- large: make bench-large writes what follows -->\n"
	yearStart     = "<!-- year: make bench-year writes what follows -->\n"
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
	return durable.WriteContent(path, before+start+"\n"+table+"\n"+tableEnd+after)
}
