package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-analyze/charts"
)

// samples returns charts of every kind, and unusual ones.
func samples() map[string]Chart {
	var labels []string
	var values, below []float64
	for i := range 97 {
		labels = append(labels, fmt.Sprintf("%02d:%02d", i/4, i*15%60))
		values = append(values, 61837+300*math.Sin(float64(i)/9))
		below = append(below, 20*math.Abs(math.Sin(float64(i)/3)))
	}
	candles := make([]Candle, len(values))
	for i, v := range values {
		candles[i] = Candle{Open: v, High: v + 90, Low: v - 60, Close: v + 30*math.Cos(float64(i))}
	}
	gaps := slices.Clone(candles)
	for i := 30; i < 40; i++ {
		gaps[i].Close = math.NaN()
	}
	price := func(v float64) string { return fmt.Sprintf("%.2f", v) }
	return map[string]Chart{
		"price": {Title: "币安人生USDT: close & <volume>", Kind: Candles, Labels: labels, Values: below, Prices: candles, PriceFormat: price,
			Marks: []Mark{{Candle: 3, Label: "1", Title: "币安 <alert> & more"}, {Candle: 90, Label: "1,2"}, {Candle: 96, Label: "3"}}, Notes: "Alerts: 1 币安 (2)"},
		"with gaps":    {Kind: Candles, Labels: labels, Values: below, Prices: gaps, Marks: []Mark{{Candle: 30, Label: "x"}, {Candle: -1}, {Candle: 99}}},
		"columns":      {Kind: Columns, Labels: labels[:24], Values: below[:24]},
		"rose":         {Kind: Bars, Tone: Good, Labels: []string{"A<b>&\"USDT", "币安USDT", "C"}, Values: []float64{12, 5, 1}},
		"fell":         {Kind: Bars, Tone: Bad, Labels: []string{"A", "B"}, Values: []float64{-12, -5}},
		"one":          {Kind: Candles, Labels: labels[:1], Values: below[:1], Prices: candles[:1]},
		"level":        {Kind: Candles, Labels: labels[:3], Values: []float64{0, 0, 0}, Prices: []Candle{{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}}, Marks: []Mark{{Candle: 1, Label: "1"}}},
		"tiny":         {Kind: Candles, Labels: labels[:2], Values: []float64{1, 2}, Prices: []Candle{{1.1e-7, 1.3e-7, 1.1e-7, 1.2e-7}, {1.2e-7, 1.2e-7, 1.15e-7, 1.15e-7}}},
		"nothing":      {Kind: Candles, Labels: labels[:2], Values: []float64{math.NaN(), math.Inf(1)}, Prices: []Candle{{Low: math.NaN()}, {High: math.Inf(1)}}},
		"zero columns": {Kind: Columns, Labels: labels[:2], Values: []float64{0, 0}},
	}
}

func TestSVGUsesColorsOfPage(t *testing.T) {
	color := regexp.MustCompile(`(?:fill|stroke):([^;"]*)`)
	for name, c := range samples() {
		t.Run(name, func(t *testing.T) {
			svg, err := SVG(c)
			if err != nil {
				t.Fatal(err)
			}
			decoder := xml.NewDecoder(strings.NewReader(svg))
			for {
				if _, err := decoder.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%v in %s", err, svg)
				}
			}
			for _, match := range color.FindAllStringSubmatch(svg, -1) {
				ours := slices.ContainsFunc(Variables[:], func(v string) bool { return match[1] == "var("+v+")" })
				if !ours && match[1] != "none" {
					t.Errorf("the color %q is not a variable", match[1])
				}
			}
			for _, outside := range []string{"http", "url(", "href", "<script", "font-family"} {
				if strings.Contains(svg, outside) {
					t.Errorf("the SVG contains %q", outside)
				}
			}
		})
	}
}

func TestSVGEscapesText(t *testing.T) {
	svg, err := SVG(samples()["rose"])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(svg, "A&lt;b&gt;&amp;") || !strings.Contains(svg, "币安USDT") {
		t.Errorf("the labels are not in %s", svg)
	}
}

func TestPNG(t *testing.T) {
	for name, c := range samples() {
		if testing.Short() && name != "rose" {
			continue // drawing takes long under the race detector
		}
		t.Run(name, func(t *testing.T) {
			content, err := PNG(c)
			if err != nil {
				t.Fatal(err)
			}
			picture, err := png.Decode(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			if picture.Bounds() != image.Rect(0, 0, pngWidth, pngHeight) {
				t.Errorf("bounds %v", picture.Bounds())
			}
			if r, g, b, a := picture.At(2, 2).RGBA(); r != 0xffff || g != 0xffff || b != 0xffff || a != 0xffff {
				t.Error("the background is not white")
			}
		})
	}
}

// TestBarsAreInOrder finds the bars by their color.
func TestBarsAreInOrder(t *testing.T) {
	content, err := PNG(samples()["rose"])
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	var lengths []int
	inside := false
	for y := range pngHeight {
		n := 0
		for x := range pngWidth {
			if r, g, b, _ := picture.At(x, y).RGBA(); r>>8 == 0x1a && g>>8 == 0x7f && b>>8 == 0x4b {
				n++
			}
		}
		if n > 10 && !inside {
			lengths = append(lengths, n)
		}
		inside = n > 10
	}
	if len(lengths) != 3 || lengths[0] <= 2*lengths[1] || lengths[1] <= 4*lengths[2] {
		t.Errorf("bars of 12, 5 and 1 are %d pixels long", lengths)
	}
}

func TestInvalidChartIsAnError(t *testing.T) {
	for _, c := range []Chart{{}, {Labels: []string{"a"}, Values: []float64{1, 2}}, {Kind: Candles, Labels: []string{"a"}, Values: []float64{1}}} {
		if _, err := SVG(c); err == nil {
			t.Errorf("SVG drew %+v", c)
		}
		if _, err := PNG(c); err == nil {
			t.Errorf("PNG drew %+v", c)
		}
	}
}

func TestSpellMissing(t *testing.T) {
	for text, want := range map[string]string{"BTCUSDT": "BTCUSDT", "币安USDT": "[5e01 5b89]USDT", "A币": "A[5e01]", "": "", "é": "é"} {
		if have := spellMissing(charts.GetDefaultFont(), text); have != want {
			t.Errorf("%q is drawn as %q, want %q", text, have, want)
		}
	}
}

func TestReplaceMissing(t *testing.T) {
	labels := []string{"币安USDT", "WMUSDT", "人生USDT", "币安USDT", "USDT", "安"}
	out, restore := replaceMissing(charts.GetDefaultFont(), labels)
	meanings := map[string]string{}
	for i, label := range out {
		if strings.ContainsFunc(label, func(r rune) bool { return r > 127 }) && i != 3 {
			t.Errorf("%q is replaced by %q", labels[i], label)
		}
		if was, ok := meanings[label]; ok && was != labels[i] {
			t.Errorf("%q stands for %q and %q", label, was, labels[i])
		}
		meanings[label] = labels[i]
		if have := restore.Replace("<text>" + label + "</text>"); have != "<text>"+labels[i]+"</text>" {
			t.Errorf("%q comes back as %s", labels[i], have)
		}
	}
}

func TestAxisEndsAreRound(t *testing.T) {
	for _, c := range []struct {
		low, high, from, to float64
		labels              int
	}{
		{0, 20.98, 0, 25, 6},
		{61000.3, 62137, 61000, 62250, 6},
		{-12, 0, -12.5, 0, 6},
		{0, 100, 0, 100, 6},
		{0.00000121, 0.0000016, 0.0000012, 0.0000016, 5},
	} {
		var axis charts.ValueAxisOption
		setRange(&axis, c.low, c.high)
		if math.Abs(*axis.Min-c.from) > 1e-9*(c.high-c.low) || math.Abs(*axis.Max-c.to) > 1e-9*(c.high-c.low) || axis.LabelCount != c.labels {
			t.Errorf("%v to %v: from %v to %v with %d labels, want %v to %v with %d", c.low, c.high, *axis.Min, *axis.Max, axis.LabelCount, c.from, c.to, c.labels)
		}
	}
}

// TestColumnsBelowAreVisible draws the most columns that a chart can have.
func TestColumnsBelowAreVisible(t *testing.T) {
	const n = MaxPoints
	wide := func(float64) string { return "0.00000000" }
	c := Chart{Kind: Candles, Labels: make([]string, n), Values: make([]float64, n), Prices: make([]Candle, n), Format: wide, PriceFormat: wide}
	for i := range n {
		c.Values[i], c.Prices[i] = 1, Candle{Open: float64(i), High: float64(i) + 1, Low: float64(i), Close: float64(i) + 1}
	}
	svg, err := SVG(c)
	if err != nil {
		t.Fatal(err)
	}
	column := regexp.MustCompile(`<path\s+d="M (\d+) \d+\s+L (\d+) \d+[^"]*"\s+style="stroke:none;fill:var\(--chart-below\)"`)
	found := column.FindAllStringSubmatch(svg, -1)
	if len(found) != n {
		t.Fatalf("%d columns, want %d", len(found), n)
	}
	for _, corners := range found {
		if corners[1] == corners[2] {
			t.Fatalf("a column has no width: %s", corners[0])
		}
	}
}
