package analytics

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/duckdb/duckdb-go/v2"
	"github.com/dustin/go-humanize"
	"github.com/klauspost/compress/s2"

	"tapedeck/internal/durable"
)

// Stored is the result of a statement as the texts of its cells, in a compressed file without a name. Memory
// holds one row at a time. The caller must close it.
type Stored struct {
	// Rows is how many rows are kept, and Total how many the statement returns.
	Rows, Total int64

	columns int
	file    *os.File
}

// Cells makes the texts that are kept of each row of a result. It may return the same slice each time.
type Cells func(row []any) []string

const (
	// longestCell is the most characters that a stored text keeps; of a longer one the first cutCell are
	// kept, with the number of those that are not.
	longestCell, cutCell = 4000, 3960
	// storedOptions are the options of COPY for storedValue.
	storedOptions = "FORMAT csv, HEADER false, NULLSTR '" + storedNull + "'"
	storedNull    = "n"
	// storedText is the prefix of each text, so that none is storedNull or empty.
	storedText = "t"
)

// Store runs one statement that only reads, as SQL does, and keeps the first rows of its result, limit at
// most, for people to read. begin gets the columns, which have names only, and returns what makes the cells;
// it is called again if the statement is run again because a file of the tape was replaced. A row has the
// values of a Result, except that a text, a list, a struct and a map are text of at most 4,000 characters,
// which says how many more there are, and that an INTERVAL and a time of day are as DuckDB writes them. If
// there are more rows than limit, they are counted by another run.
func (s *Session) Store(ctx context.Context, text string, limit int64, begin func([]Column) Cells) (*Stored, error) {
	var stored *Stored
	err := s.retry(ctx, func(conn *sql.Conn) error {
		statement, err := checkReadOnly(conn, text)
		if err != nil {
			return err
		}
		tokens, _ := scan(statement) // checkReadOnly has scanned it
		if tokens[0].text == "explain" {
			stored, err = s.storePlan(ctx, conn, text, begin)
			return err
		}
		stored, err = s.store(ctx, conn, statement, limit, isVolatile(tokens), begin)
		return err
	})
	if err != nil {
		return nil, statementError(ctx, text, err)
	}
	return stored, nil
}

// isVolatile reports whether a statement may return other rows when it is run again.
func isVolatile(tokens []token) bool {
	return slices.ContainsFunc(tokens, func(t token) bool {
		return t.kind == word && (strings.Contains(t.text, "random") || strings.Contains(t.text, "uuid") || strings.Contains(t.text, "sample"))
	})
}

// storePlan stores the result of EXPLAIN, which cannot be a part of another statement.
func (s *Session) storePlan(ctx context.Context, conn *sql.Conn, text string, begin func([]Column) Cells) (*Stored, error) {
	result, err := fetch(ctx, conn, text)
	if err != nil {
		return nil, err
	}
	cells := begin(result.Columns)
	return s.write(math.MaxInt64, func(keep func([]string) error) error {
		for _, row := range result.Rows {
			if err := keep(cells(row)); err != nil {
				return err
			}
		}
		return nil
	})
}

// store stores the first rows of the result of a statement.
func (s *Session) store(ctx context.Context, conn *sql.Conn, statement string, limit int64, isVolatile bool, begin func([]Column) Cells) (*Stored, error) {
	var columns []Column
	var names, values []string
	var parse []func(string) (any, error)
	err := eachColumn(conn, statement, func(column, name string, info duckdb.TypeInfo) {
		columns = append(columns, Column{Name: name})
		value, parseValue := storedValue(column, info)
		names, values, parse = append(names, column), append(values, value+" AS "+column), append(parse, parseValue)
	})
	if err != nil {
		return nil, err
	}
	cells := begin(columns)
	encoded := fmt.Sprintf("SELECT %s FROM (%s\n) AS result(%s)", strings.Join(values, ", "), statement, strings.Join(names, ", "))
	if limit < math.MaxInt64 && !isVolatile {
		encoded += fmt.Sprintf(" LIMIT %d", limit+1)
	}
	stored, err := s.write(limit, func(keep func([]string) error) error {
		return s.copyTo(ctx, conn, encoded, storedOptions, func(result io.Reader) error {
			return eachStoredRow(result, parse, func(row []any) error { return keep(cells(row)) })
		})
	})
	if err == nil && stored.Rows < stored.Total && !isVolatile {
		count := fmt.Sprintf("SELECT count(*) FROM (%s\n)", statement)
		if err = conn.QueryRowContext(ctx, count).Scan(&stored.Total); err != nil {
			err = errors.Join(err, stored.Close())
		}
	}
	return stored, err
}

// storedValue returns an expression for the value of a column in which no value is long, and a function
// that reads the value from the text of the expression, unless that is storedNull.
func storedValue(column string, info duckdb.TypeInfo) (expression string, parse func(string) (any, error)) {
	text := column + "::VARCHAR"
	switch info.InternalType() {
	case duckdb.TYPE_BOOLEAN:
		return column, func(text string) (any, error) { return strconv.ParseBool(text) }
	case duckdb.TYPE_TINYINT, duckdb.TYPE_SMALLINT, duckdb.TYPE_INTEGER, duckdb.TYPE_BIGINT, duckdb.TYPE_HUGEINT,
		duckdb.TYPE_UTINYINT, duckdb.TYPE_USMALLINT, duckdb.TYPE_UINTEGER, duckdb.TYPE_UBIGINT, duckdb.TYPE_UHUGEINT:
		return column, parseInteger
	case duckdb.TYPE_FLOAT, duckdb.TYPE_DOUBLE:
		return column + "::DOUBLE", parseNumber
	case duckdb.TYPE_DECIMAL:
		return column, parseNumber
	case duckdb.TYPE_DATE, duckdb.TYPE_TIMESTAMP, duckdb.TYPE_TIMESTAMP_S, duckdb.TYPE_TIMESTAMP_MS, duckdb.TYPE_TIMESTAMP_NS, duckdb.TYPE_TIMESTAMP_TZ:
		return fmt.Sprintf("CASE WHEN isfinite(%[1]s) THEN epoch_us(%[1]s)::VARCHAR ELSE '%[2]s' || %[3]s END", column, storedText, text), parseTime
	}
	// A CSV reader makes \n of \r\n, so \r is written as wording.Visible shows it.
	return fmt.Sprintf(`'%[1]s' || replace(CASE WHEN length(%[2]s) > %[3]d THEN left(%[2]s, %[4]d) || format('… ({:,} more characters)', length(%[2]s) - %[4]d) ELSE %[2]s END, chr(13), '\r')`,
		storedText, text, longestCell, cutCell), parseText
}

func parseInteger(text string) (any, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	return parseNumber(text)
}

func parseNumber(text string) (any, error) {
	n, err := strconv.ParseFloat(text, 64)
	if errors.Is(err, strconv.ErrRange) { // n is an infinity
		err = nil
	}
	return n, err
}

func parseTime(text string) (any, error) {
	micros, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return parseText(text)
	}
	return time.UnixMicro(micros).UTC(), nil
}

func parseText(text string) (any, error) { return strings.TrimPrefix(text, storedText), nil }

// eachStoredRow calls do with each row of a result that was written with storedOptions, of which parse
// reads the columns. The row changes with the next one.
func eachStoredRow(result io.Reader, parse []func(string) (any, error), do func([]any) error) error {
	lines := csv.NewReader(result)
	lines.ReuseRecord, lines.FieldsPerRecord = true, len(parse)
	row := make([]any, len(parse))
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		for i, field := range fields {
			row[i] = nil
			if err == nil && field != storedNull {
				row[i], err = parse[i](field)
			}
		}
		if err == nil {
			err = do(row)
		}
		if err != nil {
			return err
		}
	}
}

// write stores the rows with which fill calls its argument, limit at most.
func (s *Session) write(limit int64, fill func(keep func([]string) error) error) (_ *Stored, err error) {
	file, err := durable.Nameless(s.scratch.path)
	if err != nil {
		return nil, err
	}
	stored := &Stored{file: file}
	defer func() {
		if err != nil {
			err = errors.Join(err, stored.Close())
		}
	}()
	out := s2.NewWriter(&boundedWriter{w: file, left: spillBytes}, s2.WriterConcurrency(1))
	var mu sync.Mutex // guards isOver, out and stored, because copyTo may leave its reader running
	isOver := false
	var length []byte
	err = fill(func(cells []string) error {
		mu.Lock()
		defer mu.Unlock()
		if isOver {
			return context.Canceled
		}
		stored.Total++
		if stored.Rows == limit {
			return nil
		}
		stored.Rows++
		stored.columns = len(cells)
		for _, cell := range cells {
			length = binary.AppendUvarint(length[:0], uint64(len(cell)))
			if _, err := out.Write(append(length, cell...)); err != nil {
				return err
			}
		}
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	isOver = true
	return stored, errors.Join(err, out.Close())
}

// boundedWriter refuses to write more than left bytes.
type boundedWriter struct {
	w    io.Writer
	left int64
}

func (b *boundedWriter) Write(data []byte) (int, error) {
	if b.left -= int64(len(data)); b.left < 0 {
		return 0, fmt.Errorf("the result is larger than %s: add LIMIT to the statement, or write it as csv or parquet", humanize.Bytes(spillBytes))
	}
	return b.w.Write(data)
}

// Each calls do with the cells of each row, in the order of the statement. They change with the next row.
func (r *Stored) Each(ctx context.Context, do func(cells []string) error) error {
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReader(s2.NewReader(r.file))
	cells := make([]string, r.columns)
	var text []byte
	for range r.Rows {
		for i := range cells {
			length, err := binary.ReadUvarint(in)
			if err != nil {
				return err
			}
			text = slices.Grow(text[:0], int(length))[:length]
			if _, err := io.ReadFull(in, text); err != nil {
				return err
			}
			cells[i] = string(text)
		}
		err := ctx.Err()
		if err == nil {
			err = do(cells)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Close frees the result.
func (r *Stored) Close() error { return r.file.Close() }
