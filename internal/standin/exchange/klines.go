package exchange

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Klines are bars of an interval that is aligned in a time zone: "Kline/Candlestick data" in rest-api.md
// and web-socket-streams.md. The first kline of a symbol holds its first trade. From then on there is
// one for each interval; without trades it is flat at the last price, with a volume of 0.
//
// Weeks begin on Monday. Three days are counted from 1970-01-01, which Binance does not document.

// interval is the length of a kline in microseconds, and where it begins; months is true for 1M.
type interval struct {
	length int64
	anchor int64 // the start of some kline, UTC
	months bool
	offset int64 // of the time zone, east of UTC
}

// parseInterval reads an interval of klines such as 1m. It is case-sensitive.
func parseInterval(text string) (i interval, ok bool) {
	switch text {
	case "1M":
		return interval{months: true}, true
	case "1w":
		return interval{length: 7 * day, anchor: 4 * day}, true // 1970-01-05 was a Monday
	}
	for length, names := range map[int64]string{
		secondMicros: " 1s ", minute: " 1m 3m 5m 15m 30m ", hour: " 1h 2h 4h 6h 8h 12h ", day: " 1d 3d ",
	} {
		if strings.Contains(names, " "+text+" ") {
			n, err := strconv.ParseInt(text[:len(text)-1], 10, 64)
			return interval{length: n * length}, err == nil
		}
	}
	return interval{}, false
}

var zoneForm = regexp.MustCompile(`^[+-]?[0-9]{1,2}(:[0-9]{2})?$`)

// parseZone reads a time zone such as -1:00, 05:45 or 8, from -12:00 to +14:00.
func parseZone(text string) (offset int64, ok bool) {
	if !zoneForm.MatchString(text) {
		return 0, false
	}
	unsigned := strings.TrimLeft(text, "+-")
	hours, minutes, _ := strings.Cut(unsigned, ":")
	h, _ := strconv.ParseInt(hours, 10, 64)
	m, _ := strconv.ParseInt(minutes, 10, 64)
	if offset = (h*60 + m) * minute; text[0] == '-' {
		offset = -offset
	}
	return offset, m < 60 && offset >= -12*hour && offset <= 14*hour
}

// open returns the start of the kline that holds a time, n klines later (or earlier, below 0).
func (i interval) open(at int64, n int) int64 {
	if i.months {
		t := time.UnixMicro(at + i.offset).UTC()
		return time.Date(t.Year(), t.Month()+time.Month(n), 1, 0, 0, 0, 0, time.UTC).UnixMicro() - i.offset
	}
	since := at + i.offset - i.anchor
	whole := since / i.length
	if since < 0 && since%i.length != 0 {
		whole--
	}
	return (whole+int64(n))*i.length + i.anchor - i.offset
}

// width returns the width of the bars that a kline consists of.
func (i interval) width() int64 {
	switch {
	case i.length == secondMicros:
		return secondMicros
	case i.length%quarter != 0, i.offset%quarter != 0:
		return minute
	}
	return quarter
}

// kline is a bar of [open, end).
type kline struct {
	bar
	end int64
}

// klines returns the klines that begin in [first, last], of which first is the start of one.
func (s *Server) klines(ctx context.Context, symbol string, i interval, first, last int64) []kline {
	if last < first {
		return nil
	}
	kind := s.basis(symbol)
	end := i.open(last, 1)
	var list []kline
	for at := first; at <= last; at = i.open(at, 1) {
		list = append(list, kline{bar: bar{start: at}, end: i.open(at, 1)})
	}
	n := 0
	add := func(b *bar) {
		for n < len(list)-1 && b.start >= list[n].end {
			n++
		}
		list[n].merge(b)
	}
	if i.width() > secondMicros {
		s.eachBar(ctx, symbol, i.width(), first, end, add)
	} else {
		s.eachRow(symbol, kind, first, end, func(r *Row) {
			one := bar{start: r.TradedAt}
			one.add(r)
			add(&one)
		})
	}
	price := s.priceBefore(symbol, kind, first)
	for n := range list {
		b := &list[n].bar
		if b.count == 0 {
			b.open, b.high, b.low, b.close, b.firstID, b.lastID = price, price, price, price, -1, -1
		}
		price = b.close
	}
	return list
}

// priceBefore returns the price of the last trade before a time, or 0.
func (s *Server) priceBefore(symbol string, kind Kind, at int64) uint64 {
	if id, ok := s.source.LastBefore(symbol, kind, at); ok {
		if rows := s.newest(symbol, kind, id, 1); len(rows) > 0 {
			return parseDecimal(rows[0].Price)
		}
	}
	return 0
}

// span returns the starts of a symbol's first and last kline; ok is false if it has not traded.
func (s *Server) span(symbol string, i interval) (first, last int64, ok bool) {
	rows := s.page(symbol, s.basis(symbol), 0, 1)
	if len(rows) == 0 {
		return 0, 0, false
	}
	return i.open(rows[0].TradedAt, 0), i.open(s.now.Load(), 0), true
}

// answerKlines is klines and uiKlines: with startTime the oldest from it, with only endTime the newest
// up to it, with neither the newest. Both bound the start of a kline and are inclusive.
func (s *Server) answerKlines(q *query) []byte {
	symbol := q.symbol()
	text, present := q.text("interval")
	i, known := parseInterval(text)
	switch {
	case !present:
		q.reject(-1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.")
	case !known:
		q.reject(-1120, "Invalid interval.")
	}
	i.offset = q.zone()
	start, _, hasStart := q.instant("startTime")
	end, endUnit, hasEnd := q.instant("endTime")
	limit := q.limit()
	if !q.end() {
		return nil
	}
	now := s.now.Load()
	first, last, traded := s.span(symbol, i)
	if !traded || start > now || hasEnd && start > end {
		return []byte("[]")
	}
	if hasEnd {
		last = min(last, i.open(min(end+endUnit-1, now), 0))
	}
	switch {
	case hasStart:
		from := i.open(start, 0)
		if from < start {
			from = i.open(start, 1)
		}
		first = max(first, from)
		last = min(last, i.open(first, limit-1))
	default:
		first = max(first, i.open(last, 1-limit))
	}
	list := s.klines(q.ctx, symbol, i, first, last)
	return appendList(nil, list, func(dst []byte, k *kline) []byte { return k.appendRow(dst, q.micro) })
}

// zone reads the parameter timeZone.
func (q *query) zone() int64 {
	text, present := q.text("timeZone")
	offset, ok := parseZone(text)
	if present && !ok {
		q.reject(-1100, "Illegal characters found in parameter 'timeZone'; legal range is '-12:00 to +14:00'.")
	}
	return offset
}

// closeTime is the last unit of time in a kline.
func (k *kline) closeTime(micro bool) int64 {
	if micro {
		return k.end - 1
	}
	return k.end/1000 - 1
}

func (k *kline) appendRow(dst []byte, micro bool) []byte {
	dst = appendTime(append(dst, '['), k.start, micro)
	for _, price := range []uint64{k.open, k.high, k.low, k.close, k.volume.over(1)} {
		dst = appendQuoted(append(dst, ','), price)
	}
	dst = strconv.AppendInt(append(dst, ','), k.closeTime(micro), 10)
	dst = appendQuoted(append(dst, ','), k.quote.over(unit))
	dst = strconv.AppendInt(append(dst, ','), k.count, 10)
	dst = appendQuoted(append(dst, ','), k.buyVolume.over(1))
	dst = appendQuoted(append(dst, ','), k.buyQuote.over(unit))
	return append(dst, `,"0"]`...)
}

// appendEvent appends the payload of the stream <symbol>@kline_<interval> at a time.
func (k *kline) appendEvent(dst []byte, symbol, name string, now int64, micro bool) []byte {
	dst = appendTime(append(dst, `{"e":"kline","E":`...), now, micro)
	dst = appendString(append(dst, `,"s":`...), symbol)
	dst = appendTime(append(dst, `,"k":{"t":`...), k.start, micro)
	dst = strconv.AppendInt(append(dst, `,"T":`...), k.closeTime(micro), 10)
	dst = appendString(append(dst, `,"s":`...), symbol)
	dst = fmt.Appendf(dst, `,"i":"%s","f":%d,"L":%d`, name, k.firstID, k.lastID)
	dst = appendFields(dst, field{"o", k.open}, field{"c", k.close}, field{"h", k.high}, field{"l", k.low}, field{"v", k.volume.over(1)})
	dst = fmt.Appendf(dst, `,"n":%d,"x":%t`, k.count, k.end <= now)
	dst = appendFields(dst, field{"q", k.quote.over(unit)}, field{"V", k.buyVolume.over(1)}, field{"Q", k.buyQuote.over(unit)})
	return append(dst, `,"B":"0"}}`...)
}
