package exchange

import (
	"cmp"
	"strconv"
)

// A book has one level on each side, made from the last row: its price is the side that it took from,
// the other side is a tick away, and both have its quantity. A row is one update of the book, and its
// id is the update's. Where the ids have gaps, an update covers them, so that each update of the stream
// begins after the one before.

// book is the state of a symbol's book after a row. It is empty if id is 0.
type book struct {
	id       int64
	bid, ask uint64 // bid is 0 if there is no price below the ask
	qty      uint64
}

func bookOf(symbol *Symbol, r *Row) book {
	tick := max(1, parseDecimal(cmp.Or(symbol.TickSize, "0.00000001")))
	b := book{id: r.ID, qty: parseDecimal(r.Qty)}
	if price := parseDecimal(r.Price); r.BuyerMaker { // the taker sold at the bid
		b.bid, b.ask = price, price+tick
	} else {
		b.bid, b.ask = price-min(price, tick), price
	}
	return b
}

// bookAt returns the book after the last row that was released until a time.
func (s *Server) bookAt(symbol *Symbol, at int64) book {
	kind := s.basis(symbol.Name)
	id, ok := s.source.LastReleased(symbol.Name, kind, at)
	if !ok {
		return book{}
	}
	rows := s.source.Rows(nil, symbol.Name, kind, id, 1)
	if len(rows) == 0 {
		return book{}
	}
	return bookOf(symbol, &rows[0])
}

// levels appends a side of the book as an array of levels.
func (b book) levels(dst []byte, price uint64) []byte {
	if b.id == 0 || price == 0 {
		return append(dst, "[]"...)
	}
	return append(appendLevel(append(dst, '['), price, b.qty), ']')
}

func appendLevel(dst []byte, price, qty uint64) []byte {
	dst = appendQuoted(append(dst, '['), price)
	return append(appendQuoted(append(dst, ','), qty), ']')
}

// appendSnapshot appends the answer of /api/v3/depth, which is also the payload of partial depth.
func (b book) appendSnapshot(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"lastUpdateId":`...), b.id, 10)
	dst = b.levels(append(dst, `,"bids":`...), b.bid)
	return append(b.levels(append(dst, `,"asks":`...), b.ask), '}')
}

// appendTop appends the best bid and ask under the given names.
func (b book) appendTop(dst []byte, bid, bidQty, ask, askQty string) []byte {
	bidSize := b.qty
	if b.bid == 0 {
		bidSize = 0
	}
	return appendFields(dst, field{bid, b.bid}, field{bidQty, bidSize}, field{ask, b.ask}, field{askQty, b.qty})
}

// updates returns the rows that were released in (after, until].
func (s *Server) updates(symbol *Symbol, after, until int64) (first int64, rows []Row) {
	kind := s.basis(symbol.Name)
	last, ok := s.source.LastReleased(symbol.Name, kind, until)
	if !ok {
		return 0, nil
	}
	before, _ := s.source.LastReleased(symbol.Name, kind, after)
	first = before + 1
	if last < first {
		return 0, nil
	}
	return first, upTo(last, s.source.Rows(nil, symbol.Name, kind, first, int(last-first+1)))
}

// depthUpdate returns the payload of the diff depth stream for (after, until], or nil if nothing changed.
// It removes each level that was in the book meanwhile, so that it can be applied to a snapshot of any
// of the updates that it covers.
func (s *Server) depthUpdate(symbol *Symbol, after, until int64, micro bool) []byte {
	first, rows := s.updates(symbol, after, until)
	if len(rows) == 0 {
		return nil
	}
	last := bookOf(symbol, &rows[len(rows)-1])
	books := []book{s.bookAt(symbol, after)}
	for i := range rows {
		books = append(books, bookOf(symbol, &rows[i]))
	}
	dst := appendTime([]byte(`{"e":"depthUpdate","E":`), until, micro)
	dst = appendString(append(dst, `,"s":`...), symbol.Name)
	dst = strconv.AppendInt(append(dst, `,"U":`...), first, 10)
	dst = strconv.AppendInt(append(dst, `,"u":`...), last.id, 10)
	for _, side := range []struct {
		name  string
		price func(book) uint64
	}{{"b", func(b book) uint64 { return b.bid }}, {"a", func(b book) uint64 { return b.ask }}} {
		dst = appendTexts(dst, `,"`, side.name, `":[`)
		written := map[uint64]bool{0: true}
		comma := ""
		for i := len(books) - 1; i >= 0; i-- {
			price, qty := side.price(books[i]), uint64(0)
			if written[price] {
				continue
			}
			if price == side.price(last) {
				qty = last.qty
			}
			written[price] = true
			dst = appendLevel(append(dst, comma...), price, qty)
			comma = ","
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// bookTickers returns the payloads of <symbol>@bookTicker for (after, until].
func (s *Server) bookTickers(symbol *Symbol, after, until int64) (payloads [][]byte) {
	_, rows := s.updates(symbol, after, until)
	for i := range rows {
		b := bookOf(symbol, &rows[i])
		dst := strconv.AppendInt([]byte(`{"u":`), b.id, 10)
		dst = appendString(append(dst, `,"s":`...), symbol.Name)
		payloads = append(payloads, append(b.appendTop(dst, "b", "B", "a", "A"), '}'))
	}
	return payloads
}

// depth is /api/v3/depth. The limit is 100 by default and 5000 at most.
func (s *Server) depth(q *query) []byte {
	name := q.symbol()
	if n, present := q.number("limit"); present && n == 0 {
		q.reject(-1130, "Data sent for parameter 'limit' is not valid.")
	}
	status := q.status()
	if !q.end() {
		return nil
	}
	symbols := q.withStatus(q.listed(name, nil), status, true)
	if q.fail != nil {
		return nil
	}
	return s.bookAt(&symbols[0], s.now.Load()).appendSnapshot(nil)
}
