package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// CSV is a file of archive rows of one symbol.
type CSV struct {
	Symbol symbol.Name
	Kind   binance.ArchiveKind
	// Layout says where the columns are; nil means the archive's form.
	Layout *binance.Columns
	// Open opens the text at its beginning.
	Open func() (io.ReadCloser, error)
	// Check, if not nil, returns an error for a row that makes the file unusable. It is called from
	// another goroutine than ReadSorted's, for one row at a time in the order of the file.
	Check func(row *binance.Row) error
	// Counted limits the rows whose inexact values are counted; nil means all rows.
	Counted idset.Set
}

// Batch is some trades in ascending order of ids.
type Batch struct {
	Trades []tape.Trade
	// Positions are the trades' places in the file: line or row numbers from 1.
	Positions []int64
	// Inexact counts values that do not print back as the exchange's decimal string. They may
	// belong to trades of another batch of the same file.
	Inexact int64
}

// FileError is an error in the content of a file, as opposed to one of the disk or the tape.
type FileError struct {
	Line int64 // the last line that was read without an error; 0 for none
	Err  error
}

func (e *FileError) Error() string { return e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// errUnsorted is the error of use if a file is not sorted by id.
var errUnsorted = errors.New("the rows are not sorted by id")

// ReadSorted reads the file to its end, where the checksum in a zip is verified, and passes its
// trades to use in the order of their ids; trades with the same id keep the order of the file. A
// batch is valid until use returns, and use may change it.
//
// ReadSorted calls start before the first batch. Most files are sorted; if one turns out not to be,
// ReadSorted calls start again, because everything that was passed so far will be passed again, and
// sorts the file in the staging directory of dir.
//
// It returns how many rows the exchange itself has voided; they are not passed. The error is a
// *FileError if the content is to blame.
func (c *CSV) ReadSorted(
	ctx context.Context, dir *tape.Dir, start func(), use func(*Batch) error,
) (voided int64, err error) {
	start()
	last := int64(-1)
	voided, err = c.read(ctx, func(b *csvBatch) error {
		if n := len(b.Trades); n > 0 {
			if b.unsorted || b.Trades[0].ID < last {
				return errUnsorted
			}
			last = b.Trades[n-1].ID
		}
		return use(&b.Batch)
	})
	if !errors.Is(err, errUnsorted) {
		return voided, err
	}
	start()
	sorter, err := newSorter(dir.StagingPath(), c.Symbol.String())
	if err != nil {
		return 0, err
	}
	defer sorter.close()
	var inexact int64
	voided, err = c.read(ctx, func(b *csvBatch) error {
		inexact += b.Inexact
		return sorter.add(b.Trades, b.Positions)
	})
	if err != nil {
		return 0, err
	}
	return voided, sorter.each(func(trades []tape.Trade, lines []int64) error {
		b := Batch{Trades: trades, Positions: lines, Inexact: inexact}
		inexact = 0 // the first batch reports all of them
		return use(&b)
	})
}

// read passes all rows in the order of the file.
func (c *CSV) read(ctx context.Context, use func(*csvBatch) error) (voided int64, err error) {
	content, err := c.Open()
	if err != nil {
		return 0, &FileError{Err: err}
	}
	defer content.Close()
	line := int64(0)
	voided, err = binance.ReadRows(ctx, content, c.Kind, c.Layout, func() *csvBatch { return &csvBatch{csv: c} }, func(b *csvBatch) error {
		if n := len(b.Positions); n > 0 {
			line = b.Positions[n-1]
		}
		return use(b)
	})
	var unreadable *binance.UnreadableError
	if errors.As(err, &unreadable) {
		return 0, &FileError{Line: line, Err: unreadable.Err}
	}
	return voided, err
}

// csvBatch is a binance.RowBatch.
type csvBatch struct {
	Batch
	csv      *CSV
	unsorted bool
}

func (b *csvBatch) Add(row *binance.Row, line int64) error {
	trade, inexact, err := FromRow(b.csv.Symbol, row)
	if b.csv.Check != nil {
		err = cmp.Or(b.csv.Check(row), err)
	}
	if err != nil {
		return fmt.Errorf("line %d: %w", line, err)
	}
	if n := inexact.Count(); n > 0 && (b.csv.Counted == nil || b.csv.Counted.Contains(row.ID)) {
		b.Inexact += n
	}
	if n := len(b.Trades); n > 0 && row.ID < b.Trades[n-1].ID {
		b.unsorted = true
	}
	b.Trades, b.Positions = append(b.Trades, trade), append(b.Positions, line)
	return nil
}

func (b *csvBatch) Len() int { return len(b.Trades) }

func (b *csvBatch) Reset() {
	b.Trades, b.Positions, b.Inexact, b.unsorted = b.Trades[:0], b.Positions[:0], 0, false
}
