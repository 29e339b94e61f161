package analytics

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestStatementsOnlyReadTheTape checks that a statement can neither change anything nor read other files.
func TestStatementsOnlyReadTheTape(t *testing.T) {
	dir := newTape(t, seconds("A", 1, 3))
	s := openSession(t, dir, Options{})
	secret := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(secret, []byte("a\n1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const onlyReading = " is not allowed: only statements that read are run (SELECT, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN)"
	for statement, want := range map[string]string{
		"":                       "there is no statement",
		" -- nothing\n;":         "there is no statement",
		"SELECT 1; SELECT 2":     "line 1: a second statement follows the semicolon; run one at a time",
		"SELECT $1":              "line 1: parameters are not supported here",
		"SELECT\n?":              "line 2: parameters are not supported here",
		"SELECT 'a":              "line 1: a quote ' is not closed",
		"COPY trades TO 'x.csv'": "COPY" + onlyReading,
		"EXPLAIN ANALYZE COPY trades TO '" + dir.Path() + "/trades/x.parquet'": "COPY" + onlyReading,
		"ATTACH 'x.db'":              "ATTACH" + onlyReading,
		"INSTALL httpfs":             "INSTALL" + onlyReading,
		"LOAD parquet":               "LOAD" + onlyReading,
		"SET threads = 1":            "SET" + onlyReading,
		"PRAGMA threads = 1":         "PRAGMA" + onlyReading,
		"CREATE TABLE x (a INT)":     "CREATE" + onlyReading,
		"DROP VIEW trades":           "DROP" + onlyReading,
		"DELETE FROM canonical.gaps": "DELETE" + onlyReading,
		"CALL pragma_version()":      "CALL" + onlyReading,
		"WITH x AS (SELECT 1) DELETE FROM canonical.gaps":         "WITH" + onlyReading,
		"PIVOT trades ON symbol USING count(*)":                   "DuckDB turns this into more than one statement; name the values, as in PIVOT … ON column IN (…)",
		"SELECT a\nFROM trades":                                   `Binder Error: Referenced column "a" not found in FROM clause! Candidate bindings: "date", "traded_at", "last_trade_id"`,
		"SELECT at FROM alerts":                                   `Parser Error: syntax error at or near "FROM"; AT is a keyword: write the column as "at" or alerts.at`,
		"SELECT * FROM '" + secret + "'":                          `Permission Error: Cannot access file "` + secret + `" - file system operations are disabled by configuration`,
		"SELECT * FROM read_text('/etc/hostname')":                `Permission Error: Cannot access file "/etc/hostname" - file system operations are disabled by configuration`,
		"SELECT * FROM read_text('" + dir.Path() + "/tape.json')": `Permission Error: Cannot access file "` + dir.Path() + `/tape.json" - file system operations are disabled by configuration`,
	} {
		_, err := s.SQL(t.Context(), statement)
		if err == nil || err.Error() != want {
			t.Errorf("%q:\n%v\nwant:\n%s", statement, err, want)
		}
	}
	for _, statement := range []string{
		"FROM trades", "(SELECT 1) UNION ALL (SELECT 2)", "VALUES (1)", "DESCRIBE trades", "SUMMARIZE trades", "SHOW TABLES", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE FROM trades;",
		"SELECT 1; -- the end; really", "SELECT ';' AS \"a;b\" /* ; /* ? */ $1 */", "SELECT $$a;b$$", "SELECT e'it\\'s;'", "SELECT alerts.at FROM alerts", "SELECT * FROM (PIVOT trades ON symbol IN ('A') USING count(*))",
		"TABLE trades",
	} {
		if _, err := s.SQL(t.Context(), statement); err != nil {
			t.Errorf("%q: %v", statement, err)
		}
	}
	if got := rowsOf(t, s, "SELECT count(*) FROM trades"); got != "3" {
		t.Errorf("%s trades afterwards", got)
	}
}

func TestExportFormats(t *testing.T) {
	dir := newTape(t, seconds("A", 1, 3))
	s := openSession(t, dir, Options{})
	for format, want := range map[Format]string{
		CSV:  "symbol,id,traded_at\nA,1,2026-01-15 12:00:00\nA,2,2026-01-15 12:00:01\nA,3,2026-01-15 12:00:02\n",
		JSON: "[\n\t{\"symbol\":\"A\",\"id\":1,\"traded_at\":\"2026-01-15 12:00:00\"},\n\t{\"symbol\":\"A\",\"id\":2,\"traded_at\":\"2026-01-15 12:00:01\"},\n\t{\"symbol\":\"A\",\"id\":3,\"traded_at\":\"2026-01-15 12:00:02\"}\n]\n",
	} {
		var out bytes.Buffer
		if err := s.Export(t.Context(), "SELECT symbol, id, traded_at FROM trades ORDER BY id; -- all", format, &out); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
	var out bytes.Buffer
	if err := s.Export(t.Context(), "SELECT symbol, id, price FROM trades ORDER BY id", Parquet, &out); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "out.parquet")
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var count, sum int64
	if err := db.QueryRow("SELECT count(*), sum(id)::BIGINT FROM read_parquet(?)", file).Scan(&count, &sum); err != nil || count != 3 || sum != 6 {
		t.Errorf("parquet: %d rows, sum %d, %v", count, sum, err)
	}
	for statement, format := range map[string]Format{"SELECT nothing": CSV, "SET threads = 1": JSON, "SELECT 1": "xml"} {
		out.Reset()
		if err := s.Export(t.Context(), statement, format, &out); err == nil || out.Len() > 0 {
			t.Errorf("%q as %s: %v, %d bytes", statement, format, err, out.Len())
		}
	}
}

func TestContextEndsAQuery(t *testing.T) {
	s := openSession(t, newTape(t, seconds("A", 1, 3)), Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := s.SQL(ctx, "SELECT count(*) FROM range(100000000) AS a, range(100000000) AS b WHERE a.range * b.range = 7")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error: %v", err)
	}
	if got := rowsOf(t, s, "SELECT 1"); got != "1" {
		t.Errorf("afterwards: %s", got)
	}
}
