package tape

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"tapedeck/internal/durable"
	"tapedeck/internal/idset"
	"tapedeck/internal/state"
)

// droppedName is the state file of the ids that were dropped on purpose, and of the drop that is
// under way. If it is lost, dropped ids count as missing, and a backfill fetches them again.
const droppedName = "dropped.json"

// DroppedPattern matches the state file of the dropped ids, and nothing else. Unlike a name, it may
// match no file.
const DroppedPattern = "dropped.jso[n]"

// droppedState is the content of the state file.
type droppedState struct {
	// Symbols are the dropped ids. The times of a run span those of the dropped trades; they may span
	// more after a part of a run was restored.
	Symbols symbolRuns `json:"symbols"`
	// Conflicts were given up: they are not added to the tape again.
	Conflicts []Conflict `json:"conflicts,omitempty"`
	// Generation increases when a drop of trades is decided and when it is done.
	Generation int64 `json:"generation,omitempty"`
	// Pending is the drop under way. It is removed when all of it is done.
	Pending *pendingDrop `json:"pending,omitempty"`
}

// droppedIDs reads and writes the state file. It is safe for concurrent use.
type droppedIDs struct {
	state *state.Dir

	mu     sync.Mutex
	info   os.FileInfo // of the file that was read last; nil if there was none
	cached droppedState
}

// read returns the content, which the caller must not change. A file that did not change is not
// read again, because every publication asks. What is damaged is left out, as if it had been lost.
func (x *droppedIDs) read() (droppedState, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	path := x.state.Path(droppedName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		x.info, x.cached = nil, droppedState{}
		return x.cached, nil
	}
	if err != nil {
		return droppedState{}, fmt.Errorf("read the dropped ids: %w", err)
	}
	if x.info != nil && os.SameFile(x.info, info) && x.info.ModTime().Equal(info.ModTime()) && x.info.Size() == info.Size() {
		return x.cached, nil
	}
	text, err := durable.ReadOwn(path, 256<<20)
	if err != nil {
		return droppedState{}, fmt.Errorf("read the dropped ids: %w", err)
	}
	var content droppedState
	if json.Unmarshal(text, &content) != nil {
		content = droppedState{}
	}
	maps.DeleteFunc(content.Symbols, func(symbol string, runs []IDRun) bool { return symbol == "" || !validRuns(runs) })
	x.info, x.cached = info, content
	return content, nil
}

// validRuns reports whether runs can be those of a symbol: in order, disjoint, with possible times.
func validRuns(runs []IDRun) bool {
	next := int64(0)
	for _, run := range runs {
		if run.First < next || run.Last < run.First || run.Last > MaxID || !validTime(run.FirstAt) || !validTime(run.LastAt) {
			return false
		}
		next = run.Last + 1
	}
	return len(runs) > 0
}

// change replaces the content by what update makes of it. update must not change the runs in its
// argument, only the maps. The caller holds the writers' lock.
func (x *droppedIDs) change(update func(*droppedState)) error {
	content, err := x.read()
	if err != nil {
		return err
	}
	if content.Symbols = maps.Clone(content.Symbols); content.Symbols == nil {
		content.Symbols = symbolRuns{}
	}
	update(&content)
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return x.state.WriteBytes(droppedName, append(text, '\n'))
}

// add adds dropped ids.
func (s *droppedState) add(dropped symbolRuns) {
	for symbol, runs := range dropped {
		set := runSet{runs: s.Symbols[symbol], shared: true}
		set.add(runs)
		s.Symbols[symbol] = set.runs
	}
}

// remove removes ids that are dropped no longer.
func (s *droppedState) remove(symbol string, ids idset.Set) {
	if left := subtractIDs(s.Symbols[symbol], ids); len(left) > 0 {
		s.Symbols[symbol] = left
	} else {
		delete(s.Symbols, symbol)
	}
}

// subtractIDs returns runs without some ids. If a run is split, the time at which a part begins or
// ends is unknown, and it keeps that of the whole.
func subtractIDs(runs []IDRun, ids idset.Set) []IDRun {
	var out []IDRun
	for _, run := range runs {
		for _, r := range ids.Missing(run.First, run.Last) {
			out = append(out, IDRun{r, run.FirstAt, run.LastAt})
		}
	}
	return out
}

// Dropped returns, by symbol, the ids that were removed from the tape on purpose. They count as
// dropped and not as missing, and are not to be fetched again. An id that is on the tape counts as
// such, whatever this says.
func (d *Dir) Dropped() (map[string]idset.Set, error) {
	content, err := d.dropped.read()
	if err != nil {
		return nil, err
	}
	out := make(map[string]idset.Set, len(content.Symbols))
	for symbol, runs := range content.Symbols {
		out[symbol] = idsOf(runs)
	}
	return out, nil
}

// DroppedRuns is Dropped with the times of the dropped trades: nothing that a run overlaps in time
// is complete. The runs of a symbol are in ascending order of their ids.
func (d *Dir) DroppedRuns() (map[string][]IDRun, error) {
	content, err := d.dropped.read()
	out := make(map[string][]IDRun, len(content.Symbols))
	for symbol, runs := range content.Symbols {
		out[symbol] = slices.Clone(runs)
	}
	return out, err
}

// DropGeneration returns a number that changes when a drop of trades is decided and when it is done.
// What was computed from the trades while the number was another may be out of date.
func (d *Dir) DropGeneration() (int64, error) {
	content, err := d.dropped.read()
	return content.Generation, err
}

// RecordDropped records that ids of a symbol were removed on purpose. It removes nothing itself.
func (d *Dir) RecordDropped(symbol string, runs ...IDRun) error {
	unlock, err := d.publisher.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return d.dropped.change(func(s *droppedState) { s.add(symbolRuns{symbol: runs}) })
}

// RestoreDropped records that ids of a symbol are dropped no longer: if they are not on the tape
// they are missing from now on. Publishing with Origin.Restores does that for the ids it publishes.
func (d *Dir) RestoreDropped(symbol string, ids idset.Set) error {
	unlock, err := d.publisher.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return d.restoreDropped(map[string]idset.Set{symbol: ids})
}

// restoreDropped is RestoreDropped with the writers' lock held.
func (d *Dir) restoreDropped(ids map[string]idset.Set) error {
	content, err := d.dropped.read()
	if err != nil {
		return err
	}
	maps.DeleteFunc(ids, func(symbol string, set idset.Set) bool {
		return len(idsOf(content.Symbols[symbol]).Intersect(set)) == 0
	})
	if len(ids) == 0 {
		return nil
	}
	return d.dropped.change(func(s *droppedState) {
		for symbol, set := range ids {
			s.remove(symbol, set)
		}
	})
}

// droppedFor returns the dropped ids that a publication must leave out: none if it restores them.
func (d *Dir) droppedFor(origin Origin) (symbolRuns, error) {
	if origin.Restores {
		return nil, nil
	}
	content, err := d.dropped.read()
	return content.Symbols, err
}

// withoutDropped returns rows, which are sorted by (symbol, id), without dropped ids. It copies
// only if it has to.
func withoutDropped(rows []Trade, dropped symbolRuns) []Trade {
	var kept []Trade
	copied := false
	for start := 0; start < len(rows) && len(dropped) > 0; {
		symbol := rows[start].Symbol
		end := start + 1
		for end < len(rows) && rows[end].Symbol == symbol {
			end++
		}
		part, ids := rows[start:end], idsOf(dropped[symbol])
		if ids.Overlaps(idset.Range{First: part[0].ID, Last: part[len(part)-1].ID}) {
			if !copied {
				kept, copied = append(kept, rows[:start]...), true
			}
			kept = appendWithout(kept, part, ids)
		} else if copied {
			kept = append(kept, part...)
		}
		start = end
	}
	if !copied {
		return rows
	}
	return kept
}

// appendWithout appends the rows whose ids are not in ids to out, which may be rows[:0].
func appendWithout(out, rows []Trade, ids idset.Set) []Trade {
	for _, row := range rows {
		if !ids.Contains(row.ID) {
			out = append(out, row)
		}
	}
	return out
}

// overlapsDropped reports whether any of the ids in bySymbol was dropped.
func overlapsDropped(bySymbol, dropped symbolRuns) bool {
	for symbol, runs := range bySymbol {
		ids := idsOf(dropped[symbol])
		if len(ids) > 0 && slices.ContainsFunc(runs, func(run IDRun) bool { return ids.Overlaps(run.Range) }) {
			return true
		}
	}
	return false
}

// restore records that the ids of trades, which are sorted, are dropped no longer if they are on
// the tape. The caller holds the writers' lock.
func (b *batch) restore(trades []Trade) error {
	rows := slices.CompactFunc(slices.Clone(trades), sameTrade)
	return b.dir.restorePublished(runsOf(rows), b.dates)
}

// restorePublished records that those of the ids in bySymbol that are on the tape in the partitions
// of dates are dropped no longer. The caller holds the writers' lock.
func (d *Dir) restorePublished(bySymbol symbolRuns, dates []string) error {
	content, err := d.dropped.read()
	if err != nil || !overlapsDropped(bySymbol, content.Symbols) {
		return err
	}
	if err := d.index.refreshDates(dates); err != nil {
		return err
	}
	restored := map[string]idset.Set{}
	for symbol, runs := range bySymbol {
		restored[symbol] = idsOf(runs).Intersect(d.index.idsOn(symbol, dates))
	}
	return d.restoreDropped(restored)
}

// setSymbol sets the symbol of a segment, and which of its ids the segment must not have: those on the
// tape, and those that were dropped.
func (l *Loader) setSymbol(s *loaderSegment, symbol string) {
	s.symbol, s.published = symbol, l.dir.index.idsOn(symbol, adjacentDates(s.date))
	s.leftOut = s.published
	if dropped := idsOf(l.droppedIDs[symbol]); len(dropped) > 0 {
		s.leftOut = s.published.Union(dropped)
	}
}

// noteRestored remembers the ids of rows, which are of one symbol, to restore them when they are
// published.
func (l *Loader) noteRestored(date string, rows []Trade) {
	content, err := l.dir.dropped.read() // an error comes again when it publishes
	if err == nil && len(content.Symbols[rows[0].Symbol]) == 0 {
		return
	}
	if l.restored[date] == nil {
		l.restored[date] = symbolRuns{}
	}
	l.restored[date].add(rows)
}
