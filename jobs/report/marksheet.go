package report

import (
	"slices"
	"strings"
	"time"

	"tapedeck/internal/workbook"
)

// markSheet is the sheet "Alert marks": the candles of the charted symbols that have alerts, and how high
// a chart marks them. A workbook's chart can only show values of cells.
type markSheet struct {
	table   workbook.Table
	number  int // of the table in the book
	symbols map[string]markedSymbol
}

// markedSymbol is where the marks of a symbol are.
type markedSymbol struct {
	rows    symbolRun
	columns []int // one for each detector
}

// markColumns are the columns before those of the detectors.
var markColumns = [...]workbook.Column{
	{Name: "symbol", Doc: "as the exchange spells it"},
	{Name: "bucket", Format: workbook.DateTime, Unit: "UTC", Doc: "UTC, start of the candle in which the alert is marked"},
	{Name: "alerts", Format: workbook.LongText, Doc: "the alerts of the candle, those between candles with the one before"},
}

// markAlertsInSheet makes the sheet of the marks of price charts. number is the table's in the book.
func markAlertsInSheet(groups [][]chartSpec, number int) markSheet {
	out := markSheet{number: number, symbols: map[string]markedSymbol{}, table: workbook.Table{
		Name: "Alert marks", Columns: markColumns[:],
		Doc: "The candles of the charts with the alerts about them. The columns of the detectors say only how high the chart marks an alert.",
	}}
	var detectors []string // of the columns
	for _, group := range groups {
		for _, spec := range group {
			for _, a := range spec.alerts {
				if spec.kind == priceChart && !slices.Contains(detectors, a.detector) {
					detectors = append(detectors, a.detector)
				}
			}
		}
	}
	for _, detector := range detectors {
		out.table.Columns = append(out.table.Columns, workbook.Column{Name: detector, Format: workbook.Number, Decimals: 2,
			Doc: "where the chart of the symbol marks the alerts of this detector, on the axis of the volume"})
	}
	for _, group := range groups {
		for _, spec := range group {
			if spec.kind == priceChart && len(spec.alerts) > 0 {
				out.add(spec, detectors)
			}
		}
	}
	return out
}

// add adds the candles of a symbol.
func (m *markSheet) add(spec chartSpec, detectors []string) {
	top := workbook.MarksTop(largestValue(spec.rows(), spec.value))
	if top == 0 {
		return
	}
	rows, from := spec.rows(), len(m.table.Rows)
	for _, candle := range rows {
		row := make([]any, len(m.table.Columns))
		row[0], row[1] = spec.symbol, candle[spec.category]
		m.table.Rows = append(m.table.Rows, row)
	}
	texts := map[int][]string{}
	var columns []int
	for _, a := range spec.alerts {
		column := len(markColumns) + slices.Index(detectors, a.detector)
		if !slices.Contains(columns, column) {
			columns = append(columns, column)
		}
		row := from + candleBefore(rows, spec.category, a.at)
		texts[row] = append(texts[row], a.String())
		m.table.Rows[row][column] = top * workbook.MarkAt(slices.Index(columns, column))
	}
	for row, alerts := range texts {
		m.table.Rows[row][2] = strings.Join(alerts, "\n")
	}
	m.symbols[spec.symbol] = markedSymbol{rows: symbolRun{from: from, to: len(m.table.Rows)}, columns: columns}
}

// candleBefore returns the index of the last candle that begins before a time, or of the first candle.
func candleBefore(rows [][]any, bucket int, at time.Time) int {
	n, _ := slices.BinarySearchFunc(rows, at, func(row []any, at time.Time) int {
		opened, _ := row[bucket].(time.Time)
		return opened.Compare(at)
	})
	return max(n-1, 0)
}

// series returns the marks of a symbol's chart, one series for each detector.
func (m markSheet) series(symbol string) (out []workbook.Series) {
	marked := m.symbols[symbol]
	for _, column := range marked.columns {
		out = append(out, workbook.Series{Table: m.number, Category: 1, Value: column, From: marked.rows.from, To: marked.rows.to})
	}
	return out
}
