package analytics

import (
	"testing"
	"time"

	"tapedeck/internal/window"
)

// TestBoundsTellWhatIsKnown checks the columns about what is known, also of a session that ends in
// the past.
func TestBoundsTellWhatIsKnown(t *testing.T) {
	dir := newTape(t, seconds("AAAUSDT", 1, 10), seconds("BBBUSDT", 1, 300))
	index := dir.Index()
	if err := index.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, _ := index.Bounds("AAAUSDT")
	minute := func(n int) time.Time { return first.FirstAt.Add(time.Duration(n) * time.Minute) }
	watched := map[string][]window.Window{"AAAUSDT": {{Start: minute(-1), End: minute(5)}}}
	if err := dir.RecordWatched("run", watched); err != nil {
		t.Fatal(err)
	}
	const statement = "SELECT symbol, round(epoch(known_since - first_at)), known_since_by, " +
		"round(epoch(known_until - first_at)), known_until_by FROM bounds ORDER BY symbol"
	s := openSession(t, dir, Options{})
	want := "AAAUSDT,-60,stream,300,stream\nBBBUSDT,0,trade,299,trade"
	if got := rowsOf(t, s, statement); got != want {
		t.Errorf("the whole tape:\n%s\nwant:\n%s", got, want)
	}
	s = openSession(t, dir, Options{To: minute(2), Cutoff: minute(2)})
	want = "AAAUSDT,-60,stream,120,stream\nBBBUSDT,0,trade,120,trade"
	if got := rowsOf(t, s, statement); got != want {
		t.Errorf("the tape as of minute 2:\n%s\nwant:\n%s", got, want)
	}
}
