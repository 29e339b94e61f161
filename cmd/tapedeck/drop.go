package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/idset"
	"tapedeck/internal/strictyaml"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/drop"
	"tapedeck/jobs/schedule"
)

// idList is ids and ranges of ids on the command line: 5,100-200.
type idList idset.Set

func (l *idList) UnmarshalText(text []byte) error {
	var out idset.Set
	for word := range strings.SplitSeq(string(text), ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(word), "-")
		from, err := strconv.ParseInt(first, 10, 64)
		to := from
		if err == nil && isRange {
			to, err = strconv.ParseInt(last, 10, 64)
		}
		if err != nil || from < 0 || to < from {
			return fmt.Errorf("%q is not an id or a range of ids, such as 5 or 100-200", strictyaml.Shorten(word))
		}
		out = out.Add(idset.Range{First: from, Last: to})
	}
	*l = idList(out)
	return nil
}

// exactName is a text in the column symbol, as it is or in double quotes with escapes.
type exactName string

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *exactName) UnmarshalText(text []byte) error {
	*n = exactName(text)
	if unquoted, err := strconv.Unquote(string(text)); err == nil && text[0] == '"' {
		*n = exactName(unquoted)
	}
	if *n == "" {
		return errors.New("the name is empty")
	}
	return nil
}

type dropCmd struct {
	Import     string      `placeholder:"NAME" help:"Remove what an import added: the name of its file, or its run id."`
	Origin     string      `name:"run" placeholder:"ID" help:"Remove what a run added, whatever it was: its run id, as in query and history."`
	Symbols    []string    `placeholder:"LIST" help:"Only these symbols, separated by commas."`
	Symbol     []exactName `sep:"none" placeholder:"NAME" help:"Only this symbol, exactly as the tape has it, also if it is a name that no symbol can have. In double quotes, escapes as verify prints them are understood."`
	NotSymbols bool        `help:"Only the rows whose symbol is a name that no symbol can have; verify lists them."`
	IDs        idList      `name:"ids" placeholder:"LIST" help:"Only these ids of one symbol: 5 or 100-200, separated by commas."`
	OlderThan  length      `placeholder:"DAYS" help:"Remove the trades of whole UTC days that ended at least DAYS ago, such as 400d, or DAYS before the newest trade if that is older than today. Alerts, runs and coverage stay."`
	Detector   string      `placeholder:"NAME" help:"Remove alerts of the detector NAME instead of trades."`
	Conflicts  bool        `help:"Give up conflicts: remove them, and keep the trades on the tape."`
	windowFlags
	Yes    bool `help:"Do not ask."`
	DryRun bool `help:"Print what would be removed, and remove nothing."`
}

func (c *dropCmd) Run(ctx context.Context, a *app) error {
	options, err := c.options(a.now())
	if err != nil {
		return err
	}
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	if !c.DryRun {
		if finished, err := dir.FinishDrop(ctx); err != nil {
			return fmt.Errorf("complete the drop that was interrupted: %w", err)
		} else if finished {
			a.say("completed a drop that was interrupted")
		}
	}
	if c.OlderThan != 0 && a.fixed.IsZero() {
		if err := a.countFromNewest(ctx, dir, &options); err != nil {
			return err
		}
	}
	plan, err := drop.Plan(ctx, dir, options)
	if err != nil {
		return dropHint(err)
	}
	if err := drop.Write(a.stdout, plan); err != nil {
		return err
	}
	if plan.Rows() == 0 || c.DryRun {
		a.reportToParent(schedule.Report{Message: "nothing to remove"})
		return nil
	}
	if !c.Yes {
		if err := a.confirm("remove "+drop.Noun(plan), "nothing was removed"); err != nil {
			return err
		}
	}
	bar := a.newProgress()
	progress := func(done, total int) {
		if done == 0 {
			bar.Begin("drop", int64(total))
		}
		bar.Set("days", int64(done))
	}
	err = drop.Run(ctx, dir, options, plan, a.clock(), a.commandLine(), a.runID("drop"), progress)
	bar.end()
	switch {
	case errors.Is(err, tape.ErrDropping):
		return withHint(err, "wait until it is done; nothing of this one was removed")
	case err != nil && dir.DropPending():
		return withHint(err, "what was printed will be removed: the next tapedeck drop or compact completes it")
	case err != nil:
		return err
	}
	message := "removed " + drop.Noun(plan)
	a.say("%s", message)
	a.reportToParent(schedule.Report{Rows: plan.Rows(), Message: message})
	if reason, hint := tape.BrokenReason(plan.Broken); reason != "" {
		return withHint(partial("%s; what should go may be in it", reason), hint)
	}
	return nil
}

// countFromNewest makes --older-than count from the day of the newest trade on the tape if that is before
// today: a clock that is ahead must not remove what is to be kept.
func (a *app) countFromNewest(ctx context.Context, dir *tape.Dir, options *drop.Options) error {
	newest, err := newestTrade(ctx, dir)
	if err != nil || newest.IsZero() {
		return err
	}
	today, last := a.now().UTC().Truncate(24*time.Hour), newest.UTC().Truncate(24*time.Hour)
	if !last.Before(today) {
		return nil
	}
	options.OlderThan = options.OlderThan.Add(-today.Sub(last))
	if today.Sub(last) > 24*time.Hour {
		a.say("the newest trade is of %s and this machine's clock says %s: --older-than counts from the newest trade, because the clock may be wrong; --now sets the time to count from",
			last.Format(time.DateOnly), today.Format(time.DateOnly))
	}
	return nil
}

// commandLine returns the command line as one would type it.
func (a *app) commandLine() string {
	words := []string{"tapedeck"}
	for _, word := range a.args {
		words = append(words, shellWord(word))
	}
	return strings.Join(words, " ")
}

// shellWord returns a word as one would type it in a shell.
func shellWord(word string) string {
	if word == "" || strings.ContainsAny(word, " *?\"'$&|;<>()") {
		return strconv.Quote(word)
	}
	return word
}

// checkJob checks what a job of crontab.yaml would fail with each time.
func (c *dropCmd) checkJob(*app) error {
	if !c.Yes && !c.DryRun {
		return errors.New("drop asks before it removes anything, and a job has no terminal: add --yes")
	}
	_, err := c.options(time.Now())
	return err
}

// options checks which flags go together.
func (c *dropCmd) options(now time.Time) (drop.Options, error) {
	out := drop.Options{
		Import: c.Import, Run: c.Origin, Symbols: c.Symbols, NotSymbols: c.NotSymbols, IDs: idset.Set(c.IDs), Detector: c.Detector,
		Alerts: c.Detector != "", Conflicts: c.Conflicts,
	}
	if c.Detector != "" {
		queries, _ := analytics.Load("", analytics.Detect)
		for _, query := range queries {
			out.Detectors = append(out.Detectors, query.Name)
		}
	}
	for _, name := range c.Symbol {
		out.Exact = append(out.Exact, string(name))
	}
	symbols := len(c.Symbols) + len(c.Symbol)
	byOrigin := c.Import != "" || c.Origin != ""
	given := func(flag string, is bool) string {
		if is {
			return flag
		}
		return ""
	}
	not := func(with string, others ...string) error {
		for _, other := range others {
			if other != "" {
				return misuse("%s does not go together with %s", with, other)
			}
		}
		return nil
	}
	windowFlag, originFlag := given("a window", c.given()), given("--import or --run", byOrigin)
	switch {
	case len(c.IDs) > 0 && (symbols != 1 || c.NotSymbols):
		return out, misuse("--ids needs --symbols with one symbol: ids are numbered by symbol")
	case !byOrigin && symbols == 0 && !c.NotSymbols && !c.given() && c.OlderThan == 0 && c.Detector == "" && !c.Conflicts:
		return out, withHint(misuse("nothing to remove is named"),
			"name it by --import, --run, --symbol, --symbols, --not-symbols, --from and --to, --older-than, --detector or --conflicts")
	case c.OlderThan != 0:
		if err := not("--older-than", windowFlag, originFlag, given("--ids", len(c.IDs) > 0),
			given("--detector", c.Detector != ""), given("--conflicts", c.Conflicts)); err != nil {
			return out, err
		}
		days := time.Duration(c.OlderThan) / (24 * time.Hour)
		if days*24*time.Hour != time.Duration(c.OlderThan) {
			return out, misuse("--older-than %s is not a number of whole days, such as 400d", c.OlderThan)
		}
		out.OlderThan = now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -int(days))
	case c.Detector != "":
		if err := not("--detector", originFlag, given("--ids", len(c.IDs) > 0), given("--conflicts", c.Conflicts)); err != nil {
			return out, err
		}
	case c.Conflicts:
		if err := not("--conflicts", originFlag); err != nil {
			return out, err
		}
	}
	if !c.given() {
		return out, nil
	}
	var err error
	if out.Window, err = c.window(now, 100*365*24*time.Hour); err != nil {
		return out, err
	}
	if c.From.IsZero() && c.Since == 0 && c.Hours == 0 {
		out.Window.Start = time.Time{} // --to alone
	}
	return out, nil
}

// confirm asks on a terminal whether to do what has been printed. If the answer is not yes, or without a
// terminal, it returns an error that begins with nothing.
func (a *app) confirm(what, nothing string) error {
	if !isTerminal(a.stdin) {
		return withHint(misuse("%s: there is no terminal to ask on", nothing), "--yes does it without asking")
	}
	fmt.Fprintf(a.stderr, "Type yes to %s: ", what)
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(answer) != "yes" {
		return errors.New(nothing + ": the answer was not yes")
	}
	return nil
}

// dropHint adds what there is instead to an error.
func dropHint(err error) error {
	var missing *drop.NotFoundError
	if !errors.As(err, &missing) {
		return err
	}
	hint := ""
	if nearest := wording.Nearest(missing.Name, missing.Known); nearest != "" {
		hint = fmt.Sprintf("did you mean %s?", nearest)
	} else if len(missing.Known) > 0 {
		hint = "there is " + wording.List(missing.Known, 8)
	}
	if missing.Compacted > 0 {
		if hint != "" {
			hint += "; "
		}
		its := "its"
		if missing.Compacted > 1 {
			its = "their"
		}
		hint += fmt.Sprintf("%s cannot say where %s rows came from: name them by --symbols, --from and --to",
			wording.Count(missing.Compacted, "compacted file"), its)
	}
	if hint == "" {
		return misuse("%w", err)
	}
	return withHint(misuse("%w", err), hint)
}
