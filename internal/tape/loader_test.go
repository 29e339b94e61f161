package tape

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func wantNothingStaged(t *testing.T, d *Dir) {
	t.Helper()
	entries, err := os.ReadDir(d.StagingPath())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("left in the staging directory: %s", entry.Name())
	}
}

func TestLoadIsSeenWholeOrNotAtAll(t *testing.T) {
	d := newTape(t)
	rows := trades("A", 1, 1000, day0.Add(23*time.Hour+50*time.Minute)) // over midnight
	publish(t, d, slices.Clone(rows[100:200]))
	load := d.NewLoader(Origin{Source: FromFile})
	for chunk := range slices.Chunk(rows, 64) {
		if err := load.Add(t.Context(), chunk, 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(all(t, d)["A"]); n != 100 {
		t.Errorf("%d rows are seen before Publish", n)
	}
	out, err := load.Publish(t.Context())
	if err != nil || out.Rows != 900 || out.Dropped != 100 || len(out.Segments) != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	seen := all(t, d)["A"]
	for _, row := range rows {
		if diff := cmp.Diff(row, seen[row.ID]); diff != "" {
			t.Fatal(diff)
		}
	}
	load.Discard() // does nothing
	if len(all(t, d)["A"]) != 1000 {
		t.Error("Discard took something published")
	}
	index := d.Index()
	if err := index.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if gaps := index.Gaps("A"); len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
	wantNothingStaged(t, d)
}

// What others publish while a load is under way is not written a second time.
func TestLoadLeavesOutWhatCameMeanwhile(t *testing.T) {
	for name, meanwhile := range map[string][]Trade{
		"nothing": nil, "some": trades("A", 400, 600, day0.Add(399*time.Second)), "everything": trades("A", 1, 1000, day0), "another symbol": trades("B", 1, 1000, day0),
	} {
		t.Run(name, func(t *testing.T) {
			d := newTape(t)
			other, err := Open(d.Path())
			if err != nil {
				t.Fatal(err)
			}
			load := d.NewLoader(Origin{Source: FromFile, Inexact: 0})
			if err := load.Add(t.Context(), trades("A", 1, 1000, day0), 7); err != nil {
				t.Fatal(err)
			}
			publish(t, other, slices.Clone(meanwhile))
			out, err := load.Publish(t.Context())
			if err != nil || out.Rows+out.Dropped != 1000 {
				t.Errorf("%+v, %v", out, err)
			}
			seen := all(t, d)
			for _, row := range trades("A", 1, 1000, day0) {
				if seen["A"][row.ID] != row {
					t.Fatalf("id %d: %+v", row.ID, seen["A"][row.ID])
				}
			}
			wantNothingStaged(t, d)
		})
	}
}

func TestLoadRefusesDisorder(t *testing.T) {
	a, b := trades("A", 1, 10, day0), trades("B", 1, 10, day0)
	for name, calls := range map[string][][]Trade{
		"an id twice":         {a[:5], a[4:]},
		"an id before":        {a[5:], a[:5]},
		"in one call":         {{a[1], a[0]}},
		"a symbol before":     {b, a},
		"a symbol once more":  {a[:5], b, a[5:]},
		"a row that is none":  {{{Symbol: "A", ID: 1}}},
		"a row twice in them": {{a[0], a[0]}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTape(t)
			load := d.NewLoader(Origin{Source: FromFile})
			var err error
			for _, rows := range calls {
				if err == nil {
					err = load.Add(t.Context(), rows, 0)
				}
			}
			if err == nil || name != "a row that is none" && !errors.Is(err, ErrUnsorted) {
				t.Errorf("err = %v", err)
			}
			load.Discard()
			wantNothingStaged(t, d)
			if len(all(t, d)) > 0 {
				t.Error("something was published")
			}
		})
	}
}

// Any number of dates fits, for only some have a file open.
func TestLoadOfManyDates(t *testing.T) {
	d := newTape(t)
	load := d.NewLoader(Origin{Source: FromFile})
	defer load.Discard()
	want := 0
	for _, symbol := range []string{"A", "B"} {
		for day := range 3 * loaderOpenDates {
			rows := trades(symbol, int64(100*day), int64(100*day+9), day0.AddDate(0, 0, day))
			want += len(rows)
			if err := load.Add(t.Context(), rows, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	out, err := load.Publish(t.Context())
	if err != nil || out.Rows != int64(want) {
		t.Errorf("%+v, %v", out, err)
	}
	if seen := all(t, d); len(seen["A"])+len(seen["B"]) != want {
		t.Errorf("%d and %d of %d rows are seen", len(seen["A"]), len(seen["B"]), want)
	}
	wantNothingStaged(t, d)
}

// A file that a load under way has finished is not swept as a dead writer's.
func TestSweepLeavesALoadAlone(t *testing.T) {
	d := newTape(t)
	load := d.NewLoader(Origin{Source: FromFile})
	defer load.Discard()
	for day := range 2 * loaderOpenDates {
		if err := load.Add(t.Context(), trades("A", int64(10*day), int64(10*day), day0.AddDate(0, 0, day)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if removed, err := d.Sweep(time.Now().Add(24 * time.Hour)); removed != 0 || err != nil {
		t.Errorf("%d files swept, %v", removed, err)
	}
	if out, err := load.Publish(t.Context()); err != nil || out.Rows != 2*loaderOpenDates {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestLoadEndsWithTheContext(t *testing.T) {
	d := newTape(t)
	ctx, cancel := context.WithCancel(t.Context())
	load := d.NewLoader(Origin{Source: FromFile})
	if err := load.Add(ctx, trades("A", 1, 10, day0), 0); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := load.Add(ctx, trades("A", 11, 20, day0), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	load.Discard()
	wantNothingStaged(t, d)
}
