package workbook

import (
	"fmt"
	"math"
	"strings"

	"github.com/xuri/excelize/v2"
)

const (
	candleSeries = 4 // open, high, low and close
	rising       = "1A7F4B"
	falling      = "B3261E"
)

// markShapes are the symbols and colors of marks; there are as many symbols as colors.
var markShapes = [...]struct{ symbol, color string }{
	{"diamond", "7A3FB0"}, {"triangle", "C77700"}, {"square", "0B7A75"}, {"circle", "B0307A"}, {"star", "4453C4"}, {"x", "6B5B00"},
}

// MarksTop returns the end of the axis on which the columns of a chart of candles and its marks are: the
// columns fill two fifths of it, and marks at the height MarkAt(i) of it do not meet the candles. It is
// zero if the largest column is not positive and finite.
func MarksTop(largest float64) float64 {
	top := roundUp(2.5 * largest)
	if top == nil {
		return 0
	}
	return *top
}

// markLanes is how many heights marks have, so that those of one candle do not cover each other.
const markLanes = 4

// MarkAt returns the height of the marks of the i-th series of marks, as a part of the axis.
func MarkAt(i int) float64 { return 0.98 - 0.045*float64(i%markLanes) }

// candles completes a chart of columns so that it shows candles: it returns what is drawn over the
// columns. A program that makes stock charts of lines allows one group of lines on each axis; the candles
// have the right one, so the marks have that of the columns.
func (b *builder) candles(chart Chart, columns *excelize.Chart, series []excelize.ChartSeries) []*excelize.Chart {
	axis := columns.YAxis
	marks := series[candleSeries+1:]
	columns.Series, columns.GapWidth = series[candleSeries:candleSeries+1], new(uint(30))
	columns.YAxis = excelize.ChartAxis{Font: axis.Font, Minimum: new(0.0),
		NumFmt: excelize.ChartNumFmt{CustomNumFmt: `[>=1000000]0.0,,"M";[>=1000]0.0,"k";0.##`}}
	if _, largest := b.extremes(chart.Series[candleSeries : candleSeries+1]); MarksTop(largest) > 0 {
		columns.YAxis.Maximum = new(MarksTop(largest))
	}
	prices := &excelize.Chart{Type: excelize.StockOpenHighLowClose, Series: series[:candleSeries], XAxis: columns.XAxis, YAxis: axis,
		PlotArea: excelize.ChartPlotArea{UpBars: candleBody(rising), DownBars: candleBody(falling)}}
	prices.YAxis.Secondary = true
	low, high := b.extremes(chart.Series[:candleSeries])
	prices.YAxis.Minimum, prices.YAxis.Maximum, prices.YAxis.MajorUnit = priceAxis(low, high, min(len(marks), markLanes))
	for i := range prices.Series { // Excel draws them as lines otherwise
		prices.Series[i].Line, prices.Series[i].Fill = excelize.LineOptions{Type: excelize.LineNone}, excelize.Fill{}
	}
	if len(marks) == 0 {
		return []*excelize.Chart{prices}
	}
	columns.Legend.Position = "bottom"
	for i := range marks {
		shape := markShapes[i%len(markShapes)]
		marks[i].Line, marks[i].Fill = excelize.LineOptions{Type: excelize.LineNone}, fill(shape.color)
		marks[i].Marker = excelize.ChartMarker{Symbol: shape.symbol, Size: 8, Fill: fill(shape.color),
			Border: excelize.LineOptions{Type: excelize.LineSolid, Fill: fill(shape.color), Width: 1}}
	}
	// The library takes the axes of the columns from what it draws last on them.
	return []*excelize.Chart{{Type: excelize.Line, Series: marks, XAxis: columns.XAxis, YAxis: columns.YAxis}, prices}
}

func candleBody(color string) excelize.ChartUpDownBar {
	return excelize.ChartUpDownBar{Fill: fill(color), Border: excelize.LineOptions{Type: excelize.LineSolid, Fill: fill(color), Width: 0.75}}
}

// priceAxis returns the ends of an axis on which the candles are above the columns and below the lanes of
// the marks, and the steps of its labels. If all prices are equal, the ends are nil.
func priceAxis(low, high float64, lanes int) (bottom, top *float64, step float64) {
	if !(high > low) || math.IsInf(high-low, 0) {
		return nil, nil, 0
	}
	step = *roundUp((high - low) / 3)
	from := math.Floor((low-(high-low)*0.7)/step) * step
	if low >= 0 {
		from = max(from, 0)
	}
	to := math.Ceil((high+(high-from)*(0.03+0.06*float64(lanes)))/step) * step
	return &from, &to, step
}

// finishCharts changes what the library has no settings for. Categories that are times would become an
// axis of days, on which all candles of a day coincide. A stock chart has no varyColors in the schema.
// The legend of a chart with marks names only these.
func (b *builder) finishCharts() {
	replacer := strings.NewReplacer("<dateAx>", "<catAx>", "</dateAx>", "</catAx>", `<auto val="1"></auto>`, `<auto val="0"></auto>`,
		`<stockChart><varyColors val="1"></varyColors>`, "<stockChart>")
	b.file.Pkg.Range(func(name, part any) bool {
		content, ok := part.([]byte)
		if !ok || !strings.HasPrefix(name.(string), "xl/charts/chart") {
			return true
		}
		text := replacer.Replace(string(content))
		if strings.Contains(text, "<stockChart>") {
			text = strings.Replace(text, "</legendPos>", "</legendPos>"+hiddenEntries(text), 1)
		}
		b.file.Pkg.Store(name, []byte(text))
		return true
	})
}

// hiddenEntries removes the columns and the candles from a legend.
func hiddenEntries(chart string) string {
	var out strings.Builder
	for _, group := range [...]string{"barChart", "stockChart"} {
		_, rest, _ := strings.Cut(chart, "<"+group+">")
		rest, _, _ = strings.Cut(rest, "</"+group+">")
		for _, series := range strings.Split(rest, `<idx val="`)[1:] {
			index, _, _ := strings.Cut(series, `"`)
			fmt.Fprintf(&out, `<legendEntry><idx val="%s"></idx><delete val="1"></delete></legendEntry>`, index)
		}
	}
	return out.String()
}
