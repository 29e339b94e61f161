package binance

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/symbol"
)

// The names that ColumnNames maps, in the order of Columns.
const (
	columnID           = "id"
	columnPrice        = "price"
	columnQty          = "qty"
	columnFirstTradeID = "first_trade_id"
	columnLastTradeID  = "last_trade_id"
	columnTime         = "traded_at"
	columnIsBuyerMaker = "is_buyer_maker"
	columnSymbol       = "symbol"
)

// ColumnNames returns the names of a trade's columns, as the tape spells them. A CSV may lack symbol,
// and first_trade_id and last_trade_id together.
func ColumnNames() []string {
	return []string{
		columnID, columnPrice, columnQty, columnFirstTradeID, columnLastTradeID, columnTime, columnIsBuyerMaker, columnSymbol,
	}
}

// ColumnsError is a CSV whose columns are not known, or a mapping that does not fit it.
type ColumnsError struct {
	Reason string
	Have   []string // the columns of the file's header, or of its first line
}

func (e *ColumnsError) Error() string {
	return fmt.Sprintf("%s; wanted are id, price, qty, traded_at, is_buyer_maker and, for aggregate trades, first_trade_id and "+
		"last_trade_id; the file has %s", e.Reason, strings.Join(e.Have, ", "))
}

// Columns says where the columns of a CSV are that does not have the archive's form.
type Columns struct {
	id, price, qty, first, last, time, maker int    // indexes; first and last are -1 if there are none
	symbol                                   int    // -1 for none
	name                                     string // of the symbol
	header                                   bool   // the first line is a header
}

// NewColumns returns where the columns of a CSV with a first line are. mapping has the name in the
// file's header, or the number from 1, by the tape's name; a name that it lacks is that of the tape.
// If the file has a column with symbols, every row must have the symbol of. The error is a *ColumnsError.
func NewColumns(line []byte, mapping map[string]string, of symbol.Name) (*Columns, error) {
	have := headerFields(line)
	fail := func(format string, args ...any) error { return &ColumnsError{fmt.Sprintf(format, args...), have} }
	c := &Columns{name: of.String()}
	numbered := false
	for _, name := range ColumnNames() {
		at := -1
		theirs, mapped := mapping[name]
		if n, err := strconv.Atoi(theirs); mapped && err == nil {
			if n < 1 || n > len(have) {
				return nil, fail("%s=%d: the file has %d columns", name, n, len(have))
			}
			at, numbered = n-1, true
		} else {
			if !mapped {
				theirs = name
			}
			at = slices.IndexFunc(have, func(field string) bool { return strings.EqualFold(field, theirs) })
			if at < 0 && mapped {
				return nil, fail("%s=%s: the file has no such column", name, theirs)
			}
		}
		*c.index(name) = at
	}
	var missing []string
	for _, name := range []string{columnID, columnPrice, columnQty, columnTime, columnIsBuyerMaker} {
		if *c.index(name) < 0 {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fail("no column is named %s", strings.Join(missing, " or "))
	}
	if (c.first < 0) != (c.last < 0) {
		return nil, fail("first_trade_id and last_trade_id are only useful together")
	}
	_, isRow := parseDigits([]byte(have[c.id]))
	c.header = !numbered || !isRow
	return c, nil
}

// index returns the index of a column.
func (c *Columns) index(name string) *int {
	return map[string]*int{
		columnID: &c.id, columnPrice: &c.price, columnQty: &c.qty, columnFirstTradeID: &c.first, columnLastTradeID: &c.last,
		columnTime: &c.time, columnIsBuyerMaker: &c.maker, columnSymbol: &c.symbol,
	}[name]
}

// Kind returns the kind of the rows: aggregate trades have raw trades.
func (c *Columns) Kind() ArchiveKind {
	if c.first >= 0 {
		return KindAggTrades
	}
	return KindTrades
}

// headerFields returns the fields of a line without quotes.
func headerFields(line []byte) []string {
	fields := strings.Split(string(line), ",")
	for i, field := range fields {
		fields[i] = excerpt([]byte(strings.Trim(field, " \"\r")))
	}
	return fields
}

// parse parses a line into row, as parseCSVRow does. Unlike the archive's, the line may have quotes,
// and its time any of the usual forms.
func (c *Columns) parse(line []byte, row *Row) (columns int, damaged bool, reason string) {
	fields := bytes.Split(line, []byte{','})
	count := len(fields)
	for i := range fields {
		fields[i] = bytes.Trim(fields[i], " \"")
	}
	if last := max(c.id, c.price, c.qty, c.first, c.last, c.time, c.maker, c.symbol); last >= count {
		return count, false, fmt.Sprintf("it has %d columns, column %d is needed", count, last+1)
	}
	if c.symbol >= 0 && string(fields[c.symbol]) != c.name {
		return count, false, fmt.Sprintf("the symbol is %q, a CSV can only have rows of one, here %q", excerpt(fields[c.symbol]), c.name)
	}
	canonical := [...][]byte{fields[c.id], fields[c.price], fields[c.qty], fields[c.id], fields[c.id], nil, fields[c.maker]}
	if c.first >= 0 {
		canonical[3], canonical[4] = fields[c.first], fields[c.last]
	}
	micros, ok := parseAnyTime(string(fields[c.time]))
	if !ok {
		return count, false, "the time is neither a number since 1970 nor like 2026-01-15T12:00:00Z"
	}
	canonical[5] = strconv.AppendInt(nil, micros, 10)
	switch string(canonical[6]) {
	case "1", "t":
		canonical[6] = []byte("true")
	case "0", "f":
		canonical[6] = []byte("false")
	}
	_, damaged, reason = parseFields(canonical[:], KindAggTrades, row)
	return count, damaged, reason
}

// parseAnyTime returns microseconds since 1970 from seconds, milliseconds, microseconds or
// nanoseconds since then, which their size tells apart, or from a date and time, in UTC unless it
// names a zone.
func parseAnyTime(text string) (micros int64, ok bool) {
	if value, err := strconv.ParseInt(text, 10, 64); err == nil {
		switch {
		case value < 1e11:
			return value * 1e6, value > 0
		case value < 1e14:
			return value * 1e3, true
		case value < 1e17:
			return value, true
		}
		return value / 1e3, true
	}
	if value, err := strconv.ParseFloat(text, 64); err == nil && value > 0 && value < 1e11 { // seconds with a fraction
		return int64(math.Round(value * 1e6)), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UnixMicro(), true
		}
	}
	return 0, false
}
