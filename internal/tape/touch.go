package tape

import (
	"path/filepath"
	"time"
)

// IDRun is a run of consecutive ids in one segment, with the traded_at of its ends.
type IDRun struct {
	First, Last     int64
	FirstAt, LastAt time.Time
}

// Touching gives the segments of trades, by path, that hold a run of ids for which keep says yes, and says of a path whether the index knows it
// at all. It looks at the partitions of a half-open time, of which a zero end is open, and both are as of the last Refresh.
func (x *Index) Touching(from, to time.Time, keep func(symbol string, run IDRun) bool) (touching, known map[string]bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	touching, known = map[string]bool{}, map[string]bool{}
	for date, part := range x.parts {
		begins, ends := dateBounds(date)
		if !to.IsZero() && begins >= to.UnixMicro() || ends <= from.UnixMicro() && !from.IsZero() {
			continue
		}
		for name, symbols := range part.files {
			path := filepath.Join(string(Trades), "date="+date, name)
			known[path] = true
			if touches(symbols, keep) {
				touching[path] = true
			}
		}
	}
	return touching, known
}

// Paths lists the segments of trades that are there now in the partitions from fromDate to toDate, both included (an empty one leaves that end open), in
// the order of their paths; those that cannot be read are listed apart. Only footers that Refresh has not seen are read.
func (x *Index) Paths(fromDate, toDate string) ([]string, []BrokenSegment, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return eachFile(x.dir, Trades, fromDate, toDate, func(date, name string) (string, error) {
		path := filepath.Join(string(Trades), "date="+date, name)
		err, known := x.broken[path]
		if part := x.parts[date]; !known && part != nil {
			_, known = part.files[name]
		}
		if !known {
			_, err = x.dir.look(Trades, date, name)
		}
		return path, err
	})
}

func touches(symbols map[string][]timedSpan, keep func(string, IDRun) bool) bool {
	for symbol, runs := range symbols {
		for _, run := range runs {
			if keep(symbol, IDRun{run.first, run.last, timeOf(run.firstAt), timeOf(run.lastAt)}) {
				return true
			}
		}
	}
	return false
}
