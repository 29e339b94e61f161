package main

import (
	"encoding/xml"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRender(t *testing.T) {
	all := benchmarks()
	for _, b := range all {
		if b.name == "BenchmarkCompact" {
			b.figures = map[string][]float64{"ratio": {0.7, 0.9, 0.75, 2, 0.6}, "MB": {400, 410, 390}, "Mtrades/s": {2.5}}
		}
	}
	got := render(all, "here")
	for _, want := range []string{"| 0.75 times as fast | 0.60 – 2.00 | 2.50 million trades/s | ≥ 0.80 | no | 5 |", "| 400 MB | 390 – 410 |  | ≤ 1000 | yes | 3 |"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "verify") {
		t.Error("the table has a row without figures")
	}
}

func TestBenchmarksExist(t *testing.T) {
	for _, b := range slices.Concat(benchmarks(), largeBenchmarks(), []*benchmark{growthBenchmark(), yearBenchmark()}) {
		files, err := filepath.Glob(filepath.Join("../..", b.pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(text), "func "+b.name+"(")
		}
		if !found {
			t.Errorf("%s is not in %s", b.name, b.pkg)
		}
	}
}

func TestGrowth(t *testing.T) {
	sizes := []float64{1, 10, 100}
	if got := exponent(sizes, []float64{3, 30, 300}); math.Abs(got-1) > 1e-9 {
		t.Errorf("linear growth has exponent %v", got)
	}
	if got := exponent(sizes, []float64{2, 2, 2}); math.Abs(got) > 1e-9 {
		t.Errorf("constant cost has exponent %v", got)
	}
	figures := map[string][]float64{"Mtrades": sizes, "MB-compact": sizes, "MB-verify-first": sizes}
	for i, c := range curves() {
		figures[c.metric] = []float64{1 + float64(i)/1000, 2, 400}
	}
	for _, want := range []string{"| command | 1 million trades | 10 million trades | 100 million trades | exponent |", "| `compact` of all days | 1.00 | 2.00 | 400 | 1.30 | 2.30 |", "](picture.svg)"} {
		if got := renderGrowth(figures, "here", "picture.svg"); !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	picture := xml.NewDecoder(strings.NewReader(drawGrowth(figures)))
	lines, positions := 0, map[string]bool{}
	for {
		token, err := picture.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		start, ok := token.(xml.StartElement)
		if ok && start.Name.Local == "polyline" {
			lines++
		}
		if ok && start.Name.Local == "text" && start.Attr[2].Value == "start" {
			if at := start.Attr[1].Value; positions[at] {
				t.Errorf("two labels at %s", at)
			} else {
				positions[at] = true
			}
		}
	}
	if lines != len(curves()) || len(positions) != lines+1 {
		t.Errorf("%d lines, %d labels", lines, len(positions))
	}
}

func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "B.md")
	if err := os.WriteFile(path, []byte("before\n"+tableStart+"old\n"+tableEnd+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(path, tableStart, "new\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "before\n"+tableStart+"\nnew\n\n"+tableEnd+"after\n" {
		t.Errorf("%s %v", text, err)
	}
	if err := os.WriteFile(path, []byte("nothing\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(path, tableStart, "new\n"); err == nil {
		t.Error("a file without markers was written")
	}
}
