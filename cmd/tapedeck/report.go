package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/durable"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/notify"
	"tapedeck/jobs/report"
	"tapedeck/jobs/schedule"
)

type reportCmd struct {
	windowFlags
	Format   string      `placeholder:"FORMAT" enum:"table,markdown,json,csv,xlsx,html," default:"" help:"table, markdown, json, csv, xlsx or html. The default follows from the extension of --out, and is table without --out."`
	Out      string      `placeholder:"FILE" help:"Write the report to FILE instead of standard output. FILE is replaced only if the report succeeds."`
	Symbols  []givenName `placeholder:"LIST" help:"Only these symbols, separated by commas. The default is all symbols on the tape."`
	Sections []string    `placeholder:"LIST" help:"Only these sections, separated by commas, in this order. The default is all sections; for a table, those that fit a terminal."`
	Send     bool        `help:"Send a summary, a chart and the workbook to the chats in config.yaml that receive reports."`
	queriesFlags
	sessionFlags
	telegramFlags
}

// queriesFlags select the user's own queries.
type queriesFlags struct {
	SQLDir string `name:"sql-dir" key:"sql_dir" placeholder:"DIR" help:"Directory with your own queries in detect/, report/, check/, cookbook/ and summary/. A query with the name of a built-in one replaces it."`
}

func (c *reportCmd) Run(ctx context.Context, a *app) error {
	format, err := c.format()
	if err != nil {
		return err
	}
	if format == "xlsx" && c.Out == "" && isTerminal(a.stdout) {
		return misuse("a workbook cannot be written to a terminal; use --out report.xlsx")
	}
	if err := a.checkOutput(c.Out); err != nil {
		return err
	}
	symbols := namesOf(c.Symbols)
	reported, err := c.window(a.now(), 24*time.Hour)
	if err != nil {
		return err
	}
	settings, err := a.querySettings(c.SQLDir)
	if err != nil {
		return err
	}
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	var notifier *notifier
	if c.Send {
		notifier, err = a.newNotifier(ctx, dir, c.telegramFlags, c.SQLDir)
		if err == nil {
			err = notifier.checkReports()
		}
		if err != nil {
			return err
		}
	}
	a.warnOfSkew(dir, c.windowFlags)
	if err := a.waitForRecord(ctx, dir, reported.End, symbols); err != nil {
		return err
	}
	options := report.Options{Window: reported, Symbols: symbols, Sections: c.Sections, Brief: format == "table" && !c.Send,
		QueriesDir: c.SQLDir, Params: settings.values[analytics.Report],
		Now: a.now(), Latest: a.latest(), Threads: int(c.Threads), MemoryLimit: string(c.Memory), Logger: a.log,
	}
	building := a.newProgress()
	building.Begin("report", 0)
	options.Progress = building
	built, err := report.Build(ctx, dir, options)
	building.end()
	if err != nil {
		var unknown *report.UnknownSectionError
		if errors.As(err, &unknown) {
			return &statusError{exitMisuse, err}
		}
		if c.Send && ctx.Err() == nil {
			failed := report.Report{Window: reported, Symbols: symbols}
			err = errors.Join(err, notifier.sendFailure(ctx, failed, err))
		}
		return err
	}
	if c.Send {
		if err := built.CorrectLast(dir); err != nil {
			a.log.Warn("last report not compared: its digest cannot be read", "error", err.Error())
		}
	}
	if err := a.writeReport(ctx, built, format, c.Out); err != nil {
		return err
	}
	if c.Send {
		if err := report.Send(ctx, dir, built, options, notifier); err != nil {
			return err
		}
	}
	// A window was reported on even if it is not complete: the report says so, and the next one corrects it.
	a.reportToParent(schedule.Report{
		WindowStart: reported.Start, WindowEnd: reported.End, CoveredUntil: reported.End, Message: built.Statements[0].Text,
	})
	var refused error
	if notifier != nil {
		refused = notifier.refused()
	}
	if built.Partial() {
		if refused != nil {
			a.say("%v", refused)
		}
		return partialReportError(dir, built)
	}
	return refused
}

// writeReport writes a report to the file out, or to standard output if out is empty.
func (a *app) writeReport(ctx context.Context, built *report.Report, format, out string) error {
	write := map[string]func(io.Writer, *report.Report) error{
		"markdown": report.Markdown, "json": report.JSON, "csv": report.CSV, "xlsx": report.XLSX, "html": report.HTML,
		"table": func(w io.Writer, r *report.Report) error { return report.Table(w, r, a.tableOptions(out)) },
	}[format]
	if out == "" && format == "csv" {
		return write(a.results(), built)
	}
	if out == "" {
		return write(a.stdout, built)
	}
	if err := durable.WriteFile(ctx, out, func(w io.Writer) error { return write(w, built) }); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = withHint(err, fmt.Sprintf("this process runs as user %d:%d, which may not write there; name another file with --out",
				os.Getuid(), os.Getgid()))
		}
		return err
	}
	a.say("report written to %s", out)
	return nil
}

// sendFailure sends a message that a report could not be built.
func (n *notifier) sendFailure(ctx context.Context, failed report.Report, cause error) error {
	message := notify.Report{Key: failed.Key() + "/failed", Title: failed.Title(), State: notify.Failed,
		Reason: cause.Error()}
	if _, err := n.outbox.EnqueueReport(ctx, message, n.app.now()); err != nil {
		return err
	}
	n.Send(ctx)
	return nil
}

// tableOptions fit a table to the terminal on which it is shown.
func (a *app) tableOptions(out string) report.TableOptions {
	if out != "" || !isTerminal(a.stdout) {
		return report.TableOptions{}
	}
	return report.TableOptions{Color: a.env["NO_COLOR"] == "", Width: terminalWidth(a.stdout)}
}

// partialReportError describes what a report lacks.
func partialReportError(dir *tape.Dir, built *report.Report) error {
	for _, section := range built.Sections {
		if section.Err != nil {
			return partial("section %s of the report: %w", section.Query.Name, section.Err)
		}
	}
	if slices.ContainsFunc(built.Broken, tape.BrokenSegment.IsStray) {
		reason, hint := tape.BrokenReason(built.Broken)
		return withHint(partial("%s", reason), hint)
	}
	const toMillisecond = "2006-01-02T15:04:05.999Z07:00"
	window := fmt.Sprintf("tapedeck backfill --from %s --to %s", built.Window.Start.Format(toMillisecond),
		built.Window.End.Add(time.Millisecond-time.Nanosecond).Format(toMillisecond)) // not less than the window
	if built.Missing > 0 {
		missing := wording.Count(built.Missing, "id")
		return withHint(partial("the tape %q lacks %s of the window", dir.Path(), missing), window+" fetches what the exchange has")
	}
	err := partial("the report is not complete: %s", strings.ReplaceAll(built.Statements[0].Text, "`", ""))
	if built.EndsUnknown() && built.Unread == 0 {
		return withHint(err, window+" asks the exchange")
	}
	return err
}

// formatsByExtension are the formats that the extension of --out implies.
var formatsByExtension = map[string]string{"md": "markdown", "txt": "table", "json": "json", "csv": "csv", "xlsx": "xlsx",
	"html": "html", "htm": "html"}

// format returns --format, or the format that the extension of --out implies, or table. The two must
// not contradict each other, except that any text fits into a .txt.
func (c *reportCmd) format() (string, error) {
	extension := strings.TrimPrefix(strings.ToLower(filepath.Ext(c.Out)), ".")
	implied := formatsByExtension[extension]
	isText := extension == "txt" && c.Format != "xlsx"
	switch {
	case c.Format != "" && implied != "" && c.Format != implied && !isText:
		return "", misuse("--format %s contradicts --out %q, whose extension means %s", c.Format, c.Out, implied)
	case c.Format != "" || c.Out == "":
		return cmp.Or(c.Format, "table"), nil
	case implied == "":
		return "", misuse("unknown format of %q: set --format, or use one of the extensions %s", c.Out,
			strings.Join(slices.Sorted(maps.Keys(formatsByExtension)), ", "))
	}
	return implied, nil
}

// checkJob checks what a job of crontab.yaml would fail with each time.
func (c *reportCmd) checkJob(a *app) error {
	if _, err := c.format(); err != nil {
		return err
	}
	if tape.Owns(a.dataDir, c.Out) {
		return outIsTape(c.Out, a.dataDir)
	}
	return report.CheckSections(c.SQLDir, c.Sections)
}

func (c *reportCmd) sends() bool { return c.Send }
