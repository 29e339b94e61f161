package exchange

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"tapedeck/internal/durable"
)

// Captures of Binance's combined streams have one message per line, plain or gzipped, in one of two
// forms:
//
//	1723161254087896568 {"stream":"btcusdt@trade","data":{…}}     the time of receipt in nanoseconds
//	1617566591.326123: {"stream":"btcusdt@aggTrade","data":{…}}   in seconds; the first line is the URL
//
// Messages of other streams, the URL, and REST snapshots (without an envelope, or with their URL before
// the time) are skipped. Prices and quantities keep the capture's spelling.

// CaptureError reports a capture that cannot be read to its end.
type CaptureError struct {
	Path string
	Line int
	Err  error
}

func (e *CaptureError) Error() string { return fmt.Sprintf("%s:%d: %v", e.Path, e.Line, e.Err) }

// Unwrap returns the cause.
func (e *CaptureError) Unwrap() error { return e.Err }

// Recording is a source of captures of Binance's streams, in the order of receipt.
type Recording struct {
	*Memory
	// Messages counts the trades and aggregated trades by symbol, Skipped the other lines.
	Messages map[string]int
	Skipped  int
}

// captured is an event of either kind. Each key that differs from another only by case must be listed,
// because encoding/json ignores case.
type captured struct {
	Event      string `json:"e"`
	EventTime  int64  `json:"E"`
	Symbol     string `json:"s"`
	TradeID    int64  `json:"t"`
	AggID      any    `json:"a"` // of an aggregated trade; in trades before 2024-06 an order id
	Price      string `json:"p"`
	Qty        string `json:"q"`
	First      int64  `json:"f"`
	Last       int64  `json:"l"`
	TradeTime  int64  `json:"T"`
	BuyerMaker bool   `json:"m"`
	Ignored    bool   `json:"M"`
}

// OpenRecording reads captures and merges them by time of receipt. A truncated capture is a
// *CaptureError. If the captures have no aggregated trades, those are derived.
//
// The clock of a recording is the recorder's, corrected: it is moved forward until no message is
// received before its own event time.
func OpenRecording(paths ...string) (*Recording, error) {
	r := &Recording{Messages: map[string]int{}}
	var rows []MemoryRow
	for _, path := range paths {
		read, err := r.readCapture(path, rows)
		if err != nil {
			return nil, err
		}
		rows = read
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: no trades and no aggregated trades", strings.Join(paths, ", "))
	}
	correction := int64(0)
	for i := range rows {
		correction = max(correction, rows[i].EventAt-rows[i].ReleasedAt)
	}
	for i := range rows {
		rows[i].ReleasedAt += correction
	}
	if !slices.ContainsFunc(rows, func(row MemoryRow) bool { return row.Kind == AggTrade }) {
		rows = append(rows, aggregate(NewMemory(nil, rows))...)
	}
	r.Memory = NewMemory(nil, rows)
	return r, nil
}

func (r *Recording) readCapture(path string, rows []MemoryRow) ([]MemoryRow, error) {
	file, err := durable.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	number := 0
	fail := func(err error) error { return &CaptureError{Path: path, Line: number + 1, Err: err} }
	buffered := bufio.NewReaderSize(file, 1<<16)
	var in io.Reader = buffered
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzip, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fail(fmt.Errorf("gzip: %w", err))
		}
		in = unzip
	}
	lines := bufio.NewReaderSize(in, 1<<20)
	for ; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the compressed data is truncated: %w", err)
		}
		if err != nil && err != io.EOF {
			return nil, fail(err)
		}
		if line := bytes.TrimSpace(line); len(line) > 0 {
			row, ok, err := parseCaptureLine(line, number == 0)
			if err != nil {
				return nil, fail(err)
			}
			if ok {
				rows = append(rows, row)
				r.Messages[row.Symbol]++
			} else {
				r.Skipped++
			}
		}
		if err == io.EOF {
			return rows, nil
		}
	}
}

// parseCaptureLine reads a line of a capture; ok is true if it is a trade or an aggregated trade.
func parseCaptureLine(line []byte, first bool) (row MemoryRow, ok bool, err error) {
	brace := bytes.IndexByte(line, '{')
	if brace < 0 {
		if first && bytes.Contains(line, []byte("://")) {
			return row, false, nil // the URL
		}
		return row, false, fmt.Errorf("no message in %.60q", line)
	}
	// Most lines are long and of other streams. Of those only the braces are checked.
	if message := line[brace:]; bytes.Count(message, []byte("{")) != bytes.Count(message, []byte("}")) {
		return row, false, fmt.Errorf("half a message in %.60q", line)
	}
	if bytes.Contains(line[:brace], []byte("://")) {
		return row, false, nil // a snapshot
	}
	received, err := parseReceived(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(line[:brace])), ":")))
	if err != nil {
		return row, false, err
	}
	if !bytes.Contains(line, []byte(`"e":"trade"`)) && !bytes.Contains(line, []byte(`"e":"aggTrade"`)) {
		return row, false, nil
	}
	var envelope struct {
		Stream string   `json:"stream"`
		Data   captured `json:"data"`
	}
	if err := json.Unmarshal(line[brace:], &envelope); err != nil {
		return row, false, fmt.Errorf("%w in %.60q", err, line)
	}
	e := &envelope.Data
	row = MemoryRow{Symbol: e.Symbol, Kind: Kind(e.Event), ReleasedAt: received, Row: Row{
		ID: e.TradeID, FirstTradeID: e.First, LastTradeID: e.Last, Price: e.Price, Qty: e.Qty,
		TradedAt: micros(e.TradeTime), EventAt: micros(e.EventTime), BuyerMaker: e.BuyerMaker,
	}}
	if row.Kind == AggTrade {
		id, isNumber := e.AggID.(float64) // exact below 2^53
		if !isNumber {
			return row, false, fmt.Errorf("no id in %.60q", line)
		}
		row.ID = int64(id)
	}
	if row.Symbol == "" || row.ID <= 0 || row.Price == "" || row.Qty == "" || row.TradedAt <= 0 {
		return row, false, fmt.Errorf("not a whole %s in %.60q", row.Kind, line)
	}
	return row, true, nil
}

// micros converts milliseconds or microseconds to microseconds.
func micros(t int64) int64 {
	if t < microsFrom {
		return t * 1000
	}
	return t
}

// parseReceived reads nanoseconds, or seconds with a fraction, and returns microseconds.
func parseReceived(text string) (int64, error) {
	whole, fraction, isSeconds := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("no time of receipt in %.60q", text)
	}
	if !isSeconds {
		return n / 1000, nil
	}
	part, err := strconv.ParseUint((fraction + "000000")[:6], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("no time of receipt in %.60q", text)
	}
	return n*1_000_000 + int64(part), nil
}

// aggregate derives aggregated trades from trades as if the recording were the whole history: their
// ids begin at 1, and consecutive trades of one millisecond, price and side are combined. An aggregated
// trade is released with the last of its trades.
func aggregate(m *Memory) []MemoryRow {
	var out []MemoryRow
	for i, symbol := range m.symbols {
		s := &m.rows[Trade.index()][i]
		id := int64(0)
		for j := range s.rows {
			r := &s.rows[j]
			if n := len(out); id > 0 && j > 0 {
				last := &out[n-1]
				if last.TradedAt/1000 == r.TradedAt/1000 && last.Price == r.Price && last.BuyerMaker == r.BuyerMaker &&
					last.LastTradeID+1 == r.ID {
					last.Qty = string(AppendDecimal(nil, parseDecimal(last.Qty)+parseDecimal(r.Qty)))
					last.LastTradeID, last.EventAt, last.ReleasedAt = r.ID, r.EventAt, s.released[j]
					continue
				}
			}
			id++
			agg := *r
			agg.ID, agg.FirstTradeID, agg.LastTradeID = id, r.ID, r.ID
			out = append(out, MemoryRow{Symbol: symbol.Name, Kind: AggTrade, Row: agg, ReleasedAt: s.released[j]})
		}
	}
	return out
}
