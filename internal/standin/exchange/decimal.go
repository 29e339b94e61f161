package exchange

import (
	"math"
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
	return AppendDecimal(dst, product(parseDecimal(price), parseDecimal(qty)).over(unit))
}

// total is an exact sum of decimals: of quantities in units of 1e-8, or of their products with a price
// in units of 1e-16.
type total struct{ hi, lo uint64 }

func (t total) plus(o total) total {
	lo, carry := bits.Add64(t.lo, o.lo, 0)
	return total{t.hi + o.hi + carry, lo}
}

// over returns the whole part of t / n, or the greatest number if that does not fit. n is not 0.
func (t total) over(n uint64) uint64 {
	if t.hi >= n {
		return math.MaxUint64
	}
	quotient, _ := bits.Div64(t.hi, t.lo, n)
	return quotient
}

func product(price, qty uint64) total {
	hi, lo := bits.Mul64(price, qty)
	return total{hi, lo}
}

// appendSigned prints the difference a - b.
func appendSigned(dst []byte, a, b uint64) []byte {
	if a < b {
		return AppendDecimal(append(dst, '-'), b-a)
	}
	return AppendDecimal(dst, a-b)
}
