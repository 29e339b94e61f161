package binance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ArchiveKind is the kind of rows in an archive file, as in its path and name.
type ArchiveKind string

const (
	KindAggTrades ArchiveKind = "aggTrades" // id, price, qty, first id, last id, time, is buyer maker[, best match]
	KindTrades    ArchiveKind = "trades"    // id, price, qty, quote qty, time, is buyer maker[, best match]
)

// Row is one trade from REST or the archive. Its decimals are the exchange's own text.
type Row struct {
	ID           int64
	Price, Qty   []byte // decimal text; from a CSVReader it is valid until the next call of Next
	FirstTradeID int64  // equal to ID in raw trades
	LastTradeID  int64
	Time         int64 // microseconds since 1970-01-01 UTC
	IsBuyerMaker bool
}

// CSVError is a line of a CSV that is not a valid row.
type CSVError struct {
	Line   int64 // from 1
	Reason string
	Text   string // the line's beginning; empty if it is not to be shown
}

func (e *CSVError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
	}
	return fmt.Sprintf("line %d: %s: %q", e.Line, e.Reason, e.Text)
}

const (
	csvBuffer  = 256 << 10
	csvMaxLine = 4 << 10 // the longest row of the archive is about 120 bytes
	maxExcerpt = 80

	// Archive times are milliseconds before 2025-01-01 and microseconds after, and some files mix
	// them. 1e14 is March 1973 in microseconds, and the year 5138 in milliseconds.
	microsFrom = int64(1e14)

	timeMin = int64(1230768000_000000) // 2009-01-01, before any bitcoin was traded
	timeMax = int64(4102444800_000000) // 2100-01-01
)

// CSVReader reads the rows of an archive CSV, with or without a header. Each row may be in
// milliseconds or microseconds, and spell true as True, true or TRUE. Rows are returned in the
// order of the file, which may differ from that of the ids. Only unusual rows cause allocations.
type CSVReader struct {
	in      io.Reader
	text    []byte // read and not returned yet
	buffer  []byte // contains text
	err     error  // of in, after text
	kind    ArchiveKind
	line    int64
	layout  *Columns // nil for the archive's
	columns int      // of the first row, which all rows must have
	damaged int64
}

// NewCSVReader returns a reader of rows of kind from in. If layout is not nil, it says where the
// columns are.
func NewCSVReader(in io.Reader, kind ArchiveKind, layout *Columns) *CSVReader {
	return &CSVReader{in: in, buffer: make([]byte, csvBuffer), kind: kind, layout: layout}
}

// Line returns the number of the line that Next read last, from 1.
func (r *CSVReader) Line() int64 { return r.line }

// Damaged returns how many rows were skipped because the exchange has voided them (price and
// quantity 0, trade ids -1).
func (r *CSVReader) Damaged() int64 { return r.damaged }

// Next reads the next trade into row. It returns io.EOF after the last row, a *CSVError for an
// invalid line, and otherwise the underlying reader's error. The reader cannot be used after an
// error.
func (r *CSVReader) Next(row *Row) error {
	for {
		line, err := r.readLine()
		if err != nil {
			return err
		}
		if r.line == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
			if r.layout != nil && r.layout.header {
				continue
			}
			if r.layout == nil && isHeader(line) {
				if reason := checkHeader(line, r.kind); reason != "" {
					return r.fail(line, reason)
				}
				continue
			}
		}
		if len(line) == 0 {
			continue
		}
		columns, damaged, reason := 0, false, ""
		if r.layout != nil {
			columns, damaged, reason = r.layout.parse(line, row)
		} else if columns = parseUsualRow(line, r.kind, row); columns == 0 {
			columns, damaged, reason = parseCSVRow(line, r.kind, row)
		}
		if reason != "" {
			return r.fail(line, reason)
		}
		if columns != r.columns {
			if r.columns != 0 { // a line that is truncated at a comma would be a valid row by itself
				return r.fail(line, fmt.Sprintf("it has %d columns, previous rows have %d", columns, r.columns))
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

// readLine returns the next line without its line end; it is valid until the next call.
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

// fill reads more text and returns the position of the first line end in it, or -1.
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

// IsHeader reports whether the first line of a CSV looks like a header: it starts with a letter, an
// underscore or a quote.
func IsHeader(line []byte) bool { return isHeader(bytes.TrimPrefix(line, []byte{'"'})) }

// IsFutures reports whether the first line of an archive CSV is that of a futures market's file, which
// has no column is_best_match. Spot files always have it, and futures files with a header say so too.
func IsFutures(line []byte, kind ArchiveKind) bool {
	columns := bytes.Count(line, []byte{','}) + 1
	return kind == KindAggTrades && columns == 7 || kind == KindTrades && columns == 6
}

// isHeader reports whether a line starts with a letter or an underscore.
func isHeader(line []byte) bool {
	return len(line) > 0 && ((line[0]|0x20)-'a' < 26 || line[0] == '_')
}

// headerNames are the column names that the archive's files and their README use.
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
		if !slices.Contains(strings.Fields(known[i]), strings.Trim(column, " \"")) {
			return fmt.Sprintf("column %d of the header is not one of %s", i+1, kind)
		}
	}
	return ""
}

// SniffKind returns the kind of a CSV from its first line that is not empty: from a header, or from
// the positions of the time and the boolean in a row. It returns "" if the line fits neither kind.
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
