package analytics

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
)

// RefusedError is a statement that a session does not run.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// SQL runs one statement that reads: SELECT (or FROM, VALUES, WITH, TABLE), DESCRIBE, SUMMARIZE, SHOW, EXPLAIN. Anything else is
// a *RefusedError. The whole result is kept in memory, so a caller who only wants the first rows says LIMIT.
func (s *Session) SQL(ctx context.Context, text string) (Result, error) {
	var result Result
	err := s.retried(ctx, func(conn *sql.Conn) error {
		if _, err := checkReading(conn, text); err != nil {
			return err
		}
		var err error
		result, err = fetch(ctx, conn, text)
		return err
	})
	if err != nil && ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	if err != nil {
		return Result{}, plainError(text, err)
	}
	return result, nil
}

// plainError makes one line of the database's own errors, with the line of the statement where there is one.
func plainError(text string, err error) error {
	var known *duckdb.Error
	if !errors.As(err, &known) {
		return err
	}
	line, message := duckError(known, text)
	if line > 1 {
		return fmt.Errorf("line %d: %s", line, message)
	}
	return errors.New(message)
}

// usesAt says whether the word AT stands alone, as somebody writes it who means the column of alerts.
func usesAt(text string) bool {
	tokens, err := scan(text)
	for i, t := range tokens {
		if t.kind == word && t.text == "at" && (i == 0 || tokens[i-1].text != "." && tokens[i-1].text != "as") {
			return err == nil
		}
	}
	return false
}

// Format is a file format of results.
type Format string

// The formats that the database writes itself.
const (
	CSV     Format = "csv"
	JSON    Format = "json"
	Parquet Format = "parquet"
)

var copyOptions = map[Format]string{
	CSV:     "FORMAT csv, HEADER true",
	JSON:    "FORMAT json, ARRAY true",
	Parquet: "FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2",
}

// Export runs one SELECT and writes its result to w, without holding the rows in memory. Nothing is written if the statement fails.
func (s *Session) Export(ctx context.Context, text string, format Format, w io.Writer) error {
	options, ok := copyOptions[format]
	if !ok {
		return fmt.Errorf("unknown format %q: it is csv, json or parquet", format)
	}
	dir, err := os.MkdirTemp(s.scratch, "export-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "result."+string(format))
	err = s.retried(ctx, func(conn *sql.Conn) error {
		statement, err := checkReading(conn, text)
		if err != nil {
			return err
		}
		_, err = conn.ExecContext(ctx, fmt.Sprintf("COPY (%s\n) TO %s (%s)", statement, quote(path), options))
		return err
	})
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return plainError(text, err)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(w, file); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// reading are the words that a statement that only reads can begin with.
var reading = []string{"select", "from", "with", "values", "table", "describe", "desc", "summarize", "show", "explain", "(", "pivot", "unpivot"}

// checkReading refuses a text that is not exactly one statement that reads, and gives it without what ends it.
func checkReading(conn *sql.Conn, text string) (string, error) {
	tokens, err := scan(text)
	if err != nil {
		return "", err.(*SyntaxError).inStatement()
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].text == ";" && tokens[len(tokens)-1].kind == symbol {
		text = text[:tokens[len(tokens)-1].from]
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) == 0 {
		return "", &RefusedError{"there is no statement"}
	}
	for _, t := range tokens {
		if t.kind == symbol && t.text == ";" {
			return "", &RefusedError{fmt.Sprintf("there is a second statement after the semicolon in line %d: one at a time", t.line)}
		}
		if t.kind == parameter || t.kind == symbol && t.text == "?" {
			return "", &RefusedError{fmt.Sprintf("line %d: a statement given here has no parameters", t.line)}
		}
	}
	first := tokens[0].text
	if first == "explain" {
		for _, t := range tokens[1:] {
			if t.kind == word && t.text != "analyze" && t.text != "verbose" && !slices.Contains(reading, t.text) && t.text != "format" && t.text != "json" && t.text != "text" && t.text != "html" && t.text != "graphviz" && t.text != "yaml" {
				return "", refused(t.text)
			}
			if t.kind == word && slices.Contains(reading, t.text) {
				break
			}
		}
	}
	if !slices.Contains(reading, first) {
		return "", refused(first)
	}
	kind, err := prepare(conn, text)
	switch {
	case errors.Is(err, errStatements):
		return "", &RefusedError{"this becomes more than one statement inside the database: name the values, as in PIVOT … ON column IN (…)"}
	case err != nil:
		return "", err
	case kind != duckdb.STATEMENT_TYPE_SELECT && kind != duckdb.STATEMENT_TYPE_EXPLAIN && kind != duckdb.STATEMENT_TYPE_RELATION:
		return "", refused(first)
	}
	return text, nil
}

func refused(word string) error {
	return &RefusedError{fmt.Sprintf("%s is refused: only statements that read are run here (SELECT, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN)", strings.ToUpper(word))}
}

func (e *SyntaxError) inStatement() error { return fmt.Errorf("line %d: %s", e.Line, e.Text) }
