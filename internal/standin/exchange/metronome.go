package exchange

import (
	"fmt"
	"math"
	"sort"
	"time"
)

// Metronome is a source of trades at a steady beat, the symbols in turn: for measuring, where it shall cost next to
// nothing, in memory too, however many rows there are. Each aggregated trade is one trade. Every row is a function of
// its number, so that two processes with the same settings agree.
type Metronome struct {
	symbols []Symbol
	byName  map[string]int
	begin   int64   // µs
	apart   float64 // µs between rows
	rows    int64   // of all symbols, math.MaxInt64 where it never ends
}

const (
	metronomeFirstAgg   = 1_000_001
	metronomeFirstTrade = 5_000_001
)

// NewMetronome makes so many symbols, B0001USDT and on, that trade so often a second taken together, from begin and
// for length; 0 means for ever.
func NewMetronome(symbols int, perSecond float64, begin time.Time, length time.Duration) (*Metronome, error) {
	if symbols < 1 || symbols > 9999 || !(perSecond > 0) || perSecond > 1e7 {
		return nil, fmt.Errorf("metronome of %d symbols at %g trades a second: want 1 to 9999 and up to 10000000", symbols, perSecond)
	}
	m := &Metronome{byName: map[string]int{}, begin: begin.UnixMicro(), apart: 1e6 / perSecond, rows: math.MaxInt64}
	for i := range symbols {
		name := fmt.Sprintf("B%04dUSDT", i+1)
		m.byName[name] = i
		m.symbols = append(m.symbols, Symbol{
			Name: name, Base: name[:5], Quote: "USDT", TickSize: "0.01000000", StepSize: "0.00010000", MinNotional: "5.00000000",
		})
	}
	if length > 0 {
		m.rows = int64(math.Ceil(float64(length.Microseconds()) / m.apart))
	}
	return m, nil
}

// at is when a row trades; number counts over all symbols.
func (m *Metronome) at(number int64) int64 { return m.begin + int64(float64(number)*m.apart) }

// after is the number of the first row that trades after a time.
func (m *Metronome) after(at int64) int64 {
	if at < m.begin {
		return 0
	}
	guess := int64(float64(at-m.begin)/m.apart) - 2
	return min(m.rows, max(0, guess)+int64(sort.Search(5, func(i int) bool { return m.at(max(0, guess)+int64(i)) > at })))
}

func (m *Metronome) row(kind Kind, number int64) Row {
	symbols := int64(len(m.symbols))
	n, noise := number/symbols, mix(uint64(number))
	price := 100_00 + 37_00*(number%symbols) // ticks of 0.01
	price += int64(float64(price)*.02*math.Sin(float64(n)/3000)) + int64(noise%16)
	qty := 1 + noise>>8%400 // steps of 0.0001
	if noise>>20%16 == 0 {
		qty *= 1 + noise>>24%200
	}
	r := Row{
		ID: metronomeFirstTrade + n, FirstTradeID: metronomeFirstTrade + n, LastTradeID: metronomeFirstTrade + n,
		TradedAt: m.at(number), BuyerMaker: noise>>40&1 == 0,
	}
	if kind == AggTrade {
		r.ID = metronomeFirstAgg + n
	}
	var text [64]byte
	digits := appendUnits(text[:0], uint64(price)*(unit/100))
	split := len(digits)
	digits = appendUnits(digits, qty*(unit/10_000))
	both := string(digits)
	r.Price, r.Qty = both[:split], both[split:]
	return r
}

func firstID(kind Kind) int64 {
	if kind == AggTrade {
		return metronomeFirstAgg
	}
	return metronomeFirstTrade
}

// count is how many of the first rows are a symbol's.
func (m *Metronome) count(symbol int, rows int64) int64 {
	return (rows - int64(symbol) + int64(len(m.symbols)) - 1) / int64(len(m.symbols))
}

// Symbols implements Source.
func (m *Metronome) Symbols() []Symbol { return m.symbols }

// Release implements Source.
func (m *Metronome) Release(int64) {}

// Rows implements Source.
func (m *Metronome) Rows(dst []Row, symbol string, kind Kind, fromID int64, limit int) []Row {
	i, ok := m.byName[symbol]
	if !ok {
		return dst
	}
	symbols := int64(len(m.symbols))
	for n := max(0, fromID-firstID(kind)); limit > 0; n++ {
		if n > (m.rows-1-int64(i))/symbols {
			break
		}
		dst = append(dst, m.row(kind, n*symbols+int64(i)))
		limit--
	}
	return dst
}

// FirstAt implements Source.
func (m *Metronome) FirstAt(symbol string, kind Kind, at int64) (int64, bool) {
	i, ok := m.byName[symbol]
	if !ok {
		return 0, false
	}
	n := m.count(i, m.after(at-1))
	if n > (m.rows-1-int64(i))/int64(len(m.symbols)) {
		return 0, false
	}
	return firstID(kind) + n, true
}

// LastBefore implements Source.
func (m *Metronome) LastBefore(symbol string, kind Kind, at int64) (int64, bool) {
	i, ok := m.byName[symbol]
	if !ok {
		return 0, false
	}
	n := m.count(i, m.after(at-1))
	if n == 0 {
		return 0, false
	}
	return firstID(kind) + n - 1, true
}

// LastReleased implements Source.
func (m *Metronome) LastReleased(symbol string, kind Kind, at int64) (int64, bool) {
	return m.LastBefore(symbol, kind, at+1)
}

// Between implements Source.
func (m *Metronome) Between(dst []Event, kind Kind, after, until int64) []Event {
	symbols := int64(len(m.symbols))
	for number, end := m.after(after), m.after(until); number < end; number++ {
		dst = append(dst, Event{Symbol: int(number % symbols), Row: m.row(kind, number)})
	}
	return dst
}

// Span implements Source.
func (m *Metronome) Span() (first, last int64) {
	if m.rows == math.MaxInt64 {
		return m.begin, Endless
	}
	return m.begin, m.at(m.rows - 1)
}
