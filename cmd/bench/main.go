// Command bench runs the benchmarks that BENCHMARKS.md is about, several times each, and writes its table anew.
//
// A benchmark is an ordinary Go benchmark that measures two things in turn in one run and reports the figures under names of its own; this command
// knows which figure is held to which bar. What a bar is not met by stands in the table like everything else.
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
	quick := flag.Bool("quick", false, "one run of each, without those that take long; prints the table and leaves BENCHMARKS.md alone")
	only := flag.String("only", "", "only benchmarks whose name contains this; leaves BENCHMARKS.md alone")
	runs := flag.Int("runs", 5, "how many runs of each")
	large := flag.Bool("large", false, "only those that the others do not wait for; writes the second table into BENCHMARKS.md")
	growth := flag.String("growth", "", "only what commands cost on tapes of so many million trades, as in 1,10,100; writes that table and its plot into BENCHMARKS.md and "+growthPicture)
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
	begun := time.Now()
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
		started := time.Now()
		got, err := b.measure(ctx, binaries, *runs)
		if err != nil {
			fmt.Fprintf(os.Stderr, " %v\n", err)
			return 1
		}
		fmt.Fprintf(os.Stderr, " %.0f s\n", time.Since(started).Seconds())
		if missing := unreported(rows, b, got); missing != "" {
			fmt.Fprintf(os.Stderr, "%s reports no %q\n", b.id(), missing)
			return 1
		}
		figures[b.id()] = got
	}
	table := render(rows, figures, describe(ctx))
	fmt.Print(table)
	fmt.Fprintf(os.Stderr, "all of it took %.0f s\n", time.Since(begun).Seconds())
	if *quick || *only != "" {
		return 0
	}
	if err := rewrite("BENCHMARKS.md", start, table); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// measure runs the benchmark in processes of their own and collects its metrics.
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
	args := []string{"-test.run", "^$", "-test.bench", "^" + b.name + "$", "-test.benchtime", "1x", "-test.count", strconv.Itoa(count), "-test.timeout", "3h"}
	args = append(args, b.args...)
	command := exec.CommandContext(ctx, binary, args...)
	command.Dir = b.pkg
	command.Env = append(os.Environ(), fmt.Sprintf("%s=%d", benchtest.RunsVariable, runs), fmt.Sprintf("%s=%s", benchtest.ProgramVariable, built.program))
	var complaint bytes.Buffer
	command.Stderr = &complaint
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s%s", err, out, complaint.Bytes())
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

// unreported is a metric that a row wants and the benchmark did not give.
func unreported(rows []row, b benchmark, got map[string][]float64) string {
	for _, r := range rows {
		if r.benchmark == b.id() && !r.maybe && len(got[r.metric]) == 0 {
			return r.metric
		}
	}
	return ""
}

// median gives the middle, the least and the greatest of some values.
func median(values []float64) (middle, least, greatest float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	middle = (sorted[(n-1)/2] + sorted[n/2]) / 2
	return middle, sorted[0], sorted[n-1]
}

// isLine says whether a line of figures begins with the name of the benchmark or of one within it.
func (b benchmark) isLine(name string) bool {
	rest, ok := strings.CutPrefix(name, b.name)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '-')
}

// describe says where and when something was measured.
func describe(ctx context.Context) string {
	version := "of an unknown version"
	if out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("tapedeck %s, measured %s on %s, %d processors, %s", version, time.Now().UTC().Format("2006-01-02"), processor(), runtime.NumCPU(), runtime.Version())
}

// render makes the table.
func render(rows []row, figures map[string]map[string][]float64, where string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s. The ratio or figure is the median of the runs, the spread is the least and the greatest.\n\n", where)
	out.WriteString("| what | against | ratio or figure | spread | absolute | to reach | reached | runs |\n|---|---|---:|---:|---:|---:|---|---|\n")
	for _, r := range rows {
		values := figures[r.benchmark][r.metric]
		if len(values) == 0 {
			continue
		}
		middle, least, greatest := median(values)
		bar, reached := "", ""
		if r.bar != 0 {
			met := middle >= r.bar
			sign := "≥"
			if r.atMost {
				met, sign = middle <= r.bar, "≤"
			}
			bar, reached = fmt.Sprintf("%s %s", sign, number(r.bar)), "no"
			if met {
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
		fmt.Fprintf(&out, "| %s | %s | %s %s | %s | %s | %s | %s | %s |\n", r.what, r.against, number(middle), r.unit, spread, absolute, bar, reached, runs)
	}
	return out.String()
}

// number shows three digits that count.
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

// processor is the machine's, as it calls itself.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}

// measureGrowth measures on tapes of several sizes, and writes the table and the plot.
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

// The tables stand between these lines, and the plot beside BENCHMARKS.md.
const (
	tableStart    = "<!-- benchmarks: make bench writes what follows -->\n"
	largeStart    = "<!-- large: make bench-large writes what follows -->\n"
	growthStart   = "<!-- growth: make bench-growth writes what follows -->\n"
	tableEnd      = "<!-- end of benchmarks -->\n"
	growthPicture = "cmd/bench/growth.svg"
)

// rewrite puts a table into the file, behind the line at which it starts.
func rewrite(path, start, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), start)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !ok || !ended {
		return fmt.Errorf("%s has no place for the table: it stands between %q and %q", path, start, tableEnd)
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
