// Package demo shows all of tapedeck on this machine alone: it runs tapedeck's own commands one after
// the other against the stand-in exchange with a simulated market, and compares their results with the
// known contents of that market.
//
// The guarantee: Run returns nil only if the tape is complete and without duplicates, every promised
// incident was found, and at most two other alerts were raised. It changes only files that a demo
// wrote, in a directory of its own.
package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/idset"
	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/standin/market"
	"tapedeck/internal/wording"
)

// Options are a demo's settings.
type Options struct {
	// Dir is the directory of all files; it is created if necessary. One with other files is refused.
	Dir string
	// Binary is the path of tapedeck, Env the environment of its commands.
	Binary string
	Env    []string
	// Seed of the simulated market.
	Seed uint64
	// Live is how long trades are streamed; 0 means 8 s.
	Live time.Duration
	// Now is the clock.
	Now func() time.Time
	// Stdout receives the steps and the report, Stderr the progress of the commands.
	Stdout, Stderr io.Writer
	// Terminal means that Stderr is a terminal, so that commands may draw progress bars.
	Terminal bool
	// Colour enables ANSI sequences: bold headings and faint commands.
	Colour bool
}

// maxUnexplained is how many alerts without an incident a demo may raise.
const maxUnexplained = 2

// marker is the file that identifies a demo's directory.
const marker = ".tapedeck-demo"

const configuration = `# The demo's configuration. tapedeck reads config.yaml in its working directory; the project's
# config.yaml shows all keys.
symbols: ["*"]
`

// Error lists the promises that a demo did not keep.
type Error struct{ Problems []string }

func (e *Error) Error() string { return "the demo failed: " + strings.Join(e.Problems, "; ") }

// Run runs the demo and prints its steps. It takes less than a minute, and ends early if ctx does.
func Run(ctx context.Context, opt Options) error {
	if opt.Live <= 0 {
		opt.Live = 8 * time.Second
	}
	d := &demo{opt: opt, started: opt.Now()}
	// Output is indented below its heading, except progress bars.
	d.results, d.progress = &indented{w: opt.Stdout}, opt.Stderr
	if !opt.Terminal {
		d.progress = &indented{w: opt.Stderr}
	}
	if err := d.prepareDir(); err != nil {
		return err
	}
	stop, err := d.startExchange(ctx)
	if err != nil {
		return fmt.Errorf("start the stand-in exchange: %w", err)
	}
	defer stop()
	for _, step := range []func(context.Context) error{
		d.introduce, d.backfill, d.record, d.heal, d.detect, d.verify, d.compact, d.report,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.conclude(ctx)
}

type demo struct {
	opt      Options
	results  io.Writer // stdout of commands
	progress io.Writer // stderr of commands
	started  time.Time
	until    time.Time // up to which the record is complete: the end of what is detected and reported
	step     int
	problems []string

	// The stand-in exchange: its command, its description, its control interface and its incidents.
	exchangeArgs []string
	description  []string
	exchange     exchange.Client
	incidents    []market.Event
}

// prepareDir creates the directory and deletes the files of an earlier demo. It refuses a directory
// with other files.
func (d *demo) prepareDir() error {
	dir, err := filepath.Abs(d.opt.Dir)
	if err != nil {
		return err
	}
	d.opt.Dir = dir
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("prepare the demo's directory: %w", err)
	case len(entries) > 0:
		if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
			return fmt.Errorf("the directory %q contains files that no demo wrote: choose another one with --dir", dir)
		}
	}
	for _, name := range []string{"data", "config.yaml", "report.xlsx"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("delete the files of the last demo: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create the demo's directory: %w", err)
	}
	for name, content := range map[string]string{marker: "", "config.yaml": configuration} {
		if err := durable.WriteContent(filepath.Join(dir, name), content); err != nil {
			return fmt.Errorf("prepare the demo's directory: %w", err)
		}
	}
	return nil
}

// problem adds a promise that was not kept.
func (d *demo) problem(format string, args ...any) {
	d.problems = append(d.problems, fmt.Sprintf(format, args...))
}

func (d *demo) introduce(context.Context) error {
	d.heading("A stand-in for Binance, with a simulated market", d.exchangeArgs...)
	for _, line := range d.description {
		d.printWrapped("", line)
	}
	if len(d.incidents) == 0 {
		return errors.New("the simulated market has no incidents")
	}
	d.print("It contains these incidents:")
	for _, i := range d.incidents {
		d.printWrapped(fmt.Sprintf("  %s  %-9s ", i.At.Format("01-02 15:04:05"), i.Symbol), i.Note)
	}
	return nil
}

func (d *demo) backfill(ctx context.Context) error {
	// More than the day that is judged, because a detector needs half a day before the first incident.
	args := []string{"backfill", "--since", "25h45m"}
	d.heading("The last day and some, by REST", args...)
	return d.run(ctx, d.results, args...)
}

func (d *demo) heal(ctx context.Context) error {
	missing, _, err := d.tradesMissing(ctx)
	if err != nil {
		return err
	}
	args := []string{"backfill", "--since", "1h"}
	d.heading("Fill the gaps", args...)
	d.printWrapped("", fmt.Sprintf(
		"%s missing: those traded after the backfill and before the stream, and those during the lost connection. "+
			"The stream has ended, so the exchange is asked for what was traded since, too.",
		wording.Count(missing, "trade is", "trades are")))
	d.until = d.opt.Now().UTC().Truncate(time.Second)
	return d.run(ctx, d.results, args...)
}

// lastDay returns the flags of the day before until.
func (d *demo) lastDay() []string {
	return []string{"--since", "24h", "--to", d.until.Format(time.RFC3339)}
}

func (d *demo) detect(ctx context.Context) error {
	args := append([]string{"detect"}, d.lastDay()...)
	d.heading("Detect incidents", args...)
	var lines bytes.Buffer
	if err := d.run(ctx, &lines, append(args, "--format", "jsonl")...); err != nil {
		return err
	}
	alerts, err := readAlerts(&lines)
	if err != nil {
		return err
	}
	result := judge(d.incidents, alerts)
	for _, found := range result.found {
		d.print("found  %-13s %-9s %s after its onset", found.Kind, found.Symbol, roundedDuration(found.delay))
	}
	for _, missed := range result.missed {
		d.print("MISSED %-13s %-9s", missed.Kind, missed.Symbol)
		d.problem("%s in %s was not found", missed.Kind, missed.Symbol)
	}
	for _, other := range result.unexplained {
		d.print("also   %-13s %-9s at %s, without an incident", other.Detector, other.Symbol, other.At.Format("15:04:05"))
	}
	d.print("%s, %d of them without an incident.", wording.Count(len(alerts), "alert"), len(result.unexplained))
	if len(result.unexplained) > maxUnexplained {
		d.problem("%d alerts were raised without an incident", len(result.unexplained))
	}
	return nil
}

func (d *demo) verify(ctx context.Context) error {
	d.heading("Prove that nothing is missing", "verify")
	// The table is as wide as a terminal, so it is not indented.
	if err := d.runPartial(ctx, d.opt.Stdout, "verify"); err != nil {
		return err
	}
	missing, twice, err := d.tradesMissing(ctx)
	if err != nil {
		return err
	}
	if missing > 0 {
		d.problem("%s missing", wording.Count(missing, "trade is", "trades are"))
	}
	if twice > 0 {
		d.problem("%s on the tape twice", wording.Count(twice, "trade is", "trades are"))
	}
	return nil
}

func (d *demo) compact(ctx context.Context) error {
	d.heading("Merge the segments of each day", "compact")
	return d.run(ctx, d.results, "compact")
}

func (d *demo) report(ctx context.Context) error {
	args := append([]string{"report"}, d.lastDay()...)
	workbook := append(slices.Clone(args), "--out", "report.xlsx")
	d.heading("Report, as a workbook and here", workbook...)
	d.printWrapped("", "It covers the day up to when the gaps were filled. A detector that compares with "+
		"the day before cannot judge the first hours, and says so.")
	if err := d.run(ctx, d.results, workbook...); err != nil {
		return err
	}
	fmt.Fprintln(d.opt.Stdout)
	return d.run(ctx, d.opt.Stdout, args...)
}

// conclude prints where the results are, and returns an *Error if a promise was not kept.
func (d *demo) conclude(ctx context.Context) error {
	offences, err := d.exchange.Offences(ctx)
	if err != nil {
		return err
	}
	for offence, times := range offences {
		d.problem("tapedeck committed the offence %s %d times", offence, times)
	}
	dir := d.opt.Dir
	if here, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(here, dir); err == nil && !strings.HasPrefix(short, "..") {
			dir = short
		}
	}
	fmt.Fprintf(d.opt.Stdout, "\n%s\n", d.bold(fmt.Sprintf("Done in %.0f s.", d.opt.Now().Sub(d.started).Seconds())))
	d.print("the tape      %s", filepath.Join(dir, "data", "trades", "date=…", "*.parquet"))
	d.print("the workbook  %s", filepath.Join(dir, "report.xlsx"))
	d.print("more          cd %s && %s query \"SELECT symbol, count(*) FROM trades GROUP BY ALL ORDER BY 2 DESC\"", dir, d.programName())
	if len(d.problems) > 0 {
		return &Error{d.problems}
	}
	return nil
}

// programName returns what a person types in the demo's directory to start this tapedeck.
func (d *demo) programName() string {
	if short, err := filepath.Rel(d.opt.Dir, d.opt.Binary); err == nil && strings.Count(short, "..") <= 2 {
		return short
	}
	return "tapedeck"
}

// tradesMissing returns how many trades are missing and how many are on the tape twice, by verify.
func (d *demo) tradesMissing(ctx context.Context) (missing, twice int64, err error) {
	var text bytes.Buffer
	if err := d.runQuietly(ctx, &text, "verify", "--format", "json"); err != nil {
		return 0, 0, err
	}
	var certificate struct {
		Symbols []struct {
			Missing int64 `json:"missing"`
			Twice   int64 `json:"twice"`
		} `json:"symbols"`
	}
	if err := json.Unmarshal(text.Bytes(), &certificate); err != nil {
		return 0, 0, fmt.Errorf("read the output of verify: %w", err)
	}
	for _, s := range certificate.Symbols {
		missing = idset.Sum(missing, s.Missing)
		twice += s.Twice
	}
	return missing, twice, nil
}

// roundedDuration formats a duration to the second: "1m" instead of "1m0s".
func roundedDuration(d time.Duration) string {
	text := d.Round(time.Second).String()
	if minutes, ok := strings.CutSuffix(text, "m0s"); ok {
		return minutes + "m"
	}
	return text
}
