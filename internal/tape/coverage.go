package tape

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"tapedeck/internal/durable"
)

// PublishCoverage keeps the days of a certificate in the coverage table, one row a symbol and date: partitions in which anything but
// checked_at differs from what is there are replaced, each in one atomic step. Where there are many, as at the first time of a year of days, what waits
// for the disk waits for all of them at once. After an error some of them may have been replaced.
func (d *Dir) PublishCoverage(ctx context.Context, c Certificate) (out Published, err error) {
	byDate := map[string][]CoverageRow{}
	for _, s := range c.Symbols {
		for _, day := range s.Days {
			byDate[day.Date] = append(byDate[day.Date], day.CoverageRow)
		}
	}
	unlock, err := d.lock(writersLock)
	if err != nil {
		return out, err
	}
	defer unlock()
	var swaps []*swap
	defer func() {
		for _, s := range swaps {
			if err != nil {
				d.dropSwap(s)
				d.disk.Remove(s.staged[0])
			}
		}
	}()
	same := false
	var encoder rowEncoder[CoverageRow]
	for _, date := range sortedKeys(byDate) {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		rows := byDate[date]
		there, err := readDate[CoverageRow](d, Coverage, date)
		if err != nil {
			return out, err
		}
		if sameCoverage(rows, there) {
			same = true
			continue
		}
		names, err := d.files(Coverage, date)
		if err != nil {
			return out, err
		}
		s := &swap{table: Coverage, date: date, replaced: map[string]bool{}}
		for _, name := range names {
			s.replaced[name] = true
		}
		file := durable.UniqueName(string(Coverage), ".parquet")
		staged, bytes, err := d.stageLoosely(file+".tmp", func(w io.Writer) error { return encoder.encode(w, rows) })
		if err != nil {
			return out, err
		}
		s.staged = []string{staged}
		swaps = append(swaps, s)
		out.Rows += int64(len(rows))
		out.Bytes += bytes
		out.Segments = append(out.Segments, filepath.Join(string(Coverage), "date="+date, strings.TrimSuffix(file, ".tmp")))
	}
	if len(swaps) == 0 {
		if same { // whoever wrote it may have ended before it was durable
			if err := d.disk.SyncDir(filepath.Join(d.path, string(Coverage))); err != nil {
				return out, fmt.Errorf("sync the coverage: %w", err)
			}
		}
		return out, nil
	}
	if err := d.swapAll(ctx, Coverage, swaps); err != nil {
		return Published{}, err
	}
	return out, nil
}

// swapAll does swaps of a table that replace all that a partition holds, by staged files that are not durable yet. What was not swapped when it fails is
// the caller's to drop.
func (d *Dir) swapAll(ctx context.Context, table Table, swaps []*swap) error {
	dates := make([]string, len(swaps))
	for i, s := range swaps {
		dates[i] = s.date
	}
	if err := d.makePartitions(table, dates); err != nil {
		return err
	}
	if err := together(len(swaps), func(i int) error {
		for _, path := range swaps[i].staged {
			if err := d.disk.SyncFile(path); err != nil {
				return fmt.Errorf("sync %q: %w", path, err)
			}
		}
		return ctx.Err()
	}); err != nil {
		return err
	}
	for _, s := range swaps {
		if err := d.prepareSwap(s); err != nil {
			return err
		}
	}
	// The directory that all these files were renamed from: a rename is in both its directories or in neither.
	if err := d.disk.SyncDir(d.StagingPath()); err != nil {
		return fmt.Errorf("sync %q: %w", d.StagingPath(), err)
	}
	for _, s := range swaps {
		if _, err := d.exchangeSwap(s); err != nil {
			return err
		}
	}
	return d.settleSwaps(table)
}

// filesAtOnce is how many files are synced or read at once: a file system writes its journal once for all fsyncs that wait for it.
const filesAtOnce = 16

// together calls do with 0 to n-1, several at once, and gives the first error; after one no more calls are begun.
func together(n int, do func(i int) error) error {
	var mu sync.Mutex
	var failed error
	next := 0
	var group sync.WaitGroup
	for range min(filesAtOnce, n) {
		group.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := failed != nil || i >= n
				mu.Unlock()
				if stop {
					return
				}
				if err := do(i); err != nil {
					mu.Lock()
					if failed == nil {
						failed = err
					}
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return failed
}

func sameCoverage(a, b []CoverageRow) bool {
	if len(a) != len(b) {
		return false
	}
	value := func(p *int64) int64 {
		if p == nil {
			return -1
		}
		return *p
	}
	for i := range a {
		x, y := a[i], b[i]
		if x.Symbol != y.Symbol || value(x.FirstID) != value(y.FirstID) || value(x.LastID) != value(y.LastID) || x.Trades != y.Trades ||
			x.Missing != y.Missing || x.AbsentAtSource != y.AbsentAtSource || x.State != y.State {
			return false
		}
	}
	return true
}

// ReadCoverage reads the coverage rows of the partitions from fromDate to toDate, both included.
func (d *Dir) ReadCoverage(fromDate, toDate string) ([]CoverageRow, error) {
	return readTable[CoverageRow](d, Coverage, fromDate, toDate)
}
