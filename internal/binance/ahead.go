package binance

import (
	"context"
	"errors"
	"io"
)

const (
	aheadBytes   = 256 << 10
	aheadBuffers = 4
	// batchRows go from the reader of rows to their user at once.
	batchRows = 8192
)

// RowBatch collects rows. Add may keep nothing of row but copies; its error ends the reading.
type RowBatch interface {
	Add(row *Row, line int64) error
	Len() int
	Reset()
}

// UnreadableError is an error of a file's content, and not of what is done with it.
type UnreadableError struct{ Err error }

func (e *UnreadableError) Error() string { return e.Err.Error() }
func (e *UnreadableError) Unwrap() error { return e.Err }

// ReadAhead unpacks a CSV, reads its rows and uses them at the same time, in three goroutines. do is called in the caller's; the batch is used again when
// it returns. It returns how many rows the exchange had voided, and the first error: that of do, the context's, or an *UnreadableError with that of a
// batch's Add or of CSVReader.Next. content is closed by the caller, after.
func ReadAhead[B RowBatch](ctx context.Context, content io.Reader, kind ArchiveKind, newBatch func() B, do func(B) error) (damaged int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	unpacked := readAhead(ctx, content)
	full, empty := make(chan B, aheadBuffers), make(chan B, aheadBuffers)
	for range cap(empty) {
		empty <- newBatch()
	}
	rows := NewCSVReader(unpacked, kind)
	var readErr error
	go func() {
		defer close(full)
		readErr = sendRows(ctx, rows, full, empty)
	}()
	defer func() {
		cancel(nil)
		for range full { // until the reader has ended
		}
		<-unpacked.ended
	}()
	for batch := range full {
		if err := do(batch); err != nil {
			return 0, err
		}
		batch.Reset()
		empty <- batch
	}
	return rows.Damaged(), readErr
}

func sendRows[B RowBatch](ctx context.Context, rows *CSVReader, full chan<- B, empty <-chan B) error {
	var row Row
	for {
		var batch B
		select {
		case batch = <-empty:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var err error
		for err == nil && batch.Len() < batchRows {
			if err = rows.Next(&row); err == nil {
				err = batch.Add(&row, rows.Line())
			}
		}
		select {
		case full <- batch:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return &UnreadableError{err}
		}
	}
}

// aheadReader reads in a goroutine of its own, some buffers ahead.
type aheadReader struct {
	ctx     context.Context
	full    chan []byte
	empty   chan []byte
	ended   chan struct{}
	err     error // of the reading; set before full is closed
	current []byte
	rest    []byte // of current
}

func readAhead(ctx context.Context, in io.Reader) *aheadReader {
	r := &aheadReader{ctx: ctx, full: make(chan []byte, aheadBuffers), empty: make(chan []byte, aheadBuffers), ended: make(chan struct{})}
	for range cap(r.empty) {
		r.empty <- make([]byte, aheadBytes)
	}
	go func() {
		defer close(r.ended)
		defer close(r.full)
		r.err = r.readAll(in)
	}()
	return r
}

func (r *aheadReader) readAll(in io.Reader) error {
	for {
		var buffer []byte
		select {
		case buffer = <-r.empty:
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
		// Not io.ReadFull, which takes an unexpected end of a zip for the end of the text.
		n := 0
		var err error
		for n < len(buffer) && err == nil {
			var more int
			more, err = in.Read(buffer[n:])
			n += more
		}
		if n > 0 {
			select {
			case r.full <- buffer[:n]:
			case <-r.ctx.Done():
				return context.Cause(r.ctx)
			}
		}
		if err != nil {
			return err
		}
	}
}

func (r *aheadReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.current != nil {
			r.empty <- r.current[:cap(r.current)]
			r.current = nil
		}
		buffer, ok := <-r.full
		if !ok {
			return 0, r.err
		}
		r.current, r.rest = buffer, buffer
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
