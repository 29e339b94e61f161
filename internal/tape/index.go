package tape

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"tapedeck/internal/idset"
	"time"
)

// Gap is a run of ids that are not on the tape between ids that are, or that were.
type Gap struct {
	Symbol      string
	First, Last int64
	// After and Before are the traded_at of the rows on both sides of the hole, UTC; at an end of what is left of a symbol,
	// that of the lost row at the tape's old end.
	After, Before time.Time
}

// Count gives how many ids are missing.
func (g Gap) Count() int64 { return g.Last - g.First + 1 }

// Bounds is the hull of all that was ever published of a symbol, also if a segment has since been lost.
type Bounds struct {
	FirstID int64     `json:"first_id"`
	LastID  int64     `json:"last_id"`
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// Index knows which ids are on the tape. It reads each file's footer once and remembers it by name, for files never change.
// An Index may be used from many goroutines; what it knows is as of the last Refresh.
type Index struct {
	dir  *Dir
	lean bool // does not keep what each file holds, and forgets partitions: for a process that runs for months

	mu     sync.Mutex
	parts  map[string]*partition // by date
	whole  *whole                // of all dates, as far as somebody asked since parts changed
	bounds map[string]Bounds
	broken map[string]error // by path
}

// whole is what the partitions hold together.
type whole struct {
	symbols []string // sorted
	runs    map[string]*timedSet
}

// partition is one date's files and the ids in them.
type partition struct {
	modified time.Time                         // the directory's, as of the listing; zero if it could not be trusted
	files    map[string]map[string][]timedSpan // by name and symbol; in a lean index the names alone
	spans    map[string]*timedSet
}

// Index makes an index of the tape; it is empty until Refresh.
func (d *Dir) Index() *Index { return newIndex(d, false) }

func newIndex(d *Dir, lean bool) *Index {
	return &Index{dir: d, lean: lean, parts: map[string]*partition{}, whole: &whole{}, bounds: map[string]Bounds{}, broken: map[string]error{}}
}

// Refresh brings the index up to what is on the tape now. The cost is a listing of the partitions that changed and a footer for each new file.
func (x *Index) Refresh(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	dates, err := x.dir.dates(Trades, "", "")
	if err != nil {
		return err
	}
	footers, err := x.readNew(ctx, dates)
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for _, date := range dates {
		here[date] = true
		if err := x.refreshDate(date, footers); err != nil {
			return err
		}
	}
	for date := range x.parts {
		if !here[date] {
			delete(x.parts, date)
			x.whole = &whole{}
		}
	}
	return x.loadBounds()
}

// leanDates is how many partitions a lean index keeps beside those it was last asked for.
const leanDates = 16

// refreshDates is Refresh for some partitions.
func (x *Index) refreshDates(dates []string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.lean && len(x.parts) > leanDates {
		maps.DeleteFunc(x.parts, func(date string, _ *partition) bool { return !slices.Contains(dates, date) })
		x.whole = &whole{}
	}
	for _, date := range dates {
		if err := x.refreshDate(date, nil); err != nil {
			return err
		}
	}
	return nil
}

// footer is what a segment's footer says that it holds, or why it cannot be read.
type footer struct {
	spans map[string][]timedSpan
	err   error
}

// readNew reads the footers of partitions that the index does not know yet, several at once, and gives them by path.
func (x *Index) readNew(ctx context.Context, dates []string) (map[string]footer, error) {
	var paths []string
	for _, date := range dates {
		if x.parts[date] != nil {
			continue
		}
		names, err := x.dir.files(Trades, date)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			paths = append(paths, filepath.Join(x.dir.path, string(Trades), "date="+date, name))
		}
	}
	read := make([]footer, len(paths))
	if err := together(len(paths), func(i int) error {
		read[i].spans, read[i].err = segmentSpans(paths[i])
		return ctx.Err()
	}); err != nil {
		return nil, err
	}
	out := make(map[string]footer, len(paths))
	for i, path := range paths {
		out[path] = read[i]
	}
	return out, nil
}

// settled is how old a directory's modification time must be before it proves that nothing changed since: file systems stamp with the kernel's tick, some with whole seconds.
const settled = 2 * time.Second

// refreshDate brings one partition up to what is there now. What is among the footers is not read again. Where a file vanishes under it, for a compaction
// replaced it, it begins anew: what that file held is in one that was not listed.
func (x *Index) refreshDate(date string, footers map[string]footer) error {
	gone := map[string]bool{}
	for {
		vanished, err := x.listDate(date, footers, gone)
		if err != nil || vanished == "" {
			return err
		}
		gone[vanished] = true
		delete(x.parts, date)
		footers = nil
	}
}

// listDate is one try of it, and gives the name of a file that vanished, if any did that is not among the gone.
func (x *Index) listDate(date string, footers map[string]footer, gone map[string]bool) (vanished string, err error) {
	path := filepath.Join(x.dir.path, string(Trades), "date="+date)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		delete(x.parts, date)
		x.whole = &whole{}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	part := x.parts[date]
	if part != nil && !part.modified.IsZero() && part.modified.Equal(info.ModTime()) {
		return "", nil
	}
	x.whole = &whole{}
	names, err := x.dir.files(Trades, date)
	if err != nil {
		return "", err
	}
	here := make(map[string]bool, len(names))
	for _, name := range names {
		here[name] = true
	}
	if part != nil {
		for name := range part.files {
			if !here[name] {
				part = nil // what the file had and no other has is not known: all of them are read again
				break
			}
		}
	}
	if part == nil {
		part = &partition{files: map[string]map[string][]timedSpan{}, spans: map[string]*timedSet{}}
		x.parts[date] = part
	}
	for path := range x.broken {
		if filepath.Dir(path) == filepath.Join(string(Trades), "date="+date) && !here[filepath.Base(path)] {
			delete(x.broken, path)
		}
	}
	for _, name := range names {
		if _, ok := part.files[name]; ok {
			continue
		}
		relative := filepath.Join(string(Trades), "date="+date, name)
		if x.broken[relative] != nil {
			continue
		}
		found, ok := footers[filepath.Join(path, name)]
		if !ok {
			found.spans, found.err = segmentSpans(filepath.Join(path, name))
		}
		spans, err := found.spans, found.err
		if errors.Is(err, fs.ErrNotExist) {
			if !gone[name] {
				return name, nil
			}
			continue // it is listed and yet not there: a link to nothing
		}
		if err != nil {
			x.broken[relative] = err
			continue
		}
		part.add(spans)
		if x.lean {
			spans = nil
		}
		part.files[name] = spans
	}
	part.modified = time.Time{}
	if time.Since(info.ModTime()) > settled {
		part.modified = info.ModTime()
	}
	return "", nil
}

func (p *partition) add(spans map[string][]timedSpan) {
	for symbol, list := range spans {
		set := p.spans[symbol]
		if set == nil {
			set = &timedSet{}
			p.spans[strings.Clone(symbol)] = set // not the whole text that it was cut out of
		}
		set.add(list)
	}
}

// timedSet is a set of ids as sorted, disjoint, non-adjacent runs with the times of their ends.
type timedSet struct {
	runs   []timedSpan
	shared bool // runs is somebody else's, too, and is not written to
}

// disjoint says whether runs are in order, with something missing between any two.
func disjoint(runs []timedSpan) bool {
	for i := 1; i < len(runs); i++ {
		if runs[i].first <= runs[i-1].last+1 {
			return false
		}
	}
	return true
}

func (s *timedSet) add(list []timedSpan) {
	if len(s.runs) == 0 && disjoint(list) { // most sets are of one segment
		s.runs, s.shared = slices.Clip(list), true
		return
	}
	if s.shared {
		s.runs, s.shared = slices.Clone(s.runs), false
	}
	for _, span := range list {
		// Most often a span follows all that is there.
		if n := len(s.runs); n == 0 || s.runs[n-1].last+1 < span.first {
			s.runs = append(s.runs, span)
			continue
		}
		i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].last+1 >= span.first })
		j := i
		for j < len(s.runs) && s.runs[j].first <= span.last+1 {
			if s.runs[j].first < span.first {
				span.first, span.firstAt = s.runs[j].first, s.runs[j].firstAt
			}
			if s.runs[j].last > span.last {
				span.last, span.lastAt = s.runs[j].last, s.runs[j].lastAt
			}
			j++
		}
		if i == j {
			s.runs = append(s.runs, timedSpan{})
			copy(s.runs[i+1:], s.runs[i:])
			s.runs[i] = span
			continue
		}
		s.runs[i] = span
		s.runs = append(s.runs[:i+1], s.runs[j:]...)
	}
}

func (x *Index) loadBounds() error {
	bounds, err := x.dir.readExtent()
	if err == nil {
		x.bounds, x.whole.symbols = bounds, nil
	}
	return err
}

// Symbols lists the symbols that are or ever were on the tape, sorted.
func (x *Index) Symbols() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.whole.symbols == nil {
		seen := map[string]bool{}
		for symbol := range x.bounds {
			seen[symbol] = true
		}
		for _, part := range x.parts {
			for symbol := range part.spans {
				seen[symbol] = true
			}
		}
		x.whole.symbols = slices.Sorted(maps.Keys(seen))
	}
	return slices.Clone(x.whole.symbols)
}

// runs gives a symbol's runs of ids over all dates.
func (x *Index) runs(symbol string) []timedSpan {
	if x.whole.runs == nil {
		x.whole.runs = map[string]*timedSet{}
		for _, date := range slices.Sorted(maps.Keys(x.parts)) {
			for symbol, set := range x.parts[date].spans {
				all := x.whole.runs[symbol]
				if all == nil {
					all = &timedSet{}
					x.whole.runs[symbol] = all
				}
				all.add(set.runs)
			}
		}
	}
	if set := x.whole.runs[symbol]; set != nil {
		return set.runs
	}
	return nil
}

// IDs returns the ids of a symbol that are on the tape.
func (x *Index) IDs(symbol string) idset.Set {
	x.mu.Lock()
	defer x.mu.Unlock()
	runs := x.runs(symbol)
	out := make(idset.Set, 0, len(runs))
	for _, run := range runs {
		out = append(out, idset.Range{First: run.first, Last: run.last})
	}
	return out
}

// spansOn gives the ids of a symbol in the partitions of some dates.
func (x *Index) spansOn(symbol string, dates []string) idset.Set {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out idset.Set
	for _, date := range dates {
		part := x.parts[date]
		if part == nil || part.spans[symbol] == nil {
			continue
		}
		runs := part.spans[symbol].runs
		spans := make(idset.Set, len(runs))
		for i, run := range runs {
			spans[i] = idset.Range{First: run.first, Last: run.last}
		}
		if out == nil {
			out = spans
		} else {
			out = out.Union(spans)
		}
	}
	return out
}

// beside gives a date and the one before or after it where a time is within an hour of that. There an id may stand too: files are known in which one
// stands on two days, and a trade at midnight may be booked on either side of it.
func beside(date string, micros ...int64) []string {
	const near = int64(time.Hour / time.Microsecond)
	first, next := dateBounds(date)
	dates := []string{date}
	if slices.ContainsFunc(micros, func(at int64) bool { return at < first+near }) {
		dates = append(dates, DateOf(first-1))
	}
	if slices.ContainsFunc(micros, func(at int64) bool { return at >= next-near }) {
		dates = append(dates, DateOf(next))
	}
	return dates
}

// around gives a date and those before and after it.
func around(date string) []string {
	first, next := dateBounds(date)
	return beside(date, first, next-1)
}

// Bounds gives the hull of a symbol; false where nothing of it was ever published.
func (x *Index) Bounds(symbol string) (Bounds, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.hull(symbol, x.runs(symbol))
}

func (x *Index) hull(symbol string, runs []timedSpan) (Bounds, bool) {
	bounds, ok := x.bounds[symbol]
	if len(runs) > 0 {
		bounds, ok = bounds.with(runs[0], ok), true
		bounds = bounds.with(runs[len(runs)-1], true)
	}
	return bounds, ok
}

// with gives the hull of b, if it is one, and a run.
func (b Bounds) with(run timedSpan, ok bool) Bounds {
	if !ok || run.first < b.FirstID {
		b.FirstID, b.FirstAt = run.first, timeOf(run.firstAt)
	}
	if !ok || run.last > b.LastID {
		b.LastID, b.LastAt = run.last, timeOf(run.lastAt)
	}
	return b
}

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// Gaps gives a symbol's holes inside its bounds, in ascending order.
func (x *Index) Gaps(symbol string) []Gap {
	x.mu.Lock()
	defer x.mu.Unlock()
	runs := x.runs(symbol)
	bounds, ok := x.hull(symbol, runs)
	if !ok {
		return nil
	}
	var out []Gap
	next, after := bounds.FirstID, bounds.FirstAt
	for _, run := range runs {
		if run.first > next {
			out = append(out, Gap{symbol, next, run.first - 1, after, timeOf(run.firstAt)})
		}
		next, after = run.last+1, timeOf(run.lastAt)
	}
	if next <= bounds.LastID {
		out = append(out, Gap{symbol, next, bounds.LastID, after, bounds.LastAt})
	}
	return out
}

// Broken lists the segments of trades that could not be read, by path.
func (x *Index) Broken() []BrokenSegment {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []BrokenSegment
	for path, err := range x.broken {
		out = append(out, BrokenSegment{path, err})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out
}
