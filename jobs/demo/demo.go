// Package demo shows all of tapedeck on nothing but this machine: it runs tapedeck's own commands, one after the other, against the stand-in
// exchange with a simulated market, and holds what they did against what is known to lie in that market.
//
// The guarantee: Run returns nil only if the tape that was made is complete, no trade on it twice, every incident of the kinds that tapedeck
// detects was found, and hardly anything else raised an alert. It touches only the files it made itself, in a directory of its own.
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
	"strings"
	"time"
	"unicode/utf8"
)

// Options are a demo's settings.
type Options struct {
	// Dir is where everything goes; it is made if it is not there. One that holds something else is refused.
	Dir string
	// Binary is tapedeck's own file, Env the environment of what is run.
	Binary string
	Env    []string
	// Seed of the simulated market.
	Seed uint64
	// Live is how long trades are streamed; 0 means 8 s.
	Live time.Duration
	// Now is the clock.
	Now func() time.Time
	// Stdout gets the tale and the report, Stderr what the commands say as they go.
	Stdout, Stderr io.Writer
	// Terminal says that Stderr is one, so that commands may draw progress bars.
	Terminal bool
	// Colour writes headings in bold and commands faint, with ANSI sequences.
	Colour bool
}

// mostOthers is how many alerts that nothing was injected for a demo may raise.
const mostOthers = 2

// marker is the file that shows that a directory is a demo's.
const marker = ".tapedeck-demo"

const configuration = `# The demo's configuration; tapedeck finds it where it is started. More keys are in the project's config.yaml.
symbols: ["*"]
`

// Error says what a demo did not keep of what it promises.
type Error struct{ Problems []string }

func (e *Error) Error() string {
	return "the demo did not keep what it promises: " + strings.Join(e.Problems, "; ")
}

// Run runs the demo and tells what it does. It takes less than a minute, and ends earlier if ctx does.
func Run(ctx context.Context, opt Options) error {
	if opt.Live <= 0 {
		opt.Live = 8 * time.Second
	}
	d := &demo{opt: opt, started: opt.Now()}
	// What is not drawn on a terminal is indented below its heading.
	d.results, d.notes = &indented{w: opt.Stdout}, opt.Stderr
	if !opt.Terminal {
		d.notes = &indented{w: opt.Stderr}
	}
	if err := d.prepare(); err != nil {
		return err
	}
	var stop func()
	var err error
	if d.exchange, stop, err = d.startExchange(ctx); err != nil {
		return err
	}
	defer stop()
	for _, step := range []func(context.Context) error{
		d.introduce, d.backfill, d.record, d.heal, d.detect, d.verify, d.compact, d.report,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.end(ctx)
}

type demo struct {
	opt      Options
	results  io.Writer // stdout of commands
	notes    io.Writer // stderr of commands
	started  time.Time
	exchange *exchange
	step     int
	problems []string
}

// prepare makes the directory fresh: what an earlier demo left is deleted, anything else is refused.
func (d *demo) prepare() error {
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
			return fmt.Errorf("the directory %q is not empty and no demo made it: name another one with --dir", dir)
		}
	}
	for _, name := range []string{"data", "config.yaml", "report.xlsx"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("delete what the last demo left: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	for name, content := range map[string]string{marker: "", "config.yaml": configuration} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("make the demo's directory: %w", err)
		}
	}
	return nil
}

// heading begins a step: what it is, and the command that it runs.
func (d *demo) heading(title string, args ...string) {
	d.step++
	command := ""
	if len(args) > 0 {
		command = "  " + d.faint("$ "+commandLine(args))
	}
	fmt.Fprintf(d.opt.Stdout, "\n%s%s\n", d.bold(fmt.Sprintf("%d. %s", d.step, title)), command)
}

// tell writes a line below a heading.
func (d *demo) tell(format string, args ...any) {
	fmt.Fprintf(d.opt.Stdout, "   "+format+"\n", args...)
}

// tellBehind writes text behind a beginning, in as many lines as it takes on a terminal of 80 columns.
func (d *demo) tellBehind(beginning, text string) {
	const width = 80 - 3
	line := beginning
	for _, word := range strings.Fields(text) {
		if n := utf8.RuneCountInString(line); n > len(beginning) && n+1+len(word) > width {
			d.tell("%s", line)
			line = strings.Repeat(" ", len(beginning))
		}
		if utf8.RuneCountInString(line) > len(beginning) {
			line += " "
		}
		line += word
	}
	d.tell("%s", line)
}

func (d *demo) bold(text string) string {
	if !d.opt.Colour {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

func (d *demo) faint(text string) string {
	if !d.opt.Colour {
		return text
	}
	return "\x1b[2m" + text + "\x1b[0m"
}

func (d *demo) fault(format string, args ...any) {
	d.problems = append(d.problems, fmt.Sprintf(format, args...))
}

func (d *demo) introduce(context.Context) error {
	d.heading("A stand-in for Binance, with a simulated market", d.exchange.args...)
	for _, line := range d.exchange.introduction {
		d.tellBehind("", line)
	}
	if len(d.exchange.injected) == 0 {
		return errors.New("the simulated market has no incidents")
	}
	d.tell("Put into it, for detectors to find:")
	for _, i := range d.exchange.injected {
		d.tellBehind(fmt.Sprintf("  %s  %-9s ", i.At.Format("01-02 15:04:05"), i.Symbol), i.Note)
	}
	return nil
}

func (d *demo) backfill(ctx context.Context) error {
	// More than the day that is judged: a detector wants half a day before the first incident.
	args := []string{"backfill", "--hours", "26"}
	d.heading("The day that has passed, by REST", args...)
	return d.run(ctx, d.results, nil, args...)
}

func (d *demo) heal(ctx context.Context) error {
	before, err := d.certificate(ctx)
	if err != nil {
		return err
	}
	args := []string{"backfill"}
	d.heading("Heal", args...)
	d.tellBehind("", grouped(before.missing())+" trades are missing: those from before the stream began, and those from while it was cut off.")
	return d.run(ctx, d.results, nil, args...)
}

func (d *demo) detect(ctx context.Context) error {
	args := []string{"detect", "--since", "24h", "--format", "jsonl"}
	d.heading("Detect what is out of the ordinary", "detect", "--since", "24h")
	var lines bytes.Buffer
	if err := d.run(ctx, &lines, nil, args...); err != nil {
		return err
	}
	alerts, err := readAlerts(&lines)
	if err != nil {
		return err
	}
	verdict := judge(d.exchange.injected, alerts)
	for _, found := range verdict.found {
		d.tell("found  %-13s %-9s %s after its onset", found.Kind, found.Symbol, lasting(found.after))
	}
	for _, missed := range verdict.missed {
		d.tell("MISSED %-13s %-9s", missed.Kind, missed.Symbol)
		d.fault("%s in %s was not found", missed.Kind, missed.Symbol)
	}
	for _, other := range verdict.others {
		d.tell("also   %-13s %-9s at %s: nothing was put in there", other.Detector, other.Symbol, other.At.Format("15:04:05"))
	}
	d.tell("%d alerts in all, %d of them for what was not put in.", len(alerts), len(verdict.others))
	if len(verdict.others) > mostOthers {
		d.fault("%d alerts were raised for what was not put in", len(verdict.others))
	}
	return nil
}

func (d *demo) verify(ctx context.Context) error {
	d.heading("Prove that nothing is missing", "verify")
	// Not indented: the table is as wide as a terminal.
	if err := d.run(ctx, d.opt.Stdout, []int{partly}, "verify"); err != nil {
		return err
	}
	after, err := d.certificate(ctx)
	if err != nil {
		return err
	}
	if n := after.missing(); n > 0 {
		d.fault("%s trades are missing", grouped(n))
	}
	if n := after.twice(); n > 0 {
		d.fault("%s trades stand twice", grouped(n))
	}
	return nil
}

func (d *demo) compact(ctx context.Context) error {
	d.heading("Make few files of many", "compact")
	return d.run(ctx, d.results, nil, "compact")
}

func (d *demo) report(ctx context.Context) error {
	workbook := []string{"report", "--since", "24h", "--out", "report.xlsx"}
	d.heading("Report, as a workbook and here", workbook...)
	if err := d.run(ctx, d.results, nil, workbook...); err != nil {
		return err
	}
	fmt.Fprintln(d.opt.Stdout)
	return d.run(ctx, d.opt.Stdout, nil, "report", "--since", "24h")
}

func (d *demo) end(ctx context.Context) error {
	offences, err := d.exchange.offences(ctx)
	if err != nil {
		return err
	}
	for what, times := range offences {
		d.fault("tapedeck broke the exchange's rule %s %d times", what, times)
	}
	dir := d.opt.Dir
	if here, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(here, dir); err == nil && !strings.HasPrefix(short, "..") {
			dir = short
		}
	}
	fmt.Fprintf(d.opt.Stdout, "\n%s\n", d.bold(fmt.Sprintf("Done in %.0f s.", d.opt.Now().Sub(d.started).Seconds())))
	d.tell("the tape      %s", filepath.Join(dir, "data", "trades", "date=…", "*.parquet"))
	d.tell("the workbook  %s", filepath.Join(dir, "report.xlsx"))
	d.tell("more          cd %s && %s query \"SELECT symbol, count(*) FROM trades GROUP BY ALL ORDER BY 2 DESC\"", dir, d.typed())
	if len(d.problems) > 0 {
		return &Error{d.problems}
	}
	return nil
}

// typed is how a person in the demo's directory starts this tapedeck.
func (d *demo) typed() string {
	if short, err := filepath.Rel(d.opt.Dir, d.opt.Binary); err == nil && strings.Count(short, "..") <= 2 {
		return short
	}
	return "tapedeck"
}

// certificate is what the demo reads of verify --format json.
type certificate struct {
	Symbols []struct {
		Missing int64 `json:"missing"`
		Twice   int64 `json:"twice"`
	} `json:"symbols"`
}

func (c certificate) missing() (n int64) {
	for _, s := range c.Symbols {
		n += s.Missing
	}
	return n
}

func (c certificate) twice() (n int64) {
	for _, s := range c.Symbols {
		n += s.Twice
	}
	return n
}

func (d *demo) certificate(ctx context.Context) (certificate, error) {
	var text bytes.Buffer
	var out certificate
	if err := d.runQuietly(ctx, &text, []int{partly}, "verify", "--format", "json"); err != nil {
		return out, err
	}
	if err := json.Unmarshal(text.Bytes(), &out); err != nil {
		return out, fmt.Errorf("read what verify says: %w", err)
	}
	return out, nil
}

// lasting writes a length of time to the second.
func lasting(d time.Duration) string {
	text := d.Round(time.Second).String()
	if whole, cut := strings.CutSuffix(text, "m0s"); cut {
		return whole + "m"
	}
	return text
}

// grouped writes a number with commas between its thousands.
func grouped(n int64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
