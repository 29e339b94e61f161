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
