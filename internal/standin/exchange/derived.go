package exchange

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Derived streams are those that are not rows of the source: books, klines and tickers. They are made
// from the rows, at full seconds (or tenths, or at each row) of the source's clock. Faults of single
// messages do not happen to them. Where Binance does not document whether a stream repeats what has not
// changed, it does, except for the diff depth.
//
// Names that the exchange does not have (any more) can be subscribed to and stay silent, as at Binance.
// These are blockTrade and referencePrice, which no symbol here has, and !ticker@arr, which was retired
// on 2026-03-26.

// derived is a derived stream that somebody has subscribed to.
type derived struct {
	name string
	// period is the time between two messages in µs; 0 means as soon as rows are released.
	period int64
	// payloads returns the messages for (after, until].
	payloads func(after, until int64, micro bool) [][]byte
	conns    []*conn // guarded by hub.mu
}

var (
	depthForm = regexp.MustCompile(`^depth(5|10|20)?(@100ms|@1000ms)?$`)
	klineForm = regexp.MustCompile(`^kline_([0-9]+[smhdwM])(@\+08:00)?$`)
)

// derive returns the derived stream of a name, or nil if there is none.
func (s *Server) derive(name string) *derived {
	d := &derived{name: name, period: secondMicros}
	one := func(payload func(until int64, micro bool) []byte) func(int64, int64, bool) [][]byte {
		return func(_, until int64, micro bool) [][]byte { return [][]byte{payload(until, micro)} }
	}
	if period, isMini := miniTickers[name]; isMini || strings.HasPrefix(name, "!ticker_") {
		d.period = cmp.Or(period, d.period)
		window := strings.TrimPrefix(name, "!ticker_")
		window, isArray := strings.CutSuffix(window, "@arr")
		if !isMini && (!isArray || rollingNames[window] == 0) {
			return nil
		}
		d.payloads = func(after, until int64, micro bool) [][]byte {
			return s.changedTickers(after, until, func(dst []byte, symbol *Symbol) []byte {
				if !isMini {
					return s.appendRollingTicker(dst, symbol, window, until, micro)
				}
				return s.appendMiniTicker(dst, symbol, until, micro)
			})
		}
		return d
	}
	lowered, what, _ := strings.Cut(name, "@")
	symbol := s.hub.lowered[lowered]
	if symbol == nil {
		return nil
	}
	window, isRolling := strings.CutPrefix(what, "ticker_")
	switch depth, kline := depthForm.FindStringSubmatch(what), klineForm.FindStringSubmatch(what); {
	case what == "bookTicker":
		d.period = 0
		d.payloads = func(after, until int64, _ bool) [][]byte { return s.bookTickers(symbol, after, until) }
	case what == "avgPrice":
		d.payloads = one(func(until int64, micro bool) []byte { return s.appendAverage(nil, symbol, until, micro) })
	case what == "ticker":
		d.payloads = one(func(until int64, micro bool) []byte { return s.appendTicker(nil, symbol, until, micro) })
	case what == "miniTicker":
		d.payloads = one(func(until int64, micro bool) []byte { return s.appendMiniTicker(nil, symbol, until, micro) })
	case isRolling && rollingNames[window] > 0:
		d.payloads = one(func(until int64, micro bool) []byte { return s.appendRollingTicker(nil, symbol, window, until, micro) })
	case depth != nil:
		if depth[2] == "@100ms" {
			d.period = secondMicros / 10
		}
		d.payloads = func(after, until int64, micro bool) [][]byte {
			return s.depthPayloads(symbol, depth[1] != "", after, until, micro)
		}
	case kline != nil:
		return s.deriveKlines(d, symbol, kline[1], kline[2] != "")
	default:
		return nil
	}
	return d
}

// miniTickers are the streams of all mini tickers, with their periods. Binance documents only the first;
// clients use the others too.
var miniTickers = map[string]int64{"!miniTicker@arr": secondMicros, "!miniTicker@arr@1000ms": secondMicros, "!miniTicker@arr@3000ms": 3 * secondMicros}

// rollingNames are the windows of ticker streams.
var rollingNames = map[string]int64{"1h": hour, "4h": 4 * hour, "1d": day}

func (s *Server) depthPayloads(symbol *Symbol, partial bool, after, until int64, micro bool) [][]byte {
	if !partial {
		if update := s.depthUpdate(symbol, after, until, micro); update != nil {
			return [][]byte{update}
		}
		return nil
	}
	if b := s.bookAt(symbol, until); b.id > 0 {
		return [][]byte{b.appendSnapshot(nil)}
	}
	return nil
}

// deriveKlines completes the stream of an interval. Each message is the kline of the instant before, so
// that one at the end of a kline is its last.
func (s *Server) deriveKlines(d *derived, symbol *Symbol, name string, zoned bool) *derived {
	i, ok := parseInterval(name)
	if !ok {
		return nil
	}
	if zoned {
		i.offset = 8 * hour
	}
	if i.length != secondMicros {
		d.period = 2 * secondMicros
	}
	d.payloads = func(_, until int64, micro bool) [][]byte {
		if _, ok := s.source.LastReleased(symbol.Name, s.basis(symbol.Name), until); !ok {
			return nil
		}
		start := i.open(until-1, 0)
		list := s.klines(s.ctx, symbol.Name, i, start, start)
		return [][]byte{list[0].appendEvent(nil, symbol.Name, name, until, micro)}
	}
	return d
}

// changedTickers returns an array of the tickers of symbols that traded in (after, until], or nothing if
// there are none.
func (s *Server) changedTickers(after, until int64, appendOne func([]byte, *Symbol) []byte) [][]byte {
	changed := slices.DeleteFunc(slices.Clone(s.source.Symbols()), func(symbol Symbol) bool {
		kind := s.basis(symbol.Name)
		before, had := s.source.LastReleased(symbol.Name, kind, after)
		last, has := s.source.LastReleased(symbol.Name, kind, until)
		return has == had && last == before
	})
	if len(changed) == 0 {
		return nil
	}
	return [][]byte{appendList(nil, changed, appendOne)}
}

func appendEventHead(dst []byte, event, symbol string, until int64, micro bool) []byte {
	dst = appendTime(appendTexts(dst, `{"e":"`, event, `","E":`), until, micro)
	return appendString(append(dst, `,"s":`...), symbol)
}

func (s *Server) appendMiniTicker(dst []byte, symbol *Symbol, until int64, micro bool) []byte {
	b := s.last24h(s.ctx, symbol.Name, until)
	dst = appendEventHead(dst, "24hrMiniTicker", symbol.Name, until, micro)
	return append(appendFields(dst, field{"c", b.close}, field{"o", b.open}, field{"h", b.high}, field{"l", b.low},
		field{"v", b.volume.over(1)}, field{"q", b.quote.over(unit)}), '}')
}

func (s *Server) appendTicker(dst []byte, symbol *Symbol, until int64, micro bool) []byte {
	b := s.last24h(s.ctx, symbol.Name, until)
	dst = appendEventHead(dst, "24hrTicker", symbol.Name, until, micro)
	dst = b.appendChange(dst, "p", "P", "w")
	dst = appendFields(dst, field{"x", b.open}, field{"c", b.close}, field{"Q", b.lastQty})
	dst = s.bookAt(symbol, until).appendTop(dst, "b", "B", "a", "A")
	dst = appendFields(dst, field{"o", b.open}, field{"h", b.high}, field{"l", b.low}, field{"v", b.volume.over(1)}, field{"q", b.quote.over(unit)})
	return b.appendTail(dst, until-day, until, micro)
}

func (s *Server) appendRollingTicker(dst []byte, symbol *Symbol, window string, until int64, micro bool) []byte {
	from := (until - rollingNames[window]) / minute * minute
	b := s.sum(s.ctx, symbol.Name, from, until+1)
	dst = appendEventHead(dst, window+"Ticker", symbol.Name, until, micro)
	dst = b.appendChange(dst, "p", "P", "w")
	dst = appendFields(dst, field{"o", b.open}, field{"h", b.high}, field{"l", b.low}, field{"c", b.close},
		field{"v", b.volume.over(1)}, field{"q", b.quote.over(unit)})
	return b.appendTail(dst, from, until, micro)
}

// appendTail appends the times and ids of a ticker's message, and its end.
func (b *bar) appendTail(dst []byte, from, until int64, micro bool) []byte {
	dst = appendTime(append(dst, `,"O":`...), from, micro)
	dst = appendTime(append(dst, `,"C":`...), until, micro)
	first, last := b.ids()
	dst = strconv.AppendInt(append(dst, `,"F":`...), first, 10)
	dst = strconv.AppendInt(append(dst, `,"L":`...), last, 10)
	return append(strconv.AppendInt(append(dst, `,"n":`...), b.count, 10), '}')
}

func (s *Server) appendAverage(dst []byte, symbol *Symbol, until int64, micro bool) []byte {
	price, at := s.average(symbol.Name, until)
	dst = appendEventHead(dst, "avgPrice", symbol.Name, until, micro)
	dst = appendFields(append(dst, `,"i":"5m"`...), field{"w", price})
	return append(appendTime(append(dst, `,"T":`...), at, micro), '}')
}

// prepare returns the derived streams among names that nobody is subscribed to. Each one's first message
// is computed in advance, because it may take the bars of a day, and the clock does not wait for that.
func (h *hub) prepare(names []string) map[string]*derived {
	prepared := map[string]*derived{}
	for _, name := range names {
		if d := h.server.derive(name); d != nil {
			now := h.server.now.Load()
			d.payloads(now, now, false)
			prepared[name] = d
		}
	}
	return prepared
}

// route subscribes a connection to a derived stream. mu is held.
func (h *hub) route(c *conn, d *derived) {
	if known := h.byDerived[d.name]; known != nil {
		d = known
	} else {
		h.byDerived[d.name] = d
		h.derived = append(h.derived, d)
	}
	d.conns = append(d.conns, c)
}

// unrouteDerived is the opposite of route. mu is held.
func (h *hub) unrouteDerived(c *conn, d *derived) {
	d.conns = slices.DeleteFunc(d.conns, func(other *conn) bool { return other == c })
	if len(d.conns) == 0 {
		delete(h.byDerived, d.name)
		h.derived = slices.DeleteFunc(h.derived, func(other *derived) bool { return other == d })
	}
}

// nextDerived returns the next time at which a derived stream is due: the clock must stop there.
func (h *hub) nextDerived(now int64) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := Endless
	for _, d := range h.derived {
		if d.period > 0 {
			next = min(next, (now/d.period+1)*d.period)
		}
	}
	return next
}

// dispatchDerived queues the messages of derived streams for a step of the clock from now to next, and
// appends to receivers the connections with new frames. It returns how many messages there were.
func (h *hub) dispatchDerived(now, next int64, receivers []*conn) (_ []*conn, sent int) {
	h.mu.Lock()
	due := slices.DeleteFunc(slices.Clone(h.derived), func(d *derived) bool { return d.period > 0 && next%d.period != 0 })
	h.mu.Unlock()
	if len(due) == 0 {
		return receivers, 0
	}
	for _, d := range due {
		after := now
		if d.period > 0 {
			after = next - d.period
		}
		var payloads [2][][]byte // by time unit
		for unit := range payloads {
			if h.needsUnit(d, unit) {
				payloads[unit] = d.payloads(after, next, unit == 1)
			}
		}
		h.mu.Lock()
		for _, c := range d.conns {
			list := payloads[c.form()%2]
			if c.muted || len(list) == 0 {
				continue
			}
			for _, payload := range list {
				c.out.append(appendFrame(nil, appendCombinedIf(c.combined, d.name, payload)))
			}
			h.messages += int64(len(list))
			sent += len(list)
			receivers = c.received(receivers)
		}
		h.mu.Unlock()
	}
	h.mu.Lock()
	for _, c := range receivers {
		c.receiver = false
	}
	h.mu.Unlock()
	return receivers, sent
}

// needsUnit reports whether a subscriber of a stream receives times in microseconds (1) or milliseconds
// (0).
func (h *hub) needsUnit(d *derived, unit int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(d.conns, func(c *conn) bool { return c.form()%2 == unit })
}
