package schedule

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tapedeck/internal/tape"
)

// Ledger stores the rows of runs. Its methods may be called concurrently.
type Ledger interface {
	// PublishRuns returns when the rows are durable. After an error they may be stored or not.
	PublishRuns(ctx context.Context, runs []tape.Run) (tape.Published, error)
	// ReadRuns returns the rows of the partitions from one date to another, both inclusive. An
	// empty date leaves that end open.
	ReadRuns(fromDate, toDate string) ([]tape.Run, error)
	// MergeRecords merges the files of one date into one if there are more than most.
	MergeRecords(ctx context.Context, table tape.Table, date string, most int) (before int, merged bool, err error)
}

const (
	// writeTimeout bounds a write to the ledger or to the outbox, also while the scheduler stops.
	writeTimeout = 5 * time.Second
	// maxPendingRows bounds the rows held while the ledger cannot be written: a day of a few jobs a
	// minute.
	maxPendingRows = 5000
	// maxFilesPerDate is how many files of runs a date may have; they are counted after every
	// mergeAfter rows. A run a minute must not become a file a minute, even if no job compacts the
	// tape.
	maxFilesPerDate = 8
	mergeAfter      = 32
)

// ledgerWriter writes rows in the order in which they come. Rows that cannot be written now are
// held and written before all later ones, so that the ledger never has a window without the one
// before it.
type ledgerWriter struct {
	ledger Ledger
	log    *slog.Logger

	mu         sync.Mutex // guards the fields below
	pending    []tape.Run
	maybeThere bool           // writing pending[0] failed, and may have stored it
	unmerged   map[string]int // rows since the last merge, by date
	failing    bool           // the last write failed
}

// write appends a row and returns the rows that became durable: all pending ones and row, or some
// of them. accepted is false if too many are pending; then row is dropped.
func (w *ledgerWriter) write(ctx context.Context, row tape.Run) (durable []tape.Run, accepted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) >= maxPendingRows {
		w.log.Error("run dropped: too many rows wait for the ledger",
			"job", row.Job, "run_id", row.ID, "outcome", row.Outcome, "pending", len(w.pending))
		return nil, false
	}
	w.pending = append(w.pending, row)
	return w.flush(ctx), true
}

// retry writes the pending rows and returns those that became durable.
func (w *ledgerWriter) retry(ctx context.Context) (durable []tape.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush(ctx)
}

func (w *ledgerWriter) pendingRows() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending)
}

func (w *ledgerWriter) flush(ctx context.Context) (durable []tape.Run) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	for len(w.pending) > 0 {
		row := w.pending[0]
		if err := w.publish(ctx, row); err != nil {
			if !w.failing {
				w.log.Error("ledger not written; will retry",
					"job", row.Job, "run_id", row.ID, "outcome", row.Outcome, "pending", len(w.pending), "error", err)
			}
			w.maybeThere, w.failing = true, true
			return durable
		}
		w.pending, w.maybeThere = w.pending[1:], false
		durable = append(durable, row)
		w.unmerged[partitionDate(row)]++
	}
	if w.failing {
		w.log.Info("ledger written again", "rows", len(durable))
		w.failing = false
	}
	return durable
}

func (w *ledgerWriter) publish(ctx context.Context, row tape.Run) error {
	if w.maybeThere {
		rows, err := w.ledger.ReadRuns(partitionDate(row), partitionDate(row))
		if err != nil {
			return fmt.Errorf("check whether the row is stored: %w", err)
		}
		if slices.ContainsFunc(rows, func(r tape.Run) bool { return r.ID == row.ID }) {
			return nil
		}
	}
	_, err := w.ledger.PublishRuns(ctx, []tape.Run{row})
	return err
}

// requestMerge makes the next merge include a date, on which a short-lived scheduler may have left
// many files.
func (w *ledgerWriter) requestMerge(date string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unmerged[date] = mergeAfter
}

// merge merges the files of the dates to which many rows were written.
func (w *ledgerWriter) merge(ctx context.Context) {
	w.mu.Lock()
	var dates []string
	for date, rows := range w.unmerged {
		if rows >= mergeAfter {
			dates = append(dates, date)
			delete(w.unmerged, date)
		}
	}
	w.mu.Unlock()
	for _, date := range dates {
		if _, _, err := w.ledger.MergeRecords(ctx, tape.Runs, date, maxFilesPerDate); err != nil && ctx.Err() == nil {
			w.log.Warn("files of the ledger not merged", "date", date, "error", err)
		}
	}
}

// partitionDate returns the date of the partition that a row belongs to.
func partitionDate(row tape.Run) string {
	return tape.DateOf(cmp.Or(row.FinishedAt, row.ScheduledAt))
}
