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
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/chart"
)

//go:embed page
var pageFiles embed.FS

// htmlRows is how many rows of a section a page shows, so that a phone can still open that of hundreds of symbols.
const htmlRows = 1000

// page is what the template shows.
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
	Mood  Mood
	Parts []pagePart
}

type pagePart struct {
	Text string
	Code bool
}

type pageFact struct {
	Name, Value string
	Mood        Mood
}

type pageChart struct {
	Title string
	SVG   template.HTML
}

type pageSection struct {
	Name, Title, Doc     string
	Error, Nothing, More string
	Heads, Columns       []pageHead
	Rows                 []pageRow
}

type pageHead struct{ Name, Doc, Class string }

type pageRow struct {
	Symbol string
	Cells  []pageCell
}

type pageCell struct{ Text, Class, Value string }

// HTML writes the report as one page that refers to nothing outside itself: light or dark as the reader's system is, with charts
// as SVG. Tables can be sorted by a click and narrowed to symbols where scripts run, and are whole where none do. Of a section
// with more than 1,000 rows it shows the 1,000 that tell the most and says so; what charts are drawn from (candles) is left out
// unless it is all that was asked for.
func HTML(w io.Writer, r *Report) error {
	templates, err := template.ParseFS(pageFiles, "page/page.html")
	if err != nil {
		return fmt.Errorf("read the page's template: %w", err)
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
	shown := page{
		Heading:    r.heading(),
		About:      fmt.Sprintf("%s, feed %s. Times are UTC; the window includes its start and excludes its end.", r.subject(), r.Feed),
		Made:       "Made " + moment(r.MadeAt) + " UTC by tapedeck.",
		Style:      template.CSS(style),
		Script:     template.JS(script),
		ScriptHash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]),
		Facts:      r.facts(),
	}
	for _, statement := range r.Statements {
		shown.Statements = append(shown.Statements, pageStatement{statement.Mood, statementParts(statement.Text)})
	}
	for _, drawn := range r.drawings() {
		svg, err := chart.SVG(drawn)
		if err != nil {
			return err
		}
		shown.Charts = append(shown.Charts, pageChart{drawn.Title, template.HTML(svg)})
	}
	decimals := r.priceDecimals()
	for _, section := range r.Sections {
		if section.Query.Name == "candles" && len(r.Sections) > 1 {
			continue
		}
		made := r.pageSection(section, decimals)
		shown.Sections = append(shown.Sections, made)
		shown.Filter = shown.Filter || slices.ContainsFunc(made.Rows, func(row pageRow) bool { return row.Symbol != "" })
	}
	out := bufio.NewWriter(w)
	if err := templates.ExecuteTemplate(out, "page.html", shown); err != nil {
		return err
	}
	return out.Flush()
}

// subject says which symbols the report is about.
func (r *Report) subject() string {
	if len(r.Symbols) > 0 {
		return listed(r.Symbols)
	}
	return "All symbols on the tape"
}

// statementParts sets the commands between backquotes apart.
func statementParts(text string) (out []pagePart) {
	for i, part := range strings.Split(oneLine(text), "`") {
		if part != "" {
			out = append(out, pagePart{part, i%2 == 1})
		}
	}
	return out
}

// facts are a few sums for the top.
func (r *Report) facts() (out []pageFact) {
	if overview := r.Section("overview"); overview != nil && overview.Err == nil {
		var trades int64
		for _, n := range r.tradesBySymbol() {
			trades += n
		}
		out = append(out, pageFact{Name: "Symbols that traded", Value: grouped(formatInt(int64(len(overview.Result.Rows))))},
			pageFact{Name: "Trades", Value: grouped(formatInt(trades))})
	}
	if incidents := r.Section("incidents"); incidents != nil && incidents.Err == nil {
		fact := pageFact{Name: "Alerts", Value: grouped(formatInt(int64(len(incidents.Result.Rows))))}
		if at := columnIndex(incidents.Result, "severity"); at >= 0 && slices.ContainsFunc(incidents.Result.Rows, func(row []any) bool { return row[at] == "high" }) {
			fact.Mood = Bad
		}
		out = append(out, fact)
	}
	missing := pageFact{Name: "Missing ids", Value: grouped(formatInt(r.Missing))}
	if r.Missing > 0 {
		missing.Mood = Bad
	}
	return append(out, missing)
}

func (r *Report) pageSection(section Section, decimals map[string]int) pageSection {
	out := pageSection{Name: section.Query.Name, Title: section.Query.Title, Doc: plainDoc(section.Query)}
	columns := section.Query.Columns
	for _, column := range columns {
		out.Columns = append(out.Columns, pageHead{Name: label(column.Name), Doc: column.Doc})
	}
	if section.Err != nil {
		out.Error = "This section failed: " + oneLine(section.Err.Error())
		return out
	}
	result := section.Result
	if len(result.Rows) == 0 {
		out.Nothing = nothing(section.Query)
		return out
	}
	rows := result.Rows
	if len(rows) > htmlRows {
		telling, order := r.mostTelling(section)
		out.More = fmt.Sprintf("… and %s", count(int64(len(rows)-htmlRows), "more row"))
		if order != "" {
			out.More += "; " + order
		}
		rows = telling[:htmlRows]
	}
	symbol := columnIndex(result, "symbol")
	var shown []int
	for i, column := range result.Columns {
		if !slices.ContainsFunc(rows, func(row []any) bool { return row[i] != nil }) {
			continue
		}
		shown = append(shown, i)
		out.Heads = append(out.Heads, pageHead{Name: label(column.Name), Doc: column.Doc, Class: pageClass(column, i == symbol && len(shown) == 1)})
	}
	for _, row := range rows {
		made := pageRow{Cells: make([]pageCell, 0, len(shown))}
		if symbol >= 0 {
			made.Symbol, _ = row[symbol].(string)
		}
		for at, i := range shown {
			column := result.Columns[i]
			s := shower{kind: kindOf(column), signed: signed(column), decimals: decimals, symbol: symbol, window: r.Window}
			cell := pageCell{Text: oneLine(s.show(row, i, 0)), Class: pageClass(column, i == symbol && at == 0), Value: sortKey(s.kind, row[i])}
			if mood := moodOf(column, row[i]); mood != "" {
				cell.Class = strings.TrimSpace(cell.Class + " " + string(mood))
			}
			made.Cells = append(made.Cells, cell)
		}
		out.Rows = append(out.Rows, made)
	}
	return out
}

// pageClass is the class of a column's cells; the script sorts those of class n as numbers.
func pageClass(column analytics.Column, first bool) string {
	kind := kindOf(column)
	switch {
	case first:
		return "name"
	case kind.right():
		return "n"
	case column.Name == "message" || column.Name == "last_message":
		return "long"
	}
	return ""
}

// sortKey is what a cell is sorted by where that is not its text.
func sortKey(kind kind, value any) string {
	switch v := value.(type) {
	case float64:
		return number(v)
	case int64:
		return formatInt(v)
	case time.Time:
		if kind == kindTime {
			return instant(v)
		}
	}
	return ""
}
