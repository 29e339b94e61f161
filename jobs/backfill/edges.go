package backfill

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

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

// edge is the first or the last id that the window can have. If ok is false, the exchange does not
// show any.
type edge struct {
	id int64
	at time.Time // no trade of the window is before it, or after it
	ok bool
}

// edges are what the exchange was asked about the window.
type edges struct{ first, last *edge }

// windowStart returns the first id that the window can have: the one after the last trade before
// the window. Two ids prove it, where the first trade since the window's start would prove nothing:
// REST sometimes omits older history (binance-public-data issue 376). It asks the exchange once.
func (p *planner) windowStart(ctx context.Context) (edge, error) {
	if p.edges.first != nil {
		return *p.edges.first, nil
	}
	before, ok, err := p.lastBefore(ctx, p.Window.Start)
	if err != nil {
		return edge{}, err
	}
	if ok {
		p.edges.first = &edge{id: before.lastID() + 1, at: p.Window.Start, ok: true}
		p.Answer.before = &fact{p.Window.Start, before.lastID()}
		return *p.edges.first, nil
	}
	first, ok, err := p.firstAt(ctx, p.Window.Start)
	if err != nil {
		return edge{}, err
	}
	p.edges.first = &edge{ok: ok}
	if !ok {
		p.Answer.Silent = true
		return edge{}, nil
	}
	p.edges.first.id, p.edges.first.at = first.firstID(), first.at()
	p.Answer.First = Shown{ID: first.firstID(), At: first.at()}
	if first.row.ID > 0 {
		p.Answer.Window.Start = first.at()
		p.addEarlierDays(first)
	}
	return *p.edges.first, nil
}

// windowEnd returns the last id that the window has, or an id before the window if nothing was
// traded in it. It asks the exchange once.
func (p *planner) windowEnd(ctx context.Context) (edge, error) {
	if p.edges.last != nil {
		return *p.edges.last, nil
	}
	var last windowTrade
	var ok bool
	for attempt := 0; ; attempt++ {
		var err error
		if last, ok, err = p.lastBefore(ctx, p.Window.End); err != nil {
			return edge{}, err
		}
		if !ok || !last.at().Before(p.Window.Start) {
			break
		}
		// Nothing was traded in the window if the next id is after it.
		next, found, err := p.tradeFrom(ctx, last.row.ID+1, 1)
		if err != nil {
			return edge{}, err
		}
		if !found || !next.at().Before(p.Window.End) {
			break
		}
		if attempt == retriesOfEnd {
			return edge{}, fmt.Errorf("the exchange contradicts itself: the last trade before %s is id %d of %s, but id %d is of %s",
				formatTime(p.Window.End), last.row.ID, formatTime(last.at()), next.row.ID, formatTime(next.at()))
		}
	}
	p.edges.last = &edge{ok: ok}
	if ok {
		p.edges.last.id, p.edges.last.at = last.lastID(), last.at()
		p.Answer.end = &fact{p.Window.End, last.lastID()}
	}
	return *p.edges.last, nil
}

// retriesOfEnd is how often the exchange is asked again for the last trade before a time after two
// answers that contradict each other: a trade may appear between them.
const retriesOfEnd = 2

// addEarlierDays adds the window's past days up to the first trade that REST shows. The archive may
// have what REST omits.
func (p *planner) addEarlierDays(first windowTrade) {
	if p.Archive == nil || p.Source == RESTOnly {
		return
	}
	end := first.at()
	if p.Window.End.Before(end) {
		end = p.Window.End
	}
	for _, day := range pastDays(p.Window.Start, end.Add(-time.Microsecond), p.Now) {
		missing := idset.Set{{First: 0, Last: first.firstID() - 1}}
		p.Days = append(p.Days, DayPlan{Day: day, Missing: missing, from: p.Window.Start, until: p.Window.End})
	}
}

// firstAt returns the first aggregate trade at or after a time. ok is false if there is none.
func (p *planner) firstAt(ctx context.Context, at time.Time) (first windowTrade, ok bool, err error) {
	page, err := p.ask(p.REST.FirstAggTrade(ctx, p.Symbol, at))
	if err != nil {
		return first, false, err
	}
	if first, ok = p.firstOf(page); !ok && len(page.Voided) > 0 {
		if first, ok, err = p.tradeFrom(ctx, page.Voided[0]+1, binance.PageLimit); err != nil {
			return first, false, err
		}
	}
	return first, ok && !first.at().Before(at), nil
}

// lastBefore returns the last aggregate trade before a time. ok is false if there is none.
func (p *planner) lastBefore(ctx context.Context, at time.Time) (last windowTrade, ok bool, err error) {
	page, err := p.ask(p.REST.LastAggTrade(ctx, p.Symbol, at))
	if err != nil {
		return last, false, err
	}
	if last, ok = p.firstOf(page); !ok && len(page.Voided) > 0 {
		if last, ok, err = p.tradeBefore(ctx, page.Voided[0]); err != nil {
			return last, false, err
		}
	}
	return last, ok && last.at().Before(at), nil
}

// An id that the exchange has voided answers a question about a time: the trade that was asked for is
// the next one with another id. voidedPages is how many pages of voided ids are read to find it.
const voidedPages = 20

// tradeFrom returns the first aggregate trade with an id from id on; ok is false if there is none. limit
// is that of the first page.
func (p *planner) tradeFrom(ctx context.Context, id int64, limit int) (first windowTrade, ok bool, err error) {
	from := id
	for range voidedPages {
		page, err := p.ask(p.REST.AggTrades(ctx, p.Symbol, from, limit))
		if err != nil {
			return first, false, err
		}
		if first, ok = p.firstOf(page); ok || len(page.Voided) == 0 {
			return first, ok, nil
		}
		from, limit = page.Voided[len(page.Voided)-1]+1, binance.PageLimit
	}
	return first, false, fmt.Errorf("in %d pages of %s from id %d the exchange shows only ids that it has voided", voidedPages, p.Symbol, id)
}

// tradeBefore returns the last aggregate trade whose id is below a voided one; ok is false if the
// exchange's history begins with voided ids. Each page has to show the id that it is about, because a
// page may end too early or start too late.
func (p *planner) tradeBefore(ctx context.Context, voided int64) (last windowTrade, ok bool, err error) {
	below := voided
	for range voidedPages {
		from := max(below-binance.PageLimit+1, 0)
		page, err := p.ask(p.REST.AggTrades(ctx, p.Symbol, from, int(below-from)+1))
		if err != nil {
			return last, false, err
		}
		if !slices.Contains(page.Voided, below) {
			continue
		}
		for _, row := range slices.Backward(page.Rows) {
			if row.ID < below {
				return windowTrade{row, p.feed}, true, nil
			}
		}
		if below = page.Voided[0]; below == 0 {
			return last, false, nil
		}
		if from < below { // nothing is shown below it
			begins, err := p.beginsWith(ctx, below)
			if err != nil || begins {
				return last, false, err
			}
		}
	}
	return last, false, fmt.Errorf("in %d pages of %s the exchange shows no trade before id %d, which it has voided", voidedPages, p.Symbol, voided)
}

// beginsWith reports whether the exchange's history begins with an id.
func (p *planner) beginsWith(ctx context.Context, id int64) (bool, error) {
	page, err := p.ask(p.REST.AggTrades(ctx, p.Symbol, 0, 1))
	return err == nil && len(page.Voided) > 0 && page.Voided[0] == id, err
}

// ask counts what an answer has cost.
func (p *planner) ask(page binance.Page, err error) (binance.Page, error) {
	p.asked = p.asked.Plus(page.Cost)
	return page, err
}

func (p *planner) firstOf(page binance.Page) (windowTrade, bool) {
	if len(page.Rows) == 0 {
		return windowTrade{}, false
	}
	return windowTrade{page.Rows[0], p.feed}, true
}
