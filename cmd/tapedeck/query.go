package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tapedeck/analytics"
)

type queryCmd struct {
	SQL    string            `arg:"" optional:"" name:"sql" placeholder:"SQL" help:"One statement that reads. Without it, or with -, standard input is read."`
	File   string            `placeholder:"FILE" help:"Read the statement from FILE: one of sql/cookbook, or your own."`
	Set    map[string]string `placeholder:"NAME=VALUE" mapsep:"none" help:"Set a variable that the statement asks for by getvariable: --set symbol=ETHUSDT --set since=2026-01-15."`
	Format string            `placeholder:"FORMAT" enum:"table,csv,json,parquet" default:"table" help:"table, csv, json or parquet."`
	sessionFlags
}

// sessionFlags bound what a DuckDB session takes.
type sessionFlags struct {
	Threads int    `key:"threads" placeholder:"N" help:"How many threads a query may use. The default is one a core."`
	Memory  string `key:"memory" placeholder:"SIZE" help:"How much memory a query may use, such as 512MB or 2GB; what does not fit goes to disk. The default is 80 % of the machine's."`
}

func (*queryCmd) manual() manual {
	return manual{
		about: `Runs one SQL statement over the tape with DuckDB and prints what it gives. The relations are
  trades    symbol, id, price, qty, first_trade_id, last_trade_id,
            traded_at (UTC), is_buyer_maker, date
  alerts    detector, symbol, at, score, severity, message, first_id, last_id, …
  runs      job, started_at, finished_at, outcome, exit, message, …
  coverage  symbol, date, trades, missing, state, …; see verify
  gaps      symbol, first_id, last_id, after_at, before_at
  bounds    symbol, first_id, last_id, first_at, last_at
and the macros candles(step), vwap(step), tape(symbol, from, to) and gaps().
They are what is on the tape as the command starts. A condition on date reads only the files of those days. DESCRIBE trades tells the columns with their types. Statements that
write are refused. A file that cannot be read is named on standard error, and the rest is still read.

The cookbook (tapedeck queries) has twenty questions that people ask of a tape: candles without holes, volume by price, what a big order costs. What
can be chosen in them are variables with defaults, here by --set and in DuckDB's own shell by SET VARIABLE.`,
		examples: []string{
			"tapedeck query \"SELECT symbol, count(*) FROM trades GROUP BY symbol\"",
			"tapedeck query --format csv \"FROM alerts\" > alerts.csv",
			"tapedeck query \"FROM candles('1 hour') WHERE symbol = 'BTCUSDT'\"",
			"tapedeck query < question.sql",
			"tapedeck queries --format sql largest_sweeps | tapedeck query --set top=5",
		},
		exits: []string{"0  done", "1  failed; the statement is wrong", "3  done, but a file of the tape could not be read"},
	}
}

func (c *queryCmd) Run(ctx context.Context, a *app) error {
	text := c.SQL
	switch {
	case c.File != "" && text != "":
		return misuse("a statement and --file are one too many")
	case c.File != "":
		content, err := os.ReadFile(c.File)
		if err != nil {
			return fmt.Errorf("read the statement: %w", err)
		}
		text = string(content)
	case text == "" || text == "-":
		if isTerminal(a.stdin) {
			a.say("reading SQL from standard input; end it with ctrl-D")
		}
		input, err := io.ReadAll(a.stdin)
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		text = string(input)
	}
	if c.Format == "parquet" && isTerminal(a.stdout) {
		return misuse("parquet is not for a terminal; send it to a file: > result.parquet")
	}
	if err := readsVariables(text, c.Set); err != nil {
		return err
	}
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	session, err := analytics.Open(ctx, dir, analytics.Options{Threads: c.Threads, MemoryLimit: c.Memory, Variables: c.Set, Macros: true, Now: a.now(), Logger: a.log})
	if err != nil {
		return err
	}
	defer session.Close()
	if c.Format == "table" {
		var result analytics.Result
		if result, err = session.SQL(ctx, text); err == nil {
			err = writeTable(a.stdout, result)
		}
	} else {
		err = session.Export(ctx, text, analytics.Format(c.Format), a.stdout)
	}
	if err != nil {
		var refused *analytics.RefusedError
		if errors.As(err, &refused) {
			return &statusError{exitMisuse, err}
		}
		return fmt.Errorf("the statement: %w", err)
	}
	return a.sayBroken(session)
}

// variableRead finds the variables that a statement reads.
var variableRead = regexp.MustCompile(`(?i)getvariable\(\s*'([^']+)'`)

// readsVariables refuses a --set that the statement would not notice.
func readsVariables(text string, set map[string]string) error {
	var read []string
	for _, match := range variableRead.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(read, match[1]) {
			read = append(read, match[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if !regexp.MustCompile(`^\w+$`).MatchString(name) {
			continue // that it can be none is told where it would be made
		}
		if slices.ContainsFunc(read, func(known string) bool { return strings.EqualFold(known, name) }) {
			continue
		}
		if len(read) == 0 {
			return misuse("--set %s: the statement reads no variables; it would by getvariable('%s')", name, name)
		}
		return misuse("--set %s: the statement reads no such variable; it reads %s", name, strings.Join(read, ", "))
	}
	return nil
}

// sayBroken names the files that a session had to leave out; then not all of it could be had.
func (a *app) sayBroken(session *analytics.Session) error {
	broken := session.Broken()
	for _, segment := range broken {
		a.say("%s cannot be read and is left out: %v", segment.Path, segment.Err)
	}
	if len(broken) > 0 {
		return withHint(partial("%d of the tape's files could not be read", len(broken)),
			"move them out of the data directory, then tapedeck backfill fetches their trades again")
	}
	return nil
}

// writeTable prints a result in columns: numbers to the right, NULL for nothing, times in UTC.
func writeTable(w io.Writer, result analytics.Result) error {
	cells := make([][]string, 0, len(result.Rows)+1)
	header := make([]string, len(result.Columns))
	right := make([]bool, len(result.Columns))
	width := make([]int, len(result.Columns))
	for i, column := range result.Columns {
		header[i] = column.Name
	}
	cells = append(cells, header)
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
	var out strings.Builder
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
	fmt.Fprintf(&out, "(%d %s)\n", len(result.Rows), map[bool]string{true: "row", false: "rows"}[len(result.Rows) == 1])
	_, err := io.WriteString(w, out.String())
	return err
}

// cellText is a value on one line.
func cellText(value any) string {
	switch value := value.(type) {
	case nil:
		return "NULL"
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	case time.Time:
		if value.Equal(value.Truncate(24 * time.Hour)) {
			return value.Format(time.DateOnly)
		}
		return value.Format("2006-01-02 15:04:05.999999")
	case string:
		return strings.NewReplacer("\n", "\\n", "\r", "\\r", "\t", "\\t").Replace(value)
	}
	return fmt.Sprint(value)
}
