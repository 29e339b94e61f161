package report

import (
	"fmt"
	"strings"
	"time"
)

// bars are the steps of a drawing one character high.
const bars = "▁▂▃▄▅▆▇█"

// profileSlots is the widest that such a drawing becomes.
const profileSlots = 48

// profile draws the hours of each symbol in a line: its closes, its trades, its busiest hour.
func (t *tableWriter) profile(section Section) (*grid, string, bool) {
	result := section.Result
	rows, telling := t.report.mostTelling(section)
	at := map[string]int{}
	for _, name := range [...]string{"symbol", "hour", "trades", "close", "change"} {
		i := columnIndex(result, name)
		if i < 0 {
			return nil, "", false
		}
		at[name] = i
	}
	first := t.report.Window.Start.Truncate(time.Hour)
	hours := int((t.report.Window.End.Sub(first) + time.Hour - 1) / time.Hour)
	per := max(1, (hours+profileSlots-1)/profileSlots)
	slots := (hours + per - 1) / per

	type line struct {
		symbol  string
		closes  []float64
		trades  []float64
		busiest time.Time
		most    int64
	}
	var lines []*line
	more, last := 0, ""
	for _, row := range rows {
		symbol, _ := row[at["symbol"]].(string)
		hour, ok := row[at["hour"]].(time.Time)
		slot := int(hour.Sub(first)/time.Hour) / per
		if !ok || slot < 0 || slot >= slots {
			continue
		}
		if len(lines) == 0 || lines[len(lines)-1].symbol != symbol {
			if symbol == last {
				continue
			}
			if last = symbol; t.opt.Rows >= 0 && len(lines) == t.opt.Rows {
				more++
				continue
			}
			lines = append(lines, &line{symbol: symbol, closes: make([]float64, slots), trades: make([]float64, slots)})
		}
		l := lines[len(lines)-1]
		trades, _ := row[at["trades"]].(int64)
		price, _ := row[at["close"]].(float64)
		l.closes[slot] = price
		l.trades[slot] += float64(trades)
		if trades > l.most {
			l.most, l.busiest = trades, hour
		}
	}
	if len(lines) == 0 {
		return nil, "", false
	}
	g := &grid{
		heads: []string{"symbol", "close", "trades", "busiest hour", "trades in it"},
		right: []bool{false, false, false, false, true},
		wraps: make([]bool, 5),
		rank:  []int{0, 1, 2, 3, 4},
		keep:  []bool{true, false, false, false, false},
		kinds: make([]kind, 5),
		cells: make([][][]string, 5),
	}
	for i := range g.cells {
		g.cells[i] = [][]string{nil}
	}
	for _, l := range lines {
		for i, cell := range [...]string{l.symbol, draw(l.closes, false), draw(l.trades, true), l.busiest.Format("01-02 15:04"), grouped(formatInt(l.most))} {
			g.cells[i][0] = append(g.cells[i][0], oneLine(cell))
		}
	}
	note := ""
	if more > 0 {
		note = fmt.Sprintf("… and %s; %s", count(int64(more), "more symbol"), telling)
	}
	return g, note, true
}

// draw makes a character of each value; 0 is a hole. From zero, or from the smallest to the largest.
func draw(values []float64, fromZero bool) string {
	steps := []rune(bars)
	low, high := 0.0, 0.0
	for _, v := range values {
		if v == 0 {
			continue
		}
		if high == 0 || v > high {
			high = v
		}
		if low == 0 || v < low {
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
			out.WriteRune(steps[len(steps)/2])
		default:
			out.WriteRune(steps[int((v-low)/(high-low)*float64(len(steps)-1)+0.5)])
		}
	}
	return out.String()
}
