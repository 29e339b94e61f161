// Package tape owns the trade tape on disk: its rows, its files, when they become visible, and
// which ids they hold.
//
// Its one guarantee: a file whose name ends in .parquet is complete, durable and never changes, and
// (symbol, id) occurs once in the files that a reader lists. docs/TAPE.md specifies the format.
package tape

import (
	"fmt"
	"time"
)

// Feed is one of Binance's two sequences of trades. A tape has one, chosen when it is created.
type Feed string

// The two feeds. In AggTrade an id is Binance's aggregate trade id (`a`), in RawTrade the trade id
// (`t`).
const (
	AggTrade Feed = "aggTrade"
	RawTrade Feed = "trade"
)

// ParseFeed parses a feed's name as it is written in flags and in tape.json.
func ParseFeed(name string) (Feed, error) {
	switch Feed(name) {
	case AggTrade, RawTrade:
		return Feed(name), nil
	}
	return "", fmt.Errorf("unknown feed %q: it is aggTrade or trade", name)
}

// MaxID is the largest id that a trade can have, and the raw trades in it: 18 digits. The exchange's are far
// below. Counts of ids and the ids beside one can therefore be computed without overflow.
const MaxID = 999_999_999_999_999_999

// MaxValue is the largest price and quantity that a trade can have, and the largest product of both. It is
// a thousand times what the exchange's limits allow, and sums of ten million such trades fit into the
// decimals of 38 digits in which queries sum.
const MaxValue = 1e15

// Trade is one row of the tape.
type Trade struct {
	// Symbol as the exchange spells it; it may be non-ASCII.
	Symbol string `parquet:"symbol,dict,id(1)"`
	// ID is the feed's own sequence number, consecutive for a symbol.
	ID int64 `parquet:"id,delta,id(2)"`
	// Price is in quote asset per base asset.
	Price float64 `parquet:"price,dict,id(3)"`
	// Qty is in base asset.
	Qty float64 `parquet:"qty,dict,id(4)"`
	// FirstTradeID and LastTradeID bound the raw trades in this row; both equal ID in the trade feed.
	FirstTradeID int64 `parquet:"first_trade_id,delta,id(5)"`
	LastTradeID  int64 `parquet:"last_trade_id,delta,id(6)"`
	// TradedAt is when it matched, in microseconds since the epoch, UTC.
	TradedAt int64 `parquet:"traded_at,timestamp(microsecond:local),delta,id(7)"`
	// IsBuyerMaker is Binance's m: true means that the taker sold.
	IsBuyerMaker bool `parquet:"is_buyer_maker,id(8)"`
}

// Source is where a segment's trades came from.
type Source string

// The sources.
const (
	FromStream  Source = "stream"
	FromREST    Source = "rest"
	FromArchive Source = "archive"
	FromFile    Source = "file"
	FromCompact Source = "compact"
)

// Origin describes a segment's trades in its key-value metadata.
type Origin struct {
	Source Source `json:"source"`
	// Run is the id of the run that wrote it, or empty.
	Run string `json:"run,omitempty"`
	// Detail is free text, such as a file's name and SHA-256.
	Detail string `json:"detail,omitempty"`
	// Inexact is the number of values whose double does not print back as the exchange's decimal.
	Inexact int64 `json:"inexact,omitempty"`
	// Restores makes the publication put trades on the tape whose ids were dropped on purpose, and
	// they are dropped no longer. Without it they are left out. It is not stored.
	Restores bool `json:"-"`
	// At is the time of the publication, which becomes the found_at of its conflicts; if it is zero, the
	// traded_at of the refused row does. It is not in the metadata.
	At time.Time `json:"-"`
	// Agreed counts ids by symbol that occurred more than once with the same content, and of which the
	// publication has one row. It is not in the metadata.
	Agreed map[string]int64 `json:"-"`
}

// Published is the result of a call that publishes rows.
type Published struct {
	// Rows written, and rows left out because they were on the tape already, were repeated in the call,
	// or have ids that were dropped from the tape on purpose.
	Rows, Dropped int64
	// Conflicts counts those of Dropped that have another content than the row that is on the tape,
	// whether or not they were found before; a row that the call had before counts once. All of them are
	// in the table conflicts. ConflictRows are the first few.
	Conflicts    int64
	ConflictRows []Conflict
	// Unreadable counts those of Dropped that were not compared, because the segment that has their id
	// cannot be read.
	Unreadable int64
	// Bytes of the new segments.
	Bytes int64
	// Segments are the new files' paths relative to the data directory.
	Segments []string
}

func (p *Published) add(path string, rows, bytes int64) {
	p.Rows += rows
	p.Bytes += bytes
	p.Segments = append(p.Segments, path)
}

// The valid times of a trade in microseconds since the epoch: [2009-01-01, 2100-01-01). No bitcoin
// was traded before. A time outside is in another unit.
const (
	firstMicros = 1_230_768_000_000_000
	endMicros   = 4_102_444_800_000_000
)

// ClockSkew is how far a correct clock may differ from the exchange's. What traded later than that after the present has
// a wrong time, or the present is wrong.
const ClockSkew = time.Minute

func validTime(micros int64) bool { return micros >= firstMicros && micros < endMicros }

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

const dayMicros = 24 * 60 * 60 * 1_000_000

// dayOf returns the UTC day number since the epoch of a time in microseconds.
func dayOf(micros int64) int64 {
	day := micros / dayMicros
	if micros%dayMicros < 0 {
		day--
	}
	return day
}

// dateOfDay returns the date, as in 2026-01-15, of a UTC day number since the epoch.
func dateOfDay(day int64) string {
	return time.Unix(day*86400, 0).UTC().Format(time.DateOnly)
}

// DateOf returns the UTC date, as in 2026-01-15, of a time in microseconds since the epoch. It is
// the partition of a row.
func DateOf(micros int64) string { return dateOfDay(dayOf(micros)) }

// dateBounds returns the half-open bounds of a date in microseconds since the epoch, or (0, 0) if
// it is not a date.
func dateBounds(date string) (first, next int64) {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return 0, 0
	}
	return day.UnixMicro(), day.UnixMicro() + dayMicros
}
