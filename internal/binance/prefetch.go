package binance

import (
	"context"
	"errors"
	"io"
)

const (
	prefetchBytes   = 256 << 10
	prefetchBuffers = 4
	// batchRows is how many rows are handed over together.
	batchRows = 8192
)

// RowBatch collects rows. Add must copy what it keeps of row; its error ends the reading.
type RowBatch interface {
	Add(row *Row, line int64) error
	Len() int
	Reset()
}

// UnreadableError is an error in a file's content, as opposed to one of its use.
type UnreadableError struct{ Err error }

func (e *UnreadableError) Error() string { return e.Err.Error() }
func (e *UnreadableError) Unwrap() error { return e.Err }

// ReadRows reads a CSV, of the archive's form unless layout says where the columns are, in three
// goroutines: one unpacks, one parses, and the caller's calls use with each batch of rows, which is
// reused when it returns. ReadRows returns how many rows the exchange had voided, and the first error: that of use, the context's cause, or an
// *UnreadableError with that of RowBatch.Add or CSVReader.Next. The caller closes content
// afterwards.
func ReadRows[B RowBatch](
	ctx context.Context, content io.Reader, kind ArchiveKind, layout *Columns, newBatch func() B, use func(B) error,
) (damaged int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	unpacked := prefetch(ctx, content)
	full, empty := make(chan B, prefetchBuffers), make(chan B, prefetchBuffers)
	for range cap(empty) {
		empty <- newBatch()
	}
	rows := NewCSVReader(unpacked, kind, layout)
	var readErr error
	go func() {
		defer close(full)
		readErr = sendRows(ctx, rows, full, empty)
	}()
	defer func() {
		cancel(nil)
		for range full { // until sendRows has returned
		}
		<-unpacked.done
	}()
	for batch := range full {
		if err := use(batch); err != nil {
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
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return &UnreadableError{err}
		}
	}
}

// prefetchReader reads from another reader in a goroutine, some buffers ahead of its own reads.
type prefetchReader struct {
	ctx     context.Context
	full    chan []byte
	empty   chan []byte
	done    chan struct{} // closed when the goroutine has ended
	err     error         // of the goroutine; set before full is closed
	current []byte
	unread  []byte // of current
}

func prefetch(ctx context.Context, in io.Reader) *prefetchReader {
	r := &prefetchReader{
		ctx: ctx, done: make(chan struct{}),
		full: make(chan []byte, prefetchBuffers), empty: make(chan []byte, prefetchBuffers),
	}
	for range cap(r.empty) {
		r.empty <- make([]byte, prefetchBytes)
	}
	go func() {
		defer close(r.done)
		defer close(r.full)
		r.err = r.readAll(in)
	}()
	return r
}

func (r *prefetchReader) readAll(in io.Reader) error {
	for {
		var buffer []byte
		select {
		case buffer = <-r.empty:
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
		// Not io.ReadFull, because it returns io.ErrUnexpectedEOF also at the ordinary end of the
		// text, and a truncated zip must not look like that.
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

func (r *prefetchReader) Read(p []byte) (int, error) {
	if len(r.unread) == 0 {
		if r.current != nil {
			r.empty <- r.current[:cap(r.current)]
			r.current = nil
		}
		buffer, ok := <-r.full
		if !ok {
			return 0, r.err
		}
		r.current, r.unread = buffer, buffer
	}
	n := copy(p, r.unread)
	r.unread = r.unread[n:]
	return n, nil
}
