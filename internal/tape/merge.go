package tape

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// ErrUnsorted is returned for trades that are not sorted by (symbol, id), as in every segment that
// tapedeck writes.
var ErrUnsorted = errors.New("its rows are not sorted by symbol and id")

// ErrChanged is returned if another process replaced segments that were to be merged.
var ErrChanged = errors.New("the partition changed meanwhile")

const (
	// maxMergeRows bounds the decoded rows that a merge holds, counted as a row group of each segment.
	// At 64 bytes a row this is a quarter of a gigabyte.
	maxMergeRows = 4 << 20
	// maxMergeFiles bounds the segments that a merge has open.
	maxMergeFiles = 512
)

// mergeFiles returns how many segments a merge may have open: maxMergeFiles, or half of the process's
// limit of open files if that is less.
func mergeFiles() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return maxMergeFiles
	}
	return max(2, int(min(limit.Cur/2, maxMergeFiles)))
}

// MergeGroups splits segments, in their order, into groups that Merge can merge in bounded memory.
func MergeGroups(segments []Segment) [][]Segment {
	var out [][]Segment
	open, most := int64(0), mergeFiles()
	for _, s := range segments {
		rows := min(s.Rows, rowGroupRows)
		if len(out) == 0 || open+rows > maxMergeRows || len(out[len(out)-1]) == most {
			out, open = append(out, nil), 0
		}
		open += rows
		out[len(out)-1] = append(out[len(out)-1], s)
	}
	return out
}

// MergeResult is what a merge did.
type MergeResult struct {
	// Before and After are numbers of segments, Bytes is the size of the new ones.
	Before, After int
	Bytes         int64
	// Conflicts is the number of rows that were left out because their ids have another content in the
	// row that stays. They are in the table conflicts.
	Conflicts int64
	// Atomic is false if the file system cannot exchange two directories. Then a reader may have seen
	// fewer rows for an instant.
	Atomic bool
}

// Merge replaces segments of one date by files of at most maxRows rows sorted by (symbol, id), in
// one atomic step. Segments published meanwhile stay. An id that occurs more than once, which only
// another program can cause, is kept once, in the row that tapedeck wrote; another content is a
// conflict, found at the time now. If a segment disagrees wholesale with the others, it is a
// BrokenSegment with a *DisagreementError. Merge holds one row group of each segment in memory,
// half a gigabyte for a group of MergeGroups. The error is ErrChanged if another process replaced a
// segment meanwhile, and a BrokenSegment if a segment cannot be read or is not sorted. After an
// error the tape holds the same rows, in the old files or in the new ones.
func (d *Dir) Merge(
	ctx context.Context, date string, segments []Segment, maxRows int64, now time.Time,
) (out MergeResult, err error) {
	staged, conflicts, err := d.stageMerged(ctx, segments, maxRows, now)
	if err == nil && len(conflicts) > 0 {
		// While both rows are on the tape, a merge that is repeated finds the conflicts again.
		_, err = d.PublishConflicts(ctx, conflicts)
	}
	if err == nil {
		out, err = d.publisher.replaceTrades(ctx, date, staged, segments)
		out.Conflicts = int64(len(conflicts))
	}
	if err != nil {
		for _, path := range staged {
			d.staging.remove(path)
		}
	}
	return out, err
}

// asChanged returns ErrChanged if err means that a segment is gone, and err otherwise.
func asChanged(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return err
}

// stageMerged writes the staged files of a merge, and returns the conflicts in it. It returns the files
// that it wrote even after an error.
func (d *Dir) stageMerged(
	ctx context.Context, segments []Segment, maxRows int64, now time.Time,
) (staged []string, conflicts []Conflict, err error) {
	m := merger{
		tape: d.identity(), detail: fmt.Sprintf("%d segments", len(segments)),
		repeats: repeats{comparison: newComparison(d, Origin{}), now: now},
	}
	defer m.close()
	if err := m.open(ctx, d.catalog, segments); err != nil {
		return nil, nil, asChanged(err)
	}
	for len(m.heads) > 0 {
		path, _, err := d.staging.write(stagedName(string(FromCompact)), func(w io.Writer) error {
			return m.write(ctx, w, maxRows)
		})
		if err != nil {
			return staged, nil, err
		}
		staged = append(staged, path)
	}
	return staged, m.repeats.comparison.conflicts, m.repeats.check()
}

// merger merges sorted segments.
type merger struct {
	tape    identity
	detail  string
	heads   heads
	opened  []*head
	inexact int64
	encoder encoder[Trade]
	last    lastRow // written
	repeats repeats
}

// lastRow identifies the row before the next one. Its symbol is empty if there is none.
type lastRow struct {
	symbol string
	id     int64
}

// open opens segments and reads the first rows of each.
func (m *merger) open(ctx context.Context, c catalog, segments []Segment) error {
	m.opened = make([]*head, len(segments))
	more := make([]bool, len(segments))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(filesAtOnce)
	for i, s := range segments {
		group.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if m.opened[i], more[i], err = openHead(c, s.Path); err != nil {
				if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
					return fmt.Errorf("open %d segments: %w", len(segments), err) // which says nothing about this one
				}
				return BrokenSegment{s.Path, err}
			}
			m.opened[i].order += i
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, h := range m.opened {
		m.inexact += h.origin.Inexact
		if more[i] {
			m.heads = append(m.heads, h)
		}
	}
	heap.Init(&m.heads)
	return nil
}

const (
	// rowsPerWrite is how many rows the encoder gets at a time.
	rowsPerWrite = 8192
	// batchesAhead is how many batches of rowsPerWrite rows may wait for the encoder.
	batchesAhead = 4
)

// write writes the next maxRows rows as one segment. A second goroutine decodes and merges; each of
// the two does about half of the work (BenchmarkCompact in cmd/tapedeck).
func (m *merger) write(ctx context.Context, w io.Writer, maxRows int64) error {
	writer := m.encoder.start(w)
	ctx, cancel := context.WithCancel(ctx)
	ready, spent := make(chan []Trade, batchesAhead), make(chan []Trade, batchesAhead+2)
	var mergeErr error // belongs to the other goroutine until it has closed ready
	go func() {
		defer close(ready)
		mergeErr = m.mergeBatches(ctx, maxRows, ready, spent)
	}()
	defer func() { // the goroutine uses the heads, which the next write and close need
		cancel()
		for range ready {
		}
	}()
	runs := symbolRuns{}
	for batch := range ready {
		runs.add(batch)
		if _, err := writer.Write(batch); err != nil {
			return err
		}
		spent <- batch
	}
	if mergeErr != nil {
		return mergeErr
	}
	origin := Origin{Source: FromCompact, Detail: m.detail, Inexact: m.inexact}
	if err := setMetadata(writer, runs, m.tape, origin); err != nil {
		return err
	}
	m.inexact = 0 // counted in the first file only
	return writer.Close()
}

// mergeBatches sends the next maxRows rows to ready in batches, and uses the batches that come back
// in spent again.
func (m *merger) mergeBatches(ctx context.Context, maxRows int64, ready chan<- []Trade, spent <-chan []Trade) error {
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
		limit := int(min(maxRows-rows, rowsPerWrite))
		for len(batch) < limit && len(m.heads) > 0 {
			var err error
			if batch, err = m.appendNext(batch, limit-len(batch)); err != nil {
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

// appendNext appends to batch at most limit rows of the first head, those that precede the rows of
// all other heads.
func (m *merger) appendNext(batch []Trade, limit int) ([]Trade, error) {
	h := m.heads[0]
	to := min(h.ends[h.run], h.row+limit)
	if second := m.heads.second(); second != nil && second.symbol() == h.symbol() {
		id := second.id()
		if second.order < h.order {
			id-- // the second's row stays
		}
		to = h.row + sort.Search(to-h.row, func(i int) bool { return h.ids[h.row+i] > id })
	}
	if m.last.symbol != h.symbol() {
		m.last = lastRow{h.symbol(), h.ids[h.row] - 1}
	}
	for from := h.row; from < to; {
		if h.ids[from] == m.last.id {
			if err := m.repeats.add(h, from); err != nil {
				return nil, err
			}
			from++
			continue
		}
		next := from + 1
		for next < to && h.ids[next] != h.ids[next-1] {
			next++
		}
		batch = h.appendTrades(batch, h.symbol(), from, next)
		m.last.id = h.ids[next-1]
		m.repeats.kept, m.repeats.keptOrigin = batch[len(batch)-1], h.origin
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
