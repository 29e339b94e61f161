package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/jobs/detect"
	"tapedeck/jobs/notify"
	"tapedeck/jobs/report"
	"tapedeck/jobs/schedule"
)

type reportCmd struct {
	windowFlags
	Format   string   `placeholder:"FORMAT" enum:"table,markdown,json,csv,xlsx,html," default:"" help:"table, markdown, json, csv, xlsx or html. The default is what the name of --out ends in, else table."`
	Out      string   `placeholder:"FILE" help:"Write the report to FILE, whole or not at all, instead of standard output."`
	Symbols  []string `placeholder:"LIST" help:"Only these symbols, separated by commas. The default is all on the tape."`
	Sections []string `placeholder:"LIST" help:"Only these sections, separated by commas, in this order. The default is all, and for a table those that fit a terminal."`
	Send     bool     `help:"Send it to the chats of config.yaml that want reports: in short, with a chart and the workbook."`
	queriesFlags
	sessionFlags
	telegramPlace
}

// queriesFlags name the user's own queries.
type queriesFlags struct {
	SQLDir string `name:"sql-dir" key:"sql_dir" placeholder:"DIR" help:"A directory with queries of your own in detect/, report/ and check/; one of the same name takes the place of tapedeck's."`
}

func (*reportCmd) manual() manual {
	return manual{
		about: `The report of a window, the last 24 hours if nothing else is said: for each symbol the trades, open, high, low and close, change, volume, quote volume, VWAP and
the share of taker buys; the top movers; the alerts; and first of all how complete the tape is for the window. Each section is
a query in sql/report; a file of your own in --sql-dir is a section like any other, and config.yaml holds values for parameters under sections. A window without trades gives a report that says so. A workbook has
native charts and each section as a sheet; a page (html) is one file that needs no network.

What --send has sent is remembered for eight days. Where trades were missing and have been fetched since, the next --send of any window also sends
the corrected report with what changed.`,
		examples: []string{
			"tapedeck report --since 24h",
			"tapedeck report --since 7d --out week.xlsx",
			"tapedeck report --since 24h --out today.html",
			"tapedeck report --from 2026-01-15 --to 2026-01-16 --format json",
		},
		exits: []string{
			"0  done",
			"1  failed",
			"3  done, but trades of the window are missing or a section failed",
		},
	}
}

func (c *reportCmd) Run(ctx context.Context, a *app) error {
	format, err := c.format()
	if err != nil {
		return err
	}
	if format == "xlsx" && c.Out == "" && isTerminal(a.stdout) {
		return misuse("a workbook is not for a terminal; say --out report.xlsx")
	}
	for i, symbol := range c.Symbols {
		c.Symbols[i] = strings.ToUpper(strings.TrimSpace(symbol))
	}
	from, to, err := c.window(a.now(), 24*time.Hour)
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
	var box *mailbox
	if c.Send {
		if box, err = a.mailbox(dir, c.telegramPlace); err != nil {
			return err
		}
		if box.chats == 0 {
			a.say("nothing is sent: config.yaml names no chats under telegram")
		}
	}
	options := report.Options{
		From: from, To: to, Symbols: c.Symbols, Sections: c.Sections, Brief: format == "table" && !c.Send, QueriesDir: c.SQLDir, Params: settings.sections,
		Now: a.now(), Threads: c.Threads, MemoryLimit: c.Memory, Logger: a.log,
	}
	looked, err := detect.LookedAt(dir)
	if err != nil {
		a.log.Warn("whether detectors have looked at the window is not known", "error", err)
	}
	options.JudgedKnown = err == nil
	for _, l := range looked {
		options.Judged = append(options.Judged, report.Window{Start: l.From, End: l.Until})
	}
	built, err := report.Build(ctx, dir, options)
	if err != nil {
		var unknown *report.UnknownSectionError
		if errors.As(err, &unknown) {
			return &statusError{exitMisuse, err}
		}
		if c.Send && ctx.Err() == nil {
			err = errors.Join(err, a.sendFailedReport(ctx, box, report.Report{Window: report.Window{Start: from, End: to}, Symbols: c.Symbols}, err))
		}
		return err
	}
	if c.Send {
		if err := a.corrected(dir, built); err != nil {
			return err
		}
	}
	write := map[string]func(io.Writer, *report.Report) error{
		"markdown": report.Markdown, "json": report.JSON, "csv": report.CSV, "xlsx": report.XLSX, "html": report.HTML,
		"table": func(w io.Writer, r *report.Report) error { return report.Table(w, r, a.tableOptions(c.Out)) },
	}[format]
	if c.Out == "" {
		err = write(a.stdout, built)
	} else if err = report.WriteFile(c.Out, func(w io.Writer) error { return write(w, built) }); err == nil {
		a.say("report written to %s", c.Out)
	} else if errors.Is(err, fs.ErrPermission) {
		err = withHint(err, "this process runs as user %d:%d, which may not write there; name another file with --out", os.Getuid(), os.Getgid())
	}
	if err != nil {
		return err
	}
	if c.Send {
		if err := a.sendReport(ctx, box, dir, built); err != nil {
			return err
		}
		if err := a.sendCorrections(ctx, box, dir, built.Window, options); err != nil {
			return err
		}
	}
	a.reportToParent(schedule.Report{WindowStart: from, WindowEnd: to, Message: built.Statements[0].Text})
	if built.Partial() {
		return a.partialReport(dir, built)
	}
	return nil
}

// mostPictures of a report go to a chat; the workbook has all charts.
const mostPictures = 1

// sendReport hands the report to the outbox and sends: in short, with the workbook. One without trades is not sent as if it said something.
// What it said is kept, to be compared when more of the window is known.
func (a *app) sendReport(ctx context.Context, box *mailbox, dir *tape.Dir, built *report.Report) error {
	message := notify.Report{Key: built.Key(), Title: built.Title(), HTML: report.Message(built)}
	switch {
	case built.Empty:
		message.State, message.Why = notify.Empty, built.Statements[0].Text
	case built.Partial():
		message.State, message.Why = notify.Partial, built.Statements[0].Text
	}
	if !built.Empty {
		var workbook bytes.Buffer
		if err := report.XLSX(&workbook, built); err != nil {
			return err
		}
		name := fmt.Sprintf("report-%s.xlsx", built.Window.End.UTC().Format("2006-01-02-1504"))
		message.Documents = []notify.File{{Name: name, Content: workbook.Bytes()}}
		pictures, err := report.Pictures(built, mostPictures)
		if err != nil {
			return err
		}
		for _, picture := range pictures {
			message.Pictures = append(message.Pictures, notify.File{Name: picture.Name + ".png", Caption: picture.Caption, Content: picture.PNG})
		}
	}
	if _, err := box.EnqueueReport(ctx, message, a.now()); err != nil {
		return err
	}
	// Only now: had it been kept before and the process died here, nobody would be told.
	if _, kept, err := report.LastDigest(dir, built.Window, built.Symbols); err != nil || !kept || len(built.Changes) > 0 {
		if err := built.Digest().Save(dir); err != nil {
			return err
		}
	}
	box.send(ctx)
	return nil
}

// sendFailedReport tells those who wait for a report that it could not be made.
func (a *app) sendFailedReport(ctx context.Context, box *mailbox, failed report.Report, cause error) error {
	message := notify.Report{Key: failed.Key() + "/failed", Title: failed.Title(), State: notify.Failed, Why: cause.Error()}
	if _, err := box.EnqueueReport(ctx, message, a.now()); err != nil {
		return err
	}
	box.send(ctx)
	return nil
}

// tableOptions fit a table to the terminal that shows it.
func (a *app) tableOptions(out string) report.TableOptions {
	file, ok := a.stdout.(*os.File)
	if !ok || out != "" || !isTerminal(file) {
		return report.TableOptions{}
	}
	return report.TableOptions{Color: a.env["NO_COLOR"] == "", Width: terminalWidth(file)}
}

// partialReport says what the report lacks.
func (a *app) partialReport(dir *tape.Dir, built *report.Report) error {
	for _, section := range built.Sections {
		if section.Err != nil {
			return partial("section %s of the report: %w", section.Query.Name, section.Err)
		}
	}
	if built.Missing > 0 {
		return withHint(partial("%d trades that belong into the report are not on the tape %q", built.Missing, dir.Path()), "tapedeck backfill fetches them")
	}
	return partial("not all of the report could be had: %s", built.Statements[0].Text)
}

// format is --format, else what the name of --out ends in, else table.
func (c *reportCmd) format() (string, error) {
	if c.Format != "" || c.Out == "" {
		return cmp.Or(c.Format, "table"), nil
	}
	ending := strings.TrimPrefix(strings.ToLower(filepath.Ext(c.Out)), ".")
	byEnding := map[string]string{"md": "markdown", "txt": "table", "json": "json", "csv": "csv", "xlsx": "xlsx", "html": "html", "htm": "html"}
	if format, ok := byEnding[ending]; ok {
		return format, nil
	}
	return "", misuse("what format is %q? Say --format, or end the name in one of %s", c.Out, strings.Join(sortedKeys(byEnding), ", "))
}
