package report

import (
	"strings"
	"testing"

	"tapedeck/analytics"
)

// TestWorkbookIsLimited checks which rows of a long section a workbook has, and that it says so.
func TestWorkbookIsLimited(t *testing.T) {
	section := func(name, title string, rows [][]any, columns ...string) Section {
		query := analytics.Query{Name: name, Title: title, Key: []string{columns[0]}}
		for _, column := range columns {
			query.Columns = append(query.Columns, analytics.Column{Name: column, Type: map[string]string{"trades": "BIGINT"}[column]})
		}
		return Section{Query: query, Result: analytics.Result{Columns: query.Columns, Rows: rows}}
	}
	r := &Report{Sections: []Section{
		section("overview", "Overview", [][]any{{"AUSDT", int64(1)}, {"BUSDT", int64(9)}}, "symbol", "trades"),
		section("hourly", "Hourly", [][]any{{"AUSDT", 1}, {"AUSDT", 2}, {"BUSDT", 1}, {"BUSDT", 2}}, "symbol", "hour"),
		section("incidents", "Incidents", [][]any{{3}, {2}, {1}, {0}}, "at"),
	}}
	limited, lines := r.limited(3)
	var texts []string
	for _, line := range lines {
		texts = append(texts, line.Text)
	}
	if got, want := strings.Join(texts, "\n"), "The sheet Hourly has 3 of 4 rows, most traded symbols first; --format csv and json have all.\n"+
		"The sheet Incidents has 3 of 4 rows; --format csv and json have all."; got != want {
		t.Errorf("the front page says\n%s\nwant\n%s", got, want)
	}
	hourly := limited.Sections[1].Result.Rows
	if len(hourly) != 3 || hourly[0][0] != "BUSDT" || hourly[1][0] != "BUSDT" || hourly[2][1] != 1 {
		t.Errorf("the rows are %v", hourly)
	}
	if incidents := limited.Sections[2].Result.Rows; len(incidents) != 3 || incidents[0][0] != 3 {
		t.Errorf("the incidents are %v, want the newest", incidents)
	}
	if len(r.Sections[1].Result.Rows) != 4 || len(limited.Sections[0].Result.Rows) != 2 {
		t.Error("the report itself, or a section that fits, was shortened")
	}
}
