package tape

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/idset"
	"tapedeck/internal/window"
)

func dropIDs(t *testing.T, d *Dir, rows []Trade) {
	t.Helper()
	for symbol, runs := range runsOf(rows) {
		if err := d.RecordDropped(symbol, runs...); err != nil {
			t.Fatal(err)
		}
	}
}

func droppedOf(t *testing.T, d *Dir, symbol string) idset.Set {
	t.Helper()
	dropped, err := d.Dropped()
	if err != nil {
		t.Fatal(err)
	}
	return dropped[symbol]
}

// TestDroppedIDsAreNotPublished publishes dropped ids in both ways: without Restores they stay
// dropped, with it they are back and dropped no longer.
func TestDroppedIDsAreNotPublished(t *testing.T) {
	load := func(d *Dir, rows []Trade, origin Origin) (Published, error) {
		l := d.NewLoader(origin)
		defer l.Discard()
		if err := l.Add(context.Background(), rows, 0); err != nil {
			return Published{}, err
		}
		return l.Publish(context.Background())
	}
	put := func(d *Dir, rows []Trade, origin Origin) (Published, error) {
		return d.Publish(context.Background(), rows, origin)
	}
	for name, publish := range map[string]func(*Dir, []Trade, Origin) (Published, error){"Publish": put, "Loader": load} {
		t.Run(name, func(t *testing.T) {
			d := newTape(t)
			rows := append(trades("AUSDT", 1, 10, day0), trades("BUSDT", 1, 50, day0)...)
			dropIDs(t, d, trades("BUSDT", 11, 20, day0))
			other, err := Open(d.Path()) // what one process drops, another leaves out
			if err != nil {
				t.Fatal(err)
			}
			out, err := publish(other, rows, Origin{Source: FromREST})
			if err != nil || out.Rows != 50 || out.Dropped != 10 {
				t.Fatalf("%+v, %v", out, err)
			}
			if got := all(t, d)["BUSDT"]; len(got) != 40 || got[11].ID != 0 || got[20].ID != 0 {
				t.Fatalf("%d rows on the tape", len(got))
			}
			some := trades("BUSDT", 1, 50, day0)[:15]
			if out, err = publish(other, some, Origin{Source: FromFile, Restores: true}); err != nil || out.Rows != 5 {
				t.Fatalf("%+v, %v", out, err)
			}
			if diff := cmp.Diff(idset.Set{{First: 16, Last: 20}}, droppedOf(t, d, "BUSDT")); diff != "" {
				t.Fatal(diff)
			}
			if out, err = publish(d, trades("BUSDT", 1, 50, day0), Origin{Source: FromREST}); err != nil || out.Rows != 0 {
				t.Fatalf("%+v, %v", out, err)
			}
		})
	}
}

// TestDroppingWhileTradesAreStaged drops ids after a Loader staged them and before it publishes.
func TestDroppingWhileTradesAreStaged(t *testing.T) {
	d := newTape(t)
	l := d.NewLoader(Origin{Source: FromArchive})
	if err := l.Add(context.Background(), trades("AUSDT", 1, 100, day0), 0); err != nil {
		t.Fatal(err)
	}
	dropIDs(t, d, trades("AUSDT", 1, 100, day0)[50:60])
	if out, err := l.Publish(context.Background()); err != nil || out.Rows != 90 || out.Dropped != 10 {
		t.Fatalf("%+v, %v", out, err)
	}
	if got := all(t, d)["AUSDT"]; len(got) != 90 || got[51].ID != 0 {
		t.Fatalf("%d rows on the tape", len(got))
	}
	checkStagingEmpty(t, d)
}

// TestBoundsBeginAfterDroppedIDs checks the bounds of a record of which the beginning, the middle or
// everything was dropped.
func TestBoundsBeginAfterDroppedIDs(t *testing.T) {
	bounds := func(d *Dir, symbol string) (Bounds, bool) {
		x := d.Index()
		if err := x.Refresh(context.Background()); err != nil {
			t.Fatal(err)
		}
		return x.Bounds(symbol)
	}
	rows := trades("AUSDT", 1, 100, day0)
	for name, c := range map[string]struct {
		dropped, left [][2]int64 // half-open indexes of rows
		want          Bounds
	}{
		"beginning":           {[][2]int64{{0, 10}}, [][2]int64{{10, 100}}, Bounds{11, 100, day0.Add(10 * time.Second), day0.Add(99 * time.Second)}},
		"beginning and a gap": {[][2]int64{{0, 10}}, [][2]int64{{15, 100}}, Bounds{11, 100, day0.Add(9 * time.Second), day0.Add(99 * time.Second)}},
		"twice":               {[][2]int64{{0, 10}, {20, 30}}, [][2]int64{{10, 20}, {30, 100}}, Bounds{11, 100, day0.Add(10 * time.Second), day0.Add(99 * time.Second)}},
		"middle":              {[][2]int64{{50, 60}}, [][2]int64{{0, 50}, {60, 100}}, Bounds{1, 100, day0, day0.Add(99 * time.Second)}},
		"end":                 {[][2]int64{{90, 100}}, [][2]int64{{0, 90}}, Bounds{1, 100, day0, day0.Add(99 * time.Second)}},
		"everything":          {[][2]int64{{0, 100}}, nil, Bounds{}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTape(t)
			path := publish(t, d, rows).Segments[0]
			if err := os.Remove(d.layout.path(path)); err != nil {
				t.Fatal(err)
			}
			for _, r := range c.left {
				publish(t, d, rows[r[0]:r[1]])
			}
			for _, r := range c.dropped {
				dropIDs(t, d, rows[r[0]:r[1]])
			}
			got, ok := bounds(d, "AUSDT")
			if diff := cmp.Diff(c.want, got); diff != "" || ok != (c.left != nil) {
				t.Fatal(ok, diff)
			}
		})
	}
}

func TestRestoreDropped(t *testing.T) {
	d := newTape(t)
	dropIDs(t, d, trades("AUSDT", 1, 100, day0))
	if err := d.RestoreDropped("AUSDT", idset.Set{{First: 40, Last: 59}}); err != nil {
		t.Fatal(err)
	}
	got, err := d.DroppedRuns()
	if err != nil {
		t.Fatal(err)
	}
	last := day0.Add(99 * time.Second).UnixMicro()
	want := map[string][]IDRun{"AUSDT": {run(1, 39, day0.UnixMicro(), last), run(60, 100, day0.UnixMicro(), last)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if err := d.RestoreDropped("AUSDT", idset.Set{{First: 0, Last: 1000}}); err != nil {
		t.Fatal(err)
	}
	if got := droppedOf(t, d, "AUSDT"); got != nil {
		t.Fatal(got)
	}
}

// TestGivenUpConflictStaysAway drops a conflict: the same refused row does not bring it back, another
// one is a new conflict.
func TestGivenUpConflictStaysAway(t *testing.T) {
	ctx := context.Background()
	d := newTape(t)
	first := Conflict{Symbol: "AUSDT", ID: 5, Price: 1, OtherPrice: 2, TradedAt: day0.UnixMicro(), OtherTradedAt: day0.UnixMicro(), FoundAt: 1}
	second := first
	second.OtherPrice, second.FoundAt = 3, 2
	if _, err := d.PublishConflicts(ctx, []Conflict{first}); err != nil {
		t.Fatal(err)
	}
	plan, err := d.PlanDrop(ctx, DropQuery{What: DropsConflicts})
	if err != nil || plan.Rows() != 1 || plan.Symbols[0].FirstID != 5 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if err := d.Drop(ctx, plan, DropRecord{At: day0.UnixMicro(), RunID: "r"}, nil); err != nil {
		t.Fatal(err)
	}
	first.FoundAt, first.OtherRunID = 9, "later"
	if out, err := d.PublishConflicts(ctx, []Conflict{first, second}); err != nil || out.Rows != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	left, err := d.ReadConflicts("", "")
	if err != nil || len(left) != 1 || left[0].OtherPrice != 3 {
		t.Fatalf("%+v, %v", left, err)
	}
	drops, err := d.ReadDrops("", "")
	if err != nil || len(drops) != 1 || drops[0].What != DropsConflicts || drops[0].Rows != 1 || *drops[0].FirstID != 5 {
		t.Fatalf("%+v, %v", drops, err)
	}
}

// TestDropAlerts drops the alerts of a detector in a window, and no others.
func TestDropAlerts(t *testing.T) {
	ctx := context.Background()
	d := newTape(t)
	var alerts []Alert
	for hour := range 48 {
		at := day0.Add(time.Duration(hour) * time.Hour).UnixMicro()
		alerts = append(alerts, Alert{Detector: "a", Symbol: "AUSDT", At: at, Extra: "{}"}, Alert{Detector: "b", Symbol: "AUSDT", At: at, Extra: "{}"})
	}
	if _, err := d.PublishAlerts(ctx, alerts); err != nil {
		t.Fatal(err)
	}
	q := DropQuery{What: DropsAlerts, Detector: "a", Window: window.Window{Start: day0.Add(20 * time.Hour), End: day0.Add(30 * time.Hour)}}
	plan, err := d.PlanDrop(ctx, q)
	if err != nil || plan.Rows() != 10 || !plan.Symbols[0].FirstAt.Equal(q.Window.Start) || plan.Files != 2 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if err := d.Drop(ctx, plan, DropRecord{At: day0.UnixMicro(), RunID: "r"}, nil); err != nil {
		t.Fatal(err)
	}
	left, err := d.ReadAlerts("", "")
	if err != nil || len(left) != 86 {
		t.Fatalf("%d alerts, %v", len(left), err)
	}
	for _, a := range left {
		if a.Detector == "a" && q.selectsTime(a.At) {
			t.Fatalf("%+v is left", a)
		}
	}
}

// TestCertifyAfterRetention drops the first days of a record that has a gap at midnight: what was
// dropped is not missing, the ids of the gap count on the first day that is left, and without the gap
// that day is proven.
func TestCertifyAfterRetention(t *testing.T) {
	for name, c := range map[string]struct {
		missing int64 // ids at the beginning of the second day
		want    []string
	}{
		"no gap":              {0, []string{"2026-01-16 proven 20 0", "2026-01-17 open 20 0"}},
		"a gap over midnight": {5, []string{"2026-01-16 gap 15 5", "2026-01-17 open 20 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTape(t)
			publish(t, d, trades("AUSDT", 101, 120, day0.Add(time.Hour)))
			publish(t, d, trades("AUSDT", 121, 140, day0.Add(25*time.Hour))[c.missing:])
			publish(t, d, trades("AUSDT", 141, 160, day0.Add(49*time.Hour)))
			plan, err := d.PlanDrop(context.Background(), DropQuery{What: DropsTrades, Window: window.Window{End: day0.AddDate(0, 0, 1)}})
			if err != nil || plan.Rows() != 20 || plan.Whole != 1 || plan.Symbols[0].GivenUp != 0 {
				t.Fatalf("%+v, %v", plan, err)
			}
			if err := d.Drop(context.Background(), plan, DropRecord{At: day0.UnixMicro(), RunID: "r", KeepCoverage: true}, nil); err != nil {
				t.Fatal(err)
			}
			cert, err := d.Certify(context.Background(), day0.AddDate(0, 1, 0), true)
			if err != nil || len(cert.Symbols) != 1 || cert.Symbols[0].Missing != c.missing || cert.Symbols[0].Dropped != 0 {
				t.Fatalf("%+v, %v", cert, err)
			}
			var got []string
			for _, day := range cert.Symbols[0].Days {
				got = append(got, fmt.Sprintln(day.Date, day.State, day.Trades, day.Missing))
			}
			if diff := cmp.Diff(strings.Join(c.want, "\n")+"\n", strings.Join(got, "")); diff != "" {
				t.Fatal(diff)
			}
			// The record is known from the last dropped trade on.
			if since := cert.Symbols[0].Known.Since; c.missing == 0 && !since.Equal(day0.Add(time.Hour+19*time.Second+time.Microsecond)) {
				t.Fatal(since)
			}
		})
	}
}
