package analytics

import (
	"database/sql"
	"fmt"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/wording"
)

// QuoteName returns name as an identifier of SQL.
func QuoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// withoutFormulas returns a statement with the rows of another one, in which texts that a spreadsheet
// would take for formulas have an apostrophe before them, as wording.Formula writes it. Other values
// stay what they are.
func withoutFormulas(conn *sql.Conn, statement string) (string, error) {
	return withColumns(conn, statement, func(column, name string, info duckdb.TypeInfo) (value, shown string) {
		value = column
		if mayBeFormula(info) {
			value = fmt.Sprintf("CASE WHEN contains(%s, left(%s::VARCHAR, 1)) AND %s::VARCHAR != '' THEN '''' || %s::VARCHAR ELSE %s::VARCHAR END",
				Quote(wording.FormulaStarts), column, column, column, column)
		}
		return value, wording.Formula(name)
	})
}

// withFiniteNumbers returns a statement with the rows of another one, in which numbers that JSON cannot
// express (NaN and the infinities) are NULL. Those inside lists, structs and maps stay.
func withFiniteNumbers(conn *sql.Conn, statement string) (string, error) {
	return withColumns(conn, statement, func(column, name string, info duckdb.TypeInfo) (value, shown string) {
		switch info.InternalType() {
		case duckdb.TYPE_DOUBLE, duckdb.TYPE_FLOAT:
			return fmt.Sprintf("CASE WHEN isfinite(%s) THEN %s END", column, column), name
		}
		return column, name
	})
}

// withColumns returns a statement with the rows of another one, of which each column is replaced by an
// expression and a name. If nothing changes, it is the same statement.
func withColumns(conn *sql.Conn, statement string, change func(column, name string, info duckdb.TypeInfo) (value, shown string)) (string, error) {
	var names, values []string
	changes := false
	err := eachColumn(conn, statement, func(column, name string, info duckdb.TypeInfo) {
		value, shown := change(column, name, info)
		changes = changes || value != column || shown != name
		names, values = append(names, column), append(values, value+" AS "+QuoteName(shown))
	})
	if err != nil || !changes {
		return statement, err
	}
	return fmt.Sprintf("SELECT %s FROM (%s\n) AS result(%s)", strings.Join(values, ", "), statement, strings.Join(names, ", ")), nil
}

// mayBeFormula reports whether the text of a value in a CSV file can begin like a formula without
// being a number or a time. That of a list, a struct or a map begins with a bracket, and that of JSON
// only if it is a number.
func mayBeFormula(info duckdb.TypeInfo) bool {
	switch info.InternalType() {
	case duckdb.TYPE_VARCHAR, duckdb.TYPE_ENUM, duckdb.TYPE_BLOB, duckdb.TYPE_UNION:
		return info.Alias() != "JSON"
	}
	return false
}

// eachColumn calls do for each column that a statement returns, with a name for it that needs no quotes, its
// own name and its type.
func eachColumn(conn *sql.Conn, statement string, do func(column, name string, info duckdb.TypeInfo)) error {
	return withPrepared(conn, statement, func(_ *duckdb.Conn, stmt *duckdb.Stmt) error {
		count, err := stmt.ColumnCount()
		if err != nil {
			return err
		}
		for i := range count {
			name, err := stmt.ColumnName(i)
			if err != nil {
				return err
			}
			info, err := stmt.ColumnTypeInfo(i)
			if err != nil {
				return err
			}
			do(fmt.Sprintf("c%d", i), name, info)
		}
		return nil
	})
}
