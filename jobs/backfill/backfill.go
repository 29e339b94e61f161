// Package backfill puts on the tape what it lacks: it works out which ids a window asks for, takes off those that are there, and gets the
// others from the exchange's REST endpoints, or whole past days from its archive where that is quicker.
//
// The guarantee: only ids that were missing are asked for, what was got is published in pieces that are each whole, and a run
// that was ended at any point goes on from there when it is started again. An id is given up as absent only after the
// exchange was asked twice, in different requests, and both times showed the ids on both sides of it and not the id itself.
package backfill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

// Source says where trades are to come from.
type Source string

const (
	Auto        Source = "auto"    // the archive for past days where that is quicker, REST for the rest and for what the archive lacks
	RESTOnly    Source = "rest"    // nothing but REST
	ArchiveOnly Source = "archive" // nothing but the archive; REST is only asked which ids a day has
)

// Clients are the exchange. Without an Archive everything comes by REST.
type Clients struct {
	REST    *binance.REST
	Archive *binance.Archive
}

// Options are a backfill's settings.
type Options struct {
	// From and To bound the window [From, To). Both zero: the gaps inside what the tape has.
	From, To time.Time
	// Symbols are names or patterns with *; none means those on the tape.
	Symbols []string
	// Source is Auto where empty.
	Source Source
	// Now says which days are past, and when an id was found absent.
	Now time.Time
	// Run is the id of the run, for the segments' metadata.
	Run string
	// Parallel is how many requests may be under way at once; 0 means 8.
	Parallel int
	// Logger hears of what is late or lost; nil means silence.
	Logger *slog.Logger
	// Progress hears how far it is; nil means nobody.
	Progress Progress
}

// Progress hears how far a backfill is. Its methods are called from several goroutines at once and must not block.
type Progress interface {
	// Planned comes once, before anything is fetched.
	Planned(plan Plan)
	// Advanced says how many of a symbol's missing ids are settled: published or found absent.
	Advanced(symbol string, settled, of int64)
	// Finished comes once for every symbol that anything was missing of.
	Finished(summary SymbolSummary)
}

func (o Options) withDefaults() Options {
	if o.Source == "" {
		o.Source = Auto
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	return o
}

type silent struct{}

func (silent) Planned(Plan)                  {}
func (silent) Advanced(string, int64, int64) {}
func (silent) Finished(SymbolSummary)        {}

// SymbolSummary is what a backfill did for one symbol.
type SymbolSummary struct {
	Symbol string
	// Missing is how many ids were missing, those known to be absent not counted.
	Missing int64
	// Fetched is how many trades were put on the tape, FromArchive how many of them came from the archive.
	Fetched, FromArchive int64
	// Bytes of the new segments, and values in them whose double does not print back as the exchange's decimal.
	Bytes, Inexact int64
	// Absent is how many ids were found not to exist at the exchange.
	Absent int64
	// StillMissing are the ids that could not be had this time.
	StillMissing idset.Set
	// Cost is what was asked of REST, Days how many files of the archive were used.
	Cost binance.Cost
	Days int
	// Problem is why ids are still missing; it is worth trying again later. Nil where nothing went wrong.
	Problem error
}

// Summary is what a backfill did.
type Summary struct {
	Plan    Plan
	Symbols []SymbolSummary // in the plan's order, those of which something was missing
}

// Total adds the symbols up; its Symbol and Problem are empty and StillMissing has no meaning but its Count.
func (s Summary) Total() SymbolSummary {
	total := SymbolSummary{Cost: s.Plan.Asked}
	lacking := int64(0)
	for _, symbol := range s.Symbols {
		total.Missing += symbol.Missing
		total.Fetched += symbol.Fetched
		total.FromArchive += symbol.FromArchive
		total.Bytes += symbol.Bytes
		total.Inexact += symbol.Inexact
		total.Absent += symbol.Absent
		total.Cost = total.Cost.Plus(symbol.Cost)
		total.Days += symbol.Days
		lacking += symbol.StillMissing.Count()
	}
	if lacking > 0 {
		total.StillMissing = idset.Set{{First: 1, Last: lacking}}
	}
	return total
}

// Complete says that nothing that exists is still missing.
func (s Summary) Complete() bool { return s.Total().StillMissing.Count() == 0 }

// Run fetches what is missing. What could not be had for a reason that passes stands in the summary and is no error;
// an error means that it was stopped: the context, a full disk, a symbol that does not exist, an answer that is no answer. The summary
// is right also beside an error.
func Run(ctx context.Context, dir *tape.Dir, clients Clients, opt Options) (Summary, error) {
	opt = opt.withDefaults()
	plan, err := Prepare(ctx, dir, clients, opt)
	if err != nil {
		return Summary{}, err
	}
	return Execute(ctx, dir, clients, plan, opt)
}

// Execute fetches what a plan says.
func Execute(ctx context.Context, dir *tape.Dir, clients Clients, plan Plan, opt Options) (Summary, error) {
	opt = opt.withDefaults()
	opt.Progress.Planned(plan)
	r := &runner{dir: dir, clients: clients, opt: opt, requests: make(chan struct{}, opt.Parallel), files: make(chan struct{}, parallelFiles)}
	summary := Summary{Plan: plan}
	for _, symbol := range plan.Symbols {
		if symbol.lacks() {
			summary.Symbols = append(summary.Symbols, SymbolSummary{Symbol: symbol.Symbol, Missing: symbol.Missing.Count(), StillMissing: symbol.Missing, Problem: symbol.Problem})
			if err := addPending(dir, symbol.Symbol); err != nil {
				return summary, fmt.Errorf("write down what is to be fetched: %w", err)
			}
		}
	}
	// As many symbols as requests: one symbol alone can have all of them.
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(opt.Parallel)
	at := 0
	for _, symbol := range plan.Symbols {
		if !symbol.lacks() {
			continue
		}
		worker := &symbolRun{runner: r, plan: symbol, out: &summary.Symbols[at]}
		at++
		group.Go(func() error {
			err := worker.run(groupCtx)
			opt.Progress.Finished(*worker.out)
			if err != nil {
				return fmt.Errorf("backfill %q: %w", symbol.Symbol, err)
			}
			return removePending(dir, symbol.Symbol)
		})
	}
	err := group.Wait()
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	return summary, err
}

// parallelFiles is how many files of the archive are worked on at once: each takes a core and some tens of megabytes.
const parallelFiles = 2

// runner is what the symbols of a run share.
type runner struct {
	dir             *tape.Dir
	clients         Clients
	opt             Options
	requests, files chan struct{} // as many as may be under way
}

// acquire blocks until one of the slots is free. The caller calls release.
func acquire(ctx context.Context, slots chan struct{}) (release func(), err error) {
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// symbolRun is the work on one symbol. Its out is written by one goroutine.
type symbolRun struct {
	*runner
	plan           SymbolPlan
	out            *SymbolSummary
	tried          map[time.Time]bool // days whose file was looked at
	archiveProblem error              // why a file did not have what it should have had; not a problem if REST has it

	askedFrom map[int64]bool    // the ids from which REST was asked
	notThere  [proofs]idset.Set // at n: ids that n+1 answers showed not to be there
	absent    idset.Set         // found so in this run
}

func (s *symbolRun) run(ctx context.Context) error {
	s.tried, s.askedFrom = map[time.Time]bool{}, map[int64]bool{}
	defer func() {
		if s.out.Problem == nil && len(s.out.StillMissing) > 0 {
			s.out.Problem = s.archiveProblem
		}
	}()
	for _, day := range s.plan.Days {
		if err := s.fetchDay(ctx, day); err != nil {
			return err
		}
	}
	if s.opt.Source == ArchiveOnly {
		return nil
	}
	if err := s.pages(ctx, s.out.StillMissing); err != nil {
		if ctx.Err() == nil && passes(err) {
			s.opt.Logger.Warn("backfill not finished", "symbol", s.plan.Symbol, "missing", s.out.StillMissing.Count(), "error", err)
			s.out.Problem = err
			return nil
		}
		return err
	}
	// What REST does not show and could not be proven absent may be older than REST reaches.
	for _, day := range s.untriedDays() {
		if err := s.fetchDay(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

// passes says whether an error is one symbol's alone and no reason to stop the others: it may be gone later, or the symbol is.
func passes(err error) bool {
	return binance.Temporary(err) || errors.Is(err, binance.ErrUnknownSymbol)
}

// settled takes published or absent ids off what is missing.
func (s *symbolRun) settled(ids idset.Set) {
	s.out.StillMissing = s.out.StillMissing.Subtract(ids)
	s.opt.Progress.Advanced(s.plan.Symbol, s.out.Missing-s.out.StillMissing.Count(), s.out.Missing)
}

// publish puts trades on the tape and books them.
func (s *symbolRun) publish(ctx context.Context, trades []tape.Trade, inexact int64, source tape.Source, detail string) error {
	if len(trades) == 0 {
		return nil
	}
	published, err := s.dir.Publish(ctx, trades, tape.Origin{Source: source, Run: s.opt.Run, Detail: detail, Inexact: inexact})
	return s.recordPublished(published, inexact, source, idsOf(trades), err)
}

// recordPublished books what a publishing call did with ids.
func (s *symbolRun) recordPublished(published tape.Published, inexact int64, source tape.Source, ids idset.Set, err error) error {
	s.out.Fetched += published.Rows
	s.out.Bytes += published.Bytes
	if source == tape.FromArchive {
		s.out.FromArchive += published.Rows
	}
	if err != nil {
		return err
	}
	s.out.Inexact += inexact
	if inexact > 0 {
		s.opt.Logger.Warn("values are not exact as doubles", "symbol", s.plan.Symbol, "values", inexact)
	}
	s.settled(ids)
	return nil
}

// idsOf returns the ids of sorted trades of one symbol.
func idsOf(trades []tape.Trade) idset.Set {
	var ids idset.Set
	for i := range trades {
		ids.Append(trades[i].ID)
	}
	return ids
}
