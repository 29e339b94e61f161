package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tapedeck/analytics"
	"tapedeck/internal/durable"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

type queryCmd struct {
	SQL    string            `arg:"" optional:"" name:"sql" placeholder:"SQL" help:"One statement that reads. Without it, or with -, it is read from standard input."`
	File   string            `placeholder:"FILE" help:"Read the statement from FILE: one of sql/cookbook, or your own."`
	Set    map[string]string `placeholder:"NAME=VALUE" mapsep:"none" help:"Set a variable that the statement reads with getvariable: --set symbol=ETHUSDT --set since=2026-01-15."`
	Format string            `placeholder:"FORMAT" enum:"table,csv,json,parquet" default:"table" help:"table, csv, json or parquet."`
	Raw    bool              `help:"With --format csv: write texts as they are. Without it, one that a spreadsheet would take for a formula (= + - @) begins with an apostrophe."`
	sessionFlags
}

// sessionFlags limit the resources of a DuckDB session.
type sessionFlags struct {
	Threads positive   `key:"threads" placeholder:"N" help:"Threads that a query may use. The default is one per core, at most one for each 256 MB of memory."`
	Memory  memorySize `key:"memory" placeholder:"SIZE" help:"Memory that a query may use, for example 512MB or 2GB. What does not fit goes to disk. The default is 80 % of the memory that the machine or the container has, less if other processes use it."`
}

func (*queryCmd) noNow() string { return "it does not use the time" }

func (c *queryCmd) Run(ctx context.Context, a *app) error {
	text := c.SQL
	switch {
	case c.File != "" && text != "":
		return misuse("give a statement or --file, not both")
	case c.File != "":
		content, err := durable.ReadFile(c.File, maxConfig)
		if err != nil {
			return fmt.Errorf("read the statement: %w", err)
		}
		text = string(content)
	case text == "" || text == "-":
		if isTerminal(a.stdin) {
			a.say("reading SQL from standard input; end it with Ctrl-D")
		}
		input, err := io.ReadAll(a.stdin)
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		text = string(input)
	}
	if c.Format == "parquet" && isTerminal(a.stdout) {
		return misuse("parquet cannot be shown on a terminal; redirect it to a file: > result.parquet")
	}
	if c.Raw && c.Format != "csv" {
		return misuse("--raw needs --format csv")
	}
	if err := checkVariables(text, c.Set); err != nil {
		return err
	}
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	session, err := analytics.Open(ctx, dir, analytics.Options{
		Threads: int(c.Threads), MemoryLimit: string(c.Memory), Variables: c.Set, Macros: true, Logger: a.log,
	})
	if err != nil {
		return err
	}
	defer session.Close()
	running := a.newProgress()
	running.Begin("running the statement", 0)
	defer running.end()
	output := running.output(a.results())
	if c.Format == "table" {
		var result analytics.Result
		if result, err = session.SQL(ctx, text); err == nil {
			err = writeTable(output, result)
		}
	} else {
		format := analytics.Format(c.Format)
		if c.Raw && format == analytics.CSV {
			format = analytics.RawCSV
		}
		err = session.Export(ctx, text, format, output)
	}
	if err != nil {
		var refused *analytics.RefusedError
		if errors.As(err, &refused) {
			err = &statusError{exitMisuse, err}
			switch {
			case refused.HasParameters:
				return withHint(err, "a check with parameters is run by tapedeck check NAME --set PARAMETER=VALUE; "+
					"a statement of your own reads variables: getvariable('name') with --set name=VALUE")
			case refused.Error() == "there is no statement":
				return withHint(err, "for example: tapedeck query 'SELECT count(*) FROM trades'")
			}
			return err
		}
		return fmt.Errorf("run the statement: %w", err)
	}
	return a.reportBroken(session)
}

// variableUse matches a variable that a statement reads.
var variableUse = regexp.MustCompile(`(?i)getvariable\(\s*'([^']+)'`)

// checkVariables returns an error for a --set of a variable that the statement does not read.
func checkVariables(text string, set map[string]string) error {
	var read []string
	for _, match := range variableUse.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(read, match[1]) {
			read = append(read, match[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if !regexp.MustCompile(`^\w+$`).MatchString(name) {
			return misuse("--set: %q is not the name of a variable: use lower_snake_case", name)
		}
		if slices.ContainsFunc(read, func(known string) bool { return strings.EqualFold(known, name) }) {
			continue
		}
		if len(read) == 0 {
			return misuse("--set %s: the statement reads no variables; it would with getvariable('%s')", name, name)
		}
		return misuse("--set %s: the statement does not read this variable; it reads %s", name, strings.Join(read, ", "))
	}
	return nil
}

// reportBroken prints the files that the session left out. If there are any, the result is partial.
func (a *app) reportBroken(session *analytics.Session) error {
	return a.leftOut(session.Broken())
}

// leftOut prints the files of the tape that were left out. If there are any, the result is partial.
func (a *app) leftOut(broken []tape.BrokenSegment) error {
	for _, line := range tape.BrokenLines(broken) {
		a.say("%s", line)
	}
	if reason, hint := tape.BrokenReason(broken); reason != "" {
		return withHint(partial("%s", reason), hint)
	}
	return nil
}

// writeTable prints a result as a table, and the number of its rows.
func writeTable(w io.Writer, result analytics.Result) error {
	var out strings.Builder
	writeRows(&out, result)
	fmt.Fprintf(&out, "(%d %s)\n", len(result.Rows), wording.Noun(len(result.Rows), "row"))
	_, err := io.WriteString(w, out.String())
	return err
}

// writeRows writes the rows of a result as a table. Numbers are right-aligned and times are UTC.
func writeRows(out *strings.Builder, result analytics.Result) {
	header := make([]string, len(result.Columns))
	right := make([]bool, len(result.Columns))
	width := make([]int, len(result.Columns))
	for i, column := range result.Columns {
		header[i] = wording.Name(column.Name)
	}
	cells := append(make([][]string, 0, len(result.Rows)+1), header)
	for _, row := range result.Rows {
		line := make([]string, len(row))
		for i, value := range row {
			line[i] = cellText(value)
			switch value.(type) {
			case int64, float64:
				right[i] = true
			}
		}
		cells = append(cells, line)
	}
	for _, line := range cells {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range cells {
		for i, cell := range line {
			padding := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				out.WriteString("  ")
			}
			switch {
			case right[i]:
				out.WriteString(padding + cell)
			case i < len(line)-1:
				out.WriteString(cell + padding)
			default:
				out.WriteString(cell)
			}
		}
		out.WriteByte('\n')
	}
}

// cellText returns a value on one line.
func cellText(value any) string {
	switch value := value.(type) {
	case time.Time:
		if value.Equal(value.Truncate(24 * time.Hour)) {
			return value.Format(time.DateOnly)
		}
		return value.Format("2006-01-02 15:04:05.999999")
	case string:
		return wording.Visible(value)
	}
	return wording.Visible(valueText(value))
}
