package tape

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// columns reads a segment of trades one row group at a time, column by column, which is several times
// as fast as reading rows. It is not safe for concurrent use.
type columns struct {
	file   parquetFile
	leaves [8]int // in the order of Trade's fields
	groups []parquet.RowGroup
	next   int // the row group to read next

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

// columnNames returns the columns of Trade's fields, in their order.
func columnNames() [8]string {
	return [...]string{"symbol", "id", "price", "qty", "first_trade_id", "last_trade_id", "traded_at", "is_buyer_maker"}
}

// openColumns opens a segment. The caller closes it.
func openColumns(path string) (*columns, error) {
	file, _, err := openParquet(path)
	if err != nil {
		return nil, err
	}
	c := &columns{file: file, groups: file.RowGroups()}
	for i, name := range columnNames() {
		leaf, ok := file.Schema().Lookup(name)
		if !ok {
			file.close()
			return nil, fmt.Errorf("has no column %q", name)
		}
		c.leaves[i] = leaf.ColumnIndex
	}
	return c, nil
}

func (c *columns) close() { c.file.close() }

// read reads the next row group. more is false at the end.
func (c *columns) read() (more bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			more, err = false, fmt.Errorf("damaged content: %v", p)
		}
	}()
	if c.next == len(c.groups) {
		return false, nil
	}
	group := c.groups[c.next]
	c.next++
	c.rows = int(group.NumRows())
	room := max(0, min(c.rows, rowGroupRows)) // a damaged footer may contain any number
	chunks := group.ColumnChunks()
	at := func(i int) parquet.ColumnChunk { return chunks[c.leaves[i]] }
	names := columnNames()
	failed := func(i int, err error) (bool, error) {
		return false, fmt.Errorf("read its column %s: %w", names[i], err)
	}
	if err := c.symbolColumn.read(at(0), c.rows); err != nil {
		return failed(0, err)
	}
	for i, out := range map[int]*[]int64{1: &c.ids, 4: &c.firsts, 5: &c.lasts, 6: &c.times} {
		if *out, err = readInts(at(i), slices.Grow((*out)[:0], room)); err != nil {
			return failed(i, err)
		}
		if len(*out) != c.rows {
			return failed(i, fmt.Errorf("%d values in %d rows", len(*out), c.rows))
		}
	}
	for i, out := range map[int]*[]float64{2: &c.prices, 3: &c.qtys} {
		if *out, err = readChunk(at(i), slices.Grow((*out)[:0], room), floatsOf); err != nil {
			return failed(i, err)
		}
		if len(*out) != c.rows {
			return failed(i, fmt.Errorf("%d values in %d rows", len(*out), c.rows))
		}
	}
	if c.buyerMakers, err = readBools(at(7), slices.Grow(c.buyerMakers[:0], room)); err != nil {
		return failed(7, err)
	}
	if len(c.buyerMakers) != c.rows {
		return failed(7, fmt.Errorf("%d values in %d rows", len(c.buyerMakers), c.rows))
	}
	return true, nil
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

func intsOf(data encoding.Values) []int64     { return data.Int64() }
func floatsOf(data encoding.Values) []float64 { return data.Double() }

func readInts(chunk parquet.ColumnChunk, out []int64) ([]int64, error) {
	return readChunk(chunk, out, intsOf)
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

// symbolColumn holds the symbols of a row group's rows, run-length encoded: symbols[i] is the symbol of
// the rows from ends[i-1] up to ends[i].
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
