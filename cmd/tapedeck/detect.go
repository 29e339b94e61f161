package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/jobs/detect"
	"tapedeck/jobs/schedule"
)

type detectCmd struct {
	windowFlags
	Detectors []string `name:"detector" placeholder:"NAME" help:"Only these detectors, separated by commas. The default is all."`
	Format    string   `placeholder:"FORMAT" enum:"table,jsonl" default:"table" help:"table, or jsonl: one JSON object a line."`
	DryRun    bool     `help:"Print what would be found; write and remember nothing."`

	Calibrate      bool     `xor:"mode" help:"Propose thresholds for this tape, such that there are --budget alarms a day. The window is the tape's last 28 days unless you say otherwise. Writes nothing."`
	Budget         *float64 `placeholder:"N" help:"With --calibrate: how many alarms a day you want, of all symbols and detectors together; 5 where you do not say."`
	CheckLookahead bool     `name:"check-lookahead" xor:"mode" help:"Prove that no detector knows the future: cut the tape at alerts and between, and compare. The window is the tape's last 24 hours unless you say otherwise. Writes nothing."`

	queriesFlags
	sessionFlags
	telegramFlags
}

func (*detectCmd) manual() manual {
	return manual{
		about: `Runs the detectors over what is new on the tape since the last run, or over the whole minutes of a window, and writes what they find to the table alerts. Each
detector is a query in sql/detect; a file of your own in --sql-dir is a detector like any other, and config.yaml holds thresholds under
detectors, also for some symbols only. An alert is told from the instant at which it could be known: a run over history raises what a live run raised, and running
again adds nothing. A symbol whose ids have a hole that may still be healed waits until it is, and is judged then. What has too little history to be
compared with is not evaluated, which is neither alarm nor all-clear, and detect says so.

Alerts of a symbol less than an hour apart are one incident; detectors that agree raise its severity, and many symbols at once are one
incident of the whole market. That is what chats are told.

Each tape is different. --calibrate takes the highest score of each symbol and day, and of these the quantile that keeps the budget, which
all detectors share equally; it prints what config.yaml would have to say. What it finds in some weeks, try on the next.

--check-lookahead is for detectors of your own: whatever it lists used trades that came after the alert, or depends on where a run began.`,
		examples: []string{
			"tapedeck detect",
			"tapedeck detect --since 7d --detector pump_burst --dry-run",
			"tapedeck detect --format jsonl",
			"tapedeck detect --calibrate --budget 10",
			"tapedeck detect --check-lookahead --sql-dir sql --detector my_crash",
		},
		exits: []string{
			"0  done, whether anything was found or not",
			"1  failed",
			"3  done, but a symbol waits for missing trades, a file could not be read, a detector failed or looks ahead",
		},
	}
}

func (c *detectCmd) Run(ctx context.Context, a *app) error {
	budget := 5.0
	if c.Budget != nil {
		budget = *c.Budget
	}
	switch {
	case c.Budget != nil && !c.Calibrate:
		return misuse("--budget is for --calibrate")
	case !(budget > 0):
		return misuse("--budget: %g alarms a day are no budget; it is more than 0", budget)
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
		Detectors: c.Detectors, DryRun: c.DryRun, QueriesDir: c.SQLDir, Thresholds: settings.detectors, SymbolThresholds: settings.symbols,
		Now: a.now(), RunID: a.runID("detect"), Threads: c.Threads, MemoryLimit: c.Memory, Logger: a.log,
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
	notifier, err := a.newNotifier(dir, c.telegramFlags)
	if err != nil {
		return err
	}
	summary, err := detect.Run(ctx, dir, options)
	if err != nil {
		return asMisuse(err)
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
		if err := a.tellAlerts(ctx, dir, notifier, summary); err != nil {
			return err
		}
	}
	said := fmt.Sprintf("%s, %d of them new", counted(len(summary.Alerts), "alert"), len(summary.New))
	if len(summary.Incidents) > 0 {
		said += ", in " + counted(len(summary.Incidents), "incident")
	}
	if summary.From.IsZero() {
		said = "nothing new to judge"
		a.say("%s", said)
	} else {
		a.say("judged %s from %s to %s: %s", counted(summary.Symbols, "symbol"), minuteText(summary.From), minuteText(summary.To), said)
	}
	for _, incident := range summary.Incidents {
		if incident.Symbol == analytics.AllSymbols {
			a.say("the whole market, %s to %s: %s, %s (%s)", minuteText(incident.StartedAt), minuteText(incident.LastAt), incident.Message, incident.Severity, strings.Join(incident.Detectors, ", "))
		}
	}
	if text := unjudgedText(summary.Unjudged); text != "" {
		a.say("not evaluated: %s", text)
	}
	a.reportToParent(schedule.Report{Rows: summary.Published.Rows, Bytes: summary.Published.Bytes, WindowStart: summary.From, WindowEnd: summary.To, Message: said})
	return a.incompleteDetection(summary)
}

// tellAlerts hands new alerts to the outbox, also those of a run that died before it could, and sends.
func (a *app) tellAlerts(ctx context.Context, dir *tape.Dir, notifier *notifier, summary detect.Summary) error {
	incidents, err := a.incidentsToTell(ctx, dir, summary.OnTape)
	if err != nil {
		return err
	}
	if _, err := notifier.outbox.EnqueueAlerts(ctx, summary.New, incidents, a.now()); err != nil {
		return err
	}
	if _, err := notifier.outbox.EnqueueRecorded(ctx, dir, incidents, a.now()); err != nil {
		return err
	}
	notifier.Send(ctx)
	return nil
}

// incidentsToTell are those that alerts of the last day belong to, if any of them was found just now.
func (a *app) incidentsToTell(ctx context.Context, dir *tape.Dir, symbols int) ([]analytics.Incident, error) {
	const recent = time.Hour
	alerts, err := dir.ReadAlerts(a.now().Add(-25*time.Hour).UTC().Format(time.DateOnly), a.now().UTC().Format(time.DateOnly))
	if err != nil {
		return nil, fmt.Errorf("read the alerts: %w", err)
	}
	if !slices.ContainsFunc(alerts, func(alert tape.Alert) bool { return a.now().Sub(time.UnixMicro(alert.FoundAt)).Abs() <= recent }) {
		return nil, nil
	}
	return analytics.Incidents(ctx, alerts, symbols)
}

// asMisuse gives an error of what was asked for its exit status.
func asMisuse(err error) error {
	var usage *detect.UsageError
	if errors.As(err, &usage) {
		return &statusError{exitMisuse, err}
	}
	return err
}

// unjudgedText says in a line what no detector with a baseline could say anything about.
func unjudgedText(all []detect.Unjudged) string {
	var reasons []string
	for _, reason := range []struct {
		text string
		of   func(detect.Unjudged) int64
	}{
		{"too little of the day before is recorded", func(u detect.Unjudged) int64 { return u.History }},
		{"the exchange itself lacks ids", func(u detect.Unjudged) int64 { return u.Gap }},
	} {
		minutes, symbols := int64(0), []string{}
		for _, u := range all {
			if n := reason.of(u); n > 0 {
				minutes += n
				symbols = append(symbols, u.Symbol)
			}
		}
		if len(symbols) > 0 {
			reasons = append(reasons, fmt.Sprintf("%s of %s, of which %s", counted(int(minutes), "minute"), someNames(symbols), reason.text))
		}
	}
	return strings.Join(reasons, "; ")
}

// someNames lists names, and counts them where they are many.
func someNames(names []string) string {
	const most = 3
	if len(names) <= most+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// incompleteDetection says what a run could not judge.
func (a *app) incompleteDetection(summary detect.Summary) error {
	for _, waiting := range summary.Waiting {
		a.say("%s waits since %s: %s", waiting.Symbol, minuteText(waiting.Since), waiting.Reason)
	}
	for _, broken := range summary.Broken {
		a.say("%s cannot be read: %v", broken.Path, broken.Err)
	}
	if err := a.detectorProblems(summary.Problems); err != nil {
		return err
	}
	switch {
	case len(summary.Broken) > 0:
		return partial("%d of the tape's files could not be read", len(summary.Broken))
	case len(summary.Waiting) > 0:
		return withHint(partial("%d symbols wait for trades that are missing", len(summary.Waiting)), "tapedeck backfill fetches them; the next run goes on from there")
	}
	return nil
}

func minuteText(at time.Time) string { return at.UTC().Format("2006-01-02 15:04") }

// leastMessage is the least room for a message beside what else there is of an alert.
const leastMessage = 60

// writeAlertTable prints alerts, a line each; where a terminal is too narrow for that the message stands below. A width of 0 is no terminal's.
func writeAlertTable(w io.Writer, alerts []tape.Alert, width int) error {
	if len(alerts) == 0 {
		return nil
	}
	if width > 0 {
		return writeAlertsFitted(w, alerts, width)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "AT (UTC)\tSYMBOL\tDETECTOR\tSEVERITY\tSCORE\tMESSAGE")
	for _, alert := range alerts {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", time.UnixMicro(alert.At).UTC().Format("2006-01-02 15:04:05"), alert.Symbol, alert.Detector,
			alert.Severity, strconv.FormatFloat(alert.Score, 'f', 1, 64), alert.Message)
	}
	return table.Flush()
}

func writeAlertsFitted(w io.Writer, alerts []tape.Alert, width int) error {
	symbol, detector := len("SYMBOL"), len("DETECTOR")
	for _, alert := range alerts {
		symbol, detector = max(symbol, utf8.RuneCountInString(alert.Symbol)), max(detector, len(alert.Detector))
	}
	var out strings.Builder
	line := func(at, name, by, severity, score string) int {
		text := fmt.Sprintf("%-11s  %s%s  %-*s  %-8s  %7s", at, name, strings.Repeat(" ", symbol-utf8.RuneCountInString(name)), detector, by, severity, score)
		out.WriteString(text)
		return utf8.RuneCountInString(text) + 2
	}
	used := line("AT (UTC)", "SYMBOL", "DETECTOR", "SEVERITY", "SCORE")
	beside := width-used >= leastMessage
	if beside {
		out.WriteString("  MESSAGE")
	}
	out.WriteByte('\n')
	for _, alert := range alerts {
		line(time.UnixMicro(alert.At).UTC().Format("01-02 15:04"), alert.Symbol, alert.Detector, alert.Severity, strconv.FormatFloat(alert.Score, 'f', 1, 64))
		indent, room := used, width-used
		if !beside {
			out.WriteByte('\n')
			indent, room = 4, width-4
		}
		for i, part := range wrap(alert.Message, room) {
			if i == 0 && beside {
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

// alertLine is an alert as one line of JSON.
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
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, alert := range alerts {
		line := alertLine{alert.Detector, alert.Symbol, time.UnixMicro(alert.At).UTC(), alert.Score, alert.Severity, alert.Message, alert.FirstID, alert.LastID, json.RawMessage(alert.Extra)}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}
