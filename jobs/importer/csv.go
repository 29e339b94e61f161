package importer

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"

	"tapedeck/internal/binance"
	"tapedeck/internal/tape"
)

// errUnsorted says that a file is not in the order of its ids.
var errUnsorted = errors.New("the rows are not in the order of their ids")

// batch is some rows of a file in its order.
type batch struct {
	symbol  string
	trades  []tape.Trade
	places  []int64 // of trades: lines, or rows
	inexact int64
}

func (b *batch) Add(row *binance.Row, line int64) error {
	trade, inexact, err := tradeOf(b.symbol, row)
	if err != nil {
		return fmt.Errorf("line %d: %w", line, err)
	}
	b.trades, b.places = append(b.trades, trade), append(b.places, line)
	b.inexact += inexact
	return nil
}

func (b *batch) Len() int { return len(b.trades) }

func (b *batch) Reset() { b.trades, b.places, b.inexact = b.trades[:0], b.places[:0], 0 }

// takeCSV stages the rows of a CSV. Most files are in the order of their ids and are staged while they are read; one that
// turns out not to be is read again and sorted on disk.
func takeCSV(ctx context.Context, dir *tape.Dir, s *source, begin func() *sink) (*sink, error) {
	out := begin()
	last := int64(-1)
	err := eachBatch(ctx, s, out, func(b *batch) error {
		for i := range b.trades {
			if b.trades[i].ID < last {
				return errUnsorted
			}
			last = b.trades[i].ID
		}
		return out.add(ctx, b)
	})
	if errors.Is(err, errUnsorted) {
		out.load.Discard()
		out = begin()
		err = takeUnsorted(ctx, dir, s, out)
	}
	if err != nil {
		out.load.Discard()
		return nil, err
	}
	return out, nil
}

func takeUnsorted(ctx context.Context, dir *tape.Dir, s *source, out *sink) error {
	sorter, err := dir.NewSorter(s.symbol)
	if err != nil {
		return err
	}
	defer sorter.Close()
	sorted := &batch{}
	if err := eachBatch(ctx, s, out, func(b *batch) error {
		sorted.inexact += b.inexact
		return sorter.Add(b.trades, b.places)
	}); err != nil {
		return err
	}
	return sorter.Each(func(trades []tape.Trade, lines []int64) error {
		sorted.trades, sorted.places = trades, lines
		err := out.add(ctx, sorted)
		sorted.inexact = 0 // it was told
		return err
	})
}

// eachBatch reads a CSV to its end and gives its trades.
func eachBatch(ctx context.Context, s *source, out *sink, do func(*batch) error) error {
	_, content, err := s.open()
	if err != nil {
		return problem(err)
	}
	defer content.Close()
	line := int64(0)
	out.damaged, err = binance.ReadAhead(ctx, content, s.kind, func() *batch { return &batch{symbol: s.symbol} }, func(b *batch) error {
		s.tellProgress()
		if n := len(b.places); n > 0 {
			line = b.places[n-1]
		}
		return do(b)
	})
	var unreadable *binance.UnreadableError
	if errors.As(err, &unreadable) {
		return problem(describeAt(line, unreadable.Err))
	}
	return err
}

// describeAt says at which line a file broke off.
func describeAt(line int64, err error) error {
	if plain := describe(err); plain != err {
		return fmt.Errorf("after line %d: %w", line, plain)
	}
	return err // of a row, and names its line
}

// describe says in plain words what a zip's reader found.
func describe(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, zip.ErrFormat):
		return errors.New("it is no whole zip: it was cut short, or is something else")
	case errors.Is(err, zip.ErrChecksum):
		return errors.New("the zip is damaged: its content does not fit the checksum in it")
	case errors.Is(err, zip.ErrAlgorithm):
		return errors.New("the zip is packed in a way that is not read")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &corrupt):
		return fmt.Errorf("the zip is damaged: %w", err)
	}
	return err
}

// tradeOf makes a trade of a row and counts the values that a double does not hold exactly.
func tradeOf(symbol string, row *binance.Row) (trade tape.Trade, inexact int64, err error) {
	price, exactPrice, err := tape.ParseDecimal(row.Price)
	if err != nil {
		return trade, 0, fmt.Errorf("the price: %w", err)
	}
	qty, exactQty, err := tape.ParseDecimal(row.Qty)
	if err != nil {
		return trade, 0, fmt.Errorf("the quantity: %w", err)
	}
	if !(price > 0) || !(qty > 0) {
		return trade, 0, fmt.Errorf("the price or the quantity is too small for a double: %q, %q", row.Price, row.Qty)
	}
	if !exactPrice {
		inexact++
	}
	if !exactQty {
		inexact++
	}
	return tape.Trade{
		Symbol: symbol, ID: row.ID, Price: price, Qty: qty, FirstTradeID: row.FirstTradeID, LastTradeID: row.LastTradeID,
		TradedAt: row.Time, IsBuyerMaker: row.IsBuyerMaker,
	}, inexact, nil
}
