package exchange

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
)

// The tickers of rest-api.md. The rolling 24 hours of ticker/24hr are kept in minutes, so the window may
// begin up to a minute earlier than openTime says.

// weigher returns the weight of a request.
type weigher func(url.Values) int64

func weight(n int64) weigher { return func(url.Values) int64 { return n } }

// symbolCount returns how many symbols a request names; all is true if it names none.
func symbolCount(q url.Values) (n int64, all bool) {
	if q.Has("symbol") {
		return 1, false
	}
	var names []string
	if q.Has("symbols") && json.Unmarshal([]byte(q.Get("symbols")), &names) == nil {
		return int64(len(names)), false
	}
	return 0, true
}

func weighTicker24h(q url.Values) int64 {
	switch n, all := symbolCount(q); {
	case all || n > 100:
		return 80
	case n > 20:
		return 40
	}
	return 2
}

// weighPrice is that of ticker/price and ticker/bookTicker.
func weighPrice(q url.Values) int64 {
	if q.Has("symbol") {
		return 2
	}
	return 4
}

// weighWindow is that of ticker and ticker/tradingDay.
func weighWindow(q url.Values) int64 {
	n, _ := symbolCount(q)
	return min(max(4*n, 4), 200)
}

// weighDepth depends on the number of levels.
func weighDepth(q url.Values) int64 {
	limit, _ := strconv.Atoi(q.Get("limit"))
	switch {
	case limit > 1000:
		return 250
	case limit > 500:
		return 50
	case limit > 100:
		return 25
	}
	return 5
}

// status reads the parameter symbolStatus; empty means all.
func (q *query) status() string {
	status, present := q.text("symbolStatus")
	if present && !slices.Contains([]string{
		"TRADING", "HALT", "BREAK", "CANCEL_ONLY", "PRE_TRADING", "POST_TRADING", "END_OF_DAY", "AUCTION_MATCH",
	}, status) {
		q.reject(-1122, "Invalid symbolStatus.")
	}
	return status
}

// withStatus returns the symbols that have a status. If one symbol was asked for and has another one, it
// fails.
func (q *query) withStatus(symbols []Symbol, status string, one bool) []Symbol {
	if status == "" || q.fail != nil {
		return symbols
	}
	now := q.server.now.Load()
	symbols = slices.DeleteFunc(symbols, func(symbol Symbol) bool { return symbol.statusAt(now) != status })
	if one && len(symbols) == 0 {
		q.reject(-1220, "The symbol's status does not match the requested symbolStatus.")
	}
	return symbols
}

// answerSymbols reads the parameters symbol, symbols and symbolStatus, ends the query, and answers with
// an object for one symbol and an array for several or all.
func (q *query) answerSymbols(mandatory bool, appendOne func([]byte, *Symbol) []byte) []byte {
	one, several := q.symbols()
	if mandatory && one == "" && several == nil {
		q.reject(-1102, "Param 'symbol' or 'symbols' must be sent, but both were empty/null!")
	}
	status := q.status()
	if !q.end() {
		return nil
	}
	symbols := q.withStatus(q.listed(one, several), status, one != "")
	if q.fail != nil {
		return nil
	}
	if one != "" {
		return appendOne(nil, &symbols[0])
	}
	return appendList(nil, symbols, appendOne)
}

// mini reads the parameter type of a ticker.
func (q *query) mini() bool {
	form, present := q.text("type")
	if present && form != "FULL" && form != "MINI" {
		q.reject(-1139, "Invalid ticker type.")
	}
	return form == "MINI"
}

// last24h sums a symbol's last 24 hours until a time.
func (s *Server) last24h(ctx context.Context, symbol string, until int64) bar {
	return s.sum(ctx, symbol, (until-day)/minute*minute, until+1)
}

func (s *Server) ticker24h(q *query) []byte {
	mini := q.mini()
	now := s.now.Load()
	return q.answerSymbols(false, func(dst []byte, symbol *Symbol) []byte {
		b := s.last24h(q.ctx, symbol.Name, now)
		dst = appendString(append(dst, `{"symbol":`...), symbol.Name)
		if !mini {
			dst = b.appendChange(dst, "priceChange", "priceChangePercent", "weightedAvgPrice")
			dst = appendFields(dst, field{"prevClosePrice", b.open}, field{"lastPrice", b.close}, field{"lastQty", b.lastQty})
			dst = s.bookAt(symbol, s.now.Load()).appendTop(dst, "bidPrice", "bidQty", "askPrice", "askQty")
		}
		return b.appendWindow(dst, now-day, now, mini, q.micro)
	})
}

var windowForm = regexp.MustCompile(`^([1-9]|[1-5][0-9])m$|^([1-9]|1[0-9]|2[0-3])h$|^[1-7]d$`)

// parseWindow reads a window size such as 15m, 4h or 7d.
func parseWindow(text string) (length int64, ok bool) {
	if !windowForm.MatchString(text) {
		return 0, false
	}
	n, _ := strconv.ParseInt(text[:len(text)-1], 10, 64)
	return n * map[byte]int64{'m': minute, 'h': hour, 'd': day}[text[len(text)-1]], true
}

// tickerWindow is ticker: a rolling window that begins on a minute.
func (s *Server) tickerWindow(q *query) []byte {
	text, present := q.text("windowSize")
	length, ok := parseWindow(text)
	switch {
	case !present:
		length = day
	case !ok:
		q.reject(-1130, "Data sent for parameter 'windowSize' is not valid.")
	}
	now := s.now.Load()
	return s.answerWindow(q, (now-length)/minute*minute, now, now)
}

// tradingDay is the present day in a time zone.
func (s *Server) tradingDay(q *query) []byte {
	i := interval{length: day, offset: q.zone()}
	now := s.now.Load()
	from := i.open(now, 0)
	return s.answerWindow(q, from, i.open(from, 1)-1000, now)
}

func (s *Server) answerWindow(q *query, from, to, now int64) []byte {
	mini := q.mini()
	return q.answerSymbols(true, func(dst []byte, symbol *Symbol) []byte {
		b := s.sum(q.ctx, symbol.Name, from, now+1)
		dst = appendString(append(dst, `{"symbol":`...), symbol.Name)
		if !mini {
			dst = b.appendChange(dst, "priceChange", "priceChangePercent", "weightedAvgPrice")
		}
		return b.appendWindow(dst, from, to, true, q.micro)
	})
}

// appendChange appends the difference of the last and the first price, the same in percent, and the
// average price.
func (b *bar) appendChange(dst []byte, change, percent, average string) []byte {
	share := 0.0
	if b.open > 0 {
		share = 100 * (float64(b.close)/float64(b.open) - 1)
	}
	dst = appendSigned(appendTexts(dst, `,"`, change, `":"`), b.close, b.open)
	dst = fmt.Appendf(dst, `","%s":"%.3f"`, percent, share)
	return appendFields(dst, field{average, b.average()})
}

// appendWindow appends the rest of a REST ticker. withLast adds the last price, which others have before.
func (b *bar) appendWindow(dst []byte, from, to int64, withLast, micro bool) []byte {
	dst = appendFields(dst, field{"openPrice", b.open}, field{"highPrice", b.high}, field{"lowPrice", b.low})
	if withLast {
		dst = appendFields(dst, field{"lastPrice", b.close})
	}
	dst = appendFields(dst, field{"volume", b.volume.over(1)}, field{"quoteVolume", b.quote.over(unit)})
	dst = appendTime(append(dst, `,"openTime":`...), from, micro)
	dst = appendTime(append(dst, `,"closeTime":`...), to, micro)
	first, last := b.ids()
	return fmt.Appendf(dst, `,"firstId":%d,"lastId":%d,"count":%d}`, first, last, b.count)
}

// ids returns the first and last trade; both are -1 if there is none.
func (b *bar) ids() (first, last int64) {
	if b.count == 0 {
		return -1, -1
	}
	return b.firstID, b.lastID
}

func (s *Server) tickerPrice(q *query) []byte {
	now := s.now.Load()
	return q.answerSymbols(false, func(dst []byte, symbol *Symbol) []byte {
		dst = appendString(append(dst, `{"symbol":`...), symbol.Name)
		return append(appendFields(dst, field{"price", s.priceBefore(symbol.Name, s.basis(symbol.Name), now+1)}), '}')
	})
}

func (s *Server) bookTicker(q *query) []byte {
	now := s.now.Load()
	return q.answerSymbols(false, func(dst []byte, symbol *Symbol) []byte {
		dst = appendString(append(dst, `{"symbol":`...), symbol.Name)
		return append(s.bookAt(symbol, now).appendTop(dst, "bidPrice", "bidQty", "askPrice", "askQty"), '}')
	})
}

// averageWindow is the time over which the average price is taken.
const averageWindow = 5 * minute

// average returns the average price of the last five minutes until a time, and when the last trade was.
// Without a trade in that time it is the last price.
func (s *Server) average(symbol string, now int64) (price uint64, lastAt int64) {
	kind := s.basis(symbol)
	var b bar
	s.eachRow(symbol, kind, now-averageWindow, now+1, b.add)
	if b.count > 0 {
		return b.average(), b.lastAt
	}
	if id, ok := s.source.LastReleased(symbol, kind, now); ok {
		for _, r := range s.newest(symbol, kind, id, 1) {
			return parseDecimal(r.Price), r.TradedAt
		}
	}
	return 0, 0
}

func (s *Server) avgPrice(q *query) []byte {
	symbol := q.symbol()
	if !q.end() {
		return nil
	}
	price, at := s.average(symbol, s.now.Load())
	dst := appendFields([]byte(`{"mins":5`), field{"price", price})
	return append(appendTime(append(dst, `,"closeTime":`...), at, q.micro), '}')
}
