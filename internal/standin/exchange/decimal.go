package exchange

import (
	"math/bits"
	"strconv"
)

// Binance's decimals have eight places. They are held as a number of hundred-millionths. The package
// parses and prints them itself: internal/tape does too, and is one of the things tested against it.
const places = 8

const unit = 100_000_000

// parseDecimal reads an unsigned decimal of at most eight places; it returns 0 for anything else.
func parseDecimal(s string) uint64 {
	var n uint64
	after := -1
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.' && after < 0:
			after = 0
		case c >= '0' && c <= '9' && after < places && n < 1<<59:
			n = n*10 + uint64(c-'0')
			if after >= 0 {
				after++
			}
		case c == '0' && after >= places:
		default:
			return 0
		}
	}
	for after = max(after, 0); after < places; after++ {
		if n >= 1<<59 {
			return 0
		}
		n *= 10
	}
	return n
}

// AppendDecimal prints a number of hundred-millionths as Binance does: always with eight places.
func AppendDecimal(dst []byte, n uint64) []byte {
	dst = strconv.AppendUint(dst, n/unit, 10)
	dst = append(dst, '.')
	for scale := uint64(unit / 10); scale > 0; scale /= 10 {
		dst = append(dst, byte('0'+n/scale%10))
	}
	return dst
}

// appendProduct prints price × qty, cut after eight places as Binance cuts quoteQty. A product that
// does not fit prints as the greatest number that does.
func appendProduct(dst []byte, price, qty string) []byte {
	hi, lo := bits.Mul64(parseDecimal(price), parseDecimal(qty))
	product := uint64(1<<64 - 1)
	if hi < unit {
		product, _ = bits.Div64(hi, lo, unit)
	}
	return AppendDecimal(dst, product)
}
