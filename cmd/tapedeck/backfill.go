package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
	"tapedeck/jobs/backfill"
	"tapedeck/jobs/schedule"
)

type backfillCmd struct {
	windowFlags
	symbolFlags
	feedFlags
	Source         string `placeholder:"SOURCE" enum:"auto,rest,archive" default:"auto" help:"Where trades come from: auto, rest or archive. auto takes whole past days from the archive if that is faster, and everything else from REST."`
	RestoreDropped bool   `help:"Fetch trades too that were dropped from the tape on purpose."`
	DryRun         bool   `help:"Print what would be fetched and what it costs; fetch nothing."`
	restURLFlag
	archiveURLFlag
}

func (c *backfillCmd) Run(ctx context.Context, a *app) error {
	span, err := c.fetchWindow(a.now())
	if err != nil {
		return err
	}
	dir, err := a.createTape(c.Feed)
	if err != nil {
		return err
	}
	if err := a.waitForFlush(ctx, dir, fetchEnd(span, a.now())); err != nil {
		return hintIfStopped(ctx, err)
	}
	clients := backfill.Connect(dir, backfill.Endpoints{
		RESTURL: string(c.RestURL), ArchiveURL: string(c.ArchiveURL), Logger: a.log,
	})
	defer clients.Close()
	bar := a.newProgress()
	options := backfill.Options{
		Window: span, DefaultSymbols: defaultSymbols(), Source: backfill.Source(c.Source),
		Now: a.now(), Latest: a.latest(), Run: a.runID("backfill"), Logger: a.log, Progress: bar, RestoreDropped: c.RestoreDropped,
	}
	if c.given() || a.givenAsFlag("symbols") { // without a window all gaps on the tape are filled, whatever the configuration lists
		if options.Symbols, err = binance.ParseSymbolList(c.Symbols); err != nil {
			return err
		}
	}
	plan, err := backfill.Prepare(ctx, dir, clients, options)
	if err != nil {
		return hintIfStopped(ctx, err)
	}
	if c.DryRun {
		if err := writePlan(a.stdout, plan); err != nil {
			return err
		}
		if err := planProblem(plan); err != nil {
			return err
		}
		return cmp.Or(a.unanswered(backfill.Summary{Plan: plan}), a.leftOut(plan.Broken), a.hasFuture(plan))
	}
	summary, err := backfill.Execute(ctx, dir, clients, plan, options)
	bar.end()
	total, unanswered := summary.Total(), summary.Unanswered()
	for _, line := range summary.Firsts() {
		a.say("%s", line)
	}
	a.say("%v", summary)
	a.reportToParent(schedule.Report{
		Rows: total.Fetched, Bytes: total.Bytes, WindowStart: span.Start, WindowEnd: span.End, CoveredUntil: summary.CoveredUntil(),
		Message: strings.Join(append([]string{summary.String()}, unanswered...), "; "),
	})
	if err != nil {
		return hintIfStopped(ctx, err)
	}
	a.sayConflicts(total.Conflicts, total.ConflictRows)
	if err := stillMissing(summary, c.Source); err != nil {
		for _, line := range unanswered {
			a.say("%s", line)
		}
		return err
	}
	return cmp.Or(a.unanswered(summary), foundConflicts(total.Conflicts), a.leftOut(plan.Broken), a.hasFuture(plan))
}

// hasFuture returns an error that names the symbols with trades of the future, or nil.
func (a *app) hasFuture(plan backfill.Plan) error {
	if len(plan.Future) == 0 {
		return nil
	}
	for _, future := range plan.Future[1:] {
		a.say("%v", future)
	}
	return withHint(partial("%v", plan.Future[0]), "if this clock is right, remove them: "+plan.Future[0].Drop(plan.Latest))
}

// unanswered returns an error if the exchange has no answer for a part of the window, or nil.
func (a *app) unanswered(summary backfill.Summary) error {
	lines := summary.Unanswered()
	if len(lines) == 0 {
		return nil
	}
	for _, line := range lines[1:] {
		a.say("%s", line)
	}
	return partial("%s", lines[0])
}

// hintIfStopped adds to the error of a run that was stopped that nothing is lost.
func hintIfStopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return withHint(fmt.Errorf("backfill stopped: %w", err),
		"what was fetched is on the tape; run the same command again to continue")
}

// fetchWindow returns the window, the zero value if no flag sets one.
func (c *backfillCmd) fetchWindow(now time.Time) (window.Window, error) {
	if !c.given() {
		return window.Window{}, nil
	}
	if c.Since == 0 && c.Hours == 0 && c.From.IsZero() {
		return window.Window{}, misuse("--to needs a start of the window: add --from, --since or --hours")
	}
	span, err := c.window(now, 24*time.Hour)
	if err == nil && !span.Start.Before(now) {
		return span, misuse("the window from %s to %s lies in the future, it is %s: there is nothing to ask",
			span.Start.Format(time.RFC3339), span.End.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return span, err
}

// fetchEnd returns up to when trades are looked for: now at most, or without a window.
func fetchEnd(span window.Window, now time.Time) time.Time {
	if span.IsEmpty() || span.End.After(now) {
		return now
	}
	return span.End
}

// maxRanges limits the ranges of missing ids that are named.
const maxRanges = 5

// stillMissing returns an error that names what is still missing, or nil.
func stillMissing(summary backfill.Summary, source string) error {
	failed := slices.ContainsFunc(summary.Symbols, func(s backfill.SymbolSummary) bool { return s.Problem != nil })
	if summary.Complete() && !failed {
		return nil
	}
	var ranges []string
	for _, s := range summary.Symbols {
		for _, ids := range s.StillMissing {
			ranges = append(ranges, fmt.Sprintf("%s %d to %d", s.Symbol, ids.First, ids.Last))
		}
	}
	if len(ranges) == 0 {
		return partial("some symbols or days could not be checked")
	}
	err := partial("still missing: %s", wording.List(ranges, maxRanges))
	if source == string(backfill.ArchiveOnly) {
		return withHint(err, "--source auto gets from REST what the archive lacks")
	}
	return withHint(err, "run it again later; a day that REST no longer has appears in the archive some hours after its end")
}

// planProblem returns an error if the plan does not cover everything, or nil.
func planProblem(plan backfill.Plan) error {
	for _, symbol := range plan.Symbols {
		if symbol.Problem != nil {
			return partial("%s: %w", symbol.Symbol, symbol.Problem)
		}
	}
	return nil
}

// writePlan prints what a backfill would fetch.
func writePlan(w io.Writer, plan backfill.Plan) error {
	if plan.Missing() == 0 && plan.Days() == 0 {
		_, err := fmt.Fprintln(w, wording.Visible(fmt.Sprint(backfill.Summary{Plan: plan})))
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "symbol\tmissing\tgaps\tabsent\trequests\tweight\tarchive files\t")
	row := func(name string, p backfill.Plan, gaps int, absent int64) {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t\n",
			wording.Name(name), wording.Comma(p.Missing()), gaps, wording.Comma(absent),
			wording.Comma(p.Requests()), wording.Comma(p.Weight()), wording.Comma(p.Days()))
	}
	gaps, absent := 0, int64(0)
	for _, symbol := range plan.Symbols {
		if len(symbol.Missing) > 0 || len(symbol.Days) > 0 {
			one := backfill.Plan{Feed: plan.Feed, Symbols: []backfill.SymbolPlan{symbol}}
			row(symbol.Symbol.String(), one, len(symbol.Missing), symbol.Absent)
		}
		gaps, absent = gaps+len(symbol.Missing), absent+symbol.Absent
	}
	if len(plan.Symbols) > 1 {
		row("all", plan, gaps, absent)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "It takes %s at %s weight per minute.\n", plan.DurationText(), wording.Comma(plan.PerMinute))
	return err
}
