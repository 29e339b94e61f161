// Package chart draws charts as SVG for a page and as PNG for a message. Both come from the same
// description and library, so they show the same.
//
// It guarantees that an SVG loads nothing from elsewhere and takes its colors and font from the
// page: every color is one of the CSS variables in [Variables].
package chart

import (
	"fmt"
	"html"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/go-analyze/charts"
	"github.com/golang/freetype/truetype"
)

// Kind is a kind of chart.
type Kind int

const (
	Columns Kind = iota
	Bars         // horizontal, the first at the top
	// Candles draws Prices with wicks from low to high, Values as columns in the lower part, with an
	// axis on the right, and Marks above the candles.
	Candles
)

// Tone is the color of a series.
type Tone int

const (
	Plain Tone = iota
	Good
	Bad
)

// Chart describes a chart. Labels and Values have the same length, and so have Prices of Candles. An
// unknown value is NaN.
type Chart struct {
	Title  string
	Kind   Kind
	Tone   Tone     // of Columns and Bars
	Labels []string // of the categories
	Values []float64
	// Format formats the values; nil means the library's default.
	Format func(float64) string

	Prices      []Candle // of Candles
	PriceFormat func(float64) string
	Marks       []Mark
	Notes       string // explain the marks; a picture has them at the bottom, a page shows them itself
}

// Candle is what a price did in a slice of time. A candle of which one is NaN is not drawn.
type Candle struct{ Open, High, Low, Close float64 }

// Mark is a numbered point above a candle, or between candles if its own is not known. There is at most one
// mark for each candle.
type Mark struct {
	Candle int    // index
	Label  string // a few characters, or none
	Title  string // what an SVG shows when the pointer is on the mark
}

// Variables are the CSS variables that an SVG uses.
var Variables = [...]string{"--chart-text", "--chart-grid", "--chart-axis", "--chart-plain", "--chart-below",
	"--chart-good", "--chart-bad", "--chart-mark"}

// lightColors are the colors of the variables in a picture.
var lightColors = [len(Variables)]string{"#52606d", "#e4e9ee", "#9aa5b1", "#2f6fb2", "#b7cbe2", "#1a7f4b", "#b3261e", "#7a3fb0"}

const (
	text = iota
	grid
	axis
	plain
	below
	good
	bad
	mark
)

// placeholder returns a color that stands for a variable until SVG replaces it. It is used for
// nothing else.
func placeholder(variable int) charts.Color { return charts.ColorRGB(1, 2, uint8(3+variable)) }

// The sizes of drawings in pixels. Pictures are viewed on a phone at their own size. A page shows
// an SVG at about half its size, because the library draws in whole pixels and a hundred columns
// need more than two pixels each.
const (
	svgWidth  = 1000
	svgHeight = 560
	svgFont   = 19
	svgText   = 23.5 // pixels, a little less than svgFont points, because the page's font may be wider than the library's
	pngWidth  = 1200
	pngHeight = 675
	pngFont   = 17
)

// MaxPoints is the most candles of a chart, such that each is wider than a line.
const MaxPoints = 120

// SVG draws a chart without its title, which the page shows.
func SVG(c Chart) (string, error) {
	drawing := drawing{output: charts.ChartOutputSVG, width: svgWidth, height: svgHeight, fontSize: svgFont,
		color: placeholder}
	var restore *strings.Replacer
	c.Labels, restore = replaceMissing(charts.GetDefaultFont(), c.Labels)
	out, err := drawing.draw(c)
	if err != nil {
		return "", fmt.Errorf("draw %q: %w", c.Title, err)
	}
	svg := string(out)
	for i, name := range Variables {
		svg = strings.ReplaceAll(svg, fmt.Sprintf("rgb(1,2,%d)", 3+i), "var("+name+")")
	}
	svg = titleMarks(svg, c.Marks)
	svg = fontSize.ReplaceAllString(svg, fmt.Sprintf("font-size:%vpx", svgText))
	svg = strings.ReplaceAll(svg, "stroke-width:1;", "stroke-width:2;")
	svg = restore.Replace(svg)
	_, content, ok := strings.Cut(svg, ">")
	if !ok {
		return "", fmt.Errorf("draw %q: the drawing is empty", c.Title)
	}
	return fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img" aria-label="%s">%s`, svgWidth, drawing.heightOf(c),
		html.EscapeString(c.Title), content), nil
}

// replaceMissing replaces the characters that the font lacks by letters of about the same width,
// because the library would measure them as narrow. restore undoes the replacement in an SVG.
func replaceMissing(font *truetype.Font, labels []string) (out []string, restore *strings.Replacer) {
	const wide = "WM@QOGDNHU"
	taken := map[string]bool{}
	for _, label := range labels {
		taken[label] = true
	}
	var pairs []string
	for _, label := range labels {
		replacement := label
		missing := strings.ContainsFunc(label, func(r rune) bool { return font.Index(r) == 0 })
		for n := 0; taken[replacement] && missing && n < len(labels)*len(wide); n++ {
			digits := n
			replacement = strings.Map(func(r rune) rune {
				if font.Index(r) != 0 {
					return r
				}
				letter := wide[digits%len(wide)]
				digits /= len(wide)
				return rune(letter)
			}, label)
		}
		if replacement != label && !taken[replacement] {
			taken[replacement] = true
			pairs = append(pairs, ">"+html.EscapeString(replacement)+"<", ">"+html.EscapeString(label)+"<")
		} else {
			replacement = label
		}
		out = append(out, replacement)
	}
	return out, strings.NewReplacer(pairs...)
}

var fontSize = regexp.MustCompile(`font-size:[^"]*`)

// PNG draws a chart with its title, dark on white. Characters that the font lacks are written as
// code points.
func PNG(c Chart) ([]byte, error) {
	color := func(variable int) charts.Color { return charts.ColorFromHex(lightColors[variable]) }
	drawing := drawing{output: charts.ChartOutputPNG, width: pngWidth, height: pngHeight, fontSize: pngFont,
		color: color, titled: true}
	font := charts.GetDefaultFont()
	c.Title = spellMissing(font, c.Title)
	labels := make([]string, len(c.Labels))
	for i, label := range c.Labels {
		labels[i] = spellMissing(font, label)
	}
	c.Labels = labels
	out, err := drawing.draw(c)
	if err != nil {
		return nil, fmt.Errorf("draw %q: %w", c.Title, err)
	}
	return out, nil
}

// spellMissing writes the characters that a font lacks as code points: 币安USDT becomes [5e01
// 5b89]USDT.
func spellMissing(font *truetype.Font, text string) string {
	var out strings.Builder
	inBrackets := false
	for _, r := range text {
		found := font.Index(r) != 0
		switch {
		case found && inBrackets:
			out.WriteByte(']')
		case !found && inBrackets:
			out.WriteByte(' ')
		case !found:
			out.WriteByte('[')
		}
		inBrackets = !found
		if found {
			out.WriteRune(r)
		} else {
			fmt.Fprintf(&out, "%04x", r)
		}
	}
	if inBrackets {
		out.WriteByte(']')
	}
	return out.String()
}

// drawing is the output of a chart.
type drawing struct {
	output        string
	width, height int
	fontSize      float64
	color         func(variable int) charts.Color
	titled        bool
}

// heightOf returns the height of a chart. An SVG with few bars is lower.
func (d drawing) heightOf(c Chart) int {
	if c.Kind == Bars && !d.titled {
		return min(d.height, 100+60*len(c.Values))
	}
	return d.height
}

func (d drawing) draw(c Chart) ([]byte, error) {
	if len(c.Values) == 0 || len(c.Labels) != len(c.Values) || c.Kind == Candles && len(c.Prices) != len(c.Values) {
		return nil, fmt.Errorf("%d labels, %d values and %d candles do not match", len(c.Labels), len(c.Values),
			len(c.Prices))
	}
	render := d.columns
	switch c.Kind {
	case Bars:
		render = d.bars
	case Candles:
		render = d.candles
	}
	painter, err := render(c)
	if err != nil {
		return nil, err
	}
	if d.titled {
		painter.Text(c.Title, int(d.fontSize), int(2.1*d.fontSize), 0, d.font(1.35))
	}
	return painter.Bytes()
}

func (d drawing) theme(series ...charts.Color) charts.ColorPalette {
	background := charts.ColorTransparent
	if d.titled {
		background = charts.ColorWhite
	}
	return charts.MakeTheme(charts.ThemeOption{
		AxisStrokeColor:    d.color(axis),
		AxisSplitLineColor: d.color(grid),
		BackgroundColor:    background,
		TextColor:          d.color(text),
		SeriesColors:       series,
		SeriesUpDownColors: [][2]charts.Color{{d.color(good), d.color(bad)}},
	})
}

func (d drawing) tone(tone Tone) charts.Color {
	return d.color(map[Tone]int{Plain: plain, Good: good, Bad: bad}[tone])
}

// valueAxis returns an axis with about that many labels.
func (d drawing) valueAxis(format func(float64) string, labels int) charts.ValueAxisOption {
	return charts.ValueAxisOption{LabelFontStyle: d.font(1), ValueFormatter: format, LabelCount: labels}
}

func (d drawing) font(scale float64) charts.FontStyle {
	return charts.FontStyle{FontSize: d.fontSize * scale, FontColor: d.color(text)}
}

func (d drawing) padding() charts.Box {
	side := int(d.fontSize)
	top := side
	if d.titled {
		top = side * 7 / 2
	}
	return charts.NewBox(side, top, side*3/2, side/2)
}

// withNulls replaces unknown values by the library's null value.
func withNulls(values []float64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = v
		if math.IsNaN(v) || math.IsInf(v, 0) {
			out[i] = charts.GetNullValue()
		}
	}
	return out
}

func (d drawing) columns(c Chart) (*charts.Painter, error) {
	low, high := extremes(c.Values)
	axis := d.valueAxis(c.Format, 6)
	setRange(&axis, min(0, low), max(0, high))
	option := d.option(c, axis)
	option.Theme = d.theme(d.tone(c.Tone))
	option.SeriesList = charts.GenericSeriesList{{Type: charts.ChartTypeBar, Values: withNulls(c.Values)}}
	return charts.Render(option)
}

// option returns the options that charts over the same categories share.
func (d drawing) option(c Chart, axes ...charts.YAxisOption) charts.ChartOption {
	return charts.ChartOption{
		OutputFormat: d.output,
		Width:        d.width,
		Height:       d.heightOf(c),
		Padding:      d.padding(),
		Legend:       charts.LegendOption{Show: new(false)},
		XAxis: charts.XAxisOption{Labels: sparse(c.Labels), LabelFontStyle: d.font(1),
			LabelCount: len(c.Labels), BoundaryGap: new(true)},
		YAxis:          axes,
		ValueFormatter: c.Format,
	}
}

func (d drawing) bars(c Chart) (*charts.Painter, error) {
	// The library draws the first category at the bottom.
	labels, values := slices.Clone(c.Labels), withNulls(c.Values)
	slices.Reverse(labels)
	slices.Reverse(values)
	option := charts.NewBarChartOptionWithData([][]float64{values})
	option.Horizontal = true
	option.Theme = d.theme(d.tone(c.Tone))
	option.Padding = d.padding()
	option.Legend = charts.LegendOption{Show: new(false)}
	option.CategoryAxis = charts.CategoryAxisOption{Labels: labels, LabelFontStyle: d.font(1)}
	axis := d.valueAxis(c.Format, 5)
	low, high := extremes(c.Values)
	setRange(&axis, min(0, low), max(0, high)) // bars must start at zero
	option.ValueAxis = []charts.ValueAxisOption{axis}
	option.ValueFormatter = c.Format
	option.BarSize = 0.62
	painter := charts.NewPainter(charts.PainterOptions{OutputFormat: d.output, Width: d.width, Height: d.heightOf(c)})
	return painter, painter.BarChart(option)
}

// sparse keeps at most eight labels at regular intervals.
func sparse(labels []string) []string {
	interval := (len(labels) + 7) / 8
	out := make([]string, len(labels))
	for i := 0; i < len(labels); i += interval {
		out[i] = labels[i]
	}
	return out
}

// extremes returns the smallest and the largest known value.
func extremes(values []float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			low, high = min(low, v), max(high, v)
		}
	}
	return low, high
}

// setRange sets the ends of an axis to round numbers around low and high, with labels at round
// steps.
func setRange(axis *charts.ValueAxisOption, low, high float64) {
	if !(high > low) || math.IsInf(high-low, 0) {
		return
	}
	step := roundUp((high - low) / 5)
	low, high = math.Floor(low/step+1e-9)*step, math.Ceil(high/step-1e-9)*step
	axis.Min, axis.Max = &low, &high
	axis.LabelCount = int(math.Round((high-low)/step)) + 1
}

// roundUp rounds up to 1, 2, 2.5 or 5 times a power of ten.
func roundUp(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, digit := range [...]float64{1, 2, 2.5, 5} {
		if rounded := digit * power; rounded >= v {
			return rounded
		}
	}
	return 10 * power
}
