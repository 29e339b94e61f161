package backfill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

// Plan is what a backfill will ask for.
type Plan struct {
	Feed    tape.Feed
	Symbols []SymbolPlan // by name
	// Asked is what working it out has cost already.
	Asked binance.Cost
	// PerMinute is the weight that may be used in a minute.
	PerMinute int64
}

// SymbolPlan is what a backfill will ask for of one symbol.
type SymbolPlan struct {
	Symbol string
	// Missing are the ids to get. Absent is how many more are missing and known not to exist.
	Missing idset.Set
	Absent  int64
	// Days come from the archive, Pages by REST.
	Days  []DayPlan
	Pages []Page
	// Problem is why not everything could be planned: the symbol is no longer listed, say. Nil where nothing went wrong.
	Problem error

	asked  binance.Cost
	holes  []hole
	absent idset.Set // known before
}

// DayPlan is a UTC day whose file is fetched from the archive.
type DayPlan struct {
	Day time.Time
	// IDs is the span of the day's ids as REST tells it; both 0 where REST does not reach back so far.
	IDs idset.Range
	// Missing are the ids wanted from it.
	Missing idset.Set

	from  time.Time     // rows before it are not wanted; zero for no bound
	known []binance.Row // rows as REST gives them, which the file's must equal
}

// idsKnown is false of a day that REST does not reach back to: how many ids it has, and whether any, only the archive knows.
func (d DayPlan) idsKnown() bool { return d.IDs != (idset.Range{}) }

// Page is a request for ids from First on: Limit rows at most.
type Page struct {
	First int64
	Limit int
}

// last is the last id that the page may bring.
func (p Page) last() int64 { return p.First + int64(p.Limit) - 1 }

// hole is a run of missing ids and the times between which they traded.
type hole struct {
	idset.Range
	from, to time.Time
}

// The rates by which the quicker of two ways is chosen; measured on two cores against a local server, so in favour of the archive only
// where it is far ahead.
const (
	archiveRowsPerSecond = 300_000 // downloading, unpacking and reading a day's file, whether its rows are wanted or not
	archiveFileSeconds   = 2       // two requests
	// archiveMinPages is the number of pages a day must lack before it is worth asking for the day's bounds.
	archiveMinPages = 20
)

// lacks says whether there is anything to do or to tell.
func (p SymbolPlan) lacks() bool { return len(p.Missing) > 0 || len(p.Days) > 0 || p.Problem != nil }

// Missing is how many ids are to be got.
func (p Plan) Missing() int64 {
	return p.sum(func(s SymbolPlan) int64 { return s.Missing.Count() })
}

// Requests is how many REST requests it takes if none fails.
func (p Plan) Requests() int64 {
	return p.sum(func(s SymbolPlan) int64 { return int64(len(s.Pages)) })
}

// Days is how many files of the archive it takes.
func (p Plan) Days() int64 { return p.sum(func(s SymbolPlan) int64 { return int64(len(s.Days)) }) }

// Weight is what the requests weigh.
func (p Plan) Weight() int64 { return p.Requests() * pageWeight(p.Feed) }

// Duration is an estimate of how long it takes: the weight at the pace of the budget, and the files.
func (p Plan) Duration() time.Duration {
	rows := p.sum(func(s SymbolPlan) (rows int64) {
		for _, day := range s.Days {
			if day.idsKnown() {
				rows += day.IDs.Count()
			}
		}
		return rows
	})
	seconds := float64(p.Weight())*60/float64(max(p.PerMinute, 1)) + float64(p.Days()*archiveFileSeconds) + float64(rows)/archiveRowsPerSecond
	return time.Duration(seconds * float64(time.Second)).Round(time.Second)
}

func (p Plan) sum(of func(SymbolPlan) int64) (sum int64) {
	for _, symbol := range p.Symbols {
		sum += of(symbol)
	}
	return sum
}

// pageWeight is what a page of a feed weighs (rest-api.md, 2026-07).
func pageWeight(feed tape.Feed) int64 {
	if feed == tape.RawTrade {
		return 25
	}
	return 4
}

// Prepare works out what is missing and how to get it, without getting anything.
func Prepare(ctx context.Context, dir *tape.Dir, clients Clients, opt Options) (Plan, error) {
	opt = opt.withDefaults()
	if !opt.From.IsZero() || !opt.To.IsZero() {
		if !opt.From.Before(opt.To) {
			return Plan{}, fmt.Errorf("the window from %s to %s is empty", stamp(opt.From), stamp(opt.To))
		}
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return Plan{}, fmt.Errorf("read what is on the tape: %w", err)
	}
	absent, err := dir.Absent()
	if err != nil {
		return Plan{}, fmt.Errorf("read which ids are absent: %w", err)
	}
	plan := Plan{Feed: dir.Feed()}
	symbols, asked, err := resolveSymbols(ctx, dir, clients.REST, opt, index.Symbols())
	if err != nil {
		return Plan{}, err
	}
	plan.Asked = asked
	state, err := clients.REST.Budget().State()
	if err != nil {
		return Plan{}, err
	}
	plan.PerMinute = state.WeightPerMinute()

	plan.Symbols = make([]SymbolPlan, len(symbols))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(opt.Parallel)
	for i, symbol := range symbols {
		planner := &planner{dir: dir, index: index, clients: clients, opt: opt, perMinute: plan.PerMinute, plan: SymbolPlan{Symbol: symbol}}
		group.Go(func() error {
			err := planner.make(groupCtx, absent[symbol])
			if errors.Is(err, binance.ErrUnknownSymbol) { // on the tape, but no longer listed
				opt.Logger.Warn("the exchange no longer knows the symbol", "symbol", symbol, "error", err)
				planner.plan.Problem, err = err, nil
			}
			if err != nil {
				return fmt.Errorf("plan the backfill of %q: %w", symbol, err)
			}
			plan.Symbols[i] = planner.plan
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Plan{}, err
	}
	for _, symbol := range plan.Symbols {
		plan.Asked = plan.Asked.Plus(symbol.asked)
	}
	return plan, nil
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// planner makes the plan of one symbol.
type planner struct {
	dir       *tape.Dir
	index     *tape.Index
	clients   Clients
	opt       Options
	perMinute int64
	plan      SymbolPlan
}

func (p *planner) make(ctx context.Context, absent idset.Set) error {
	if err := p.findHoles(ctx); err != nil {
		return err
	}
	var wanted idset.Set
	for _, hole := range p.plan.holes {
		wanted = wanted.Add(hole.Range)
	}
	p.plan.absent = absent
	p.plan.Missing = wanted.Subtract(absent)
	p.plan.Absent = wanted.Count() - p.plan.Missing.Count()
	byREST, err := p.chooseDays(ctx)
	if err != nil {
		return err
	}
	if p.opt.Source != ArchiveOnly {
		p.plan.Pages = pagesOf(byREST)
	}
	return nil
}

// findHoles lists the runs of ids that are wanted and not on the tape, in ascending order.
func (p *planner) findHoles(ctx context.Context) error {
	bounds, any := p.index.Bounds(p.plan.Symbol)
	gaps := p.index.Gaps(p.plan.Symbol)
	if p.opt.From.IsZero() && p.opt.To.IsZero() {
		for _, gap := range gaps {
			p.add(idset.Range{First: gap.First, Last: gap.Last}, gap.After, gap.Before)
		}
		return nil
	}
	from, to := p.opt.From, p.opt.To
	if !any {
		return p.addEnd(ctx, from, 0)
	}
	if from.Before(bounds.FirstAt) {
		first, ok, err := p.firstAt(ctx, from)
		if err != nil {
			return err
		}
		if ok && first.FirstID() < bounds.FirstID {
			head := idset.Range{First: first.FirstID(), Last: bounds.FirstID - 1}
			if to.Before(bounds.FirstAt) {
				last, ok, err := p.lastBefore(ctx, to)
				if err != nil {
					return err
				}
				if !ok {
					return nil
				}
				head.Last = min(head.Last, last.LastID())
			}
			if err := p.addHead(ctx, first, from); err != nil {
				return err
			}
			p.add(head, later(from, first.at()), earlier(to, bounds.FirstAt))
		}
	}
	for _, gap := range gaps {
		if gap.Before.Before(from) || !gap.After.Before(to) {
			continue
		}
		span := idset.Range{First: gap.First, Last: gap.Last}
		// Up to a page's worth it costs nothing to take what lies outside of the window too.
		if gap.Count() > binance.PageLimit {
			var err error
			if span, err = p.trim(ctx, gap); err != nil {
				return err
			}
		}
		p.add(span, later(from, gap.After), earlier(to, gap.Before))
	}
	if to.After(bounds.LastAt) {
		return p.addEnd(ctx, later(from, bounds.LastAt), bounds.LastID+1)
	}
	return nil
}

// add puts a run of ids into the plan, if it has any.
func (p *planner) add(span idset.Range, from, to time.Time) {
	if span.First <= span.Last {
		p.plan.holes = append(p.plan.holes, hole{span, from, to})
	}
}

// addEnd adds the ids of the window that are at least least and traded at or after from: what comes after the tape's end, or everything.
func (p *planner) addEnd(ctx context.Context, from time.Time, least int64) error {
	last, ok, err := p.lastBefore(ctx, p.opt.To)
	if err != nil || !ok || last.LastID() < least || last.at().Before(from) {
		return err
	}
	first := least
	if least == 0 || p.opt.From.Equal(from) {
		edge, ok, err := p.firstAt(ctx, from)
		if err != nil || !ok {
			return err
		}
		first = max(least, edge.FirstID())
		if least == 0 {
			if err := p.addHead(ctx, edge, from); err != nil {
				return err
			}
		}
		from = later(from, edge.at())
	}
	p.add(idset.Range{First: first, Last: last.LastID()}, from, last.at())
	return nil
}

// trim cuts a gap that reaches out of the window down to it.
func (p *planner) trim(ctx context.Context, gap tape.Gap) (idset.Range, error) {
	span := idset.Range{First: gap.First, Last: gap.Last}
	if gap.After.Before(p.opt.From) {
		edge, ok, err := p.firstAt(ctx, p.opt.From)
		if err != nil {
			return span, err
		}
		if ok {
			span.First = max(span.First, edge.FirstID())
		}
	}
	if !gap.Before.Before(p.opt.To) {
		edge, ok, err := p.lastBefore(ctx, p.opt.To)
		if err != nil {
			return span, err
		}
		if ok {
			span.Last = min(span.Last, edge.LastID())
		}
	}
	return span, nil
}

// addHead looks whether the first trade that REST shows of a window is the first there is. REST has been seen to begin its history late
// (binance-public-data issue 376); then the days before it are looked up in the archive.
func (p *planner) addHead(ctx context.Context, first edge, from time.Time) error {
	const quiet = time.Hour
	if p.clients.Archive == nil || p.opt.Source == RESTOnly || first.row.ID == 0 || first.at().Sub(from) < quiet {
		return nil
	}
	page, err := p.clients.REST.AggTrades(ctx, p.plan.Symbol, first.row.ID-1, 1)
	p.plan.asked = p.plan.asked.Plus(page.Cost)
	if err != nil {
		return err
	}
	if len(page.Rows) > 0 && page.Rows[0].ID < first.row.ID {
		return nil
	}
	for day := dayOf(from); !day.After(first.at()); day = day.AddDate(0, 0, 1) {
		if p.isPast(day) {
			p.plan.Days = append(p.plan.Days, DayPlan{Day: day, Missing: idset.Set{{First: 0, Last: first.FirstID() - 1}}, from: from})
		}
	}
	return nil
}

// edge is an aggregate trade at the edge of a window, in the tape's ids.
type edge struct {
	row  binance.Row
	feed tape.Feed
}

func (e edge) at() time.Time { return time.UnixMicro(e.row.Time).UTC() }

// FirstID and LastID are the ids in the edge: one in the feed of aggregate trades.
func (e edge) FirstID() int64 {
	if e.feed == tape.RawTrade {
		return e.row.FirstTradeID
	}
	return e.row.ID
}

func (e edge) LastID() int64 {
	if e.feed == tape.RawTrade {
		return e.row.LastTradeID
	}
	return e.row.ID
}

func (p *planner) firstAt(ctx context.Context, at time.Time) (edge, bool, error) {
	page, err := p.clients.REST.FirstAggTrade(ctx, p.plan.Symbol, at)
	return p.edgeOf(page, err)
}

func (p *planner) lastBefore(ctx context.Context, at time.Time) (edge, bool, error) {
	page, err := p.clients.REST.LastAggTrade(ctx, p.plan.Symbol, at)
	return p.edgeOf(page, err)
}

func (p *planner) edgeOf(page binance.Page, err error) (edge, bool, error) {
	p.plan.asked = p.plan.asked.Plus(page.Cost)
	if err != nil || len(page.Rows) == 0 {
		return edge{}, false, err
	}
	return edge{page.Rows[0], p.dir.Feed()}, true, nil
}

// chooseDays decides which past days come from the archive, by which way is quicker, and gives the ids that are left to REST.
func (p *planner) chooseDays(ctx context.Context) (byREST idset.Set, err error) {
	byREST = p.plan.Missing
	if p.clients.Archive == nil || p.opt.Source == RESTOnly {
		return byREST, nil
	}
	edges := map[time.Time]edge{}
	for _, day := range p.candidates() {
		ids, known, err := p.idsOn(ctx, day, edges)
		if err != nil {
			return nil, err
		}
		missing := byREST.Intersect(idset.Set{ids})
		if len(missing) == 0 {
			continue
		}
		restSeconds := float64(int64(len(pagesOf(missing)))*pageWeight(p.dir.Feed())) * 60 / float64(p.perMinute)
		archiveSeconds := archiveFileSeconds + float64(ids.Count())/archiveRowsPerSecond
		if p.opt.Source == ArchiveOnly || archiveSeconds < restSeconds {
			p.plan.Days = append(p.plan.Days, DayPlan{Day: day, IDs: ids, Missing: missing, known: known})
			byREST = byREST.Subtract(missing)
		}
	}
	return byREST, nil
}

// candidates lists the past days of which enough is missing for the archive to be worth a look. How much that is, is estimated
// from how evenly the missing ids would lie in time.
func (p *planner) candidates() []time.Time {
	lacking := map[time.Time]float64{}
	for _, hole := range p.plan.holes {
		length := max(hole.to.Sub(hole.from), time.Second)
		for day := dayOf(hole.from); !day.After(hole.to); day = day.AddDate(0, 0, 1) {
			if p.isPast(day) {
				part := earlier(hole.to, day.AddDate(0, 0, 1)).Sub(later(hole.from, day))
				lacking[day] += float64(hole.Count()) * max(float64(part), float64(time.Second)) / float64(length)
			}
		}
	}
	var days []time.Time
	for day, rows := range lacking {
		if p.opt.Source == ArchiveOnly || rows >= archiveMinPages*binance.PageLimit {
			days = append(days, day)
		}
	}
	slices.SortFunc(days, time.Time.Compare)
	return days
}

// isPast says whether a day is over.
func (p *planner) isPast(day time.Time) bool { return !day.AddDate(0, 0, 1).After(p.opt.Now) }

// idsOn asks for the ids of a day, and gives the rows at its edges.
func (p *planner) idsOn(ctx context.Context, day time.Time, edges map[time.Time]edge) (idset.Range, []binance.Row, error) {
	next := day.AddDate(0, 0, 1)
	for _, at := range []time.Time{day, next} {
		if _, ok := edges[at]; ok {
			continue
		}
		first, ok, err := p.firstAt(ctx, at)
		if err != nil {
			return idset.Range{}, nil, err
		}
		if !ok { // nothing traded since
			last, _, err := p.lastBefore(ctx, at)
			if err != nil {
				return idset.Range{}, nil, err
			}
			last.row.ID, last.row.FirstTradeID = last.row.ID+1, last.row.LastTradeID+1
			last.row.Time = at.UnixMicro()
			first = last
		}
		edges[at] = first
	}
	first := edges[day]
	var known []binance.Row
	if first.row.Price != nil && first.at().Before(next) {
		known = append(known, first.row)
	}
	return idset.Range{First: first.FirstID(), Last: edges[next].FirstID() - 1}, known, nil
}

// pagesOf covers ids with as few requests as can be: each begins with the first id not covered yet, and what it brings beyond is
// left out.
func pagesOf(ids idset.Set) []Page {
	var pages []Page
	next := int64(-1) // the first id that no page covers
	for _, span := range ids {
		if n := len(pages); n > 0 && span.First < next { // some of it comes with the page before
			pages[n-1].Limit = int(min(span.Last, next-1)-pages[n-1].First) + 1
		}
		for first := max(span.First, next); first <= span.Last; first += binance.PageLimit {
			pages = append(pages, Page{First: first, Limit: int(min(span.Last-first+1, binance.PageLimit))})
			next = first + binance.PageLimit
		}
	}
	return pages
}

func dayOf(at time.Time) time.Time { return at.UTC().Truncate(24 * time.Hour) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
