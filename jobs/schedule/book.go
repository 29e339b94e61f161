package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tapedeck/internal/tape"
)

// Ledger is where runs are written down. Its methods may be called concurrently.
type Ledger interface {
	// PublishRuns returns when the rows are durable. After an error they may be there or not.
	PublishRuns(ctx context.Context, runs []tape.Run) (tape.Published, error)
	// ReadRuns reads the rows of the partitions of two dates and those between; an empty one leaves that end open.
	ReadRuns(fromDate, toDate string) ([]tape.Run, error)
	// MergeRecords joins the files of one date into one, if there are more than most.
	MergeRecords(ctx context.Context, table tape.Table, date string, most int) (before int, joined bool, err error)
}

const (
	// lastWrite bounds how long the ledger may take when the scheduler is already told to stop.
	lastWrite = 5 * time.Second
	// mostUnwritten bounds what is held while the ledger cannot be written: a day of a few jobs a minute.
	mostUnwritten = 5000
	// filesADate is how many files of runs a date may have, and mergeAfter how many rows are written before they are looked
	// at: a run a minute must not become a file a minute, whether a job compacts the tape or not.
	filesADate = 8
	mergeAfter = 32
)

// book writes rows to the ledger in the order in which they come. What cannot be written now is held, and written later
// before everything that follows it, so that the ledger never has a window without the one before it.
type book struct {
	ledger Ledger
	log    *slog.Logger

	mu       sync.Mutex
	held     []tape.Run
	doubtful bool           // the first of held was tried, and may be there
	written  map[string]int // rows since the last merge, by date
	told     bool           // that the ledger cannot be written
}

// write appends a row and gives those that became durable by now: the held ones and it, or none. taken is false where too
// many are held already; then there will be no row.
func (b *book) write(ctx context.Context, row tape.Run) (durable []tape.Run, taken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.held) >= mostUnwritten {
		b.log.Error("run not written to the ledger: too many wait", "job", row.Job, "run_id", row.ID, "outcome", row.Outcome, "waiting", len(b.held))
		return nil, false
	}
	b.held = append(b.held, row)
	return b.flush(ctx), true
}

// retry writes what is held.
func (b *book) retry(ctx context.Context) []tape.Run {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flush(ctx)
}

func (b *book) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.held)
}

func (b *book) flush(ctx context.Context) (durable []tape.Run) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	for len(b.held) > 0 {
		row := b.held[0]
		if err := b.publish(ctx, row); err != nil {
			if !b.told {
				b.log.Error("run not written to the ledger; it is tried again", "job", row.Job, "run_id", row.ID, "outcome", row.Outcome, "waiting", len(b.held), "error", err)
			}
			b.doubtful, b.told = true, true
			return durable
		}
		b.held, b.doubtful = b.held[1:], false
		durable = append(durable, row)
		b.written[dateOf(row)]++
	}
	if b.told {
		b.log.Info("ledger written again", "rows", len(durable))
		b.told = false
	}
	return durable
}

func (b *book) publish(ctx context.Context, row tape.Run) error {
	if b.doubtful {
		there, err := b.ledger.ReadRuns(dateOf(row), dateOf(row))
		if err != nil {
			return fmt.Errorf("see whether it is there: %w", err)
		}
		if slices.ContainsFunc(there, func(r tape.Run) bool { return r.ID == row.ID }) {
			return nil
		}
	}
	_, err := b.ledger.PublishRuns(ctx, []tape.Run{row})
	return err
}

// mergeSoon has the next tidy look at a date: a scheduler that did not live long may have left many files there.
func (b *book) mergeSoon(date string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.written[date] = mergeAfter
}

// tidy merges the files of the dates that many rows were written to.
func (b *book) tidy(ctx context.Context) {
	b.mu.Lock()
	var dates []string
	for date, rows := range b.written {
		if rows >= mergeAfter {
			dates = append(dates, date)
			delete(b.written, date)
		}
	}
	b.mu.Unlock()
	for _, date := range dates {
		if _, _, err := b.ledger.MergeRecords(ctx, tape.Runs, date, filesADate); err != nil && ctx.Err() == nil {
			b.log.Warn("files of the ledger not merged", "date", date, "error", err)
		}
	}
}

// dateOf is the partition that a row is put in.
func dateOf(row tape.Run) string {
	if row.FinishedAt != 0 {
		return tape.DateOf(row.FinishedAt)
	}
	return tape.DateOf(row.ScheduledAt)
}
