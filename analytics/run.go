package analytics

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/wording"
)

// Result is the result of a query: its rows in the order of the query, each with one value per column. A
// value is nil, bool, int64, float64, string, time.Time (UTC), []any or map[string]any. A DECIMAL is a
// float64; an INTERVAL and a UUID are strings.
type Result struct {
	Columns []Column
	Rows    [][]any
}

// Run runs a query with the given arguments. A parameter without an argument takes its default. If the
// arguments, the text or the result do not match the header, the error says so and no result is
// returned. The columns of the result have the descriptions of the header.
func (s *Session) Run(ctx context.Context, q Query, args map[string]any) (Result, error) {
	result, _, err := s.RunFirst(ctx, q, args, math.MaxInt)
	return result, err
}

// RunFirst is Run, but its result has at most limit rows. It also returns how many there are in all.
func (s *Session) RunFirst(ctx context.Context, q Query, args map[string]any, limit int) (Result, int64, error) {
	named, err := bindArguments(q, args)
	if err != nil {
		return Result{}, 0, err
	}
	var result Result
	var total int64
	err = s.retry(ctx, func(conn *sql.Conn) (err error) {
		if q.Kind == Cookbook {
			if err := setVariables(ctx, conn, q, args); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, setVariables(context.WithoutCancel(ctx), conn, q, nil)) }()
			named = nil
		}
		result, total, err = runPrepared(ctx, conn, q, named, limit)
		return err
	})
	if err != nil && ctx.Err() != nil {
		return Result{}, 0, fmt.Errorf("run %s: %w", q.Path, ctx.Err())
	}
	if err != nil {
		return Result{}, 0, queryError(q, err)
	}
	if err := q.checkColumns(result.Columns); err != nil {
		return Result{}, 0, err
	}
	for i := range result.Columns {
		result.Columns[i].Doc = q.Columns[i].Doc
	}
	return result, total, nil
}

// Check checks a query against its header by running it over empty relations. s must be from OpenEmpty.
func (s *Session) Check(ctx context.Context, q Query) error {
	args := map[string]any{}
	for _, param := range q.Params {
		if !param.HasDefault {
			args[param.Name] = sampleValues[param.Type]
		}
	}
	_, err := s.Run(ctx, q, args)
	return err
}

// sampleValues has a value of each type.
var sampleValues = map[string]any{
	"BOOLEAN": false, "BIGINT": int64(1), "DOUBLE": 1.0, "VARCHAR": "", "VARCHAR[]": []string{},
	"TIMESTAMP": "2026-01-15", "DATE": "2026-01-15", "INTERVAL": "1 minute",
}

// bindArguments checks the arguments against the header and returns them as the driver takes them.
func bindArguments(q Query, args map[string]any) ([]driver.NamedValue, error) {
	names := q.paramNames()
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if slices.Contains(names, name) {
			continue
		}
		if near := wording.Nearest(name, names); near != "" {
			return nil, fmt.Errorf("%s has no parameter %q; did you mean %q?", q.Name, name, near)
		}
		return nil, fmt.Errorf("%s has no parameter %q; it has %s", q.Name, name, strings.Join(names, ", "))
	}
	named := make([]driver.NamedValue, 0, len(q.Params))
	for _, param := range q.Params {
		value, ok := args[param.Name]
		if !ok {
			if !param.HasDefault {
				return nil, fmt.Errorf("%s needs a value for %s (%s)", q.Name, param.Name, param.Type)
			}
			value = param.Default
		}
		bound, err := toDriver(param.Type, value)
		if err != nil {
			return nil, fmt.Errorf("parameter %s of %s: %w", param.Name, q.Name, err)
		}
		named = append(named, driver.NamedValue{Name: param.Name, Ordinal: len(named) + 1, Value: bound})
	}
	return named, nil
}

// CheckArgument returns an error if the query has no parameter of that name or the value does not fit it.
func (q Query) CheckArgument(name string, value any) error {
	param, ok := q.Param(name)
	if !ok {
		_, err := bindArguments(q, map[string]any{name: value})
		return err
	}
	bound, err := toDriver(param.Type, value)
	if err == nil {
		err = param.checkLimits(bound)
	}
	if err != nil {
		return fmt.Errorf("parameter %s of %s: %w", name, q.Name, err)
	}
	return nil
}

// errNotOneStatement is returned for a text that is not exactly one statement.
var errNotOneStatement = errors.New("it is not exactly one statement")

// withPrepared prepares a text that is one statement and calls do with it. Unlike PrepareContext, which
// runs all statements but the last, Prepare refuses several statements.
func withPrepared(conn *sql.Conn, text string, do func(*duckdb.Conn, *duckdb.Stmt) error) error {
	return conn.Raw(func(raw any) error {
		prepared, err := raw.(*duckdb.Conn).Prepare(text)
		if err != nil {
			var known *duckdb.Error
			if !errors.As(err, &known) {
				return errNotOneStatement
			}
			return err
		}
		defer prepared.Close()
		return do(raw.(*duckdb.Conn), prepared.(*duckdb.Stmt))
	})
}

// runPrepared prepares a query, checks the statement against the header and runs it. The check is needed
// because the driver binds a name that does not exist to the value of another parameter.
func runPrepared(ctx context.Context, conn *sql.Conn, q Query, args []driver.NamedValue, limit int) (result Result, total int64, err error) {
	err = withPrepared(conn, q.Text, func(duck *duckdb.Conn, stmt *duckdb.Stmt) error {
		if err := checkPrepared(q, stmt); err != nil {
			return err
		}
		args := slices.Clone(args)
		for i := range args {
			if err := duck.CheckNamedValue(&args[i]); err != nil && !errors.Is(err, driver.ErrSkip) {
				return err
			}
		}
		rows, err := stmt.QueryContext(ctx, args)
		if err != nil {
			return err
		}
		result, total, err = readRows(ctx, rows, limit)
		return err
	})
	return result, total, err
}

// readRows reads all rows and closes them. It returns the first of them, and their number.
func readRows(ctx context.Context, rows driver.Rows, limit int) (result Result, total int64, err error) {
	result.Columns = columnsReturned(rows)
	err = eachRow(ctx, rows, func(values []driver.Value) error {
		if total++; total <= int64(limit) {
			result.Rows = append(result.Rows, fromDrivers(values))
		}
		return nil
	})
	return result, total, err
}

func columnsReturned(rows driver.Rows) (columns []Column) {
	types := rows.(driver.RowsColumnTypeDatabaseTypeName)
	for i, name := range rows.Columns() {
		columns = append(columns, Column{Name: name, Type: types.ColumnTypeDatabaseTypeName(i)})
	}
	return columns
}

// eachRow calls do with each row, whose values change with the next one, and closes the rows.
func eachRow(ctx context.Context, rows driver.Rows, do func([]driver.Value) error) error {
	defer rows.Close()
	values := make([]driver.Value, len(rows.Columns()))
	for {
		err := rows.Next(values)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = do(values)
		}
		if err != nil {
			return err
		}
	}
}

func fromDrivers(values []driver.Value) []any {
	row := make([]any, len(values))
	for i, value := range values {
		row[i] = fromDriver(value)
	}
	return row
}

// checkPrepared checks the type and the parameters of a statement against the header of its query.
func checkPrepared(q Query, stmt *duckdb.Stmt) error {
	kind, err := stmt.StatementType()
	if err != nil {
		return err
	}
	if kind != duckdb.STATEMENT_TYPE_SELECT {
		return q.errorAt(1, "a query must be one SELECT")
	}
	var params, stated []string
	for i := range stmt.NumInput() {
		name, err := stmt.ParamName(i + 1)
		if err != nil {
			return err
		}
		params = append(params, name)
	}
	if q.Kind != Cookbook {
		stated = q.paramNames()
	}
	slices.Sort(stated)
	slices.Sort(params)
	if !slices.Equal(stated, params) {
		return q.errorAt(1, "the header names the parameters %s, but the statement has %s", strings.Join(stated, ", "), strings.Join(params, ", "))
	}
	return nil
}

// checkColumns checks the columns of a result against the header.
func (q *Query) checkColumns(returned []Column) error {
	fail := func(format string, args ...any) error {
		return q.errorAt(q.columnsLine, format, args...)
	}
	for i := range max(len(returned), len(q.Columns)) {
		switch {
		case i >= len(returned):
			return fail("column %d is %s in the header, but the query returns only %d", i+1, q.Columns[i].Name, len(returned))
		case i >= len(q.Columns):
			return fail("the query returns a column %d, %s %s, that is not in the header", i+1, returned[i].Name, returned[i].Type)
		case returned[i].Name != q.Columns[i].Name:
			return fail("column %d is %s in the header, but the query returns %s", i+1, q.Columns[i].Name, returned[i].Name)
		case strings.ReplaceAll(returned[i].Type, " ", "") != strings.ReplaceAll(q.Columns[i].Type, " ", ""):
			return fail("column %s is %s in the header, but the query returns %s", returned[i].Name, q.Columns[i].Type, returned[i].Type)
		}
	}
	return nil
}

// queryError returns an error of the database in one line, with the file of the query and the line.
func queryError(q Query, err error) error {
	if errors.Is(err, errNotOneStatement) {
		return &SyntaxError{q.Path, 1, "a query must be one SELECT, but there are several statements"}
	}
	var known *duckdb.Error
	if !errors.As(err, &known) {
		var syntax *SyntaxError
		if errors.As(err, &syntax) {
			return err
		}
		return fmt.Errorf("run %s: %w", q.Path, err)
	}
	line, message := splitDuckError(known, q.Text)
	if line > 0 {
		return &SyntaxError{q.Path, line, message}
	}
	return fmt.Errorf("run %s: %s", q.Path, message)
}

var duckErrorLine = regexp.MustCompile(`(?s)^(.*?)\n+LINE (\d+): [^\n]*\n.*$`)

// splitDuckError returns the line of the text that an error of DuckDB is about, or 0, and the message in
// one line.
func splitDuckError(err *duckdb.Error, text string) (line int, message string) {
	message = err.Msg
	if match := duckErrorLine.FindStringSubmatch(message + "\n"); match != nil {
		line, _ = strconv.Atoi(match[2])
		message = match[1]
	}
	// The list of candidate functions can have dozens of lines.
	message, _, _ = strings.Cut(message, "Candidate functions:")
	message, _, _ = strings.Cut(message, "\n\nPossible solutions:") // if memory is short: advice about DuckDB's settings
	message = strings.Join(strings.Fields(message), " ")
	if err.Type == duckdb.ErrorTypeParser && usesBareAt(text) {
		message += `; AT is a keyword: write the column as "at" or alerts.at`
	}
	return line, message
}

// IsOutOfMemory reports whether a query failed because the memory of its session ran out. Another query
// in the same session may have used it.
func IsOutOfMemory(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Out of Memory Error")
}

// fetch runs a statement and reads its whole result.
func fetch(ctx context.Context, conn *sql.Conn, statement string) (result Result, err error) {
	err = withRows(ctx, conn, statement, func(rows driver.Rows) (err error) {
		result, _, err = readRows(ctx, rows, math.MaxInt)
		return err
	})
	return result, err
}

func withRows(ctx context.Context, conn *sql.Conn, statement string, do func(driver.Rows) error) error {
	return conn.Raw(func(raw any) error {
		rows, err := raw.(driver.QueryerContext).QueryContext(ctx, statement, nil)
		if err != nil {
			return err
		}
		return do(rows)
	})
}
