package state

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/durable"
	"tapedeck/internal/window"
)

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// minutes returns the window between two minutes after noon.
func minutes(start, end int) window.Window {
	return window.Window{Start: noon.Add(time.Duration(start) * time.Minute), End: noon.Add(time.Duration(end) * time.Minute)}
}

// newDir returns the state directory of an empty data directory.
func newDir(t *testing.T) *Dir {
	t.Helper()
	path := t.TempDir()
	for _, name := range []string{dirName, stagingName} {
		if err := os.Mkdir(filepath.Join(path, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return Open(path, durable.OS{})
}

func writeWatched(t *testing.T, d *Dir, runID string, bySymbol map[string][]window.Window) {
	t.Helper()
	if err := NewWatched(runID, bySymbol, nil).Write(d); err != nil {
		t.Fatal(err)
	}
}

func TestWatchedSpansOfAllRecordersAreMerged(t *testing.T) {
	d := newDir(t)
	if got, _, err := ReadWatched(d); len(got) != 0 || err != nil {
		t.Fatalf("ReadWatched without files = %v, %v", got, err)
	}
	writeWatched(t, d, "first", map[string][]window.Window{
		"BTCUSDT": {minutes(0, 5), minutes(10, 12)}, "ETHUSDT": {minutes(0, 5), minutes(10, 12)}, "XRPUSDT": {minutes(3, 4)}, "DOTUSDT": nil,
	})
	writeWatched(t, d, "second", map[string][]window.Window{"BTCUSDT": {minutes(4, 7), minutes(20, 20)}})
	writeWatched(t, d, "second", map[string][]window.Window{"BTCUSDT": {minutes(4, 8)}})
	if err := os.WriteFile(d.Path("watched/third.json"), []byte(`{"groups":[{"sym`), 0o644); err != nil {
		t.Fatal(err)
	}
	got, _, err := ReadWatched(d)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]window.Window{
		"BTCUSDT": {minutes(0, 8), minutes(10, 12)}, "ETHUSDT": {minutes(0, 5), minutes(10, 12)}, "XRPUSDT": {minutes(3, 4)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
}

// TestEndsOfAllRecordersAreUnited: those of a damaged file are lost with it.
func TestEndsOfAllRecordersAreUnited(t *testing.T) {
	d := newDir(t)
	ends := func(first, last int64) Ends {
		at := func(id int64) time.Time { return noon.Add(time.Duration(id) * time.Second) }
		return Ends{first, last, at(first), at(last)}
	}
	for run, published := range map[string]Ends{"first": ends(10, 30), "second": ends(20, 50), "third": ends(5, 6)} {
		if err := NewWatched(run, nil, map[string]Ends{"BTCUSDT": published, run: published}).Write(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.Path("watched/third.json"), []byte(`{"published":{"BTCUSDT":[9,1,0,0]}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	want := map[string]Ends{"BTCUSDT": ends(10, 50), "first": ends(10, 30), "second": ends(20, 50)}
	for range 2 {
		_, got, err := ReadWatched(d)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ends (-want +got):\n%s", diff)
		}
		if err := PruneWatched(d, nil, func(_ string, spans []window.Window) []window.Window { return spans }); err != nil {
			t.Fatal(err)
		}
	}
	for _, published := range []Ends{ends(10, 20), ends(15, 30)} {
		if err := RecordAnswers(d, Answers{"BTCUSDT": {Published: &published}}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ReadAnswers(d); err != nil || *got["BTCUSDT"].Published != ends(10, 30) {
		t.Errorf("the answers are about %v, %v", got["BTCUSDT"].Published, err)
	}
}

func TestSymbolsWithTheSameSpansShareThem(t *testing.T) {
	bySymbol := map[string][]window.Window{"ALONEUSDT": {minutes(1, 2)}}
	for i := range 1000 {
		bySymbol["S"+string(rune('A'+i%26))+string(rune('A'+i/26))] = []window.Window{minutes(0, 5), minutes(7, 9)}
	}
	w := NewWatched("run", bySymbol, nil)
	if len(w.Groups) != 2 {
		t.Fatalf("%d groups, want 2", len(w.Groups))
	}
	if first := w.Groups[0]; first.Symbols[0] != "ALONEUSDT" || len(w.Groups[1].Symbols) != 1000 || !slices.IsSorted(w.Groups[1].Symbols) {
		t.Errorf("groups: %v and %d symbols", first, len(w.Groups[1].Symbols))
	}
}

func TestWatchedNeedsARunThatNamesAFile(t *testing.T) {
	for _, runID := range []string{"", "a/b", "..", ".hidden"} {
		if err := NewWatched(runID, nil, nil).Write(newDir(t)); err == nil {
			t.Errorf("the run %q was written", runID)
		}
	}
}

func TestAnswersOfConcurrentWritersAreKept(t *testing.T) {
	d := newDir(t)
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			symbol := string(rune('A'+i)) + "USDT"
			for k := range 3 {
				answer := SymbolAnswers{LastBefore: []Answer{{noon.Add(time.Duration(k) * time.Minute), int64(k)}}}
				if err := RecordAnswers(d, Answers{symbol: answer}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	got, err := ReadAnswers(d)
	if err != nil || len(got) != 8 {
		t.Fatalf("%d symbols, %v; want 8", len(got), err)
	}
	for symbol, answers := range got {
		if len(answers.LastBefore) != 3 {
			t.Errorf("%s has %d answers, want 3", symbol, len(answers.LastBefore))
		}
	}
}

func TestOldAnswersAreDropped(t *testing.T) {
	d := newDir(t)
	for k := range 2 * keptAnswers {
		at := Answer{noon.Add(time.Duration(k) * time.Minute), int64(k)}
		if err := RecordAnswers(d, Answers{"BTCUSDT": {LastBefore: []Answer{at}, FirstFrom: []Answer{at}}}); err != nil {
			t.Fatal(err)
		}
	}
	// A newer answer about an instant replaces the old one.
	if err := RecordAnswers(d, Answers{"BTCUSDT": {LastBefore: []Answer{{noon.Add((2*keptAnswers - 1) * time.Minute), 99}}}}); err != nil {
		t.Fatal(err)
	}
	got, err := ReadAnswers(d)
	if err != nil {
		t.Fatal(err)
	}
	ids := func(answers []Answer) (out []int64) {
		for _, a := range answers {
			out = append(out, a.ID)
		}
		return out
	}
	if got, want := ids(got["BTCUSDT"].LastBefore), []int64{8, 9, 10, 11, 12, 13, 14, 99}; !slices.Equal(got, want) {
		t.Errorf("the last ids before: %v, want %v", got, want)
	}
	if got, want := ids(got["BTCUSDT"].FirstFrom), []int64{0, 9, 10, 11, 12, 13, 14, 15}; !slices.Equal(got, want) {
		t.Errorf("the first ids from: %v, want %v", got, want)
	}
}

// TestStateThatIsMadeAgainIsPrivate removes .state while it is in use.
func TestStateThatIsMadeAgainIsPrivate(t *testing.T) {
	d := newDir(t)
	if err := os.RemoveAll(d.Path("")); err != nil {
		t.Fatal(err)
	}
	if err := d.Write("stream.json", 1); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"": 0o700, "stream.json": 0o600} {
		if info, err := os.Stat(d.Path(name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", name, info.Mode(), err)
		}
	}
}
