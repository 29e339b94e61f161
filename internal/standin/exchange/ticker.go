package exchange

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
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
	byName map[string]*ticker // by symbol
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

func (s *Server) ticker24h(q *query) []byte {
	one, several := q.symbols()
	form, hasForm := q.text("type")
	if hasForm && form != "FULL" && form != "MINI" {
		q.reject(-1139, "Invalid ticker type.")
	}
	if !q.end() {
		return nil
	}
	symbols := q.listed(one, several)
	if q.fail != nil {
		return nil
	}
	appendOne := func(dst []byte, symbol *Symbol) []byte {
		return s.appendTicker(dst, symbol.Name, form == "MINI", q.micro)
	}
	if one != "" {
		return appendOne(nil, &symbols[0])
	}
	return appendList(nil, symbols, appendOne)
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
	t := s.tickers.byName[symbol]
	if t == nil {
		before, _ := s.source.LastBefore(symbol, kind, from/minute*minute)
		t = &ticker{nextID: before + 1}
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
	count := b.lastID - b.firstID + 1
	if !found {
		b.firstID, b.lastID, count = -1, -1, 0
	}
	average, percent := 0.0, 0.0
	if b.volume > 0 {
		average = b.quoteVolume / b.volume
	}
	change := float64(b.close) - float64(b.open)
	if b.open > 0 {
		percent = 100 * change / float64(b.open)
	}
	price := func(n uint64) []byte { return AppendDecimal(nil, n) }
	last := price(b.close)
	dst = appendString(append(dst, `{"symbol":`...), symbol)
	if !mini {
		dst = fmt.Appendf(dst, `,"priceChange":"%.8f","priceChangePercent":"%.3f","weightedAvgPrice":"%.8f","prevClosePrice":"%s",`+
			`"lastPrice":"%s","lastQty":"%s","bidPrice":"%[5]s","bidQty":"%[6]s","askPrice":"%[5]s","askQty":"%[6]s"`,
			change/unit, percent, average, price(b.open), last, price(b.lastQty))
	}
	dst = fmt.Appendf(dst, `,"openPrice":"%s","highPrice":"%s","lowPrice":"%s"`, price(b.open), price(b.high), price(b.low))
	if mini {
		dst = appendTexts(dst, `,"lastPrice":"`, string(last), `"`)
	}
	dst = fmt.Appendf(dst, `,"volume":"%.8f","quoteVolume":"%.8f","openTime":`, b.volume, b.quoteVolume)
	dst = appendTime(dst, now-day, micro)
	dst = appendTime(append(dst, `,"closeTime":`...), now, micro)
	return fmt.Appendf(dst, `,"firstId":%d,"lastId":%d,"count":%d}`, b.firstID, b.lastID, count)
}
