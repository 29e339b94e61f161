// Package compact merges the many small files of a tape into few that suit scans, sorted by
// (symbol, id): the files of an hour once it is over, and those of a day once it is over.
//
// Its one guarantee: a reader that lists a partition's files sees every row exactly once at any
// moment, whatever else writes. A run that is interrupted has merged some groups of files
// completely and left the others unchanged. Package tape replaces the files; docs/TAPE.md describes
// how.
package compact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

const (
	// MaxRows is the default for Options.MaxRows. At 6 to 9 bytes a row a file has 100 to 150 MB. A
	// query that needs few symbols reads few row groups of it.
	MaxRows = 16 << 20
	// grace is the time after its end from which an hour or a day counts as over. By then its last
	// flush has been written.
	grace = 5 * time.Minute
	// extraFiles is how many files more than necessary a finished day may have, so that a backfill of
	// a few trades does not rewrite the day.
	extraFiles = 4
	// maxRecordFiles is how many files of alerts or runs a date may have before it is over. After that
	// it may have one.
	maxRecordFiles = 8
	// maxRetries bounds how often a date is listed again because another process changed its segments.
	maxRetries = 3
)

// Options are the settings of a compaction.
type Options struct {
	// Now decides which hours and days are over.
	Now time.Time
	// Clock is the current time of the system, which decides whether the files of dead writers and
	// replaced partitions are old enough to delete. Zero means Now.
	Clock time.Time
	// Window restricts the compaction to the partitions of trades that overlap with it. A zero time
	// leaves that end open.
	Window window.Window
	// MaxRows bounds the rows of a merged file. Zero means the constant MaxRows.
	MaxRows int64
	// Force merges every day's segments into as few as possible, even those of the current hour.
	Force bool
	// Logger may be nil.
	Logger *slog.Logger
	// Progress shows the partitions that are done. It may be nil.
	Progress progress.Display
}

// Summary is what a compaction did.
type Summary struct {
	// Dates are those whose segments of trades were merged.
	Dates []string
	// Before is the number of segments that were merged, After of those that replace them.
	Before, After int
	// Rows and Bytes are those of the merged segments of trades.
	Rows, Bytes int64
	// Conflicts is the number of rows of files that were put there meanwhile, and left out because their ids have another content in the
	// row that stays.
	Conflicts int64
	// Records is the number of files of alerts and runs that were merged.
	Records int
	// Swept is the number of files of dead writers that were deleted.
	Swept int
	// Broken are the segments that could not be read or are stray. They are left as they are.
	Broken []tape.BrokenSegment
	// NotAtomic is true if the file system cannot exchange directories. Then readers may have seen
	// fewer rows for an instant.
	NotAtomic bool
}

// Run merges what can be merged. It is safe to run at the same time as the stream, a backfill,
// readers and another compaction. After an error the Summary describes what was done.
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
	if opt.Progress == nil {
		opt.Progress = progress.None{}
	}
	c := &compaction{dir: dir, opt: opt, rejected: map[string]bool{}}
	err := c.run(ctx)
	return c.Summary, err
}

type compaction struct {
	Summary
	dir      *tape.Dir
	opt      Options
	rejected map[string]bool // paths of segments that cannot be merged
}

func (c *compaction) run(ctx context.Context) error {
	if _, err := c.dir.FinishDrop(ctx); err != nil {
		return fmt.Errorf("finish a drop that was interrupted: %w", err)
	}
	dates, err := c.dir.Dates(tape.Trades)
	if err != nil {
		return err
	}
	dates = slices.DeleteFunc(dates, func(date string) bool { return !c.inWindow(date) })
	c.opt.Progress.Begin("compact", int64(len(dates)))
	for i, date := range dates {
		c.opt.Progress.Set("days", int64(i))
		if err := c.compactDate(ctx, date); err != nil {
			return fmt.Errorf("compact the trades of %s: %w", date, err)
		}
	}
	for _, table := range []tape.Table{tape.Alerts, tape.Runs, tape.Conflicts, tape.Recorder, tape.Drops} {
		if err := c.mergeRecords(ctx, table); err != nil {
			return err
		}
	}
	if c.Swept, err = c.dir.Sweep(c.opt.Clock); err != nil {
		return fmt.Errorf("sweep the staging directory: %w", err)
	}
	return nil
}

// inWindow reports whether date is a date and overlaps with the window.
func (c *compaction) inWindow(date string) bool {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return false
	}
	start, end := c.opt.Window.Start, c.opt.Window.End
	return (end.IsZero() || day.Before(end)) && (start.IsZero() || day.AddDate(0, 0, 1).After(start))
}

// compactDate merges the segments of one date until nothing is left to merge.
func (c *compaction) compactDate(ctx context.Context, date string) error {
	retries := 0
	for progress := true; progress; {
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
		progress = false
		for _, group := range groups {
			changed, err := c.merge(ctx, date, group)
			switch {
			case errors.Is(err, tape.ErrChanged) && retries < maxRetries:
				retries++
				progress = true
			case errors.Is(err, tape.ErrChanged):
				c.opt.Logger.Warn("segments left to another process", "date", date, "segments", len(group))
			case err != nil:
				return err
			case changed:
				progress = true
			}
		}
	}
	return nil
}

// segments lists the segments of a date that can be merged.
func (c *compaction) segments(date string) ([]tape.Segment, error) {
	segments, broken, err := c.dir.TradesOf(date)
	if err != nil {
		return nil, err
	}
	for _, b := range broken {
		c.reject(b.Path, b.Err)
	}
	return slices.DeleteFunc(segments, func(s tape.Segment) bool { return c.rejected[s.Path] || s.Rows == 0 }), nil
}

func (c *compaction) reject(path string, err error) {
	if !c.rejected[path] {
		c.rejected[path] = true
		segment := tape.BrokenSegment{Path: path, Err: err}
		c.Broken = append(c.Broken, segment)
		if !segment.IsStray() { // a restored backup has thousands; the result counts them
			c.opt.Logger.Warn("segment cannot be merged", "path", path, "error", err.Error())
		}
	}
}

// isOver reports whether a day has ended and its last flush has been written.
func (c *compaction) isOver(day time.Time) bool {
	return !c.opt.Now.Before(day.AddDate(0, 0, 1).Add(grace))
}

// groups returns the segments of a date to merge now, in groups. If a day has more of them than can
// be open at the same time, the merged groups are merged with each other in the next round.
func (c *compaction) groups(date string, segments []tape.Segment) ([][]tape.Segment, error) {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return nil, err
	}
	if !c.opt.Force && !c.isOver(day) {
		return c.hourGroups(segments)
	}
	least := int((rowsOf(segments) + c.opt.MaxRows - 1) / c.opt.MaxRows)
	// A day without a compacted file was never merged as a whole.
	wasMerged := slices.ContainsFunc(segments, tape.Segment.IsCompacted)
	if len(segments) <= least || !c.opt.Force && wasMerged && len(segments) <= least+extraFiles {
		return nil, nil
	}
	groups := tape.MergeGroups(segments)
	if len(groups) > 1 && len(groups) == len(segments) {
		return nil, nil // each segment fills a merge by itself
	}
	return severalOnly(groups), nil
}

// hourGroups groups the segments of a day that is not over by hours that are over.
func (c *compaction) hourGroups(segments []tape.Segment) ([][]tape.Segment, error) {
	over := c.opt.Now.Add(-grace).Truncate(time.Hour)
	byHour := map[time.Time][]tape.Segment{}
	for _, s := range segments {
		if s.IsCompacted() {
			continue
		}
		_, last, ok, err := c.dir.TimeRange(s)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process merged it after it was listed
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
	for _, segments := range byHour {
		out = append(out, severalOnly(tape.MergeGroups(segments))...)
	}
	return out, nil
}

// severalOnly removes the groups of a single segment.
func severalOnly(groups [][]tape.Segment) [][]tape.Segment {
	return slices.DeleteFunc(groups, func(group []tape.Segment) bool { return len(group) < 2 })
}

func rowsOf(segments []tape.Segment) (rows int64) {
	for _, s := range segments {
		rows += s.Rows
	}
	return rows
}

// merge merges a group. It reports whether the date must be listed again: it has fewer segments
// now, or one that cannot be read was rejected.
func (c *compaction) merge(ctx context.Context, date string, group []tape.Segment) (changed bool, err error) {
	out, err := c.dir.Merge(ctx, date, group, c.opt.MaxRows, c.opt.Clock)
	var broken tape.BrokenSegment
	if !errors.Is(err, tape.ErrChanged) && errors.As(err, &broken) {
		c.reject(broken.Path, broken.Err)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	rows := rowsOf(group)
	c.Before += out.Before
	c.After += out.After
	c.Rows += rows
	c.Bytes += out.Bytes
	c.NotAtomic = c.NotAtomic || !out.Atomic
	if out.Conflicts > 0 {
		c.Conflicts += out.Conflicts
		c.opt.Logger.Warn("rows left out: their ids have another content in the row that stays", "date", date, "conflicts", out.Conflicts)
	}
	c.opt.Logger.Info("segments merged",
		"date", date, "before", out.Before, "after", out.After, "rows", rows, "bytes", out.Bytes)
	if changed = out.After < out.Before; changed && !slices.Contains(c.Dates, date) {
		c.Dates = append(c.Dates, date)
	}
	return changed, nil
}

// mergeRecords merges the files of a table of records, such as alerts, of each date.
func (c *compaction) mergeRecords(ctx context.Context, table tape.Table) error {
	dates, err := c.dir.Dates(table)
	if err != nil {
		return err
	}
	for _, date := range dates {
		if err := ctx.Err(); err != nil {
			return err
		}
		limit := maxRecordFiles
		if day, err := time.Parse(time.DateOnly, date); err == nil && c.isOver(day) {
			limit = 1
		}
		before, merged, err := c.dir.MergeRecords(ctx, table, date, limit)
		if err != nil {
			return fmt.Errorf("compact the %s of %s: %w", table, date, err)
		}
		if merged {
			c.Records += before
		}
	}
	return nil
}
