package tape

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
)

const (
	// sorterRows are sorted at once in memory, about 100 MB.
	sorterRows = 1 << 20
	// sorterBuffer is for each sorted run while they are merged; a billion rows make a thousand runs.
	sorterBuffer = 32 << 10
	// recordSize is a trade in a run: its six numbers and its place of eight bytes each, and a flag.
	recordSize = 7*8 + 1
)

// Sorter brings trades of one symbol into the order of their ids: sorted runs go to a file in the staging directory and are merged. The file has no
// name, so nothing of it stays behind whatever happens. Each trade has a place, its line in a file for instance, which stays with it.
type Sorter struct {
	symbol string
	file   *os.File
	out    *bufio.Writer
	ends   []int64 // of the runs, in bytes
	trades []Trade // not yet in a run
	places []int64
	most   int // in a run
}

// NewSorter begins; the caller closes it.
func (d *Dir) NewSorter(symbol string) (*Sorter, error) {
	file, err := os.CreateTemp(d.StagingPath(), "sort-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("sort on disk: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("sort on disk: %w", err)
	}
	return &Sorter{symbol: symbol, file: file, out: bufio.NewWriterSize(file, 256<<10), most: sorterRows}, nil
}

// Close gives the disk's space back.
func (s *Sorter) Close() { s.file.Close() }

// Add takes trades of the sorter's symbol, each with its place.
func (s *Sorter) Add(trades []Trade, places []int64) error {
	s.trades = append(s.trades, trades...)
	s.places = append(s.places, places...)
	if len(s.trades) < s.most {
		return nil
	}
	return s.flush()
}

// flush writes a run.
func (s *Sorter) flush() error {
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
		encodeRecord(&record, &s.trades[k.index], s.places[k.index])
		if _, err := s.out.Write(record[:]); err != nil {
			return fmt.Errorf("sort on disk: %w", err)
		}
	}
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("sort on disk: %w", err)
	}
	end := int64(len(keys)) * recordSize
	if n := len(s.ends); n > 0 {
		end += s.ends[n-1]
	}
	s.ends = append(s.ends, end)
	s.trades, s.places = s.trades[:0], s.places[:0]
	return nil
}

// Each gives all trades in the order of their ids, those of one id in the order in which they were added, some thousand at a time. The slices are
// valid until do returns. Nothing may be added after.
func (s *Sorter) Each(do func(trades []Trade, places []int64) error) error {
	if len(s.trades) > 0 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.trades, s.places = nil, nil
	var heads runHeads
	start := int64(0)
	for i, end := range s.ends {
		h := &runHead{in: bufio.NewReaderSize(io.NewSectionReader(s.file, start, end-start), sorterBuffer), symbol: s.symbol, run: i}
		if err := h.next(); err != nil {
			return fmt.Errorf("sort on disk: %w", err)
		}
		heads = append(heads, h)
		start = end
	}
	heap.Init(&heads)
	for len(heads) > 0 {
		h := heads[0]
		s.trades, s.places = append(s.trades, h.trade), append(s.places, h.place)
		switch err := h.next(); {
		case err == nil:
			heap.Fix(&heads, 0)
		case errors.Is(err, io.EOF):
			heap.Pop(&heads)
		default:
			return fmt.Errorf("sort on disk: %w", err)
		}
		if len(s.trades) == rowsPerWrite || len(heads) == 0 {
			if err := do(s.trades, s.places); err != nil {
				return err
			}
			s.trades, s.places = s.trades[:0], s.places[:0]
		}
	}
	return nil
}

// runHead is a run's next trade.
type runHead struct {
	in     *bufio.Reader
	symbol string
	run    int
	trade  Trade
	place  int64
	record [recordSize]byte
}

func (h *runHead) next() error {
	if _, err := io.ReadFull(h.in, h.record[:]); err != nil {
		return err
	}
	h.trade, h.place = decodeRecord(&h.record, h.symbol)
	return nil
}

func encodeRecord(record *[recordSize]byte, t *Trade, place int64) {
	for i, number := range [...]uint64{
		uint64(t.ID), math.Float64bits(t.Price), math.Float64bits(t.Qty), uint64(t.FirstTradeID), uint64(t.LastTradeID), uint64(t.TradedAt), uint64(place),
	} {
		binary.LittleEndian.PutUint64(record[8*i:], number)
	}
	record[recordSize-1] = 0
	if t.IsBuyerMaker {
		record[recordSize-1] = 1
	}
}

func decodeRecord(record *[recordSize]byte, symbol string) (Trade, int64) {
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(record[8*i:]) }
	return Trade{
		Symbol: symbol, ID: int64(at(0)), Price: math.Float64frombits(at(1)), Qty: math.Float64frombits(at(2)),
		FirstTradeID: int64(at(3)), LastTradeID: int64(at(4)), TradedAt: int64(at(5)), IsBuyerMaker: record[recordSize-1] == 1,
	}, int64(at(6))
}

// runHeads is a heap by (id, run).
type runHeads []*runHead

func (h runHeads) Len() int { return len(h) }
func (h runHeads) Less(i, j int) bool {
	if h[i].trade.ID != h[j].trade.ID {
		return h[i].trade.ID < h[j].trade.ID
	}
	return h[i].run < h[j].run
}
func (h runHeads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *runHeads) Push(v any)   { *h = append(*h, v.(*runHead)) }
func (h *runHeads) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
