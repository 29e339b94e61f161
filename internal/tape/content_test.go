package tape

import (
	"slices"
	"testing"
	"time"

	"tapedeck/internal/idset"
)

// contentOf returns the content of all files of a date.
func contentOf(t *testing.T, d *Dir, date string, only map[string]idset.Set) *DayContent {
	t.Helper()
	segments, broken, err := d.OpenTrades(date)
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	defer CloseSegments(segments)
	out := NewDayContent(date, only)
	for _, s := range segments {
		if err := out.AddFile(t.Context(), s.File); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestContentDependsOnRowsOnly(t *testing.T) {
	const date = "2026-01-15"
	one, other := newTape(t), newTape(t)
	publishScattered(t, one, []string{"BTCUSDT", "ETHUSDT"}, 500, 7)
	want := publishScattered(t, other, []string{"BTCUSDT", "ETHUSDT"}, 500, 3)
	first := contentOf(t, one, date, nil)
	if _, err := other.Merge(t.Context(), date, segmentsOf(t, other), 1<<20, day0.Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	second := contentOf(t, other, date, nil)
	if first.Certificate() != second.Certificate() || first.Rows() != 1000 {
		t.Errorf("%+v\n%+v", first, second)
	}
	// Each column of one row makes another content.
	for name, change := range map[string]func(*Trade){
		"price": func(r *Trade) { r.Price++ }, "qty": func(r *Trade) { r.Qty++ },
		"first_trade_id": func(r *Trade) { r.FirstTradeID-- }, "last_trade_id": func(r *Trade) { r.LastTradeID++ },
		"traded_at": func(r *Trade) { r.TradedAt++ }, "is_buyer_maker": func(r *Trade) { r.IsBuyerMaker = !r.IsBuyerMaker },
		"symbol": func(r *Trade) { r.Symbol = "BNBUSDT" }, "id": func(r *Trade) { r.ID++ },
	} {
		rows := slices.Clone(want)
		change(&rows[len(rows)-1])
		changed := newTape(t)
		publish(t, changed, rows)
		if contentOf(t, changed, date, nil).Certificate() == first.Certificate() {
			t.Errorf("another %s has the same certificate", name)
		}
	}
	// Rows that are left out are as if they were not there.
	only := map[string]idset.Set{"BTCUSDT": {{First: 10, Last: 20}, {First: 400, Last: 499}}}
	restricted := contentOf(t, one, date, only)
	if restricted.Rows() != 111 || !slices.Equal(restricted.Symbols()["BTCUSDT"].IDs, only["BTCUSDT"]) || len(restricted.Symbols()) != 1 {
		t.Errorf("%+v", restricted.Symbols())
	}
}

func TestContentCountsDoubledIDs(t *testing.T) {
	d := newTape(t)
	publish(t, d, trades("BTCUSDT", 1, 100, day0))
	segments, _, err := d.OpenTrades("2026-01-15")
	if err != nil {
		t.Fatal(err)
	}
	defer CloseSegments(segments)
	content := NewDayContent("2026-01-15", nil)
	for range 2 {
		if err := content.AddFile(t.Context(), segments[0].File); err != nil {
			t.Fatal(err)
		}
	}
	c := content.Symbols()["BTCUSDT"]
	if c.Rows != 200 || c.Doubled.Count() != 100 || c.IDs.Count() != 100 {
		t.Errorf("%+v", c)
	}
	if err := NewDayContent("2026-01-14", nil).AddFile(t.Context(), segments[0].File); err == nil {
		t.Error("rows of another date were accepted")
	}
}

func TestOpenSegmentsSurviveACompaction(t *testing.T) {
	d := newTape(t)
	want := publishScattered(t, d, []string{"BTCUSDT"}, 500, 5)
	segments, _, err := d.OpenTrades("2026-01-15")
	if err != nil {
		t.Fatal(err)
	}
	defer CloseSegments(segments)
	if _, err := d.Merge(t.Context(), "2026-01-15", segmentsOf(t, d), 1<<20, day0.Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Sweep(time.Now().Add(24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	var got []Trade
	for _, s := range segments {
		if err := EachTrades(t.Context(), s.File, func(rows []Trade) error {
			got = append(got, rows...)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(got, compareTrades)
	if !slices.Equal(got, want) {
		t.Errorf("%d rows, not %d", len(got), len(want))
	}
}
