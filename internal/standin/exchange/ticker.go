package exchange

import (
	"encoding/json"
	"math"
	"net/url"
	"strconv"
	"sync"
)

// The rolling 24 hours of a symbol come from its aggregated trades, or from its trades if it has none.
// They are kept in minutes, so that repeated requests are cheap; the window may therefore begin up to
// a minute earlier.

const (
	minute = 60 * 1_000_000
	day    = 24 * 60 * minute
)

// bar is one minute. Prices and quantities are hundred-millionths; volumes are float64, because a
// token's can be huge.
type bar struct {
	start                  int64
	open, high, low, close uint64
	lastQty                uint64
	volume, quoteVolume    float64
	firstID, lastID        int64
}

type tickers struct {
	mu     sync.Mutex
	byName map[string]*ticker
}

type ticker struct {
	bars   []bar
	nextID int64
}

func tickerWeight(q url.Values) int64 {
	if q.Has("symbol") {
		return 2
	}
	var names []string
	if q.Has("symbols") && json.Unmarshal([]byte(q.Get("symbols")), &names) == nil {
		switch n := len(names); {
		case n <= 20:
			return 2
		case n <= 100:
			return 40
		}
	}
	return 80
}

func (s *Server) ticker24h(q *query) ([]byte, *failure) {
	one, hasOne := q.text("symbol")
	names, hasNames := q.symbols("symbols")
	form, hasForm := q.text("type")
	if hasForm && form != "FULL" && form != "MINI" {
		q.reject(-1139, "Invalid ticker type.")
	}
	if fail := q.end(); fail != nil {
		return nil, fail
	}
	if hasOne && hasNames {
		return nil, badRequest(-1128, "Combination of optional parameters invalid.")
	}
	if hasOne {
		if q.checkListed(one); q.fail != nil {
			return nil, q.fail
		}
		return s.appendTicker(nil, one, form == "MINI", q.micro), nil
	}
	if !hasNames {
		for _, symbol := range s.hub.symbols {
			if s.isListed(symbol.Name) {
				names = append(names, symbol.Name)
			}
		}
	}
	body := []byte{'['}
	for i, name := range names {
		if !s.isListed(name) {
			return nil, badRequest(-1121, "Invalid symbol.")
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = s.appendTicker(body, name, form == "MINI", q.micro)
	}
	return append(body, ']'), nil
}

// last24h sums a symbol's last 24 hours. found is false if it did not trade.
func (s *Server) last24h(symbol string) (sum bar, found bool) {
	kind := AggTrade
	now := s.now.Load()
	if _, ok := s.source.LastReleased(symbol, kind, now); !ok {
		kind = Trade
	}
	from := now - day
	s.tickers.mu.Lock()
	defer s.tickers.mu.Unlock()
	if s.tickers.byName == nil {
		s.tickers.byName = map[string]*ticker{}
	}
	t := s.tickers.byName[symbol]
	if t == nil {
		t = &ticker{}
		first, ok := s.source.FirstAt(symbol, kind, from/minute*minute)
		if !ok {
			last, _ := s.source.LastReleased(symbol, kind, now)
			first = last + 1
		}
		t.nextID = first
		s.tickers.byName[symbol] = t
	}
	for {
		rows := s.page(symbol, kind, t.nextID, 1000)
		for i := range rows {
			t.add(&rows[i])
		}
		if len(rows) < 1000 {
			break
		}
	}
	for len(t.bars) > 0 && t.bars[0].start+minute <= from {
		t.bars = t.bars[1:]
	}
	for i, b := range t.bars {
		if i == 0 {
			sum = b
			continue
		}
		sum.high, sum.low, sum.close, sum.lastQty = max(sum.high, b.high), min(sum.low, b.low), b.close, b.lastQty
		sum.volume += b.volume
		sum.quoteVolume += b.quoteVolume
		sum.lastID = b.lastID
	}
	return sum, len(t.bars) > 0
}

func (t *ticker) add(r *Row) {
	t.nextID = r.ID + 1
	price, qty := parseDecimal(r.Price), parseDecimal(r.Qty)
	start := r.TradedAt / minute * minute
	if n := len(t.bars); n == 0 || t.bars[n-1].start < start {
		t.bars = append(t.bars, bar{start: start, open: price, high: price, low: math.MaxUint64, firstID: r.FirstTradeID})
	}
	b := &t.bars[len(t.bars)-1]
	b.high, b.low, b.close, b.lastQty = max(b.high, price), min(b.low, price), price, qty
	b.volume += float64(qty) / unit
	b.quoteVolume += float64(price) / unit * float64(qty) / unit
	b.lastID = r.LastTradeID
}

func (s *Server) appendTicker(dst []byte, symbol string, mini, micro bool) []byte {
	b, found := s.last24h(symbol)
	now := s.now.Load()
	price := func(key string, n uint64) {
		dst = append(dst, key...)
		dst = append(AppendDecimal(append(dst, '"'), n), '"')
	}
	float := func(key string, x float64, digits int) {
		dst = append(dst, key...)
		dst = append(strconv.AppendFloat(append(dst, '"'), x, 'f', digits, 64), '"')
	}
	integer := func(key string, n int64) {
		dst = append(dst, key...)
		dst = strconv.AppendInt(dst, n, 10)
	}
	if !found {
		b.firstID, b.lastID = -1, -1
	}
	average, percent := 0.0, 0.0
	if b.volume > 0 {
		average = b.quoteVolume / b.volume
	}
	change := float64(b.close) - float64(b.open)
	if b.open > 0 {
		percent = 100 * change / float64(b.open)
	}
	dst = appendString(append(dst, `{"symbol":`...), symbol)
	if !mini {
		float(`,"priceChange":`, change/unit, 8)
		float(`,"priceChangePercent":`, percent, 3)
		float(`,"weightedAvgPrice":`, average, 8)
		price(`,"prevClosePrice":`, b.open)
		price(`,"lastPrice":`, b.close)
		price(`,"lastQty":`, b.lastQty)
		price(`,"bidPrice":`, b.close)
		price(`,"bidQty":`, b.lastQty)
		price(`,"askPrice":`, b.close)
		price(`,"askQty":`, b.lastQty)
	}
	price(`,"openPrice":`, b.open)
	price(`,"highPrice":`, b.high)
	price(`,"lowPrice":`, b.low)
	if mini {
		price(`,"lastPrice":`, b.close)
	}
	float(`,"volume":`, b.volume, 8)
	float(`,"quoteVolume":`, b.quoteVolume, 8)
	dst = appendTime(append(dst, `,"openTime":`...), now-day, micro)
	dst = appendTime(append(dst, `,"closeTime":`...), now, micro)
	integer(`,"firstId":`, b.firstID)
	integer(`,"lastId":`, b.lastID)
	count := b.lastID - b.firstID + 1
	if !found {
		count = 0
	}
	integer(`,"count":`, count)
	return append(dst, '}')
}
