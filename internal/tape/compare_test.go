package tape

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// load publishes sorted rows with a Loader.
func load(d *Dir, rows []Trade, origin Origin) (Published, error) {
	l := d.NewLoader(origin)
	defer l.Discard()
	if err := l.Add(context.Background(), rows, 0); err != nil {
		return Published{}, err
	}
	return l.Publish(context.Background())
}

// publications are the ways to publish rows.
func publications() map[string]func(*Dir, []Trade, Origin) (Published, error) {
	return map[string]func(*Dir, []Trade, Origin) (Published, error){
		"Loader": load,
		"Publish": func(d *Dir, rows []Trade, origin Origin) (Published, error) {
			return d.Publish(context.Background(), rows, origin)
		},
	}
}

func conflictsOf(t *testing.T, d *Dir) []Conflict {
	t.Helper()
	out, err := d.ReadConflicts("", "")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestConflictsAreRecordedOnce publishes ids again of which one has another content: the row on the
// tape stays, and the other is in the table conflicts, with the origins of both.
func TestConflictsAreRecordedOnce(t *testing.T) {
	for name, publish := range publications() {
		t.Run(name, func(t *testing.T) {
			d := newTape(t)
			rows := append(trades("AUSDT", 1, 90, day0), trades("BUSDT", 1, 90, day0)...)
			if _, err := d.Publish(context.Background(), rows, Origin{Source: FromStream, Run: "first"}); err != nil {
				t.Fatal(err)
			}
			again := append(trades("AUSDT", 1, 90, day0), trades("BUSDT", 1, 120, day0)...)
			again[100].Price += 0.01
			want := []Conflict{newConflict(&rows[100], Origin{Source: FromStream, Run: "first"}, &again[100],
				Origin{Source: FromREST, Run: "second", At: day0.Add(time.Hour)})}
			for try := range 2 {
				origin := Origin{Source: FromREST, Run: "second", At: day0.Add(time.Duration(try+1) * time.Hour)}
				out, err := publish(d, again, origin)
				if err != nil || out.Rows != int64(30-30*try) || out.Dropped != int64(180+30*try) || out.Conflicts != 1 || len(out.ConflictRows) != 1 {
					t.Fatalf("%+v, %v", out, err)
				}
				if diff := cmp.Diff(want, conflictsOf(t, d)); diff != "" {
					t.Fatal(diff)
				}
			}
			onTape := all(t, d)
			if diff := cmp.Diff(rows[100], onTape["BUSDT"][again[100].ID]); diff != "" || len(onTape["BUSDT"]) != 120 {
				t.Error(len(onTape["BUSDT"]), diff)
			}
			text := fmt.Sprint(want[0])
			for _, part := range []string{"BUSDT id 11", "stream", "rest", "price 100.04", "price 100.05"} {
				if !strings.Contains(text, part) {
					t.Errorf("%q is not in %q", part, text)
				}
			}
		})
	}
}

// Rows with the same id in one call: the first stays, whatever is on the tape by then.
func TestConflictsWithinAPublication(t *testing.T) {
	d := newTape(t)
	rows := trades("AUSDT", 1, 10, day0)
	other, third := rows[4], rows[4]
	other.IsBuyerMaker = !other.IsBuyerMaker
	third.Qty *= 2
	given := append([]Trade{other}, rows...)
	given = append(given, rows[4], third) // other stays: it comes first
	out := publish(t, d, given)
	if out.Rows != 10 || out.Dropped != 3 || out.Conflicts != 3 {
		t.Fatalf("%+v", out)
	}
	if got := all(t, d)["AUSDT"][5]; got != other {
		t.Fatal(got)
	}
	contents := func() (out []Trade) {
		for _, c := range conflictsOf(t, d) {
			if c.Kept() != other {
				t.Errorf("%v", c)
			}
			out = append(out, c.Other())
		}
		return out
	}
	byVolume := cmpopts.SortSlices(func(a, b Trade) bool { return a.Price*a.Qty < b.Price*b.Qty })
	want := []Trade{trades("AUSDT", 5, 5, day0.Add(4*time.Second))[0], third}
	if diff := cmp.Diff(want, contents(), byVolume); diff != "" {
		t.Fatal(diff)
	}
	// Two new contents at once for an id that is on the tape: both are compared with the row there.
	fourth := third
	fourth.Price++
	publish(t, d, []Trade{fourth, third, other})
	if diff := cmp.Diff(append(want, fourth), contents(), byVolume); diff != "" {
		t.Fatal(diff)
	}
}

// Sources differ in what they know: milliseconds or microseconds, raw trades or none.
// TestRepeatedIDIsNotAnotherMarket publishes one id with many contents: they are conflicts of that id.
func TestRepeatedIDIsNotAnotherMarket(t *testing.T) {
	for _, onTape := range []int64{0, 1} {
		d := newTape(t)
		if _, err := d.Publish(context.Background(), trades("AUSDT", 1, onTape, day0), Origin{Source: FromStream}); err != nil {
			t.Fatal(err)
		}
		rows := make([]Trade, 3*disagreeLeast)
		for i := range rows {
			rows[i] = trades("AUSDT", 1, 1, day0)[0]
			rows[i].Price += float64(i + 1)
		}
		out, err := d.Publish(context.Background(), rows, Origin{Source: FromStream})
		if want := int64(len(rows)) - 1 + onTape; err != nil || out.Conflicts != want || len(all(t, d)["AUSDT"]) != 1 {
			t.Errorf("%d on the tape: %+v, %v, want %d conflicts", onTape, out, err, want)
		}
	}
}

func TestSameContent(t *testing.T) {
	base := Trade{Symbol: "AUSDT", ID: 7, Price: 1.5, Qty: 2, FirstTradeID: 9, LastTradeID: 11, TradedAt: day0.UnixMicro() + 1_234_567}
	for name, c := range map[string]struct {
		change func(*Trade)
		same   bool
	}{
		"equal":                          {func(*Trade) {}, true},
		"milliseconds":                   {func(b *Trade) { b.TradedAt = day0.UnixMicro() + 1_234_000 }, true},
		"another millisecond":            {func(b *Trade) { b.TradedAt = day0.UnixMicro() + 1_235_000 }, false},
		"another microsecond":            {func(b *Trade) { b.TradedAt++ }, false},
		"raw trades unknown":             {func(b *Trade) { b.FirstTradeID, b.LastTradeID = 7, 7 }, true},
		"other raw trades":               {func(b *Trade) { b.FirstTradeID-- }, false},
		"price":                          {func(b *Trade) { b.Price = 1.6 }, false},
		"quantity":                       {func(b *Trade) { b.Qty = 3 }, false},
		"side":                           {func(b *Trade) { b.IsBuyerMaker = true }, false},
		"milliseconds and another price": {func(b *Trade) { b.TradedAt, b.Price = day0.UnixMicro()+1_234_000, 1.6 }, false},
	} {
		other := base
		c.change(&other)
		if sameContent(&base, &other) != c.same || sameContent(&other, &base) != c.same {
			t.Error(name)
		}
		// The same on the tape, in both orders.
		for _, rows := range [][2]Trade{{base, other}, {other, base}} {
			d := newTape(t)
			publish(t, d, rows[:1])
			if out := publish(t, d, rows[1:]); (out.Conflicts == 0) != c.same {
				t.Errorf("%s: %+v", name, out)
			}
		}
	}
}

// TestDisagreementPublishesNothing publishes rows of another market: under the same ids, or with ids
// beside them and times that run back.
func TestDisagreementPublishesNothing(t *testing.T) {
	changed := func(first, last int64, every int64) []Trade {
		rows := trades("BUSDT", first, last, day0.Add(time.Duration(first)*time.Second))
		for i := range rows {
			if rows[i].ID%every == 0 {
				rows[i].Price *= 1.1
			}
		}
		return rows
	}
	for name, c := range map[string]struct {
		rows              []Trade
		conflicts         int64 // -1 for a disagreement
		compared, differs int64
		backwards         time.Duration
	}{
		"all differ":              {rows: changed(81, 120, 1), conflicts: -1, compared: 20, differs: 20},
		"half differ":             {rows: changed(51, 120, 2), conflicts: 25},
		"few meet":                {rows: changed(82, 120, 1), conflicts: 19},
		"one differs":             {rows: changed(1, 100, 50), conflicts: 2},
		"after, 18 min back":      {rows: trades("BUSDT", 101, 110, day0.Add(-18*time.Minute)), conflicts: -1, backwards: 18*time.Minute + 100*time.Second},
		"after, 9 s back":         {rows: trades("BUSDT", 101, 110, day0.Add(91*time.Second))},
		"far after, 11 s back":    {rows: trades("BUSDT", 900, 910, day0.Add(89*time.Second)), conflicts: -1, backwards: 11 * time.Second},
		"before, 1 min ahead":     {rows: trades("BUSDT", 0, 0, day0.Add(61*time.Second)), conflicts: -1, backwards: time.Minute},
		"on another day, earlier": {rows: trades("BUSDT", 500, 510, day0.AddDate(0, 0, -3)), conflicts: -1, backwards: 72*time.Hour + time.Second},
		"on another day, later":   {rows: trades("BUSDT", 0, 0, day0.AddDate(0, 0, 3)), conflicts: -1, backwards: 72*time.Hour - time.Second},
	} {
		for way, publish := range publications() {
			t.Run(name+"/"+way, func(t *testing.T) {
				d := newTape(t)
				before := append(trades("AUSDT", 1, 100, day0), trades("BUSDT", 1, 100, day0.Add(time.Second))...)
				if _, err := d.Publish(context.Background(), before, Origin{Source: FromStream}); err != nil {
					t.Fatal(err)
				}
				rows := append(trades("AUSDT", 1, 200, day0), c.rows...)
				out, err := publish(d, rows, Origin{Source: FromREST})
				if c.conflicts >= 0 {
					if err != nil || out.Conflicts != c.conflicts || int64(len(conflictsOf(t, d))) != c.conflicts {
						t.Fatalf("%+v, %v, %d recorded", out, err, len(conflictsOf(t, d)))
					}
					return
				}
				var disagreement *DisagreementError
				if !errors.As(err, &disagreement) {
					t.Fatalf("%+v, %v", out, err)
				}
				if disagreement.Symbol != "BUSDT" || disagreement.Compared != c.compared || disagreement.Differing != c.differs ||
					disagreement.Backwards != c.backwards {
					t.Errorf("%+v", disagreement)
				}
				if text := err.Error(); strings.Contains(text, "\n") || !strings.Contains(text, "another market") {
					t.Error(text)
				}
				if n := len(all(t, d)["AUSDT"]); n != 100 || len(conflictsOf(t, d)) != 0 {
					t.Errorf("%d rows of AUSDT, %d conflicts", n, len(conflictsOf(t, d)))
				}
				checkStagingEmpty(t, d)
			})
		}
	}
}

// Two connections can deliver two markets to one recorder, without any id that meets.
func TestStreamRunsBackWithinABatch(t *testing.T) {
	d := newTape(t)
	rows := append(trades("AUSDT", 1, 10, day0.Add(time.Hour)), trades("AUSDT", 11, 20, day0)...)
	var disagreement *DisagreementError
	if _, err := d.Publish(context.Background(), rows, Origin{Source: FromStream}); !errors.As(err, &disagreement) {
		t.Error(err)
	}
	if out, err := d.Publish(context.Background(), rows, Origin{Source: FromREST}); err != nil || out.Rows != 20 {
		t.Error(out, err) // one answer of the exchange is not a seam
	}
}
