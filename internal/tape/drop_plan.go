package tape

import (
	"context"
	"maps"
	"slices"

	"tapedeck/internal/idset"
	"tapedeck/internal/window"
)

// The kinds of rows that a drop can remove.
const (
	DropsTrades    = "trades"
	DropsAlerts    = "alerts"
	DropsConflicts = "conflicts"
)

// DropQuery selects rows to remove. What its fields leave open, it selects all of.
type DropQuery struct {
	// What is one of the kinds above.
	What string
	// Symbols are exact names. None means all.
	Symbols []string
	// Window bounds traded_at of trades and conflicts, and at of alerts. A zero time leaves that end
	// open.
	Window window.Window
	// IDs restricts trades and conflicts to these ids. None means all.
	IDs idset.Set
	// Origin restricts trades to segments for whose origin it returns true. It is not asked about
	// segments that a compaction wrote, because they do not say where their rows came from. Nil means
	// all segments.
	Origin func(Origin) bool
	// Detector restricts alerts to those of one detector. Empty means all.
	Detector string
}

func (q *DropQuery) selectsSymbol(symbol string) bool {
	return len(q.Symbols) == 0 || slices.Contains(q.Symbols, symbol)
}

// selectsTime reports whether a time in microseconds is in the window.
func (q *DropQuery) selectsTime(micros int64) bool {
	start, end := q.Window.Start, q.Window.End
	return (start.IsZero() || micros >= start.UnixMicro()) && (end.IsZero() || micros < end.UnixMicro())
}

// selectsDate reports whether any instant of a date is in the window, and whether all are.
func (q *DropQuery) selectsDate(date string) (some, whole bool) {
	first, next := dateBounds(date)
	some = next != 0 && (q.Window.Start.IsZero() || next > q.Window.Start.UnixMicro()) &&
		(q.Window.End.IsZero() || first < q.Window.End.UnixMicro())
	return some, some && q.selectsTime(first) && q.selectsTime(next-1)
}

// DropPlan is what a drop would remove. It stays right whatever others publish or compact
// meanwhile: it lists ids, and no rows are removed but those.
type DropPlan struct {
	Query DropQuery
	// Symbols are what is removed of each symbol, sorted. Alerts of all symbols are listed by symbol
	// too.
	Symbols []DropSymbol
	// Files is the number of files with rows to remove, Whole of those without other rows. Bytes is the
	// size of the latter.
	Files, Whole int
	Bytes        int64
	// Conflicts is the number of conflicts that go with the trades they are about.
	Conflicts int64
	// Compacted are segments in the window whose rows may have the origin that is asked for: a
	// compaction wrote them, and they do not say.
	Compacted []Segment
	// Broken are segments in the window that cannot be read. They stay.
	Broken []BrokenSegment

	pending pendingDrop
}

// DropSymbol is what is removed of one symbol. The ids and times are those of the first and the last
// row, UTC; alerts have no ids.
type DropSymbol struct {
	Symbol string
	Rows   int64
	Bounds
	// GivenUp is the number of ids that are missing among the removed rows. They are not fetched
	// either from then on.
	GivenUp int64
}

// Rows returns the number of rows to remove.
func (p *DropPlan) Rows() (rows int64) {
	for _, s := range p.Symbols {
		rows += s.Rows
	}
	return rows
}

// PlanDrop returns what a drop of the selected rows would remove. It changes nothing.
func (d *Dir) PlanDrop(ctx context.Context, q DropQuery) (*DropPlan, error) {
	p := &dropPlanner{dir: d, DropPlan: &DropPlan{Query: q}, symbols: map[string]*DropSymbol{}}
	var err error
	switch q.What {
	case DropsAlerts:
		err = p.planAlerts()
	case DropsConflicts:
		err = p.planConflicts(func(c Conflict) bool {
			return q.selectsSymbol(c.Symbol) && q.selectsTime(c.TradedAt) && (q.IDs == nil || q.IDs.Contains(c.ID))
		})
	default:
		err = p.planTrades(ctx)
	}
	if err != nil {
		return nil, err
	}
	for _, symbol := range slices.Sorted(maps.Keys(p.symbols)) {
		p.DropPlan.Symbols = append(p.DropPlan.Symbols, *p.symbols[symbol])
	}
	return p.DropPlan, nil
}

// dropPlanner fills a DropPlan.
type dropPlanner struct {
	*DropPlan
	dir     *Dir
	symbols map[string]*DropSymbol
}

// count counts rows to remove of a symbol, whose ids are run.
func (p *dropPlanner) count(symbol string, run IDRun, rows int64) {
	s := p.symbols[symbol]
	if s == nil {
		s = &DropSymbol{Symbol: symbol}
		p.symbols[symbol] = s
	}
	s.Bounds = s.Bounds.extend(run, s.Rows > 0)
	s.Rows += rows
}

// planTrades selects rows of trades.
func (p *dropPlanner) planTrades(ctx context.Context) error {
	dates, err := p.dir.Dates(Trades)
	if err != nil {
		return err
	}
	index := p.dir.Index() // as it is before any row is selected
	if err := index.Refresh(ctx); err != nil {
		return err
	}
	p.pending.Trades = map[string]symbolRuns{}
	for _, date := range dates {
		some, whole := p.Query.selectsDate(date)
		if !some {
			continue
		}
		if err := p.planDate(ctx, date, whole); err != nil {
			return err
		}
	}
	if p.Query.Origin == nil && p.Query.IDs == nil {
		if err := p.giveUpGaps(index); err != nil {
			return err
		}
	}
	return p.planConflictsOf(p.pending.ids())
}

// planDate selects rows of one partition. If whole is set, all of its times are in the window.
func (p *dropPlanner) planDate(ctx context.Context, date string, whole bool) error {
	type found struct {
		file  segmentRuns
		drops symbolRuns
	}
	files, broken, err := readPartition(p.dir.catalog, Trades, date, func(name string) (found, error) {
		if err := ctx.Err(); err != nil {
			return found{}, nil
		}
		file, err := p.dir.readSegmentRuns(date, name)
		if err != nil {
			return found{}, err
		}
		drops, err := p.selectRuns(file, whole)
		return found{file, drops}, err
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	p.Broken = append(p.Broken, broken...)
	sets := map[string]*runSet{}
	for _, f := range files {
		if p.Query.Origin != nil && f.file.origin.Source == FromCompact {
			if p.selectsAny(f.file.runs) {
				p.Compacted = append(p.Compacted, f.file.Segment)
			}
			continue
		}
		if len(f.drops) == 0 {
			continue
		}
		p.Files++
		if subtractAll(f.file.runs, idsBySymbol(f.drops)).count() == 0 {
			p.Whole++
			p.Bytes += f.file.Bytes
		}
		for symbol, runs := range f.drops {
			if sets[symbol] == nil {
				sets[symbol] = &runSet{}
			}
			sets[symbol].add(runs)
		}
	}
	for symbol, set := range sets {
		if p.pending.Trades[date] == nil {
			p.pending.Trades[date] = symbolRuns{}
		}
		p.pending.Trades[date][symbol] = set.runs
		for _, run := range set.runs {
			p.count(symbol, run, run.Count())
		}
	}
	return nil
}

// selectsAny reports whether any of the symbols in bySymbol is selected.
func (p *dropPlanner) selectsAny(bySymbol symbolRuns) bool {
	for symbol := range bySymbol {
		if p.Query.selectsSymbol(symbol) {
			return true
		}
	}
	return false
}

// selectRuns returns the ids of the selected rows of a segment.
func (p *dropPlanner) selectRuns(file segmentRuns, whole bool) (symbolRuns, error) {
	q := &p.Query
	if q.Origin != nil && (file.origin.Source == FromCompact || !q.Origin(file.origin)) {
		return nil, nil
	}
	if !p.selectsAny(file.runs) {
		return nil, nil
	}
	runs := file.runs
	if !whole || q.IDs != nil {
		var err error
		runs, err = p.dir.runsIn(file, func(id, micros int64) bool {
			return q.selectsTime(micros) && (q.IDs == nil || q.IDs.Contains(id))
		})
		if err != nil {
			return nil, err
		}
	}
	out := maps.Clone(runs)
	maps.DeleteFunc(out, func(symbol string, _ []IDRun) bool { return !q.selectsSymbol(symbol) })
	return out, nil
}

// giveUpGaps adds the ids that are missing among the selected rows. They were traded in the window,
// and whoever removes it does not want them fetched.
func (p *dropPlanner) giveUpGaps(index *Index) error {
	dropped, err := p.dir.Dropped()
	if err != nil {
		return err
	}
	p.pending.GivenUp = symbolRuns{}
	for symbol, s := range p.symbols {
		first, last := s.FirstID, s.LastID
		bounds, ok := index.Bounds(symbol)
		if ok && p.Query.Window.Start.IsZero() {
			first = min(first, bounds.FirstID)
		}
		if ok && p.Query.Window.End.IsZero() {
			last = max(last, bounds.LastID)
		}
		for _, gap := range index.Gaps(symbol) {
			ids := idset.Set{{First: max(first, gap.First), Last: min(last, gap.Last)}}
			if ids[0].Count() <= 0 {
				continue
			}
			for _, r := range ids.Subtract(dropped[symbol]) {
				p.pending.GivenUp[symbol] = append(p.pending.GivenUp[symbol],
					IDRun{r, gap.After.UnixMicro(), gap.Before.UnixMicro()})
				s.GivenUp += r.Count()
			}
		}
	}
	return nil
}

// planAlerts selects alerts.
func (p *dropPlanner) planAlerts() error {
	q := &p.Query
	return planRecords(p, Alerts, func(date string, a Alert) bool {
		if q.Detector != "" && a.Detector != q.Detector || !q.selectsSymbol(a.Symbol) || !q.selectsTime(a.At) {
			return false
		}
		if p.pending.Alerts == nil {
			p.pending.Alerts = map[string][]alertKey{}
		}
		p.pending.Alerts[date] = append(p.pending.Alerts[date], alertKey{a.Detector, a.Symbol, a.At})
		// The times of a symbol's first and last alert are computed like those of ids.
		p.count(a.Symbol, IDRun{idset.Range{First: a.At, Last: a.At}, a.At, a.At}, 1)
		return true
	})
}

// planConflicts selects conflicts.
func (p *dropPlanner) planConflicts(selects func(Conflict) bool) error {
	return planRecords(p, Conflicts, func(date string, c Conflict) bool {
		if !selects(c) {
			return false
		}
		p.pending.addConflict(date, c)
		p.count(c.Symbol, singleID(c.ID, c.TradedAt), 1)
		return true
	})
}

// planConflictsOf selects the conflicts that are about trades to remove.
func (p *dropPlanner) planConflictsOf(ids map[string]idset.Set) error {
	for date := range p.pending.Trades {
		rows, err := readDate[Conflict](p.dir.catalog, Conflicts, date)
		if err != nil {
			return err
		}
		for _, c := range rows {
			if ids[c.Symbol].Contains(c.ID) {
				p.pending.addConflict(date, c)
				p.Conflicts++
			}
		}
	}
	return nil
}

// planRecords calls selects for each row of a table of records in the window, and counts the files
// with selected rows.
func planRecords[T any](p *dropPlanner, table Table, selects func(date string, row T) bool) error {
	dates, err := p.dir.Dates(table)
	if err != nil {
		return err
	}
	for _, date := range dates {
		if some, _ := p.Query.selectsDate(date); !some {
			continue
		}
		files, broken, err := readPartition(p.dir.catalog, table, date, func(name string) ([]T, error) {
			return readRows[T](p.dir.catalog.segment(table, date, name))
		})
		if err != nil {
			return err
		}
		p.Broken = append(p.Broken, broken...)
		for _, rows := range files {
			selected := 0
			for _, row := range rows {
				if selects(date, row) {
					selected++
				}
			}
			if selected > 0 {
				p.Files++
			}
			if selected > 0 && selected == len(rows) {
				p.Whole++
			}
		}
	}
	return nil
}
