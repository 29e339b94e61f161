package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/dustin/go-humanize"

	"tapedeck/internal/durable"
	"tapedeck/internal/lake"
	"tapedeck/internal/lake/request"
	"tapedeck/internal/redact"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/restore"
	"tapedeck/jobs/schedule"
	"tapedeck/jobs/ship"
)

func readSecret(path string) ([]byte, error) { return durable.ReadFile(path, maxSecret) }

// ship ships days.
func (a *app) ship(ctx context.Context, asked request.Request, secrets lake.Secrets) (int, error) {
	dir, err := tape.Open(asked.DataDir)
	if err != nil {
		return exitFailed, err
	}
	l, err := lake.Open(ctx, lake.Config(asked.Lake), secrets, dir.Feed())
	if err != nil {
		return exitFailed, err
	}
	summary, err := ship.Run(ctx, dir, l, ship.Options{
		Now: asked.Now, DryRun: asked.DryRun, AllowShrink: asked.AllowShrink, Run: a.env[schedule.RunIDVariable],
		Logger: a.log, Progress: a,
	})
	message := shipMessage(summary, asked.DryRun)
	for _, r := range summary.Waiting {
		if asked.DryRun || a.terminal {
			a.say("%s waits: %s", r.Date, wording.Visible(r.Text))
		}
	}
	for _, r := range summary.Refused {
		a.say("%s is not shipped: %s", r.Date, wording.Visible(r.Text))
	}
	a.say("%s", message)
	a.say("%s", traffic(summary.Traffic))
	a.report(schedule.Report{Rows: summary.Trades, Bytes: summary.Bytes, Message: message})
	switch {
	case err != nil:
		return exitFailed, err
	case len(summary.Refused) > 0:
		return exitPartial, nil
	}
	return exitDone, nil
}

func shipMessage(s ship.Summary, dry bool) string {
	verb := "shipped"
	if dry {
		verb = "would ship"
	}
	message := fmt.Sprintf("%s %s (%s, %s)", verb, wording.Count(len(s.Added)+len(s.Replaced), "day"),
		wording.Count(s.Trades, "trade"), humanize.Bytes(uint64(s.Bytes)))
	if len(s.Replaced) > 0 {
		message += fmt.Sprintf(", %s of them replaced", wording.Comma(len(s.Replaced)))
	}
	message += fmt.Sprintf("; %s in the lake already", wording.Count(s.Current, "day is", "days are"))
	if s.Alerts > 0 {
		message += fmt.Sprintf("; %s added", wording.Count(s.Alerts, "alert"))
	}
	if len(s.Waiting) > 0 {
		message += fmt.Sprintf("; %s", wording.Count(len(s.Waiting), "day waits", "days wait"))
	}
	if len(s.Refused) > 0 {
		message += fmt.Sprintf("; %s not shipped", wording.Count(len(s.Refused), "day was", "days were"))
	}
	return message
}

func traffic(t lake.Traffic) string {
	return fmt.Sprintf("%s, %s sent, %s received", wording.Count(t.Requests, "request"),
		humanize.Bytes(uint64(t.Uploaded)), humanize.Bytes(uint64(t.Downloaded)))
}

// verify proves the tables.
func (a *app) verify(ctx context.Context, asked request.Request, secrets lake.Secrets) (int, error) {
	l, err := lake.Open(ctx, lake.Config(asked.Lake), secrets, "")
	if err != nil {
		return exitFailed, err
	}
	scratch, err := os.MkdirTemp("", "tapedeck-lake-")
	if err != nil {
		return exitFailed, err
	}
	defer os.RemoveAll(scratch)
	found, err := ship.Verify(ctx, l, asked.From, asked.To, scratch, a)
	if err != nil {
		return exitFailed, err
	}
	a.endLine()
	for _, f := range found.Findings {
		if _, err := fmt.Fprintf(a.stdout, "%s %s: %s\n", f.Date, wording.Name(f.Symbol), wording.Visible(f.Text)); err != nil {
			return exitFailed, err
		}
	}
	verdict := fmt.Sprintf("Proven: %s of %s on %s: every id that coverage names is in the lake once, with the content that was shipped.",
		wording.Count(found.Trades, "trade"), wording.Count(found.SymbolDays, "symbol-day"), wording.Count(found.Dates, "day"))
	status := exitDone
	if len(found.Findings) > 0 {
		verdict = fmt.Sprintf("Not proven: %s on %s.", wording.Count(len(found.Findings), "finding"), wording.Count(found.Dates, "day"))
		status = exitPartial
	} else if found.Dates == 0 {
		verdict = "The lake has no day."
	}
	if _, err := fmt.Fprintln(a.stdout, verdict); err != nil {
		return exitFailed, err
	}
	a.say("%s", traffic(found.Traffic))
	a.report(schedule.Report{Rows: found.Trades, Message: verdict})
	return status, nil
}

// expire removes what no reader needs any more.
func (a *app) expire(ctx context.Context, asked request.Request, secrets lake.Secrets) (int, error) {
	l, err := lake.Open(ctx, lake.Config(asked.Lake), secrets, "")
	if err != nil {
		return exitFailed, err
	}
	snapshots, files, bytes := 0, 0, int64(0)
	for _, name := range []tape.Table{tape.Trades, tape.Coverage, tape.Alerts} {
		removed, err := l.Expire(ctx, name, asked.Grace)
		if err != nil {
			return exitFailed, err
		}
		snapshots, files, bytes = snapshots+removed.Snapshots, files+removed.Files, bytes+removed.Bytes
	}
	message := fmt.Sprintf("removed %s and %s (%s) older than %s", wording.Count(snapshots, "snapshot"),
		wording.Count(files, "object"), humanize.Bytes(uint64(bytes)), wording.Duration(asked.Grace))
	a.say("%s", message)
	a.say("%s", traffic(l.Traffic()))
	a.report(schedule.Report{Bytes: bytes, Message: message})
	return exitDone, nil
}

// restore makes a data directory of days in the lake.
func (a *app) restore(ctx context.Context, asked request.Request, secrets lake.Secrets) (int, error) {
	var patterns []symbol.Pattern
	for _, text := range asked.Symbols {
		pattern, err := symbol.ParsePattern(text)
		if err != nil {
			return exitMisuse, err
		}
		patterns = append(patterns, pattern)
	}
	l, err := lake.Open(ctx, lake.Config(asked.Lake), secrets, "")
	if err != nil {
		return exitFailed, err
	}
	trades, err := l.Read(ctx, tape.Trades)
	if err != nil {
		return exitFailed, err
	}
	if !trades.Exists() {
		return exitFailed, restore.ErrNothing
	}
	dir, err := tape.Create(asked.DataDir, trades.Feed(), asked.Now)
	if err != nil {
		return exitFailed, err
	}
	summary, err := restore.Run(ctx, dir, l, restore.Options{
		From: asked.From, To: asked.To, Symbols: patterns, Now: asked.Now, Run: a.env[schedule.RunIDVariable],
		Logger: a.log, Progress: a,
	})
	message := fmt.Sprintf("restored %s and %s of %s", wording.Count(summary.Trades, "trade"),
		wording.Count(summary.Alerts, "alert"), wording.Count(len(summary.Dates), "day"))
	if summary.Present > 0 {
		message += fmt.Sprintf("; the trades of %s were here already", wording.Count(summary.Present, "day"))
	}
	a.say("%s", message)
	a.say("%s", traffic(summary.Traffic))
	a.report(schedule.Report{Rows: summary.Trades, Message: message})
	if err != nil {
		return exitFailed, err
	}
	if len(summary.Gaps) > 0 {
		a.say("the lake does not have %s: %s", wording.Count(len(summary.Gaps), "day"), wording.List(summary.Gaps, 5))
		return exitPartial, nil
	}
	return exitDone, nil
}

// report sends the results to the scheduler that started the command, if there is one.
func (a *app) report(report schedule.Report) {
	fd, err := strconv.Atoi(a.env[schedule.ReportVariable])
	if err != nil || fd < 3 {
		return
	}
	pipe := os.NewFile(uintptr(fd), "report")
	if pipe == nil {
		return
	}
	defer pipe.Close()
	report.Message = redact.Text(report.Message)
	if err := json.NewEncoder(pipe).Encode(report); err != nil {
		a.log.Warn("run not reported to the scheduler", "error", err)
	}
}
