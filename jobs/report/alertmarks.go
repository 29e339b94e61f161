package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/chart"
	"tapedeck/internal/wording"
)

// alert is an alert of a symbol, as the section incidents has it.
type alert struct {
	at                 time.Time // known from then on: it is about what was traded before
	detector, severity string
	message            string
}

// alertsBySymbol returns the alerts of the window in the order of time. Without the section incidents
// there are none.
func (r *Report) alertsBySymbol() map[string][]alert {
	incidents, _ := r.result("incidents")
	out := map[string][]alert{}
	for _, row := range incidents.Rows {
		symbol := field[string](incidents, row, "symbol")
		out[symbol] = append(out[symbol], alert{
			at: field[time.Time](incidents, row, "at"), detector: field[string](incidents, row, "detector"),
			severity: field[string](incidents, row, "severity"), message: field[string](incidents, row, "message"),
		})
	}
	for _, alerts := range out {
		slices.SortStableFunc(alerts, func(a, b alert) int {
			return cmp.Or(a.at.Compare(b.at), strings.Compare(a.detector, b.detector))
		})
	}
	return out
}

func (a alert) String() string {
	return fmt.Sprintf("%s %s, %s: %s", formatTime(a.at), wording.Visible(a.detector), wording.Visible(a.severity), wording.Visible(a.message))
}

// numberedMarks is the most marks of a chart that have numbers: those of more would cover each other.
const numberedMarks = 30

// titledAlerts is how many alerts of one candle its mark names.
const titledAlerts = 5

// markAlerts returns a mark for each candle with alerts, and notes that say what the numbers of the marks
// mean. A number stands for a detector; many marks have none. pointOf returns the candle of a trade at a time.
func markAlerts(alerts []alert, candles int, pointOf func(time.Time) int) (marks []chart.Mark, notes string) {
	byCandle := map[int][]alert{}
	counts := map[string]int{}
	var detectors []string // in the order of their first alerts
	for _, a := range alerts {
		candle := pointOf(a.at.Add(-time.Microsecond))
		if candle < 0 || candle >= candles {
			continue
		}
		byCandle[candle] = append(byCandle[candle], a)
		if counts[a.detector]++; counts[a.detector] == 1 {
			detectors = append(detectors, a.detector)
		}
	}
	isNumbered := len(byCandle) <= numberedMarks
	for candle := range candles {
		if of := byCandle[candle]; len(of) > 0 {
			marks = append(marks, markOf(candle, of, detectors))
			if !isNumbered {
				marks[len(marks)-1].Label = ""
			}
		}
	}
	if len(detectors) == 0 {
		return nil, ""
	}
	var legend []string
	for i, detector := range detectors {
		entry := wording.Visible(detector)
		if isNumbered {
			entry = fmt.Sprintf("%d %s", i+1, entry)
		}
		if n := counts[detector]; n > 1 {
			entry += fmt.Sprintf(" (%s)", wording.Comma(n))
		}
		legend = append(legend, entry)
	}
	return marks, "Alerts: " + strings.Join(legend, ", ")
}

func markOf(candle int, alerts []alert, detectors []string) chart.Mark {
	var numbers, titles []string
	for i, detector := range detectors {
		if slices.ContainsFunc(alerts, func(a alert) bool { return a.detector == detector }) {
			numbers = append(numbers, fmt.Sprint(i+1))
		}
	}
	for _, a := range alerts[:min(len(alerts), titledAlerts)] {
		titles = append(titles, a.String())
	}
	if more := len(alerts) - titledAlerts; more > 0 {
		titles = append(titles, fmt.Sprintf("and %s more", wording.Comma(more)))
	}
	return chart.Mark{Candle: candle, Label: strings.Join(numbers, ","), Title: strings.Join(titles, "\n")}
}
