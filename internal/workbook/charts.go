package workbook

import (
	"cmp"
	"fmt"
	"math"

	"github.com/xuri/excelize/v2"
)

const (
	chartWidth   = 640 // pixels
	chartHeight  = 300 // pixels
	columnPixels = 64  // width of an Excel column
)

// chart draws a chart whose upper left corner is in a cell.
func (b *builder) chart(sheet string, column, row int, chart Chart) error {
	var series []excelize.ChartSeries
	for i, s := range chart.Series {
		if s.Table < 0 || s.Table >= len(b.book.Tables) {
			return fmt.Errorf("series %d: no table %d", i, s.Table)
		}
		s.To = min(s.To, b.book.RowsPerSheet, len(b.book.Tables[s.Table].Rows))
		if s.From < s.To {
			series = append(series, b.series(s))
		}
	}
	if len(series) == 0 {
		return nil
	}
	axis := excelize.Font{Size: 9, Color: "#" + faint, Family: fontName}
	value := style{format: chart.Format, decimals: chart.Decimals}.numberFormat()
	out := &excelize.Chart{
		Type:      excelize.Col,
		Series:    series,
		Dimension: excelize.ChartDimension{Width: chartWidth, Height: uint(chart.Height)},
		Title: excelize.ChartTitle{Paragraph: []excelize.RichTextRun{{Text: clean(chart.Title),
			Font: &excelize.Font{Size: 12, Bold: true, Color: "#" + ink, Family: fontName}}}},
		Legend: excelize.ChartLegend{Position: "none"},
		XAxis: excelize.ChartAxis{Font: axis,
			NumFmt:            excelize.ChartNumFmt{CustomNumFmt: chart.CategoryFormat},
			TickLabelPosition: excelize.ChartTickLabelLow, TickLabelSkip: labelSkip(chart),
			Alignment: excelize.Alignment{TextRotation: rotation(chart)}},
		YAxis: excelize.ChartAxis{Font: axis, NumFmt: excelize.ChartNumFmt{CustomNumFmt: value},
			MajorGridLines: true},
		Border:       excelize.LineOptions{Type: excelize.LineNone},
		ShowBlanksAs: "gap",
	}
	var combined []*excelize.Chart
	switch chart.Kind {
	case Bar:
		out.Type, out.GapWidth = excelize.Bar, barGap(chart)
		out.XAxis.ReverseOrder = true                             // the first row at the top
		out.YAxis.TickLabelPosition = excelize.ChartTickLabelHigh // keeps the value axis at the bottom
		switch low, high := b.extremes(chart.Series); {           // bars must start at zero
		case low >= 0:
			out.YAxis.Minimum = new(0.0)
		case high <= 0:
			out.YAxis.Maximum = new(0.0)
		}
	case Columns:
		out.GapWidth, out.YAxis.Minimum = barGap(chart), new(0.0)
	case Candles:
		if len(series) < 5 {
			return fmt.Errorf("%d series are too few for candles and columns", len(series))
		}
		combined = b.candles(chart, out, series)
	}
	return b.file.AddChart(sheet, cellName(column, row), out, combined...)
}

// extremes returns the smallest and the largest value of the series.
func (b *builder) extremes(series []Series) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, s := range series {
		rows := b.book.Tables[s.Table].Rows
		for i := s.From; i < min(s.To, len(rows)); i++ {
			switch v := rows[i][s.Value].(type) {
			case float64:
				low, high = min(low, v), max(high, v)
			case int64:
				low, high = min(low, float64(v)), max(high, float64(v))
			}
		}
	}
	return low, high
}

// roundUp rounds up to 1, 2, 4 or 8 times a power of ten. It returns nil if v is not positive and
// finite.
func roundUp(v float64) *float64 {
	if v <= 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, digit := range [...]float64{1, 2, 4, 8, 10} {
		if rounded := digit * power; rounded >= v {
			return &rounded
		}
	}
	return nil
}

// rotation returns the angle of the category labels. LibreOffice ignores labelSkip and breaks many
// horizontal labels into columns of letters.
func rotation(chart Chart) int {
	if labelSkip(chart) > 1 {
		return -45
	}
	return 0
}

// barGap returns the space between bars in percent of their width. It is larger if there are few
// bars.
func barGap(chart Chart) *uint {
	switch n := longest(chart); {
	case n <= 2:
		return new(uint(220))
	case n <= 5:
		return new(uint(110))
	}
	return new(uint(35))
}

// longest returns the number of values of the longest series.
func longest(chart Chart) (n int) {
	for _, s := range chart.Series {
		n = max(n, s.To-s.From)
	}
	return n
}

// labelSkip returns the interval between labels such that about eight categories have one.
func labelSkip(chart Chart) int {
	if chart.Kind == Bar {
		return 1
	}
	return max(1, (longest(chart)+7)/8)
}

// series converts a series whose rows are on the table's first sheet.
func (b *builder) series(s Series) excelize.ChartSeries {
	sheet := quoteSheet(b.sheets[s.Table][0])
	cells := func(column int) string {
		name := columnName(column + 1)
		return fmt.Sprintf("%s!$%s$%d:$%s$%d", sheet, name, s.From+2, name, s.To+1)
	}
	fill := fill(cmp.Or(s.Color, blue))
	return excelize.ChartSeries{
		Name:       fmt.Sprintf("%s!$%s$1", sheet, columnName(s.Value+1)),
		Categories: cells(s.Category),
		Values:     cells(s.Value),
		Fill:       fill,
		Line:       excelize.LineOptions{Type: excelize.LineSolid, Fill: fill, Width: 1.75},
		Marker:     excelize.ChartMarker{Symbol: "none"},
	}
}
