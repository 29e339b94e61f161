package report

import (
	"fmt"
	"strings"
	"time"

	"tapedeck/internal/wording"
)

// sparkSteps are the heights of a sparkline's characters.
var sparkSteps = [...]rune{'▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'}

// sparkWidth is the most characters of a sparkline.
const sparkWidth = 48

// symbolProfile holds the hours of one symbol, summarized in slots.
type symbolProfile struct {
	symbol  string
	closes  []float64 // by slot; 0: no trades
	trades  []float64 // by slot
	busiest time.Time // hour
	most    int64     // trades in the busiest hour
}

// hourlyProfile summarizes the section hourly in one line per symbol: sparklines of its closes and
// trades, and its busiest hour. It returns false if the section lacks a column or a usable row.
func (t *tableWriter) hourlyProfile(section Section) (grid, string, bool) {
	result := section.Result
	if columnIndices(result, "symbol", "hour", "trades", "close") == nil {
		return nil, "", false
	}
	first, hours := t.report.hours()
	hoursPerSlot := t.report.wholeSteps((hours + sparkWidth - 1) / sparkWidth)
	slots := (hours + hoursPerSlot - 1) / hoursPerSlot

	rows, order := t.report.orderByImportance(section)
	bySymbol := map[string]*symbolProfile{}
	var profiles []*symbolProfile
	for _, row := range rows {
		symbol, hour := field[string](result, row, "symbol"), field[time.Time](result, row, "hour")
		slot := int(hour.Sub(first)/time.Hour) / hoursPerSlot
		if hour.Before(first) || slot >= slots {
			continue
		}
		profile := bySymbol[symbol]
		if profile == nil {
			profile = &symbolProfile{symbol: symbol, closes: make([]float64, slots), trades: make([]float64, slots)}
			bySymbol[symbol] = profile
			profiles = append(profiles, profile)
		}
		profile.closes[slot] = field[float64](result, row, "close")
		trades := field[int64](result, row, "trades")
		profile.trades[slot] += float64(trades)
		if trades > profile.most {
			profile.most, profile.busiest = trades, hour
		}
	}
	if len(profiles) == 0 {
		return nil, "", false
	}
	note := ""
	if more := len(profiles) - t.opt.Rows; t.opt.Rows >= 0 && more > 0 {
		note = fmt.Sprintf("… and %s; %s", wording.Count(more, "more symbol"), order)
		profiles = profiles[:t.opt.Rows]
	}
	g := grid{{head: "symbol", keep: true}, {head: "close"}, {head: "raw trades"}, {head: "busiest " + t.report.hourlyUnit()}, {head: "raw trades in it", kind: kindCount}}
	for i := range g {
		g[i].rank, g[i].cells = i, make([][]string, 1)
	}
	for _, p := range profiles {
		for i, cell := range [...]string{
			p.symbol, sparkline(p.closes, false), sparkline(p.trades, true), p.busiest.Format("01-02 15:04"),
			wording.Comma(p.most),
		} {
			g[i].cells[0] = append(g[i].cells[0], wording.Visible(cell))
		}
	}
	return g, note, true
}

// sparkline draws one character per value, and a space for 0, which means no value. The scale
// starts at zero, or else at the smallest value.
func sparkline(values []float64, fromZero bool) string {
	low, high := 0.0, 0.0
	for _, v := range values {
		high = max(high, v)
		if v != 0 && (low == 0 || v < low) {
			low = v
		}
	}
	if fromZero {
		low = 0
	}
	var out strings.Builder
	for _, v := range values {
		switch {
		case v == 0:
			out.WriteByte(' ')
		case high == low:
			out.WriteRune(sparkSteps[len(sparkSteps)/2])
		default:
			out.WriteRune(sparkSteps[int((v-low)/(high-low)*float64(len(sparkSteps)-1)+0.5)])
		}
	}
	return out.String()
}
