package analytics

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/tape"
)

// Result is what a query gave: rows in the query's order, each with a value a column. A value is nil, bool, int64, float64, string,
// time.Time (UTC), []any or map[string]any; a DECIMAL is a float64, an INTERVAL and a UUID are strings.
type Result struct {
	Columns []Column
	Rows    [][]any
}

// Run runs a query with the given parameters; one that is not given takes its default. What the text does not keep of its
// header, or the arguments do not, is an error before or after it runs, and nothing of it is returned. The columns of the
// result have their meaning from the header. The context ends it.
func (s *Session) Run(ctx context.Context, q Query, args map[string]any) (Result, error) {
	named, err := bindArguments(q, args)
	if err != nil {
		return Result{}, err
	}
	var result Result
	err = s.retried(ctx, func(conn *sql.Conn) (err error) {
		if q.Kind == Cookbook {
			if err := setVariables(ctx, conn, q, args); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, setVariables(context.WithoutCancel(ctx), conn, q, nil)) }()
			named = nil
		}
		result, err = runPrepared(ctx, conn, q, named)
		return err
	})
	if err != nil && ctx.Err() != nil {
		return Result{}, fmt.Errorf("run %s: %w", q.Path, ctx.Err())
	}
	if err != nil {
		return Result{}, located(q, err)
	}
	if err := q.checkColumns(result.Columns); err != nil {
		return Result{}, err
	}
	for i := range result.Columns {
		result.Columns[i].Doc = q.Columns[i].Doc
	}
	return result, nil
}

// Check holds a query to its header by running it over empty relations. s is from OpenEmpty.
func (s *Session) Check(ctx context.Context, q Query) error {
	args := map[string]any{}
	for _, param := range q.Params {
		if !param.HasDefault {
			args[param.Name] = zeroOf(param.Type)
		}
	}
	_, err := s.Run(ctx, q, args)
	return err
}

// zeroOf gives a value of the type to try a query with.
func zeroOf(typ string) any {
	switch typ {
	case "BOOLEAN":
		return false
	case "BIGINT":
		return int64(1)
	case "DOUBLE":
		return 1.0
	case "TIMESTAMP", "DATE":
		return "2026-01-15"
	case "INTERVAL":
		return "1 minute"
	case "VARCHAR[]":
		return []string{}
	}
	return ""
}

// bindArguments compares the arguments with the header.
func bindArguments(q Query, args map[string]any) ([]any, error) {
	names := make([]string, len(q.Params))
	for i, param := range q.Params {
		names[i] = param.Name
	}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if slices.Contains(names, name) {
			continue
		}
		if near := nearest(name, names); near != "" {
			return nil, fmt.Errorf("%s has no parameter %q: is it %q?", q.Name, name, near)
		}
		return nil, fmt.Errorf("%s has no parameter %q; it has %s", q.Name, name, strings.Join(names, ", "))
	}
	named := make([]any, 0, len(q.Params))
	for _, param := range q.Params {
		value, ok := args[param.Name]
		if !ok {
			if !param.HasDefault {
				return nil, fmt.Errorf("%s needs a value for %s (%s)", q.Name, param.Name, param.Type)
			}
			value = param.Default
		}
		bound, err := bindable(param.Type, value)
		if err != nil {
			return nil, fmt.Errorf("parameter %s of %s: %w", param.Name, q.Name, err)
		}
		named = append(named, sql.Named(param.Name, bound))
	}
	return named, nil
}

// errStatements says that a text is not exactly one statement.
var errStatements = errors.New("it is not exactly one statement")

// runPrepared prepares a query once, holds the statement, as the database reads it, to the header's parameters, for the driver would bind a
// name that is not there to another parameter's value, and runs it.
func runPrepared(ctx context.Context, conn *sql.Conn, q Query, named []any) (result Result, err error) {
	err = conn.Raw(func(raw any) error {
		// Prepare, unlike PrepareContext, refuses several statements instead of running all but the last.
		prepared, err := raw.(*duckdb.Conn).Prepare(q.Text)
		if err != nil {
			var known *duckdb.Error
			if !errors.As(err, &known) {
				return errStatements
			}
			return err
		}
		stmt := prepared.(*duckdb.Stmt)
		defer stmt.Close()
		if err := checkPrepared(q, stmt); err != nil {
			return err
		}
		args := make([]driver.NamedValue, len(named))
		for i, arg := range named {
			arg := arg.(sql.NamedArg)
			args[i] = driver.NamedValue{Name: arg.Name, Ordinal: i + 1, Value: arg.Value}
			if err := raw.(*duckdb.Conn).CheckNamedValue(&args[i]); err != nil && !errors.Is(err, driver.ErrSkip) {
				return err
			}
		}
		rows, err := stmt.QueryContext(ctx, args)
		if err != nil {
			return err
		}
		defer rows.Close()
		types := rows.(driver.RowsColumnTypeDatabaseTypeName)
		for i, name := range rows.Columns() {
			result.Columns = append(result.Columns, Column{Name: name, Type: types.ColumnTypeDatabaseTypeName(i)})
		}
		values := make([]driver.Value, len(result.Columns))
		for {
			err := rows.Next(values)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			row := make([]any, len(values))
			for i, value := range values {
				row[i] = plain(value)
			}
			result.Rows = append(result.Rows, row)
		}
	})
	return result, err
}

// prepare gives what the database itself makes of a text: the kind of its one statement.
func prepare(conn *sql.Conn, text string) (kind duckdb.StmtType, err error) {
	err = conn.Raw(func(raw any) error {
		prepared, err := raw.(*duckdb.Conn).Prepare(text) // see runPrepared
		if err != nil {
			var known *duckdb.Error
			if !errors.As(err, &known) {
				return errStatements
			}
			return err
		}
		defer prepared.Close()
		kind, err = prepared.(*duckdb.Stmt).StatementType()
		return err
	})
	return kind, err
}

// checkPrepared compares a statement with its query's header.
func checkPrepared(q Query, stmt *duckdb.Stmt) error {
	kind, err := stmt.StatementType()
	if err != nil {
		return err
	}
	if kind != duckdb.STATEMENT_TYPE_SELECT {
		return &SyntaxError{q.Path, 1, "a query is one SELECT"}
	}
	var params, want []string
	for i := range stmt.NumInput() {
		name, err := stmt.ParamName(i + 1)
		if err != nil {
			return err
		}
		params = append(params, name)
	}
	for _, param := range q.Params {
		if q.Kind != Cookbook {
			want = append(want, param.Name)
		}
	}
	slices.Sort(want)
	slices.Sort(params)
	if !slices.Equal(want, params) {
		return &SyntaxError{q.Path, 1, fmt.Sprintf("the header names the parameters %s, the statement has %s", strings.Join(want, ", "), strings.Join(params, ", "))}
	}
	return nil
}

// checkColumns compares the columns that came with those of the header.
func (q Query) checkColumns(have []Column) error {
	fail := func(format string, args ...any) error {
		return &SyntaxError{q.Path, max(q.columnsLine, 1), fmt.Sprintf(format, args...)}
	}
	for i := range max(len(have), len(q.Columns)) {
		switch {
		case i >= len(have):
			return fail("column %d is %s in the header, but the query returns only %d", i+1, q.Columns[i].Name, len(have))
		case i >= len(q.Columns):
			return fail("the query returns a column %d, %s %s, that is not in the header", i+1, have[i].Name, have[i].Type)
		case have[i].Name != q.Columns[i].Name:
			return fail("column %d is %s in the header, but the query returns %s", i+1, q.Columns[i].Name, have[i].Name)
		case !sameType(have[i].Type, q.Columns[i].Type):
			return fail("column %s is %s in the header, but the query returns %s", have[i].Name, q.Columns[i].Type, have[i].Type)
		}
	}
	return nil
}

func sameType(a, b string) bool {
	return strings.ReplaceAll(a, " ", "") == strings.ReplaceAll(b, " ", "")
}

var duckLine = regexp.MustCompile(`(?s)^(.*?)\n+LINE (\d+): [^\n]*\n.*$`)

// located turns an error of the database into one that names the query's file and line, in one line.
func located(q Query, err error) error {
	if errors.Is(err, errStatements) {
		return &SyntaxError{q.Path, 1, "a query is one SELECT: there are several statements"}
	}
	var known *duckdb.Error
	if !errors.As(err, &known) {
		var syntax *SyntaxError
		if errors.As(err, &syntax) {
			return err
		}
		return fmt.Errorf("run %s: %w", q.Path, err)
	}
	line, message := duckError(known, q.Text)
	if line > 0 {
		return &SyntaxError{q.Path, line, message}
	}
	return fmt.Errorf("run %s: %s", q.Path, message)
}

// duckError gives the line of text that an error of the database is about, 0 for none, and its message in one line.
func duckError(err *duckdb.Error, text string) (line int, message string) {
	message = err.Msg
	if match := duckLine.FindStringSubmatch(message + "\n"); match != nil {
		line, _ = strconv.Atoi(match[2])
		message = match[1]
	}
	// The list of a function's forms can have dozens of lines.
	message, _, _ = strings.Cut(message, "Candidate functions:")
	message = strings.Join(strings.Fields(message), " ")
	if err.Type == duckdb.ErrorTypeParser && usesAt(text) {
		message += `; the column at needs quotes, "at", or its relation's name before it, alerts.at, for AT is a keyword`
	}
	return line, message
}

// OutOfMemory says whether an error of a query is that it had no more memory: of those that run at once one may have had it all.
func OutOfMemory(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Out of Memory Error")
}

// fetch runs a statement and reads the whole of its result.
func fetch(ctx context.Context, conn *sql.Conn, statement string, args ...any) (Result, error) {
	rows, err := conn.QueryContext(ctx, statement, args...)
	if err != nil {
		return Result{}, err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return Result{}, err
	}
	result := Result{Columns: make([]Column, len(types))}
	for i, typ := range types {
		result.Columns[i] = Column{Name: typ.Name(), Type: typ.DatabaseTypeName()}
	}
	for rows.Next() {
		row := make([]any, len(types))
		targets := make([]any, len(types))
		for i := range row {
			targets[i] = &row[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return Result{}, err
		}
		for i := range row {
			row[i] = plain(row[i])
		}
		result.Rows = append(result.Rows, row)
	}
	return result, rows.Err()
}

// maxRetries bounds how often one call looks for files that vanished or broke; each try either has a new listing or leaves out another file.
const maxRetries = 5

// retried runs do; where files vanished meanwhile (a compaction replaced them) it lists the tape anew, where one turns out to
// be damaged it leaves that one out, and runs do again.
func (s *Session) retried(ctx context.Context, do func(*sql.Conn) error) error {
	for try := 0; ; try++ {
		s.mu.Lock()
		listed := s.listed
		s.mu.Unlock()
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		err = do(conn)
		conn.Close()
		if err == nil || ctx.Err() != nil || s.dir == nil || try == maxRetries || !s.heal(ctx, err, listed) {
			return err
		}
	}
}

// heal does what can be done about an error of a query over the listed-th views and says whether running it again makes sense.
func (s *Session) heal(ctx context.Context, err error, listed int) bool {
	var known *duckdb.Error
	if !errors.As(err, &known) || !fileTrouble(known) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listed != listed {
		return true // another query has healed it meanwhile
	}
	if vanished(known) {
		s.log.Info("files of the tape were replaced, listing it anew")
		return s.remakeViews(ctx)
	}
	culprits := s.findDamaged(ctx, known.Msg)
	for _, culprit := range culprits {
		s.broken[culprit.Path] = culprit.Err
		s.log.Error("a segment is damaged and left out", "segment", culprit.Path, "error", culprit.Err.Error())
	}
	return len(culprits) > 0 && s.remakeViews(ctx)
}

func (s *Session) remakeViews(ctx context.Context) bool {
	if s.makeViews(ctx) != nil {
		return false
	}
	s.listed++
	return true
}

// fileTrouble says whether an error can come from a file rather than from the statement.
func fileTrouble(err *duckdb.Error) bool {
	switch err.Type {
	case duckdb.ErrorTypeIO, duckdb.ErrorTypeInvalidInput, duckdb.ErrorTypeSerialization, duckdb.ErrorTypeInvalid, duckdb.ErrorTypeUnknownType,
		duckdb.ErrorTypeConversion, duckdb.ErrorTypeInternal, duckdb.ErrorTypeOutOfRange:
		return true
	}
	return strings.Contains(err.Msg, ".parquet")
}

func vanished(err *duckdb.Error) bool {
	return strings.Contains(err.Msg, "No such file or directory") || strings.Contains(err.Msg, "No files found")
}

// findDamaged reads the segments through, those that the message names first, and gives the ones that cannot be read.
func (s *Session) findDamaged(ctx context.Context, message string) []tape.BrokenSegment {
	root, err := dataRoot(s.dir)
	if err != nil {
		return nil
	}
	var named, others []string
	for _, table := range tables {
		segments, _, err := s.dir.Segments(table, "", "")
		if err != nil {
			return nil
		}
		for _, segment := range segments {
			if s.broken[segment.Path] != nil {
				continue
			}
			if strings.Contains(message, segment.Path) {
				named = append(named, segment.Path)
			} else {
				others = append(others, segment.Path)
			}
		}
	}
	for _, candidates := range [][]string{named, others} {
		var out []tape.BrokenSegment
		for _, path := range candidates {
			var ignored int64
			statement := fmt.Sprintf("SELECT count(hash(data)) FROM read_parquet(%s) AS data", quote(filepath.Join(root, path)))
			err := s.db.QueryRowContext(ctx, statement).Scan(&ignored)
			var known *duckdb.Error
			if errors.As(err, &known) && !vanished(known) {
				_, text := duckError(known, "")
				out = append(out, tape.BrokenSegment{Path: path, Err: errors.New(text)})
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// CheckArgument says what is wrong with a value for one parameter.
func (q Query) CheckArgument(name string, value any) error {
	param, ok := q.Param(name)
	if !ok {
		_, err := bindArguments(q, map[string]any{name: value})
		return err
	}
	bound, err := bindable(param.Type, value)
	if err == nil {
		err = param.within(bound)
	}
	if err != nil {
		return fmt.Errorf("parameter %s of %s: %w", name, q.Name, err)
	}
	return nil
}
