package state

import (
	"os"
	"slices"
	"strings"
	"testing"

	"tapedeck/internal/window"
)

func TestJudgedWindowsAreMergedInTheFile(t *testing.T) {
	d := newDir(t)
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
