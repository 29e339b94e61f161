// Package binance speaks Binance's spot API: the market streams, REST and the archive of past days.
// It knows the protocol, its limits and its known defects, and nothing of what its users do with
// the rows. Specified in https://developers.binance.com/docs/binance-spot-api-docs; the samples in
// the tests are that documentation's own.
package binance

import (
	"errors"
	"unicode/utf8"
)

// Kind says what a stream message is.
type Kind uint8

const (
	// KindOther is well formed as far as it was read and none of the kinds below: another event
	// (depthUpdate, bookTicker, kline, blockTrade), or an object that is no event at all.
	KindOther Kind = iota
	// KindTrade is an event of <symbol>@trade.
	KindTrade
	// KindAggTrade is an event of <symbol>@aggTrade.
	KindAggTrade
	// KindServerShutdown announces that this connection is about to be closed.
	KindServerShutdown
	// KindAnswer answers a request (SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS).
	KindAnswer
	// KindError refuses a request; Code and Text say why.
	KindError
)

// Message is one decoded stream message. Its slices alias the bytes it was decoded from, except
// where those were escaped, and are valid as long as they are.
type Message struct {
	Kind Kind
	// BuyerMaker is `m` as sent: true means that the taker sold.
	BuyerMaker bool
	// Damaged marks a trade that the exchange itself voided or that cannot be one: price or
	// quantity zero, or an id below zero.
	Damaged bool
	// HasRequestID is false where an answer names no request or one that is not a number.
	HasRequestID bool

	// Stream is the name in the envelope of a combined stream, as sent; nil in a raw message.
	Stream []byte
	// Symbol is spelt as the exchange spells it, for example BTCUSDT; it may be non-ASCII.
	Symbol []byte
	// ID is `t` of a trade and `a` of an aggTrade.
	ID int64
	// FirstTradeID and LastTradeID are the raw trades in the row; both equal ID in a trade.
	FirstTradeID, LastTradeID int64
	// Price and Qty are the exchange's own decimal strings, unread.
	Price, Qty []byte
	// Time is `T`, when it matched, and EventTime is `E` or 0: microseconds since the epoch, UTC.
	Time, EventTime int64

	// RequestID, Result (raw JSON), Code and Text belong to answers.
	RequestID int64
	Result    []byte
	Code      int64
	Text      []byte
}

// ErrMalformed is wrapped by every error of Decode.
var ErrMalformed = errors.New("malformed stream message")

// Decode reads one message of a raw or combined stream into m, which it overwrites.
//
// The common messages are read by a strict scanner in one pass without allocating. Whatever
// surprises it (an escape, white space, the envelope turned round, a nested value) is read again
// with encoding/json into maps, which unlike its structs keep e/E, t/T and m/M apart. An event that
// is neither trade nor aggTrade is reported as KindOther without reading the rest of it.
func Decode(data []byte, m *Message) error {
	*m = Message{}
	if scan(data, m) {
		return nil
	}
	*m = Message{}
	return decodeSlowly(data, m)
}

// The fields of a trade, as bits of what has been seen.
const (
	hasEvent = 1 << iota
	hasEventTime
	hasSymbol
	hasID
	hasAggID
	hasFirst
	hasLast
	hasPrice
	hasQty
	hasTime
	hasMaker
	hasIgnored

	wantTrade    = hasEvent | hasSymbol | hasID | hasPrice | hasQty | hasTime | hasMaker
	wantAggTrade = hasEvent | hasSymbol | hasAggID | hasFirst | hasLast | hasPrice | hasQty | hasTime | hasMaker
)

const (
	envelopeStart  = `{"stream":"`
	envelopeMiddle = `,"data":{`
)

// scan reports whether it understood data; m is undefined where it did not.
func scan(data []byte, m *Message) bool {
	if len(data) < len(envelopeStart) {
		return false
	}
	i, ok := 1, false
	combined := string(data[:len(envelopeStart)]) == envelopeStart
	if combined {
		if m.Stream, i, ok = scanString(data, len(envelopeStart)-1); !ok {
			return false
		}
		end := i + len(envelopeMiddle)
		if end > len(data) || string(data[i:end]) != envelopeMiddle {
			return false
		}
		i = end
	} else if data[0] != '{' {
		return false
	}

	var seen uint32
	var aggID, tradeID int64
	for {
		// i is just after '{' or ',': a key in quotes, a colon, a value. Every key that counts has
		// one letter.
		if i+5 > len(data) || data[i] != '"' {
			return false
		}
		var bit uint32
		var key byte
		if data[i+2] == '"' && data[i+3] == ':' {
			key = data[i+1]
			i += 4
		} else {
			var name []byte
			if name, i, ok = scanString(data, i); !ok || string(name) == "stream" || string(name) == "data" {
				return false
			}
			if i >= len(data) || data[i] != ':' {
				return false
			}
			i++
		}
		switch key {
		case 'e':
			var event []byte
			if event, i, ok = scanString(data, i); !ok {
				return false
			}
			bit = hasEvent
			switch string(event) {
			case "trade":
				m.Kind = KindTrade
			case "aggTrade":
				m.Kind = KindAggTrade
			case "serverShutdown":
				return false
			default:
				*m = Message{Stream: m.Stream}
				return seen&hasEvent == 0
			}
		case 's':
			bit = hasSymbol
			m.Symbol, i, ok = scanString(data, i)
		case 'p':
			bit = hasPrice
			m.Price, i, ok = scanString(data, i)
		case 'q':
			bit = hasQty
			m.Qty, i, ok = scanString(data, i)
		case 'E':
			bit = hasEventTime
			m.EventTime, i, ok = scanInt(data, i)
		case 'T':
			bit = hasTime
			m.Time, i, ok = scanInt(data, i)
		case 't':
			bit = hasID
			tradeID, i, ok = scanInt(data, i)
		case 'a':
			bit = hasAggID
			aggID, i, ok = scanInt(data, i)
		case 'f':
			bit = hasFirst
			m.FirstTradeID, i, ok = scanInt(data, i)
		case 'l':
			bit = hasLast
			m.LastTradeID, i, ok = scanInt(data, i)
		case 'm':
			bit = hasMaker
			m.BuyerMaker, i, ok = scanBool(data, i)
		case 'M':
			bit = hasIgnored
			_, i, ok = scanBool(data, i)
		default:
			if key != 0 && (key < ' ' || key == '\\' || key == '"' || key >= utf8.RuneSelf) {
				return false
			}
			i, ok = skipValue(data, i)
		}
		if !ok || seen&bit != 0 || i >= len(data) {
			return false
		}
		seen |= bit
		if data[i] == ',' {
			i++
			continue
		}
		if data[i] != '}' {
			return false
		}
		i++
		break
	}
	if combined {
		if i >= len(data) || data[i] != '}' {
			return false
		}
		i++
	}
	if i != len(data) {
		return false
	}

	switch m.Kind {
	case KindTrade:
		if seen&wantTrade != wantTrade {
			return false
		}
		m.ID, m.FirstTradeID, m.LastTradeID = tradeID, tradeID, tradeID
	case KindAggTrade:
		if seen&wantAggTrade != wantAggTrade {
			return false
		}
		m.ID = aggID
	default:
		return false
	}
	return finish(m)
}

// scanString reads the string that starts with the quote at i. It refuses escapes, control
// characters and bytes that are not UTF-8; next is the byte after the closing quote.
func scanString(data []byte, i int) (value []byte, next int, ok bool) {
	if i >= len(data) || data[i] != '"' {
		return nil, i, false
	}
	start := i + 1
	var high byte
	for j := start; j < len(data); j++ {
		c := data[j]
		if c == '"' {
			value = data[start:j]
			return value, j + 1, high < utf8.RuneSelf || utf8.Valid(value)
		}
		if c < ' ' || c == '\\' {
			return nil, i, false
		}
		high |= c
	}
	return nil, i, false
}

// scanInt reads an integer of at most 18 digits without a leading zero.
func scanInt(data []byte, i int) (value int64, next int, ok bool) {
	negative := i < len(data) && data[i] == '-'
	if negative {
		i++
	}
	start := i
	for i < len(data) {
		digit := data[i] - '0'
		if digit > 9 {
			break
		}
		value = value*10 + int64(digit)
		i++
	}
	digits := i - start
	if digits == 0 || digits > 18 || digits > 1 && data[start] == '0' {
		return 0, i, false
	}
	if negative {
		value = -value
	}
	return value, i, true
}

func scanBool(data []byte, i int) (value bool, next int, ok bool) {
	if i+4 <= len(data) && string(data[i:i+4]) == "true" {
		return true, i + 4, true
	}
	if i+5 <= len(data) && string(data[i:i+5]) == "false" {
		return false, i + 5, true
	}
	return false, i, false
}

// skipValue steps over the value of a field that is not ours: a string, an integer, true, false or
// null.
func skipValue(data []byte, i int) (next int, ok bool) {
	if i >= len(data) {
		return i, false
	}
	switch c := data[i]; {
	case c == '"':
		_, i, ok = scanString(data, i)
	case c == '-' || c-'0' <= 9:
		_, i, ok = scanInt(data, i)
	case i+4 <= len(data) && string(data[i:i+4]) == "null":
		i, ok = i+4, true
	default:
		_, i, ok = scanBool(data, i)
	}
	return i, ok
}

// finish puts the times of a trade into microseconds and marks a damaged one. It reports false
// where the message cannot be a trade at all.
func finish(m *Message) bool {
	var ok bool
	if m.Time < 0 || m.EventTime < 0 {
		return false
	}
	if m.Time, ok = toMicros(m.Time); !ok {
		return false
	}
	if m.EventTime != 0 {
		if m.EventTime, ok = toMicros(m.EventTime); !ok {
			return false
		}
	}
	if len(m.Symbol) == 0 || len(m.Price) == 0 || len(m.Qty) == 0 {
		return false
	}
	m.Damaged = m.ID < 0 || m.FirstTradeID < 0 || m.LastTradeID < m.FirstTradeID || isZero(m.Price) || isZero(m.Qty)
	return true
}
