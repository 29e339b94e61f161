// Package compact merges the many small files that a tape is written in into few that suit scans: those of hours and days that are over, sorted
// by (symbol, id).
//
// The guarantee: at every instant each row is on the tape once for whoever lists its files, whatever else writes, and a run that was
// ended at any point has changed nothing or merged whole partitions' worth of files. How a partition is replaced is described in package tape.
package compact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"tapedeck/internal/tape"
)

// The policy's defaults.
const (
	// MaxRows of a merged file: at 6 to 9 bytes a row 100 to 150 MB, of which a query that needs few symbols reads few row groups.
	MaxRows = 16 << 20
	// grace is how long after its end an hour or a day counts as over: by then the last flush of it has been written.
	grace = 5 * time.Minute
	// slack is how many small files beyond the merged ones a day that is over may keep, so that a heal of a few trades
	// does not rewrite it.
	slack = 4
	// mostRecords is how many files of alerts or runs a date may have before it is over; then it may have one.
	mostRecords = 8
	// attempts to merge a group of segments that others change meanwhile.
	attempts = 3
)

// Options are a compaction's settings.
type Options struct {
	// Now says which hours and days are over.
	Now time.Time
	// Clock is what the system's clock says, by which files are old that dead writers and replaced partitions left; zero means Now.
	Clock time.Time
	// From and To restrict it to the partitions of trades that the half-open window touches; zero leaves that end open.
	From, To time.Time
	// MaxRows of a merged file; 0 means the constant of this name.
	MaxRows int64
	// Force merges every day's segments down to as few as there can be, also those of the hour under way.
	Force bool
	// Logger hears of merges and of what could not be merged; nil means silence.
	Logger *slog.Logger
	// Progress hears, before each partition, how many are done of how many; nil means nobody.
	Progress func(done, of int, date string)
}

// Summary is what a compaction did.
type Summary struct {
	// Dates whose segments of trades were merged.
	Dates []string
	// Before and After count the segments that were merged and those that they became.
	Before, After int
	// Rows and Bytes of the merged segments of trades.
	Rows, Bytes int64
	// Records counts the files of alerts and runs that were merged into one a date.
	Records int
	// Swept counts files of dead writers that were deleted.
	Swept int
	// Broken are the segments that could not be read or merged; they stay as they are.
	Broken []tape.BrokenSegment
	// NotAtomic is true where the file system cannot exchange directories: readers may have seen fewer rows for an instant.
	NotAtomic bool
}

// Run merges what is to be merged. It may run beside the stream, a backfill, readers and another compaction.
func Run(ctx context.Context, dir *tape.Dir, opt Options) (Summary, error) {
	if opt.MaxRows <= 0 {
		opt.MaxRows = MaxRows
	}
	if opt.Clock.IsZero() {
		opt.Clock = opt.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	c := &compaction{dir: dir, opt: opt, bad: map[string]bool{}}
	err := c.run(ctx)
	return c.Summary, err
}

type compaction struct {
	Summary
	dir *tape.Dir
	opt Options
	bad map[string]bool // paths of segments that cannot be merged
}

func (c *compaction) run(ctx context.Context) error {
	dates, err := c.dir.Dates(tape.Trades)
	if err != nil {
		return err
	}
	dates = slices.DeleteFunc(dates, func(date string) bool { return !c.wanted(date) })
	for i, date := range dates {
		if c.opt.Progress != nil {
			c.opt.Progress(i, len(dates), date)
		}
		if err := c.date(ctx, date); err != nil {
			return fmt.Errorf("compact the trades of %s: %w", date, err)
		}
	}
	for _, table := range []tape.Table{tape.Alerts, tape.Runs} {
		if err := c.records(ctx, table); err != nil {
			return err
		}
	}
	if c.Swept, err = c.dir.Sweep(c.opt.Clock); err != nil {
		return fmt.Errorf("sweep the staging directory: %w", err)
	}
	return nil
}

func (c *compaction) wanted(date string) bool {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return false // not a partition of ours
	}
	return (c.opt.To.IsZero() || day.Before(c.opt.To)) && (c.opt.From.IsZero() || day.AddDate(0, 0, 1).After(c.opt.From))
}

// date merges the segments of one date until there is nothing left to merge.
func (c *compaction) date(ctx context.Context, date string) error {
	merged, changed := false, 0
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		segments, err := c.segments(date)
		if err != nil {
			return err
		}
		groups, err := c.groups(date, segments)
		if err != nil {
			return err
		}
		did := false
		for _, group := range groups {
			fewer, err := c.merge(ctx, date, group)
			switch {
			case errors.Is(err, tape.ErrChanged) && changed < attempts:
				// Another process was quicker: look again.
				changed++
				did = true
			case errors.Is(err, tape.ErrChanged):
				c.opt.Logger.Warn("segments left to another run", "date", date, "segments", len(group))
			case err != nil:
				return err
			case fewer:
				merged, did = true, true
			}
		}
		if !did {
			break
		}
	}
	if merged {
		c.Dates = append(c.Dates, date)
	}
	return nil
}

// segments lists what can be merged of a date.
func (c *compaction) segments(date string) ([]tape.Segment, error) {
	segments, broken, err := c.dir.Segments(tape.Trades, date, date)
	if err != nil {
		return nil, err
	}
	for _, b := range broken {
		c.reject(b.Path, b.Err)
	}
	return slices.DeleteFunc(segments, func(s tape.Segment) bool { return c.bad[s.Path] || s.Rows == 0 }), nil
}

func (c *compaction) reject(path string, err error) {
	if !c.bad[path] {
		c.bad[path] = true
		c.Broken = append(c.Broken, tape.BrokenSegment{Path: path, Err: err})
		c.opt.Logger.Warn("segment left as it is", "path", path, "error", err.Error())
	}
}

// isOver says whether a day has ended and its last flush has been written.
func (c *compaction) isOver(day time.Time) bool {
	return !c.opt.Now.Before(day.AddDate(0, 0, 1).Add(grace))
}

// groups says which segments of a date are to become one another's files now. Where a day has more of them than can be open at once, its
// groups are merged first, and what they became the next time round.
func (c *compaction) groups(date string, segments []tape.Segment) ([][]tape.Segment, error) {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return nil, err
	}
	if !c.opt.Force && !c.isOver(day) {
		return c.hours(segments)
	}
	rows := int64(0)
	for _, s := range segments {
		rows += s.Rows
	}
	most := int((rows + c.opt.MaxRows - 1) / c.opt.MaxRows)
	if len(segments) <= most || !c.opt.Force && len(segments) <= most+slack && !c.scattered(segments) {
		return nil, nil
	}
	groups := tape.MergeGroups(segments)
	if len(groups) > 1 && len(groups) == len(segments) {
		return nil, nil // every one of them fills a merge by itself
	}
	return slices.DeleteFunc(groups, func(group []tape.Segment) bool { return len(group) < 2 }), nil
}

// scattered says whether a day was never merged as a whole: none of its files is a compaction's of its size.
func (c *compaction) scattered(segments []tape.Segment) bool {
	return !slices.ContainsFunc(segments, tape.Segment.IsCompacted)
}

// hours groups what was written in hours that are over, of a day that is not.
func (c *compaction) hours(segments []tape.Segment) ([][]tape.Segment, error) {
	over := c.opt.Now.Add(-grace).Truncate(time.Hour)
	byHour := map[time.Time][]tape.Segment{}
	for _, s := range segments {
		if s.IsCompacted() {
			continue
		}
		_, last, ok, err := c.dir.TimeRange(s)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another run merged it since it was listed
		}
		if err != nil {
			c.reject(s.Path, err)
			continue
		}
		if hour := last.Truncate(time.Hour); ok && hour.Before(over) {
			byHour[hour] = append(byHour[hour], s)
		}
	}
	var out [][]tape.Segment
	for _, group := range byHour {
		for _, part := range tape.MergeGroups(group) {
			if len(part) > 1 {
				out = append(out, part)
			}
		}
	}
	return out, nil
}

// merge merges a group and says whether there is another look to take: there are fewer segments now, or one that cannot be read was set aside.
func (c *compaction) merge(ctx context.Context, date string, group []tape.Segment) (bool, error) {
	out, err := c.dir.Merge(ctx, date, group, c.opt.MaxRows)
	var broken tape.BrokenSegment
	if !errors.Is(err, tape.ErrChanged) && errors.As(err, &broken) {
		c.reject(broken.Path, broken.Err)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	rows := int64(0)
	for _, s := range group {
		rows += s.Rows
	}
	c.Before += out.Before
	c.After += out.After
	c.Rows += rows
	c.Bytes += out.Bytes
	if !out.Atomic {
		c.NotAtomic = true
	}
	c.opt.Logger.Info("segments merged", "date", date, "before", out.Before, "after", out.After, "rows", rows, "bytes", out.Bytes)
	return out.After < out.Before, nil
}

// records merges the files of alerts or runs.
func (c *compaction) records(ctx context.Context, table tape.Table) error {
	dates, err := c.dir.Dates(table)
	if err != nil {
		return err
	}
	for _, date := range dates {
		if err := ctx.Err(); err != nil {
			return err
		}
		most := mostRecords
		if day, err := time.Parse(time.DateOnly, date); err == nil && c.isOver(day) {
			most = 1
		}
		before, joined, err := c.dir.MergeRecords(ctx, table, date, most)
		if err != nil {
			return fmt.Errorf("compact the %s of %s: %w", table, date, err)
		}
		if joined {
			c.Records += before
		}
	}
	return nil
}
