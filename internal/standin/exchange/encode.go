package exchange

import (
	"cmp"
	"strconv"
	"unicode/utf8"
)

// Payloads have the keys in the order of Binance's documentation: "Trade Streams" and "Aggregate
// Trade Streams" in binance-spot-api-docs/web-socket-streams.md, and rest-api.md. M is always true.

// appendEvent appends the raw payload of a stream. Times are in milliseconds unless micro.
func appendEvent(dst []byte, kind Kind, symbol string, r *Row, micro bool) []byte {
	dst = appendTexts(dst, `{"e":"`, string(kind), `","E":`)
	dst = appendTime(dst, cmp.Or(r.EventAt, r.TradedAt), micro)
	dst = appendString(append(dst, `,"s":`...), symbol)
	return appendRowKeys(append(dst, ','), kind, r, micro)
}

// appendRowKeys appends the keys that describe a row, and the end of the object.
func appendRowKeys(dst []byte, kind Kind, r *Row, micro bool) []byte {
	key := `"t":`
	if kind == AggTrade {
		key = `"a":`
	}
	dst = strconv.AppendInt(append(dst, key...), r.ID, 10)
	dst = appendTexts(dst, `,"p":"`, r.Price, `","q":"`, r.Qty, `"`)
	if kind == AggTrade {
		dst = strconv.AppendInt(append(dst, `,"f":`...), r.FirstTradeID, 10)
		dst = strconv.AppendInt(append(dst, `,"l":`...), r.LastTradeID, 10)
	}
	dst = appendTime(append(dst, `,"T":`...), r.TradedAt, micro)
	dst = strconv.AppendBool(append(dst, `,"m":`...), r.BuyerMaker)
	return append(dst, `,"M":true}`...)
}

// appendAggRow appends a row of /api/v3/aggTrades.
func appendAggRow(dst []byte, r *Row, micro bool) []byte {
	return appendRowKeys(append(dst, '{'), AggTrade, r, micro)
}

// appendTradeRow appends a row of /api/v3/historicalTrades and /api/v3/trades.
func appendTradeRow(dst []byte, r *Row, micro bool) []byte {
	dst = strconv.AppendInt(append(dst, `{"id":`...), r.ID, 10)
	dst = appendTexts(dst, `,"price":"`, r.Price, `","qty":"`, r.Qty, `","quoteQty":"`)
	dst = appendProduct(dst, r.Price, r.Qty)
	dst = appendTime(append(dst, `","time":`...), r.TradedAt, micro)
	dst = strconv.AppendBool(append(dst, `,"isBuyerMaker":`...), r.BuyerMaker)
	return append(dst, `,"isBestMatch":true}`...)
}

func appendTime(dst []byte, micros int64, micro bool) []byte {
	if !micro {
		micros /= 1000
	}
	return strconv.AppendInt(dst, micros, 10)
}

// appendCombined appends a payload in the envelope of a combined stream.
func appendCombined(dst []byte, stream string, payload []byte) []byte {
	dst = appendString(append(dst, `{"stream":`...), stream)
	dst = append(append(dst, `,"data":`...), payload...)
	return append(dst, '}')
}

func appendTexts(dst []byte, texts ...string) []byte {
	for _, text := range texts {
		dst = append(dst, text...)
	}
	return dst
}

// appendList appends a JSON array.
func appendList[T any](dst []byte, list []T, appendItem func([]byte, *T) []byte) []byte {
	dst = append(dst, '[')
	for i := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendItem(dst, &list[i])
	}
	return append(dst, ']')
}

// appendFrame appends an unmasked text frame (RFC 6455, section 5.2).
func appendFrame(dst, payload []byte) []byte {
	const textFrame = 0x81
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, textFrame, byte(n))
	case n < 1<<16:
		dst = append(dst, textFrame, 126, byte(n>>8), byte(n))
	default:
		dst = append(dst, textFrame, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, payload...)
}

// appendString appends a JSON string. Characters outside ASCII are not escaped, as at Binance.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < 0x20:
			dst = append(dst, `\u00`...)
			dst = append(dst, "0123456789abcdef"[r>>4], "0123456789abcdef"[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// field is a decimal of an object, in units of 1e-8.
type field struct {
	name  string
	value uint64
}

// appendFields appends decimals as strings, with a comma before each.
func appendFields(dst []byte, fields ...field) []byte {
	for _, f := range fields {
		dst = appendQuoted(appendTexts(dst, `,"`, f.name, `":`), f.value)
	}
	return dst
}

// appendQuoted appends a decimal as a string.
func appendQuoted(dst []byte, n uint64) []byte {
	return append(AppendDecimal(append(dst, '"'), n), '"')
}
