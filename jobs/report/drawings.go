package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"tapedeck/internal/chart"
	"tapedeck/internal/wording"
)

// Pictures draws the report's charts as PNG, the most important first, and returns at most limit of
// them; a negative limit means all. A report without data has none.
func Pictures(r *Report, limit int) (out []Attachment, err error) {
	drawings := r.drawings()
	if limit >= 0 {
		drawings = drawings[:min(limit, len(drawings))]
	}
	for i, drawing := range drawings {
		content, err := chart.PNG(drawing)
		if err != nil {
			return nil, err
		}
		out = append(out, Attachment{Name: fmt.Sprintf("chart-%02d.png", i+1),
			Caption: fmt.Sprintf("%s (%s)", drawing.Title, r.heading()), Content: content})
	}
	return out, nil
}

// drawings returns the charts for pages and pictures.
func (r *Report) drawings() (out []chart.Chart) {
	for _, group := range r.chartGroups() {
		for _, spec := range group {
			switch spec.kind {
			case moversChart:
				out = append(out, drawMovers(spec))
			case hoursChart:
				out = append(out, r.drawHours(spec))
			case priceChart:
				if drawing, ok := r.drawPrice(spec); ok {
					out = append(out, drawing)
				}
			}
		}
	}
	return out
}

func drawMovers(spec chartSpec) chart.Chart {
	out := chart.Chart{Title: spec.title, Kind: chart.Bars, Tone: chart.Good, Format: formatAxisPercent}
	if spec.level == Bad {
		out.Tone = chart.Bad
	}
	for _, row := range spec.rows() {
		symbol, _ := row[spec.category].(string)
		change, _ := row[spec.value].(float64)
		out.Labels, out.Values = append(out.Labels, wording.Name(symbol)), append(out.Values, change)
	}
	return out
}

// drawHours draws all hours of the window, also those without data. Several hours share a column if
// there are too many for one chart.
func (r *Report) drawHours(spec chartSpec) chart.Chart {
	sums := map[time.Time]float64{}
	for _, row := range spec.rows() {
		hour, _ := row[spec.category].(time.Time)
		switch v := row[spec.value].(type) {
		case int64:
			sums[hour] += float64(v)
		case float64:
			sums[hour] += v
		}
	}
	out := chart.Chart{Title: spec.title, Kind: chart.Columns, Format: formatAxisAmount}
	first, hours := r.hours()
	hoursPerColumn := r.wholeSteps((hours + chart.MaxPoints - 1) / chart.MaxPoints)
	_, layout := r.timeFormat()
	for i := 0; i < hours; i += hoursPerColumn {
		sum := 0.0
		for j := i; j < min(i+hoursPerColumn, hours); j++ {
			sum += sums[first.Add(time.Duration(j)*time.Hour)]
		}
		out.Labels = append(out.Labels, first.Add(time.Duration(i)*time.Hour).UTC().Format(layout))
		out.Values = append(out.Values, sum)
	}
	return out
}

// wholeSteps rounds a number of hours up to whole rows of hourly.
func (r *Report) wholeSteps(hours int) int {
	step := int(max(r.hourlyStep, 1))
	return (hours + step - 1) / step * step
}

// hourlyUnit is what a row of hourly is.
func (r *Report) hourlyUnit() string {
	switch r.hourlyStep {
	case 0, 1:
		return "hour"
	case 24:
		return "day"
	case 7 * 24:
		return "week"
	}
	return wording.Count(r.hourlyStep, "hour")
}

// hours returns the first hour of the window, and how many hours it has.
func (r *Report) hours() (first time.Time, n int) {
	first = r.Window.Start.Truncate(time.Hour)
	return first, int((r.Window.End.Sub(first) + time.Hour - 1) / time.Hour)
}

// drawPrice draws a symbol's closes and volumes. A candle without trades repeats the price before
// it and has no volume. There is no line inside a gap of the tape, before the first and after the
// last trade. It returns false if there is nothing to draw.
func (r *Report) drawPrice(spec chartSpec) (chart.Chart, bool) {
	step := r.candleStep
	if step <= 0 {
		return chart.Chart{}, false
	}
	candle := func(t time.Time) int64 { return floorDiv(t.UnixMicro(), step.Microseconds()) }
	first, last := candle(r.Window.Start), candle(r.Window.End.Add(-time.Microsecond))
	candlesPerPoint := (last-first)/chart.MaxPoints + 1
	width := step * time.Duration(candlesPerPoint)
	startOf := func(point int) time.Time {
		return time.UnixMicro((first + int64(point)*candlesPerPoint) * step.Microseconds()).UTC()
	}
	n := int((last-first)/candlesPerPoint) + 1
	digits := axisDecimals(spec.rows(), spec.value, r.priceDecimals()[spec.symbol])
	out := chart.Chart{
		Title:  fmt.Sprintf("%s, every %s", spec.title, formatDuration(width)),
		Labels: make([]string, n), Values: make([]float64, n), Below: make([]float64, n), BelowFormat: formatAxisAmount,
		Format: func(v float64) string { return groupThousands(fmt.Sprintf("%.*f", digits, v)) },
	}
	_, layout := r.timeFormat()
	for i := range n {
		out.Values[i] = math.NaN()
		out.Labels[i] = startOf(i).Format(layout)
	}
	lastPoint := -1
	for _, row := range spec.rows() {
		opened, _ := row[spec.category].(time.Time)
		i := int((candle(opened) - first) / candlesPerPoint)
		if i < 0 || i >= n {
			continue
		}
		if v, ok := row[spec.value].(float64); ok {
			out.Values[i], lastPoint = v, i
		}
		volume, _ := row[spec.volume].(float64)
		out.Below[i] += volume
	}
	gapStart, gapEnd := r.gapOf(spec.symbol)
	for i := 1; i < lastPoint; i++ {
		inGap := startOf(i).Before(gapEnd) && startOf(i).Add(width).After(gapStart)
		if math.IsNaN(out.Values[i]) && !inGap {
			out.Values[i] = out.Values[i-1]
		}
	}
	return out, lastPoint >= 0
}

// gapOf returns the time from the first to the last gap in a symbol's ids.
func (r *Report) gapOf(symbol string) (start, end time.Time) {
	completeness, _ := r.result(completenessName)
	states, _ := readStates(completeness)
	for _, state := range states {
		if state.symbol == symbol && state.missing > 0 {
			return state.missingFrom, state.missingUntil
		}
	}
	return start, end
}

func formatAxisPercent(v float64) string {
	if v == 0 {
		return "0%"
	}
	return fmt.Sprintf("%+.4g%%", v)
}

// formatAxisAmount abbreviates an amount and drops trailing zeros: 2.5k.
func formatAxisAmount(v float64) string {
	text := abbreviate(v)
	unit := strings.TrimLeft(text, "-0123456789.")
	digits := strings.TrimSuffix(text, unit)
	if strings.Contains(digits, ".") {
		digits = strings.TrimRight(strings.TrimRight(digits, "0"), ".")
	}
	return digits + unit
}

// axisDecimals returns the decimals of a price axis: those of the symbol, or more if prices hardly
// move and the labels of the axis would be equal.
func axisDecimals(rows [][]any, column, decimals int) int {
	low, high := math.Inf(1), math.Inf(-1)
	for _, row := range rows {
		if v, ok := row[column].(float64); ok {
			low, high = min(low, v), max(high, v)
		}
	}
	if !(high > low) {
		return decimals
	}
	if needed := int(math.Ceil(-math.Log10((high-low)/4))) + 1; needed > decimals {
		return min(needed, maxDecimals+2)
	}
	return decimals
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
