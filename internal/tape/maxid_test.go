package tape

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestIDsAboveTheLargestAreRefused, by both ways of publishing.
func TestIDsAboveTheLargestAreRefused(t *testing.T) {
	d := newTape(t)
	for _, change := range []func(*Trade){
		func(row *Trade) { row.ID = MaxID + 1 },
		func(row *Trade) { row.ID = 1<<63 - 1 },
		func(row *Trade) { row.LastTradeID = MaxID + 1 },
	} {
		row := Trade{Symbol: "BTCUSDT", ID: 1, Price: 1, Qty: 1, FirstTradeID: 1, LastTradeID: 1, TradedAt: firstMicros}
		change(&row)
		if _, err := d.Publish(t.Context(), []Trade{row}, Origin{Source: FromFile}); err == nil {
			t.Errorf("published: %+v", row)
		}
		load := d.NewLoader(Origin{Source: FromFile})
		if err := load.Add(t.Context(), []Trade{row}, 0); err == nil {
			t.Errorf("loaded: %+v", row)
		}
		load.Discard()
	}
	row := Trade{Symbol: "BTCUSDT", ID: MaxID, Price: 1, Qty: 1, FirstTradeID: 1, LastTradeID: MaxID, TradedAt: firstMicros}
	if _, err := d.Publish(t.Context(), []Trade{row}, Origin{Source: FromFile}); err != nil {
		t.Error(err)
	}
}

// TestFilesWithLargerIDsAreLeftOut, and named with the id, whether tapedeck wrote them before the limit or
// another program did.
func TestFilesWithLargerIDsAreLeftOut(t *testing.T) {
	rows := trades("BTCUSDT", 1000, 1002, day0)
	rows[2].ID = 1<<63 - 1
	for name, write := range map[string]func(*os.File) error{
		"of another program": func(f *os.File) error { return encodeRows(f, rows) },
		"not sorted":         func(f *os.File) error { return encodeRows(f, []Trade{rows[2], rows[0]}) },
		"of tapedeck": func(f *os.File) error {
			var enc encoder[Trade]
			return encodeTrades(&enc, f, rows, runsOf(rows), identity{AggTrade, ""}, Origin{Source: FromFile, Run: "before", At: day0})
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTape(t)
			publish(t, d, trades("BTCUSDT", 1, 30, day0))
			f, err := os.Create(filepath.Join(d.Path(), "trades", "date="+DateOf(day0.UnixMicro()), "large.parquet"))
			if err != nil {
				t.Fatal(err)
			}
			if err := write(f); err != nil {
				t.Fatal(err)
			}
			f.Close()
			isNamed := func(broken []BrokenSegment) bool {
				return len(broken) == 1 && strings.HasSuffix(broken[0].Path, "large.parquet") &&
					strings.Contains(broken[0].Err.Error(), `"BTCUSDT" with the id 9223372036854775807 is no trade`)
			}
			for range 2 { // also from what was saved
				c := certify(t, d, day0.Add(time.Hour))
				if !isNamed(c.Broken) || c.Complete() || c.Symbols[0].Trades != 30 || c.Symbols[0].Missing != 0 {
					t.Errorf("%+v", c)
				}
			}
			index := d.Index()
			if err := index.Refresh(t.Context()); err != nil || !isNamed(index.Broken()) || index.IDs("BTCUSDT").Count() != 30 {
				t.Errorf("%v, %v, %v", index.Broken(), index.IDs("BTCUSDT"), err)
			}
			if out := publish(t, d, trades("BTCUSDT", 25, 40, day0.Add(24*time.Second))); out.Rows != 10 {
				t.Errorf("published %+v", out)
			}
		})
	}
}
