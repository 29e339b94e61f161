package stream

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tapedeck/internal/tape"
)

// batcher collects the trades that wait to be published.
//
// One batch fills while the batch before it is published. When it is full too, add waits. The
// exchange then buffers for a while and finally closes the connection, which shows as a gap; memory
// does not grow.
type batcher struct {
	interval time.Duration   // how long a trade waits at most for its batch to be due
	maxRows  int             // a batch of this many rows is due
	stopping <-chan struct{} // closed: add does not wait any more
	before   func()          // called before a batch is taken; takes no lock that add's caller holds
	wake     chan struct{}   // for next, which waits: a batch has its first row or is full
	asked    chan struct{}   // for next: the batch is due, also if it is empty
	closed   chan struct{}   // closed: no trade is added any more

	mu      sync.Mutex
	filling batch
	firstAt time.Time     // when the first row was added
	room    chan struct{} // closed and replaced when the batch is taken
	trades  int64         // added
	stalls  int64         // how often add waited
}

func newBatcher(interval time.Duration, maxRows int, stopping <-chan struct{}, before func()) *batcher {
	return &batcher{
		interval: interval, maxRows: maxRows, stopping: stopping, before: before,
		wake: make(chan struct{}, 1), asked: make(chan struct{}, 1), closed: make(chan struct{}), room: make(chan struct{}),
	}
}

// add adds a trade of the symbol with that index, in which as many values as inexact says are not
// exact as doubles. It waits for room. Callers that still wait when the recorder stops overfill the
// batch by one trade each.
func (b *batcher) add(t *tape.Trade, symbolIndex int, inexact int64) {
	b.put(t, symbolIndex, inexact, 1)
}

// addDuplicate adds a trade whose id was added before, to have it compared. It does not count as
// added.
func (b *batcher) addDuplicate(t *tape.Trade, symbolIndex int) { b.put(t, symbolIndex, 0, 0) }

func (b *batcher) put(t *tape.Trade, symbolIndex int, inexact, trades int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.filling.rows) >= b.maxRows && !isClosed(b.stopping) {
		b.stalls++
		room := b.room
		b.mu.Unlock()
		select {
		case <-room:
		case <-b.stopping:
		}
		b.mu.Lock()
	}
	b.trades += trades
	b.filling.append(t, symbolIndex, b.maxRows)
	b.filling.inexact += inexact
	switch len(b.filling.rows) {
	case 1:
		b.firstAt = time.Now()
		fallthrough
	case b.maxRows:
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// flush makes the batch that fills due at once, and returns before it is published.
func (b *batcher) flush() {
	select {
	case b.asked <- struct{}{}:
	default:
	}
}

// close makes the trades that are left due at once. No trade may be added afterwards.
func (b *batcher) close() { close(b.closed) }

// next waits until a batch is due, and returns its rows by symbol and id in reuse or a larger
// slice. It returns an empty batch if nothing was added for the interval or until a flush. last is true if it is the
// last batch, which may be empty.
func (b *batcher) next(reuse []tape.Trade) (rows []tape.Trade, inexact int64, last bool) {
	idle := time.NewTimer(b.interval)
	defer idle.Stop()
	var due <-chan time.Time
	for {
		quiet, asked := false, false
		select {
		case <-b.wake:
		case <-due:
		case <-idle.C:
			quiet = true
		case <-b.asked:
			asked = true
		case <-b.closed:
			last = true
		}
		b.mu.Lock()
		wait := b.interval - time.Since(b.firstAt)
		n := len(b.filling.rows)
		if last || asked || n >= b.maxRows || n > 0 && wait <= 0 || n == 0 && quiet {
			b.mu.Unlock()
			b.before()
			b.mu.Lock()
			defer b.mu.Unlock()
			close(b.room)
			b.room = make(chan struct{})
			rows, inexact = b.filling.take(reuse)
			return rows, inexact, last
		}
		b.mu.Unlock()
		if n > 0 {
			due = time.After(wait)
		}
	}
}

// waiting returns how many trades wait, and since when the first of them does.
func (b *batcher) waiting() (trades int, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.filling.rows) == 0 {
		return 0, time.Time{}
	}
	return len(b.filling.rows), b.firstAt
}

// full reports whether the next trade has to wait.
func (b *batcher) full() bool {
	trades, _ := b.waiting()
	return trades >= b.maxRows
}

// added returns how many trades were added, and how often one had to wait.
func (b *batcher) added() (trades, stalls int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trades, b.stalls
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// batch holds trades in the order of their arrival. Publishing needs them by symbol and id. Each
// trade carries its symbol's index, so that two passes sort the batch; sorting it by comparison
// would cost as much as everything else that is done with a trade (see BenchmarkReadLoop).
type batch struct {
	rows    []tape.Trade
	symbols []uint32 // index of each row's symbol
	count   int      // one more than the largest index
	inexact int64    // values that are not exact as doubles
}

// append adds a row. The capacity doubles up to the limit, so that a quiet tape needs little
// memory.
func (b *batch) append(t *tape.Trade, symbol, limit int) {
	if n := len(b.rows); n == cap(b.rows) {
		grown := min(max(1024, 2*n), max(limit, n+8))
		b.rows = append(make([]tape.Trade, 0, grown), b.rows...)
		b.symbols = append(make([]uint32, 0, grown), b.symbols...)
	}
	b.rows = append(b.rows, *t)
	b.symbols = append(b.symbols, uint32(symbol))
	b.count = max(b.count, symbol+1)
}

// take moves the rows into sorted, which it reuses, by symbol and id, and empties the batch.
func (b *batch) take(sorted []tape.Trade) (rows []tape.Trade, inexact int64) {
	type namedSymbol struct {
		name  string
		index uint32
	}
	var present []namedSymbol
	next := make([]int, b.count) // by symbol: its number of rows, then the position of its next row
	for i, symbol := range b.symbols {
		if next[symbol] == 0 {
			present = append(present, namedSymbol{b.rows[i].Symbol, symbol})
		}
		next[symbol]++
	}
	slices.SortFunc(present, func(a, b namedSymbol) int { return cmp.Compare(a.name, b.name) })
	position := 0
	for _, symbol := range present {
		next[symbol.index], position = position, position+next[symbol.index]
	}
	if cap(sorted) < len(b.rows) {
		sorted = make([]tape.Trade, 0, cap(b.rows))
	}
	sorted = sorted[:len(b.rows)]
	for i, symbol := range b.symbols {
		sorted[next[symbol]] = b.rows[i]
		next[symbol]++
	}

	// A symbol's trades arrive in the order of their ids, unless connections overlap.
	byID := func(a, b tape.Trade) int { return cmp.Compare(a.ID, b.ID) }
	start := 0
	for _, symbol := range present {
		ofSymbol := sorted[start:next[symbol.index]]
		start = next[symbol.index]
		if !slices.IsSortedFunc(ofSymbol, byID) {
			slices.SortFunc(ofSymbol, byID)
		}
	}
	inexact = b.inexact
	b.rows, b.symbols, b.count, b.inexact = b.rows[:0], b.symbols[:0], 0, 0
	return sorted, inexact
}
