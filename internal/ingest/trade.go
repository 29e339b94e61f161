// Package ingest converts the rows of other formats to rows of the tape: messages of the stream,
// rows of REST and lines of archive CSVs. It also reads whole CSVs in the order of their ids, and
// sorts on disk those that are in another order.
//
// Its one guarantee: the price and the quantity of a trade that it returns are above zero, small enough
// to be summed, and print back as the exchange's own decimal strings, or the caller is told that they do not. docs/TAPE.md
// describes the rows, docs/BINANCE.md what the exchange sends.
package ingest

import (
	"errors"
	"fmt"

	"tapedeck/internal/binance"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// ErrTooLarge is the error for a price, a quantity or a product of both above tape.MaxValue.
var ErrTooLarge = errors.New("the price, the quantity or their product is larger than 10^15")

// Inexact says which values of a trade are doubles that do not print back as the exchange's decimal
// string.
type Inexact struct{ Price, Qty bool }

// Count returns how many values are inexact, 0 to 2.
func (i Inexact) Count() (n int64) {
	if i.Price {
		n++
	}
	if i.Qty {
		n++
	}
	return n
}

// FromRow converts a row of REST or of an archive CSV. It does not allocate unless it fails.
func FromRow(name symbol.Name, row *binance.Row) (t tape.Trade, inexact Inexact, err error) {
	t = tape.Trade{
		Symbol: name.String(), ID: row.ID, FirstTradeID: row.FirstTradeID, LastTradeID: row.LastTradeID,
		TradedAt: row.Time, IsBuyerMaker: row.IsBuyerMaker,
	}
	inexact, err = parse(&t, row.Price, row.Qty)
	return t, inexact, err
}

// FromMessage converts a trade or aggTrade message of the stream. It does not allocate unless it
// fails.
func FromMessage(name symbol.Name, m *binance.Message) (t tape.Trade, inexact Inexact, err error) {
	t = tape.Trade{
		Symbol: name.String(), ID: m.ID, FirstTradeID: m.FirstTradeID, LastTradeID: m.LastTradeID,
		TradedAt: m.Time, IsBuyerMaker: m.BuyerMaker,
	}
	inexact, err = parse(&t, m.Price, m.Qty)
	return t, inexact, err
}

// parse sets the price and the quantity of a trade.
func parse(t *tape.Trade, price, qty []byte) (inexact Inexact, err error) {
	var exactPrice, exactQty bool
	if t.Price, exactPrice, err = tape.ParseDecimal(price); err != nil {
		return inexact, fmt.Errorf("price: %w", err)
	}
	if t.Qty, exactQty, err = tape.ParseDecimal(qty); err != nil {
		return inexact, fmt.Errorf("quantity: %w", err)
	}
	if !(t.Price > 0) || !(t.Qty > 0) {
		return inexact, fmt.Errorf("price %q or quantity %q is too small for a double", price, qty)
	}
	if t.Price > tape.MaxValue || t.Qty > tape.MaxValue || t.Price*t.Qty > tape.MaxValue {
		return inexact, ErrTooLarge
	}
	return Inexact{!exactPrice, !exactQty}, nil
}

// KindOf returns the kind of archive file that has a feed's trades.
func KindOf(feed tape.Feed) binance.ArchiveKind {
	if feed == tape.RawTrade {
		return binance.KindTrades
	}
	return binance.KindAggTrades
}

// FeedOf returns the feed whose trades an archive file has.
func FeedOf(kind binance.ArchiveKind) tape.Feed {
	if kind == binance.KindTrades {
		return tape.RawTrade
	}
	return tape.AggTrade
}
