package analytics

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const spikeText = `-- volume_spike lists the one-minute buckets whose quote volume is
-- at least min_ratio times what it was.
--
-- reads:   trades        from 1 hour before window_start
-- reads:   coverage      whole
-- param:   window_start  TIMESTAMP  UTC, inclusive, on a minute
-- param:   window_end    TIMESTAMP  UTC, exclusive, on a minute
-- param:   min_ratio     DOUBLE     dimensionless, > 1; default 8
-- param:   name          VARCHAR    text; default 'it''s'
-- param:   pause         INTERVAL   a time; default 90 minutes
-- param:   symbols       VARCHAR[]  those wanted, all where NULL; default NULL
-- column:  symbol        VARCHAR    as the exchange spells it
-- column:  at            TIMESTAMP  UTC, end of the bucket: from then on it could be known
-- column:  score         DOUBLE     quote volume over its mean, dimensionless,
--                                   and so on
-- column:  severity      VARCHAR    low, medium or high
-- column:  message       VARCHAR    one sentence
-- column:  first_id      BIGINT     first trade
-- column:  last_id       BIGINT     last trade
-- column:  exact         DECIMAL(18, 3)  something
-- key:     symbol, at
SELECT
    trades.symbol,
    $window_end::TIMESTAMP AS at,
    count(*) / $min_ratio::DOUBLE AS score,
    'low' AS severity,
    $name::VARCHAR || $pause::INTERVAL AS message,
    min(id) AS first_id,
    max(id) AS last_id,
    1::DECIMAL(18, 3) AS exact,
FROM trades
JOIN coverage ON trades.symbol = coverage.symbol
WHERE
    traded_at >= $window_start::TIMESTAMP
    AND ($symbols::VARCHAR[] IS NULL OR list_contains($symbols::VARCHAR[], trades.symbol))
GROUP BY trades.symbol
ORDER BY trades.symbol
`

func TestParseQuery(t *testing.T) {
	q, err := ParseQuery("own/detect/volume_spike.sql", spikeText)
	if err != nil {
		t.Fatal(err)
	}
	text := q.Text
	q.Text, q.columnsLine = "", 0
	want := Query{
		Name: "volume_spike", Kind: Detect, Path: "own/detect/volume_spike.sql", Title: "Volume spike",
		Doc: "volume_spike lists the one-minute buckets whose quote volume is\nat least min_ratio times what it was.",
		Reads: []Read{
			{Relation: "trades", Anchor: "window_start", Before: time.Hour, Doc: "from 1 hour before window_start"},
			{Relation: "coverage", Doc: "whole"},
		},
		Params: []Param{
			{Name: "window_start", Type: "TIMESTAMP", Doc: "UTC, inclusive, on a minute"},
			{Name: "window_end", Type: "TIMESTAMP", Doc: "UTC, exclusive, on a minute"},
			{Name: "min_ratio", Type: "DOUBLE", Doc: "dimensionless, > 1", Default: 8.0, HasDefault: true},
			{Name: "name", Type: "VARCHAR", Doc: "text", Default: "it's", HasDefault: true},
			{Name: "pause", Type: "INTERVAL", Doc: "a time", Default: 90 * time.Minute, HasDefault: true},
			{Name: "symbols", Type: "VARCHAR[]", Doc: "those wanted, all where NULL", HasDefault: true},
		},
		Columns: []Column{
			{"symbol", "VARCHAR", "as the exchange spells it"},
			{"at", "TIMESTAMP", "UTC, end of the bucket: from then on it could be known"},
			{"score", "DOUBLE", "quote volume over its mean, dimensionless, and so on"},
			{"severity", "VARCHAR", "low, medium or high"},
			{"message", "VARCHAR", "one sentence"},
			{"first_id", "BIGINT", "first trade"},
			{"last_id", "BIGINT", "last trade"},
			{"exact", "DECIMAL(18, 3)", "something"},
		},
		Key: []string{"symbol", "at"}, Cooldown: DefaultCooldown,
		Needs: &Needs{Whole: time.Hour + time.Minute, Step: time.Minute}, // all that it reads
	}
	if diff := cmp.Diff(want, q, cmp.AllowUnexported(Query{})); diff != "" {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	q.Text = text
	s, err := OpenEmpty(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Check(t.Context(), q); err != nil {
		t.Error(err)
	}
	if got := q.LookBack("trades"); got != time.Hour {
		t.Errorf("look-back %v", got)
	}
}

// TestParseQueryErrors checks that a wrong file is refused, with the line and the reason, before it runs.
func TestParseQueryErrors(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"misspelled header line":   {"-- column:  symbol ", "-- colunm:  symbol ", `12: unknown header line "colunm:"; did you mean "column:"?`},
		"unknown relation":         {"-- reads:   coverage", "-- reads:   covrage", `5: reads "covrage": the relations are trades, alerts, runs, coverage, conflicts, recorder, drops, open_conflicts, dropped_ids, gaps, bounds, minutes, incidents, judged, and the summaries hour_largest, hour_returns, hour_sizes, hours`},
		"relation twice":           {"-- reads:   coverage      whole", "-- reads:   trades        whole", `5: reads "trades" appears twice`},
		"look-back unreadable":     {"from 1 hour before", "from one hour before", `4: reads "from one hour before window_start": write "from 24 hours before window_start" or "from window_start"`},
		"look-back from nothing":   {"1 hour before window_start", "1 hour before window_begin", `21: reads: trades counts from "window_begin", which is not a TIMESTAMP parameter of this query`},
		"whole tape":               {"trades        from 1 hour before window_start", "trades        whole", `21: a detector must read trades from a finite time before window_start, stated under reads:`},
		"read and not said":        {"-- reads:   coverage      whole\n", "", `31: the query reads coverage, but the header has no line reads: coverage`},
		"said and not read":        {"JOIN coverage ON trades.symbol = coverage.symbol\n", "", `5: the relation coverage is in the header, but the query does not read it`},
		"parameter type":           {"min_ratio     DOUBLE", "min_ratio     FLOAT ", `8: param "min_ratio" has the type "FLOAT"; the types are BOOLEAN, BIGINT, DOUBLE, VARCHAR, VARCHAR[], TIMESTAMP, DATE, INTERVAL`},
		"parameter twice":          {"-- param:   name          VARCHAR    text", "-- param:   min_ratio     VARCHAR    text", `9: param "min_ratio" appears twice`},
		"default of another type":  {"default 8", "default eight", `8: default of param "min_ratio": "eight" is not a DOUBLE`},
		"parameter misspelled":     {"$min_ratio::", "$min_ration::", `25: $min_ration is not in the header; did you mean $min_ratio?`},
		"parameter not in header":  {"$min_ratio::", "$threshold::", `25: $threshold is not in the header: add a line param:`},
		"parameter not used":       {" / $min_ratio::DOUBLE", "::DOUBLE", `8: the parameter min_ratio is in the header, but the query does not use it`},
		"parameter without cast":   {"$min_ratio::DOUBLE", "$min_ratio", `25: cast the parameter where it is used: $min_ratio::DOUBLE`},
		"parameter cast otherwise": {"$symbols::VARCHAR[] IS", "$symbols::VARCHAR IS", `35: cast the parameter where it is used: $symbols::VARCHAR[]`},
		"nameless parameter":       {"$min_ratio::DOUBLE", "?", `25: write a parameter as $name, not ?`},
		"window without a type":    {"window_end    TIMESTAMP", "window_end    DATE     ", `21: a detector needs a parameter window_end of type TIMESTAMP without a default`},
		"column without type":      {"VARCHAR    one sentence", "one sentence", `17: column "message" has no type: write name, TYPE, meaning with unit`},
		"column twice":             {"-- column:  last_id       BIGINT     last trade", "-- column:  first_id      BIGINT     last trade", "19: column \"first_id\" appears twice\nown/detect/volume_spike.sql:21: a detector must return a column last_id of type BIGINT"},
		"column missing":           {"-- column:  last_id       BIGINT     last trade\n", "", `20: a detector must return a column last_id of type BIGINT`},
		"key unknown":              {"-- key:     symbol, at", "-- key:     symbol, when", `21: key column "when" is not among the columns above`},
		"key other":                {"-- key:     symbol, at", "-- key:     symbol", `21: the key of a detector must be symbol, at`},
		"no key":                   {"-- key:     symbol, at\n", "", `20: the header has no key: line`},
		"severity of a detector":   {"-- key:", "-- severity: fail\n-- key:", `21: severity: is only for checks; a detector returns a column severity`},
		"cooldown unreadable":      {"-- key:", "-- cooldown: often\n-- key:", `21: cooldown "often" is not a duration such as 30 minutes`},
		"no description":           {"UTC, inclusive, on a minute", "", ``},
		"two statements":           {"ORDER BY trades.symbol\n", "ORDER BY trades.symbol;\nSELECT 1\n", `37: a second statement follows this semicolon; a query must be one SELECT`},
		"a statement before":       {"SELECT\n    trades.symbol,", "DELETE FROM trades; SELECT\n    trades.symbol,", `1: a query must be one SELECT, which may begin with WITH`},
		"no statement":             {spikeText[strings.Index(spikeText, "SELECT"):], "", `21: there is no SELECT below the header`},
		"open quote":               {"'low'", "'low", `26: a quote ' is not closed`},
		"semicolon at the end":     {"ORDER BY trades.symbol\n", "ORDER BY trades.symbol;\n", ``},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(spikeText, test.old, test.new, 1)
			if text == spikeText {
				t.Fatal("the text is unchanged")
			}
			_, err := ParseQuery("own/detect/volume_spike.sql", text)
			got := ""
			if err != nil {
				got = strings.TrimPrefix(err.Error(), "own/detect/volume_spike.sql:")
				var syntax *SyntaxError
				if !errors.As(err, &syntax) {
					t.Errorf("%T", err)
				}
			}
			if got != test.want {
				t.Errorf("error:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
	for path, want := range map[string]string{
		"own/detect/Spike.sql":       `own/detect/Spike.sql:1: the file name "Spike" is not lower_snake_case.sql`,
		"own/other/spike.sql":        `own/other/spike.sql:1: a query must be in a directory detect, report, check, cookbook or summary, not "other"`,
		"own/check/volume_spike.sql": `own/check/volume_spike.sql:21: the header of a check needs a line severity: fail or severity: warn`,
	} {
		if _, err := ParseQuery(path, spikeText); err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant: %s", path, err, want)
		}
	}
}

// TestParseQueryNamesAllErrors checks that one run names all errors of a header, and nothing that only
// follows from them.
func TestParseQueryNamesAllErrors(t *testing.T) {
	text := strings.NewReplacer(
		"-- reads:   coverage", "-- reads:   covrage", "min_ratio     DOUBLE", "min_ratio     FLOAT ", "default 8", "default eight",
		"-- column:  symbol ", "-- colunm:  symbol ", "VARCHAR    one sentence", "one sentence", "-- key:     symbol, at", "-- key:     symbol, when\n-- severity: fail",
	).Replace(spikeText)
	_, err := ParseQuery("own/detect/volume_spike.sql", text)
	want := []string{
		`5: reads "covrage": the relations are `, `8: param "min_ratio" has the type "FLOAT"; the types are `,
		`12: unknown header line "colunm:"; did you mean "column:"?`, `17: column "message" has no type: write name, TYPE, meaning with unit`,
		`21: key column "when" is not among the columns above`, `22: severity: is only for checks; a detector returns a column severity`,
	}
	got := strings.Split(fmt.Sprint(err), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i], "own/detect/volume_spike.sql:"+want[i]) {
			t.Fatalf("errors:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	text = strings.NewReplacer("$min_ratio::DOUBLE", "$min_ratio", "$symbols::VARCHAR[] IS", "$symbol::VARCHAR IS").Replace(spikeText)
	_, err = ParseQuery("own/detect/volume_spike.sql", text)
	if got := strings.Split(fmt.Sprint(err), "\n"); len(got) < 2 || !strings.Contains(got[0], ":25: cast") || !strings.Contains(got[1], ":35: $symbol is not") {
		t.Errorf("errors of the text: %q", got)
	}
}

// TestCheckFindsWhatParsingCannot checks the errors in names and types that need the database.
func TestCheckFindsWhatParsingCannot(t *testing.T) {
	s, err := OpenEmpty(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, test := range map[string]struct{ old, new, want string }{
		"another name":    {"AS first_id", "AS first", `12: column 6 is first_id in the header, but the query returns first`},
		"another type":    {"max(id) AS last_id", "sum(id) AS last_id", `12: column last_id is BIGINT in the header, but the query returns HUGEINT`},
		"another scale":   {"1::DECIMAL(18, 3)", "1::DECIMAL(18, 4)", `12: column exact is DECIMAL(18, 3) in the header, but the query returns DECIMAL(18,4)`},
		"one too few":     {"    1::DECIMAL(18, 3) AS exact,\n", "", `12: column 8 is exact in the header, but the query returns only 7`},
		"one too many":    {"AS exact,\n", "AS exact,\n    1 AS more,\n", `12: the query returns a column 9, more INTEGER, that is not in the header`},
		"unknown column":  {"min(id)", "min(idd)", `28: Binder Error: Referenced column "idd" not found in FROM clause! Candidate bindings: "id"`},
		"no such form":    {"min(id)", "min(id, id, id, id)", `28: Binder Error: No function matches the given name and argument types 'min(BIGINT, BIGINT, BIGINT, BIGINT)'. You might need to add explicit type casts.`},
		"at is a keyword": {"GROUP BY trades.symbol", "GROUP BY at, trades.symbol", `36: Parser Error: syntax error at or near ","; AT is a keyword: write the column as "at" or alerts.at`},
		"bad syntax":      {"GROUP BY trades.symbol", "GROUP trades.symbol", `36: Parser Error: syntax error at or near "trades"`},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := ParseQuery("own/detect/volume_spike.sql", strings.Replace(spikeText, test.old, test.new, 1))
			if err != nil {
				t.Fatal(err)
			}
			err = s.Check(t.Context(), q)
			if err == nil || !strings.HasPrefix(strings.TrimPrefix(err.Error(), "own/detect/volume_spike.sql:"), test.want) {
				t.Errorf("error:\n%v\nwant:\n%s", err, test.want)
			}
		})
	}
}

func TestRunChecksArguments(t *testing.T) {
	q, err := ParseQuery("own/detect/volume_spike.sql", spikeText)
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenEmpty(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	window := func(more map[string]any) map[string]any {
		args := map[string]any{"window_start": noon, "window_end": noon.Add(time.Hour)}
		for name, value := range more {
			args[name] = value
		}
		return args
	}
	for want, args := range map[string]map[string]any{
		"": window(map[string]any{"min_ratio": 3, "symbols": []string{"A", "B"}, "pause": "5 minutes", "name": ""}),
		"volume_spike needs a value for window_end (TIMESTAMP)":                                               {"window_start": noon},
		`volume_spike has no parameter "min_rato"; did you mean "min_ratio"?`:                                 window(map[string]any{"min_rato": 3}),
		`volume_spike has no parameter "x"; it has window_start, window_end, min_ratio, name, pause, symbols`: window(map[string]any{"x": 3}),
		`parameter min_ratio of volume_spike: true (bool) is not a DOUBLE`:                                    window(map[string]any{"min_ratio": true}),
		`parameter min_ratio of volume_spike: "8x" is not a DOUBLE`:                                           window(map[string]any{"min_ratio": "8x"}),
		`parameter symbols of volume_spike: [1] ([]interface {}) is not a VARCHAR[]`:                          window(map[string]any{"symbols": []any{1}}),
		`parameter window_end of volume_spike: "noon" is not a TIMESTAMP`:                                     window(map[string]any{"window_end": "noon"}),
	} {
		_, err := s.Run(t.Context(), q, args)
		if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
			t.Errorf("%v:\n%s\nwant:\n%s", args, got, want)
		}
	}
}

func TestEmbeddedQueriesMatchTheirHeaders(t *testing.T) {
	queries, problems := Load("")
	for _, problem := range problems {
		t.Error(problem)
	}
	if len(queries) < 8 {
		t.Errorf("only %d queries", len(queries))
	}
	s, err := OpenEmpty(t.Context(), Options{Macros: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, q := range queries {
		if err := s.Check(t.Context(), q); err != nil {
			t.Error(err)
		}
		for _, column := range q.Columns {
			if column.Doc == "" {
				t.Errorf("%s: column %s has no description", q.Path, column.Name)
			}
		}
		if strings.Contains(q.Text, "SELECT *") || strings.Contains(q.Text, "now()") || strings.Contains(q.Text, "current_date") {
			t.Errorf("%s: a query must not use SELECT *, now() or current_date", q.Path)
		}
	}
}

func TestLoadFromDirectory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("detect/own_spike.sql", spikeText)
	write("detect/wrong.sql", "SELECT 1")
	write("detect/README.md", "not a query")
	write("detect/.hidden.sql", "not a query")
	write("check/duplicate_id.sql", strings.Replace(spikeText, "-- key:", "-- severity: warn\n-- key:", 1))
	write("check/id_gap.sql", "a broken replacement of an embedded query")
	embedded, _ := Load("")
	queries, problems := Load(dir)
	var texts []string
	for _, problem := range problems {
		texts = append(texts, strings.TrimPrefix(problem.Error(), dir+"/"))
	}
	want := []string{
		"detect/wrong.sql:1: the header does not describe what a row is",
		"check/id_gap.sql:1: the header does not describe what a row is",
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if len(queries) != len(embedded) { // one more and one less
		t.Errorf("%d queries, %d embedded", len(queries), len(embedded))
	}
	for i, q := range queries {
		if i > 0 && queries[i-1].Kind == q.Kind && queries[i-1].Name >= q.Name {
			t.Errorf("%s after %s", q.Name, queries[i-1].Name)
		}
		if q.Name == "id_gap" || q.Name == "duplicate_id" && !strings.HasPrefix(q.Path, dir) {
			t.Errorf("%s from %s", q.Name, q.Path)
		}
	}
	if _, problems := Load(filepath.Join(dir, "none")); len(problems) != 1 {
		t.Errorf("problems of a missing directory: %v", problems)
	}
}

// TestMisplacedFilesAreNamed checks that a file which somebody takes for a query is named if it is not read.
func TestMisplacedFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"detectors/a.sql", "detectors/b.sql", "Report/c.sql", "own/d.sql", "notes/d.txt", "schema/trades.sql", "e.sql", "README.md",
		"detect/f.SQL", "detect/g.sql.txt", "detect/h.sql~", "detect/.i.sql", "detect/j.md", "check/more/k.sql",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("SELECT 1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	problems := func(only ...Kind) (out []string) {
		_, problems := Load(dir, only...)
		for _, problem := range problems {
			var file *FileError
			if !errors.As(problem, &file) {
				t.Errorf("%T", problem)
			}
			out = append(out, strings.ReplaceAll(problem.Error(), dir+"/", ""))
		}
		slices.Sort(out)
		return out
	}
	always := []string{
		"e.sql: not read here; move it into detect, report, check, cookbook or summary, the directory of its kind",
		"own: 1 file in it not read; the directories are detect, report, check, cookbook or summary",
	}
	ofDetect := []string{
		"detect/f.SQL: not read because of its ending; rename it to f.sql",
		"detect/g.sql.txt: not read because of its ending; rename it to g.sql",
		"detectors: 2 files in it not read; rename the directory to detect",
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(append(slices.Clone(always), ofDetect...))), problems(Detect)); diff != "" {
		t.Errorf("of detect (-want +got):\n%s", diff)
	}
	ofAll := append(append(slices.Clone(always), ofDetect...), "Report: 1 file in it not read; rename the directory to report",
		"check/more: 1 file in it not read; move what is in it to check")
	if diff := cmp.Diff(slices.Sorted(slices.Values(ofAll)), problems()); diff != "" {
		t.Errorf("of all (-want +got):\n%s", diff)
	}
}

func FuzzParseQuery(f *testing.F) {
	f.Add("detect/a.sql", spikeText)
	f.Add("check/a.sql", "-- a\n-- reads: trades whole\n-- column: x BIGINT y\n-- key: x\n-- severity: warn\nSELECT 1 AS x FROM trades")
	f.Add("report/.sql", "-- a\n-- reads: trades whole\n-- column: x BIGINT y\n-- key: x\nSELECT 1 AS x FROM trades")
	f.Add("report/a.sql", "-- a $$ 'b' /* /* */ */ e'\\' $tag$ ; $tag$ ?")
	queries, _ := Load("")
	for _, q := range queries {
		f.Add(q.Path, q.Text)
	}
	f.Fuzz(func(t *testing.T, path, text string) {
		q, err := ParseQuery(path, text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Line > strings.Count(text, "\n")+1 {
				t.Errorf("error %v", err)
			}
			return
		}
		if q.Name == "" || len(q.Columns) == 0 || len(q.Key) == 0 || len(q.Reads) == 0 {
			t.Errorf("an incomplete query was accepted: %+v", q)
		}
	})
}
