package exchange

import (
	"math/bits"
	"strconv"
)

// Binance's decimals have eight places. Here such a one is an int64 of hundred-millionths.
const places = 8

const unit = 100_000_000

// parseUnits reads a decimal of at most eight places, no sign; what does not fit is 0.
func parseUnits(s string) uint64 {
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

// productUnits is price × qty, cut after eight places as Binance cuts quoteQty; what does not fit is the greatest.
func productUnits(price, qty string) uint64 {
	hi, lo := bits.Mul64(parseUnits(price), parseUnits(qty))
	if hi >= unit {
		return 1<<64 - 1
	}
	product, _ := bits.Div64(hi, lo, unit)
	return product
}

func appendUnits(dst []byte, n uint64) []byte {
	dst = strconv.AppendUint(dst, n/unit, 10)
	dst = append(dst, '.')
	for scale := uint64(unit / 10); scale > 0; scale /= 10 {
		dst = append(dst, byte('0'+n/scale%10))
	}
	return dst
}

func appendProduct(dst []byte, price, qty string) []byte {
	return appendUnits(dst, productUnits(price, qty))
}
