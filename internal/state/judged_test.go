package state

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/window"
)

func TestJudgedWindowsAreMergedInTheFile(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{dirName, stagingName} {
		if err := os.Mkdir(path+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d := Open(path, durable.OS{})
	noon := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	minutes := func(start, end int) window.Window {
		return window.Window{Start: noon.Add(time.Duration(start) * time.Minute), End: noon.Add(time.Duration(end) * time.Minute)}
	}
	if judged, err := ReadJudged(d); len(judged) != 0 || err != nil {
		t.Fatalf("ReadJudged without a file = %v, %v", judged, err)
	}
	for _, w := range []window.Window{minutes(0, 1), minutes(5, 7), minutes(1, 2)} {
		judged, err := ReadJudged(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := judged.Add(w).Write(d); err != nil {
			t.Fatal(err)
		}
	}
	judged, err := ReadJudged(d)
	if want := []window.Window{minutes(0, 2), minutes(5, 7)}; err != nil || !slices.Equal(judged, want) {
		t.Errorf("judged %v, %v, want %v", judged, err, want)
	}
	text, err := os.ReadFile(d.Path(JudgedFile))
	if err != nil || !strings.Contains(string(text), `"from": "2026-01-15T12:05:00Z"`) || !strings.Contains(string(text), `"until": "2026-01-15T12:07:00Z"`) {
		t.Errorf("%s, %v", text, err)
	}
}
