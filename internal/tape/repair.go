package tape

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"
)

// Repaired is what a repair did.
type Repaired struct {
	// Segments is how many stray segments are not on the tape any more. Their rows were on the tape with
	// the same content (Twice), or are in new segments now (Moved), or have another content than the row
	// that stays (Conflicts).
	Segments, Twice, Moved, Conflicts int64
	// Dropped counts rows that were only there and had been dropped on purpose.
	Dropped int64
	// ConflictRows are the first few conflicts. All are in the table conflicts.
	ConflictRows []Conflict
	// Left are the stray segments that a person must look at: of another feed, of another market, or
	// damaged. They are as they were.
	Left []BrokenSegment
	// Aside is the directory, relative to the data directory, that has the removed segments; empty if
	// there are none.
	Aside string
}

// maxRepairTries bounds how often the tape is read again because another process changed it meanwhile.
const maxRepairTries = 20

// Repair takes the stray segments off the tape. Rows that are nowhere else stay, in new segments of their
// dates, also those of another tape if their times fit between those of the tape. Of two contents of one id, the one of the segment that is not stray stays, and the other becomes a
// conflict, found at the time now. Removed segments are kept in a directory that nothing reads, until Sweep
// finds them older than a week. progress, which may be nil, gets the number of segments that are done.
//
// Each partition is replaced in one atomic step; a row is never off the tape, and readers of an Index leave out
// what is not done yet. After an error or a crash, the next Repair completes it.
func (d *Dir) Repair(ctx context.Context, now time.Time, progress func(done, total int)) (out Repaired, err error) {
	left := map[string]error{} // by path
	aside := aside{layout: d.layout, disk: d.staging.disk, name: asideName(now)}
	for try := 0; ; {
		index := d.Index()
		if err := index.Refresh(ctx); err != nil {
			return out, err
		}
		round := &repairRound{dir: d, index: index, now: now, aside: aside, left: left}
		remaining := round.choose()
		if len(remaining) == 0 {
			// A process that was killed after its exchange did not make it durable.
			if err := d.publisher.replacer.syncExchanges(Trades); err != nil {
				return out, err
			}
			for _, path := range slices.Sorted(maps.Keys(left)) {
				out.Left = append(out.Left, BrokenSegment{path, left[path]})
			}
			return out, nil
		}
		if progress != nil {
			progress(int(out.Segments), int(out.Segments)+len(remaining))
		}
		err := round.run(ctx, remaining)
		if errors.Is(err, ErrChanged) && try < maxRepairTries {
			try++
			continue
		}
		if err != nil {
			return out, err
		}
		out.Segments += int64(len(round.done))
		out.Twice, out.Moved, out.Dropped = out.Twice+round.twice, out.Moved+round.moved, out.Dropped+round.dropped
		out.Conflicts += int64(len(round.conflicts))
		out.ConflictRows = append(out.ConflictRows, round.conflicts[:min(len(round.conflicts), conflictSamples-len(out.ConflictRows))]...)
		if len(round.done) > 0 {
			out.Aside = aside.relative()
		}
	}
}

// repairRound repairs as many strays as can be repaired at the same time: of several that have the same
// new ids, one.
type repairRound struct {
	dir   *Dir
	index *Index
	now   time.Time
	aside aside
	left  map[string]error // by path; added to

	done                  []repairedStray
	added                 map[string]*runSet // ids of the new segments, by symbol
	droppedIDs            symbolRuns         // on purpose
	twice, moved, dropped int64
	conflicts             []Conflict
}

// repairedStray is a stray whose rows are on the tape or staged.
type repairedStray struct {
	path   string
	date   string              // of its partition
	staged map[string][]string // new segments, by date
	runs   symbolRuns          // of the new segments
}

// choose returns the paths of the strays to repair.
func (r *repairRound) choose() (paths []string) {
	for _, stray := range r.index.Strays() {
		var e *StrayError
		if errors.As(stray.Err, &e) && e.Feed != "" {
			r.left[stray.Path] = stray.Err
		}
		if r.left[stray.Path] == nil {
			paths = append(paths, stray.Path)
		}
	}
	return paths
}

// run stages what is to be kept of the strays, records the conflicts, and replaces the partitions.
func (r *repairRound) run(ctx context.Context, paths []string) (err error) {
	r.added = map[string]*runSet{}
	if r.droppedIDs, err = r.dir.droppedFor(Origin{}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.discard()
		}
	}()
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.stage(ctx, path); err != nil {
			return asChanged(err)
		}
	}
	if len(r.done) == 0 {
		return nil
	}
	// While both rows are on the tape, a repair that is repeated finds the conflicts again.
	if len(r.conflicts) > 0 {
		if _, err := r.dir.PublishConflicts(ctx, r.conflicts); err != nil {
			return fmt.Errorf("record conflicts: %w", err)
		}
	}
	return r.replace(ctx)
}

func (r *repairRound) discard() {
	for _, stray := range r.done {
		for _, staged := range stray.staged {
			for _, path := range staged {
				r.dir.staging.disk.Remove(path) // some may have been published
			}
		}
	}
}

// replace keeps the strays aside and replaces the partitions. First it adds rows and removes the
// strays whose rows stay in their partition, then the strays whose rows are in another one.
func (r *repairRound) replace(ctx context.Context) error {
	p := r.dir.publisher
	unlock, err := p.lockUntil(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	var published []symbolRuns
	here, elsewhere := map[string]*replacement{}, map[string]*replacement{} // by date
	of := func(reps map[string]*replacement, date string) *replacement {
		if reps[date] == nil {
			reps[date] = &replacement{table: Trades, date: date, replaced: map[string]bool{}}
		}
		return reps[date]
	}
	for _, stray := range r.done {
		published = append(published, stray.runs)
		reps := here
		for date, staged := range stray.staged {
			of(here, date).staged = append(of(here, date).staged, staged...)
			if date != stray.date {
				reps = elsewhere
			}
		}
		of(reps, stray.date).replaced[filepath.Base(stray.path)] = true
	}
	for _, reps := range []map[string]*replacement{here, elsewhere} {
		for date, rep := range reps {
			names, err := p.catalog.files(Trades, date)
			if err != nil {
				return err
			}
			for name := range rep.replaced {
				if !slices.Contains(names, name) {
					return fmt.Errorf("replace segments of %s: %w", date, ErrChanged)
				}
			}
		}
	}
	if err := r.aside.keep(r.done); err != nil {
		return err
	}
	for _, reps := range []map[string]*replacement{here, elsewhere} {
		for _, date := range slices.Sorted(maps.Keys(reps)) {
			if _, err := p.replacer.replace(reps[date]); err != nil {
				return err
			}
			if err := p.removeIfEmpty(Trades, date); err != nil {
				return err
			}
		}
	}
	return r.dir.extent.extend(published)
}
