package main

import (
	"bufio"
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
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

type queryCmd struct {
	SQL    string            `arg:"" optional:"" name:"sql" placeholder:"SQL" help:"One statement that reads. Without it, or with -, it is read from standard input."`
	File   string            `placeholder:"FILE" help:"Read the statement from FILE: one of sql/cookbook, or your own."`
	Set    map[string]string `placeholder:"NAME=VALUE" mapsep:"none" help:"Set a variable that the statement reads with getvariable: --set symbol=ETHUSDT --set since=2026-01-15."`
	Format string            `placeholder:"FORMAT" enum:"table,csv,json,parquet" default:"table" help:"table, csv, json or parquet."`
	Rows   rowCount          `placeholder:"N" help:"How many rows a table shows: a number, or all. The default is 40 on a terminal, otherwise all. The other formats have all rows."`
	Raw    bool              `help:"With --format csv: write texts as they are. Without it, one that a spreadsheet would take for a formula (= + - @) begins with an apostrophe."`
	queriesFlags
	sessionFlags
}

// sessionFlags limit the resources of a DuckDB session.
type sessionFlags struct {
	Threads threadCount `key:"threads" placeholder:"N" help:"Threads that a query may use. The default is one per core, at most one for each 256 MB of memory."`
	Memory  memorySize  `key:"memory" placeholder:"SIZE" help:"Memory that tapedeck may use for a query, for example 512MB or 2GB; it needs 200MB at least. What does not fit goes to disk. The default is what the machine or the container has available, at most 80 % of what it has."`
}

func (c *queryCmd) memoryLimit() string  { return string(c.Memory) }
func (c *reportCmd) memoryLimit() string { return string(c.Memory) }
func (c *detectCmd) memoryLimit() string { return string(c.Memory) }
func (c *checkCmd) memoryLimit() string  { return string(c.Memory) }

func (*queryCmd) onlyReads() {}

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
	if c.Rows != "" && c.Format != "table" {
		return misuse("--rows is for tables; %s has all rows: add LIMIT to the statement", c.Format)
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
	summaries, problems := analytics.Load(c.SQLDir, analytics.Summary)
	for _, problem := range problems {
		var file *analytics.FileError
		if !errors.As(problem, &file) {
			return misuse("%w", problem)
		}
		a.say("a file among your queries is not read: %v", problem)
	}
	options := analytics.Options{
		Threads: int(c.Threads), MemoryLimit: string(c.Memory), Variables: c.Set, Macros: true, Logger: a.log, Statement: text,
		Summaries: summaries, Stored: analytics.SummariesRead(text, summaries),
	}
	session, begun, err := c.run(ctx, a, dir, text, options)
	if analytics.IsOutOfMemory(err) && !begun {
		// Its values are large: a statement gets little memory if its plan needs little.
		options.Statement = ""
		session, _, err = c.run(ctx, a, dir, text, options)
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
	return a.reportLeftOut(session)
}

// run runs the statement in a session of its own, which it returns closed. It also returns whether a part of
// the result was written.
func (c *queryCmd) run(ctx context.Context, a *app, dir *tape.Dir, text string, options analytics.Options) (*analytics.Session, bool, error) {
	running := a.newProgress()
	options.Progress = running
	session, err := analytics.Open(ctx, dir, options)
	if err != nil {
		running.end()
		return nil, false, err
	}
	defer session.Close()
	running.Begin("running the statement", 0)
	defer running.end()
	output := running.output(a.results())
	if c.Format == "table" {
		err = writeStored(ctx, output, session, text, c.Rows.limit(isTerminal(a.stdout)))
	} else {
		format := analytics.Format(c.Format)
		if c.Raw && format == analytics.CSV {
			format = analytics.RawCSV
		}
		err = session.Export(ctx, text, format, output)
	}
	return session, output.begun, err
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

// reportLeftOut prints the files and names that the session left out. If there are any, the result is
// partial.
func (a *app) reportLeftOut(session *analytics.Session) error {
	names := session.NotSymbols()
	if len(names) > 0 {
		a.say("rows of names that no symbol can have are left out: %s", wording.List(symbol.QuoteAll(names), 5))
	}
	if err := a.leftOut(session.Broken()); err != nil {
		return err
	}
	if len(names) > 0 {
		return withHint(partial("%s on the tape that no symbol can have", wording.Count(len(names), "name is", "names are")),
			"tapedeck drop --not-symbols removes their rows; tapedeck verify lists them")
	}
	return nil
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

// writeStored prints the first rows of the result of a statement as a table, and the number of its rows.
func writeStored(ctx context.Context, w io.Writer, session *analytics.Session, text string, limit int64) (err error) {
	var table *rowTable
	stored, err := session.Store(ctx, text, limit, func(columns []analytics.Column) analytics.Cells {
		table = newRowTable(columns)
		return table.cells
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stored.Close()) }()
	out := bufio.NewWriter(w) // keeps the first error until Flush
	table.writeHeader(out)
	if err := stored.Each(ctx, func(cells []string) error { return table.writeLine(out, cells) }); err != nil {
		return err
	}
	fmt.Fprintln(out, rowsShown(stored.Rows, stored.Total))
	return out.Flush()
}

// rowsShown says how many rows a table has, and how to see the others.
func rowsShown(shown, total int64) string {
	if shown == total {
		return fmt.Sprintf("(%d %s)", total, wording.Noun(total, "row"))
	}
	return fmt.Sprintf("(the first %s of %s; --rows all shows all, --format csv or parquet writes a file)",
		wording.Comma(shown), wording.Count(total, "row"))
}

// writeRows writes the rows of a result as a table.
func writeRows(out *strings.Builder, result analytics.Result) {
	table := newRowTable(result.Columns)
	lines := make([][]string, len(result.Rows))
	for i, row := range result.Rows {
		lines[i] = slices.Clone(table.cells(row))
	}
	buffered := bufio.NewWriter(out)
	table.writeHeader(buffered)
	for _, line := range lines {
		_ = table.writeLine(buffered, line)
	}
	_ = buffered.Flush() // a strings.Builder takes everything
}

// rowTable is a table whose cells are all made before the first line is written, because the widest cell
// of a column is its width. Numbers are right-aligned and times are UTC.
type rowTable struct {
	header []string
	right  []bool
	width  []int // in characters
	line   []string
}

func newRowTable(columns []analytics.Column) *rowTable {
	t := &rowTable{header: make([]string, len(columns)), right: make([]bool, len(columns)), width: make([]int, len(columns)), line: make([]string, len(columns))}
	for i, column := range columns {
		t.header[i] = wording.Name(column.Name)
		t.width[i] = utf8.RuneCountInString(t.header[i])
	}
	return t
}

// cells returns the texts of a row and makes room for them. They change with the next row.
func (t *rowTable) cells(row []any) []string {
	for i, value := range row {
		t.line[i] = cellText(value)
		t.width[i] = max(t.width[i], utf8.RuneCountInString(t.line[i]))
		switch value.(type) {
		case int64, float64:
			t.right[i] = true
		}
	}
	return t.line
}

func (t *rowTable) writeHeader(out *bufio.Writer) { _ = t.writeLine(out, t.header) }

func (t *rowTable) writeLine(out *bufio.Writer, line []string) error {
	for i, cell := range line {
		padding := t.width[i] - utf8.RuneCountInString(cell)
		if i > 0 {
			writeSpaces(out, 2)
		}
		if t.right[i] {
			writeSpaces(out, padding)
		}
		out.WriteString(cell)
		if !t.right[i] && i < len(line)-1 {
			writeSpaces(out, padding)
		}
	}
	return out.WriteByte('\n')
}

func writeSpaces(out *bufio.Writer, n int) {
	for range n {
		out.WriteByte(' ')
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
