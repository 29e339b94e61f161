package analytics

import (
	"context"
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the current results of the queries to sql/testdata")

const casesDir = "../sql/testdata"

// requiredCases are the cases that a query of a kind must have, by the last part of the file name.
var requiredCases = map[Kind][]string{
	Detect:   {"ordinary", "empty", "thin", "edges", "gap"},
	Report:   {"ordinary", "empty"},
	Check:    {"ordinary", "empty"},
	Cookbook: {"ordinary", "empty"},
}

// TestCases runs sql/testdata/<query>_<case>.txtar. Such a file has prose, followed by these parts:
//
//	-- params --      one line name = value each; the other parameters take their defaults
//	-- trades.csv --  rows of a relation; other columns get a neutral value
//	-- trades.sql --  more rows of the relation, as a SELECT
//	-- want.csv --    the expected rows, or
//	-- want.err --    the expected error
//
// If a case does not give bounds, they are computed from trades; if it does not give minutes, they are
// computed from trades, gaps and bounds. -update writes the current results to the files.
func TestCases(t *testing.T) {
	queries, problems := Load("")
	for _, problem := range problems {
		t.Error(problem)
	}
	byName := map[string]Query{}
	for _, query := range queries {
		if other, ok := byName[query.Name]; ok {
			t.Fatalf("%s and %s have the same name, so their cases cannot be distinguished", other.Path, query.Path)
		}
		byName[query.Name] = query
	}
	files, err := filepath.Glob(filepath.Join(casesDir, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenEmpty(t.Context(), Options{Threads: 1, Macros: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	exists := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		exists[name] = true
		query, ok := queryOfCase(name, byName)
		if !ok {
			t.Errorf("%s: no query has the name of this case", file)
			continue
		}
		t.Run(name, func(t *testing.T) { runCase(t, s, query, file) })
	}
	for _, query := range queries {
		for _, name := range requiredCases[query.Kind] {
			if !exists[query.Name+"_"+name] {
				t.Errorf("%s has no case %s_%s.txtar", query.Path, query.Name, name)
			}
		}
	}
}

// queryOfCase returns the query with the longest name that is a prefix of the name of the case.
func queryOfCase(name string, queries map[string]Query) (found Query, ok bool) {
	for prefix := name; prefix != ""; prefix = prefix[:max(strings.LastIndexByte(prefix, '_'), 0)] {
		if query, ok := queries[prefix]; ok && prefix != name {
			return query, true
		}
	}
	return Query{}, false
}

// sqlCase is a case whose rows are loaded.
type sqlCase struct {
	archive       *txtar.Archive
	args          map[string]any
	want, wantErr string
}

// loadCase loads the rows of a case into the relations of an empty session.
func loadCase(t *testing.T, s *Session, query Query, file string) sqlCase {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range relationNames {
		if err := exec(t.Context(), s.db, "DELETE FROM canonical."+name); err != nil {
			t.Fatal(err)
		}
	}
	c := sqlCase{archive: archive, args: map[string]any{}}
	given := map[string]bool{}
	for _, part := range archive.Files {
		relation, form, _ := strings.Cut(part.Name, ".")
		switch {
		case part.Name == "params":
			for _, line := range strings.Split(strings.TrimSpace(string(part.Data)), "\n") {
				name, value, _ := strings.Cut(line, "=")
				if strings.TrimSpace(name) != "" {
					c.args[strings.TrimSpace(name)] = caseValue(strings.TrimSpace(value))
				}
			}
		case part.Name == "want.csv":
			c.want = string(part.Data)
		case part.Name == "want.err":
			c.wantErr = strings.TrimSpace(string(part.Data))
		case form == "csv":
			given[relation] = true
			if err := loadCSV(t.Context(), s, relation, string(part.Data)); err != nil {
				t.Fatalf("%s: %v", part.Name, err)
			}
		case form == "sql":
			given[relation] = true
			if err := loadRows(t.Context(), s, relation, string(part.Data)); err != nil {
				t.Fatalf("%s: %v", part.Name, err)
			}
		default:
			t.Fatalf("unknown part %q", part.Name)
		}
	}
	if !given["bounds"] {
		if err := exec(t.Context(), s.db, "INSERT INTO canonical.bounds SELECT symbol, min(id), max(id), arg_min(traded_at, id) AS first_at, arg_max(traded_at, id) AS last_at, first_at, 'trade', last_at, 'trade' FROM canonical.trades GROUP BY symbol"); err != nil {
			t.Fatal(err)
		}
	}
	statements := []string{"CREATE OR REPLACE VIEW minutes AS FROM canonical.minutes", "CREATE OR REPLACE VIEW judged AS FROM canonical.judged"}
	if !given["minutes"] && query.ReadsRelation("minutes") {
		// The minutes are computed once, and the INSERT checks their columns.
		statements = append(statements, "INSERT INTO canonical.minutes "+derivedSelect("minutes"))
	}
	for _, statement := range statements {
		if err := exec(t.Context(), s.db, statement); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func runCase(t *testing.T, s *Session, query Query, file string) {
	c := loadCase(t, s, query, file)
	result, err := s.Run(t.Context(), query, c.args)
	got, gotErr := "", ""
	if err != nil {
		gotErr = err.Error()
	} else {
		got = renderCSV(t, result)
	}
	if *update {
		updateCase(t, file, c.archive, got, gotErr)
		return
	}
	if diff := cmp.Diff(c.wantErr, gotErr); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(c.want, got); diff != "" && gotErr == "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if testing.Short() {
		return
	}
	// The order is total, so a second run must return the same rows.
	again, err := s.Run(t.Context(), query, c.args)
	if err == nil {
		if diff := cmp.Diff(got, renderCSV(t, again)); diff != "" {
			t.Errorf("the second run differs (-first +second):\n%s", diff)
		}
	}
}

func caseValue(text string) any {
	if text == "NULL" {
		return nil
	}
	return text
}

// neutralValue is the value of a column that a case does not give.
var neutralValue = map[string]string{
	"bounds.known_since": "first_at", "bounds.known_since_by": "'trade'", "bounds.known_until": "last_at", "bounds.known_until_by": "'trade'",
	"trades.date": "traded_at::DATE", "alerts.date": "\"at\"::DATE", "runs.date": "coalesce(finished_at, scheduled_at)::DATE",
	"trades.first_trade_id": "id", "trades.last_trade_id": "id", "trades.is_buyer_maker": "false",
	"alerts.extra": "'{}'", "alerts.found_at": "\"at\"", "alerts.severity": "'low'", "runs.attempt": "1",
	"minutes.is_recorded": "true", "minutes.recorded_from": "TIMESTAMP '2026-01-01'", "minutes.trades": "1",
	"coverage.absent_at_source": "0", "coverage.missing": "0", "coverage.state": "'proven'", "coverage.checked_at": "date + INTERVAL 1 DAY",
	"conflicts.date": "traded_at::DATE", "conflicts.found_at": "traded_at", "open_conflicts.date": "traded_at::DATE", "open_conflicts.found_at": "traded_at", "recorder.date": "\"at\"::DATE", "drops.date": "\"at\"::DATE",
}

func loadCSV(ctx context.Context, s *Session, relation, content string) error {
	reader := csv.NewReader(strings.NewReader(content))
	reader.TrimLeadingSpace = true
	records, err := reader.ReadAll()
	if err != nil || len(records) < 2 {
		return err
	}
	columns, err := columnsOf(ctx, s.db, "canonical."+relation)
	if err != nil {
		return err
	}
	header := make([]string, len(records[0]))
	for i, name := range records[0] {
		j := slices.IndexFunc(columns, func(c Column) bool { return c.Name == name })
		if j < 0 {
			return fmt.Errorf("%s has no column %q", relation, name)
		}
		header[i] = fmt.Sprintf(`column%d::%s AS "%s"`, i, columns[j].Type, name)
	}
	var values strings.Builder
	for i, record := range records[1:] {
		if i > 0 {
			values.WriteString(", ")
		}
		cells := make([]string, len(record))
		for j, cell := range record {
			cells[j] = "NULL::VARCHAR"
			if cell != "" {
				cells[j] = Quote(cell)
			}
		}
		values.WriteString("(" + strings.Join(cells, ", ") + ")")
	}
	names := make([]string, len(header))
	for i := range names {
		names[i] = fmt.Sprintf("column%d", i)
	}
	return loadRows(ctx, s, relation, fmt.Sprintf("SELECT %s FROM (VALUES %s) AS given(%s)", strings.Join(header, ", "), values.String(), strings.Join(names, ", ")))
}

// loadRows inserts the rows of a SELECT into a canonical relation. Other columns get a neutral value.
func loadRows(ctx context.Context, s *Session, relation, statement string) error {
	columns, err := columnsOf(ctx, s.db, "canonical."+relation)
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		return fmt.Errorf("no relation %q", relation)
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	shape, err := fetch(ctx, conn, "SELECT * FROM ("+statement+") LIMIT 0")
	conn.Close()
	if err != nil {
		return err
	}
	list := make([]string, len(columns))
	for i, column := range columns {
		given := slices.ContainsFunc(shape.Columns, func(c Column) bool { return c.Name == column.Name })
		neutral, ok := neutralValue[relation+"."+column.Name]
		switch {
		case given:
			list[i] = fmt.Sprintf(`"%s"::%s`, column.Name, column.Type)
		case ok:
			list[i] = neutral
		case column.Type == "VARCHAR":
			list[i] = "''"
		case column.Type == "TIMESTAMP":
			list[i] = "NULL"
		default:
			list[i] = "0"
		}
	}
	return exec(ctx, s.db, fmt.Sprintf("INSERT INTO canonical.%s SELECT %s FROM (%s)", relation, strings.Join(list, ", "), statement))
}

func renderCSV(t *testing.T, result Result) string {
	t.Helper()
	var out strings.Builder
	writer := csv.NewWriter(&out)
	header := make([]string, len(result.Columns))
	for i, column := range result.Columns {
		header[i] = column.Name
	}
	writer.Write(header)
	for _, row := range result.Rows {
		cells := make([]string, len(row))
		for i, value := range row {
			switch v := value.(type) {
			case nil:
			case float64:
				cells[i] = strconv.FormatFloat(v, 'g', -1, 64)
			case time.Time:
				cells[i] = v.Format("2006-01-02 15:04:05.999999")
				if result.Columns[i].Type == "DATE" {
					cells[i] = v.Format(time.DateOnly)
				}
			default:
				cells[i] = fmt.Sprint(v)
			}
		}
		writer.Write(cells)
	}
	writer.Flush()
	if err := writer.Error(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func updateCase(t *testing.T, file string, archive *txtar.Archive, got, gotErr string) {
	t.Helper()
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want.") })
	if gotErr != "" {
		archive.Files = append(archive.Files, txtar.File{Name: "want.err", Data: []byte(gotErr + "\n")})
	} else {
		archive.Files = append(archive.Files, txtar.File{Name: "want.csv", Data: []byte(got)})
	}
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}
