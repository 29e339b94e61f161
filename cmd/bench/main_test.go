package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRender(t *testing.T) {
	figures := map[string]map[string][]float64{"BenchmarkCompact": {"ratio": {0.7, 0.9, 0.75, 2, 0.6}, "MB": {400, 410, 390}}}
	got := render(figures, 5)
	for _, want := range []string{"| 0.75 times as fast | 0.60 – 2.00 | ≥ 0.80 | no |", "| 400 MB | 390 – 410 | ≤ 1000 | yes |"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "verify") {
		t.Error("a row without figures")
	}
}

func TestRowsHaveBenchmarks(t *testing.T) {
	known := map[string]bool{}
	for _, b := range benchmarks() {
		known[b.name] = true
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
	for _, r := range rows() {
		if !known[r.benchmark] {
			t.Errorf("no benchmark %s", r.benchmark)
		}
	}
}

func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "B.md")
	if err := os.WriteFile(path, []byte("before\n"+tableStart+"old\n"+tableEnd+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(path, "new\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "before\n"+tableStart+"\nnew\n\n"+tableEnd+"after\n" {
		t.Errorf("%s %v", text, err)
	}
	if err := os.WriteFile(path, []byte("nothing\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(path, "new\n"); err == nil {
		t.Error("written without a place")
	}
}
