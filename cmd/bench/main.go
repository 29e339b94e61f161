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
)

func main() { os.Exit(run()) }

func run() int {
	quick := flag.Bool("quick", false, "one run of each, without those that take long; prints the table and leaves BENCHMARKS.md alone")
	only := flag.String("only", "", "only benchmarks whose name contains this; leaves BENCHMARKS.md alone")
	runs := flag.Int("runs", 5, "how many runs of each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *quick {
		*runs = 1
	}
	figures := map[string]map[string][]float64{} // by benchmark, by metric
	for _, b := range benchmarks() {
		if *quick && b.long || !strings.Contains(b.name, *only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …", b.name)
		started := time.Now()
		got, err := b.measure(ctx, *runs)
		if err != nil {
			fmt.Fprintf(os.Stderr, " %v\n", err)
			return 1
		}
		fmt.Fprintf(os.Stderr, " %.0f s\n", time.Since(started).Seconds())
		figures[b.name] = got
	}
	table := render(figures, *runs)
	fmt.Print(table)
	if *quick || *only != "" {
		return 0
	}
	if err := rewrite("BENCHMARKS.md", table); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// measure runs the benchmark in processes of their own and collects its metrics.
func (b benchmark) measure(ctx context.Context, runs int) (map[string][]float64, error) {
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+b.name+"$", "-benchtime", "1x", "-count", strconv.Itoa(runs), "-timeout", "30m", "./"+b.pkg)
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
		if len(fields) < 4 || !strings.HasPrefix(fields[0], b.name) {
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
	for _, r := range rows() {
		if r.benchmark == b.name && len(got[r.metric]) == 0 {
			return nil, fmt.Errorf("it reports no %q:\n%s", r.metric, out)
		}
	}
	return got, nil
}

// median gives the middle, the least and the greatest of some values.
func median(values []float64) (middle, least, greatest float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	middle = (sorted[(n-1)/2] + sorted[n/2]) / 2
	return middle, sorted[0], sorted[n-1]
}

// render makes the table.
func render(figures map[string]map[string][]float64, runs int) string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured %s on %s, %d processors, %s; the median of %d runs, and between which values they lay.\n\n",
		time.Now().UTC().Format("2006-01-02"), processor(), runtime.NumCPU(), runtime.Version(), runs)
	out.WriteString("| what | against | figure | spread | to reach | reached |\n|---|---|---:|---:|---:|---|\n")
	for _, r := range rows() {
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
		fmt.Fprintf(&out, "| %s | %s | %s %s | %s – %s | %s | %s |\n", r.what, r.against, number(middle), r.unit, number(least), number(greatest), bar, reached)
	}
	return out.String()
}

// number shows three digits that count.
func number(v float64) string {
	switch {
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

// The table stands between these lines.
const (
	tableStart = "<!-- benchmarks: make bench writes what follows -->\n"
	tableEnd   = "<!-- end of benchmarks -->\n"
)

// rewrite puts the table into the file.
func rewrite(path, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableStart)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !ok || !ended {
		return fmt.Errorf("%s has no place for the table: it stands between %q and %q", path, tableStart, tableEnd)
	}
	staged, err := os.CreateTemp(filepath.Dir(path), ".benchmarks-*")
	if err != nil {
		return err
	}
	_, err = staged.WriteString(before + tableStart + "\n" + table + "\n" + tableEnd + after)
	if err := errors.Join(err, staged.Chmod(0o644), staged.Close()); err != nil {
		return errors.Join(err, os.Remove(staged.Name()))
	}
	return os.Rename(staged.Name(), path)
}
