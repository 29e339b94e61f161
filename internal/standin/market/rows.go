package market

import (
	"math/bits"
	"sort"

	"tapedeck/internal/standin/exchange"
)

// chunkRows is how many rows are allocated at a time: 16 KiB, so that two thousand thin symbols stay
// small.
const chunkRows = 512

// row is an aggregated trade in 32 bytes. Its trades are not stored: splitter derives them.
type row struct {
	time       int64 // µs
	price      int64 // ticks
	qty        int64 // steps
	firstTrade uint32
	makers     uint16 // trades in this row
	sell       bool   // the taker sold
}

// rowList holds the rows of one pair in chunks, so that growing moves nothing.
type rowList struct {
	chunks  [][]row
	rows    int
	visible int
}

func (l *rowList) row(i int) *row { return &l.chunks[i/chunkRows][i%chunkRows] }

func (l *rowList) append(r row) {
	if l.rows%chunkRows == 0 {
		var chunk []row
		if l.rows > 0 {
			chunk = make([]row, 0, chunkRows) // the first one grows, because most made-up symbols trade little
		}
		l.chunks = append(l.chunks, chunk)
	}
	last := &l.chunks[len(l.chunks)-1]
	*last = append(*last, r)
	l.rows++
}

// reveal makes the rows before end visible.
func (l *rowList) reveal(end int64) {
	for l.visible < l.rows && l.row(l.visible).time < end {
		l.visible++
	}
}

// searchTime returns the index of the first visible row at or after a time, or visible.
func (l *rowList) searchTime(at int64) int {
	if l.visible == 0 || l.row(l.visible-1).time < at {
		return l.visible // the usual answer for a pair that did not trade in this slice of time
	}
	return sort.Search(l.visible, func(i int) bool { return l.row(i).time >= at })
}

// firstID returns the id that row i begins with in a sequence; i may be the number of rows, for the id
// that comes next.
func (p *pair) firstID(kind exchange.Kind, i int) int64 {
	switch {
	case kind == exchange.AggTrade:
		return p.firstAgg + int64(i)
	case i == p.rows:
		return p.firstTrade + p.trades
	}
	return p.firstTrade + int64(p.row(i).firstTrade)
}

// visibleRows appends up to limit visible rows of a sequence in the order of their ids, from fromID
// on. Market.mu is held.
func (p *pair) visibleRows(dst []exchange.Row, kind exchange.Kind, fromID int64, limit int) []exchange.Row {
	// The row that holds fromID is the last one that does not start after it.
	i := sort.Search(p.visible, func(i int) bool { return p.firstID(kind, i) > fromID }) - 1
	i = max(i, 0)
	for end := len(dst) + limit; i < p.visible && len(dst) < end; i++ {
		r, first := p.row(i), p.firstID(exchange.Trade, i)
		out := exchange.Row{TradedAt: r.time, BuyerMaker: r.sell}
		if kind == exchange.AggTrade {
			if out.ID = p.firstAgg + int64(i); out.ID >= fromID {
				out.FirstTradeID, out.LastTradeID = first, first+int64(r.makers)-1
				out.Price, out.Qty = p.decimals(r.price, r.qty)
				dst = append(dst, out)
			}
			continue
		}
		s := splitter{state: p.salt ^ uint64(i)*0x9e3779b97f4a7c15, steps: r.qty, makers: int64(r.makers)}
		for id := first; id < first+int64(r.makers) && len(dst) < end; id++ {
			if steps := s.next(); id >= fromID {
				out.ID, out.FirstTradeID, out.LastTradeID = id, id, id
				out.Price, out.Qty = p.decimals(r.price, steps)
				dst = append(dst, out)
			}
		}
	}
	return dst
}

// splitter divides the steps of an aggregated trade among its makers: each gets one at least, and
// together they get all.
type splitter struct {
	state         uint64
	steps, makers int64 // not divided yet
}

func (s *splitter) next() int64 {
	if s.makers == 1 {
		return s.steps
	}
	// At most twice an even share, and at most what leaves one step for each remaining maker.
	most := min(2*s.steps/s.makers, s.steps-s.makers+1)
	s.state = mix(s.state)
	high, _ := bits.Mul64(s.state, uint64(max(most, 1)))
	part := int64(high) + 1
	s.steps -= part
	s.makers--
	return part
}

// mix is the SplitMix64 step.
func mix(x uint64) uint64 { return exchange.Mix(x + 0x9e3779b97f4a7c15) }

// decimals prints a price and a quantity, both as parts of one allocation.
func (p *pair) decimals(ticks, steps int64) (price, qty string) {
	var buffer [48]byte
	text := exchange.AppendDecimal(buffer[:0], uint64(ticks*p.tick))
	n := len(text)
	both := string(exchange.AppendDecimal(text, uint64(steps*p.step)))
	return both[:n], both[n:]
}

func decimal(units int64) string { return string(exchange.AppendDecimal(nil, uint64(units))) }
