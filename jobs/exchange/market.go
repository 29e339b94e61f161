package exchange

import (
	"cmp"
	"slices"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/standin/market"
)

// marketSource lets the stand-in trade a simulated market. A row is released when it is traded.
type marketSource struct {
	market  *market.Market
	symbols []exchange.Symbol

	// What Between uses; the server asks for one slice of time at a time.
	rows  []market.Row
	next  [2]map[int]int64 // by kind and symbol: the id to go on with
	until [2]int64         // by kind: how far Between has come
}

func newMarketSource(m *market.Market) *marketSource {
	s := &marketSource{market: m}
	for _, symbol := range m.Symbols() {
		listed := int64(0)
		if !symbol.ListedAt.IsZero() {
			listed = symbol.ListedAt.UnixMicro()
		}
		s.symbols = append(s.symbols, exchange.Symbol{
			Name: symbol.Name, Base: symbol.Base, Quote: symbol.Quote, Status: symbol.Status,
			TickSize: symbol.TickSize, StepSize: symbol.StepSize, MinNotional: symbol.MinNotional,
			ListedAt: listed,
		})
	}
	for i := range s.next {
		s.next[i] = map[int]int64{}
	}
	return s
}

func marketKind(kind exchange.Kind) market.Kind {
	if kind == exchange.AggTrade {
		return market.AggTrades
	}
	return market.Trades
}

func fromMarket(r *market.Row) exchange.Row {
	return exchange.Row{
		ID: r.ID, FirstTradeID: r.FirstTradeID, LastTradeID: r.LastTradeID, Price: r.Price, Qty: r.Qty,
		TradedAt: r.Time, BuyerMaker: r.BuyerMaker,
	}
}

// Symbols implements exchange.Source.
func (s *marketSource) Symbols() []exchange.Symbol { return s.symbols }

// Release implements exchange.Source.
func (s *marketSource) Release(until int64) { s.market.Extend(time.UnixMicro(until + 1)) }

// Rows implements exchange.Source.
func (s *marketSource) Rows(dst []exchange.Row, symbol string, kind exchange.Kind, fromID int64, limit int) []exchange.Row {
	for _, r := range s.market.Rows(symbol, marketKind(kind), fromID, limit) {
		dst = append(dst, fromMarket(&r))
	}
	return dst
}

// FirstAt implements exchange.Source.
func (s *marketSource) FirstAt(symbol string, kind exchange.Kind, at int64) (int64, bool) {
	return s.market.FirstAt(symbol, marketKind(kind), time.UnixMicro(at))
}

// LastBefore implements exchange.Source.
func (s *marketSource) LastBefore(symbol string, kind exchange.Kind, at int64) (int64, bool) {
	return s.market.LastBefore(symbol, marketKind(kind), time.UnixMicro(at))
}

// LastReleased implements exchange.Source.
func (s *marketSource) LastReleased(symbol string, kind exchange.Kind, at int64) (int64, bool) {
	return s.LastBefore(symbol, kind, at+1)
}

// Between implements exchange.Source.
func (s *marketSource) Between(dst []exchange.Event, kind exchange.Kind, after, until int64) []exchange.Event {
	const page = 256
	k := marketKind(kind)
	if s.until[k] != after {
		clear(s.next[k]) // time has passed in which nobody listened
	}
	s.until[k] = until
	from := len(dst)
	for i := range s.symbols {
		name := s.symbols[i].Name
		next, known := s.next[k][i]
		if !known {
			if last, ok := s.LastReleased(name, kind, after); ok {
				next = last + 1
			}
		}
		for more := true; more; {
			s.rows = s.market.AppendRows(s.rows[:0], name, k, next, page)
			more = len(s.rows) == page
			for j := range s.rows {
				r := &s.rows[j]
				if r.Time > until {
					more = false
					break
				}
				next = r.ID + 1
				dst = append(dst, exchange.Event{Symbol: i, Row: fromMarket(r)})
			}
		}
		s.next[k][i] = next
	}
	slices.SortFunc(dst[from:], func(a, b exchange.Event) int {
		return cmp.Or(cmp.Compare(a.TradedAt, b.TradedAt), cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.ID, b.ID))
	})
	return dst
}

// Span implements exchange.Source: the market never ends.
func (s *marketSource) Span() (first, last int64) {
	first = s.market.Horizon().UnixMicro()
	for _, symbol := range s.symbols {
		if id, ok := s.FirstAt(symbol.Name, exchange.AggTrade, 0); ok {
			if rows := s.market.Rows(symbol.Name, market.AggTrades, id, 1); len(rows) == 1 {
				first = min(first, rows[0].Time)
			}
		}
	}
	return first, exchange.Endless
}
