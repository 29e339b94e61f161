package market

import (
	"iter"
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

func (l *rowList) at(i int) *row { return &l.chunks[i/chunkRows][i%chunkRows] }

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
	for l.visible < l.rows && l.at(l.visible).time < end {
		l.visible++
	}
}

// searchTime returns the index of the first visible row at or after a time, or visible.
func (l *rowList) searchTime(at int64) int {
	if l.visible == 0 || l.at(l.visible-1).time < at {
		return l.visible // the usual answer for a pair that did not trade in this slice of time
	}
	return sort.Search(l.visible, func(i int) bool { return l.at(i).time >= at })
}

func (p *pair) visibleAggTrades(fromID int64, limit int) iter.Seq[exchange.Row] {
	return func(yield func(exchange.Row) bool) {
		from := max(fromID, p.firstAgg) - p.firstAgg
		for i := int(min(from, int64(p.rows.visible))); i < p.rows.visible && limit > 0; i++ {
			r := p.rows.at(i)
			price, qty := p.decimals(r.price, r.qty)
			first := p.firstTrade + int64(r.firstTrade)
			if !yield(exchange.Row{
				ID: p.firstAgg + int64(i), FirstTradeID: first, LastTradeID: first + int64(r.makers) - 1,
				Price: price, Qty: qty, TradedAt: r.time, BuyerMaker: r.sell,
			}) {
				return
			}
			limit--
		}
	}
}

func (p *pair) visibleTrades(fromID int64, limit int) iter.Seq[exchange.Row] {
	return func(yield func(exchange.Row) bool) {
		from := max(fromID, p.firstTrade) - p.firstTrade
		// The row that holds the trade is the last one that does not start after it.
		i := sort.Search(p.rows.visible, func(i int) bool { return int64(p.rows.at(i).firstTrade) > from }) - 1
		for ; i >= 0 && i < p.rows.visible && limit > 0; i++ {
			r := p.rows.at(i)
			s := splitter{state: p.salt ^ uint64(i)*0x9e3779b97f4a7c15, steps: r.qty, makers: int64(r.makers)}
			for n := range int64(r.makers) {
				steps := s.next()
				if int64(r.firstTrade)+n < from || limit == 0 {
					continue
				}
				price, qty := p.decimals(r.price, steps)
				id := p.firstTrade + int64(r.firstTrade) + n
				if !yield(exchange.Row{
					ID: id, FirstTradeID: id, LastTradeID: id, Price: price, Qty: qty, TradedAt: r.time, BuyerMaker: r.sell,
				}) {
					return
				}
				limit--
			}
		}
	}
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

// mix is the SplitMix64 step: Steele, Lea and Flood, "Fast splittable pseudorandom number
// generators", 2014.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// decimals prints a price and a quantity, both as parts of one allocation.
func (p *pair) decimals(ticks, steps int64) (price, qty string) {
	var buffer [48]byte
	text := exchange.AppendDecimal(buffer[:0], uint64(ticks*p.spec.tick))
	n := len(text)
	both := string(exchange.AppendDecimal(text, uint64(steps*p.spec.step)))
	return both[:n], both[n:]
}

func decimal(units int64) string { return string(exchange.AppendDecimal(nil, uint64(units))) }
