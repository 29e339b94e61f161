package ingest

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"tapedeck/internal/durable"
	"tapedeck/internal/tape"
)

const (
	// sorterRows are sorted in memory at a time, about 100 MB.
	sorterRows = 1 << 20
	// sorterBuffer is the buffer of one sorted run during the merge, in bytes. A billion rows are a
	// thousand runs.
	sorterBuffer = 32 << 10
	// recordSize is the size of a trade in a run: its six numbers and its position with 8 bytes
	// each, and a flag.
	recordSize = 7*8 + 1
	// sorterBatch is how many trades each passes on at a time.
	sorterBatch = 8192
)

// sorter sorts trades of one symbol by id: it writes sorted runs to a file in the staging directory
// and merges them. The file has no name, so it disappears with the process. Each trade keeps its
// position.
type sorter struct {
	symbol    string
	file      *os.File
	out       *bufio.Writer
	ends      []int64      // of the runs, in bytes
	trades    []tape.Trade // not in a run yet
	positions []int64
	maxRows   int // in a run
}

// newSorter returns a sorter with its file in the directory staging. The caller closes it.
func newSorter(staging, symbol string) (*sorter, error) {
	file, err := durable.Nameless(staging)
	if err != nil {
		return nil, diskError(err)
	}
	return &sorter{symbol: symbol, file: file, out: bufio.NewWriterSize(file, 256<<10), maxRows: sorterRows}, nil
}

func diskError(err error) error { return fmt.Errorf("sort on disk: %w", err) }

// close frees the space on disk.
func (s *sorter) close() { s.file.Close() }

// add adds trades of the sorter's symbol, each with its position.
func (s *sorter) add(trades []tape.Trade, positions []int64) error {
	s.trades = append(s.trades, trades...)
	s.positions = append(s.positions, positions...)
	if len(s.trades) < s.maxRows {
		return nil
	}
	return s.flush()
}

// flush writes a sorted run.
func (s *sorter) flush() error {
	type key struct {
		id    int64
		index int
	}
	keys := make([]key, len(s.trades))
	for i := range keys {
		keys[i] = key{s.trades[i].ID, i}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if c := cmp.Compare(a.id, b.id); c != 0 {
			return c
		}
		return cmp.Compare(a.index, b.index)
	})
	var record [recordSize]byte
	for _, k := range keys {
		encodeRecord(&record, &s.trades[k.index], s.positions[k.index])
		if _, err := s.out.Write(record[:]); err != nil {
			return diskError(err)
		}
	}
	if err := s.out.Flush(); err != nil {
		return diskError(err)
	}
	end := int64(len(keys)) * recordSize
	if n := len(s.ends); n > 0 {
		end += s.ends[n-1]
	}
	s.ends = append(s.ends, end)
	s.trades, s.positions = s.trades[:0], s.positions[:0]
	return nil
}

// each passes all trades to use in the order of their ids, and those with the same id in the order
// in which they were added. The slices are valid until use returns. Nothing may be added
// afterwards.
func (s *sorter) each(use func(trades []tape.Trade, positions []int64) error) error {
	if len(s.trades) > 0 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.trades, s.positions = nil, nil
	var heads runHeads
	start := int64(0)
	for i, end := range s.ends {
		in := bufio.NewReaderSize(io.NewSectionReader(s.file, start, end-start), sorterBuffer)
		h := &runHead{in: in, symbol: s.symbol, run: i}
		if err := h.next(); err != nil {
			return diskError(err)
		}
		heads = append(heads, h)
		start = end
	}
	heap.Init(&heads)
	for len(heads) > 0 {
		h := heads[0]
		s.trades, s.positions = append(s.trades, h.trade), append(s.positions, h.position)
		switch err := h.next(); {
		case err == nil:
			heap.Fix(&heads, 0)
		case errors.Is(err, io.EOF):
			heap.Pop(&heads)
		default:
			return diskError(err)
		}
		if len(s.trades) == sorterBatch || len(heads) == 0 {
			if err := use(s.trades, s.positions); err != nil {
				return err
			}
			s.trades, s.positions = s.trades[:0], s.positions[:0]
		}
	}
	return nil
}

// runHead reads a run; trade is its next one.
type runHead struct {
	in       *bufio.Reader
	symbol   string
	run      int
	trade    tape.Trade
	position int64
	record   [recordSize]byte
}

func (h *runHead) next() error {
	if _, err := io.ReadFull(h.in, h.record[:]); err != nil {
		return err
	}
	h.trade, h.position = decodeRecord(&h.record, h.symbol)
	return nil
}

func encodeRecord(record *[recordSize]byte, t *tape.Trade, position int64) {
	for i, number := range [...]uint64{
		uint64(t.ID), math.Float64bits(t.Price), math.Float64bits(t.Qty), uint64(t.FirstTradeID),
		uint64(t.LastTradeID), uint64(t.TradedAt), uint64(position),
	} {
		binary.LittleEndian.PutUint64(record[8*i:], number)
	}
	record[recordSize-1] = 0
	if t.IsBuyerMaker {
		record[recordSize-1] = 1
	}
}

func decodeRecord(record *[recordSize]byte, symbol string) (tape.Trade, int64) {
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(record[8*i:]) }
	return tape.Trade{
		Symbol: symbol, ID: int64(at(0)), Price: math.Float64frombits(at(1)), Qty: math.Float64frombits(at(2)),
		FirstTradeID: int64(at(3)), LastTradeID: int64(at(4)), TradedAt: int64(at(5)), IsBuyerMaker: record[recordSize-1] == 1,
	}, int64(at(6))
}

// runHeads is a heap by (id, run).
type runHeads []*runHead

func (h runHeads) Len() int { return len(h) }
func (h runHeads) Less(i, j int) bool {
	return h[i].trade.ID < h[j].trade.ID || h[i].trade.ID == h[j].trade.ID && h[i].run < h[j].run
}
func (h runHeads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *runHeads) Push(v any)   { *h = append(*h, v.(*runHead)) }
func (h *runHeads) Pop() any {
	n := len(*h) - 1
	last := (*h)[n]
	*h = slices.Delete(*h, n, n+1) // and forget it
	return last
}
