package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/jobs/backfill"
	"tapedeck/jobs/schedule"
)

type backfillCmd struct {
	windowFlags
	symbolFlags
	feedFlags
	Source string `placeholder:"SOURCE" enum:"auto,rest,archive" default:"auto" help:"auto, rest or archive: where trades come from. auto takes whole past days from the archive where that is quicker, and the rest by REST."`
	DryRun bool   `help:"Print what would be fetched and what it costs; fetch nothing."`
	restPlace
	archivePlace
}

func (*backfillCmd) manual() manual {
	return manual{
		about: `Fetches the trades that a window lacks, and only those: it works out from the ids what is missing, pages it by REST from the first missing
id on, and takes whole past days from the archive where that is quicker. Without a window it heals the holes inside what is on the tape, for
every symbol there. It may run while the stream records, and again after it was ended at any point: it goes on from there. An id that the
exchange itself does not have is recorded as absent, after asking twice. Makes the data directory if there is none.

All commands on one data directory share one request budget, kept below the exchange's limits: 6000 weight a minute to an address. A
request brings 1000 trades; its weight is 4 in the feed aggTrade and 25 in the feed trade.`,
		examples: []string{
			"tapedeck backfill",
			"tapedeck backfill --since 24h",
			"tapedeck backfill --hours 13 --symbols BTCUSDT,ETH*",
			"tapedeck backfill --from 2026-01-01 --to 2026-01-08 --dry-run",
		},
		exits: []string{
			"0  done: nothing that the exchange has is missing from the window",
			"1  failed; a symbol is unknown, the tape cannot be written",
			"3  done, but trades are still missing; a later run may get them",
		},
	}
}

func (c *backfillCmd) Run(ctx context.Context, a *app) error {
	from, to, err := c.bounds(a.now())
	if err != nil {
		return err
	}
	dir, err := a.createTape(c.Feed)
	if err != nil {
		return err
	}
	symbols, err := c.symbols(ctx, a, dir)
	if err != nil {
		return err
	}
	clients := backfill.Connect(dir, backfill.Places{RESTURL: string(c.RestURL), ArchiveURL: string(c.ArchiveURL), Logger: a.log})
	defer clients.Close()
	bar := a.newProgress()
	options := backfill.Options{
		From: from, To: to, Symbols: symbols, Source: backfill.Source(c.Source), Now: a.now(), Run: a.runID("backfill"), Logger: a.log,
		Progress: &backfillProgress{bar},
	}
	plan, err := backfill.Prepare(ctx, dir, clients, options)
	if err != nil {
		return goesOn(ctx, err)
	}
	if c.DryRun {
		if err := writePlan(a.stdout, plan); err != nil {
			return err
		}
		return unplanned(plan)
	}
	summary, err := backfill.Execute(ctx, dir, clients, plan, options)
	bar.end()
	total := summary.Total()
	said := backfillText(total)
	a.say("%s", said)
	a.reportToParent(schedule.Report{Rows: total.Fetched, Bytes: total.Bytes, WindowStart: from, WindowEnd: to, Message: said})
	switch {
	case err != nil:
		return goesOn(ctx, err)
	}
	return stillMissing(summary, c.Source)
}

// goesOn tells of an error of a run that was ended from outside that nothing is lost.
func goesOn(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return withHint(fmt.Errorf("backfill ended early: %w", err), "what was fetched is on the tape; the same command goes on from there")
}

// bounds are the window, both zero where no flag names one.
func (c *backfillCmd) bounds(now time.Time) (from, to time.Time, err error) {
	if !c.given() {
		return from, to, nil
	}
	if c.Since == 0 && c.Hours == 0 && c.From.IsZero() {
		return from, to, misuse("--to is the end of a window that has no start; say --from, --since or --hours too")
	}
	return c.window(now, 24*time.Hour)
}

// symbols are those to fetch. To heal the tape is to heal all of it, also symbols that the configuration no longer has, and what is on the tape is
// also what an earlier run had begun.
func (c *backfillCmd) symbols(ctx context.Context, a *app, dir *tape.Dir) ([]string, error) {
	given := c.Symbols
	if !c.given() && !a.typed("symbols") {
		given = nil
	}
	names, err := a.chooseSymbols(ctx, dir, given)
	if err != nil || len(given) > 0 {
		return names, err
	}
	pending, err := backfill.Pending(dir)
	names = slices.Concat(names, pending)
	slices.Sort(names)
	return slices.Compact(names), err
}

// backfillProgress shows a backfill under way.
type backfillProgress struct{ bar *progress }

func (p *backfillProgress) Planned(plan backfill.Plan) {
	if plan.Missing() == 0 {
		return
	}
	p.bar.line("%s missing: %s", counted(int(plan.Missing()), "trade"), planText(plan))
	p.bar.begin("backfill", plan.Missing())
}

func (p *backfillProgress) Advanced(symbol string, settled, of int64) { p.bar.set(symbol, settled) }

func (p *backfillProgress) Finished(s backfill.SymbolSummary) {
	p.bar.line("%s: %s", s.Symbol, backfillText(s))
	if s.Problem != nil {
		p.bar.line("%s: %v", s.Symbol, s.Problem)
	}
}

// planText is what a plan costs: 3 requests of weight 75 in all, about 1 s.
func planText(plan backfill.Plan) string {
	var parts []string
	if n := plan.Requests(); n > 0 {
		parts = append(parts, fmt.Sprintf("%s (weight %s)", counted(int(n), "request"), grouped(plan.Weight())))
	}
	if n := plan.Days(); n > 0 {
		parts = append(parts, counted(int(n), "archive file"))
	}
	if len(parts) == 0 {
		return "nowhere to get them from yet"
	}
	return strings.Join(parts, ", ") + ", " + aboutText(plan.Duration())
}

// aboutText is a length of time for people.
func aboutText(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "some seconds"
	case d < 2*time.Minute:
		return fmt.Sprintf("about %.0f seconds", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("about %.0f minutes", math.Ceil(d.Minutes()))
	}
	return fmt.Sprintf("about %.1f hours", d.Hours())
}

// backfillText says what was done.
func backfillText(s backfill.SymbolSummary) string {
	if s.Missing == 0 && s.Fetched == 0 && s.Days == 0 {
		return "nothing was missing"
	}
	text := counted(int(s.Fetched), "trade") + " fetched"
	if s.FromArchive > 0 {
		text += fmt.Sprintf(", %s of them from %s", grouped(s.FromArchive), counted(s.Days, "archive file"))
	}
	if s.Cost.Requests > 0 {
		text += fmt.Sprintf(", with %s (weight %s)", counted(int(s.Cost.Requests), "request"), grouped(s.Cost.Weight))
	}
	if s.Absent > 0 {
		text += fmt.Sprintf("; %s do not exist at the exchange", counted(int(s.Absent), "id"))
	}
	return text + fmt.Sprintf("; %s still missing", grouped(s.StillMissing.Count()))
}

// mostSpans bounds the runs of ids that are named.
const mostSpans = 5

// stillMissing is nil if nothing is.
func stillMissing(summary backfill.Summary, source string) error {
	if summary.Complete() && !slices.ContainsFunc(summary.Symbols, func(s backfill.SymbolSummary) bool { return s.Problem != nil }) {
		return nil
	}
	var names []string
	for _, s := range summary.Symbols {
		for _, span := range s.StillMissing {
			names = append(names, fmt.Sprintf("%s %d to %d", s.Symbol, span.First, span.Last))
		}
	}
	if len(names) == 0 {
		return partial("not everything could be looked up")
	}
	if n := len(names) - mostSpans; n > 0 {
		names = append(names[:mostSpans], fmt.Sprintf("and %s more", counted(n, "run")))
	}
	err := partial("still missing: %s", strings.Join(names, ", "))
	if source == string(backfill.ArchiveOnly) {
		return withHint(err, "--source auto takes from REST what the archive lacks")
	}
	return withHint(err, "run it again later; days that REST no longer has come with the archive, some hours after their end")
}

// unplanned is an error where a plan does not cover all that it was to look at.
func unplanned(plan backfill.Plan) error {
	for _, symbol := range plan.Symbols {
		if symbol.Problem != nil {
			return partial("%s: %w", symbol.Symbol, symbol.Problem)
		}
	}
	return nil
}

// writePlan prints what a backfill would do.
func writePlan(w io.Writer, plan backfill.Plan) error {
	if plan.Missing() == 0 && plan.Days() == 0 {
		_, err := fmt.Fprintln(w, "Nothing is missing.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "symbol\tmissing\tholes\tabsent\trequests\tweight\tarchive files\t")
	line := func(name string, p backfill.Plan, holes int, absent int64) {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t\n", name, grouped(p.Missing()), holes, grouped(absent), grouped(p.Requests()), grouped(p.Weight()), grouped(p.Days()))
	}
	holes, absent := 0, int64(0)
	for _, symbol := range plan.Symbols {
		if len(symbol.Missing) > 0 || len(symbol.Days) > 0 {
			line(symbol.Symbol, backfill.Plan{Feed: plan.Feed, Symbols: []backfill.SymbolPlan{symbol}}, len(symbol.Missing), symbol.Absent)
		}
		holes, absent = holes+len(symbol.Missing), absent+symbol.Absent
	}
	if len(plan.Symbols) > 1 {
		line("all", plan, holes, absent)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "It takes %s at %s weight a minute.\n", aboutText(plan.Duration()), grouped(plan.PerMinute))
	return err
}
