package market

import (
	"math/bits"
	"sort"
)

// chunkRows is how many rows are allocated at once: 16 KiB, so that two thousand thin symbols stay small.
const chunkRows = 512

// row is an aggregated trade in 32 bytes. Its raw trades are not stored: split derives them.
type row struct {
	time   int64 // µs
	price  int64 // ticks
	qty    int64 // steps
	raw    uint32
	makers uint16 // raw trades in this row
	sell   bool   // the taker sold
}

// tape is the rows of one pair in chunks, so that growing moves nothing.
type tape struct {
	chunks  [][]row
	rows    int
	visible int
}

func (t *tape) at(i int) *row { return &t.chunks[i/chunkRows][i%chunkRows] }

func (t *tape) append(r row) {
	if t.rows%chunkRows == 0 {
		var chunk []row
		if t.rows > 0 {
			chunk = make([]row, 0, chunkRows) // the first one grows: most made-up symbols trade little
		}
		t.chunks = append(t.chunks, chunk)
	}
	last := &t.chunks[len(t.chunks)-1]
	*last = append(*last, r)
	t.rows++
}

// reveal makes the rows before end visible.
func (t *tape) reveal(end int64) {
	for t.visible < t.rows && t.at(t.visible).time < end {
		t.visible++
	}
}

// searchTime is the index of the first visible row at or after a time, or visible.
func (t *tape) searchTime(at int64) int {
	return sort.Search(t.visible, func(i int) bool { return t.at(i).time >= at })
}

func (p *pair) appendAggs(rows []Row, fromID int64, limit int) []Row {
	from := max(fromID, p.firstAgg) - p.firstAgg
	if from >= int64(p.tape.visible) {
		return rows
	}
	end := min(int(from)+min(limit, p.tape.visible), p.tape.visible)
	for i := int(from); i < end; i++ {
		r := p.tape.at(i)
		price, qty := p.texts(r.price, r.qty)
		first := p.firstTrade + int64(r.raw)
		rows = append(rows, Row{
			ID: p.firstAgg + int64(i), FirstTradeID: first, LastTradeID: first + int64(r.makers) - 1,
			Price: price, Qty: qty, Time: r.time, BuyerMaker: r.sell,
		})
	}
	return rows
}

func (p *pair) appendTrades(rows []Row, fromID int64, limit int) []Row {
	if p.tape.visible == 0 {
		return rows
	}
	from := max(fromID, p.firstTrade) - p.firstTrade
	// The row that holds the raw trade: the last one that does not start after it.
	i := sort.Search(p.tape.visible, func(i int) bool { return int64(p.tape.at(i).raw) > from }) - 1
	for ; i < p.tape.visible && limit > 0; i++ {
		r := p.tape.at(i)
		s := splitter{state: p.salt ^ uint64(i)*0x9e3779b97f4a7c15, steps: r.qty, makers: int64(r.makers)}
		for n := range int64(r.makers) {
			steps := s.next()
			if int64(r.raw)+n < from || limit == 0 {
				continue
			}
			price, qty := p.texts(r.price, steps)
			id := p.firstTrade + int64(r.raw) + n
			rows = append(rows, Row{
				ID: id, FirstTradeID: id, LastTradeID: id, Price: price, Qty: qty, Time: r.time, BuyerMaker: r.sell,
			})
			limit--
		}
	}
	return rows
}

// splitter deals the steps of an aggregated trade out to its makers: each gets one at least, and together they get all.
type splitter struct {
	state         uint64
	steps, makers int64 // left
}

func (s *splitter) next() int64 {
	if s.makers == 1 {
		return s.steps
	}
	// Up to twice an even share, and as much less as leaves one for each who comes after.
	most := min(2*s.steps/s.makers, s.steps-s.makers+1)
	s.state = mix(s.state)
	high, _ := bits.Mul64(s.state, uint64(max(most, 1)))
	part := int64(high) + 1
	s.steps -= part
	s.makers--
	return part
}

// mix is the splitmix64 step: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// texts prints a price and a quantity, both cut from one allocation.
func (p *pair) texts(ticks, steps int64) (price, qty string) {
	var buffer [48]byte
	text := appendDecimal(buffer[:0], ticks*p.spec.tick)
	n := len(text)
	both := string(appendDecimal(text, steps*p.spec.step))
	return both[:n], both[n:]
}

// decimal prints a number of hundred-millionths as Binance does: eight places, always.
func decimal(units int64) string { return string(appendDecimal(nil, units)) }

func appendDecimal(text []byte, units int64) []byte {
	whole, rest := units/1e8, units%1e8
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + whole%10)
		if whole /= 10; whole == 0 {
			break
		}
	}
	text = append(append(text, digits[i:]...), '.')
	for unit := int64(1e7); unit > 0; unit /= 10 {
		text = append(text, byte('0'+rest/unit%10))
	}
	return text
}
