package tape

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tapedeck/internal/idset"
)

// SegmentPaths lists the files that exist now. It reads the footers of those that Refresh has not
// read.
func TestSegmentPathsReadsOnlyNewFooters(t *testing.T) {
	d := newTape(t)
	known := publish(t, d, trades("ETHUSDT", 1, 10, day0)).Segments[0]
	gone := publish(t, d, trades("BTCUSDT", 1, 10, day0)).Segments[0]
	inside := func(path string) string { return filepath.Join(d.Path(), path) }
	dirOf, date := filepath.Dir(known), DateOf(day0.UnixMicro())
	damaged, foreign := filepath.Join(dirOf, "adamaged.parquet"), filepath.Join(dirOf, "foreign.parquet")
	write := func(path string) {
		t.Helper()
		if err := os.WriteFile(inside(path), []byte("not Parquet"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(damaged)
	x := d.Index()
	if err := x.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(known) // its footer is not read again
	if err := os.Remove(inside(gone)); err != nil {
		t.Fatal(err)
	}
	fresh := publish(t, d, trades("BTCUSDT", 11, 20, day0)).Segments[0]
	write(foreign)
	want := []string{known, fresh}
	slices.Sort(want)
	good, broken, err := x.SegmentPaths(date, date)
	if err != nil || !slices.Equal(good, want) {
		t.Errorf("%q, want %q; %v", good, want, err)
	}
	if len(broken) != 2 || broken[0].Path != damaged || broken[1].Path != foreign {
		t.Errorf("broken: %v", broken)
	}
	if good, broken, err = x.SegmentPaths(DateOf(day0.AddDate(0, 0, 1).UnixMicro()), ""); len(good)+len(broken) > 0 || err != nil {
		t.Errorf("later days: %q, %v, %v", good, broken, err)
	}
}

// A compaction between listing the files and reading their footers hides no row.
func TestListingWhileFilesAreReplaced(t *testing.T) {
	d := newTape(t)
	for i := range int64(3) {
		publish(t, d, trades("BTCUSDT", 1+10*i, 10+10*i, day0))
	}
	date, merged := DateOf(day0.UnixMicro()), false
	found, broken, err := readSegments(d.catalog, Trades, "", "", func(date, name string) (Segment, error) {
		if !merged {
			merged = true
			if _, err := d.Merge(t.Context(), date, segmentsOf(t, d), 1<<30, day0); err != nil {
				t.Fatal(err)
			}
		}
		return d.catalog.stat(Trades, date, name)
	})
	if err != nil || len(broken) > 0 || len(found) != 1 || found[0].Rows != 30 {
		t.Errorf("%+v, %v, %v", found, broken, err)
	}

	// Refresh reads footers before it lists the files again.
	x := d.Index()
	footers := map[string]footer{found[0].Path: {err: fs.ErrNotExist}}
	if err := x.refreshDate(date, footers); err != nil || !slices.Equal(x.IDs("BTCUSDT"), idset.Set{{First: 1, Last: 30}}) {
		t.Errorf("%v, %v", x.IDs("BTCUSDT"), err)
	}

	// A dangling link is left out.
	if err := os.Symlink("nothing", filepath.Join(d.Path(), filepath.Dir(found[0].Path), "link.parquet")); err != nil {
		t.Fatal(err)
	}
	x = d.Index()
	if err := x.Refresh(t.Context()); err != nil || !slices.Equal(x.IDs("BTCUSDT"), idset.Set{{First: 1, Last: 30}}) {
		t.Errorf("%v, %v", x.IDs("BTCUSDT"), err)
	}
	if found, broken, err := d.Segments(Trades, "", ""); err != nil || len(found) != 1 || len(broken) > 0 {
		t.Errorf("%+v, %v, %v", found, broken, err)
	}
}
