package tape

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tapedeck/internal/state"
	"tapedeck/internal/symbol"
)

// Index holds the ids that are on the tape, as of the last Refresh. It reads the footer of each
// file once, because files never change. It is safe for concurrent use.
type Index struct {
	catalog catalog
	extent  extent
	state   *state.Dir
	tape    identity
	// evicts makes the index keep few partitions, and only their union of ids. A process that
	// publishes for months must stay small.
	evicts bool

	mu       sync.Mutex
	parts    map[string]*partition // by date
	merged   merged
	bounds   map[string]Bounds
	broken   map[string]error       // by path
	strays   map[string]*StrayError // by path; empty if the index evicts
	evidence evidence
	dropped  symbolRuns
}

// merged caches what all partitions hold together. It is reset when a partition changes.
type merged struct {
	names      []symbol.Name // sorted
	notSymbols []string      // sorted
	runs       map[string]*runSet
}

// partition holds the files of one date and the ids in them.
type partition struct {
	modified time.Time          // the directory's at the last listing; zero if that cannot be relied on
	files    map[string]footer  // by name; without the runs if the index evicts
	runs     map[string]*runSet // by symbol, without those of strays
	suspect  bool               // the partition may have strays
}

// Index returns an index of the tape, which is empty until Refresh.
func (d *Dir) Index() *Index { return newIndex(d, false) }

func newIndex(d *Dir, evicts bool) *Index {
	return &Index{
		catalog: d.catalog, extent: d.extent, state: d.state, tape: d.identity(), evicts: evicts,
		parts: map[string]*partition{}, bounds: map[string]Bounds{}, broken: map[string]error{},
	}
}

// Refresh updates the index to what is on the tape now. It lists the partitions that changed and
// reads the footers of new files.
func (x *Index) Refresh(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var err error
	if x.evidence, err = readEvidence(x.state); err != nil {
		return err
	}
	dates, err := x.catalog.dates(Trades, "", "")
	if err != nil {
		return err
	}
	footers, err := x.readFooters(ctx, dates)
	if err != nil {
		return err
	}
	for _, date := range dates {
		if err := x.refreshDate(date, footers); err != nil {
			return err
		}
	}
	before := len(x.parts)
	maps.DeleteFunc(x.parts, func(date string, _ *partition) bool {
		_, found := slices.BinarySearch(dates, date)
		return !found
	})
	if len(x.parts) < before {
		x.merged = merged{}
	}
	x.findStrays()
	if !x.evicts {
		x.recordLeftOut()
	}
	bounds, err := x.extent.read(x.evidence.published)
	if err != nil {
		return err
	}
	x.bounds, x.merged.names = bounds, nil
	dropped, err := x.extent.dropped.read()
	x.dropped = dropped.Symbols
	return err
}

// keptDates is how many partitions an evicting index keeps besides those it is asked for.
const keptDates = 16

// refreshDates is Refresh for some partitions.
func (x *Index) refreshDates(dates []string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.evicts && len(x.parts) > keptDates {
		maps.DeleteFunc(x.parts, func(date string, _ *partition) bool { return !slices.Contains(dates, date) })
		x.merged = merged{}
	}
	for _, date := range dates {
		if err := x.refreshDate(date, nil); err != nil {
			return err
		}
	}
	return nil
}

// footer is what the footer of a segment says about its ids.
type footer struct {
	name string
	runs symbolRuns
	tape identity
	// foreign is true if another program wrote the file. Then repeated counts rows whose id occurs before.
	foreign  bool
	repeated int64
	// misplaced counts rows of another date; a footer does not tell, only a scan.
	misplaced int64
	err       error // if it cannot be read
	known     bool  // by the index already; the rest is not set
}

// readFooters reads the footers of the partitions that the index does not hold, several at a time,
// and returns them by path.
func (x *Index) readFooters(ctx context.Context, dates []string) (map[string]footer, error) {
	var paths []string
	for _, date := range dates {
		if x.parts[date] != nil {
			continue
		}
		names, err := x.catalog.files(Trades, date)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			paths = append(paths, segmentPath(Trades, date, name))
		}
	}
	footers := make([]footer, len(paths))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(filesAtOnce)
	for i, path := range paths {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			footers[i] = readSegmentFooter(x.catalog.path(path))
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out := make(map[string]footer, len(paths))
	for i, path := range paths {
		out[path] = footers[i]
	}
	return out, nil
}

// mtimeReliable is the age from which a directory's modification time proves that it has not
// changed since. File systems round it to the kernel's tick, some to whole seconds.
const mtimeReliable = 2 * time.Second

// refreshDate updates one partition. Files in footers, which is by path, are not read again.
func (x *Index) refreshDate(date string, footers map[string]footer) error {
	info, err := os.Stat(x.catalog.partition(Trades, date))
	if errors.Is(err, fs.ErrNotExist) {
		delete(x.parts, date)
		x.merged = merged{}
		return nil
	}
	if err != nil {
		return err
	}
	part := x.parts[date]
	if part != nil && !part.modified.IsZero() && part.modified.Equal(info.ModTime()) {
		return nil
	}
	x.merged = merged{}
	modified := time.Time{}
	if time.Since(info.ModTime()) > mtimeReliable {
		modified = info.ModTime()
	}
	if part == nil {
		part = newPartition()
	}
	listed, broken, err := x.listDate(date, part, footers)
	if err != nil {
		return err
	}
	// Which ids only a removed file had is not known, so all others are read again.
	if known := countKnown(listed); known < len(part.files) {
		part = newPartition()
		if listed, broken, err = x.listDate(date, part, nil); err != nil {
			return err
		}
	}
	dir := filepath.Dir(segmentPath(Trades, date, "x"))
	maps.DeleteFunc(x.broken, func(path string, _ error) bool { return filepath.Dir(path) == dir })
	for _, b := range broken {
		x.broken[b.Path] = b.Err
	}
	for _, found := range listed {
		if !found.known {
			found.tape.id = x.tape.shared(found.tape.id)
			part.add(found, date, x.tape, !x.evicts)
		}
	}
	part.modified = modified
	x.parts[date] = part
	return nil
}

// listDate lists the files of a date, and reads the footers of those that part does not hold.
func (x *Index) listDate(
	date string, part *partition, footers map[string]footer,
) (listed []footer, broken []BrokenSegment, err error) {
	return readPartition(x.catalog, Trades, date, func(name string) (footer, error) {
		if _, ok := part.files[name]; ok {
			return footer{name: name, known: true}, nil
		}
		path := segmentPath(Trades, date, name)
		if err := x.broken[path]; err != nil {
			return footer{}, err
		}
		found, ok := footers[path]
		if !ok {
			found = readSegmentFooter(x.catalog.path(path))
		}
		delete(footers, path) // if the file vanished meanwhile, the next listing reads it
		found.name = name
		return found, found.err
	})
}

func countKnown(footers []footer) int {
	n := 0
	for _, f := range footers {
		if f.known {
			n++
		}
	}
	return n
}

func newPartition() *partition {
	return &partition{files: map[string]footer{}, runs: map[string]*runSet{}}
}

func (p *partition) add(f footer, date string, tape identity, keepRuns bool) {
	p.files[f.name] = footer{}
	if keepRuns {
		p.files[f.name] = f
	}
	if !tape.owns(f.tape) {
		p.suspect = true
		return // its ids are not those of this tape
	}
	first, next := dateBounds(date)
	for symbol, runs := range f.runs {
		set := p.runs[symbol]
		if set == nil {
			set = &runSet{}
			p.runs[strings.Clone(symbol)] = set // a substring would keep the whole footer in memory
		}
		p.suspect = set.add(runs) || p.suspect
		for _, run := range runs {
			p.suspect = p.suspect || min(run.FirstAt, run.LastAt) < first || max(run.FirstAt, run.LastAt) >= next
		}
	}
	p.suspect = p.suspect || f.repeated > 0
}
