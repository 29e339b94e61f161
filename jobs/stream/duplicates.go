package stream

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"tapedeck/internal/tape"
)

// recentContents is how many contents per symbol are remembered. It covers how far two connections are
// apart: the busiest symbols trade some hundred times a second. An older one is compared by Publish.
const recentContents = 256

// duplicates compares trades that arrive more than once. While several connections of a group are
// read it remembers the contents of the latest trades of each symbol, and recognizes most duplicates
// as equal. The others go into the batch, and tape.Dir.Publish compares them with the tape. It is safe
// for concurrent use, and costs a trade nothing but a look at a counter while one connection is read.
type duplicates struct {
	mu     sync.Mutex
	recent map[*trackedSymbol]*[recentContents]idContent // by id modulo recentContents
	agreed map[string]int64                              // duplicates recognized as equal since take, by symbol
}

type idContent struct {
	id      int64
	content uint64
}

func newDuplicates() *duplicates {
	return &duplicates{recent: map[*trackedSymbol]*[recentContents]idContent{}, agreed: map[string]int64{}}
}

// readers is how many connections of one group are read.
type readers struct{ n atomic.Int32 }

func (r *readers) several() bool { return r.n.Load() > 1 }

// begin counts a connection of a connector that is read from now on. The caller calls end.
func (d *duplicates) begin(c *trackedConnector) { c.readers.n.Add(1) }

// end counts a connection that is not read any more.
func (d *duplicates) end(c *trackedConnector) {
	if c.readers.n.Add(-1) > 1 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.recent) // what other groups have remembered is only a saving
}

// remember remembers a new trade.
func (d *duplicates) remember(c *trackedConnector, s *trackedSymbol, t *tape.Trade) {
	if !c.readers.several() {
		return
	}
	content := contentOf(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	recent := d.recent[s]
	if recent == nil {
		recent = new([recentContents]idContent)
		d.recent[s] = recent
	}
	recent[uint64(t.ID)%recentContents] = idContent{t.ID, content}
}

// equal reports whether a trade whose id was received before is known to have the same content. It
// counts those.
func (d *duplicates) equal(c *trackedConnector, s *trackedSymbol, t *tape.Trade) bool {
	if !c.readers.several() {
		return false
	}
	content := contentOf(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	recent := d.recent[s]
	if recent == nil || recent[uint64(t.ID)%recentContents] != (idContent{t.ID, content}) {
		return false
	}
	d.agreed[s.name.String()]++
	return true
}

// take returns how many duplicates were recognized as equal since the last call, by symbol.
func (d *duplicates) take() map[string]int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.agreed
	d.agreed = map[string]int64{}
	return out
}

// contentOf hashes the content of a trade.
func contentOf(t *tape.Trade) uint64 {
	h := uint64(t.TradedAt)
	for _, part := range [...]uint64{
		math.Float64bits(t.Price), math.Float64bits(t.Qty), uint64(t.FirstTradeID), uint64(t.LastTradeID),
	} {
		high, low := bits.Mul64(h^part, 0x9e3779b97f4a7c15)
		h = high ^ bits.RotateLeft64(low, 29) + part
	}
	if t.IsBuyerMaker {
		h = ^h
	}
	return h
}
