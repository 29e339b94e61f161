package tape

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// The columns of Trade's fields, in their order.
const (
	symbolField = iota
	idField
	priceField
	qtyField
	firstField
	lastField
	timeField
	makerField
)

func columnNames() [8]string {
	return [...]string{"symbol", "id", "price", "qty", "first_trade_id", "last_trade_id", "traded_at", "is_buyer_maker"}
}

// columns reads a segment of trades one row group at a time, column by column, which is several
// times as fast as reading rows. It is not safe for concurrent use.
type columns struct {
	file   parquetFile
	leaves [8]int                // by field
	groups []parquet.RowGroup    // not read yet
	chunks []parquet.ColumnChunk // of the row group read last

	// Content of the row group read last.
	rows int
	symbolColumn
	ids         []int64
	prices      []float64
	qtys        []float64
	firsts      []int64
	lasts       []int64
	times       []int64
	buyerMakers []bool
}

// openColumns opens a segment to read some fields, or all if none are given. The caller closes it.
func openColumns(path string, fields ...int) (c *columns, err error) {
	defer recoverDamage("content", &err)
	file, _, err := openParquet(path)
	if err != nil {
		return nil, err
	}
	if c, err = columnsOf(file, fields...); err != nil {
		file.close()
	}
	return c, err
}

// columnsOf is openColumns for a file that is open.
func columnsOf(file parquetFile, fields ...int) (*columns, error) {
	c := &columns{file: file, groups: file.RowGroups()}
	for field, name := range columnNames() {
		leaf, ok := file.Schema().Lookup(name)
		if !ok && (len(fields) == 0 || slices.Contains(fields, field)) {
			return nil, fmt.Errorf("has no column %q", name)
		}
		c.leaves[field] = leaf.ColumnIndex
	}
	return c, nil
}

func (c *columns) close() { c.file.close() }

// readIDs reads the symbols, ids and times of the next row group. more is false at the end.
func (c *columns) readIDs() (more bool, err error) {
	defer recoverDamage("content", &err)
	if len(c.groups) == 0 {
		return false, nil
	}
	c.rows, c.chunks = int(c.groups[0].NumRows()), c.groups[0].ColumnChunks()
	c.groups = c.groups[1:]
	if err := c.symbolColumn.read(c.chunks[c.leaves[symbolField]], c.rows); err != nil {
		return false, fmt.Errorf("read its column symbol: %w", err)
	}
	return true, cmp.Or(readField(c, idField, &c.ids, readInts), readField(c, timeField, &c.times, readInts))
}

// read reads all fields of the next row group. more is false at the end.
func (c *columns) read() (more bool, err error) {
	defer recoverDamage("content", &err)
	if more, err = c.readIDs(); err != nil || !more {
		return false, err
	}
	return true, cmp.Or(
		readField(c, priceField, &c.prices, readFloats), readField(c, qtyField, &c.qtys, readFloats),
		readField(c, firstField, &c.firsts, readInts), readField(c, lastField, &c.lasts, readInts),
		readField(c, makerField, &c.buyerMakers, readBools))
}

// readField reads one field of the current row group into out.
func readField[T any](
	c *columns, field int, out *[]T, read func(parquet.ColumnChunk, []T) ([]T, error),
) (err error) {
	size := max(0, min(c.rows, rowGroupRows)) // a damaged footer may contain any number
	*out, err = read(c.chunks[c.leaves[field]], slices.Grow((*out)[:0], size))
	if err == nil && len(*out) != c.rows {
		err = fmt.Errorf("%d values in %d rows", len(*out), c.rows)
	}
	if err != nil {
		return fmt.Errorf("read its column %s: %w", columnNames()[field], err)
	}
	return nil
}

// verifyPages reads every column of a segment, and so verifies the checksum of every page.
func verifyPages(path string) error {
	c, err := openColumns(path)
	if err != nil {
		return err
	}
	defer c.close()
	for {
		if more, err := c.read(); err != nil || !more {
			return err
		}
	}
}

// appendTrades appends the rows [from, to) of the row group read last to out. All are of symbol.
func (c *columns) appendTrades(out []Trade, symbol string, from, to int) []Trade {
	for i := from; i < to; i++ {
		out = append(out, Trade{
			symbol, c.ids[i], c.prices[i], c.qtys[i], c.firsts[i], c.lasts[i], c.times[i], c.buyerMakers[i],
		})
	}
	return out
}

var errNull = errors.New("unexpected NULL")

func readInts(chunk parquet.ColumnChunk, out []int64) ([]int64, error) {
	return readChunk(chunk, out, func(data encoding.Values) []int64 { return data.Int64() })
}

func readFloats(chunk parquet.ColumnChunk, out []float64) ([]float64, error) {
	return readChunk(chunk, out, func(data encoding.Values) []float64 { return data.Double() })
}

// readChunk appends the values of one column of a row group to out.
func readChunk[T any](chunk parquet.ColumnChunk, out []T, typed func(encoding.Values) []T) ([]T, error) {
	err := eachPage(chunk, func(page parquet.Page, dictionary parquet.Dictionary) error {
		data := page.Data()
		if dictionary == nil {
			out = append(out, typed(data)...)
			return nil
		}
		values := typed(dictionary.Page().Data())
		for _, i := range data.Int32() {
			out = append(out, values[i])
		}
		return nil
	})
	return out, err
}

func readBools(chunk parquet.ColumnChunk, out []bool) ([]bool, error) {
	var values []parquet.Value
	err := eachPage(chunk, func(page parquet.Page, dictionary parquet.Dictionary) error {
		if dictionary != nil || page.Type().Kind() != parquet.Boolean {
			return fmt.Errorf("is of type %s", page.Type())
		}
		n := int(page.NumValues())
		if packed := page.Data(); n <= 8*len(packed.Boolean()) {
			bits := packed.Boolean()
			for i := range n {
				out = append(out, bits[i/8]>>(i%8)&1 == 1)
			}
			return nil
		}
		values = append(values[:0], make([]parquet.Value, n)...)
		if read, err := page.Values().ReadValues(values); err != nil && !errors.Is(err, io.EOF) || read != n {
			return fmt.Errorf("%d of %d values: %w", read, n, err)
		}
		for _, v := range values {
			out = append(out, v.Boolean())
		}
		return nil
	})
	return out, err
}

// symbolColumn holds the symbols of a row group's rows, run-length encoded: symbols[i] is the
// symbol of the rows from ends[i-1] up to ends[i].
type symbolColumn struct {
	symbols []string
	ends    []int
}

// read reads a column of a row group that has the given number of rows.
func (s *symbolColumn) read(chunk parquet.ColumnChunk, rows int) error {
	s.symbols, s.ends = s.symbols[:0], s.ends[:0]
	var current parquet.Dictionary
	var values []string // of current
	at := 0
	add := func(symbol string, n int) {
		at += n
		if last := len(s.symbols) - 1; last >= 0 && s.symbols[last] == symbol {
			s.ends[last] = at
			return
		}
		s.symbols, s.ends = append(s.symbols, symbol), append(s.ends, at)
	}
	err := eachPage(chunk, func(page parquet.Page, dictionary parquet.Dictionary) error {
		if dictionary == nil {
			plain := make([]parquet.Value, page.NumValues())
			n, err := page.Values().ReadValues(plain)
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			for _, v := range plain[:n] {
				add(v.String(), 1)
			}
			return nil
		}
		if dictionary != current {
			current, values = dictionary, make([]string, dictionary.Len())
			for i := range values {
				values[i] = dictionary.Index(int32(i)).String()
			}
		}
		data := page.Data()
		indexes := data.Int32()
		for from := 0; from < len(indexes); {
			to := from + 1
			for to < len(indexes) && indexes[to] == indexes[from] {
				to++
			}
			add(values[indexes[from]], to-from)
			from = to
		}
		return nil
	})
	if err == nil && at != rows {
		err = fmt.Errorf("%d values in %d rows", at, rows)
	}
	return err
}

// eachPage calls use for each page of a column. dictionary is nil if the page holds the values
// themselves.
func eachPage(chunk parquet.ColumnChunk, use func(page parquet.Page, dictionary parquet.Dictionary) error) error {
	pages := chunk.Pages()
	defer pages.Close()
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if page.NumNulls() > 0 {
			return errNull
		}
		if err := use(page, page.Dictionary()); err != nil {
			return err
		}
		parquet.Release(page)
	}
}
