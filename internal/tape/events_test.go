package tape

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecordsAreStoredOnce(t *testing.T) {
	ctx := context.Background()
	d := newTape(t)
	at := day0.UnixMicro()
	id := func(n int64) *int64 { return &n }
	conflict := Conflict{
		Symbol: "BTCUSDT", ID: 7, Price: 1.5, Qty: 2, FirstTradeID: 9, LastTradeID: 10, TradedAt: at, Source: FromStream, RunID: "a",
		OtherPrice: 1.6, OtherQty: 2, OtherFirstTradeID: 9, OtherLastTradeID: 10, OtherTradedAt: at, OtherIsBuyerMaker: true,
		OtherSource: FromREST, OtherRunID: "b", FoundAt: at,
	}
	again, other := conflict, conflict
	again.FoundAt += int64(time.Hour / time.Microsecond)
	again.OtherRunID = "c"
	other.OtherPrice = 1.7
	for range 2 {
		if _, err := d.PublishConflicts(ctx, []Conflict{conflict, again, other}); err != nil {
			t.Fatal(err)
		}
	}
	conflicts, err := d.ReadConflicts("", "")
	if diff := cmp.Diff([]Conflict{conflict, other}, conflicts); diff != "" || err != nil {
		t.Error(err, diff)
	}

	events := []RecorderEvent{
		{At: at, Event: EventStarted, RunID: "a"},
		{At: at + 1, Event: EventGap, Symbol: "BTCUSDT", FirstID: id(3), LastID: id(5), IDs: 3, RunID: "a"},
		{At: at + dayMicros, Event: EventLost, Connection: "1.1", Message: "closed", RunID: "a"},
	}
	drops := []Drop{
		{At: at, What: "trades", Symbol: "BTCUSDT", FirstID: id(1), LastID: id(4), WindowEnd: at, Rows: 4, Reason: "test", RunID: "x"},
		{At: at, What: "alerts", Detector: "price_jump", Rows: 4, Reason: "test", RunID: "x"},
	}
	for range 2 {
		if _, err := d.PublishRecorderEvents(ctx, events); err != nil {
			t.Fatal(err)
		}
		if _, err := d.PublishDrops(ctx, drops); err != nil {
			t.Fatal(err)
		}
	}
	gotEvents, err := d.ReadRecorderEvents("", "")
	if diff := cmp.Diff(events, gotEvents); diff != "" || err != nil {
		t.Error(err, diff)
	}
	gotDrops, err := d.ReadDrops("", "")
	if diff := cmp.Diff(drops, gotDrops); diff != "" || err != nil {
		t.Error(err, diff)
	}
	more := RecorderEvent{At: at + 2, Event: EventStopped, RunID: "a"}
	if _, err := d.PublishRecorderEvents(ctx, []RecorderEvent{more}); err != nil {
		t.Fatal(err)
	}
	if before, merged, err := d.MergeRecords(ctx, Recorder, DateOf(at), 1); before != 2 || !merged || err != nil {
		t.Error(before, merged, err)
	}
	gotEvents, err = d.ReadRecorderEvents(DateOf(at), DateOf(at))
	if len(gotEvents) != 3 || err != nil {
		t.Error(gotEvents, err)
	}
}

func TestTapeOfAnEarlierVersionHasNoConflicts(t *testing.T) {
	d := newTape(t)
	for _, table := range laterTables() {
		if err := os.RemoveAll(filepath.Join(d.Path(), string(table))); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := d.ReadConflicts("", ""); len(rows) != 0 || err != nil {
		t.Error(rows, err)
	}
	if _, err := d.PublishConflicts(context.Background(), []Conflict{{Symbol: "BTCUSDT", TradedAt: day0.UnixMicro()}}); err != nil {
		t.Error(err)
	}
}
