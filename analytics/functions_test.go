package analytics

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestStatementsWriteNothing tries every way out of a session that a statement could have: on the command
// line, and in a query with a header. Each is refused, and no file appears anywhere.
func TestStatementsWriteNothing(t *testing.T) {
	dir := newTape(t, seconds("A", 1, 3))
	root := filepath.Dir(dir.Path())
	outside := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(outside+"-secret", []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(dir.Path(), "trades", "date=2026-01-15", "x")
	s := openSession(t, dir, Options{})
	before := filesBelow(t, root, filepath.Dir(outside))
	for _, c := range []struct{ statement, does string }{
		{"FROM enable_profiling(save_location := 'PATH.txt')", "writes the profile of each later statement into a file"},
		{"FROM enable_profiling()", "prints profiles to standard output"},
		{"FROM main.enable_profiling()", "the same"},
		{`FROM system.main."enable_profiling" /* x */ ()`, "the same"},
		{"FROM ENABLE_PROFILING(format := 'json', save_location := 'PATH.json')", "writes the profile"},
		{"FROM (FROM disable_profiling())", "changes the session"},
		{"SELECT count(*) FROM enable_logging(storage := 'file', storage_path := 'DIRECTORY')", "writes a log into a directory"},
		{"FROM trades, enable_logging(level := 'trace', storage := 'stdout')", "prints to standard output"},
		{"WITH log AS MATERIALIZED (FROM truncate_duckdb_logs()) FROM log", "changes the session"},
		{"SELECT write_log('x', scope := 'database')", "writes to the log"},
		{"EXPLAIN ANALYZE FROM enable_profiling(save_location := 'PATH.txt')", "writes the profile"},
		{"FROM query('FROM enable_profiling(save_location := ''PATH.txt'')')", "hides the call in a text"},
		{"FROM json_execute_serialized_sql(json_serialize_sql('FROM enable_profiling()'))", "hides the call in a text"},
		{"PRAGMA enable_profiling", "prints profiles"},
		{"PRAGMA profiling_output = 'PATH.txt'", "writes the profile"},
		{"SET profiling_output = 'PATH.txt'", "writes the profile"},
		{"SET file_search_path = '/etc'", "reads other files"},
		{"SET VARIABLE x = 1", "changes the session"},
		{"RESET lock_configuration", "unlocks the session"},
		{"COPY trades TO 'PATH.parquet'", "writes a file"},
		{"COPY (SELECT 1) TO 'PATH.csv'", "writes a file"},
		{"SELECT 1) TO 'PATH.csv' (FORMAT csv", "closes the bracket of an export"},
		{"EXPORT DATABASE 'DIRECTORY'", "writes files"},
		{"IMPORT DATABASE 'DIRECTORY'", "runs the file schema.sql"},
		{"PRAGMA import_database('DIRECTORY')", "runs the file schema.sql"},
		{"ATTACH 'PATH.duckdb'", "creates a database"},
		{"FROM read_duckdb('PATH.duckdb')", "opens a database"},
		{"INSTALL httpfs", "fetches code"},
		{"LOAD 'PATH.duckdb_extension'", "runs code"},
		{"FORCE INSTALL httpfs FROM 'http://127.0.0.1:1'", "fetches code"},
		{"CREATE SECRET (TYPE http)", "stores a secret"},
		{"FROM duckdb_secrets()", "opens the home directory"},
		{"CHECKPOINT", "writes"}, {"FROM force_checkpoint()", "writes"}, {"FROM checkpoint()", "writes"},
		{"CALL enable_profiling()", "prints profiles"},
		{"CREATE TABLE x AS FROM trades", "changes the session"},
		{"CREATE MACRO f() AS 1", "changes the session"},
		{"PREPARE p AS SELECT 1", "changes the session"},
		{"INSERT INTO canonical.gaps VALUES (1)", "changes the session"},
		{"SELECT getenv('HOME')", "reads the environment"},
		{"FROM read_text('OUTSIDE')", "reads a file"},
		{"FROM read_blob('OUTSIDE')", "reads a file"},
		{"FROM 'OUTSIDE.csv'", "reads a file"},
		{"FROM glob('/*')", "lists files"},
		{"FROM read_text('" + dir.Path() + "/tape.json')", "reads a file next to the tables"},
		{"FROM read_text('" + dir.Path() + "/trades/../tape.json')", "reads a file next to the tables"},
		{"FROM read_csv('http://127.0.0.1:1/x.csv')", "sends a request"},
		{"FROM arrow_scan(1, 2, 3)", "reads memory"},
	} {
		for _, path := range []string{inside, outside} {
			statement := strings.NewReplacer("PATH", path, "DIRECTORY", filepath.Dir(path), "OUTSIDE", outside+"-secret").Replace(c.statement)
			result, err := s.SQL(t.Context(), statement)
			if err == nil {
				t.Errorf("it ran and %s: %s\n%v", c.does, statement, result.Rows)
			}
			if err := s.Export(t.Context(), statement, CSV, new(strings.Builder)); err == nil {
				t.Errorf("it was exported and %s: %s", c.does, statement)
			}
			if result, err := runText(t, s, statement); err == nil {
				t.Errorf("a query ran and %s: %s\n%v", c.does, statement, result.Rows)
			}
			if after := filesBelow(t, root, filepath.Dir(outside)); !slices.Equal(after, before) {
				t.Fatalf("%s: the files are now\n%s\nand were\n%s", statement, strings.Join(after, "\n"), strings.Join(before, "\n"))
			}
		}
	}
}

// runText runs a statement as the text of a query.
func runText(t *testing.T, s *Session, statement string) (Result, error) {
	const header = "-- own is mine.\n--\n-- reads:  trades whole\n-- column: n BIGINT dimensionless\n-- key:    n\n"
	q, err := ParseQuery("report/own.sql", header+statement)
	if err != nil {
		return Result{}, err
	}
	return s.Run(t.Context(), q, nil)
}

// TestQueriesReadRelationsOnly requires a query with a header to get nothing but relations, though a
// statement of the user's may look at the files of the tape and at the session.
func TestQueriesReadRelationsOnly(t *testing.T) {
	dir := newTape(t, seconds("A", 1, 3))
	s := openSession(t, dir, Options{})
	files := dir.Path() + "/trades/*/*.parquet"
	for _, from := range []string{
		"read_parquet('" + files + "')", "'" + files + "'", `"` + files + `"`, "parquet_metadata('" + files + "')", "glob('" + files + "')",
		"duckdb_settings()", "duckdb_functions()", "pragma_version()", "(SELECT current_setting('temp_directory'))", "query_table('trades')",
	} {
		if _, err := s.SQL(t.Context(), "SELECT count(*) AS n FROM "+from); err != nil {
			t.Errorf("statement: %s: %v", from, err)
		}
		_, err := runText(t, s, "SELECT count(*) AS n FROM trades, (SELECT 1 FROM "+from+")")
		if err == nil || !strings.Contains(err.Error(), " is not allowed: a query reads relations, not ") {
			t.Errorf("query: %s: %v", from, err)
		}
	}
	for _, text := range []string{
		"SELECT count(*) AS n FROM trades WHERE symbol != 'read_text(x)' AND extract(year FROM DATE '2026-01-15') = 2026",
		`SELECT count(*) AS n FROM trades CROSS JOIN range(3) AS "glob"`, "SELECT count(*) AS n FROM trades WHERE trim(BOTH ' ' FROM 'query') = 'query'",
	} {
		if _, err := runText(t, s, text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestEveryFunctionIsJudged requires each function of DuckDB that is not computed from its arguments alone
// to be known, so that a new version cannot bring a way out unseen.
func TestEveryFunctionIsJudged(t *testing.T) {
	s, err := OpenEmpty(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	harmless := []string{
		"check_peg_parser", "generate_series", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "range",
		"repeat", "repeat_row", "test_all_types", "test_vector_types", "unnest",
		"current_connection_id", "current_query", "current_query_id", "current_transaction_id", "currval", "error", "gen_random_uuid",
		"nextval", "random", "sleep_ms", "stats", "uuid", "uuidv4", "uuidv7",
	}
	result, err := s.SQL(t.Context(), `SELECT DISTINCT function_name FROM duckdb_functions() WHERE internal AND
		(function_type = 'table' OR function_type = 'scalar' AND (has_side_effects OR stability = 'VOLATILE'))`)
	if err != nil || len(result.Rows) < 80 {
		t.Fatal(len(result.Rows), err)
	}
	for _, row := range result.Rows {
		name := row[0].(string)
		if refusedFunction(name, true) == "" && !slices.Contains(harmless, name) {
			t.Errorf("%s is in no list", name)
		}
	}
}

// filesBelow returns the paths and sizes of all files below the directories.
func filesBelow(t *testing.T, roots ...string) (out []string) {
	t.Helper()
	for _, root := range roots {
		if err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				info, statErr := entry.Info()
				if statErr != nil {
					return statErr
				}
				out = append(out, path+" "+info.ModTime().Format(time.RFC3339Nano))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
