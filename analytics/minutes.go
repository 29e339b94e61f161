package analytics

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// finalAfter is how far a minute must lie behind the next trade to be final. Ids and times of a symbol
// rise together, except for milliseconds.
const finalAfter = 10 * time.Second

// minuteTask is a window of one UTC date in which the minutes of a symbol are computed from trades.
type minuteTask struct {
	symbol string
	window window.Window
	final  bool // no trade of the window can still arrive, so its minutes can be cached
}

func (t minuteTask) date() string { return t.window.Start.Format(time.DateOnly) }

// requestedMinutes is the window that the relation minutes covers.
func (s *Session) requestedMinutes() window.Window {
	return window.Window{Start: s.opt.MinutesFrom.UTC(), End: s.opt.To.UTC()}
}

// loadMinutes makes the relation minutes a table. The error is a tape.BrokenSegment if a segment turns
// out to be damaged: without its rows a minute would be wrong, and no gap in the ids would show it.
func (s *Session) loadMinutes(ctx context.Context) error {
	definition := derivedSelect("traded_minutes")
	sum := sha256.Sum256([]byte(definition))
	for try := 0; ; try++ {
		// What was cached before trades were dropped does not count. A file with dropped rows cannot be
		// opened from now on, or the number changes again.
		generation, err := s.dir.DropGeneration()
		if err != nil {
			return err
		}
		version := fmt.Sprintf("%s-%d", hex.EncodeToString(sum[:8]), generation)
		// The last try but one does without the cache, in case a cached file is damaged.
		cache := s.readMinuteCache(version, try == maxRetries-1)
		err = s.tryLoadMinutes(ctx, definition, cache)
		if err == nil || ctx.Err() != nil || try == maxRetries || !mayBeFileError(err) {
			return err
		}
		// Files were replaced meanwhile, or one of them is damaged.
		if !isMissingFile(err) {
			for _, damaged := range s.findDamaged(ctx, err.Error()) {
				return damaged
			}
		}
		if err := s.opt.Index.Refresh(ctx); err != nil {
			return err
		}
		if err := s.createViews(ctx); err != nil {
			return err
		}
	}
}

// tryLoadMinutes computes the minutes that are not cached, in the schema work, and joins them with the
// cached ones.
func (s *Session) tryLoadMinutes(ctx context.Context, definition string, cache *minuteCache) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := exec(ctx, conn, "DROP VIEW IF EXISTS minutes", "DROP SCHEMA IF EXISTS work CASCADE", "CREATE SCHEMA work"); err != nil {
		return err
	}
	tasks := s.minuteTasks(cache)
	if err := s.computeMinutes(ctx, conn, definition, tasks); err != nil {
		return err
	}
	source := "FROM work.minutes"
	requested := s.requestedMinutes()
	if files := s.cachedFiles(cache, requested); len(files) > 0 {
		source += fmt.Sprintf(" UNION ALL SELECT * FROM read_parquet(%s) WHERE minute >= %s AND minute < %s",
			pathList(files), Timestamp(requested.Start), Timestamp(requested.End))
	}
	if err := exec(ctx, conn, "CREATE VIEW work.traded_minutes AS "+source); err != nil {
		return err
	}
	// This is a table because every query would compute a view again, and no condition would be pushed
	// down into it.
	if err := execInWork(ctx, conn, "CREATE TABLE main.minutes AS "+derivedSelect("minutes")); err != nil {
		return err
	}
	if s.opt.CacheMinutes {
		if err := s.cacheMinutes(ctx, conn, cache, tasks); err != nil {
			s.log.Warn("minutes not cached; the next run computes them again", "error", err.Error())
		}
	}
	return exec(ctx, conn, "DROP SCHEMA work CASCADE")
}

// minuteTasks returns the requested minutes that are not cached, by symbol and date. A minute of a symbol
// is final if ids without a gap lead from a trade before it to a trade at least finalAfter after it.
func (s *Session) minuteTasks(cache *minuteCache) (tasks []minuteTask) {
	index := s.opt.Index
	for symbol, bounds := range index.AllBounds() {
		if !s.covers(symbol) {
			continue
		}
		recorded := s.requestedMinutes().Intersect(window.Minutes(bounds.FirstAt, bounds.LastAt))
		notFinal := []window.Window{
			{Start: recorded.Start, End: bounds.FirstAt.UTC().Truncate(time.Minute).Add(time.Minute)},
			{Start: bounds.LastAt.UTC().Add(-finalAfter).Truncate(time.Minute), End: recorded.End},
		}
		for _, gap := range index.Gaps(symbol) {
			notFinal = append(notFinal, window.Minutes(gap.After, gap.Before))
		}
		notFinal = window.Merge(notFinal)
		for _, day := range recorded.Days() {
			for _, missing := range day.Subtract(cache.windows(symbol, day.Start)) {
				final := missing.Subtract(notFinal)
				for _, part := range final {
					tasks = append(tasks, minuteTask{symbol, part, true})
				}
				for _, part := range missing.Subtract(final) {
					tasks = append(tasks, minuteTask{symbol, part, false})
				}
			}
		}
	}
	return tasks
}

// computeMinutes creates the table work.minutes from the trades of the tasks. It reads only the segments
// with such trades.
func (s *Session) computeMinutes(ctx context.Context, conn *sql.Conn, definition string, tasks []minuteTask) error {
	bySymbol := map[string][]window.Window{}
	var all window.Window
	for _, task := range tasks {
		bySymbol[task.symbol] = append(bySymbol[task.symbol], task.window)
		all = all.Hull(task.window)
	}
	if err := createTasks(ctx, conn, tasks); err != nil {
		return err
	}
	requested := s.requestedMinutes()
	segments, err := s.segments(tape.Trades, requested.Start, requested.End)
	if err != nil {
		return err
	}
	segments = s.dropOthers(segments, requested.Start, requested.End, func(symbol string, run tape.IDRun) bool {
		return slices.ContainsFunc(bySymbol[symbol], func(w window.Window) bool { return run.Overlaps(w.Start, w.End) })
	})
	source := "SELECT * FROM canonical.trades"
	if len(segments) > 0 {
		if source, err = s.selectSegments(ctx, tape.Trades, segments); err != nil {
			return err
		}
	}
	trades := fmt.Sprintf("SELECT trades.* FROM (%s) AS trades "+
		"JOIN work.tasks ON trades.symbol = tasks.symbol AND traded_at >= starts_at AND traded_at < ends_at "+
		"WHERE traded_at >= %s AND traded_at < %s",
		source, Timestamp(all.Start), Timestamp(all.End))
	return s.insertMinutes(ctx, conn, definition, trades, s.minuteBatches(tasks))
}

// minuteRow is how much memory grouping takes for a trade, in bytes, with what DuckDB does not count; half of
// the session's memory is for it. Measured: with 200, 200 symbols within 300 MB take 371 MB; with 500, 256 MB.
const minuteRow = 500

// minuteBatches returns the symbols of the tasks, sorted, in batches whose trades can be grouped in memory.
// It estimates the trades of a task by the mean rate of its symbol.
func (s *Session) minuteBatches(tasks []minuteTask) (batches [][]string) {
	rows := map[string]float64{}
	for _, task := range tasks {
		bounds, _ := s.opt.Index.Bounds(task.symbol)
		rate := float64(bounds.LastID-bounds.FirstID+1) / max(bounds.LastAt.Sub(bounds.FirstAt).Seconds(), 1)
		rows[task.symbol] += rate * task.window.End.Sub(task.window.Start).Seconds()
	}
	var batch []string
	var size float64
	for _, symbol := range slices.Sorted(maps.Keys(rows)) {
		if size += rows[symbol]; s.budget.bytes > 0 && size*minuteRow > float64(s.budget.bytes/2) && len(batch) > 0 {
			batches, batch, size = append(batches, batch), nil, rows[symbol]
		}
		batch = append(batch, symbol)
	}
	return append(batches, batch) // one is empty if there are no tasks
}

// insertMinutes creates the table work.minutes, of one batch of symbols after the other. A batch for which
// memory is short is split.
func (s *Session) insertMinutes(ctx context.Context, conn *sql.Conn, definition, trades string, batches [][]string) error {
	into := "CREATE TABLE work.minutes AS "
	for len(batches) > 0 {
		batch, view := batches[0], "CREATE OR REPLACE VIEW work.trades AS "+trades
		if len(batch) > 0 {
			view += fmt.Sprintf(" AND trades.symbol >= %s AND trades.symbol <= %s", Quote(batch[0]), Quote(batch[len(batch)-1]))
		}
		if err := exec(ctx, conn, view); err != nil {
			return err
		}
		err := execInWork(ctx, conn, into+definition)
		switch {
		case IsOutOfMemory(err) && len(batch) > 1:
			batches = append([][]string{batch[:len(batch)/2], batch[len(batch)/2:]}, batches[1:]...)
			continue
		case err != nil:
			return err
		}
		into, batches = "INSERT INTO work.minutes ", batches[1:]
	}
	return nil
}

func createTasks(ctx context.Context, conn *sql.Conn, tasks []minuteTask) error {
	const table = "CREATE TABLE work.tasks (symbol VARCHAR, starts_at TIMESTAMP, ends_at TIMESTAMP, is_final BOOLEAN)"
	if err := exec(ctx, conn, table); err != nil {
		return err
	}
	rows := make([][]driver.Value, len(tasks))
	for i, task := range tasks {
		rows[i] = []driver.Value{task.symbol, task.window.Start, task.window.End, task.final}
	}
	return appendRows(conn, "memory", "work", "tasks", rows)
}

// execInWork runs a statement in which relations of the schema work hide those of main.
func execInWork(ctx context.Context, conn *sql.Conn, statement string) error {
	err := exec(ctx, conn, "SET search_path = 'work,main'", statement)
	return errors.Join(err, exec(ctx, conn, "SET search_path = 'main'"))
}
