package stream

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"tapedeck/internal/tape"
)

func TestBatchIsSortedBySymbolAndID(t *testing.T) {
	names := []string{"CUSDT", "AUSDT", "NEVERUSDT", "币USDT", "BUSDT"}
	random := rand.New(rand.NewPCG(1, 2))
	var b batch
	var sorted []tape.Trade
	for _, n := range []int{5000, 0, 1, 3000, 7000} {
		var want []tape.Trade
		for i := range n {
			symbol := []int{0, 1, 3, 4}[random.IntN(4)]
			id := int64(i)
			if symbol == 3 {
				id = int64(random.IntN(1 << 30)) // out of order
			}
			want = append(want, tape.Trade{Symbol: names[symbol], ID: id})
			b.append(&want[i], symbol, 7000)
		}
		slices.SortFunc(want, func(a, b tape.Trade) int { return cmp.Or(cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.ID, b.ID)) })
		if sorted, _ = b.take(sorted); !slices.Equal(sorted, want) {
			t.Fatalf("%d rows are not sorted", n)
		}
		if len(b.rows)+len(b.symbols) != 0 || cap(b.rows) > 7000 {
			t.Errorf("left %d rows, room for %d", len(b.rows), cap(b.rows))
		}
	}
}
