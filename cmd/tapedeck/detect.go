package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"tapedeck/analytics"
	"tapedeck/analytics/tape"
	"tapedeck/internal/strictyaml"
	"tapedeck/jobs/detect"
	"tapedeck/jobs/schedule"
)

type detectCmd struct {
	windowFlags
	Detectors []string `name:"detector" placeholder:"NAME" help:"Only these detectors, separated by commas. The default is all."`
	Format    string   `placeholder:"FORMAT" enum:"table,jsonl" default:"table" help:"table, or jsonl: one JSON object a line."`
	DryRun    bool     `help:"Print what would be found; write and remember nothing."`
	queriesFlags
	sessionFlags
	telegramPlace
}

func (*detectCmd) manual() manual {
	return manual{
		about: `Runs the detectors over what is new on the tape since the last run, or over the whole minutes of a window, and writes what they find to the table alerts. Each
detector is a query in sql/detect; a file of your own in --sql-dir is a detector like any other, and config.yaml holds thresholds under
detectors. An alert is told from the instant at which it could be known: a run over history raises what a live run raised, and running
again adds nothing. A symbol whose ids have a hole that may still be healed waits until it is, and is judged then.`,
		examples: []string{
			"tapedeck detect",
			"tapedeck detect --since 7d --detector pump_burst --dry-run",
			"tapedeck detect --format jsonl",
		},
		exits: []string{
			"0  done, whether anything was found or not",
			"1  failed",
			"3  done, but a symbol waits for missing trades, a file could not be read or a detector failed",
		},
	}
}

func (c *detectCmd) Run(ctx context.Context, a *app) error {
	thresholds, err := a.thresholds(c.SQLDir)
	if err != nil {
		return err
	}
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	options := detect.Options{
		Detectors: c.Detectors, DryRun: c.DryRun, QueriesDir: c.SQLDir, Thresholds: thresholds, Now: a.now(), RunID: a.runID("detect"),
		Threads: c.Threads, MemoryLimit: c.Memory, Logger: a.log,
	}
	if c.given() {
		if options.From, options.To, err = c.window(a.now(), 24*time.Hour); err != nil {
			return err
		}
	}
	box, err := a.mailbox(dir, c.telegramPlace)
	if err != nil {
		return err
	}
	summary, err := detect.Run(ctx, dir, options)
	var usage *detect.UsageError
	switch {
	case errors.As(err, &usage):
		return &statusError{exitMisuse, err}
	case err != nil:
		return err
	}
	write := writeAlertTable
	if c.Format == "jsonl" {
		write = writeAlertLines
	}
	if err := write(a.stdout, summary.Alerts); err != nil {
		return err
	}
	if !c.DryRun {
		if err := a.tellAlerts(ctx, dir, box, summary.New); err != nil {
			return err
		}
	}
	said := fmt.Sprintf("%d alerts, %d of them new", len(summary.Alerts), len(summary.New))
	if summary.From.IsZero() {
		said = "nothing new to judge"
	} else {
		a.say("judged %d symbols from %s to %s: %s", summary.Symbols, minuteText(summary.From), minuteText(summary.To), said)
	}
	a.reportToParent(schedule.Report{Rows: summary.Published.Rows, Bytes: summary.Published.Bytes, WindowStart: summary.From, WindowEnd: summary.To, Message: said})
	return a.incompleteDetection(summary)
}

// tellAlerts hands new alerts to the outbox, also those of a run that died before it could, and sends.
func (a *app) tellAlerts(ctx context.Context, dir *tape.Dir, box *mailbox, found []tape.Alert) error {
	if _, err := box.EnqueueAlerts(ctx, found, a.now()); err != nil {
		return err
	}
	if _, err := box.EnqueueRecorded(ctx, dir, a.now()); err != nil {
		return err
	}
	box.send(ctx)
	return nil
}

// incompleteDetection says what a run could not judge.
func (a *app) incompleteDetection(summary detect.Summary) error {
	for _, waiting := range summary.Waiting {
		a.say("%s waits since %s: %s", waiting.Symbol, minuteText(waiting.Since), waiting.Reason)
	}
	for _, broken := range summary.Broken {
		a.say("%s cannot be read: %v", broken.Path, broken.Err)
	}
	for _, problem := range summary.Problems {
		a.say("%v", problem)
	}
	switch {
	case len(summary.Problems) > 0:
		return partial("%d detectors could not do their work", len(summary.Problems))
	case len(summary.Broken) > 0:
		return partial("%d of the tape's files could not be read", len(summary.Broken))
	case len(summary.Waiting) > 0:
		return withHint(partial("%d symbols wait for trades that are missing", len(summary.Waiting)), "tapedeck backfill fetches them; the next run goes on from there")
	}
	return nil
}

// thresholds are those of config.yaml, held to the detectors' own headers.
func (a *app) thresholds(sqlDir string) (map[string]map[string]any, error) {
	if len(a.config.detectors) == 0 {
		return nil, nil
	}
	queries, _ := analytics.Load(sqlDir)
	detectors := map[string]analytics.Query{}
	for _, query := range queries {
		if query.Kind == analytics.Detect {
			detectors[query.Name] = query
		}
	}
	out := map[string]map[string]any{}
	for name, wanted := range a.config.detectors {
		query, ok := detectors[name]
		if !ok {
			return nil, misuse("%s: no detector is named %q%s", a.config.place(wanted.line), name, strictyaml.DidYouMean(name, sortedKeys(detectors)))
		}
		out[name] = map[string]any{}
		for param, set := range wanted.params {
			if _, ok := query.Param(param); !ok || param == "window_start" || param == "window_end" {
				known := []string{}
				for _, p := range query.Params {
					if p.Name != "window_start" && p.Name != "window_end" {
						known = append(known, p.Name)
					}
				}
				return nil, misuse("%s: %s has no threshold %q%s", a.config.place(set.line), name, param, strictyaml.DidYouMean(param, known))
			}
			if err := query.CheckArgument(param, set.value); err != nil {
				return nil, misuse("%s: %w", a.config.place(set.line), err)
			}
			out[name][param] = set.value
		}
	}
	return out, nil
}

func minuteText(at time.Time) string { return at.UTC().Format("2006-01-02 15:04") }

func writeAlertTable(w io.Writer, alerts []tape.Alert) error {
	if len(alerts) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "AT (UTC)\tSYMBOL\tDETECTOR\tSEVERITY\tSCORE\tMESSAGE")
	for _, alert := range alerts {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", time.UnixMicro(alert.At).UTC().Format("2006-01-02 15:04:05"), alert.Symbol, alert.Detector,
			alert.Severity, strconv.FormatFloat(alert.Score, 'f', 1, 64), alert.Message)
	}
	return table.Flush()
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
