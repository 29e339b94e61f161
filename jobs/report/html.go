package report

import (
	"bufio"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/chart"
	"tapedeck/internal/wording"
)

//go:embed page
var pageFiles embed.FS

// htmlRows is the most rows of a section that a page shows, so that a phone can open the page of
// hundreds of symbols.
const htmlRows = 1000

// page holds the values of the template page/page.html.
type page struct {
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
	Title string
	SVG   template.HTML
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
	templates, err := template.ParseFS(pageFiles, "page/page.html")
	if err != nil {
		return fmt.Errorf("parse the page's template: %w", err)
	}
	style, err := pageFiles.ReadFile("page/page.css")
	if err != nil {
		return err
	}
	script, err := pageFiles.ReadFile("page/page.js")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(script)
	content := page{
		Heading:    r.heading(),
		About:      r.about(),
		Made:       "Made " + formatTime(r.MadeAt) + " UTC by tapedeck.",
		Style:      template.CSS(style),
		Script:     template.JS(script),
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
		content.Charts = append(content.Charts, pageChart{drawing.Title, template.HTML(svg)})
	}
	decimals := r.priceDecimals()
	for _, section := range r.visibleSections() {
		shown := r.pageSection(section, decimals)
		content.Sections = append(content.Sections, shown)
		content.Filter = content.Filter || slices.ContainsFunc(shown.Rows,
			func(row pageRow) bool { return row.Symbol != "" })
	}
	out := bufio.NewWriter(w)
	if err := templates.ExecuteTemplate(out, "page.html", content); err != nil {
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
	if overview := r.Section("overview"); overview != nil && overview.Err == nil {
		var trades int64
		for _, n := range r.tradesBySymbol() {
			trades += n
		}
		out = append(out, pageFact{Name: "Symbols that traded", Value: wording.Comma(len(overview.Result.Rows))},
			pageFact{Name: "Trades", Value: wording.Comma(trades)})
	}
	if incidents := r.Section("incidents"); incidents != nil && incidents.Err == nil {
		fact := pageFact{Name: "Alerts", Value: wording.Comma(len(incidents.Result.Rows))}
		if slices.ContainsFunc(incidents.Result.Rows,
			func(row []any) bool { return field[string](incidents.Result, row, "severity") == "high" }) {
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

func (r *Report) pageSection(section Section, decimals map[string]int) pageSection {
	out := pageSection{Name: section.Query.Name, Title: section.Query.Title, Doc: plainDoc(section.Query)}
	for _, column := range section.Query.Columns {
		out.Columns = append(out.Columns, pageHead{Name: label(column.Name), Doc: column.Doc})
	}
	if section.Err != nil {
		out.Error = "This section failed: " + oneLine(section.Err.Error())
		return out
	}
	result := section.Result
	if len(result.Rows) == 0 {
		out.Empty = emptyText(section.Query)
		return out
	}
	rows, more := r.topRows(section, htmlRows)
	out.More = more
	symbol := columnIndex(result, "symbol")
	columns := filledColumns(result, rows)
	var formatters []formatter
	for position, i := range columns {
		column := result.Columns[i]
		formatters = append(formatters, r.formatter(result, i, decimals))
		out.Heads = append(out.Heads, pageHead{Name: label(column.Name), Doc: column.Doc,
			Class: cellClass(column, i == symbol && position == 0)})
	}
	for _, row := range rows {
		shown := pageRow{Cells: make([]pageCell, 0, len(columns))}
		if symbol >= 0 {
			shown.Symbol, _ = row[symbol].(string)
		}
		for position, i := range columns {
			f := formatters[position]
			cell := pageCell{Text: oneLine(f.format(row, i, 0)), Class: out.Heads[position].Class,
				Value: sortValue(f.kind, row[i])}
			if level := levelOf(result.Columns[i], row[i]); level != "" {
				cell.Class = strings.TrimSpace(cell.Class + " " + string(level))
			}
			shown.Cells = append(shown.Cells, cell)
		}
		out.Rows = append(out.Rows, shown)
	}
	return out
}

// cellClass returns the CSS class of a column's cells. The script sorts those of class n as
// numbers.
func cellClass(column analytics.Column, namesRow bool) string {
	switch {
	case namesRow:
		return "name"
	case kindOf(column).rightAligned():
		return "n"
	case column.Name == "message" || column.Name == "last_message":
		return "long"
	}
	return ""
}

// sortValue returns the value by which a cell is sorted, or "" if that is its text.
func sortValue(kind kind, value any) string {
	switch v := value.(type) {
	case float64:
		return formatExact(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case time.Time:
		if kind == kindTime {
			return formatInstant(v)
		}
	}
	return ""
}
