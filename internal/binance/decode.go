// Package binance is a client of Binance's spot API: the market streams, REST, and the archive of
// daily files. It owns the protocol, its limits and the known defects of the data. Its guarantee: a
// row that it returns is complete and plausible; anything else is an error or counted as damaged.
// docs/BINANCE.md describes the protocol. The samples in the tests are from
// https://developers.binance.com/docs/binance-spot-api-docs.
package binance

import (
	"errors"
	"unicode/utf8"
)

// Kind is the kind of a stream message.
type Kind uint8

const (
	// KindOther is another event (depthUpdate, bookTicker, kline, blockTrade), or an object that is
	// not an event. It is well formed as far as it was read.
	KindOther Kind = iota
	// KindTrade is an event of <symbol>@trade.
	KindTrade
	// KindAggTrade is an event of <symbol>@aggTrade.
	KindAggTrade
	// KindServerShutdown announces that the exchange will close this connection.
	KindServerShutdown
	// KindAnswer is the response to a request (SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS).
	KindAnswer
	// KindError is the refusal of a request; Code and Text say why.
	KindError
)

// AboutConnection reports whether a message of this kind is about the connection itself, so that it
// cannot have been a trade.
func (k Kind) AboutConnection() bool {
	return k == KindServerShutdown || k == KindAnswer || k == KindError
}

// Message is one decoded stream message. Its slices may alias the bytes it was decoded from, and
// are valid as long as those are.
type Message struct {
	Kind Kind
	// BuyerMaker is `m`: true means that the taker sold.
	BuyerMaker bool
	// Damaged marks a trade that the exchange has voided or that cannot be one: the price or the
	// quantity is zero, or an id is negative.
	Damaged bool
	// HasRequestID is false if a response has no id or one that is not a number.
	HasRequestID bool

	// Stream is the name in the envelope of a combined stream; nil in a raw message.
	Stream []byte
	// Symbol is as the exchange spells it, for example BTCUSDT; it may be non-ASCII.
	Symbol []byte
	// ID is `t` of a trade and `a` of an aggTrade.
	ID int64
	// FirstTradeID and LastTradeID are the ids of the raw trades; both equal ID in a trade.
	FirstTradeID, LastTradeID int64
	// Price and Qty are the exchange's decimal strings, not validated.
	Price, Qty []byte
	// Time is `T`, when the trade matched, and EventTime is `E` or 0: microseconds since the epoch.
	Time, EventTime int64

	// RequestID, Result (raw JSON), Code and Text belong to responses.
	RequestID int64
	Result    []byte
	Code      int64
	Text      []byte
}

// ErrMalformed is wrapped by every error of Decode.
var ErrMalformed = errors.New("malformed stream message")

// Decode decodes one message of a raw or combined stream into m, which it overwrites.
//
// A strict scanner decodes the common messages in one pass without allocating. Messages of any
// other form (an escape, white space, data before stream, a nested value) are decoded with
// encoding/json into maps, which unlike its structs distinguish e/E, t/T and m/M. The rest of an
// event that is neither a trade nor an aggTrade is not read.
func Decode(data []byte, m *Message) error {
	*m = Message{}
	if scan(data, m) {
		return nil
	}
	*m = Message{}
	return decodeSlowly(data, m)
}

// The fields of a trade, as bits.
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

	tradeFields    = hasEvent | hasSymbol | hasID | hasPrice | hasQty | hasTime | hasMaker
	aggTradeFields = hasEvent | hasSymbol | hasAggID | hasFirst | hasLast | hasPrice | hasQty | hasTime | hasMaker
)

const (
	envelopeStart  = `{"stream":"`
	envelopeMiddle = `,"data":{`
)

// scan decodes a message whose form it knows, and reports whether it did. Otherwise m is undefined.
// It is one long function because a version in five parts took 4 to 8 % longer (BenchmarkDecode).
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
				return false // decodeSlowly reads it
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
		if seen&tradeFields != tradeFields {
			return false
		}
		m.ID, m.FirstTradeID, m.LastTradeID = tradeID, tradeID, tradeID
	case KindAggTrade:
		if seen&aggTradeFields != aggTradeFields {
			return false
		}
		m.ID = aggID
	default:
		return false
	}
	return finish(m)
}

// scanString reads the string that starts with the quote at i; next is the position after the
// closing quote. It refuses escapes, control characters and invalid UTF-8.
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

// skipValue steps over a string, an integer, true, false or null.
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

// finish converts the times of a trade into microseconds and marks damaged ones. It returns false
// if the message cannot be a trade.
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
