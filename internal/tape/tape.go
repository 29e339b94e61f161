// Package tape owns the trade tape on disk: what a row is, where its file lies, when it is visible, and which ids are there.
//
// Its one guarantee: a file whose name ends in .parquet is complete, durable and never changes, and (symbol, id) stands once
// in whatever a reader lists. The layout is described in the project's README under "The tape".
package tape

import (
	"fmt"
	"time"
)

// Feed is which of Binance's two sequences a tape records. A tape has one, chosen when it is made.
type Feed string

// The two feeds. In AggTrade an id is Binance's aggregate trade id (`a`), in RawTrade the trade id (`t`).
const (
	AggTrade Feed = "aggTrade"
	RawTrade Feed = "trade"
)

// ParseFeed reads a feed's name as it stands in flags and in tape.json.
func ParseFeed(name string) (Feed, error) {
	switch Feed(name) {
	case AggTrade, RawTrade:
		return Feed(name), nil
	}
	return "", fmt.Errorf("unknown feed %q: it is aggTrade or trade", name)
}

// Trade is one row of the tape.
type Trade struct {
	// Symbol as the exchange spells it; it may be non-ASCII.
	Symbol string `parquet:"symbol,dict"`
	// ID is the feed's own sequence number, consecutive for a symbol.
	ID int64 `parquet:"id,delta"`
	// Price is in quote asset per base asset.
	Price float64 `parquet:"price,dict"`
	// Qty is in base asset.
	Qty float64 `parquet:"qty,dict"`
	// FirstTradeID and LastTradeID bound the raw trades in this row; both equal ID in the trade feed.
	FirstTradeID int64 `parquet:"first_trade_id,delta"`
	LastTradeID  int64 `parquet:"last_trade_id,delta"`
	// TradedAt is when it matched, in microseconds since the epoch, UTC.
	TradedAt int64 `parquet:"traded_at,timestamp(microsecond:local),delta"`
	// IsBuyerMaker is Binance's m: true means that the taker sold.
	IsBuyerMaker bool `parquet:"is_buyer_maker"`
}

// Source says where a segment's trades came from.
type Source string

// The sources.
const (
	FromStream  Source = "stream"
	FromREST    Source = "rest"
	FromArchive Source = "archive"
	FromFile    Source = "file"
	FromCompact Source = "compact"
)

// Origin is written into a segment's key-value metadata.
type Origin struct {
	Source Source `json:"source"`
	// Run is the id of the run that wrote it, empty for none.
	Run string `json:"run,omitempty"`
	// Detail is free text: a file's name, its sha256.
	Detail string `json:"detail,omitempty"`
	// Inexact counts the values whose double does not print back as the exchange's decimal string.
	Inexact int64 `json:"inexact,omitempty"`
}

// Published is what a publishing call did.
type Published struct {
	// Rows written, and rows left out because they were on the tape already or stood twice in the call.
	Rows, Dropped int64
	// Bytes of the new segments.
	Bytes int64
	// Segments are the new files' paths relative to the data directory.
	Segments []string
}

// The times at which a trade can have been, in microseconds: [2009-01-01, 2100-01-01). Nothing was traded for bitcoin before, and what lies
// outside is a time in another unit.
const (
	firstMicros = 1_230_768_000_000_000
	endMicros   = 4_102_444_800_000_000
)

// tradeable says whether a trade can have been at a time in microseconds.
func tradeable(micros int64) bool { return micros >= firstMicros && micros < endMicros }

const dayMicros = 24 * 60 * 60 * 1_000_000

// dayOf gives the UTC day number since the epoch of a time in microseconds.
func dayOf(micros int64) int64 {
	day := micros / dayMicros
	if micros%dayMicros < 0 {
		day--
	}
	return day
}

// dateOfDay gives the date, as in 2026-01-15, of a UTC day number since the epoch.
func dateOfDay(day int64) string {
	return time.Unix(day*86400, 0).UTC().Format(time.DateOnly)
}

// DateOf gives the UTC date, as in 2026-01-15, of a time in microseconds since the epoch: the partition of a row.
func DateOf(micros int64) string { return dateOfDay(dayOf(micros)) }

// dateBounds gives the half-open bounds of a date in microseconds since the epoch; (0, 0) if it is not a date.
func dateBounds(date string) (first, next int64) {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return 0, 0
	}
	return day.UnixMicro(), day.UnixMicro() + dayMicros
}
