package ingest

import (
	"math/rand/v2"
	"os"
	"testing"

	"tapedeck/internal/tape"
)

func TestSorterSortsByIDAndKeepsTheOrderOfEqualIDs(t *testing.T) {
	staging := t.TempDir()
	const count = 24_321
	ids := rand.New(rand.NewPCG(3, 4)).Perm(count)
	sorter, err := newSorter(staging, "A")
	if err != nil {
		t.Fatal(err)
	}
	defer sorter.close()
	sorter.maxRows = 7000
	if entries, err := os.ReadDir(staging); err != nil || len(entries) > 0 {
		t.Errorf("the sorter's file has a name: %v, %v", entries, err)
	}
	row := func(id int64) tape.Trade {
		return tape.Trade{Symbol: "A", ID: id, Price: float64(id) + 0.25, Qty: 1e-8, FirstTradeID: 2 * id, LastTradeID: 2*id + 1, TradedAt: 1e15 + id, IsBuyerMaker: id%3 == 0}
	}
	var rows []tape.Trade
	var positions []int64
	for i, id := range ids {
		rows, positions = append(rows, row(int64(id)/2)), append(positions, int64(i)) // each id twice
		if len(rows) == 5000 || i == count-1 {
			if err := sorter.add(rows, positions); err != nil {
				t.Fatal(err)
			}
			rows, positions = rows[:0], positions[:0]
		}
	}
	n, last, lastPosition := 0, int64(-1), int64(-1)
	if err := sorter.each(func(trades []tape.Trade, positions []int64) error {
		for i, got := range trades {
			if got != row(got.ID) || got.ID < last || got.ID == last && positions[i] <= lastPosition || int64(ids[positions[i]]/2) != got.ID {
				t.Fatalf("%+v of position %d after id %d of position %d", got, positions[i], last, lastPosition)
			}
			last, lastPosition = got.ID, positions[i]
			n++
		}
		return nil
	}); err != nil || n != count {
		t.Errorf("%d of %d rows, %v", n, count, err)
	}
}
