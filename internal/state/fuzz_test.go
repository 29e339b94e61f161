package state

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/window"
)

// FuzzEvidence reads arbitrary files of what was watched and answered: the spans are in order, disjoint and
// not empty, and written again they are the same.
func FuzzEvidence(f *testing.F) {
	f.Add([]byte(`{"run_id":"a","groups":[{"symbols":["BTCUSDT"],"spans":[{"from":"2026-01-15T00:00:00Z","until":"2026-01-15T01:00:00Z"}]}]}`))
	f.Add([]byte(`{"run_id":"a","groups":[{"symbols":["A","A"],"spans":[{"from":"2026-01-15T02:00:00Z","until":"2026-01-15T01:00:00Z"},{"from":"0001-01-01T00:00:00Z","until":"9999-01-01T00:00:00Z"}]}]}`))
	f.Add([]byte(`{"run_id":"a","groups":[],"published":{"A":[1,2,1768478400000000,1768478400000001],"\ud800":[0,0,0,0]}}`))
	f.Add([]byte(`{"BTCUSDT":{"published":[1,2,9223372036854775807,-9223372036854775808],"last_before":[{"at":"2026-01-15T00:00:00Z","id":-9}],"first_from":[]}}`))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		data := t.TempDir()
		dir := Open(data, durable.OS{})
		if err := os.Mkdir(filepath.Join(data, ".staging"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"watched/a.json", answersFile} {
			path := dir.Path(name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		watched, published, err := ReadWatched(dir)
		if err != nil {
			t.Fatal(err)
		}
		checkSpans(t, watched)
		if err := NewWatched("a", watched, published).Write(dir); err != nil {
			t.Fatal(err)
		}
		again, publishedAgain, err := ReadWatched(dir)
		if err != nil {
			t.Fatal(err)
		}
		checkSpans(t, again)
		if !maps.Equal(published, publishedAgain) {
			t.Fatalf("%v became %v", published, publishedAgain)
		}
		for symbol, spans := range watched {
			if len(again[symbol]) != len(spans) {
				t.Fatalf("%q: %v became %v", symbol, spans, again[symbol])
			}
		}
		if err := RecordAnswers(dir, Answers{"BTCUSDT": {LastBefore: []Answer{{At: time.Unix(1, 0), ID: 7}}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadAnswers(dir); err != nil {
			t.Fatal(err)
		}
	})
}

func checkSpans(t *testing.T, watched map[string][]window.Window) {
	t.Helper()
	for symbol, spans := range watched {
		for i, span := range spans {
			if !span.Start.Before(span.End) || i > 0 && !spans[i-1].End.Before(span.Start) {
				t.Fatalf("%q: %v", symbol, spans)
			}
		}
	}
}
