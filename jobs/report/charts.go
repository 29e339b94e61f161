package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"tapedeck/internal/chart"
)

// drawings are the charts of a page and of pictures: the movers, the trades by hour, then price and volume of the symbols that
// traded the most, each followed by its volume by hour.
func (r *Report) drawings() []chart.Chart {
	out := append(r.drawMovers(), r.drawBreadth()...)
	decimals := r.priceDecimals()
	candles := r.Section("candles")
	if candles == nil {
		return out
	}
	symbol := columnIndex(candles.Result, "symbol")
	if symbol < 0 {
		return out
	}
	for i, run := range mostTraded(candles.Result, symbol) {
		if price, ok := r.drawPrice(candles, run, decimals); ok {
			out = append(out, price)
		}
		if volume, ok := r.drawVolumeByHour(run.symbol); ok && i < hourlySymbols {
			out = append(out, volume)
		}
	}
	return out
}

// drawMovers draws those that rose the most and those that fell the most.
func (r *Report) drawMovers() (out []chart.Chart) {
	section := r.Section("movers")
	if section == nil {
		return nil
	}
	side, symbol, change := columnIndex(section.Result, "side"), columnIndex(section.Result, "symbol"), columnIndex(section.Result, "change")
	if side < 0 || symbol < 0 || change < 0 {
		return nil
	}
	gainers := chart.Chart{Title: "Rose the most", Kind: chart.Bars, Tone: chart.Good, Format: percent}
	losers := chart.Chart{Title: "Fell the most", Kind: chart.Bars, Tone: chart.Bad, Format: percent}
	for _, row := range section.Result.Rows {
		drawn := &gainers
		if row[side] == "loser" {
			drawn = &losers
		}
		name, _ := row[symbol].(string)
		if v, ok := row[change].(float64); ok && len(drawn.Values) < 10 {
			drawn.Labels, drawn.Values = append(drawn.Labels, oneLine(name)), append(drawn.Values, v)
		}
	}
	for _, drawn := range []chart.Chart{gainers, losers} {
		if len(drawn.Values) > 0 {
			out = append(out, drawn)
		}
	}
	return out
}

func percent(v float64) string {
	if v == 0 {
		return "0%"
	}
	return fmt.Sprintf("%+.4g%%", v)
}

// drawBreadth draws the trades of all symbols by hour.
func (r *Report) drawBreadth() []chart.Chart {
	section := r.Section("breadth")
	if section == nil {
		return nil
	}
	hour, trades := columnIndex(section.Result, "hour"), columnIndex(section.Result, "trades")
	if hour < 0 || trades < 0 {
		return nil
	}
	by := map[time.Time]float64{}
	for _, row := range section.Result.Rows {
		at, _ := row[hour].(time.Time)
		n, _ := row[trades].(int64)
		by[at] += float64(n)
	}
	return r.drawHours("Trades by hour, all symbols", by)
}

func (r *Report) drawVolumeByHour(symbol string) (chart.Chart, bool) {
	section := r.Section("hourly")
	if section == nil {
		return chart.Chart{}, false
	}
	name, hour, volume := columnIndex(section.Result, "symbol"), columnIndex(section.Result, "hour"), columnIndex(section.Result, "quote_volume")
	if name < 0 || hour < 0 || volume < 0 {
		return chart.Chart{}, false
	}
	by := map[time.Time]float64{}
	for _, row := range section.Result.Rows {
		if row[name] == symbol {
			at, _ := row[hour].(time.Time)
			by[at], _ = row[volume].(float64)
		}
	}
	drawn := r.drawHours(symbol+": volume by hour, quote asset", by)
	if len(drawn) == 0 {
		return chart.Chart{}, false
	}
	return drawn[0], true
}

// drawHours draws the window's hours, also those of which nothing is known; one hour is no chart.
func (r *Report) drawHours(title string, by map[time.Time]float64) []chart.Chart {
	if len(by) < 2 {
		return nil
	}
	drawn := chart.Chart{Title: title, Kind: chart.Columns, Format: axisAmount}
	first := r.Window.Start.Truncate(time.Hour)
	hours := int((r.Window.End.Sub(first) + time.Hour - 1) / time.Hour)
	per := (hours + chart.MostPoints - 1) / chart.MostPoints
	for i := 0; i < hours; i += per {
		sum := 0.0
		for j := i; j < min(i+per, hours); j++ {
			sum += by[first.Add(time.Duration(j)*time.Hour)]
		}
		drawn.Labels = append(drawn.Labels, r.timeLabel(first.Add(time.Duration(i)*time.Hour)))
		drawn.Values = append(drawn.Values, sum)
	}
	return []chart.Chart{drawn}
}

// drawPrice draws a symbol's closes and volumes. A slice without trades keeps the price before it and has no volume; where the
// tape has a hole, and before the first and after the last trade, there is no line.
func (r *Report) drawPrice(candles *Section, run symbolRun, decimals map[string]int) (chart.Chart, bool) {
	at, price, volume := columnIndex(candles.Result, "opened_at"), columnIndex(candles.Result, "close"), columnIndex(candles.Result, "volume")
	if at < 0 || price < 0 || volume < 0 {
		return chart.Chart{}, false
	}
	step := r.step
	if step <= 0 {
		return chart.Chart{}, false
	}
	slot := func(t time.Time) int64 { return floorDiv(t.UnixMicro(), step.Microseconds()) }
	first, last := slot(r.Window.Start), slot(r.Window.End.Add(-time.Microsecond))
	per := (last-first)/chart.MostPoints + 1
	n := int((last-first)/per) + 1
	digits := axisDecimals(candles.Result.Rows[run.from:run.to], price, decimals[run.symbol])
	drawn := chart.Chart{
		Title:  fmt.Sprintf("%s: price, and volume in base asset, every %s", run.symbol, length(step*time.Duration(per))),
		Labels: make([]string, n), Values: make([]float64, n), Below: make([]float64, n), BelowFormat: axisAmount,
		Format: func(v float64) string { return grouped(fmt.Sprintf("%.*f", digits, v)) },
	}
	for i := range n {
		drawn.Values[i] = math.NaN()
		drawn.Labels[i] = r.timeLabel(time.UnixMicro((first + int64(i)*per) * step.Microseconds()).UTC())
	}
	end := -1
	for _, row := range candles.Result.Rows[run.from:run.to] {
		opened, _ := row[at].(time.Time)
		i := int((slot(opened) - first) / per)
		if i < 0 || i >= n {
			continue
		}
		if v, ok := row[price].(float64); ok {
			drawn.Values[i], end = v, i
		}
		v, _ := row[volume].(float64)
		drawn.Below[i] += v
	}
	holeFrom, holeUntil := r.hole(run.symbol)
	for i := 1; i < end; i++ {
		begins := time.UnixMicro((first + int64(i)*per) * step.Microseconds())
		inHole := begins.Before(holeUntil) && begins.Add(step*time.Duration(per)).After(holeFrom)
		if math.IsNaN(drawn.Values[i]) && !inHole {
			drawn.Values[i] = drawn.Values[i-1]
		}
	}
	return drawn, end >= 0
}

// hole gives the ends of the time in which ids of a symbol are missing.
func (r *Report) hole(symbol string) (from, until time.Time) {
	section := r.Section(completenessName)
	if section == nil {
		return from, until
	}
	states, _ := readStates(section.Result)
	for _, state := range states {
		if state.symbol == symbol && state.missing > 0 {
			return state.missingFrom, state.missingUntil
		}
	}
	return from, until
}

// axisAmount writes a round amount with a letter and no zeros at its end: 2.5k.
func axisAmount(v float64) string {
	text := compact(v)
	letter := strings.TrimLeft(text, "-0123456789.")
	figures := strings.TrimSuffix(text, letter)
	if strings.Contains(figures, ".") {
		figures = strings.TrimRight(strings.TrimRight(figures, "0"), ".")
	}
	return figures + letter
}

// axisDecimals is how many decimals tell the steps of a price axis apart: those of the symbol's prices, or more where they hardly move.
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
	if step := int(math.Ceil(-math.Log10((high-low)/4))) + 1; step > decimals {
		return min(step, maxDecimals+2)
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

// timeLabel is a time for an axis, as long as the window asks for.
func (r *Report) timeLabel(at time.Time) string {
	layout := strings.NewReplacer("mm-dd", "01-02", "hh:mm:ss", "15:04:05", "hh:mm", "15:04").Replace(r.timeFormat())
	return at.UTC().Format(layout)
}

// Picture is a chart to be sent.
type Picture struct {
	Name    string // of a file, without the ending
	Caption string
	PNG     []byte
}

// Pictures draws the report's charts as PNG, the most telling first, at most so many of them; less than 0 is all. A report
// without anything to draw has none.
func Pictures(r *Report, limit int) ([]Picture, error) {
	drawings := r.drawings()
	if limit >= 0 {
		drawings = drawings[:min(limit, len(drawings))]
	}
	var out []Picture
	for i, drawn := range drawings {
		content, err := chart.PNG(drawn)
		if err != nil {
			return nil, err
		}
		out = append(out, Picture{Name: fmt.Sprintf("chart-%02d", i+1), Caption: fmt.Sprintf("%s (%s)", drawn.Title, r.heading()), PNG: content})
	}
	return out, nil
}
