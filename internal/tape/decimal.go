package tape

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// pow10 holds the powers of ten that a double represents exactly (10^22 is the last).
var pow10 = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
	1e18, 1e19, 1e20, 1e21, 1e22,
}

// exactMantissa bounds the decimals that a double holds without loss: any of up to 15 significant
// digits (DBL_DIG).
const exactMantissa = 1_000_000_000_000_000

// ParseDecimal parses a non-negative decimal number as Binance prints it ("61837.63000000") and
// returns the nearest double. exact is true if the double's shortest decimal form is the same
// number, so that nothing was lost. The error is set if text is not such a number.
func ParseDecimal(text []byte) (value float64, exact bool, err error) {
	if value, ok := parseShortDecimal(text); ok {
		return value, true, nil
	}
	var mantissa uint64
	digits, fraction, point, significant := 0, 0, false, 0
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9':
			digits++
			if point {
				fraction++
			}
			if mantissa != 0 || c != '0' {
				significant++
			}
			if significant <= 19 {
				mantissa = mantissa*10 + uint64(c-'0')
			}
		case c == '.' && !point:
			point = true
		default:
			return 0, false, notDecimal(text)
		}
	}
	if digits == 0 {
		return 0, false, notDecimal(text)
	}
	if significant > 19 {
		return parseLongDecimal(text)
	}
	for fraction > 0 && mantissa%10 == 0 {
		mantissa /= 10
		fraction--
	}
	if mantissa < exactMantissa && fraction < len(pow10) {
		return float64(mantissa) / pow10[fraction], true, nil
	}
	return parseLongDecimal(text)
}

// parseShortDecimal is ParseDecimal for nearly all numbers that the exchange prints: at most 17
// digits and a point, and exact. It takes half the time because it does not divide the trailing
// zeros away.
func parseShortDecimal(text []byte) (value float64, ok bool) {
	if len(text) > 18 {
		return 0, false
	}
	var mantissa uint64
	whole := 0
	for whole < len(text) && text[whole]-'0' <= 9 {
		mantissa = mantissa*10 + uint64(text[whole]-'0')
		whole++
	}
	if whole == 0 {
		return 0, false
	}
	if whole == len(text) {
		return float64(mantissa), mantissa < exactMantissa
	}
	if text[whole] != '.' {
		return 0, false
	}
	fraction := text[whole+1:]
	for len(fraction) > 0 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	for _, c := range fraction {
		if c-'0' > 9 {
			return 0, false
		}
		mantissa = mantissa*10 + uint64(c-'0')
	}
	return float64(mantissa) / pow10[len(fraction)], mantissa < exactMantissa
}

func notDecimal(text []byte) error {
	return fmt.Errorf("%q is not a decimal number", text[:min(len(text), 40)])
}

// parseLongDecimal is ParseDecimal for numbers with more digits than exactMantissa proves exact.
func parseLongDecimal(text []byte) (float64, bool, error) {
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(value, 0) {
		return 0, false, notDecimal(text)
	}
	printed := strconv.AppendFloat(nil, value, 'f', -1, 64)
	return value, bytes.Equal(trimDecimal(printed), trimDecimal(text)), nil
}

// trimDecimal removes the zeros that do not change a decimal number.
func trimDecimal(text []byte) []byte {
	if bytes.IndexByte(text, '.') >= 0 {
		text = bytes.TrimRight(text, "0")
		text = bytes.TrimSuffix(text, []byte("."))
	}
	for len(text) > 1 && text[0] == '0' && text[1] != '.' {
		text = text[1:]
	}
	if len(text) == 0 || text[0] == '.' {
		text = append([]byte("0"), text...)
	}
	return text
}
