package tape

import "testing"

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
