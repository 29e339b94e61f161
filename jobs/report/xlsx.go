package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"tapedeck/analytics"
	"tapedeck/internal/workbook"
)

// XLSX writes the report as an Excel workbook: a front page with what is to be known first and the charts, a sheet a section,
// and a page that explains the columns. Cells hold the values of the SQL to 15 significant digits, which is what Excel keeps and more
// than any price or quantity of the exchange has; what is shown is rounded by the cells' formats alone.
func XLSX(w io.Writer, r *Report) error {
	book := workbook.Book{
		Title:   "Report " + r.heading(),
		Subject: "Trades recorded by tapedeck",
		Created: r.MadeAt,
		Front:   r.front(),
	}
	decimals := r.priceDecimals()
	tables := map[string]int{}
	for _, section := range r.Sections {
		tables[section.Query.Name] = len(book.Tables)
		book.Tables = append(book.Tables, r.sheet(section, decimals))
	}
	book.Charts = r.charts(tables, decimals)
	return workbook.Write(w, book)
}

func (r *Report) front() []workbook.Line {
	symbols := "all symbols on the tape"
	if len(r.Symbols) > 0 {
		symbols = listed(r.Symbols)
	}
	lines := []workbook.Line{
		{Text: "Trade report", Tone: workbook.Title},
		{Text: r.heading(), Tone: workbook.Heading},
		{Text: fmt.Sprintf("%s, feed %s. Times are UTC; the window includes its start and excludes its end. Made %s.", symbols, r.Feed, moment(r.MadeAt)), Tone: workbook.Muted},
		{},
		{Text: "How complete the data are", Tone: workbook.Heading},
	}
	for _, statement := range r.Statements {
		for i, line := range wrap(strings.ReplaceAll(statement.Text, "`", ""), 150) {
			if i > 0 {
				line = "   " + line
			}
			lines = append(lines, workbook.Line{Text: line, Tone: toneOf(statement.Mood)})
		}
	}
	return lines
}

// plainDoc is a query's prose for a reader who does not have the SQL before him.
func plainDoc(query analytics.Query) string {
	doc := strings.Join(strings.Fields(query.Doc), " ")
	if rest, ok := strings.CutPrefix(doc, query.Name+" has "); ok && rest != "" {
		doc = strings.ToUpper(rest[:1]) + rest[1:]
	}
	return strings.ReplaceAll(doc, "[window_start, window_end)", "the window")
}

func toneOf(mood Mood) workbook.Tone {
	switch mood {
	case Bad:
		return workbook.Bad
	case Fair:
		return workbook.Fair
	case Good:
		return workbook.Good
	}
	return workbook.Muted
}

func (r *Report) sheet(section Section, decimals map[string]int) workbook.Table {
	table := workbook.Table{Name: section.Query.Title, Doc: plainDoc(section.Query), Rows: section.Result.Rows, Empty: nothing(section.Query)}
	columns := section.Result.Columns
	if section.Err != nil {
		table.Empty, columns = "This section failed: "+section.Err.Error(), section.Query.Columns
	}
	for i, column := range columns {
		table.Columns = append(table.Columns, sheetColumn(column, amountDecimals(section.Result.Rows, i)))
	}
	symbol := columnIndex(section.Result, "symbol")
	table.Decimals = func(row, column int) int {
		switch kindOf(columns[column]) {
		case kindPrice:
			if symbol < 0 {
				break
			}
			name, _ := section.Result.Rows[row][symbol].(string)
			if n, ok := decimals[name]; ok {
				return n
			}
		case kindAmount, kindNumber:
			// A small amount beside large ones, as of another quote asset, would be shown as nothing.
			if v, ok := section.Result.Rows[row][column].(float64); ok && v != 0 {
				return max(table.Columns[column].Decimals, decimalsToShow(max(v, -v), 3))
			}
		}
		return -1
	}
	return table
}

// decimalsToShow is how many decimals a size needs for so many significant digits, at most the exchange's.
func decimalsToShow(size float64, digits int) int {
	n := 0
	for ; n < maxDecimals && size < math.Pow10(digits-1); n++ {
		size *= 10
	}
	return n
}

func sheetColumn(column analytics.Column, amount int) workbook.Column {
	unit, doc := unitOf(column)
	out := workbook.Column{Name: column.Name, Unit: unit, Doc: doc}
	switch kindOf(column) {
	case kindTime:
		out.Format = workbook.Moment
		out.Unit = "UTC"
	case kindDate:
		out.Format = workbook.Calendar
		out.Unit = "UTC"
	case kindCount:
		out.Format = workbook.Integer
	case kindID:
		out.Format = workbook.ID
	case kindPrice:
		out.Format, out.Decimals = workbook.Number, amount
	case kindAmount, kindNumber:
		out.Format, out.Decimals = workbook.Number, amount
	case kindPercent:
		out.Format, out.Decimals = workbook.Percent, 2
		if signed(column) {
			out.Paint = workbook.Sign
		} else {
			out.Format = workbook.PlainPercent
		}
	case kindShare:
		out.Format, out.Decimals = workbook.Share, 1
	}
	switch column.Name {
	case "message", "last_message":
		out.Format = workbook.LongText
	case "taker_buy_share", "rising_share":
		out.Paint = workbook.Scale
	case "trades", "runs":
		out.Paint = workbook.Bars
	case "realized_volatility":
		out.Paint = workbook.Bars
	}
	if moods, ok := textMoods()[column.Name]; ok {
		out.Tones = map[string]workbook.Tone{}
		for text, mood := range moods {
			out.Tones[text] = toneOf(mood)
		}
	}
	return out
}

// amountDecimals gives a column of amounts the decimals that its middle value needs for about six digits.
func amountDecimals(rows [][]any, column int) int {
	var sizes []float64
	for _, row := range rows {
		if v, ok := row[column].(float64); ok && v != 0 {
			sizes = append(sizes, max(v, -v))
		}
	}
	if len(sizes) == 0 {
		return 2
	}
	slices.Sort(sizes)
	switch middle := sizes[len(sizes)/2]; {
	case middle >= 10_000:
		return 0
	case middle >= 100:
		return 2
	case middle >= 1:
		return 4
	}
	return 8
}

// chartedSymbols is how many symbols get a chart of their own.
const chartedSymbols = 8

// hourlySymbols is how many of them get their volume by hour beside it.
const hourlySymbols = 4

// charts draws the movers, the trades by hour, and price and volume of the symbols that traded the most, in rows of two.
func (r *Report) charts(tables map[string]int, decimals map[string]int) (rows [][]workbook.Chart) {
	if movers := r.moverCharts(tables); len(movers) > 0 {
		rows = append(rows, movers)
	}
	var several []workbook.Chart
	if section := r.Section("breadth"); section != nil && len(section.Result.Rows) > 1 {
		hour, trades := columnIndex(section.Result, "hour"), columnIndex(section.Result, "trades")
		if hour >= 0 && trades >= 0 {
			chart := workbook.Chart{
				Title: "Trades by hour, all symbols", Kind: workbook.Columns, Format: workbook.Integer, CategoryFormat: r.timeFormat(),
				Series: []workbook.Series{{Table: tables["breadth"], Category: hour, Value: trades, Label: -1, To: len(section.Result.Rows)}},
			}
			if len(rows) > 0 && len(rows[0]) == 1 {
				rows[0] = append(rows[0], chart)
			} else {
				several = append(several, chart)
			}
		}
	}
	prices, symbols := r.priceCharts(tables, decimals)
	for i, price := range prices {
		if volume, ok := r.volumeByHour(tables, symbols[i]); ok && i < hourlySymbols {
			rows = append(rows, []workbook.Chart{price, volume})
			continue
		}
		several = append(several, price)
	}
	for pair := range slices.Chunk(several, 2) {
		rows = append(rows, pair)
	}
	return rows
}

// priceCharts draws close and volume of the most traded symbols.
func (r *Report) priceCharts(tables map[string]int, decimals map[string]int) (charts []workbook.Chart, symbols []string) {
	candles := r.Section("candles")
	if candles == nil {
		return nil, nil
	}
	result := candles.Result
	symbol, at, price, volume := columnIndex(result, "symbol"), columnIndex(result, "opened_at"), columnIndex(result, "close"), columnIndex(result, "volume")
	if symbol < 0 || at < 0 || price < 0 || volume < 0 {
		return nil, nil
	}
	for _, run := range mostTraded(result, symbol) {
		symbols = append(symbols, run.symbol)
		charts = append(charts, workbook.Chart{
			Title: fmt.Sprintf("%s: close and volume (base asset, right), every %s", run.symbol, length(r.step)),
			Kind:  workbook.LineOverColumns, Format: workbook.Number, Decimals: decimals[run.symbol], CategoryFormat: r.timeFormat(),
			Series: []workbook.Series{
				{Table: tables["candles"], Category: at, Value: price, Label: -1, From: run.from, To: run.to},
				{Table: tables["candles"], Category: at, Value: volume, Label: -1, From: run.from, To: run.to, Color: "C5D3E3"},
			},
		})
	}
	return charts, symbols
}

// volumeByHour draws what a symbol's hours amount to; a window of one hour has nothing to draw.
func (r *Report) volumeByHour(tables map[string]int, symbol string) (workbook.Chart, bool) {
	section := r.Section("hourly")
	if section == nil {
		return workbook.Chart{}, false
	}
	name, hour, volume := columnIndex(section.Result, "symbol"), columnIndex(section.Result, "hour"), columnIndex(section.Result, "quote_volume")
	if name < 0 || hour < 0 || volume < 0 {
		return workbook.Chart{}, false
	}
	from, to := -1, 0
	for i, row := range section.Result.Rows {
		if row[name] == symbol {
			if from < 0 {
				from = i
			}
			to = i + 1
		}
	}
	if to-from < 2 {
		return workbook.Chart{}, false
	}
	return workbook.Chart{
		Title: symbol + ": volume by hour (quote asset)", Kind: workbook.Columns, Format: workbook.Number, CategoryFormat: r.timeFormat(),
		Decimals: decimalsToShow(largest(section.Result.Rows[from:to], volume), 2),
		Series:   []workbook.Series{{Table: tables["hourly"], Category: hour, Value: volume, Label: -1, From: from, To: to}},
	}, true
}

func largest(rows [][]any, column int) (out float64) {
	for _, row := range rows {
		if v, ok := row[column].(float64); ok {
			out = max(out, v)
		}
	}
	return out
}

func (r *Report) timeFormat() string {
	switch window := r.Window.Length(); {
	case window <= 2*60*60*1e9:
		return "hh:mm:ss"
	case window <= 48*60*60*1e9:
		return "hh:mm"
	}
	return "mm-dd hh:mm"
}

func (r *Report) moverCharts(tables map[string]int) (out []workbook.Chart) {
	section := r.Section("movers")
	if section == nil {
		return nil
	}
	side, symbol, change := columnIndex(section.Result, "side"), columnIndex(section.Result, "symbol"), columnIndex(section.Result, "change")
	if side < 0 || symbol < 0 || change < 0 {
		return nil
	}
	rows := section.Result.Rows
	for from := 0; from < len(rows); {
		to := from
		for to < len(rows) && rows[to][side] == rows[from][side] {
			to++
		}
		title, color := "Rose the most, percent", "1A7F4B"
		if rows[from][side] == "loser" {
			title, color = "Fell the most, percent", "B3261E"
		}
		shown := min(to, from+10)
		out = append(out, workbook.Chart{
			Title: title, Kind: workbook.Bar, Format: workbook.Percent, Decimals: 1, Height: max(240, 26*(shown-from)+80),
			Series: []workbook.Series{{Table: tables["movers"], Category: symbol, Value: change, Label: -1, From: from, To: shown, Color: color}},
		})
		from = to
	}
	return out
}

// symbolRun is the rows [from, to) of a symbol.
type symbolRun struct {
	symbol   string
	from, to int
	trades   int64
}

// mostTraded gives the runs of the symbols with the most trades, the most first. Volumes of different quote assets do not compare.
func mostTraded(result analytics.Result, symbol int) []symbolRun {
	trades := columnIndex(result, "trades")
	var runs []symbolRun
	for i, row := range result.Rows {
		name, _ := row[symbol].(string)
		if len(runs) == 0 || runs[len(runs)-1].symbol != name {
			runs = append(runs, symbolRun{symbol: name, from: i})
		}
		last := &runs[len(runs)-1]
		last.to = i + 1
		if trades >= 0 {
			n, _ := row[trades].(int64)
			last.trades += n
		}
	}
	slices.SortStableFunc(runs, func(a, b symbolRun) int {
		return cmp.Or(cmp.Compare(b.trades, a.trades), strings.Compare(a.symbol, b.symbol))
	})
	return runs[:min(len(runs), chartedSymbols)]
}
