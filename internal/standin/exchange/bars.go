package exchange

import (
	"context"
	"sort"
	"sync"
	"sync/atomic"
)

// Klines, tickers and average prices come from bars: the sums of a symbol's aggregated trades (or of
// its trades, if it has no aggregated ones) over a minute or a quarter of an hour. The bars of an hour
// are computed when they are first needed and kept, so that repeated requests are cheap. The sums are
// exact.

const (
	secondMicros = int64(1_000_000)
	minute       = 60 * secondMicros
	quarter      = 15 * minute
	hour         = 60 * minute
	day          = 24 * hour
	maxBars      = 1 << 21 // that are kept, of all symbols; a bar takes 144 bytes
	rowsPerRead  = 4096
)

// bar sums the rows of [start, start + a width). Prices and quantities are in units of 1e-8.
type bar struct {
	start                  int64
	open, high, low, close uint64
	lastQty                uint64
	volume, buyVolume      total // in units of 1e-8; buy: the taker bought
	quote, buyQuote        total // in units of 1e-16
	firstID, lastID        int64 // of trades
	count                  int64 // of trades
	lastAt                 int64 // TradedAt of the last row
}

func (b *bar) add(r *Row) {
	price, qty := parseDecimal(r.Price), parseDecimal(r.Qty)
	one := bar{
		open: price, high: price, low: price, close: price, lastQty: qty, volume: total{lo: qty}, quote: product(price, qty),
		firstID: r.FirstTradeID, lastID: r.LastTradeID, count: r.LastTradeID - r.FirstTradeID + 1, lastAt: r.TradedAt,
	}
	if !r.BuyerMaker {
		one.buyVolume, one.buyQuote = one.volume, one.quote
	}
	b.merge(&one)
}

// merge adds a later bar. It keeps b.start.
func (b *bar) merge(o *bar) {
	if o.count == 0 {
		return
	}
	if b.count == 0 {
		start := b.start
		*b = *o
		b.start = start
		return
	}
	b.high, b.low = max(b.high, o.high), min(b.low, o.low)
	b.close, b.lastQty, b.lastID, b.lastAt = o.close, o.lastQty, o.lastID, o.lastAt
	b.volume, b.buyVolume = b.volume.plus(o.volume), b.buyVolume.plus(o.buyVolume)
	b.quote, b.buyQuote = b.quote.plus(o.quote), b.buyQuote.plus(o.buyQuote)
	b.count += o.count
}

// average returns the mean price by volume; 0 if nothing was traded.
func (b *bar) average() uint64 {
	if b.volume.hi > 0 || b.volume.lo == 0 {
		return b.close // a volume that large is of a token without a price
	}
	return b.quote.over(b.volume.lo)
}

// bars keeps what was computed.
type bars struct {
	server *Server
	held   atomic.Int64 // bars
	uses   atomic.Int64

	mu    sync.Mutex
	hours map[barKey]*barHour
}

// barKey names the bars of one width in an hour.
type barKey struct {
	symbol       string
	width, start int64
}

// barHour has a bar for each width in which the symbol traded, in ascending order.
type barHour struct {
	lastUse atomic.Int64

	mu        sync.Mutex
	bars      []bar
	nextID    int64 // of the row that comes next
	begun     bool  // nextID is known
	complete  bool  // a later row was seen
	forgotten bool  // no longer counted in bars.held
}

// basis returns the sequence that a symbol's bars and its book are made from.
func (s *Server) basis(symbol string) Kind {
	if _, ok := s.source.LastReleased(symbol, AggTrade, s.now.Load()); ok {
		return AggTrade
	}
	return Trade
}

// eachBar calls f with the bars of a width (a minute or a quarter) that start in [from, to), in
// ascending order and without those that are empty. It stops early if ctx ends.
func (s *Server) eachBar(ctx context.Context, symbol string, width, from, to int64, f func(*bar)) {
	kind := s.basis(symbol)
	for at := from / hour * hour; at < to && ctx.Err() == nil; at += hour {
		h := s.bars.hour(barKey{symbol, width, at})
		h.mu.Lock()
		s.bars.extend(h, symbol, kind, width, at)
		first := sort.Search(len(h.bars), func(i int) bool { return h.bars[i].start >= from })
		for i := first; i < len(h.bars) && h.bars[i].start < to; i++ {
			f(&h.bars[i])
		}
		h.mu.Unlock()
	}
}

// sum returns the bar of [from, to), where from is on a minute and to has been released.
func (s *Server) sum(ctx context.Context, symbol string, from, to int64) (b bar) {
	b.start = from
	whole := to / minute * minute
	coarse := min(whole, (from+quarter-1)/quarter*quarter)
	s.eachBar(ctx, symbol, minute, from, coarse, b.merge)
	fine := max(coarse, whole/quarter*quarter)
	s.eachBar(ctx, symbol, quarter, coarse, fine, b.merge)
	s.eachBar(ctx, symbol, minute, fine, whole, b.merge)
	if whole < to {
		s.eachRow(symbol, s.basis(symbol), whole, to, b.add)
	}
	return b
}

// eachRow calls f with the released rows of a symbol that were traded in [from, to).
func (s *Server) eachRow(symbol string, kind Kind, from, to int64, f func(*Row)) {
	if first, ok := s.source.FirstAt(symbol, kind, from); ok {
		s.rowsUntil(symbol, kind, first, to, f)
	}
}

// rowsUntil calls f with the released rows from an id on that were traded before a time. It returns the
// id that comes next, and whether a later row was released, so that none will be added to these.
func (s *Server) rowsUntil(symbol string, kind Kind, next, to int64, f func(*Row)) (after int64, complete bool) {
	released, ok := s.source.LastReleased(symbol, kind, s.now.Load())
	if !ok {
		return next, false
	}
	last, ok := s.source.LastBefore(symbol, kind, to)
	if !ok {
		return next, released >= next
	}
	complete, last = released > last, min(last, released)
	var rows []Row
	for next <= last {
		rows = upTo(last, s.source.Rows(rows[:0], symbol, kind, next, int(min(rowsPerRead, last-next+1))))
		if len(rows) == 0 {
			break
		}
		for i := range rows {
			f(&rows[i])
		}
		next = rows[len(rows)-1].ID + 1
	}
	return max(next, last+1), complete
}

// hour returns the entry of an hour, and forgets those that were not used for the longest time if too
// many bars are kept.
func (b *bars) hour(key barKey) *barHour {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hours[key]
	if h == nil {
		if b.held.Load() > maxBars {
			b.forget()
		}
		h = &barHour{}
		b.hours[key] = h
	}
	h.lastUse.Store(b.uses.Add(1))
	return h
}

// forget removes the older half of the hours. mu is held.
func (b *bars) forget() {
	oldest := b.uses.Load()
	for _, h := range b.hours {
		oldest = min(oldest, h.lastUse.Load())
	}
	limit := oldest + (b.uses.Load()-oldest)/2
	for key, h := range b.hours {
		if h.lastUse.Load() <= limit {
			h.mu.Lock()
			b.held.Add(-int64(len(h.bars)))
			h.forgotten = true
			h.mu.Unlock()
			delete(b.hours, key)
		}
	}
}

// extend adds the rows that were released since the last call. h.mu is held.
func (b *bars) extend(h *barHour, symbol string, kind Kind, width, start int64) {
	if h.complete {
		return
	}
	s := b.server
	if !h.begun {
		if h.nextID, h.begun = s.source.FirstAt(symbol, kind, start); !h.begun {
			return
		}
	}
	before := len(h.bars)
	h.nextID, h.complete = s.rowsUntil(symbol, kind, h.nextID, start+hour, func(r *Row) {
		at := r.TradedAt / width * width
		if n := len(h.bars); n == 0 || h.bars[n-1].start < at {
			h.bars = append(h.bars, bar{start: at})
		}
		h.bars[len(h.bars)-1].add(r)
	})
	if !h.forgotten {
		b.held.Add(int64(len(h.bars) - before))
	}
}
