package tape

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
)

// Engines find a column of an Iceberg table by its field id. An id never changes, and is never used again.
func TestColumnsHaveFieldIDs(t *testing.T) {
	columns := map[Table][]string{
		Trades: {"symbol", "id", "price", "qty", "first_trade_id", "last_trade_id", "traded_at", "is_buyer_maker"},
		Alerts: {
			"detector", "symbol", "at", "score", "severity", "message", "first_id", "last_id", "extra", "run_id",
			"found_at",
		},
		Runs: {
			"id", "job", "command", "window_start", "window_end", "scheduled_at", "started_at", "finished_at", "attempt",
			"outcome", "exit", "rows", "bytes", "message", "output",
		},
		Coverage: {
			"symbol", "first_id", "last_id", "trades", "missing", "absent_at_source", "conflicts", "state", "checked_at",
		},
		Conflicts: {
			"symbol", "id", "price", "qty", "first_trade_id", "last_trade_id", "traded_at", "is_buyer_maker", "source",
			"run_id", "other_price", "other_qty", "other_first_trade_id", "other_last_trade_id", "other_traded_at",
			"other_is_buyer_maker", "other_source", "other_run_id", "found_at",
		},
		Recorder: {"at", "event", "connection", "symbol", "first_id", "last_id", "ids", "message", "run_id"},
		Drops: {
			"at", "what", "symbol", "first_id", "last_id", "window_start", "window_end", "detector", "origin", "rows",
			"reason", "run_id",
		},
	}
	d := newTape(t)
	for _, table := range allTables() {
		file, _, err := openParquet(filepath.Join(d.Path(), emptyPath(table)))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, column := range file.Root().Columns() {
			got[column.Name()] = column.ID()
		}
		file.close()
		want := map[string]int{}
		for i, name := range columns[table] {
			want[name] = i + 1
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", table, diff)
		}
	}
}

// tradeWithoutIDs is a Trade as earlier versions wrote it, without field ids.
type tradeWithoutIDs struct {
	Symbol       string  `parquet:"symbol,dict"`
	ID           int64   `parquet:"id,delta"`
	Price        float64 `parquet:"price,dict"`
	Qty          float64 `parquet:"qty,dict"`
	FirstTradeID int64   `parquet:"first_trade_id,delta"`
	LastTradeID  int64   `parquet:"last_trade_id,delta"`
	TradedAt     int64   `parquet:"traded_at,timestamp(microsecond:local),delta"`
	IsBuyerMaker bool    `parquet:"is_buyer_maker"`
}

// removeFieldIDs writes a segment of trades again as earlier versions did.
func removeFieldIDs(t *testing.T, d *Dir, s Segment) {
	t.Helper()
	path := filepath.Join(d.Path(), s.Path)
	rows, err := d.ReadTrades(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	file, _, err := openParquet(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	writer := parquet.NewGenericWriter[tradeWithoutIDs](&out, writerOptions()...)
	for _, pair := range file.Metadata().KeyValueMetadata {
		writer.SetKeyValueMetadata(pair.Key, pair.Value)
	}
	file.close()
	old := make([]tradeWithoutIDs, len(rows))
	for i, row := range rows {
		old[i] = tradeWithoutIDs(row)
	}
	if _, err := writer.Write(old); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSegmentsWithAndWithoutFieldIDsLiveTogether(t *testing.T) {
	d := newTape(t)
	want := publishScattered(t, d, []string{"BTCUSDT", "ETHUSDT"}, 500, 6)
	for i, s := range segmentsOf(t, d) {
		if i%2 == 0 {
			removeFieldIDs(t, d, s)
		}
	}
	check := func(when string) {
		t.Helper()
		got := readAll(t, d, segmentsOf(t, d))
		slices.SortFunc(got, compareTrades)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
		certificate, err := d.Certify(context.Background(), day0.AddDate(0, 0, 2), true)
		if err != nil || !certificate.Complete() {
			t.Errorf("%s: %+v (%v)", when, certificate, err)
		}
	}
	check("in part without ids")
	// The rows are compared with the tape, and refused because they are there.
	if out, err := d.Publish(context.Background(), slices.Clone(want), Origin{}); err != nil || out.Rows+out.Conflicts != 0 {
		t.Errorf("published again: %+v (%v)", out, err)
	}
	if out, err := d.Merge(context.Background(), "2026-01-15", segmentsOf(t, d), 1<<20, day0.Add(48*time.Hour)); err != nil || out.After != 1 {
		t.Fatalf("%+v (%v)", out, err)
	}
	check("merged")
	file, _, err := openParquet(filepath.Join(d.Path(), segmentsOf(t, d)[0].Path))
	if err != nil {
		t.Fatal(err)
	}
	defer file.close()
	for i, column := range file.Root().Columns() {
		if column.ID() != i+1 {
			t.Errorf("after the merge %s has the field id %d", column.Name(), column.ID())
		}
	}
}
