package tape

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// hostileNames are texts that no symbol can have.
var hostileNames = []string{"!BTC*", "../../tape.json", "A\x1b[2J\n", strings.Repeat("A", 65), "\xff\x00", "a b"}

func TestOnlySymbolsAreWritten(t *testing.T) {
	d := newTape(t)
	for _, name := range hostileNames {
		if _, err := d.Publish(context.Background(), trades(name, 1, 2, day0), Origin{Source: FromREST}); err == nil {
			t.Errorf("Publish wrote %q", name)
		}
		load := d.NewLoader(Origin{Source: FromFile})
		if err := load.Add(context.Background(), append(trades("A", 1, 2, day0), trades(name, 1, 2, day0)...), 0); err == nil {
			t.Errorf("Loader wrote %q", name)
		}
		load.Discard()
	}
	if rows := all(t, d); len(rows) != 0 {
		t.Errorf("%+v", rows)
	}
}

// A file of another program can have any text in the column symbol. The index and the certificate
// name such texts apart from the symbols, and their rows can be dropped.
func TestNamesThatAreNoSymbolsAreKeptApart(t *testing.T) {
	d := newTape(t)
	publish(t, d, trades("BTCUSDT", 1, 5, day0))
	rows := trades("ETHUSDT", 1, 3, day0)
	for _, name := range hostileNames {
		rows = append(rows, trades(name, 1, 3, day0)...)
		rows = append(rows, trades(name, 7, 7, day0)...)
	}
	slices.SortStableFunc(rows, compareTrades)
	var content bytes.Buffer
	if err := parquet.Write(&content, rows); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Path(), "trades", "date=2026-01-15", "planted.parquet"), content.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(want []string) {
		t.Helper()
		index := d.Index()
		if err := index.Refresh(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := index.Symbols(); !slices.Equal(got, []string{"BTCUSDT", "ETHUSDT"}) {
			t.Errorf("symbols %q", got)
		}
		if got := index.NotSymbols(); !slices.Equal(got, want) {
			t.Errorf("not symbols %q, want %q", got, want)
		}
		for name := range index.AllBounds() {
			if !slices.Contains(index.Symbols(), name) {
				t.Errorf("bounds of %q", name)
			}
		}
		for range 2 { // the second time from what was saved
			c := certify(t, d, day0)
			var got []string
			for _, name := range c.NotSymbols {
				got = append(got, name.Text)
				if name.Rows != 4 {
					t.Errorf("%q has %d rows", name.Text, name.Rows)
				}
			}
			if len(c.Symbols) != 2 || len(got) != len(want) || c.Complete() != (len(want) == 0) {
				t.Errorf("%d symbols, not symbols %q, complete %v", len(c.Symbols), got, c.Complete())
			}
		}
	}
	want := slices.Sorted(slices.Values(hostileNames))
	check(want)
	if err := d.RecordNotSymbols(want); err != nil {
		t.Fatal(err)
	}
	for len(want) > 0 {
		n := (len(want) + 1) / 2
		plan, err := d.PlanDrop(context.Background(), DropQuery{What: DropsTrades, Symbols: want[:n]})
		if err != nil || plan.Rows() != int64(4*n) {
			t.Fatalf("%d rows, %v", plan.Rows(), err)
		}
		if err := d.Drop(context.Background(), plan, DropRecord{At: day0.UnixMicro(), RunID: "drop-1"}, nil); err != nil {
			t.Fatal(err)
		}
		want = want[n:]
		check(want)
	}
}
