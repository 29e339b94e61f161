package analytics

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
)

// Stored is the result of a statement that is kept by DuckDB: in the memory of its session, and on disk
// what does not fit. Its caller holds a few rows at a time. The caller must close it.
type Stored struct {
	Columns []Column
	// Rows is how many rows are kept, and Total how many the statement returns.
	Rows, Total int64

	conn *sql.Conn
	page int64   // rows that are read at a time
	rows [][]any // of a statement that cannot be stored
}

const (
	// storedTable is a temporary table, which only its connection sees.
	storedTable = "temp.main.stored_result"
	// leastPage and mostPage bound how many rows are read at a time. In between, they are as many as fit
	// into pageBytes. Each page takes some milliseconds to find in a table of millions of rows.
	leastPage, mostPage = 2048, 128 << 10
	pageBytes           = 32 << 20
	// valueBytes is what a value takes besides its text.
	valueBytes = 32
	// longestCell is the most characters that a stored text keeps; of a longer one the first cutCell are
	// kept, with the number of those that are not.
	longestCell, cutCell = 4000, 3960
)

// Store runs one statement that only reads, as SQL does, and keeps the first rows of its result, limit at
// most, for people to read: a text, a list, a struct and a map become text of at most 4,000 characters, which
// says how many more there are. If there are more rows than limit, they are counted by another run.
func (s *Session) Store(ctx context.Context, text string, limit int64) (*Stored, error) {
	var stored *Stored
	err := s.retry(ctx, func(conn *sql.Conn) error {
		statement, err := checkReadOnly(conn, text)
		if err != nil {
			return err
		}
		tokens, _ := scan(statement) // checkReadOnly has scanned it
		if tokens[0].text == "explain" {
			result, err := fetch(ctx, conn, text)
			stored = &Stored{Columns: result.Columns, Rows: int64(len(result.Rows)), Total: int64(len(result.Rows)), rows: result.Rows}
			return err
		}
		stored, err = s.store(ctx, conn, statement, limit, isVolatile(tokens))
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

// store stores the first rows of the result of a statement on a connection of its own.
func (s *Session) store(ctx context.Context, conn *sql.Conn, statement string, limit int64, isVolatile bool) (_ *Stored, err error) {
	stored := &Stored{}
	create, widest, err := stored.createText(conn, statement)
	if err != nil {
		return nil, err
	}
	if stored.conn, err = s.db.Conn(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stored.conn.Close())
		}
	}()
	if limit < math.MaxInt64 && !isVolatile {
		create += fmt.Sprintf(" LIMIT %d", limit+1)
	}
	if _, err := stored.conn.ExecContext(ctx, create); err != nil {
		return nil, err
	}
	var bytes int64
	measure := fmt.Sprintf("SELECT count(*), coalesce(max(%s), 0) FROM %s", widest, storedTable)
	if err := stored.conn.QueryRowContext(ctx, measure).Scan(&stored.Total, &bytes); err != nil {
		return nil, err
	}
	stored.Rows = min(stored.Total, limit)
	if stored.Rows < stored.Total && !isVolatile {
		count := fmt.Sprintf("SELECT count(*) FROM (%s\n)", statement)
		if err := stored.conn.QueryRowContext(ctx, count).Scan(&stored.Total); err != nil {
			return nil, err
		}
	}
	stored.page = min(max(pageBytes/(bytes+valueBytes*int64(len(stored.Columns))), leastPage), mostPage)
	return stored, nil
}

// createText returns the statement that creates the table, and the number of bytes of the texts of one of
// its rows. It sets the columns.
func (r *Stored) createText(conn *sql.Conn, statement string) (create, bytes string, err error) {
	var names, values []string
	bytes = "0"
	err = eachColumn(conn, statement, func(column, name string, info duckdb.TypeInfo) {
		r.Columns = append(r.Columns, Column{Name: name})
		value := cellValue(column, info)
		if value != column {
			bytes += fmt.Sprintf(" + coalesce(strlen(%s), 0)", column)
		}
		names, values = append(names, column), append(values, value+" AS "+column)
	})
	return fmt.Sprintf("CREATE OR REPLACE TEMP TABLE stored_result AS SELECT %s FROM (%s\n) AS result(%s)",
		strings.Join(values, ", "), statement, strings.Join(names, ", ")), bytes, err
}

// cellValue returns an expression for a column in which no value is long.
func cellValue(column string, info duckdb.TypeInfo) string {
	switch info.InternalType() {
	case duckdb.TYPE_VARCHAR, duckdb.TYPE_ENUM, duckdb.TYPE_BLOB, duckdb.TYPE_BIT, duckdb.TYPE_UNION,
		duckdb.TYPE_LIST, duckdb.TYPE_ARRAY, duckdb.TYPE_STRUCT, duckdb.TYPE_MAP:
		text := column + "::VARCHAR"
		return fmt.Sprintf("CASE WHEN length(%s) > %d THEN left(%s, %d) || format('… ({:,} more characters)', length(%s) - %d) ELSE %s END",
			text, longestCell, text, cutCell, text, cutCell, text)
	}
	return column
}

// Each calls do with each row, in the order of the statement.
func (r *Stored) Each(ctx context.Context, do func(row []any) error) error {
	for _, row := range r.rows {
		if err := do(row); err != nil {
			return err
		}
	}
	if r.conn == nil {
		return nil
	}
	for from := int64(0); from < r.Rows; from += r.page {
		page := fmt.Sprintf("FROM %s WHERE rowid >= %d AND rowid < %d ORDER BY rowid", storedTable, from, min(from+r.page, r.Rows))
		if err := fetchEach(ctx, r.conn, page, do); err != nil {
			return err
		}
	}
	return nil
}

// Close frees the result.
func (r *Stored) Close() error {
	if r.conn == nil {
		return nil
	}
	_, err := r.conn.ExecContext(context.Background(), "DROP TABLE "+storedTable)
	return errors.Join(err, r.conn.Close())
}
