package backfill

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
)

// planner works out the plan of one symbol.
type planner struct {
	feed      tape.Feed
	index     *tape.Index
	perMinute int64
	Clients
	Options
	SymbolPlan
	edges      edges
	unreadable []string // dates of the files that this user may not read
}

func (p *planner) run(ctx context.Context) error {
	if err := p.findGaps(ctx); err != nil {
		return err
	}
	p.withhold()
	var wanted idset.Set
	for _, gap := range p.gaps {
		wanted = wanted.Add(rangeOf(gap))
	}
	p.Missing = wanted.Subtract(p.absent)
	p.Absent = wanted.Count() - p.Missing.Count()
	if !p.RestoreDropped {
		p.Missing = p.Missing.Subtract(p.dropped)
	}
	p.Dropped = wanted.Count() - p.Absent - p.Missing.Count()
	// What is in a stray segment is not missing.
	for _, run := range p.index.StrayIDs(p.Symbol.String()) {
		p.Missing = p.Missing.Subtract(idset.Set{run.Range})
	}
	if n := p.Missing.Count(); n > mostMissing {
		p.Problem = &tooManyError{first: p.Missing[0].First, last: p.Missing[len(p.Missing)-1].Last, count: n}
		return nil
	}
	if p.hasWork() {
		p.onTape = p.index.IDs(p.Symbol.String())
	}
	fromREST, err := p.chooseDays(ctx)
	if err != nil {
		return err
	}
	if p.Source != ArchiveOnly {
		p.Pages = pagesOf(withOverlap(fromREST, p.onTape))
	}
	return nil
}

// withhold takes the gaps out of the plan whose ids may be in files that this user may not read.
func (p *planner) withhold() {
	p.gaps = slices.DeleteFunc(p.gaps, func(gap tape.Gap) bool {
		first, last := gap.After.UTC().Format(time.DateOnly), gap.Before.UTC().Format(time.DateOnly)
		if !slices.ContainsFunc(p.unreadable, func(date string) bool { return first <= date && date <= last }) {
			return false
		}
		ids := idset.Set{rangeOf(gap)}.Subtract(p.absent).Subtract(p.dropped)
		p.Withheld = idset.Sum(p.Withheld, ids.Count())
		return true
	})
}

// mostMissing is how many ids of a symbol are fetched in one run. It bounds the memory of the plan, 16 bytes
// for each 1,000 ids, because the ends of a gap are what a server or a file says. No symbol has had so many
// trades: BTCUSDT had 6 billion raw trades in nine years.
const mostMissing = 10_000_000_000

// tooManyError is the problem of a symbol of which more ids are missing than it can have.
type tooManyError struct{ first, last, count int64 }

func (e *tooManyError) Error() string {
	return fmt.Sprintf("%s ids are missing between %d and %d, more than any symbol has had: nothing is fetched; look at the trades beside them, or ask for a shorter window",
		wording.Comma(e.count), e.first, e.last)
}

func rangeOf(gap tape.Gap) idset.Range { return idset.Range{First: gap.First, Last: gap.Last} }

// findGaps lists the ids of the window that are not on the tape, in ascending order. Without a
// window these are the gaps inside the tape.
func (p *planner) findGaps(ctx context.Context) error {
	inside := p.index.Gaps(p.Symbol.String())
	if p.Window == (window.Window{}) {
		bounds, _ := p.index.Bounds(p.Symbol.String())
		p.Answer.Window = window.Window{Start: bounds.FirstAt, End: bounds.LastAt}
		p.gaps = inside
		return nil
	}
	if p.Window.IsEmpty() { // it lies in the future
		return nil
	}
	p.Answer.Window = p.Window
	bounds, recorded := p.index.Bounds(p.Symbol.String())
	if !recorded {
		return p.addWindow(ctx)
	}
	known, _ := p.index.Known(p.Symbol.String())
	// With the tape's first trade alone, older ones of the same instant may be missing.
	if start := p.Window.Start; known.Since.After(start) || known.Since.Equal(start) && known.SinceBy == tape.ByTrade {
		if err := p.addBeforeTape(ctx, bounds); err != nil {
			return err
		}
		if start := p.Answer.Window.Start; start.After(p.Window.Start) && known.Since.Before(start) {
			p.Answer.Window.Start = known.Since // the tape has older trades than the exchange shows
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
	if p.Window.End.After(known.Until) {
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
		Symbol: p.Symbol.String(), First: ids.First, Last: ids.Last, After: w.Start, Before: w.End,
	})
}

// addWindow adds all ids of the window, for a symbol that is not on the tape.
func (p *planner) addWindow(ctx context.Context) error {
	last, err := p.windowEnd(ctx)
	if err != nil || last.ok && last.at.Before(p.Window.Start) {
		return err
	}
	first, err := p.windowStart(ctx)
	if err != nil || !first.ok || !last.ok {
		return err
	}
	p.addGap(idset.Range{First: first.id, Last: last.id}, first.at, last.at)
	return nil
}

// addBeforeTape adds the ids of the window that are below the tape's.
func (p *planner) addBeforeTape(ctx context.Context, bounds tape.Bounds) error {
	first, err := p.windowStart(ctx)
	if err != nil || !first.ok || first.id >= bounds.FirstID {
		return err
	}
	ids := idset.Range{First: first.id, Last: bounds.FirstID - 1}
	if p.Window.End.Before(bounds.FirstAt) {
		last, err := p.windowEnd(ctx)
		if err != nil || !last.ok {
			return err
		}
		ids.Last = min(ids.Last, last.id)
	}
	p.addGap(ids, first.at, bounds.FirstAt)
	return nil
}

// addAfterTape adds the ids of the window that are above the tape's.
func (p *planner) addAfterTape(ctx context.Context, bounds tape.Bounds) error {
	last, err := p.windowEnd(ctx)
	if err != nil {
		return err
	}
	if last.ok {
		if err := sameMarket(p.Symbol.String(), last, bounds); err != nil {
			return err
		}
	}
	if !last.ok || last.id < bounds.LastID || last.at.Before(bounds.LastAt) {
		// The tape's last trade is younger than what the exchange shows.
		p.Answer.end, p.Answer.Behind = nil, true
		p.Answer.Window.End = bounds.LastAt
		return nil
	}
	ids, after := idset.Range{First: bounds.LastID + 1}, bounds.LastAt
	if last.id < ids.First || last.at.Before(p.Window.Start) {
		return nil
	}
	if !p.Window.Start.Before(after) { // the window starts after the tape's end
		first, err := p.windowStart(ctx)
		if err != nil || !first.ok {
			return err
		}
		ids.First = max(ids.First, first.id)
		after = first.at
	}
	ids.Last = last.id
	p.addGap(ids, after, last.at)
	return nil
}

// sameMarket returns an error if the exchange's last trade in the window cannot be of the same market
// as the tape's last one.
func sameMarket(symbol string, last edge, bounds tape.Bounds) error {
	const slack = 10 * time.Second
	back := last.at.Sub(bounds.LastAt)
	if last.id > bounds.LastID {
		back = -back
	}
	if last.id == bounds.LastID || back <= slack {
		return nil
	}
	return &tape.DisagreementError{
		Symbol: symbol, Kept: tape.Trade{Symbol: symbol, ID: bounds.LastID, TradedAt: bounds.LastAt.UnixMicro()},
		Other:       tape.Trade{Symbol: symbol, ID: last.id, TradedAt: last.at.UnixMicro()},
		OtherSource: tape.FromREST, Backwards: back,
	}
}

// trim returns the ids of a gap that traded in the window.
func (p *planner) trim(ctx context.Context, gap tape.Gap) (idset.Range, error) {
	ids := rangeOf(gap)
	if gap.After.Before(p.Window.Start) {
		first, err := p.windowStart(ctx)
		if err != nil {
			return ids, err
		}
		if first.ok {
			ids.First = max(ids.First, first.id)
		}
	}
	if !gap.Before.Before(p.Window.End) {
		last, err := p.windowEnd(ctx)
		if err != nil {
			return ids, err
		}
		if last.ok {
			ids.Last = min(ids.Last, last.id)
		}
	}
	return ids, nil
}
