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

// checkStagingEmpty fails if anything is left in the staging directory.
func checkStagingEmpty(t *testing.T, d *Dir) {
	t.Helper()
	entries, err := os.ReadDir(d.StagingPath())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("left in the staging directory: %s", entry.Name())
	}
}

func TestLoaderPublishesAllAtOnce(t *testing.T) {
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
		t.Errorf("%d rows are visible before Publish", n)
	}
	out, err := load.Publish(t.Context())
	if err != nil || out.Rows != 900 || out.Dropped != 100 || len(out.Segments) != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	got := all(t, d)["A"]
	for _, row := range rows {
		if diff := cmp.Diff(row, got[row.ID]); diff != "" {
			t.Fatal(diff)
		}
	}
	load.Discard() // does nothing
	if len(all(t, d)["A"]) != 1000 {
		t.Error("Discard removed published rows")
	}
	index := d.Index()
	if err := index.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if gaps := index.Gaps("A"); len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
	checkStagingEmpty(t, d)
}

// Rows that others publish before Publish are dropped.
func TestLoaderDropsRowsPublishedMeanwhile(t *testing.T) {
	for name, meanwhile := range map[string][]Trade{
		"none": nil, "some": trades("A", 400, 600, day0.Add(399*time.Second)), "all": trades("A", 1, 1000, day0),
		"another symbol": trades("B", 1, 1000, day0),
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
			got := all(t, d)
			for _, row := range trades("A", 1, 1000, day0) {
				if got["A"][row.ID] != row {
					t.Fatalf("id %d: %+v", row.ID, got["A"][row.ID])
				}
			}
			checkStagingEmpty(t, d)
		})
	}
}

func TestLoaderRefusesUnsortedRows(t *testing.T) {
	a, b := trades("A", 1, 10, day0), trades("B", 1, 10, day0)
	for name, calls := range map[string][][]Trade{
		"repeated id":             {a[:5], a[4:]},
		"smaller id":              {a[5:], a[:5]},
		"smaller id in one call":  {{a[1], a[0]}},
		"smaller symbol":          {b, a},
		"symbol that was done":    {a[:5], b, a[5:]},
		"invalid row":             {{{Symbol: "A", ID: 1}}},
		"repeated id in one call": {{a[0], a[0]}},
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
			if err == nil || name != "invalid row" && !errors.Is(err, ErrUnsorted) {
				t.Errorf("err = %v", err)
			}
			load.Discard()
			checkStagingEmpty(t, d)
			if len(all(t, d)) > 0 {
				t.Error("rows were published")
			}
		})
	}
}

// A Loader takes any number of dates, although few have an open file.
func TestLoaderOfManyDates(t *testing.T) {
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
	if got := all(t, d); len(got["A"])+len(got["B"]) != want {
		t.Errorf("%d and %d of %d rows are visible", len(got["A"]), len(got["B"]), want)
	}
	checkStagingEmpty(t, d)
}

// Sweep does not delete the finished files of a running load.
func TestSweepKeepsFilesOfLoader(t *testing.T) {
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

func TestLoaderStopsWithContext(t *testing.T) {
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
	checkStagingEmpty(t, d)
}
