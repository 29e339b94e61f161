package backfill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
)

// Plan is what a backfill will request.
type Plan struct {
	Feed    tape.Feed
	Symbols []SymbolPlan // sorted by name
	// Asked is what the planning itself has cost.
	Asked binance.Cost
	// PerMinute is the weight that may be used per minute.
	PerMinute int64
	// Window is the one that was asked for, the zero value if none was. Answerable is the part of
	// it that is not in the exchange's future.
	Window, Answerable window.Window
	// Clock is when the planning began; zero without a window.
	Clock Clock
	// Broken are the segments that readers leave out. The ids of those that can be read count as being on the
	// tape; those of the others are fetched again.
	Broken []tape.BrokenSegment
	// Future are those of the symbols with trades later than Latest, the latest time that a clock shows: this
	// machine's, or the exchange's if there is a window.
	Future []tape.Future
	Latest time.Time

	index *tape.Index
}

// SymbolPlan is what a backfill will request for one symbol.
type SymbolPlan struct {
	Symbol symbol.Name
	// Missing are the ids to fetch. Absent is how many more are missing that the exchange is known
	// not to have, Dropped how many were dropped on purpose.
	Missing         idset.Set
	Absent, Dropped int64
	// Withheld is how many ids may be in files that this user may not read. They are not fetched: they would
	// be on the tape twice once the files may be read.
	Withheld int64
	// Answer is the part of the window that the plan is about.
	Answer Answer
	// Days come from the archive, Pages from REST.
	Days  []DayPlan
	Pages []Page
	// Problem is why the plan is incomplete, for example that the symbol was delisted; nil if it is
	// complete.
	Problem error

	asked  binance.Cost
	gaps   []tape.Gap // the part of the window that is not on the tape, absent ids included
	absent idset.Set  // known to be absent before this run

	dropped idset.Set // on purpose
	onTape  idset.Set // if anything is to be fetched
}

// DayPlan is a UTC day whose file is fetched from the archive.
type DayPlan struct {
	Day time.Time
	// IDs are the day's ids as REST reports them; the zero value if REST's history does not reach
	// back so far.
	IDs idset.Range
	// Missing are the ids to take from the file.
	Missing idset.Set

	from  time.Time     // rows before it are ignored; zero for no limit
	until time.Time     // rows from it on are ignored; zero for no limit
	known []binance.Row // rows from REST that the file must have with the same content
}

// idsKnown reports whether REST could tell which ids the day has.
func (d DayPlan) idsKnown() bool { return d.IDs != (idset.Range{}) }

// Page is a request for at most Limit rows with ids from First.
type Page struct {
	First int64
	Limit int
}

// last returns the greatest id that the page can have.
func (p Page) last() int64 { return p.First + int64(p.Limit) - 1 }

// hasWork reports whether there is anything to fetch or to report.
func (p SymbolPlan) hasWork() bool { return len(p.Missing) > 0 || len(p.Days) > 0 || p.Problem != nil }

// Missing returns the number of ids to fetch.
func (p Plan) Missing() int64 {
	return p.sum(func(s SymbolPlan) int64 { return s.Missing.Count() })
}

// Requests returns the number of REST requests if none fails.
func (p Plan) Requests() int64 {
	return p.sum(func(s SymbolPlan) int64 { return int64(len(s.Pages)) })
}

// Days returns the number of archive files.
func (p Plan) Days() int64 { return p.sum(func(s SymbolPlan) int64 { return int64(len(s.Days)) }) }

// Weight returns the weight of the requests.
func (p Plan) Weight() int64 { return p.Requests() * pageWeight(p.Feed) }

// Speeds that decide which way is faster, measured on two cores against a local server. A real
// server is slower, which is why archiveMinPages is large.
const (
	archiveRowsPerSecond = 300_000 // download, decompress and read a file, whether or not its rows are missing
	archiveFileSeconds   = 2       // two requests
	// archiveMinPages is how many pages a day must lack before its ids are looked up.
	archiveMinPages = 20
)

// Duration estimates the time that the plan takes: the requests at the speed of the budget, and the
// files.
func (p Plan) Duration() time.Duration {
	rows := p.sum(func(s SymbolPlan) (rows int64) {
		for _, day := range s.Days {
			if day.idsKnown() {
				rows += day.IDs.Count()
			}
		}
		return rows
	})
	restSeconds := float64(p.Weight()) * 60 / float64(max(p.PerMinute, 1))
	archiveSeconds := float64(p.Days()*archiveFileSeconds) + float64(rows)/archiveRowsPerSecond
	return time.Duration((restSeconds + archiveSeconds) * float64(time.Second)).Round(time.Second)
}

// String says what is missing and what it costs to fetch.
func (p Plan) String() string {
	var parts []string
	if n := p.Requests(); n > 0 {
		parts = append(parts, fmt.Sprintf("%s (weight %s)", wording.Count(n, "request"), wording.Comma(p.Weight())))
	}
	if n := p.Days(); n > 0 {
		parts = append(parts, wording.Count(n, "archive file"))
	}
	how := "not available from the exchange yet"
	if len(parts) > 0 {
		how = strings.Join(parts, ", ") + ", " + p.DurationText()
	}
	return fmt.Sprintf("%s missing: %s", wording.Count(p.Missing(), "trade"), how)
}

// DurationText returns the estimated Duration for people: "about 3 minutes".
func (p Plan) DurationText() string {
	switch d := p.Duration(); {
	case d < 10*time.Second:
		return "a few seconds"
	case d < 2*time.Minute:
		return fmt.Sprintf("about %.0f seconds", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("about %.0f minutes", math.Ceil(d.Minutes()))
	default:
		return fmt.Sprintf("about %.1f hours", d.Hours())
	}
}

func (p Plan) sum(of func(SymbolPlan) int64) (sum int64) {
	for _, symbol := range p.Symbols {
		sum += of(symbol)
	}
	return sum
}

// pageWeight returns the weight of one page of a feed.
func pageWeight(feed tape.Feed) int64 {
	if feed == tape.RawTrade {
		return binance.HistoricalTradesWeight
	}
	return binance.AggTradesWeight
}

// Prepare works out what is missing and how to fetch it. It fetches no trades except single ones at
// the edges of the window and of days.
func Prepare(ctx context.Context, dir *tape.Dir, clients Clients, opt Options) (Plan, error) {
	opt = opt.withDefaults()
	plan := Plan{Feed: dir.Feed(), Window: opt.Window}
	if opt.Window != (window.Window{}) {
		if opt.Window.IsEmpty() {
			return Plan{}, fmt.Errorf("the window %s is empty", formatWindow(opt.Window))
		}
		var err error
		if plan.Clock, plan.Answerable, plan.Asked, err = readClock(ctx, clients.REST, opt); err != nil {
			return Plan{}, err
		}
		opt.Window = plan.Answerable
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return Plan{}, fmt.Errorf("read which ids are on the tape: %w", err)
	}
	absent, err := dir.Absent()
	if err != nil {
		return Plan{}, fmt.Errorf("read which ids are absent: %w", err)
	}
	dropped, err := dir.Dropped()
	if err != nil {
		return Plan{}, fmt.Errorf("read which ids were dropped: %w", err)
	}
	if err := reportNotSymbols(dir, index, opt); err != nil {
		return Plan{}, err
	}
	names, asked, err := resolveSymbols(ctx, dir, clients.REST, opt, index.Names())
	if err != nil {
		return Plan{}, err
	}
	state, err := clients.REST.Budget().State()
	if err != nil {
		return Plan{}, err
	}
	plan.index, plan.Broken = index, index.Broken()
	plan.findFuture(opt, names)
	plan.Symbols, plan.Asked = make([]SymbolPlan, len(names)), plan.Asked.Plus(asked)
	plan.PerMinute = state.WeightPerMinute()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(opt.Parallel)
	for i, name := range names {
		p := &planner{
			feed: dir.Feed(), index: index, perMinute: plan.PerMinute, Clients: clients, Options: opt,
			unreadable: forbiddenDates(plan.Broken), SymbolPlan: SymbolPlan{Symbol: name, absent: absent[name.String()], dropped: dropped[name.String()]},
		}
		group.Go(func() error {
			err := p.run(groupCtx)
			if errors.Is(err, binance.ErrUnknownSymbol) { // it is on the tape and was delisted
				opt.Logger.Warn("the exchange no longer lists the symbol", "symbol", name, "error", err)
				p.Problem, p.Answer, err = err, Answer{}, nil
			}
			if err != nil {
				return fmt.Errorf("plan %q: %w", name, err)
			}
			plan.Symbols[i] = p.SymbolPlan
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

// forbiddenDates returns the dates of the files that this user may not read.
func forbiddenDates(broken []tape.BrokenSegment) (dates []string) {
	for _, b := range broken {
		if b.IsForbidden() {
			dates = append(dates, strings.TrimPrefix(path.Base(path.Dir(b.Path)), "date="))
		}
	}
	return dates
}

// findFuture sets Future and Latest.
func (p *Plan) findFuture(opt Options, names []symbol.Name) {
	if opt.Latest.IsZero() {
		return
	}
	p.Latest = slices.MaxFunc([]time.Time{opt.Latest, p.Clock.Exchange}, time.Time.Compare)
	p.Future = slices.DeleteFunc(p.index.Future(p.Latest), func(f tape.Future) bool {
		return !slices.ContainsFunc(names, func(name symbol.Name) bool { return name.String() == f.Symbol })
	})
}

// pagesOf returns the fewest requests that cover ids. Each starts at the first id that is not
// covered yet, and may return ids that are not wanted.
func pagesOf(ids idset.Set) []Page {
	var pages []Page
	next := int64(-1) // the first id that no page covers
	for _, r := range ids {
		if n := len(pages); n > 0 && r.First < next { // the previous page covers some of it
			pages[n-1].Limit = int(min(r.Last, next-1)-pages[n-1].First) + 1
		}
		for first := max(r.First, next); first <= r.Last; first += binance.PageLimit {
			pages = append(pages, Page{First: first, Limit: int(min(r.Last-first+1, binance.PageLimit))})
			next = first + binance.PageLimit
		}
	}
	return pages
}
