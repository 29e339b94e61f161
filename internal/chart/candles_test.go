package chart

import (
	"bytes"
	"image/png"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// crash has twenty calm candles; in one the price falls to 0.57 and is back at the close.
func crash() Chart {
	c := Chart{Title: "crash", Kind: Candles, Marks: []Mark{{Candle: 12, Label: "1", Title: "12:00 flash_crash, high"}}, Notes: "Alerts: 1 flash_crash"}
	for i := range 20 {
		at := 0.66 + 0.004*math.Sin(float64(i))
		candle := Candle{Open: at, High: at + 0.002, Low: at - 0.002, Close: at + 0.001}
		if i == 12 {
			candle.Low = 0.57
		}
		c.Prices = append(c.Prices, candle)
		c.Labels, c.Values = append(c.Labels, strconv.Itoa(i)), append(c.Values, 1)
	}
	return c
}

// lineEnds returns the ends of the vertical lines of an SVG, in pixels from the top.
func lineEnds(svg string) (ends []int) {
	for _, m := range regexp.MustCompile(`d="M (\d+) (\d+)\s+L (\d+) (\d+)"\s+style="stroke-width:2;stroke:var\(--chart-(?:good|bad)\)`).FindAllStringSubmatch(svg, -1) {
		if m[1] == m[3] {
			end, _ := strconv.Atoi(m[4])
			ends = append(ends, end)
		}
	}
	return ends
}

// TestWickReachesLow checks that a price within one candle is drawn where the axis has it: the axis
// goes down to 0.5 in equal steps, so the wick that ends at 0.57 is the lowest by far.
func TestWickReachesLow(t *testing.T) {
	svg, err := SVG(crash())
	if err != nil {
		t.Fatal(err)
	}
	heights := map[string]float64{} // of the labels of the axis
	for _, m := range regexp.MustCompile(`<text x="\d+" y="(\d+)"[^>]*>(0\.\d+)</text>`).FindAllStringSubmatch(svg, -1) {
		heights[m[2]], _ = strconv.ParseFloat(m[1], 64)
	}
	low, high := math.Inf(1), math.Inf(-1)
	for label := range heights {
		v, _ := strconv.ParseFloat(label, 64)
		low, high = min(low, v), max(high, v)
	}
	bottom, top := heights[strconv.FormatFloat(low, 'f', -1, 64)], heights[strconv.FormatFloat(high, 'f', -1, 64)]
	want := bottom + (0.57-low)/(high-low)*(top-bottom)
	deepest := 0
	for _, end := range lineEnds(svg) {
		deepest = max(deepest, end)
	}
	const textToLine = 8 // pixels, from a label's baseline up to its line
	if math.Abs(float64(deepest)-(want-textToLine)) > 4 {
		t.Errorf("the deepest wick ends %d pixels from the top, want about %.0f (labels %v)", deepest, want-textToLine, heights)
	}
	if len(lineEnds(svg)) < 40 {
		t.Errorf("%d wicks, want one above and one below each candle", len(lineEnds(svg)))
	}
}

func TestMarksAreTitled(t *testing.T) {
	svg, err := SVG(crash())
	if err != nil {
		t.Fatal(err)
	}
	mark := regexp.MustCompile(`<g><title>12:00 flash_crash, high</title><circle [^>]*var\(--chart-mark\)[^>]*/></g>`)
	if n := len(mark.FindAllString(svg, -1)); n != 1 {
		t.Errorf("%d marks have the title, want 1", n)
	}
	if !strings.Contains(svg, ">1</text>") {
		t.Error("the mark has no label")
	}
	svg, err = SVG(samples()["price"])
	if err != nil || strings.Count(svg, "<circle") != 3 || !strings.Contains(svg, "<title>币安 &lt;alert&gt; &amp; more</title>") {
		t.Errorf("%d marks, want 3, the first with its title: %v", strings.Count(svg, "<circle"), err)
	}
}

// TestPictureHasMarksAndNotes finds the pixels of a picture by their colors.
func TestPictureHasMarksAndNotes(t *testing.T) {
	count := func(c Chart) (marked, deepest int) {
		content, err := PNG(c)
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		for y := range pngHeight {
			for x := range pngWidth {
				r, g, b, _ := picture.At(x, y).RGBA()
				switch red, green, blue := r>>8, g>>8, b>>8; {
				case red == 0x7a && green == 0x3f && blue == 0xb0:
					marked++
				case green > red+40 && green > blue+10: // wicks are thin, so their color is mixed with white
					deepest = max(deepest, y)
				}
			}
		}
		return marked, deepest
	}
	marked, deepest := count(crash())
	calm := crash()
	calm.Marks, calm.Notes, calm.Prices[12].Low = nil, "", calm.Prices[12].Open
	unmarked, _ := count(calm)
	if marked < 40 || unmarked != 0 || deepest < pngHeight/2 {
		t.Errorf("%d pixels of marks (%d without any), the deepest wick at %d", marked, unmarked, deepest)
	}
}
