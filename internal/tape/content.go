package tape

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"os"
	"slices"

	"tapedeck/internal/idset"
	"tapedeck/internal/symbol"
)

// SymbolContent describes the rows of one symbol on one date.
type SymbolContent struct {
	// IDs are the ids of the rows. Rows is their number, which is larger if an id occurs twice.
	IDs  idset.Set
	Rows int64
	// Doubled are ids that occur more than once, in different files or in one.
	Doubled idset.Set
	// FirstAt and LastAt are the earliest and the latest traded_at, in microseconds since the epoch, UTC.
	FirstAt, LastAt int64
	// Sum depends on every column of every row, and on nothing else: neither on the order of the rows nor on
	// how they are split into files. It is the sum of the SHA-256 of each row, modulo 2^256.
	Sum ContentSum
}

// ContentSum is a sum of hashes. Its zero value is that of no rows.
type ContentSum [4]uint64

func (s *ContentSum) add(hash *[sha256.Size]byte) {
	var carry uint64
	for i := range s {
		s[i], carry = bits.Add64(s[i], binary.LittleEndian.Uint64(hash[8*i:]), carry)
	}
}

// String returns the sum in hex.
func (s ContentSum) String() string {
	var out []byte
	for _, word := range s {
		out = binary.LittleEndian.AppendUint64(out, word)
	}
	return hex.EncodeToString(out)
}

// rowBytes is the size of a row that is hashed: one block of SHA-256 with its padding.
const rowBytes = 6*8 + 1

// DayContent describes the rows of one date, from any files. It is not safe for concurrent use.
type DayContent struct {
	date        string
	first, next int64
	only        map[string]idset.Set
	symbols     map[string]*SymbolContent
}

// NewDayContent returns the content of a date without rows. If only is not nil, rows with other ids are left
// out.
func NewDayContent(date string, only map[string]idset.Set) *DayContent {
	c := &DayContent{date: date, only: only, symbols: map[string]*SymbolContent{}}
	c.first, c.next = dateBounds(date)
	return c
}

// Symbols returns the content by symbol.
func (c *DayContent) Symbols() map[string]*SymbolContent { return c.symbols }

// Rows returns the number of rows.
func (c *DayContent) Rows() (n int64) {
	for _, s := range c.symbols {
		n += s.Rows
	}
	return n
}

// IDs returns the ids by symbol.
func (c *DayContent) IDs() map[string]idset.Set {
	out := make(map[string]idset.Set, len(c.symbols))
	for name, s := range c.symbols {
		out[name] = s.IDs
	}
	return out
}

// Certificate returns a hash of the content: of the symbols, and of the ids and the sum of each. Two days have
// the same one if they have the same rows.
func (c *DayContent) Certificate() string {
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c.symbols)) {
		s := c.symbols[name]
		fmt.Fprintf(hash, "%q %d %v %s\n", name, s.Rows, s.IDs, s.Sum)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// AddFile adds the rows of an open Parquet file with the columns of trades, which any program may have written.
// A row of another date or without a valid symbol is an error.
func (c *DayContent) AddFile(ctx context.Context, open *os.File) (err error) {
	defer recoverDamage("content", &err)
	parquet, _, err := parquetOf(open)
	if err != nil {
		return err
	}
	file, err := columnsOf(parquet)
	if err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		more, err := file.read()
		if err != nil || !more {
			return err
		}
		from := 0
		for i, name := range file.symbols {
			if err := c.addRows(file, name, from, file.ends[i]); err != nil {
				return err
			}
			from = file.ends[i]
		}
	}
}

// addRows adds the rows [from, to) of a row group, which are of one symbol.
func (c *DayContent) addRows(file *columns, name string, from, to int) error {
	if err := symbol.Check(name); err != nil {
		return err
	}
	only, restricted := c.only[name]
	if c.only != nil && !restricted {
		return nil
	}
	s := c.symbols[name]
	if s == nil {
		s = &SymbolContent{FirstAt: math.MaxInt64}
		c.symbols[name] = s
	}
	run := idset.Range{First: 0, Last: -1} // of consecutive ids, not added yet
	for i := from; i < to; i++ {
		id, at := file.ids[i], file.times[i]
		if at < c.first || at >= c.next {
			return fmt.Errorf("%s has the id %d traded at %s, which is not on %s", name, id, timeOf(at), c.date)
		}
		if id < 0 || id > MaxID {
			return fmt.Errorf("%s has the impossible id %d", name, id)
		}
		if c.only != nil && !only.Contains(id) {
			continue
		}
		if run.Last+1 != id || run.Last < run.First {
			s.addIDs(run)
			run.First = id
		}
		run.Last = id
		s.Rows++
		s.FirstAt, s.LastAt = min(s.FirstAt, at), max(s.LastAt, at)
		hash := hashRow(file, i)
		s.Sum.add(&hash)
	}
	s.addIDs(run)
	if s.Rows == 0 {
		delete(c.symbols, name)
	}
	return nil
}

// addIDs adds consecutive ids.
func (s *SymbolContent) addIDs(run idset.Range) {
	if run.Last < run.First {
		return
	}
	if s.IDs.Overlaps(run) {
		s.Doubled = s.Doubled.Union(s.IDs.Intersect(idset.Set{run}))
	}
	s.IDs = s.IDs.Add(run)
}

// hashRow returns the SHA-256 of all columns of a row except its symbol.
func hashRow(c *columns, i int) [sha256.Size]byte {
	var row [rowBytes]byte
	for n, value := range [...]uint64{
		uint64(c.ids[i]), math.Float64bits(c.prices[i]), math.Float64bits(c.qtys[i]),
		uint64(c.firsts[i]), uint64(c.lasts[i]), uint64(c.times[i]),
	} {
		binary.LittleEndian.PutUint64(row[8*n:], value)
	}
	if c.buyerMakers[i] {
		row[rowBytes-1] = 1
	}
	return sha256.Sum256(row[:])
}
