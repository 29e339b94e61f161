package report

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/chart"
	"tapedeck/internal/wording"
)

var (
	//go:embed page/page.html
	pageTemplate string
	//go:embed page/page.css
	pageStyle template.CSS
	//go:embed page/page.js
	pageScript template.JS
)

// htmlRows is the most rows of a section that a page shows, so that a phone can open the page of
// hundreds of symbols.
const htmlRows = 1000

// pageContent holds the values of the template page/page.html.
type pageContent struct {
	Heading, About, Made string
	Style                template.CSS
	Script               template.JS
	ScriptHash           string
	Statements           []pageStatement
	Facts                []pageFact
	Charts               []pageChart
	Filter               bool
	Sections             []pageSection
}

type pageStatement struct {
	Level Level
	Parts []textPart
}

type pageFact struct {
	Name, Value string
	Level       Level
}

type pageChart struct {
	Title, Notes string
	SVG          template.HTML
}

type pageSection struct {
	Name, Title, Doc   string
	Error, Empty, More string
	Heads, Columns     []pageHead
	Rows               []pageRow
}

type pageHead struct{ Name, Doc, Class string }

type pageRow struct {
	Symbol string
	Cells  []pageCell
}

type pageCell struct{ Text, Class, Value string }

// HTML writes the report as one page that loads nothing from elsewhere, in light or dark colors as
// the reader's system prefers, with charts as SVG. If scripts run, tables can be sorted by their
// columns and filtered by symbol; without scripts they are complete. A section with more than 1,000
// rows shows the 1,000 most important ones and says so. The section candles is left out unless it
// is the only one.
func HTML(w io.Writer, r *Report) error {
	page, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("parse the page's template: %w", err)
	}
	sum := sha256.Sum256([]byte(pageScript))
	content := pageContent{
		Heading:    r.heading(),
		About:      r.about(),
		Made:       "Made " + formatTime(r.MadeAt) + " UTC by tapedeck.",
		Style:      pageStyle,
		Script:     pageScript,
		ScriptHash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]),
		Facts:      r.facts(),
	}
	for _, statement := range r.Statements {
		content.Statements = append(content.Statements, pageStatement{statement.Level, statementParts(statement.Text)})
	}
	for _, drawing := range r.drawings() {
		svg, err := chart.SVG(drawing)
		if err != nil {
			return err
		}
		content.Charts = append(content.Charts, pageChart{drawing.Title, drawing.Notes, template.HTML(svg)})
	}
	for _, section := range r.visibleSections() {
		shown := r.pageSection(section)
		content.Sections = append(content.Sections, shown)
		content.Filter = content.Filter || slices.ContainsFunc(shown.Rows,
			func(row pageRow) bool { return row.Symbol != "" })
	}
	out := bufio.NewWriter(w)
	if err := page.Execute(out, content); err != nil {
		return err
	}
	return out.Flush()
}

// about describes the report's symbols, feed and window.
func (r *Report) about() string {
	symbols := "All symbols on the tape"
	if len(r.Symbols) > 0 {
		symbols = wording.List(r.Symbols, listedNames)
	}
	return fmt.Sprintf("%s, feed %s. Times are UTC; the window includes its start and excludes its end.",
		symbols, r.Feed)
}

// facts returns the totals at the top of the page.
func (r *Report) facts() (out []pageFact) {
	if overview, ok := r.result("overview"); ok {
		out = append(out, pageFact{Name: "Symbols that traded", Value: wording.Comma(len(overview.Rows))},
			pageFact{Name: "Raw trades", Value: wording.Comma(r.countTrades())})
		out = append(out, usdtFact(overview)...)
	}
	if incidents, ok := r.result("incidents"); ok {
		fact := pageFact{Name: "Alerts", Value: wording.Comma(len(incidents.Rows))}
		if !r.Judged.Whole() && r.Judged.Minutes > 0 {
			fact.Name = fmt.Sprintf("Alerts, %d%% judged", 100*r.Judged.JudgedMinutes/r.Judged.Minutes)
		}
		if slices.ContainsFunc(incidents.Rows,
			func(row []any) bool { return field[string](incidents, row, "severity") == "high" }) {
			fact.Level = Bad
		}
		out = append(out, fact)
	}
	missing := pageFact{Name: "Missing ids", Value: wording.Comma(r.Missing)}
	if r.Missing > 0 {
		missing.Level = Bad
	}
	return append(out, missing)
}

// usdtFact returns the volume of all symbols in USDT, and of how many symbols it is if not of all.
func usdtFact(overview analytics.Result) []pageFact {
	sum, n := 0.0, 0
	for _, row := range overview.Rows {
		if i := columnIndex(overview, "quote_volume_usdt"); i >= 0 {
			if v, ok := row[i].(float64); ok {
				sum, n = sum+v, n+1
			}
		}
	}
	if n == 0 {
		return nil
	}
	fact := pageFact{Name: "Volume in USDT", Value: abbreviate(sum)}
	if n < len(overview.Rows) {
		fact.Name += fmt.Sprintf(", %s of %s", wording.Comma(n), wording.Count(len(overview.Rows), "symbol"))
	}
	return []pageFact{fact}
}

func (r *Report) pageSection(section Section) pageSection {
	out := pageSection{Name: section.Query.Name, Title: wording.Visible(section.Query.Title), Doc: plainDoc(section.Query)}
	for _, column := range section.Query.Columns {
		out.Columns = append(out.Columns, pageHead{Name: columnLabel(column), Doc: wording.Visible(column.Doc)})
	}
	if section.Err != nil {
		out.Error = "This section failed: " + wording.Visible(section.Err.Error())
		return out
	}
	result := section.Result
	if len(result.Rows) == 0 {
		out.Empty = r.emptyText(section.Query)
		return out
	}
	var rows [][]any
	rows, out.More = r.topRows(section, htmlRows)
	formatters := r.formatters(result, rows)
	for i, f := range formatters {
		head := pageHead{Name: columnLabel(f.Column), Doc: wording.Visible(f.Doc)}
		switch { // the script sorts the cells of class n as numbers
		case f.Name == "symbol" && i == 0:
			head.Class = "name"
		case f.kind.rightAligned():
			head.Class = "n"
		case f.Name == "message" || f.Name == "last_message":
			head.Class = "long"
		}
		out.Heads = append(out.Heads, head)
	}
	for _, row := range rows {
		shown := pageRow{Symbol: wording.Name(field[string](result, row, "symbol"))}
		for i, f := range formatters {
			value := row[f.index]
			class := strings.TrimSpace(out.Heads[i].Class + " " + string(levelOf(f.Column, value)))
			shown.Cells = append(shown.Cells, pageCell{f.format(row, 0), class, sortValue(f.kind, value)})
		}
		out.Rows = append(out.Rows, shown)
	}
	return out
}

// sortValue returns the value by which a cell is sorted, or "" if that is its text.
func sortValue(kind kind, value any) string {
	switch value.(type) {
	case time.Time:
		if kind != kindTime {
			return ""
		}
	case float64, int64:
	default:
		return ""
	}
	return csvValue(kind, value)
}
