package analytics

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
)

// RefusedError is returned for a statement that a session does not run.
type RefusedError struct {
	Reason string
	// HasParameters is set if the reason is a parameter in the statement.
	HasParameters bool
}

func (e *RefusedError) Error() string { return e.Reason }

// SQL runs one statement that only reads: SELECT (or FROM, VALUES, WITH, TABLE), DESCRIBE, SUMMARIZE,
// SHOW or EXPLAIN. The error is a *RefusedError for any other statement. The whole result is kept in
// memory.
func (s *Session) SQL(ctx context.Context, text string) (Result, error) {
	var result Result
	err := s.retry(ctx, func(conn *sql.Conn) error {
		if _, err := checkReadOnly(conn, text); err != nil {
			return err
		}
		var err error
		result, err = fetch(ctx, conn, text)
		return err
	})
	if err != nil {
		return Result{}, statementError(ctx, text, err)
	}
	return result, nil
}

// statementError returns an error of a statement in one line, with the line of the text that it is about.
func statementError(ctx context.Context, text string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var known *duckdb.Error
	if !errors.As(err, &known) {
		return err
	}
	line, message := splitDuckError(known, text)
	if line > 1 {
		return fmt.Errorf("line %d: %s", line, message)
	}
	return errors.New(message)
}

var (
	// readOnlyWords can begin a statement that only reads.
	readOnlyWords = []string{
		"select", "from", "with", "values", "table", "describe", "desc", "summarize", "show", "explain", "(", "pivot", "unpivot",
	}
	// explainOptions can follow EXPLAIN.
	explainOptions = []string{"analyze", "verbose", "format", "json", "text", "html", "graphviz", "yaml"}
)

// checkReadOnly refuses a text that is not exactly one statement that only reads. It returns the
// statement without the semicolon and what follows.
func checkReadOnly(conn *sql.Conn, text string) (string, error) {
	tokens, err := scan(text)
	if err != nil {
		return "", fmt.Errorf("line %d: %s", err.Line, err.Text)
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].isSymbol(";") {
		text = text[:tokens[len(tokens)-1].offset]
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) == 0 {
		return "", &RefusedError{Reason: "there is no statement"}
	}
	for _, t := range tokens {
		if t.isSymbol(";") {
			return "", &RefusedError{Reason: fmt.Sprintf("line %d: a second statement follows the semicolon; run one at a time", t.line)}
		}
		if t.kind == parameter || t.isSymbol("?") {
			return "", &RefusedError{Reason: fmt.Sprintf("line %d: parameters are not supported here", t.line), HasParameters: true}
		}
	}
	if line, reason := refusedCall(tokens, false); line > 0 {
		return "", &RefusedError{Reason: fmt.Sprintf("line %d: %s", line, reason)}
	}
	first := tokens[0].text
	if first == "explain" {
		for _, t := range tokens[1:] {
			if t.kind == word && slices.Contains(readOnlyWords, t.text) {
				break
			}
			if t.kind == word && !slices.Contains(explainOptions, t.text) {
				return "", notReadOnly(t.text)
			}
		}
	}
	if !slices.Contains(readOnlyWords, first) {
		return "", notReadOnly(first)
	}
	var kind duckdb.StmtType
	prepareErr := withPrepared(conn, text, func(_ *duckdb.Conn, stmt *duckdb.Stmt) (err error) {
		kind, err = stmt.StatementType()
		return err
	})
	switch {
	case errors.Is(prepareErr, errNotOneStatement):
		return "", &RefusedError{Reason: "DuckDB turns this into more than one statement; name the values, as in PIVOT … ON column IN (…)"}
	case prepareErr != nil:
		return "", prepareErr
	case kind != duckdb.STATEMENT_TYPE_SELECT && kind != duckdb.STATEMENT_TYPE_EXPLAIN && kind != duckdb.STATEMENT_TYPE_RELATION:
		return "", notReadOnly(first)
	}
	return text, nil
}

func notReadOnly(word string) error {
	const allowed = "only statements that read are run (SELECT, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN)"
	return &RefusedError{Reason: fmt.Sprintf("%s is not allowed: %s", strings.ToUpper(word), allowed)}
}
