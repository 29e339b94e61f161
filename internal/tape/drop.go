package tape

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/idset"
	"tapedeck/internal/state"
)

// dropLock is the file whose lock is held while a drop is carried out.
const dropLock = "drop.lock"

// ErrDropping is returned if another process carries out a drop.
var ErrDropping = errors.New("another drop is under way")

// pendingDrop is a drop that was decided, written down before the first row is removed. Doing any
// of it twice is the same as doing it once.
type pendingDrop struct {
	// Rows are the rows of the table drops.
	Rows []Drop `json:"rows"`
	// Trades are the ids to remove, by date and symbol. GivenUp are missing ids among them.
	Trades  map[string]symbolRuns `json:"trades,omitempty"`
	GivenUp symbolRuns            `json:"given_up,omitempty"`
	// Alerts and Conflicts are those to remove, by date.
	Alerts    map[string][]alertKey `json:"alerts,omitempty"`
	Conflicts map[string][]Conflict `json:"conflicts,omitempty"`
	// KeepCoverage leaves the coverage of the days as it is.
	KeepCoverage bool `json:"keep_coverage,omitempty"`
}

// alertKey identifies an alert.
type alertKey struct {
	Detector string `json:"detector"`
	Symbol   string `json:"symbol"`
	At       int64  `json:"at"`
}

// conflictKey returns what identifies a conflict: its row without where it came from and when it was
// found.
func conflictKey(c Conflict) Conflict {
	c.FoundAt, c.Source, c.RunID, c.OtherSource, c.OtherRunID = 0, "", "", "", ""
	return c
}

func (p *pendingDrop) addConflict(date string, c Conflict) {
	if p.Conflicts == nil {
		p.Conflicts = map[string][]Conflict{}
	}
	p.Conflicts[date] = append(p.Conflicts[date], conflictKey(c))
}

// ids returns the ids to remove and those that are given up, by symbol.
func (p *pendingDrop) ids() map[string]idset.Set { return idsBySymbol(p.runs()) }

// runs is ids with times.
func (p *pendingDrop) runs() symbolRuns {
	sets := map[string]*runSet{}
	add := func(bySymbol symbolRuns) {
		for symbol, runs := range bySymbol {
			if sets[symbol] == nil {
				sets[symbol] = &runSet{}
			}
			sets[symbol].add(runs)
		}
	}
	for _, date := range slices.Sorted(maps.Keys(p.Trades)) {
		add(p.Trades[date])
	}
	add(p.GivenUp)
	out := make(symbolRuns, len(sets))
	for symbol, set := range sets {
		out[symbol] = set.runs
	}
	return out
}

// DropRecord is what the table drops says about a drop, besides what it removed.
type DropRecord struct {
	// At is in microseconds since the epoch, UTC.
	At int64
	// Origin names the import that is removed, or is empty. Reason is the command line.
	Origin, Reason, RunID string
	// KeepCoverage leaves the coverage of days as it is: their trades are old, not wrong.
	KeepCoverage bool
}

// rows returns the rows of the table drops.
func (p *DropPlan) rows(r DropRecord) (out []Drop) {
	row := Drop{At: r.At, What: p.Query.What, Detector: p.Query.Detector, Origin: r.Origin, Reason: r.Reason, RunID: r.RunID}
	if !p.Query.Window.Start.IsZero() {
		row.WindowStart = p.Query.Window.Start.UnixMicro()
	}
	if !p.Query.Window.End.IsZero() {
		row.WindowEnd = p.Query.Window.End.UnixMicro()
	}
	if p.Query.What != DropsTrades {
		for _, s := range p.Symbols {
			row.Symbol, row.Rows, row.FirstID, row.LastID = s.Symbol, s.Rows, nil, nil
			if p.Query.What == DropsConflicts {
				row.FirstID, row.LastID = &s.FirstID, &s.LastID
			}
			out = append(out, row)
		}
		return out
	}
	removed := pendingDrop{Trades: p.pending.Trades}
	runs := removed.runs()
	for _, symbol := range slices.Sorted(maps.Keys(runs)) {
		for _, run := range runs[symbol] {
			row.Symbol, row.Rows, row.FirstID, row.LastID = symbol, run.Count(), &run.First, &run.Last
			out = append(out, row)
		}
	}
	return append(out, p.conflictRows(row)...)
}

// conflictRows returns the rows about the conflicts that go with the trades they are about: one for each
// symbol. Of row, they have everything but what was removed.
func (p *DropPlan) conflictRows(row Drop) (out []Drop) {
	bySymbol := map[string]*Drop{}
	for _, conflicts := range p.pending.Conflicts {
		for _, c := range conflicts {
			drop := bySymbol[c.Symbol]
			if drop == nil {
				first, last := c.ID, c.ID
				copied := row
				drop = &copied
				drop.What, drop.Symbol, drop.Rows, drop.FirstID, drop.LastID = DropsConflicts, c.Symbol, 0, &first, &last
				bySymbol[c.Symbol] = drop
			}
			drop.Rows++
			*drop.FirstID, *drop.LastID = min(*drop.FirstID, c.ID), max(*drop.LastID, c.ID)
		}
	}
	for _, symbol := range slices.Sorted(maps.Keys(bySymbol)) {
		out = append(out, *bySymbol[symbol])
	}
	return out
}

// Drop removes what plan lists. First it writes down the ids and the intention durably; from then
// on the drop is carried out, by this process or, if it dies, by the next call of Drop or
// FinishDrop. The files of each date are replaced in one atomic step. A row that was removed is not
// published again, except with Origin.Restores. progress, which may be nil, is called with the
// number of dates that are done. The error is ErrDropping if another process carries out a drop.
func (d *Dir) Drop(ctx context.Context, plan *DropPlan, record DropRecord, progress func(done, total int)) error {
	unlock, err := d.lockDrops()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := d.finishDrop(ctx, nil); err != nil {
		return fmt.Errorf("finish the drop before: %w", err)
	}
	pending := plan.pending
	pending.Rows, pending.KeepCoverage = plan.rows(record), record.KeepCoverage
	if err := d.decideDrop(&pending, plan.Query.What); err != nil {
		return err
	}
	_, err = d.finishDrop(ctx, progress)
	return err
}

// FinishDrop completes a drop whose process died. finished is false if there was none, or if
// another process carries it out.
func (d *Dir) FinishDrop(ctx context.Context) (finished bool, err error) {
	content, err := d.dropped.read()
	if err != nil || content.Pending == nil {
		return false, err
	}
	unlock, err := d.lockDrops()
	if errors.Is(err, ErrDropping) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unlock()
	return d.finishDrop(ctx, nil)
}

// DropPending reports whether a drop was decided and is not completed yet.
func (d *Dir) DropPending() bool {
	content, err := d.dropped.read()
	return err == nil && content.Pending != nil
}

func (d *Dir) lockDrops() (unlock func(), err error) {
	unlock, err = durable.TryLock(d.state.Path(dropLock))
	if errors.Is(err, durable.ErrLocked) {
		return nil, ErrDropping
	}
	return unlock, err
}

// decideDrop writes down a drop. When it returns without an error, the drop will be carried out.
func (d *Dir) decideDrop(pending *pendingDrop, what string) error {
	unlock, err := d.publisher.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return d.dropped.change(func(s *droppedState) {
		s.add(pending.runs())
		if what == DropsConflicts {
			s.Conflicts = slices.Concat(append([][]Conflict{s.Conflicts}, slices.Collect(maps.Values(pending.Conflicts))...)...)
		}
		if len(pending.Trades) > 0 {
			s.Generation++
		}
		s.Pending = pending
	})
}

// finishDrop carries out the pending drop. The caller holds the lock of drops.
func (d *Dir) finishDrop(ctx context.Context, progress func(done, total int)) (finished bool, err error) {
	content, err := d.dropped.read()
	if err != nil || content.Pending == nil {
		return false, err
	}
	pending := content.Pending
	dates := slices.Sorted(maps.Keys(pending.Trades))
	for i, date := range dates {
		if progress != nil {
			progress(i, len(dates))
		}
		if err := d.dropFromDate(ctx, date, pending.Trades[date]); err != nil {
			return false, fmt.Errorf("drop trades of %s: %w", date, err)
		}
		if err := state.ForgetSummaries(d.state, date); err != nil {
			return false, fmt.Errorf("drop what is stored of %s: %w", date, err)
		}
		if !pending.KeepCoverage {
			drops := func(row CoverageRow) bool { return pending.Trades[date][row.Symbol] != nil }
			if err := removeRecords(ctx, d.publisher, Coverage, date, drops); err != nil {
				return false, fmt.Errorf("drop the coverage of %s: %w", date, err)
			}
		}
	}
	if err := d.forgetJudged(pending.Alerts); err != nil {
		return false, err
	}
	for _, date := range slices.Sorted(maps.Keys(pending.Alerts)) {
		keys := setOf(pending.Alerts[date])
		drops := func(a Alert) bool { return keys[alertKey{a.Detector, a.Symbol, a.At}] }
		if err := removeRecords(ctx, d.publisher, Alerts, date, drops); err != nil {
			return false, fmt.Errorf("drop alerts of %s: %w", date, err)
		}
	}
	for _, date := range slices.Sorted(maps.Keys(pending.Conflicts)) {
		keys := setOf(pending.Conflicts[date])
		drops := func(c Conflict) bool { return keys[conflictKey(c)] }
		if err := removeRecords(ctx, d.publisher, Conflicts, date, drops); err != nil {
			return false, fmt.Errorf("drop conflicts of %s: %w", date, err)
		}
	}
	if _, err := d.PublishDrops(ctx, pending.Rows); err != nil {
		return false, fmt.Errorf("write down what was dropped: %w", err)
	}
	unlock, err := d.publisher.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	return true, d.dropped.change(func(s *droppedState) {
		if len(pending.Trades) > 0 {
			s.Generation++
		}
		s.Pending = nil
	})
}

// forgetJudged makes the minutes that raised alerts count as not judged: without them, they would look
// quiet. The alerts are removed after that.
func (d *Dir) forgetJudged(alerts map[string][]alertKey) error {
	var outcomes []state.Judged
	for _, keys := range alerts {
		for _, key := range keys {
			end := timeOf(key.At).Add(time.Minute - time.Microsecond).Truncate(time.Minute)
			span := state.JudgedSpan{Start: end.Add(-time.Minute), End: end, Reason: state.ReasonDropped}
			outcomes = append(outcomes, state.Judged{Detector: key.Detector, Symbol: key.Symbol, Spans: []state.JudgedSpan{span}})
		}
	}
	if len(outcomes) == 0 {
		return nil
	}
	return state.RecordJudged(d.state, outcomes, false)
}

func setOf[K comparable](keys []K) map[K]bool {
	out := make(map[K]bool, len(keys))
	for _, key := range keys {
		out[key] = true
	}
	return out
}
