package binance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// idBatch collects ids and lines.
type idBatch struct {
	ids, lines []int64
	refuse     int64 // an id for which Add returns an error
}

var errRefused = errors.New("refused")

func (b *idBatch) Add(row *Row, line int64) error {
	if row.ID == b.refuse {
		return errRefused
	}
	b.ids, b.lines = append(b.ids, row.ID), append(b.lines, line)
	return nil
}
func (b *idBatch) Len() int { return len(b.ids) }
func (b *idBatch) Reset()   { b.ids, b.lines = b.ids[:0], b.lines[:0] }

func rowsText(count int) string {
	var text strings.Builder
	text.WriteString("id,price,qty,quote_qty,time,is_buyer_maker\n")
	for id := range count {
		fmt.Fprintf(&text, "%d,4.00000100,12.00000000,48.000012,1499865549590,true\n", id)
	}
	return text.String()
}

func TestReadRowsReturnsAllRowsInOrder(t *testing.T) {
	const count = 3*batchRows + 17
	text := rowsText(count)
	for name, in := range map[string]io.Reader{
		"whole": strings.NewReader(text), "halves": iotest.HalfReader(strings.NewReader(text)), "end with the last bytes": iotest.DataErrReader(strings.NewReader(text)),
	} {
		t.Run(name, func(t *testing.T) {
			next := int64(0)
			damaged, err := ReadRows(t.Context(), in, KindTrades, nil, func() *idBatch { return &idBatch{refuse: -1} }, func(b *idBatch) error {
				for i := range b.ids {
					if b.ids[i] != next || b.lines[i] != next+2 {
						t.Fatalf("id %d in line %d, want %d", b.ids[i], b.lines[i], next)
					}
					next++
				}
				return nil
			})
			if err != nil || damaged != 0 || next != count {
				t.Errorf("%d rows, %d damaged, %v", next, damaged, err)
			}
		})
	}
}

func TestReadRowsReturnsTheFirstError(t *testing.T) {
	errUse, errDisk := errors.New("use"), errors.New("disk")
	text := rowsText(20 * batchRows)
	short := text[:len(text)/2]
	for _, tc := range []struct {
		name   string
		in     io.Reader
		refuse int64
		use    error
		want   error
	}{
		{"use", strings.NewReader(text), -1, errUse, errUse},
		{"Add", strings.NewReader(text), 5 * batchRows, nil, errRefused},
		{"reader", io.MultiReader(strings.NewReader(short), iotest.ErrReader(errDisk)), -1, nil, errDisk},
		{"truncated zip", io.MultiReader(strings.NewReader(short), iotest.ErrReader(io.ErrUnexpectedEOF)), -1, nil, io.ErrUnexpectedEOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ReadRows(t.Context(), tc.in, KindTrades, nil, func() *idBatch { return &idBatch{refuse: tc.refuse} }, func(*idBatch) error { return tc.use })
			var unreadable *UnreadableError
			if !errors.Is(err, tc.want) || errors.As(err, &unreadable) != (tc.use == nil) {
				t.Errorf("err = %#v, want %v", err, tc.want)
			}
		})
	}
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := ReadRows(ctx, io.MultiReader(bytes.NewReader([]byte(text)), &endless{line: []byte("7,4.0,12.0,48.0,1499865549590,true\n")}), KindTrades, nil,
			func() *idBatch { return &idBatch{refuse: -1} }, func(*idBatch) error { cancel(errUse); return nil })
		var unreadable *UnreadableError
		if !errors.Is(err, errUse) || errors.As(err, &unreadable) {
			t.Errorf("err = %#v", err)
		}
	})
}

// endless repeats a line forever.
type endless struct{ line []byte }

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n+len(e.line) <= len(p) {
		n += copy(p[n:], e.line)
	}
	return n, nil
}
