package binance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ArchiveKind is the kind of rows in an archive file, spelt as in its path and name.
type ArchiveKind string

const (
	KindAggTrades ArchiveKind = "aggTrades" // id, price, qty, first id, last id, time, is buyer maker[, best match]
	KindTrades    ArchiveKind = "trades"    // id, price, qty, quote qty, time, is buyer maker[, best match]
)

// Row is one trade as REST and the archive give it, its numbers still the exchange's own text.
type Row struct {
	ID           int64
	Price, Qty   []byte // decimal text; from a CSVReader valid until its next call of Next
	FirstTradeID int64  // equal to ID in raw trades
	LastTradeID  int64
	Time         int64 // microseconds since 1970-01-01 UTC
	IsBuyerMaker bool
}

// CSVError is a line of a CSV that is not a row of its kind.
type CSVError struct {
	Line   int64  // from 1
	Reason string // what is wrong with it
	Text   string // the line's beginning
}

func (e *CSVError) Error() string {
	return fmt.Sprintf("line %d: %s: %q", e.Line, e.Reason, e.Text)
}

const (
	csvBuffer  = 256 << 10
	csvMaxLine = 4 << 10 // the longest row of the archive is about 120 bytes
	maxExcerpt = 80

	// Archive times are milliseconds before 2025-01-01 and microseconds after, and some files mix
	// them. In microseconds 1e14 is March 1973, in milliseconds it is the year 5138.
	microsFrom = int64(1e14)

	timeMin = int64(1230768000_000000) // 2009-01-01: before anything was traded for bitcoin
	timeMax = int64(4102444800_000000) // 2100-01-01
)

// CSVReader reads the rows of an archive CSV: with or without a header, with milliseconds or
// microseconds row by row, with True, true or TRUE. Rows come in the file's order, which need not
// be that of the ids. It allocates nothing per row.
type CSVReader struct {
	in      io.Reader
	text    []byte // read and not yet given, from its beginning
	buffer  []byte // text lies in it
	err     error  // of in, after text
	kind    ArchiveKind
	line    int64
	columns int // of the first row, and so of all
	damaged int64
}

// NewCSVReader reads rows of kind from in.
func NewCSVReader(in io.Reader, kind ArchiveKind) *CSVReader {
	return &CSVReader{in: in, buffer: make([]byte, csvBuffer), kind: kind}
}

// Line is the number of the line that the last call of Next read.
func (r *CSVReader) Line() int64 { return r.line }

// Damaged counts the rows left out because the exchange itself has voided them (price and quantity
// 0, trade ids -1).
func (r *CSVReader) Damaged() int64 { return r.damaged }

// Next reads the next trade into row. It returns io.EOF after the last, a *CSVError for a line that
// is no row, and the reader's own error otherwise; the reader is of no use after any of them.
func (r *CSVReader) Next(row *Row) error {
	for {
		line, err := r.readLine()
		if err != nil {
			return err
		}
		if r.line == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
			if isHeader(line) {
				if reason := checkHeader(line, r.kind); reason != "" {
					return r.fail(line, reason)
				}
				continue
			}
		}
		if len(line) == 0 {
			continue
		}
		columns, damaged, reason := parseUsualRow(line, r.kind, row), false, ""
		if columns == 0 {
			columns, damaged, reason = parseCSVRow(line, r.kind, row)
		}
		if reason != "" {
			return r.fail(line, reason)
		}
		if columns != r.columns {
			if r.columns != 0 { // a line that was cut at a comma is a row too, by its own
				return r.fail(line, fmt.Sprintf("it has %d columns, those before have %d", columns, r.columns))
			}
			r.columns = columns
		}
		if damaged {
			r.damaged++
			continue
		}
		return nil
	}
}

// readLine gives the next line without its end; it is valid until the next call.
func (r *CSVReader) readLine() ([]byte, error) {
	end := bytes.IndexByte(r.text, '\n')
	for end < 0 && r.err == nil && len(r.text) <= csvMaxLine {
		end = r.fill()
	}
	line := r.text
	switch {
	case end >= 0:
		line, r.text = r.text[:end], r.text[end+1:]
	case len(line) == 0:
		return nil, r.err
	case errors.Is(r.err, io.EOF):
		r.text = nil
	case r.err != nil:
		return nil, r.err
	}
	r.line++
	if len(line) > csvMaxLine {
		return nil, r.fail(line, "not a line of text")
	}
	return bytes.TrimSuffix(line, []byte{'\r'}), nil
}

// fill reads more of the text and gives where the first line end in it is, or -1.
func (r *CSVReader) fill() int {
	had := copy(r.buffer, r.text)
	n, err := r.in.Read(r.buffer[had:])
	r.text, r.err = r.buffer[:had+n], err
	if end := bytes.IndexByte(r.buffer[had:had+n], '\n'); end >= 0 {
		return had + end
	}
	return -1
}

func (r *CSVReader) fail(line []byte, reason string) error {
	return &CSVError{Line: r.line, Reason: reason, Text: excerpt(line)}
}

// excerpt returns the beginning of a text, for errors.
func excerpt(text []byte) string {
	if len(text) > maxExcerpt {
		return string(text[:maxExcerpt]) + "…"
	}
	return string(text)
}

// parseCSVRow fills row from line and says what is wrong with the line, if anything, and whether
// the exchange itself has voided the trade.
func parseCSVRow(line []byte, kind ArchiveKind, row *Row) (columns int, damaged bool, reason string) {
	var fields [8][]byte
	count := splitFields(line, &fields)
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

// parseUsualRow is parseCSVRow for a row without anything unusual, in one pass over the line and a
// third of the time. It gives how many columns the row has, and 0 for a row that parseCSVRow must
// look at.
func parseUsualRow(line []byte, kind ArchiveKind, row *Row) (columns int) {
	rest, ok := line, true
	if row.ID, rest, ok = cutDigits(rest); !ok {
		return 0
	}
	if row.Price, rest, ok = cutPositive(rest); !ok {
		return 0
	}
	if row.Qty, rest, ok = cutPositive(rest); !ok {
		return 0
	}
	if kind == KindAggTrades {
		if row.FirstTradeID, rest, ok = cutDigits(rest); !ok {
			return 0
		}
		if row.LastTradeID, rest, ok = cutDigits(rest); !ok || row.LastTradeID < row.FirstTradeID {
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
	stamp, rest, ok := cutDigits(rest)
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

// cutDigits takes a whole number and the comma after it off a line.
func cutDigits(line []byte) (value int64, rest []byte, ok bool) {
	for i, char := range line {
		if digit := char - '0'; digit <= 9 {
			value = value*10 + int64(digit)
			continue
		}
		return value, line[i+1:], char == ',' && i > 0 && i <= 18
	}
	return 0, nil, false
}

// cutPositive takes a decimal number above zero and the comma after it off a line.
func cutPositive(line []byte) (text, rest []byte, ok bool) {
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

func splitFields(line []byte, fields *[8][]byte) int {
	count := 0
	for {
		comma := bytes.IndexByte(line, ',')
		if count == len(fields) {
			return count + 1
		}
		if comma < 0 {
			fields[count] = line
			return count + 1
		}
		fields[count] = line[:comma]
		line = line[comma+1:]
		count++
	}
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

// toMicros takes milliseconds or microseconds since 1970, told apart by their size, and gives
// microseconds.
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

// isDecimal says whether text is digits with at most one point among them: no sign, no exponent.
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

func isHeader(line []byte) bool {
	return len(line) > 0 && line[0] != ',' && !isDigit(line[0]) && line[0] < 0x80 && isLetter(line[0])
}

func isDigit(char byte) bool { return char-'0' <= 9 }

func isLetter(char byte) bool { return (char|0x20)-'a' < 26 || char == '_' }

// headerNames are the spellings that the archive's files and their README use for each column.
var headerNames = map[ArchiveKind][]string{
	KindAggTrades: {
		"agg_trade_id aggtradeid agg_id a id", "price p", "quantity qty q", "first_trade_id firsttradeid first_id f",
		"last_trade_id lasttradeid last_id l", "transact_time timestamp time traded_at t",
		"is_buyer_maker isbuyermaker buyer_is_maker was_the_buyer_the_maker m",
		"is_best_match isbestmatch best_match best_price_match m",
	},
	KindTrades: {
		"id trade_id tradeid t", "price p", "quantity qty q", "quote_qty quoteqty quote_quantity base_qty baseqty",
		"time timestamp transact_time traded_at t", "is_buyer_maker isbuyermaker buyer_is_maker m",
		"is_best_match isbestmatch best_match m",
	},
}

func checkHeader(line []byte, kind ArchiveKind) string {
	known := headerNames[kind]
	columns := strings.Split(strings.ToLower(string(line)), ",")
	if len(columns) < len(known)-1 || len(columns) > len(known) {
		return fmt.Sprintf("the header has %d columns, %s have %d or %d", len(columns), kind, len(known)-1, len(known))
	}
	for i, column := range columns {
		if !containsWord(known[i], strings.Trim(column, " \"")) {
			return fmt.Sprintf("column %d of the header of %s cannot be %q", i+1, kind, column)
		}
	}
	return ""
}

func containsWord(words, word string) bool {
	for known := range strings.FieldsSeq(words) {
		if known == word {
			return true
		}
	}
	return false
}

// SniffKind tells the kind of a CSV from its first lines: its header, or where the time and the
// boolean stand in a row. It returns "" where they fit neither kind.
func SniffKind(head []byte) ArchiveKind {
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	for line := range bytes.Lines(head) {
		line = bytes.TrimRight(line, "\r\n")
		for _, kind := range []ArchiveKind{KindAggTrades, KindTrades} {
			if isHeader(line) {
				if checkHeader(line, kind) == "" {
					return kind
				}
			} else if _, _, reason := parseCSVRow(line, kind, new(Row)); reason == "" {
				return kind
			}
		}
		if len(line) > 0 {
			return ""
		}
	}
	return ""
}
