package importer

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"

	"tapedeck/analytics/tape"
	"tapedeck/jobs/internal/binance"
)

// errUnsorted says that a file is not in the order of its ids.
var errUnsorted = errors.New("the rows are not in the order of their ids")

const (
	// batchRows go from the reader to the tape at once.
	batchRows = 8192
	// batchesAhead is how far the reader may be ahead.
	batchesAhead = 4
)

// batch is some rows of a file in its order.
type batch struct {
	trades  []tape.Trade
	lines   []int64 // of trades
	inexact int64
}

func (b *batch) reset() { b.trades, b.lines, b.inexact = b.trades[:0], b.lines[:0], 0 }

// takeCSV stages the rows of a CSV. Most files are in the order of their ids and are staged while they are read; one that
// turns out not to be is read again and sorted on disk.
func takeCSV(ctx context.Context, dir *tape.Dir, s *source, begin func() *sink) (*sink, error) {
	out := begin()
	last := int64(-1)
	err := eachBatch(ctx, s, &out.damaged, func(b *batch) error {
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

// eachBatch reads a CSV to its end in a goroutine of its own and gives its trades.
func eachBatch(ctx context.Context, s *source, damaged *int64, do func(*batch) error) error {
	ctx, cancel := context.WithCancel(ctx)
	full, empty := make(chan *batch, batchesAhead), make(chan *batch, batchesAhead+2)
	for range cap(empty) {
		empty <- &batch{}
	}
	var readErr error
	go func() {
		defer close(full)
		readErr = readCSV(ctx, s, full, empty, damaged)
	}()
	defer func() {
		cancel()
		for range full { // until the reader has ended
		}
	}()
	for b := range full {
		if err := do(b); err != nil {
			return err
		}
		s.tellProgress()
		b.reset()
		empty <- b
	}
	return readErr
}

// readCSV sends a CSV's trades in batches.
func readCSV(ctx context.Context, s *source, full chan<- *batch, empty <-chan *batch, damaged *int64) error {
	_, content, err := s.open()
	if err != nil {
		return problem(err)
	}
	defer content.Close()
	rows := binance.NewCSVReader(content, s.kind)
	defer func() { *damaged = rows.Damaged() }()
	var row binance.Row
	for {
		var b *batch
		select {
		case b = <-empty:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for len(b.trades) < batchRows {
			err = rows.Next(&row)
			if err != nil {
				break
			}
			trade, inexact, err := tradeOf(s.symbol, &row)
			if err != nil {
				return problemf("line %d: %w", rows.Line(), err)
			}
			b.trades = append(b.trades, trade)
			b.lines = append(b.lines, rows.Line())
			b.inexact += inexact
		}
		select {
		case full <- b:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return problem(describeAt(rows.Line(), err))
		}
	}
}

// describeAt says at which line a file broke off.
func describeAt(line int64, err error) error {
	var row *binance.CSVError
	if errors.As(err, &row) {
		return err // it names its line
	}
	return fmt.Errorf("after line %d: %w", line, describe(err))
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
