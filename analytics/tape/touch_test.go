package tape

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Paths lists what is there now, reads no footer that Refresh has read, and looks into what came since.
func TestPaths(t *testing.T) {
	d := newTape(t)
	known := publish(t, d, trades("ETHUSDT", 1, 10, day0)).Segments[0]
	gone := publish(t, d, trades("BTCUSDT", 1, 10, day0)).Segments[0]
	inside := func(path string) string { return filepath.Join(d.Path(), path) }
	dirOf, date := filepath.Dir(known), DateOf(day0.UnixMicro())
	spoilt, foreign := filepath.Join(dirOf, "aspoilt.parquet"), filepath.Join(dirOf, "foreign.parquet")
	write := func(path string) {
		t.Helper()
		if err := os.WriteFile(inside(path), []byte("not Parquet"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(spoilt)
	x := d.Index()
	if err := x.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(known) // its footer was read and is not read again
	if err := os.Remove(inside(gone)); err != nil {
		t.Fatal(err)
	}
	fresh := publish(t, d, trades("BTCUSDT", 11, 20, day0)).Segments[0]
	write(foreign)
	want := []string{known, fresh}
	slices.Sort(want)
	good, broken, err := x.Paths(date, date)
	if err != nil || !slices.Equal(good, want) {
		t.Errorf("%q, want %q; %v", good, want, err)
	}
	if len(broken) != 2 || broken[0].Path != spoilt || broken[1].Path != foreign {
		t.Errorf("broken: %v", broken)
	}
	if good, broken, err = x.Paths(DateOf(day0.AddDate(0, 0, 1).UnixMicro()), ""); len(good)+len(broken) > 0 || err != nil {
		t.Errorf("of later days: %q, %v, %v", good, broken, err)
	}
}
