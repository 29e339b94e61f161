package binance

import (
	"bytes"
	"fmt"
)

// parseCSVRow parses line into row. It returns the number of columns, whether the exchange has
// voided the trade, and what is wrong with the line, or "".
func parseCSVRow(line []byte, kind ArchiveKind, row *Row) (columns int, damaged bool, reason string) {
	return parseFields(bytes.Split(line, []byte{','}), kind, row)
}

// parseFields is parseCSVRow for the fields of a line.
func parseFields(fields [][]byte, kind ArchiveKind, row *Row) (columns int, damaged bool, reason string) {
	count := len(fields)
	timeField, makerField := 5, 6
	if kind == KindTrades {
		timeField, makerField = 4, 5
	}
	if count <= makerField || count > makerField+2 {
		return count, false, fmt.Sprintf("%s rows have %d or %d columns, this has %d", kind, makerField+1, makerField+2, count)
	}

	var ok bool
	if row.ID, ok = parseDigits(fields[0]); !ok {
		return count, false, "the id is not a whole number"
	}
	if !isDecimal(fields[1]) {
		return count, false, "the price is not a decimal number"
	}
	if !isDecimal(fields[2]) {
		return count, false, "the quantity is not a decimal number"
	}
	row.Price, row.Qty = fields[1], fields[2]
	row.FirstTradeID, row.LastTradeID = row.ID, row.ID
	if kind == KindAggTrades {
		if string(fields[3]) == "-1" && string(fields[4]) == "-1" {
			damaged = true
		} else {
			if row.FirstTradeID, ok = parseDigits(fields[3]); !ok {
				return count, false, "the first trade id is not a whole number"
			}
			if row.LastTradeID, ok = parseDigits(fields[4]); !ok {
				return count, false, "the last trade id is not a whole number"
			}
			if row.LastTradeID < row.FirstTradeID {
				return count, false, "the last trade id is before the first"
			}
		}
	}
	stamp, ok := parseDigits(fields[timeField])
	if ok {
		row.Time, ok = toMicros(stamp)
	}
	if !ok {
		return count, false, "the time is not in milliseconds or microseconds since 1970"
	}
	if row.IsBuyerMaker, ok = parseBool(fields[makerField]); !ok {
		return count, false, "is_buyer_maker is neither true nor false"
	}
	if count == makerField+2 {
		if _, ok := parseBool(fields[makerField+1]); !ok {
			return count, false, "is_best_match is neither true nor false"
		}
	}
	zeroPrice, zeroQty := isZero(fields[1]), isZero(fields[2])
	if zeroPrice && zeroQty {
		damaged = true
	}
	if !damaged && (zeroPrice || zeroQty) {
		return count, false, "the price or the quantity is zero"
	}
	return count, damaged, ""
}

// parseUsualRow is parseCSVRow for a row without anything unusual. It makes one pass, which takes a
// third of the time. It returns the number of columns, or 0 if parseCSVRow has to decide.
func parseUsualRow(line []byte, kind ArchiveKind, row *Row) (columns int) {
	rest, ok := line, true
	if row.ID, rest, ok = nextDigits(rest); !ok {
		return 0
	}
	if row.Price, rest, ok = nextPositive(rest); !ok {
		return 0
	}
	if row.Qty, rest, ok = nextPositive(rest); !ok {
		return 0
	}
	if kind == KindAggTrades {
		if row.FirstTradeID, rest, ok = nextDigits(rest); !ok {
			return 0
		}
		if row.LastTradeID, rest, ok = nextDigits(rest); !ok || row.LastTradeID < row.FirstTradeID {
			return 0
		}
		columns = 7
	} else {
		row.FirstTradeID, row.LastTradeID = row.ID, row.ID
		comma := bytes.IndexByte(rest, ',')
		rest = rest[comma+1:]
		if comma < 0 {
			return 0
		}
		columns = 6
	}
	stamp, rest, ok := nextDigits(rest)
	if !ok {
		return 0
	}
	if row.Time, ok = toMicros(stamp); !ok {
		return 0
	}
	maker, best, more := bytes.Cut(rest, []byte{','})
	if row.IsBuyerMaker, ok = parseBool(maker); !ok {
		return 0
	}
	if !more {
		return columns
	}
	if _, ok := parseBool(best); !ok {
		return 0
	}
	return columns + 1
}

// nextDigits parses the whole number before the next comma. rest follows the comma.
func nextDigits(line []byte) (value int64, rest []byte, ok bool) {
	for i, char := range line {
		if digit := char - '0'; digit <= 9 {
			value = value*10 + int64(digit)
			continue
		}
		return value, line[i+1:], char == ',' && i > 0 && i <= 18
	}
	return 0, nil, false
}

// nextPositive returns the decimal number before the next comma, which must be above zero.
func nextPositive(line []byte) (text, rest []byte, ok bool) {
	points, nonzero := 0, byte(0)
	for i, char := range line {
		if digit := char - '0'; digit <= 9 {
			nonzero |= digit
			continue
		}
		if char == '.' {
			points++
			continue
		}
		return line[:i], line[i+1:], char == ',' && points <= 1 && nonzero != 0 && i <= 40
	}
	return nil, nil, false
}

func parseDigits(text []byte) (int64, bool) {
	if len(text) == 0 || len(text) > 18 {
		return 0, false
	}
	value := int64(0)
	for _, digit := range text {
		digit -= '0'
		if digit > 9 {
			return 0, false
		}
		value = value*10 + int64(digit)
	}
	return value, true
}

// toMicros converts milliseconds or microseconds since 1970 into microseconds. Their size tells
// them apart. It returns false for a time outside 2009 to 2099.
func toMicros(stamp int64) (int64, bool) {
	if stamp < microsFrom {
		stamp *= 1000
	}
	return stamp, stamp >= timeMin && stamp < timeMax
}

func parseBool(text []byte) (value, ok bool) {
	switch string(text) {
	case "True", "true", "TRUE":
		return true, true
	case "False", "false", "FALSE":
		return false, true
	}
	return false, false
}

// isDecimal reports whether text is digits with at most one point, without sign and exponent.
func isDecimal(text []byte) bool {
	digits, points := 0, 0
	for _, char := range text {
		switch {
		case char-'0' <= 9:
			digits++
		case char == '.':
			points++
		default:
			return false
		}
	}
	return digits > 0 && points <= 1 && len(text) <= 40
}

func isZero(text []byte) bool {
	for _, char := range text {
		if char != '0' && char != '.' {
			return false
		}
	}
	return true
}
