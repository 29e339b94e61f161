package chart

import (
	"fmt"
	"html"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-analyze/charts"

	"tapedeck/internal/wording"
)

const (
	columnsPart = 0.75 // the columns are below a free part of the axis, in heights of the candles
	markSpace   = 0.06 // from a candle to its mark, in heights of all candles
	markRadius  = 4.5  // pixels
)

// candles draws the candles over the columns and the marks over both.
func (d drawing) candles(c Chart) (*charts.Painter, error) {
	low, high := priceRange(c.Prices)
	prices := d.valueAxis(c.PriceFormat, 6)
	space := high - low
	if space > 0 && !math.IsInf(space, 0) {
		top, from := high, low-space*columnsPart
		if low >= 0 {
			from = max(from, 0)
		}
		if len(c.Marks) > 0 {
			top += space * markSpace * 2.5 // a mark and its label
		}
		setRange(&prices, from, top)
	}
	amounts := d.valueAxis(c.Format, 6)
	amounts.Min, amounts.SplitLineShow = new(0.0), new(false)
	if _, top := extremes(c.Values); top > 0 && !math.IsInf(top, 0) {
		amounts.Max = new(roundUp(2.5 * top))
	}
	option := d.option(c, prices, amounts)
	option.BarSize = 0.8 // with many columns, the library's default is zero
	option.Symbol = charts.Symbol{Shape: charts.SymbolDot, Size: markRadius}
	option.SeriesList = charts.GenericSeriesList{
		{Type: charts.ChartTypeCandlestick, Values: candleValues(c.Prices)},
		{Type: charts.ChartTypeBar, Values: withNulls(c.Values), YAxisIndex: 1},
	}
	colors := []charts.Color{d.color(good), d.color(below)}
	for i, m := range c.Marks {
		option.SeriesList = append(option.SeriesList, d.mark(c, m, space))
		colors = append(colors, d.markColor(i))
	}
	option.Theme = d.theme(colors...)
	if d.titled {
		lines := noteLines(c.Notes)
		lineHeight := int(1.7 * d.fontSize)
		option.Padding.Bottom += len(lines) * lineHeight
		painter, err := charts.Render(option)
		if err != nil {
			return nil, err
		}
		for i, line := range lines {
			painter.Text(line, int(d.fontSize), d.height-int(d.fontSize/2)-(len(lines)-1-i)*lineHeight, 0, d.font(1))
		}
		return painter, nil
	}
	return charts.Render(option)
}

// noteLines breaks notes into the lines of a picture.
func noteLines(notes string) []string {
	if notes == "" {
		return nil
	}
	return wording.WrapAll(spellMissing(charts.GetDefaultFont(), notes), 125)
}

func priceRange(candles []Candle) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, candle := range candles {
		if candle.isKnown() {
			low, high = min(low, candle.Low), max(high, candle.High)
		}
	}
	return low, high
}

func (c Candle) isKnown() bool {
	for _, v := range c.values() {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}

// NoCandle returns a candle of which nothing is known.
func NoCandle() Candle {
	return Candle{Open: math.NaN(), High: math.NaN(), Low: math.NaN(), Close: math.NaN()}
}

// Join returns the candle of two adjacent slices, of which c is the earlier. One of them may be unknown.
func (c Candle) Join(later Candle) Candle {
	switch {
	case !c.isKnown():
		return later
	case !later.isKnown():
		return c
	}
	return Candle{Open: c.Open, High: max(c.High, later.High), Low: min(c.Low, later.Low), Close: later.Close}
}

// values returns the prices in the library's order.
func (c Candle) values() [4]float64 { return [...]float64{c.Open, c.High, c.Low, c.Close} }

// candleValues returns the candles as the library takes them, four values each.
func candleValues(candles []Candle) (out []float64) {
	for _, candle := range candles {
		if !candle.isKnown() {
			candle.Open = math.NaN()
		}
		values := candle.values()
		out = append(out, withNulls(values[:])...)
	}
	return out
}

// mark returns the series of one point, above its candle or, where nothing traded, at the height of the candle
// before. Each has its own color in an SVG, by which titleMarks finds it.
func (d drawing) mark(c Chart, m Mark, space float64) charts.GenericSeries {
	values := make([]float64, len(c.Prices))
	for i := range values {
		values[i] = charts.GetNullValue()
	}
	if m.Candle >= 0 && m.Candle < len(values) {
		if near, ok := nearest(c.Prices, m.Candle); ok {
			values[m.Candle] = near.High + space*markSpace
		}
	}
	return charts.GenericSeries{Type: charts.ChartTypeScatter, Values: values,
		Label: charts.SeriesLabel{Show: new(m.Label != ""), FontStyle: charts.FontStyle{FontSize: d.fontSize * 0.9, FontColor: d.color(mark)},
			LabelFormatter: func(int, string, float64) (string, *charts.LabelStyle) { return m.Label, nil }}}
}

// nearest returns a candle, or if it is unknown the last known one before it, or the first after it.
func nearest(candles []Candle, i int) (Candle, bool) {
	for before := i; before >= 0; before-- {
		if candles[before].isKnown() {
			return candles[before], true
		}
	}
	for _, after := range candles[i:] {
		if after.isKnown() {
			return after, true
		}
	}
	return Candle{}, false
}

// markColor returns the color of a mark.
func (d drawing) markColor(i int) charts.Color {
	if d.titled {
		return d.color(mark)
	}
	return charts.ColorRGB(1, 3, uint8(i))
}

var markElement = regexp.MustCompile(`<circle [^>]*rgb\(1,3,(\d+)\)[^>]*/>`)

var markColor = regexp.MustCompile(`rgb\(1,3,\d+\)`)

// titleMarks gives the marks of an SVG their title and color.
func titleMarks(svg string, marks []Mark) string {
	return markElement.ReplaceAllStringFunc(svg, func(element string) string {
		i, err := strconv.Atoi(markElement.FindStringSubmatch(element)[1])
		element = markColor.ReplaceAllString(element, "var("+Variables[mark]+")")
		if err != nil || i >= len(marks) || marks[i].Title == "" {
			return element
		}
		return fmt.Sprintf("<g><title>%s</title>%s</g>", html.EscapeString(marks[i].Title), strings.TrimSpace(element))
	})
}
