package analytics

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/window"
)

// The minutes of a day cost reading all its trades. A session with CacheMinutes therefore stores the
// final ones, which never change, and later sessions only read the trades since. Losing the cache costs
// reading the trades again.
const (
	// minuteCacheFile lists what is cached. The files are in the directory minuteCacheDir. Both are below
	// the state directory.
	minuteCacheFile = "minutes.json"
	minuteCacheDir  = "minutes"
	// cacheMergeFiles is how many files of one date are merged into one: a run per minute adds one each.
	cacheMergeFiles = 24
	// cacheDays is how many dates are cached.
	cacheDays = 8
	// cacheSweepAfter is when a file that minuteCacheFile does not list is deleted. A session reads the
	// files only while it opens.
	cacheSweepAfter = time.Hour
)

// minuteCache is the content of minuteCacheFile.
type minuteCache struct {
	// Version identifies the SELECT that computed the minutes.
	Version string `json:"version"`
	// Days is by UTC date.
	Days map[string]*cachedDay `json:"days"`
}

// cachedDay is one UTC date: its files with rows of traded_minutes, and which minutes they cover for
// each symbol.
type cachedDay struct {
	Files   []string                 `json:"files"`
	Symbols map[string][]minuteRange `json:"symbols"`
}

// minuteRange is a half-open window of one date, in minutes from midnight.
type minuteRange [2]int

// windows returns which minutes of a symbol are cached on the date of day, sorted and disjoint.
func (c *minuteCache) windows(symbol string, day time.Time) (cached []window.Window) {
	midnight := day.UTC().Truncate(24 * time.Hour)
	at := func(minute int) time.Time { return midnight.Add(time.Duration(minute) * time.Minute) }
	if date := c.Days[midnight.Format(time.DateOnly)]; date != nil {
		for _, r := range date.Symbols[symbol] {
			cached = append(cached, window.Window{Start: at(r[0]), End: at(r[1])})
		}
	}
	return cached
}

// add records that the minutes of a task are cached. Its date must exist.
func (c *minuteCache) add(task minuteTask) {
	midnight := task.window.Start.Truncate(24 * time.Hour)
	ranges := []minuteRange{}
	for _, w := range window.Merge(append(c.windows(task.symbol, midnight), task.window)) {
		ranges = append(ranges, minuteRange{int(w.Start.Sub(midnight) / time.Minute), int(w.End.Sub(midnight) / time.Minute)})
	}
	c.Days[task.date()].Symbols[task.symbol] = ranges
}

// readMinuteCache returns what is cached. A cache of another version, or one that cannot be read, is empty.
func (s *Session) readMinuteCache(version string, ignore bool) *minuteCache {
	cache := &minuteCache{}
	if err := s.dir.State().Read(minuteCacheFile, cache); ignore || err != nil || cache.Version != version || cache.Days == nil {
		return &minuteCache{Version: version, Days: map[string]*cachedDay{}}
	}
	return cache
}

func (s *Session) cachedPath(name string) string {
	return filepath.Join(s.dir.State().Path(minuteCacheDir), filepath.FromSlash(name))
}

// cachedFiles returns the paths of the cached files of the dates that w overlaps or touches, sorted.
func (s *Session) cachedFiles(cache *minuteCache, w window.Window) (paths []string) {
	for date, day := range cache.Days {
		if date >= w.Start.Format(time.DateOnly) && date <= w.End.Format(time.DateOnly) {
			for _, name := range day.Files {
				paths = append(paths, s.cachedPath(name))
			}
		}
	}
	slices.Sort(paths)
	return paths
}

// cacheMinutes writes the final minutes of work.minutes to files, and then the list of the files.
func (s *Session) cacheMinutes(ctx context.Context, conn *sql.Conn, cache *minuteCache, tasks []minuteTask) error {
	written := map[string]bool{}
	for _, task := range tasks {
		date := task.date()
		if !task.final {
			continue
		}
		if !written[date] {
			if err := s.cacheDate(ctx, conn, cache, date); err != nil {
				return err
			}
			written[date] = true
		}
		cache.add(task)
	}
	if len(written) == 0 {
		return nil
	}
	s.dropOldDates(cache)
	if err := s.dir.State().Write(minuteCacheFile, cache); err != nil {
		return err
	}
	s.sweepCache(cache)
	return nil
}

// cacheDate writes the final minutes of one date to a new file, which replaces the others if there are many.
func (s *Session) cacheDate(ctx context.Context, conn *sql.Conn, cache *minuteCache, date string) error {
	day := cache.Days[date]
	if day == nil {
		day = &cachedDay{Symbols: map[string][]minuteRange{}}
		cache.Days[date] = day
	}
	source := fmt.Sprintf("SELECT minutes.* FROM work.minutes AS minutes "+
		"JOIN work.tasks AS tasks ON minutes.symbol = tasks.symbol AND minute >= starts_at AND minute < ends_at "+
		"WHERE is_final AND minute >= DATE '%s' AND minute < DATE '%s' + 1", date, date)
	merge := len(day.Files) >= cacheMergeFiles
	if merge {
		paths := make([]string, len(day.Files))
		for i, name := range day.Files {
			paths[i] = s.cachedPath(name)
		}
		source += fmt.Sprintf(" UNION ALL SELECT * FROM read_parquet(%s)", pathList(paths))
	}
	temporary := filepath.Join(s.scratch.path, "minutes.parquet")
	statement := fmt.Sprintf("COPY (SELECT * FROM (%s) ORDER BY symbol, minute) TO %s (%s)", source, Quote(temporary), copyOptions[Parquet])
	if err := exec(ctx, conn, statement); err != nil {
		return err
	}
	name := date + "/" + filepath.Base(s.scratch.path) + ".parquet"
	if err := s.checkCacheNotLinked(filepath.Dir(s.cachedPath(name))); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.cachedPath(name)), 0o755); err != nil {
		return err
	}
	// This is not synced, because a file that a power cut damages is computed again.
	if err := (durable.OS{}).Rename(temporary, s.cachedPath(name)); err != nil {
		return err
	}
	if merge {
		day.Files = nil
	}
	day.Files = append(day.Files, name)
	return nil
}

// checkCacheNotLinked returns an error if the directory of a date, or the one of all dates, is a symbolic link.
func (s *Session) checkCacheNotLinked(date string) error {
	return errors.Join(durable.CheckNotLinked(filepath.Dir(date)), durable.CheckNotLinked(date))
}

// dropOldDates removes the oldest dates above cacheDays, except for those that the session covers.
func (s *Session) dropOldDates(cache *minuteCache) {
	requested := s.requestedMinutes()
	first, last := requested.Start.Format(time.DateOnly), requested.End.Format(time.DateOnly)
	for _, date := range slices.Sorted(maps.Keys(cache.Days)) {
		if len(cache.Days) > cacheDays && (date < first || date > last) {
			delete(cache.Days, date)
		}
	}
}

// sweepCache deletes files that are not listed and too old for another session to be about to read or
// list them.
func (s *Session) sweepCache(cache *minuteCache) {
	listed := map[string]bool{}
	for _, day := range cache.Days {
		for _, name := range day.Files {
			listed[s.cachedPath(name)] = true
		}
	}
	paths, err := filepath.Glob(s.cachedPath("*/*.parquet"))
	if err != nil {
		return
	}
	for _, path := range paths {
		if s.checkCacheNotLinked(filepath.Dir(path)) != nil {
			continue
		}
		if info, err := os.Lstat(path); err == nil && !listed[path] && s.scratch.createdAt.Sub(info.ModTime()) > cacheSweepAfter {
			os.Remove(path)
			os.Remove(filepath.Dir(path)) // fails if it is not empty
		}
	}
}
