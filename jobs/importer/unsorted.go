package importer

import (
	"bufio"
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"tapedeck/analytics/tape"
)

const (
	// runRows are sorted at once in memory, about 100 MB.
	runRows = 1 << 20
	// runBuffer is for each sorted run while they are merged; a billion rows make a thousand runs.
	runBuffer = 32 << 10
	// recordSize is a trade in a run: seven numbers of eight bytes, its line among them, and a flag.
	recordSize = 7*8 + 1
)

// takeUnsorted stages the rows of a CSV that is not in the order of its ids: it writes sorted runs to a file and merges them.
func takeUnsorted(ctx context.Context, dir *tape.Dir, s *source, out *sink) error {
	runs, err := newRuns(dir.StagingPath(), s.symbol)
	if err != nil {
		return err
	}
	defer runs.close()
	if err := eachBatch(ctx, s, &out.damaged, func(b *batch) error {
		runs.inexact += b.inexact
		return runs.add(b)
	}); err != nil {
		return err
	}
	return runs.merge(func(b *batch) error { return out.add(ctx, b) })
}

// runs is a file of trades of one symbol in sorted runs. It has no name, so that nothing of it stays behind whatever happens.
type runs struct {
	symbol  string
	file    *os.File
	out     *bufio.Writer
	ends    []int64 // of the runs, in bytes
	pending batch
	inexact int64
}

func newRuns(dir, symbol string) (*runs, error) {
	file, err := os.CreateTemp(dir, "import-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("sort on disk: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("sort on disk: %w", err)
	}
	return &runs{symbol: symbol, file: file, out: bufio.NewWriterSize(file, 256<<10)}, nil
}

func (r *runs) close() { r.file.Close() }

func (r *runs) add(b *batch) error {
	r.pending.trades = append(r.pending.trades, b.trades...)
	r.pending.lines = append(r.pending.lines, b.lines...)
	if len(r.pending.trades) < runRows {
		return nil
	}
	return r.flush()
}

// flush writes what is pending as a run.
func (r *runs) flush() error {
	type key struct {
		id    int64
		place int
	}
	keys := make([]key, len(r.pending.trades))
	for i := range keys {
		keys[i] = key{r.pending.trades[i].ID, i}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if c := cmp.Compare(a.id, b.id); c != 0 {
			return c
		}
		return cmp.Compare(a.place, b.place)
	})
	var record [recordSize]byte
	for _, k := range keys {
		encodeRecord(&record, &r.pending.trades[k.place], r.pending.lines[k.place])
		if _, err := r.out.Write(record[:]); err != nil {
			return fmt.Errorf("sort on disk: %w", err)
		}
	}
	if err := r.out.Flush(); err != nil {
		return fmt.Errorf("sort on disk: %w", err)
	}
	end := int64(len(keys)) * recordSize
	if n := len(r.ends); n > 0 {
		end += r.ends[n-1]
	}
	r.ends = append(r.ends, end)
	r.pending.reset()
	return nil
}

// merge gives all rows in the order of their ids, those of one id in the order of the file.
func (r *runs) merge(do func(*batch) error) error {
	if len(r.pending.trades) > 0 {
		if err := r.flush(); err != nil {
			return err
		}
	}
	r.pending = batch{}
	var heads runHeads
	start := int64(0)
	for _, end := range r.ends {
		h := &runHead{in: bufio.NewReaderSize(io.NewSectionReader(r.file, start, end-start), runBuffer), symbol: r.symbol}
		if err := h.next(); err != nil {
			return fmt.Errorf("sort on disk: %w", err)
		}
		heads = append(heads, h)
		start = end
	}
	heap.Init(&heads)
	b := &batch{inexact: r.inexact}
	for len(heads) > 0 {
		h := heads[0]
		b.trades, b.lines = append(b.trades, h.trade), append(b.lines, h.line)
		switch err := h.next(); {
		case err == nil:
			heap.Fix(&heads, 0)
		case errors.Is(err, io.EOF):
			heap.Pop(&heads)
		default:
			return fmt.Errorf("sort on disk: %w", err)
		}
		if len(b.trades) == batchRows || len(heads) == 0 {
			if err := do(b); err != nil {
				return err
			}
			b.reset()
		}
	}
	return nil
}

// runHead is a run's next row.
type runHead struct {
	in     *bufio.Reader
	symbol string
	trade  tape.Trade
	line   int64
	record [recordSize]byte
}

func (h *runHead) next() error {
	if _, err := io.ReadFull(h.in, h.record[:]); err != nil {
		return err
	}
	h.trade, h.line = decodeRecord(&h.record, h.symbol)
	return nil
}

func encodeRecord(record *[recordSize]byte, t *tape.Trade, line int64) {
	for i, number := range [...]uint64{
		uint64(t.ID), math.Float64bits(t.Price), math.Float64bits(t.Qty), uint64(t.FirstTradeID), uint64(t.LastTradeID), uint64(t.TradedAt), uint64(line),
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

// runHeads is a heap by (id, line).
type runHeads []*runHead

func (h runHeads) Len() int { return len(h) }
func (h runHeads) Less(i, j int) bool {
	if h[i].trade.ID != h[j].trade.ID {
		return h[i].trade.ID < h[j].trade.ID
	}
	return h[i].line < h[j].line
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
