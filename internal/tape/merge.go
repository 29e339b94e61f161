package tape

import (
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"tapedeck/internal/durable"
	"time"

	"github.com/parquet-go/parquet-go"
)

// ErrUnsorted says that a segment's rows are not sorted by (symbol, id), as no segment of tapedeck's is.
var ErrUnsorted = errors.New("its rows are not sorted by symbol and id")

// openRows bounds the decoded rows that a merge holds: 64 bytes each, so a quarter of a gigabyte. It counts a row group of each segment.
// openFiles bounds the segments that it has open, half of the 1,024 files that a process may open where nobody raised the limit.
const (
	openRows  = 4 << 20
	openFiles = 512
)

// Fan splits segments, in their order, into groups that can be merged at once in bounded memory.
func Fan(segments []Segment) [][]Segment {
	var out [][]Segment
	open := int64(0)
	for _, s := range segments {
		rows := min(s.Rows, rowGroupRows)
		if len(out) == 0 || open+rows > openRows || len(out[len(out)-1]) == openFiles {
			out, open = append(out, nil), 0
		}
		open += rows
		out[len(out)-1] = append(out[len(out)-1], s)
	}
	return out
}

// Merge joins segments of one date into files of maxRows rows sorted by (symbol, id) and puts them in the segments' place in one atomic step
// (Replace). An id that stands twice in them, which only another program's doing can bring about, is kept once. It reads a row group of each segment at a time; segments that Fan put together fit into half a gigabyte. ErrChanged where
// another process replaced one of them meanwhile, a BrokenSegment where one cannot be read or is not sorted; on any error the tape is as it was.
func (d *Dir) Merge(ctx context.Context, date string, segments []Segment, maxRows int64) (Replacement, error) {
	staged, err := d.merge(ctx, segments, maxRows)
	if err != nil {
		for _, path := range staged {
			d.disk.Remove(path)
		}
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrChanged, err)
		}
		return Replacement{}, err
	}
	return d.Replace(ctx, date, staged, segments)
}

// merge writes the staged files of a merge; those that it names on an error are to be removed.
func (d *Dir) merge(ctx context.Context, segments []Segment, maxRows int64) (staged []string, err error) {
	m := merger{detail: fmt.Sprintf("%d segments", len(segments))}
	defer m.close()
	if err := m.open(d.path, segments); err != nil {
		return nil, err
	}
	for len(m.heads) > 0 {
		path, _, err := d.stage(filepath.Base(d.StagedPath()), func(w io.Writer) error { return m.write(ctx, w, d.Feed(), maxRows) })
		if err != nil {
			return staged, err
		}
		staged = append(staged, path)
	}
	return staged, nil
}

// merger merges sorted segments.
type merger struct {
	heads   heads
	opened  []*head
	inexact int64
	detail  string
	writer  *parquet.GenericWriter[Trade]
	last    lastRow // taken
}

// lastRow is the row before the next one; no symbol where there is none.
type lastRow struct {
	symbol string
	id     int64
}

// head is a segment's next row.
type head struct {
	*columns
	path string
	run  int // of symbols
	row  int // in the row group
	last lastRow
}

func (h *head) symbol() string { return h.symbols[h.run] }
func (h *head) id() int64      { return h.ids[h.row] }

// open opens the segments, whose paths are relative to dir, and reads the first rows of each.
func (m *merger) open(dir string, segments []Segment) error {
	m.opened = make([]*head, len(segments))
	origins, more := make([]Origin, len(segments)), make([]bool, len(segments))
	err := together(len(segments), func(i int) error {
		var err error
		if m.opened[i], origins[i], more[i], err = openHead(dir, segments[i].Path); err != nil {
			return BrokenSegment{segments[i].Path, err}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, h := range m.opened {
		m.inexact += origins[i].Inexact
		if more[i] {
			m.heads = append(m.heads, h)
		}
	}
	heap.Init(&m.heads)
	return nil
}

// openHead opens a segment and reads its first rows; more is false where it has none. What it opened is to be closed also after an error.
func openHead(dir, path string) (h *head, origin Origin, more bool, err error) {
	c, err := openColumns(filepath.Join(dir, path))
	if err != nil {
		return nil, origin, false, err
	}
	h = &head{columns: c, path: path}
	if text, ok := c.file.Lookup(originKey); ok {
		if err := json.Unmarshal([]byte(text), &origin); err != nil {
			return h, origin, false, fmt.Errorf("its metadata: %w", err)
		}
	}
	more, err = h.fill()
	return h, origin, more, err
}

// fill reads the next row group that has rows; false at the end.
func (h *head) fill() (bool, error) {
	for {
		more, err := h.read()
		if err != nil || !more {
			return false, err
		}
		if h.rows > 0 {
			break
		}
	}
	h.run, h.row = 0, 0
	// What a merge does with the rows stands and falls with their order.
	for run, from := 0, 0; run < len(h.symbols); run++ {
		if symbol := h.symbols[run]; symbol < h.last.symbol || symbol == h.last.symbol && h.ids[from] < h.last.id {
			return false, ErrUnsorted
		}
		if !slices.IsSorted(h.ids[from:h.ends[run]]) {
			return false, ErrUnsorted
		}
		from = h.ends[run]
		h.last = lastRow{h.symbols[run], h.ids[from-1]}
	}
	return true, nil
}

// rowsPerWrite is how many rows go to the encoder at once, and batchesAhead how many such batches may be ready before it asks for them.
const rowsPerWrite, batchesAhead = 8192, 4

// write writes the next maxRows rows as one segment. Another goroutine decodes and merges meanwhile: each does about half of the work
// (BenchmarkCompact in cmd/tapedeck).
func (m *merger) write(ctx context.Context, w io.Writer, feed Feed, maxRows int64) error {
	if m.writer == nil {
		m.writer = parquet.NewGenericWriter[Trade](w, writerOptions()...)
	} else {
		m.writer.Reset(w)
	}
	ctx, cancel := context.WithCancel(ctx)
	ready, spent := make(chan []Trade, batchesAhead), make(chan []Trade, batchesAhead+2)
	var failed error // of the other goroutine, until it has closed ready
	go func() {
		defer close(ready)
		failed = m.takeAll(ctx, maxRows, ready, spent)
	}()
	defer func() { // it uses the heads, as do the next write and close
		cancel()
		for range ready {
		}
	}()
	spans := map[string][]timedSpan{}
	for batch := range ready {
		addSpans(spans, batch)
		if _, err := m.writer.Write(batch); err != nil {
			return err
		}
		spent <- batch
	}
	if failed != nil {
		return failed
	}
	if err := setSegmentMetadata(m.writer, spans, feed, Origin{Source: FromCompact, Detail: m.detail, Inexact: m.inexact}); err != nil {
		return err
	}
	m.inexact = 0 // it is told once, in the first file
	return m.writer.Close()
}

// takeAll gives the next maxRows rows in batches, for which it takes those that come back.
func (m *merger) takeAll(ctx context.Context, maxRows int64, ready chan<- []Trade, spent <-chan []Trade) error {
	for rows := int64(0); rows < maxRows && len(m.heads) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var batch []Trade
		select {
		case batch = <-spent:
		default:
			batch = make([]Trade, 0, rowsPerWrite)
		}
		batch = batch[:0]
		room := int(min(maxRows-rows, rowsPerWrite))
		for len(batch) < room && len(m.heads) > 0 {
			var err error
			if batch, err = m.take(batch, room-len(batch)); err != nil {
				return err
			}
		}
		rows += int64(len(batch))
		select {
		case ready <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// take appends at most room rows of the first head to batch, those that come before every other head's.
func (m *merger) take(batch []Trade, room int) ([]Trade, error) {
	h := m.heads[0]
	to := min(h.ends[h.run], h.row+room)
	if second := m.heads.second(); second != nil && second.symbol() == h.symbol() {
		limit := second.id()
		to = h.row + sort.Search(to-h.row, func(i int) bool { return h.ids[h.row+i] > limit })
	}
	if m.last.symbol != h.symbol() {
		m.last = lastRow{h.symbol(), h.ids[h.row] - 1}
	}
	for from := h.row; from < to; {
		if h.ids[from] == m.last.id { // it stands twice
			from++
			continue
		}
		next := from + 1
		for next < to && h.ids[next] != h.ids[next-1] {
			next++
		}
		batch = h.appendTrades(batch, h.symbol(), from, next)
		m.last.id = h.ids[next-1]
		from = next
	}
	if h.row = to; h.row == h.ends[h.run] {
		h.run++
	}
	if h.run < len(h.symbols) {
		heap.Fix(&m.heads, 0)
		return batch, nil
	}
	more, err := h.fill()
	if err != nil {
		return nil, BrokenSegment{h.path, err}
	}
	if more {
		heap.Fix(&m.heads, 0)
	} else {
		heap.Pop(&m.heads)
		h.columns.close()
		h.columns = nil
	}
	return batch, nil
}

func (m *merger) close() {
	for _, h := range m.opened {
		if h != nil && h.columns != nil {
			h.columns.close()
		}
	}
}

// heads is a heap by (symbol, id).
type heads []*head

func (h heads) Len() int { return len(h) }
func (h heads) Less(i, j int) bool {
	if a, b := h[i].symbol(), h[j].symbol(); a != b {
		return a < b
	}
	return h[i].id() < h[j].id()
}
func (h heads) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(v any)   { *h = append(*h, v.(*head)) }
func (h *heads) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// second is the head after the first; nil if there is none.
func (h heads) second() *head {
	switch {
	case len(h) < 2:
		return nil
	case len(h) == 2 || h.Less(1, 2):
		return h[1]
	}
	return h[2]
}

// TimesOf gives the traded_at of the oldest and the newest row of a segment of trades; ok is false if it has none.
func (d *Dir) TimesOf(s Segment) (first, last time.Time, ok bool, err error) {
	spans, err := segmentSpans(filepath.Join(d.path, s.Path))
	if err != nil {
		return first, last, false, fmt.Errorf("read %q: %w", s.Path, err)
	}
	for _, runs := range spans {
		for _, run := range runs {
			if !ok || run.firstAt < first.UnixMicro() {
				first = timeOf(run.firstAt)
			}
			if !ok || run.lastAt > last.UnixMicro() {
				last = timeOf(run.lastAt)
			}
			ok = true
		}
	}
	return first, last, ok, nil
}

// IsCompacted says whether a compaction wrote the segment.
func (s Segment) IsCompacted() bool {
	return strings.HasPrefix(filepath.Base(s.Path), string(FromCompact)+"-")
}

// MergeRecords joins the segments of one date of alerts or runs into one, in one atomic step, if there are more than most of them.
// It gives how many there were, and whether it joined them. A file that cannot be read stays where it is, for a person to look at.
func (d *Dir) MergeRecords(ctx context.Context, table Table, date string, most int) (before int, joined bool, err error) {
	switch table {
	case Alerts:
		return mergeRecords[Alert](ctx, d, table, date, most)
	case Runs:
		return mergeRecords[Run](ctx, d, table, date, most)
	}
	return 0, false, fmt.Errorf("merge the records of %q: it is not a table of records", table)
}

func mergeRecords[T any](ctx context.Context, d *Dir, table Table, date string, most int) (int, bool, error) {
	unlock, err := d.lock(writersLock)
	if err != nil {
		return 0, false, err
	}
	defer unlock()
	names, err := d.files(table, date)
	if err != nil || len(names) <= most {
		return len(names), false, err
	}
	slices.Sort(names)
	var rows []T
	replaced := map[string]bool{}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return len(names), false, err
		}
		part, err := readRows[T](filepath.Join(d.path, string(table), "date="+date, name))
		if err != nil {
			continue
		}
		rows = append(rows, part...)
		replaced[name] = true
	}
	if len(replaced) <= 1 {
		return len(names), false, nil
	}
	staged, _, err := d.stage(durable.UniqueName(string(FromCompact), ".parquet.tmp"), rowsWriter(rows))
	if err != nil {
		return len(names), false, err
	}
	if _, err := d.swapPartition(table, date, []string{staged}, replaced); err != nil {
		d.disk.Remove(staged)
		return len(names), false, err
	}
	return len(names), true, nil
}

// Dates lists the partitions of a table, ascending.
func (d *Dir) Dates(table Table) ([]string, error) { return d.dates(table, "", "") }
