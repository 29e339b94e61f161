package analytics

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestStoredResultIsReadAgain requires the rows of a stored result in their order, with values as SQL
// returns them, and texts that are cut before they leave DuckDB.
func TestStoredResultIsReadAgain(t *testing.T) {
	s := openSession(t, newTape(t, seconds("A", 1, 3)), Options{})
	for _, c := range []struct {
		name, statement string
		columns         []string
		rows            int64
		row             func(i int64) []any
	}{
		{"many rows", "SELECT 299999 - i AS n FROM range(300000) AS r(i) ORDER BY i", []string{"n"}, 300_000, func(i int64) []any { return []any{299_999 - i} }},
		{"wide rows", "SELECT i, repeat('ä', 3000) AS text, repeat('y', 5000) AS text FROM range(5000) AS r(i)", []string{"i", "text", "text"}, 5000,
			func(i int64) []any {
				return []any{i, strings.Repeat("ä", 3000), strings.Repeat("y", 3960) + "… (1,040 more characters)"}
			}},
		{"one large value", "SELECT repeat('x', 10000000) AS text, list_sum(list(i)) AS n FROM range(10) AS r(i)", []string{"text", "n"}, 1,
			func(int64) []any {
				return []any{strings.Repeat("x", 3960) + "… (9,996,040 more characters)", int64(45)}
			}},
		{"nested values", "SELECT [1, 2] AS list, {'a': 'b'} AS struct, MAP {1: 2} AS map, NULL AS nothing, true AS flag, 1.5::DOUBLE AS number", []string{"list", "struct", "map", "nothing", "flag", "number"}, 1,
			func(int64) []any { return []any{"[1, 2]", "{'a': b}", "{1=2}", nil, true, 1.5} }},
		{"texts", `SELECT e'a\r\nb,"c"' AS text, '' AS empty, 'n' AS letter, e'\x01' AS control, NULL::VARCHAR AS nothing`, []string{"text", "empty", "letter", "control", "nothing"}, 1,
			func(int64) []any { return []any{"a\\r\nb,\"c\"", "", "n", "\x01", nil} }},
		{"a NULL", "SELECT NULL AS nothing", []string{"nothing"}, 1, func(int64) []any { return []any{nil} }},
		{"numbers", "SELECT 9007199254740993::HUGEINT AS whole, 1e300::DOUBLE AS large, 'NaN'::DOUBLE AS nan, '-inf'::DOUBLE AS inf, 0.1::FLOAT AS short, 12.50::DECIMAL(10,2) AS exact, 0.1::DOUBLE + 0.2 AS sum",
			[]string{"whole", "large", "nan", "inf", "short", "exact", "sum"}, 1,
			func(int64) []any {
				return []any{int64(9007199254740993), 1e300, math.NaN(), math.Inf(-1), float64(float32(0.1)), 12.5, 0.30000000000000004}
			}},
		{"times", "SELECT TIMESTAMP '2026-01-15 01:02:03.000004' AS at, DATE '1600-02-29' AS day, 'infinity'::TIMESTAMP AS never, TIMESTAMPTZ '2026-01-15 00:00:00+01' AS zone, TIME '01:02:03' AS time, INTERVAL 90 MINUTE AS length",
			[]string{"at", "day", "never", "zone", "time", "length"}, 1,
			func(int64) []any {
				return []any{time.Date(2026, 1, 15, 1, 2, 3, 4000, time.UTC), time.Date(1600, 2, 29, 0, 0, 0, 0, time.UTC), "infinity",
					time.Date(2026, 1, 14, 23, 0, 0, 0, time.UTC), "01:02:03", "01:30:00"}
			}},
		{"no rows", "SELECT 1 AS one WHERE false; -- nothing", []string{"one"}, 0, nil},
		{"DESCRIBE", "DESCRIBE SELECT 1 AS one", []string{"column_name", "column_type", "null", "key", "default", "extra"}, 1,
			func(int64) []any { return []any{"one", "INTEGER", "YES", nil, nil, nil} }},
		{"a table", "FROM trades", []string{"symbol", "id", "price", "qty", "first_trade_id", "last_trade_id", "traded_at", "is_buyer_maker", "date"}, 3, nil},
	} {
		var names []string
		stored, err := s.Store(t.Context(), c.statement, math.MaxInt64, func(columns []Column) Cells {
			for _, column := range columns {
				names = append(names, column.Name)
			}
			return sprintCells
		})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.columns, names); diff != "" || stored.Rows != c.rows {
			t.Errorf("%s: %d rows, columns (-want +got):\n%s", c.name, stored.Rows, diff)
		}
		for range 2 { // it can be read again
			i := int64(0)
			if err := stored.Each(t.Context(), func(cells []string) error {
				if c.row != nil {
					if diff := cmp.Diff(sprintCells(c.row(i)), cells); diff != "" {
						return fmt.Errorf("row %d: %s", i, diff)
					}
				}
				i++
				return nil
			}); err != nil || i != c.rows {
				t.Errorf("%s: %d rows, %v", c.name, i, err)
			}
		}
		if err := stored.Close(); err != nil {
			t.Error(err)
		}
	}
	plan, err := s.Store(t.Context(), "EXPLAIN SELECT 1", math.MaxInt64, func([]Column) Cells { return sprintCells })
	if err != nil || plan.Rows != 1 || plan.Close() != nil {
		t.Errorf("EXPLAIN: %+v, %v", plan, err)
	}
	for statement, want := range map[string]string{
		"COPY trades TO 'x'":             "COPY is not allowed",
		"SELECT 1\n, missing":            "line 2: Binder Error",
		"SELECT 1 AS a) AS x(a); FROM (": "line 1: a second statement",
	} {
		if _, err := s.Store(t.Context(), statement, math.MaxInt64, func([]Column) Cells { return sprintCells }); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", statement, err, want)
		}
	}
	stop := errors.New("stop")
	stored, err := s.Store(t.Context(), "FROM range(10)", math.MaxInt64, func([]Column) Cells { return sprintCells })
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	if err := stored.Each(t.Context(), func([]string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a reader that stops: %v", err)
	}
}

// sprintCells makes a text of each value, with its type.
func sprintCells(row []any) []string {
	cells := make([]string, len(row))
	for i, value := range row {
		cells[i] = fmt.Sprintf("%T %v", value, value)
	}
	return cells
}
