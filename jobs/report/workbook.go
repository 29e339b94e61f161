package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"tapedeck/analytics"
	"tapedeck/internal/wording"
	"tapedeck/internal/workbook"
)

// XLSX writes the report as an Excel workbook: a front page with the statements and charts, one
// sheet per section, and a sheet that explains the columns. Cells hold the values of the SQL with
// the 15 significant digits that Excel keeps, more than any price or quantity of the exchange has.
// Only the cells' formats round what is displayed. A section with more than 100,000 rows has the 100,000 most
// important ones, and the front page says so.
func XLSX(w io.Writer, r *Report) error {
	r, leftOut := r.limited(workbookRows)
	book := workbook.Book{
		Title:   "Report " + r.heading(),
		Subject: "Trades recorded by tapedeck",
		Created: r.MadeAt,
		Front:   append(r.frontLines(), leftOut...),
	}
	tables := map[string]int{}
	for _, section := range r.Sections {
		tables[section.Query.Name] = len(book.Tables)
		book.Tables = append(book.Tables, r.sheet(section))
	}
	groups := r.chartGroups()
	marks := markAlertsInSheet(groups, len(book.Tables))
	if len(marks.table.Rows) > 0 {
		book.Tables = append(book.Tables, marks.table)
	}
	book.Charts = r.workbookCharts(groups, tables, marks)
	return workbook.Write(w, book)
}

// workbookRows is the most rows of a section in a workbook. A sheet could have ten times as many, but programs
// that open it would need minutes and gigabytes. LibreOffice opens one of 1.7 million cells, a year of 200
// symbols, in 6 s of processor time.
const workbookRows = 100_000

// limited returns the report with at most limit rows in each section, the most important ones, and what was
// left out.
func (r *Report) limited(limit int) (*Report, []workbook.Line) {
	var lines []workbook.Line
	out := *r
	out.Sections = slices.Clone(r.Sections)
	for i := range out.Sections {
		section := &out.Sections[i]
		all := len(section.Result.Rows)
		if all <= limit {
			continue
		}
		rows, order := r.orderByImportance(*section)
		section.Result.Rows = rows[:limit]
		text := fmt.Sprintf("The sheet %s has %s of %s; --format csv and json have all.",
			wording.Visible(section.Query.Title), wording.Comma(limit), wording.Count(all, "row"))
		if order != "" {
			text = strings.Replace(text, ";", ", "+order+";", 1)
		}
		lines = append(lines, workbook.Line{Text: text, Tone: workbook.Fair})
	}
	return &out, lines
}

func (r *Report) frontLines() []workbook.Line {
	lines := []workbook.Line{
		{Text: "Trade report", Tone: workbook.Title},
		{Text: r.heading(), Tone: workbook.Heading},
		{Text: fmt.Sprintf("%s Made %s.", r.about(), formatTime(r.MadeAt)), Tone: workbook.Muted},
		{},
		{Text: "Completeness", Tone: workbook.Heading},
	}
	for _, statement := range r.Statements {
		for i, line := range wording.WrapAll(strings.ReplaceAll(statement.Text, "`", ""), 150) {
			if i > 0 {
				line = "   " + line
			}
			lines = append(lines, workbook.Line{Text: line, Tone: tones[statement.Level]})
		}
	}
	return lines
}

// plainDoc returns a query's documentation for readers who do not see the SQL.
func plainDoc(query analytics.Query) string {
	doc := strings.Join(strings.Fields(query.Doc), " ")
	if rest, ok := strings.CutPrefix(doc, query.Name+" has "); ok && rest != "" {
		doc = strings.ToUpper(rest[:1]) + rest[1:]
	}
	return strings.ReplaceAll(wording.Visible(doc), "[window_start, window_end)", "the window")
}

// tones are the styles of levels.
var tones = map[Level]workbook.Tone{Bad: workbook.Bad, Fair: workbook.Fair, Good: workbook.Good, Note: workbook.Muted}

func (r *Report) sheet(section Section) workbook.Table {
	rows, columns := section.Result.Rows, section.Result.Columns
	table := workbook.Table{Name: section.Query.Title, Doc: plainDoc(section.Query), Rows: rows, Empty: r.emptyText(section.Query)}
	if section.Err != nil {
		table.Empty, columns = "This section failed: "+wording.Visible(section.Err.Error()), section.Query.Columns
	}
	for i, column := range columns {
		table.Columns = append(table.Columns, sheetColumn(column, amountDecimals(rows, i)))
	}
	symbol := columnIndex(section.Result, "symbol")
	table.Decimals = func(row, column int) int {
		switch kindOf(columns[column]) {
		case kindPrice:
			if symbol < 0 {
				break
			}
			name, _ := rows[row][symbol].(string)
			if n, ok := r.priceDecimals()[name]; ok {
				return n
			}
		case kindAmount, kindNumber:
			// Without more decimals, a small amount next to large ones, such as one in another
			// quote asset, would be displayed as zero.
			if v, ok := rows[row][column].(float64); ok && v != 0 {
				return max(table.Columns[column].Decimals, decimalsNeeded(math.Abs(v), 3))
			}
		}
		return -1
	}
	return table
}

// decimalsNeeded returns how many decimals a positive number needs to show that many significant
// digits, at most maxDecimals.
func decimalsNeeded(size float64, digits int) int {
	n := 0
	for ; n < maxDecimals && size < math.Pow10(digits-1); n++ {
		size *= 10
	}
	return n
}

func sheetColumn(column analytics.Column, amountDecimals int) workbook.Column {
	unit, doc := unitOf(column)
	out := workbook.Column{Name: column.Name, Unit: unit, Doc: doc}
	switch kindOf(column) {
	case kindTime:
		out.Format, out.Unit = workbook.DateTime, "UTC"
	case kindDate:
		out.Format, out.Unit = workbook.Date, "UTC"
	case kindCount:
		out.Format = workbook.Integer
	case kindID:
		out.Format = workbook.ID
	case kindPrice, kindAmount, kindNumber:
		out.Format, out.Decimals = workbook.Number, amountDecimals
	case kindPercent:
		out.Format, out.Decimals = workbook.PlainPercent, 2
		if signed(column) {
			out.Format, out.Paint = workbook.Percent, workbook.Sign
		}
	case kindShare:
		out.Format, out.Decimals = workbook.Share, 1
	}
	switch column.Name {
	case "message", "last_message":
		out.Format = workbook.LongText
	case "taker_buy_share", "rising_share":
		out.Paint = workbook.Scale
	case "trades", "runs", "realized_volatility":
		out.Paint = workbook.Bars
	}
	if levels, ok := textLevels[column.Name]; ok {
		out.Tones = map[string]workbook.Tone{}
		for text, level := range levels {
			out.Tones[text] = tones[level]
		}
	}
	return out
}

// amountDecimals returns the decimals that the median of a column's amounts needs for about six
// significant digits.
func amountDecimals(rows [][]any, column int) int {
	var sizes []float64
	for _, row := range rows {
		if v, ok := row[column].(float64); ok && v != 0 {
			sizes = append(sizes, math.Abs(v))
		}
	}
	if len(sizes) == 0 {
		return 2
	}
	slices.Sort(sizes)
	switch median := sizes[len(sizes)/2]; {
	case median >= 10_000:
		return 0
	case median >= 100:
		return 2
	case median >= 1:
		return 4
	}
	return 8
}

// workbookCharts arranges the charts in rows of two: first the groups, then the single charts in
// pairs.
func (r *Report) workbookCharts(groups [][]chartSpec, tables map[string]int, marks markSheet) (rows [][]workbook.Chart) {
	var singles []workbook.Chart
	for _, group := range groups {
		var charts []workbook.Chart
		for _, spec := range group {
			charts = append(charts, r.workbookChart(spec, tables[spec.section.Query.Name], marks))
		}
		if len(charts) == 1 && group[0].kind != moversChart {
			singles = append(singles, charts...)
			continue
		}
		rows = append(rows, charts)
	}
	for pair := range slices.Chunk(singles, 2) {
		rows = append(rows, pair)
	}
	return rows
}

func (r *Report) workbookChart(spec chartSpec, table int, marks markSheet) workbook.Chart {
	series := workbook.Series{Table: table, Category: spec.category, Value: spec.value, From: spec.from, To: spec.to}
	timeFormat, _ := r.timeFormat()
	out := workbook.Chart{Title: spec.title, CategoryFormat: timeFormat}
	switch spec.kind {
	case moversChart:
		out.Kind, out.Format, out.Decimals, out.CategoryFormat = workbook.Bar, workbook.Percent, 1, ""
		out.Height = max(240, 26*(spec.to-spec.from)+80)
		series.Color = "1A7F4B"
		if spec.level == Bad {
			series.Color = "B3261E"
		}
	case hoursChart:
		out.Kind, out.Format = workbook.Columns, workbook.Integer
		if kindOf(spec.section.Result.Columns[spec.value]) == kindAmount {
			out.Format, out.Decimals = workbook.Number, decimalsNeeded(largestValue(spec.rows(), spec.value), 2)
		}
	case priceChart:
		out.Title += ", every " + formatDuration(r.candleStep)
		out.Kind, out.Format = workbook.Candles, workbook.Number
		out.Decimals = axisDecimals(spec.rows(), spec.prices, r.priceDecimals()[spec.symbol])
		for _, column := range spec.prices {
			series.Value = column
			out.Series = append(out.Series, series)
		}
		series.Value, series.Color = spec.value, "C5D3E3"
		out.Series = append(append(out.Series, series), marks.series(spec.symbol)...)
		return out
	}
	out.Series = []workbook.Series{series}
	return out
}

func largestValue(rows [][]any, column int) (out float64) {
	for _, row := range rows {
		if v, ok := row[column].(float64); ok {
			out = max(out, v)
		}
	}
	return out
}
