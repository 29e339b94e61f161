package tape

import (
	"time"
)

// SegmentsWhere looks at the segments of trades in the partitions of [from, to), as of the last
// Refresh; a zero time leaves that end open. It returns the paths of the segments with a run of ids
// for which match returns true, and the paths of all segments that the index has read.
func (x *Index) SegmentsWhere(
	from, to time.Time, match func(symbol string, run IDRun) bool,
) (matching, known map[string]bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	matching, known = map[string]bool{}, map[string]bool{}
	for date, part := range x.parts {
		start, end := dateBounds(date)
		if !to.IsZero() && start >= to.UnixMicro() || end <= from.UnixMicro() && !from.IsZero() {
			continue
		}
		for name, file := range part.files {
			path := segmentPath(Trades, date, name)
			known[path] = true
			if anyRun(file.runs, match) {
				matching[path] = true
			}
		}
	}
	return matching, known
}

func anyRun(bySymbol symbolRuns, match func(string, IDRun) bool) bool {
	for symbol, runs := range bySymbol {
		for _, run := range runs {
			if match(symbol, run) {
				return true
			}
		}
	}
	return false
}

// SegmentPaths lists the segments of trades that exist now in the partitions from fromDate to
// toDate, both included, in the order of their paths. An empty date leaves that end open. Segments
// that cannot be read or are stray are returned separately. Only footers that Refresh has not seen are read.
func (x *Index) SegmentPaths(fromDate, toDate string) ([]string, []BrokenSegment, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return readSegments(x.catalog, Trades, fromDate, toDate, func(date, name string) (string, error) {
		path := segmentPath(Trades, date, name)
		if stray := x.strays[path]; stray != nil {
			return path, stray
		}
		err, known := x.broken[path]
		if part := x.parts[date]; !known && part != nil {
			_, known = part.files[name]
		}
		if !known {
			_, err = x.catalog.stat(Trades, date, name)
		}
		return path, err
	})
}
