package exchange

import "math"

// Kind names one of the two sequences that Binance numbers for a symbol, as its streams spell it.
type Kind string

const (
	// AggTrade has one row for each price at which a taker order traded.
	AggTrade Kind = "aggTrade"
	// Trade has one row for each match.
	Trade Kind = "trade"
)

// Kinds lists both.
func Kinds() []Kind { return []Kind{AggTrade, Trade} }

func (k Kind) index() int {
	if k == AggTrade {
		return 0
	}
	return 1
}

// Endless is the end of a source that never ends.
const Endless = int64(math.MaxInt64)

// Symbol is a pair as exchangeInfo describes it.
type Symbol struct {
	// Name is the pair as Binance spells it: upper case, perhaps not ASCII.
	Name, Base, Quote string
	// Status is TRADING where empty.
	Status string
	// TickSize, StepSize and MinNotional are decimals; empty means 0.00000001 and, for MinNotional, 5.
	TickSize, StepSize, MinNotional string
	// ListedAt is when the symbol appears, in microseconds since 1970 UTC; before that exchangeInfo does not name it.
	ListedAt int64
	// DelistedAt, where not 0, is from when on the status is BREAK; it is the source's matter that nothing trades then.
	DelistedAt int64
}

// Row is one row of a symbol's sequence. Times are microseconds since 1970 UTC.
type Row struct {
	// ID is the aggregated trade's or the trade's own; FirstTradeID and LastTradeID equal it in the kind Trade.
	ID, FirstTradeID, LastTradeID int64
	// Price and Qty are sent as they stand here.
	Price, Qty string
	TradedAt   int64
	// EventAt is the stream's E; 0 means TradedAt.
	EventAt    int64
	BuyerMaker bool
}

// Event is a row on its way into the streams.
type Event struct {
	// Symbol is the place in Source.Symbols.
	Symbol int
	Row
}

// Source is what the exchange trades. All methods may be called from many goroutines. Times are microseconds since
// 1970 UTC on the source's own clock, which the server runs: a row is released at some instant of it, not before the
// row's TradedAt, and in the order of ids. A source ignores what is not released yet only in LastReleased; the server
// bounds everything else by it.
type Source interface {
	// Symbols lists the pairs; their order never changes.
	Symbols() []Symbol
	// Release tells the source that the clock has reached a time; nothing later is asked about before the next call.
	Release(until int64)
	// Rows appends to dst at most limit rows of a symbol with ids of at least fromID, in the order of ids.
	Rows(dst []Row, symbol string, kind Kind, fromID int64, limit int) []Row
	// FirstAt returns the id of the first row with TradedAt at or after a time.
	FirstAt(symbol string, kind Kind, at int64) (id int64, ok bool)
	// LastBefore returns the id of the last row with TradedAt before a time.
	LastBefore(symbol string, kind Kind, at int64) (id int64, ok bool)
	// LastReleased returns the id of the last row released at or before a time.
	LastReleased(symbol string, kind Kind, at int64) (id int64, ok bool)
	// Between appends to dst the rows of all symbols released in (after, until], in the order of their release. The
	// server asks for one slice of time after the other.
	Between(dst []Event, kind Kind, after, until int64) []Event
	// Span returns the instants of the first and of the last release. The last is Endless where there is none.
	Span() (first, last int64)
}
