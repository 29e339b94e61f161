package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// growthBenchmark measures commands on tapes of several sizes; make bench-growth runs it.
func growthBenchmark() *benchmark {
	return &benchmark{name: "BenchmarkGrowth", pkg: "cmd/tapedeck"}
}

// curve is the cost of one command by the size of the tape.
type curve struct{ metric, label string }

func curves() []curve {
	return []curve{
		{"s-compact", "`compact` of all days"},
		{"s-verify-first", "`verify`, first time"},
		{"s-query-all", "`query` over all trades"},
		{"s-verify-again", "`verify` again"},
		{"s-query-day", "`query` over the last day"},
		{"s-detect", "`detect`, one minute"},
		{"s-report", "`report` of the last day"},
	}
}

// exponent returns the slope of a least-squares line through the logarithms: the cost grows as the size
// to that power.
func exponent(sizes, costs []float64) float64 {
	var n, sx, sy, sxx, sxy float64
	for i := range sizes {
		x, y := math.Log(sizes[i]), math.Log(costs[i])
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// renderGrowth returns the table of costs and their exponents.
func renderGrowth(figures map[string][]float64, machine, picture string) string {
	sizes := figures["Mtrades"]
	var out strings.Builder
	fmt.Fprintf(&out, "%s. In seconds; exponent 1 is linear growth, 0 is constant.\n\n| command |", machine)
	for _, size := range sizes {
		fmt.Fprintf(&out, " %.0f million trades |", size)
	}
	fmt.Fprintf(&out, " exponent | exponent of the last step |\n|---|%s---:|---:|\n", strings.Repeat("---:|", len(sizes)))
	cells := func(c curve) {
		fmt.Fprintf(&out, "| %s |", c.label)
		for _, figure := range figures[c.metric] {
			fmt.Fprintf(&out, " %s |", number(figure))
		}
	}
	for _, c := range curves() {
		costs := figures[c.metric]
		cells(c)
		last := max(0, len(costs)-2)
		fmt.Fprintf(&out, " %.2f | %.2f |\n", exponent(sizes, costs), exponent(sizes[last:], costs[last:]))
	}
	for _, c := range []curve{{"MB-compact", "peak memory of `compact`, MB"}, {"MB-verify-first", "peak memory of `verify`, first time, MB"}} {
		cells(c)
		out.WriteString(" | |\n")
	}
	fmt.Fprintf(&out, "\n![cost of each command by the size of the tape](%s)\n", picture)
	return out.String()
}

// drawGrowth draws the same figures as SVG, with logarithmic axes and a dashed line of linear growth.
func drawGrowth(figures map[string][]float64) string {
	const width, height, left, right, top, bottom = 860.0, 520.0, 70.0, 230.0, 20.0, 60.0
	colors := [...]string{"#2f6fb2", "#b3261e", "#1a7f4b", "#8a5a00", "#6b3fa0", "#0b7a75", "#7a7a7a"}
	sizes := figures["Mtrades"]
	least, most := math.Inf(1), math.Inf(-1)
	for _, c := range curves() {
		for _, cost := range figures[c.metric] {
			least, most = min(least, math.Floor(math.Log10(cost))), max(most, math.Ceil(math.Log10(cost)))
		}
	}
	first, last := math.Log10(sizes[0]), math.Log10(sizes[len(sizes)-1])
	x := func(size float64) float64 {
		return left + (math.Log10(size)-first)/max(last-first, 1e-9)*(width-left-right)
	}
	y := func(log float64) float64 { return height - bottom - (log-least)/(most-least)*(height-top-bottom) }
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="13">`+"\n", width, height)
	fmt.Fprintf(&out, `<rect width="%g" height="%g" fill="#ffffff"/>`+"\n", width, height)
	line := func(x1, y1, x2, y2 float64, style string) {
		fmt.Fprintf(&out, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`+"\n", x1, y1, x2, y2, style)
	}
	text := func(x, y float64, anchor, color, content string) {
		fmt.Fprintf(&out, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, color, html.EscapeString(content))
	}
	for log := least; log <= most; log++ {
		line(left, y(log), width-right, y(log), `stroke="#e4e9ee"`)
		text(left-8, y(log)+4, "end", "#52606d", fmt.Sprintf("%g s", math.Pow(10, log)))
	}
	for _, size := range sizes {
		line(x(size), top, x(size), height-bottom, `stroke="#e4e9ee"`)
		text(x(size), height-bottom+20, "middle", "#52606d", fmt.Sprintf("%g M", size))
	}
	text((left+width-right)/2, height-16, "middle", "#52606d", "trades on the tape")
	// The line of linear growth ends at the upper right corner.
	from := max(first, last-(most-least))
	line(x(math.Pow(10, from)), y(most-(last-from)), x(sizes[len(sizes)-1]), y(most), `stroke="#9aa5b1" stroke-dasharray="5 4"`)
	text(x(sizes[len(sizes)-1])+10, y(most)+4, "start", "#9aa5b1", "linear")
	// Labels are at the ends of their curves, moved spacing where they would overlap.
	type label struct {
		y           float64
		text, color string
	}
	var labels []label
	for i, c := range curves() {
		costs := figures[c.metric]
		var points []string
		for j, cost := range costs {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(sizes[j]), y(math.Log10(cost))))
		}
		fmt.Fprintf(&out, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colors[i])
		labels = append(labels, label{y(math.Log10(costs[len(costs)-1])) + 4, strings.ReplaceAll(c.label, "`", ""), colors[i]})
	}
	const spacing = 17
	for moved := true; moved; {
		moved = false
		for i := range labels {
			for j := range labels {
				if i != j && labels[j].y >= labels[i].y && labels[j].y-labels[i].y < spacing && (labels[j].y > labels[i].y || j > i) {
					labels[j].y = labels[i].y + spacing
					moved = true
				}
			}
		}
	}
	for _, l := range labels {
		text(width-right+10, l.y, "start", l.color, l.text)
	}
	out.WriteString("</svg>\n")
	return out.String()
}
