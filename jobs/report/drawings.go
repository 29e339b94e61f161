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

// drawPrice draws a symbol's candles and volumes, and marks its alerts. Several candles share a point if
// there are too many for one chart. A slice without trades has no candle. It returns false if there is
// nothing to draw.
func (r *Report) drawPrice(spec chartSpec) (chart.Chart, bool) {
	step := r.candleStep
	if step <= 0 {
		return chart.Chart{}, false
	}
	slot := func(t time.Time) int64 { return floorDiv(t.UnixMicro(), step.Microseconds()) }
	first, last := slot(r.Window.Start), slot(r.Window.End.Add(-time.Microsecond))
	slotsPerPoint := (last-first)/chart.MaxPoints + 1
	pointOf := func(t time.Time) int { return int((slot(t) - first) / slotsPerPoint) }
	n := int((last-first)/slotsPerPoint) + 1
	digits := axisDecimals(spec.rows(), spec.prices, r.priceDecimals()[spec.symbol])
	out := chart.Chart{
		Title: fmt.Sprintf("%s, every %s", spec.title, formatDuration(step*time.Duration(slotsPerPoint))), Kind: chart.Candles,
		Labels: make([]string, n), Values: make([]float64, n), Prices: make([]chart.Candle, n), Format: formatAxisAmount,
		PriceFormat: func(v float64) string { return groupThousands(fmt.Sprintf("%.*f", digits, v)) },
	}
	_, layout := r.timeFormat()
	for i := range n {
		at := time.UnixMicro((first + int64(i)*slotsPerPoint) * step.Microseconds()).UTC()
		out.Labels[i], out.Prices[i] = at.Format(layout), chart.NoCandle()
	}
	drawn := false
	for _, row := range spec.rows() {
		opened, _ := row[spec.category].(time.Time)
		i := pointOf(opened)
		candle, ok := candleOf(row, spec.prices)
		if i < 0 || i >= n || !ok {
			continue
		}
		volume, _ := row[spec.value].(float64)
		out.Prices[i], out.Values[i], drawn = out.Prices[i].Join(candle), out.Values[i]+volume, true
	}
	out.Marks, out.Notes = markAlerts(spec.alerts, n, pointOf)
	return out, drawn
}

// candleOf returns the prices of a row of the section candles.
func candleOf(row []any, columns []int) (out chart.Candle, ok bool) {
	for i, target := range [...]*float64{&out.Open, &out.High, &out.Low, &out.Close} {
		if *target, ok = row[columns[i]].(float64); !ok {
			return out, false
		}
	}
	return out, true
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
func axisDecimals(rows [][]any, columns []int, decimals int) int {
	low, high := math.Inf(1), math.Inf(-1)
	for _, row := range rows {
		for _, column := range columns {
			if v, ok := row[column].(float64); ok {
				low, high = min(low, v), max(high, v)
			}
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
