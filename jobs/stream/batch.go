package stream

import (
	"cmp"
	"slices"

	"tapedeck/internal/tape"
)

// batch is trades in the order of their arrival. Publishing wants them by symbol and id, and knowing each
// one's symbol by number, one pass brings them there, where a sort would cost as much as everything
// else that is done with a trade (see BenchmarkReadLoop).
type batch struct {
	rows   []tape.Trade
	owners []uint32 // symbol.index of each row
}

// append adds a row. The room doubles up to the limit, which keeps quiet tapes small.
func (b *batch) append(t tape.Trade, owner, limit int) {
	if n := len(b.rows); n == cap(b.rows) {
		grown := min(max(1024, 2*n), max(limit, n+8))
		b.rows = append(make([]tape.Trade, 0, grown), b.rows...)
		b.owners = append(make([]uint32, 0, grown), b.owners...)
	}
	b.rows = append(b.rows, t)
	b.owners = append(b.owners, uint32(owner))
}

// take moves the rows into sorted, which it reuses, by symbol and id, and leaves the batch empty.
func (b *batch) take(sorted []tape.Trade, known []*symbol) []tape.Trade {
	places := make([]int, len(known))
	for _, owner := range b.owners {
		places[owner]++
	}
	var present []*symbol
	for i, n := range places {
		if n > 0 {
			present = append(present, known[i])
		}
	}
	slices.SortFunc(present, func(a, b *symbol) int { return cmp.Compare(a.name, b.name) })
	next := 0
	for _, s := range present {
		places[s.index], next = next, next+places[s.index]
	}
	if cap(sorted) < len(b.rows) {
		sorted = make([]tape.Trade, 0, cap(b.rows))
	}
	sorted = sorted[:len(b.rows)]
	for i, owner := range b.owners {
		sorted[places[owner]] = b.rows[i]
		places[owner]++
	}
	b.rows, b.owners = b.rows[:0], b.owners[:0]

	// A symbol's trades arrive in the order of their ids unless connections overlap.
	start := 0
	for _, s := range present {
		own := sorted[start:places[s.index]]
		start = places[s.index]
		byID := func(a, b tape.Trade) int { return cmp.Compare(a.ID, b.ID) }
		if !slices.IsSortedFunc(own, byID) {
			slices.SortFunc(own, byID)
		}
	}
	return sorted
}
