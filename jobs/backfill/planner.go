package backfill

import (
	"context"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// planner works out the plan of one symbol.
type planner struct {
	feed      tape.Feed
	index     *tape.Index
	perMinute int64
	Clients
	Options
	SymbolPlan
}

func (p *planner) run(ctx context.Context) error {
	if err := p.findGaps(ctx); err != nil {
		return err
	}
	var wanted idset.Set
	for _, gap := range p.gaps {
		wanted = wanted.Add(rangeOf(gap))
	}
	p.Missing = wanted.Subtract(p.absent)
	p.Absent = wanted.Count() - p.Missing.Count()
	fromREST, err := p.chooseDays(ctx)
	if err != nil {
		return err
	}
	if p.Source != ArchiveOnly {
		p.Pages = pagesOf(fromREST)
	}
	return nil
}

func rangeOf(gap tape.Gap) idset.Range { return idset.Range{First: gap.First, Last: gap.Last} }

// findGaps lists the ids of the window that are not on the tape, in ascending order. Without a
// window these are the gaps inside the tape.
func (p *planner) findGaps(ctx context.Context) error {
	inside := p.index.Gaps(p.Symbol)
	if p.Window == (window.Window{}) {
		p.gaps = inside
		return nil
	}
	bounds, recorded := p.index.Bounds(p.Symbol)
	if !recorded {
		return p.addWindow(ctx)
	}
	if p.Window.Start.Before(bounds.FirstAt) {
		if done, err := p.addBeforeTape(ctx, bounds); err != nil || done {
			return err
		}
	}
	for _, gap := range inside {
		if gap.Before.Before(p.Window.Start) || !gap.After.Before(p.Window.End) {
			continue
		}
		ids := rangeOf(gap)
		// A single page costs the same with and without the ids outside of the window.
		if gap.Count() > binance.PageLimit {
			var err error
			if ids, err = p.trim(ctx, gap); err != nil {
				return err
			}
		}
		p.addGap(ids, gap.After, gap.Before)
	}
	if p.Window.End.After(bounds.LastAt) {
		return p.addAfterTape(ctx, bounds)
	}
	return nil
}

// addGap adds ids of the window that traded between after and before, unless the range is empty.
func (p *planner) addGap(ids idset.Range, after, before time.Time) {
	if ids.First > ids.Last {
		return
	}
	w := p.Window.Intersect(window.Window{Start: after, End: before})
	p.gaps = append(p.gaps, tape.Gap{
		Symbol: p.Symbol, First: ids.First, Last: ids.Last, After: w.Start, Before: w.End,
	})
}

// addWindow adds all ids of the window, for a symbol that is not on the tape.
func (p *planner) addWindow(ctx context.Context) error {
	last, ok, err := p.lastBefore(ctx, p.Window.End)
	if err != nil || !ok || last.at().Before(p.Window.Start) {
		return err
	}
	first, ok, err := p.firstAt(ctx, p.Window.Start)
	if err != nil || !ok {
		return err
	}
	if err := p.addEarlierDays(ctx, first); err != nil {
		return err
	}
	p.addGap(idset.Range{First: first.firstID(), Last: last.lastID()}, first.at(), last.at())
	return nil
}

// addBeforeTape adds the ids of the window that are below the tape's. done means that nothing else
// is in the window.
func (p *planner) addBeforeTape(ctx context.Context, bounds tape.Bounds) (done bool, err error) {
	first, ok, err := p.firstAt(ctx, p.Window.Start)
	if err != nil || !ok || first.firstID() >= bounds.FirstID {
		return false, err
	}
	ids := idset.Range{First: first.firstID(), Last: bounds.FirstID - 1}
	if p.Window.End.Before(bounds.FirstAt) {
		last, ok, err := p.lastBefore(ctx, p.Window.End)
		if err != nil || !ok {
			return true, err
		}
		ids.Last = min(ids.Last, last.lastID())
	}
	if err := p.addEarlierDays(ctx, first); err != nil {
		return false, err
	}
	p.addGap(ids, first.at(), bounds.FirstAt)
	return false, nil
}

// addAfterTape adds the ids of the window that are above the tape's.
func (p *planner) addAfterTape(ctx context.Context, bounds tape.Bounds) error {
	ids, after := idset.Range{First: bounds.LastID + 1}, bounds.LastAt
	last, ok, err := p.lastBefore(ctx, p.Window.End)
	if err != nil || !ok || last.lastID() < ids.First || last.at().Before(p.Window.Start) || last.at().Before(after) {
		return err
	}
	if !p.Window.Start.Before(after) { // the window starts after the tape's end
		first, ok, err := p.firstAt(ctx, p.Window.Start)
		if err != nil || !ok {
			return err
		}
		ids.First = max(ids.First, first.firstID())
		after = first.at()
	}
	ids.Last = last.lastID()
	p.addGap(ids, after, last.at())
	return nil
}

// trim returns the ids of a gap that traded in the window.
func (p *planner) trim(ctx context.Context, gap tape.Gap) (idset.Range, error) {
	ids := rangeOf(gap)
	if gap.After.Before(p.Window.Start) {
		first, ok, err := p.firstAt(ctx, p.Window.Start)
		if err != nil {
			return ids, err
		}
		if ok {
			ids.First = max(ids.First, first.firstID())
		}
	}
	if !gap.Before.Before(p.Window.End) {
		last, ok, err := p.lastBefore(ctx, p.Window.End)
		if err != nil {
			return ids, err
		}
		if ok {
			ids.Last = min(ids.Last, last.lastID())
		}
	}
	return ids, nil
}

// addEarlierDays adds the window's past days up to its first trade, if REST may lack their trades:
// REST sometimes omits older history (binance-public-data issue 376). It does so if nothing is
// known to precede the first trade.
func (p *planner) addEarlierDays(ctx context.Context, first windowTrade) error {
	const quiet = time.Hour // a gap that an ordinary symbol does not have
	if p.Archive == nil || p.Source == RESTOnly {
		return nil
	}
	if first.row.ID == 0 || first.at().Sub(p.Window.Start) < quiet {
		return nil
	}
	page, err := p.REST.AggTrades(ctx, p.Symbol, first.row.ID-1, 1)
	p.asked = p.asked.Plus(page.Cost)
	if err != nil {
		return err
	}
	if len(page.Rows) > 0 && page.Rows[0].ID < first.row.ID {
		return nil
	}
	for _, day := range pastDays(p.Window.Start, first.at(), p.Now) {
		missing := idset.Set{{First: 0, Last: first.firstID() - 1}}
		p.Days = append(p.Days, DayPlan{Day: day, Missing: missing, from: p.Window.Start})
	}
	return nil
}

// windowTrade is an aggregate trade at the edge of a window.
type windowTrade struct {
	row  binance.Row
	feed tape.Feed
}

func (t windowTrade) at() time.Time { return time.UnixMicro(t.row.Time).UTC() }

// firstID and lastID are the ids of the tape's feed in the aggregate trade.
func (t windowTrade) firstID() int64 {
	if t.feed == tape.RawTrade {
		return t.row.FirstTradeID
	}
	return t.row.ID
}

func (t windowTrade) lastID() int64 {
	if t.feed == tape.RawTrade {
		return t.row.LastTradeID
	}
	return t.row.ID
}

// firstAt returns the first aggregate trade at or after a time. ok is false if there is none.
func (p *planner) firstAt(ctx context.Context, at time.Time) (first windowTrade, ok bool, err error) {
	return p.single(p.REST.FirstAggTrade(ctx, p.Symbol, at))
}

// lastBefore returns the last aggregate trade before a time. ok is false if there is none.
func (p *planner) lastBefore(ctx context.Context, at time.Time) (last windowTrade, ok bool, err error) {
	return p.single(p.REST.LastAggTrade(ctx, p.Symbol, at))
}

func (p *planner) single(page binance.Page, err error) (windowTrade, bool, error) {
	p.asked = p.asked.Plus(page.Cost)
	if err != nil || len(page.Rows) == 0 {
		return windowTrade{}, false, err
	}
	return windowTrade{page.Rows[0], p.feed}, true, nil
}
