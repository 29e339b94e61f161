package analytics

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"tapedeck/internal/durable"
	"tapedeck/internal/wording"
)

// Format is a file format of results.
type Format string

// The formats of Export.
const (
	// In CSV, a text that a spreadsheet would take for a formula has an apostrophe before it.
	CSV     Format = "csv"
	RawCSV  Format = "raw csv"
	JSON    Format = "json"
	Parquet Format = "parquet"
)

var copyOptions = map[Format]string{
	CSV:     "FORMAT csv, HEADER true",
	RawCSV:  "FORMAT csv, HEADER true",
	JSON:    "FORMAT json, ARRAY true",
	Parquet: "FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2",
}

// heldBytes is how much of a result is held back until it is known that there is more. A statement that
// fails before leaves nothing, and can be run again without a damaged file.
const heldBytes = 4 << 20

// Export runs one SELECT and writes its result to w as its rows are computed; neither memory nor a file
// holds them. If the statement fails within the first 4 MB of its result, nothing is written; if it fails
// later, the error says that the result is cut off.
func (s *Session) Export(ctx context.Context, text string, format Format, w io.Writer) error {
	options, ok := copyOptions[format]
	if !ok {
		return fmt.Errorf("unknown format %q", format)
	}
	if format == JSON {
		w = wording.JSON(w)
	}
	var out *heldWriter
	err := s.retry(ctx, func(conn *sql.Conn) error {
		statement, err := checkReadOnly(conn, text)
		if err != nil {
			return err
		}
		switch format {
		case CSV:
			statement, err = withoutFormulas(conn, statement)
		case JSON:
			statement, err = withFiniteNumbers(conn, statement)
		}
		if err != nil {
			return err
		}
		out = &heldWriter{w: w}
		err = s.copyTo(ctx, conn, statement, options, func(result io.Reader) error {
			_, err := io.Copy(out, result)
			return err
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && out.begun && out.err == nil {
			return cutOffError{statementError(ctx, text, err)}
		}
		return err
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		err = out.flush()
	case out == nil || out.err == nil:
		return statementError(ctx, text, err)
	}
	if out.err != nil {
		return fmt.Errorf("write the result: %w", out.err)
	}
	return err
}

// cutOffError is an error of a statement after a part of its result was written. It hides which error it
// was, so that nothing runs the statement again.
type cutOffError struct{ err error }

func (e cutOffError) Error() string { return e.err.Error() + "; the result is cut off" }

// copyTo calls read with the result of a statement, in the form of the options of COPY, while the rows are
// computed. If ctx ends, read may still run when copyTo returns.
func (s *Session) copyTo(ctx context.Context, conn *sql.Conn, statement, options string, read func(io.Reader) error) error {
	dir, err := os.MkdirTemp(s.scratch.path, "export-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "result")
	statement = fmt.Sprintf("COPY (%s\n) TO %s (%s, USE_TMP_FILE false)", statement, Quote(path), options)
	reader, writer, err := durable.Pipe(path)
	if err != nil { // as on exFAT
		return copyFile(ctx, conn, statement, path, read)
	}
	defer reader.Close()
	// DuckDB cannot be interrupted while it writes to the pipe, and a pipe without a reader would end the
	// process. So what nobody wants is read all the same.
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(running, func() { _, _ = io.Copy(io.Discard, reader) })
	copied := make(chan error, 1)
	go func() {
		err := read(reader)
		if err != nil {
			cancel()
		}
		copied <- err
	}()
	err = errors.Join(exec(running, conn, statement), writer.Close())
	select {
	case copyErr := <-copied:
		return errors.Join(err, copyErr)
	case <-ctx.Done(): // read may be waiting for whoever reads what it writes
		return ctx.Err()
	}
}

// copyFile calls read with what a statement writes into a file.
func copyFile(ctx context.Context, conn *sql.Conn, statement, path string, read func(io.Reader) error) error {
	if err := exec(ctx, conn, statement); err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return read(file)
}

// heldWriter holds back the first heldBytes until there are more, or until flush. The rest goes to w at once.
type heldWriter struct {
	w     io.Writer
	held  bytes.Buffer
	begun bool  // something was written to w
	err   error // of w
}

func (h *heldWriter) Write(data []byte) (int, error) {
	if !h.begun && h.held.Len()+len(data) <= heldBytes {
		return h.held.Write(data)
	}
	if h.flush(); h.err != nil {
		return 0, h.err
	}
	h.begun = true
	var n int
	n, h.err = h.w.Write(data)
	return n, h.err
}

// flush writes what is held.
func (h *heldWriter) flush() error {
	if h.err == nil && h.held.Len() > 0 {
		h.begun = true
		_, h.err = h.held.WriteTo(h.w)
		h.held = bytes.Buffer{}
	}
	return h.err
}
