package exchange

import "math"

// Kind is one of the two sequences that Binance numbers for a symbol, spelled as in stream names.
type Kind string

const (
	// AggTrade has one row for each price at which a taker order traded.
	AggTrade Kind = "aggTrade"
	// Trade has one row for each match.
	Trade Kind = "trade"
)

// Kinds lists both kinds.
func Kinds() []Kind { return []Kind{AggTrade, Trade} }

func (k Kind) index() int {
	if k == AggTrade {
		return 0
	}
	return 1
}

// Endless is the last release of a source that never ends.
const Endless = int64(math.MaxInt64)

// Symbol is a pair as exchangeInfo describes it.
type Symbol struct {
	// Name is the pair as Binance spells it: upper case, perhaps not ASCII.
	Name, Base, Quote string
	// Status is as in exchangeInfo; empty means TRADING.
	Status string
	// TickSize, StepSize and MinNotional are decimals; empty means 0.00000001 and, for MinNotional, 5.
	TickSize, StepSize, MinNotional string
	// ListedAt is when the symbol appears, in microseconds since 1970 UTC; before that exchangeInfo does not name it.
	ListedAt int64
	// DelistedAt is when the status becomes BREAK; 0 means never. The source must not have later rows.
	DelistedAt int64
}

// Row is one row of a symbol's sequence. Times are microseconds since 1970 UTC.
type Row struct {
	// ID numbers the aggregated trade or the trade. In the kind Trade, FirstTradeID and LastTradeID
	// equal it.
	ID, FirstTradeID, LastTradeID int64
	// Price and Qty are decimals, sent unchanged.
	Price, Qty string
	TradedAt   int64
	// EventAt is the event time E of the stream; 0 means TradedAt.
	EventAt int64
	// BuyerMaker is true if the taker sold.
	BuyerMaker bool
}

// Event is a row that was released to the streams.
type Event struct {
	// Symbol is the index in Source.Symbols.
	Symbol int
	Row
}

// Source holds the rows that the exchange serves. All methods are safe for concurrent use. Times are
// microseconds since 1970 UTC on the source's own clock, which the server moves. A row is released at
// some time of this clock, not before its TradedAt, and in the order of ids. Only LastReleased has to
// ignore rows that are not released yet: the server bounds the others' results by it.
type Source interface {
	// Symbols lists the pairs; their order never changes.
	Symbols() []Symbol
	// Release announces that the clock has reached a time. Until the next call the server asks for
	// nothing later.
	Release(until int64)
	// Rows appends to dst at most limit rows of a symbol with ids of at least fromID, in the order of ids.
	Rows(dst []Row, symbol string, kind Kind, fromID int64, limit int) []Row
	// FirstAt returns the id of the first row with TradedAt at or after a time.
	FirstAt(symbol string, kind Kind, at int64) (id int64, ok bool)
	// LastBefore returns the id of the last row with TradedAt before a time.
	LastBefore(symbol string, kind Kind, at int64) (id int64, ok bool)
	// LastReleased returns the id of the last row released at or before a time.
	LastReleased(symbol string, kind Kind, at int64) (id int64, ok bool)
	// Between appends to dst the rows of all symbols released in (after, until], in the order of their
	// release.
	Between(dst []Event, kind Kind, after, until int64) []Event
	// Span returns the times of the first and the last release. last is Endless if the source never
	// ends.
	Span() (first, last int64)
}
