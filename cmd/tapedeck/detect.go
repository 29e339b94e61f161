package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/detect"
	"tapedeck/jobs/notify"
	"tapedeck/jobs/schedule"
)

type detectCmd struct {
	windowFlags
	Detectors []string `name:"detector" placeholder:"NAME" help:"Only these detectors, separated by commas. The default is all."`
	Format    string   `placeholder:"FORMAT" enum:"table,jsonl" default:"table" help:"table, or jsonl: one JSON object per line."`
	DryRun    bool     `help:"Print the alerts, but write neither alerts nor state, and notify nobody."`

	Calibrate      bool     `xor:"mode" help:"Propose thresholds for this tape that keep the --budget. The default window is the last 28 days of the tape. Writes nothing."`
	Budget         *float64 `placeholder:"N" help:"With --calibrate: alerts per day, over all symbols and detectors together. The default is 5."`
	CheckLookahead bool     `name:"check-lookahead" xor:"mode" help:"Check that no detector uses later trades: compare the alerts with those on a tape that ends earlier, at several instants. The default window is the last 24 hours of the tape. Writes nothing."`

	queriesFlags
	sessionFlags
	telegramFlags
}

// checkJob checks what a job of crontab.yaml would fail with each time.
func (c *detectCmd) checkJob(*app) error { return detect.CheckDetectors(c.SQLDir, c.Detectors) }

// sends is true whenever alerts can be found.
func (*detectCmd) sends() bool { return true }

func (c *detectCmd) Run(ctx context.Context, a *app) error {
	budget := 5.0
	if c.Budget != nil {
		budget = *c.Budget
	}
	switch {
	case c.Budget != nil && !c.Calibrate:
		return misuse("--budget needs --calibrate")
	case !(budget > 0):
		return misuse("--budget: %g alerts per day is not more than 0", budget)
	}
	settings, err := a.querySettings(c.SQLDir)
	if err != nil {
		return err
	}
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	options := detect.Options{
		Detectors: c.Detectors, DryRun: c.DryRun, QueriesDir: c.SQLDir, Thresholds: settings.values[analytics.Detect], SymbolThresholds: settings.symbols,
		Now: a.now(), RunID: a.runID("detect"), Threads: int(c.Threads), MemoryLimit: string(c.Memory), Logger: a.log,
	}
	if c.given() {
		window, err := c.window(a.now(), 24*time.Hour)
		if err != nil {
			return err
		}
		options.From, options.To = window.Start, window.End
	}
	switch {
	case c.Calibrate:
		return asMisuse(a.calibrate(ctx, dir, options, budget, c.Format))
	case c.CheckLookahead:
		return asMisuse(a.checkLookAhead(ctx, dir, options))
	}
	return asMisuse(c.detect(ctx, a, dir, options))
}

// detect runs the detectors, prints the alerts and notifies the chats.
func (c *detectCmd) detect(ctx context.Context, a *app, dir *tape.Dir, options detect.Options) error {
	notifier, err := a.newNotifier(ctx, dir, c.telegramFlags, c.SQLDir)
	if err == nil && !c.DryRun {
		err = notifier.checkToken(notify.AlertKind)
	}
	if err != nil {
		return err
	}
	display := a.newProgress()
	display.Begin("detect", 0)
	options.Progress = display
	summary, err := detect.Run(ctx, dir, options)
	display.end()
	if err != nil {
		return err
	}
	if c.Format == "jsonl" {
		err = writeAlertLines(a.stdout, summary.Alerts)
	} else {
		err = writeAlertTable(a.stdout, summary.Alerts, terminalWidth(a.stdout))
	}
	if err != nil {
		return err
	}
	if !c.DryRun {
		now, _ := a.present(dir) // alerts are as old as they are at the exchange
		if _, err := notifier.outbox.EnqueueAlerts(ctx, summary.New, summary.Recent.Incidents, now); err != nil {
			return err
		}
		if _, err := notifier.outbox.EnqueueRecorded(ctx, summary.Recent.Alerts, summary.Recent.Incidents, now); err != nil {
			return err
		}
		notifier.Send(ctx)
	}
	for _, line := range summary.Lines() {
		a.say("%s", line)
	}
	a.reportToParent(schedule.Report{
		Rows: summary.Published.Rows, Bytes: summary.Published.Bytes,
		WindowStart: summary.Judged.Start, WindowEnd: summary.Judged.End, Message: summary.Result(),
	})
	reason, hint := summary.Incomplete()
	switch {
	case reason == "":
		return nil
	case hint == "":
		return partial("%s", reason)
	}
	return withHint(partial("%s", reason), hint)
}

// asMisuse gives an error about the options the exit status of a misuse.
func asMisuse(err error) error {
	var usage *detect.UsageError
	if errors.As(err, &usage) {
		return &statusError{exitMisuse, err}
	}
	return err
}

func minuteText(at time.Time) string { return at.UTC().Format("2006-01-02 15:04") }

// minMessageWidth is how wide the message column must be. On a narrower terminal, the message is on a line of
// its own.
const minMessageWidth = 60

// writeAlertTable prints a table of alerts, fitted to a terminal of that width unless width is 0.
func writeAlertTable(w io.Writer, alerts []tape.Alert, width int) error {
	if len(alerts) == 0 {
		return nil
	}
	if width > 0 {
		return writeFittedAlerts(w, alerts, width)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "AT (UTC)\tSYMBOL\tDETECTOR\tSEVERITY\tSCORE\tMESSAGE")
	for _, alert := range alerts {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.1f\t%s\n", time.UnixMicro(alert.At).UTC().Format(time.DateTime), wording.Name(alert.Symbol),
			wording.Name(alert.Detector), wording.Name(alert.Severity), alert.Score, wording.Visible(alert.Message))
	}
	return table.Flush()
}

func writeFittedAlerts(w io.Writer, alerts []tape.Alert, width int) error {
	symbol, detector := len("SYMBOL"), len("DETECTOR")
	for _, alert := range alerts {
		symbol, detector = max(symbol, utf8.RuneCountInString(wording.Name(alert.Symbol))),
			max(detector, utf8.RuneCountInString(wording.Name(alert.Detector)))
	}
	var out strings.Builder
	writeRow := func(at, name, by, severity, score string) int {
		text := fmt.Sprintf("%-11s  %-*s  %-*s  %-8s  %7s", at, symbol, name, detector, by, severity, score)
		out.WriteString(text)
		return utf8.RuneCountInString(text) + 2
	}
	used := writeRow("AT (UTC)", "SYMBOL", "DETECTOR", "SEVERITY", "SCORE")
	sameLine := width-used >= minMessageWidth
	if sameLine {
		out.WriteString("  MESSAGE")
	}
	out.WriteByte('\n')
	for _, alert := range alerts {
		at, score := time.UnixMicro(alert.At).UTC().Format("01-02 15:04"), fmt.Sprintf("%.1f", alert.Score)
		writeRow(at, wording.Name(alert.Symbol), wording.Name(alert.Detector), wording.Name(alert.Severity), score)
		indent, messageWidth := used, width-used
		if !sameLine {
			out.WriteByte('\n')
			indent, messageWidth = 4, width-4
		}
		for i, part := range wording.Wrap(wording.Visible(alert.Message), messageWidth) {
			if i == 0 && sameLine {
				part = "  " + part
			} else {
				part = strings.Repeat(" ", indent) + part
			}
			out.WriteString(part + "\n")
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// alertLine is one alert of --format jsonl.
type alertLine struct {
	Detector string          `json:"detector"`
	Symbol   string          `json:"symbol"`
	At       time.Time       `json:"at"`
	Score    float64         `json:"score"`
	Severity string          `json:"severity"`
	Message  string          `json:"message"`
	FirstID  int64           `json:"first_id"`
	LastID   int64           `json:"last_id"`
	Extra    json.RawMessage `json:"extra,omitempty"`
}

func writeAlertLines(w io.Writer, alerts []tape.Alert) error {
	lines := make([]alertLine, len(alerts))
	for i, alert := range alerts {
		lines[i] = alertLine{
			alert.Detector, alert.Symbol, time.UnixMicro(alert.At).UTC(), alert.Score, alert.Severity, alert.Message, alert.FirstID, alert.LastID,
			json.RawMessage(alert.Extra),
		}
	}
	return writeJSONLines(w, lines)
}

// writeJSONLines prints each value as JSON on a line.
func writeJSONLines[T any](w io.Writer, values []T) error {
	encoder := json.NewEncoder(wording.JSON(w))
	encoder.SetEscapeHTML(false)
	for _, value := range values {
		if err := encoder.Encode(value); err != nil {
			return err
		}
	}
	return nil
}
