package exchange

import (
	"fmt"
	"math"
	"sort"
	"time"
)

// Steady is a source of trades at a constant rate, with the symbols in turn. It is for measurements:
// it costs next to no time and memory, however many rows there are. Each aggregated trade is one
// trade. Every row is a function of its number, so that two processes with the same settings agree.
type Steady struct {
	symbols []Symbol
	byName  map[string]int
	begin   int64   // µs
	spacing float64 // µs between rows
	rows    int64   // of all symbols; endlessRows if it never ends
}

const (
	endlessRows = 1 << 62 // room for sums with it

	steadyFirstAgg   = 1_000_001
	steadyFirstTrade = 5_000_001
)

// NewSteady creates a source with symbols B0001USDT, B0002USDT and so on, which together trade
// perSecond times a second from begin on. length is how long they trade; 0 means forever.
func NewSteady(symbols int, perSecond float64, begin time.Time, length time.Duration) (*Steady, error) {
	if symbols < 1 || symbols > 9999 || !(perSecond > 0) || perSecond > 1e7 {
		return nil, fmt.Errorf("%d symbols at %g trades a second: the limits are 1 to 9999 symbols and 10000000 trades", symbols, perSecond)
	}
	s := &Steady{byName: map[string]int{}, begin: begin.UnixMicro(), spacing: 1e6 / perSecond, rows: endlessRows}
	for i := range symbols {
		name := fmt.Sprintf("B%04dUSDT", i+1)
		s.byName[name] = i
		s.symbols = append(s.symbols, Symbol{
			Name: name, Base: name[:5], Quote: "USDT", TickSize: "0.01000000", StepSize: "0.00010000", MinNotional: "5.00000000",
		})
	}
	if length > 0 {
		s.rows = int64(math.Ceil(float64(length.Microseconds()) / s.spacing))
	}
	return s, nil
}

// at returns when a row trades. Rows of all symbols are numbered together, from 0.
func (s *Steady) at(number int64) int64 { return s.begin + int64(float64(number)*s.spacing) }

// after returns the number of the first row that trades after a time.
func (s *Steady) after(at int64) int64 {
	if at < s.begin {
		return 0
	}
	guess := int64(float64(at-s.begin)/s.spacing) - 2
	return min(s.rows, max(0, guess)+int64(sort.Search(5, func(i int) bool { return s.at(max(0, guess)+int64(i)) > at })))
}

func (s *Steady) row(kind Kind, number int64) Row {
	symbols := int64(len(s.symbols))
	n, noise := number/symbols, Mix(uint64(number))
	price := 100_00 + 37_00*(number%symbols) // ticks of 0.01
	price += int64(float64(price)*.02*math.Sin(float64(n)/3000)) + int64(noise%16)
	qty := 1 + noise>>8%400 // steps of 0.0001
	if noise>>20%16 == 0 {
		qty *= 1 + noise>>24%200
	}
	r := Row{
		ID: firstID(kind) + n, FirstTradeID: steadyFirstTrade + n, LastTradeID: steadyFirstTrade + n,
		TradedAt: s.at(number), BuyerMaker: noise>>40&1 == 0,
	}
	var text [64]byte
	digits := AppendDecimal(text[:0], uint64(price)*(unit/100))
	split := len(digits)
	digits = AppendDecimal(digits, qty*(unit/10_000))
	both := string(digits)
	r.Price, r.Qty = both[:split], both[split:]
	return r
}

func firstID(kind Kind) int64 {
	if kind == AggTrade {
		return steadyFirstAgg
	}
	return steadyFirstTrade
}

// count returns how many of the first rows belong to a symbol.
func (s *Steady) count(symbol int, rows int64) int64 {
	return (rows - int64(symbol) + int64(len(s.symbols)) - 1) / int64(len(s.symbols))
}

// Symbols implements Source.
func (s *Steady) Symbols() []Symbol { return s.symbols }

// Release implements Source.
func (s *Steady) Release(int64) {}

// Rows implements Source.
func (s *Steady) Rows(dst []Row, symbol string, kind Kind, fromID int64, limit int) []Row {
	i, ok := s.byName[symbol]
	if !ok {
		return dst
	}
	symbols := int64(len(s.symbols))
	for n := max(0, fromID-firstID(kind)); limit > 0 && n < s.count(i, s.rows); n++ {
		dst = append(dst, s.row(kind, n*symbols+int64(i)))
		limit--
	}
	return dst
}

// search returns how many rows of a symbol trade before a time, and how many it has: 0 and 0 if it is
// unknown.
func (s *Steady) search(symbol string, at int64) (before, all int64) {
	i, ok := s.byName[symbol]
	if !ok {
		return 0, 0
	}
	return s.count(i, s.after(at-1)), s.count(i, s.rows)
}

// FirstAt implements Source.
func (s *Steady) FirstAt(symbol string, kind Kind, at int64) (int64, bool) {
	before, all := s.search(symbol, at)
	if before == all {
		return 0, false
	}
	return firstID(kind) + before, true
}

// LastBefore implements Source.
func (s *Steady) LastBefore(symbol string, kind Kind, at int64) (int64, bool) {
	before, _ := s.search(symbol, at)
	if before == 0 {
		return 0, false
	}
	return firstID(kind) + before - 1, true
}

// LastReleased implements Source.
func (s *Steady) LastReleased(symbol string, kind Kind, at int64) (int64, bool) {
	return s.LastBefore(symbol, kind, at+1)
}

// Between implements Source.
func (s *Steady) Between(dst []Event, kind Kind, after, until int64) []Event {
	symbols := int64(len(s.symbols))
	for number, end := s.after(after), s.after(until); number < end; number++ {
		dst = append(dst, Event{Symbol: int(number % symbols), Row: s.row(kind, number)})
	}
	return dst
}

// Span implements Source.
func (s *Steady) Span() (first, last int64) {
	if s.rows == endlessRows {
		return s.begin, Endless
	}
	return s.begin, s.at(s.rows - 1)
}
