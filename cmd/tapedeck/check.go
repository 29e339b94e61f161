package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/check"
	"tapedeck/jobs/schedule"
)

type checkCmd struct {
	Names []string `arg:"" optional:"" name:"name" help:"Run only these checks."`
	windowFlags
	Set    map[string]string `placeholder:"NAME=VALUE" mapsep:"none" help:"Set a parameter of the checks that have it: --set max_step=5s."`
	Rows   positive          `placeholder:"N" default:"20" help:"Print at most N rows of each check. All are counted."`
	Format string            `placeholder:"FORMAT" enum:"table,json,csv" default:"table" help:"table, json or csv."`
	queriesFlags
	sessionFlags
}

func (*checkCmd) onlyReads() {}

func (c *checkCmd) Run(ctx context.Context, a *app) error {
	options := check.Options{
		Names: c.Names, Rows: int(c.Rows), QueriesDir: c.SQLDir, Arguments: map[string]any{},
		Threads: int(c.Threads), MemoryLimit: string(c.Memory), Logger: a.log,
	}
	for name, value := range c.Set {
		options.Arguments[name] = value
	}
	if c.given() {
		var err error
		if options.Window, err = c.window(a.now(), 24*time.Hour); err != nil {
			return err
		}
	}
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	display := a.newProgress()
	options.Progress = display
	summary, err := check.Run(ctx, dir, options)
	display.end()
	var usage *check.UsageError
	if errors.As(err, &usage) {
		return withHint(&statusError{exitMisuse, err}, "tapedeck queries lists the checks and describes their parameters")
	}
	if err != nil {
		return err
	}
	write := map[string]func(io.Writer, check.Summary) error{
		"table": writeChecks, "json": writeChecksJSON, "csv": writeChecksCSV,
	}[c.Format]
	if err := write(a.results(), summary); err != nil {
		return err
	}
	return a.checkResult(summary)
}

// checkResult prints what went wrong and returns the error with the command's exit status.
func (a *app) checkResult(summary check.Summary) error {
	for _, outcome := range summary.Checks {
		if outcome.Err != nil {
			a.say("%s failed: %v", outcome.Query.Name, outcome.Err)
		}
	}
	for _, problem := range summary.Problems {
		a.say("%v", problem)
	}
	for _, line := range tape.BrokenLines(summary.Broken) {
		a.say("%s", line)
	}
	checks, rows := summary.Found()
	message := "nothing found by " + wording.Count(len(summary.Checks)-summary.Failed()+len(summary.Problems), "check")
	if checks > 0 {
		message = fmt.Sprintf("%s found by %s", wording.Count(rows, "row"), wording.Count(checks, "check"))
	}
	a.reportToParent(schedule.Report{Message: message})
	if summary.Failed() > 0 {
		var reasons []string
		if failed := summary.Failed() - len(summary.Problems); failed > 0 {
			reasons = append(reasons, wording.Count(failed, "check")+" failed")
		}
		if unread := len(summary.Problems); unread > 0 {
			reasons = append(reasons, wording.Count(unread, "file of your own is", "files of your own are")+" no check that runs")
		}
		return fmt.Errorf("%s; %s", strings.Join(reasons, ", and "), message)
	}
	switch {
	case checks > 0:
		return partial("%s", message)
	case len(summary.Broken) > 0:
		reason, hint := tape.BrokenReason(summary.Broken)
		return withHint(partial("%s; %s in the others", reason, message), hint)
	}
	a.say("%s", message)
	return nil
}

// writeChecks writes what each check found, and then the rows.
func writeChecks(w io.Writer, summary check.Summary) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CHECK\tSEVERITY\tROWS")
	for _, outcome := range summary.Checks {
		found := wording.Comma(outcome.Found)
		if outcome.Err != nil {
			found = "failed"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", wording.Name(outcome.Query.Name), outcome.Query.Severity, found)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, outcome := range summary.Checks {
		if outcome.Found == 0 {
			continue
		}
		var rows strings.Builder
		fmt.Fprintf(&rows, "\n%s (%s) %s\n", wording.Name(outcome.Query.Name), outcome.Query.Severity, wording.Visible(summaryOf(outcome.Query)))
		writeRows(&rows, outcome.Result)
		if shown := int64(len(outcome.Result.Rows)); shown < outcome.Found {
			fmt.Fprintf(&rows, "(%s of %s)\n", wording.Comma(shown), wording.Count(outcome.Found, "row"))
		}
		if _, err := io.WriteString(w, rows.String()); err != nil {
			return err
		}
	}
	return nil
}

// checkJSON is one check of --format json.
type checkJSON struct {
	Name     string  `json:"name"`
	Severity string  `json:"severity"`
	Path     string  `json:"path"`
	Found    int64   `json:"found"`
	Rows     []rowOf `json:"rows"`
	Error    string  `json:"error,omitempty"`
}

// rowOf is a row that is written as a JSON object with its columns in their order.
type rowOf struct {
	columns []analytics.Column
	values  []any
}

// MarshalJSON implements json.Marshaler.
func (r rowOf) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, column := range r.columns {
		name, err := json.Marshal(column.Name)
		if err != nil {
			return nil, err
		}
		value := r.values[i]
		if number, ok := value.(float64); ok && (math.IsNaN(number) || math.IsInf(number, 0)) {
			value = nil
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(append(append(name, ':'), text...))
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func writeChecksJSON(w io.Writer, summary check.Summary) error {
	out := []checkJSON{}
	for _, outcome := range summary.Checks {
		one := checkJSON{
			Name: outcome.Query.Name, Severity: outcome.Query.Severity, Path: outcome.Query.Path, Found: outcome.Found, Rows: []rowOf{},
		}
		if outcome.Err != nil {
			one.Error = outcome.Err.Error()
		}
		for _, row := range outcome.Result.Rows {
			one.Rows = append(one.Rows, rowOf{outcome.Result.Columns, row})
		}
		out = append(out, one)
	}
	encoder := json.NewEncoder(wording.JSON(w))
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

// writeChecksCSV writes the rows of all checks. The first columns are the check and its severity, followed
// by every column of any check once.
func writeChecksCSV(w io.Writer, summary check.Summary) error {
	header, index := []string{"check", "severity"}, map[string]int{}
	for _, outcome := range summary.Checks {
		for _, column := range outcome.Query.Columns {
			if _, ok := index[column.Name]; !ok {
				index[column.Name] = len(header)
				header = append(header, wording.Formula(column.Name))
			}
		}
	}
	out := csv.NewWriter(w)
	if err := out.Write(header); err != nil {
		return err
	}
	for _, outcome := range summary.Checks {
		for _, row := range outcome.Result.Rows {
			record := make([]string, len(header))
			record[0], record[1] = wording.Formula(outcome.Query.Name), outcome.Query.Severity
			for i, column := range outcome.Result.Columns {
				record[index[column.Name]] = csvText(row[i])
			}
			if err := out.Write(record); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// csvText returns a value as in a CSV file: empty if it is unknown.
func csvText(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case time.Time:
		return value.UTC().Format(time.RFC3339Nano)
	case string:
		return wording.Formula(value)
	case float64:
		return numberText(value)
	}
	return wording.Formula(fmt.Sprint(value))
}
