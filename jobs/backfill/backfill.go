// Package backfill fetches the trades that the tape lacks. It works out which ids a window needs,
// subtracts those that are on the tape, and gets the rest from the exchange's REST endpoints, or
// whole past days from its archive if that is faster.
//
// Its guarantee: only missing ids are requested, each published piece is complete, and a run that
// was stopped at any point continues from there when it is started again. An id is recorded as
// absent only after two different requests returned the ids on both sides of it and not the id
// itself. docs/BINANCE.md describes the endpoints and the archive.
package backfill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/progress"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// Source says where trades may come from.
type Source string

// The sources.
const (
	Auto        Source = "auto"    // the archive for past days if it is faster, REST for everything else
	RESTOnly    Source = "rest"    // only REST
	ArchiveOnly Source = "archive" // only the archive; REST is asked which ids a day has
)

// Clients are the connections to the exchange. If Archive is nil, everything comes from REST.
type Clients struct {
	REST    *binance.REST
	Archive *binance.Archive
}

// Options are the settings of a backfill.
type Options struct {
	// Window is the time whose trades are fetched. If it is the zero value, the gaps inside the
	// tape are filled.
	Window window.Window
	// Symbols chooses what to fetch. An empty list means the symbols on the tape, or DefaultSymbols if
	// the tape is empty, and those that an earlier run has started and not finished.
	Symbols        binance.SymbolList
	DefaultSymbols []symbol.Name
	// Source is Auto if empty.
	Source Source
	// Now decides which days are past, and is recorded as the time at which ids were found absent.
	Now time.Time
	// Latest is the latest time that a clock shows; zero if no trade is to count as one of the future.
	Latest time.Time
	// Run is the id of the run; it is written to the metadata of the segments.
	Run string
	// RestoreDropped makes the run fetch ids too that were dropped from the tape on purpose.
	RestoreDropped bool
	// Parallel limits concurrent requests; 0 means 8.
	Parallel int
	// Logger receives what is late or lost; nil means none.
	Logger *slog.Logger
	// Progress shows the missing ids by symbol; nil means nothing is shown.
	Progress progress.Display
}

func (o Options) withDefaults() Options {
	o.Source = cmp.Or(o.Source, Auto)
	o.Parallel = cmp.Or(max(o.Parallel, 0), 8)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Progress == nil {
		o.Progress = progress.None{}
	}
	return o
}

// Execute fetches what a plan of the same options lists. Trades that could not be fetched for a
// temporary reason are in the summary and are not an error. An error means that the run stopped
// early: the context is done, the disk is full, a symbol does not exist, or an answer makes no sense.
// The summary is correct even if there is an error.
func Execute(ctx context.Context, dir *tape.Dir, clients Clients, plan Plan, opt Options) (Summary, error) {
	opt = opt.withDefaults()
	if opt.Window != (window.Window{}) {
		opt.Window = plan.Answerable
	}
	if missing := plan.Missing(); missing > 0 {
		opt.Progress.Line(plan.String())
		opt.Progress.Begin("backfill", missing)
	}
	requests, files := semaphore.NewWeighted(int64(opt.Parallel)), semaphore.NewWeighted(parallelFiles)
	summary := Summary{Plan: plan}
	var plans []SymbolPlan
	for _, symbol := range plan.Symbols {
		if !symbol.hasWork() {
			continue
		}
		plans = append(plans, symbol)
		summary.Symbols = append(summary.Symbols, SymbolSummary{
			Symbol: symbol.Symbol, Missing: symbol.Missing.Count(), StillMissing: symbol.Missing, Problem: symbol.Problem,
			Dropped: symbol.Dropped, Answer: symbol.Answer,
		})
		if err := addPending(dir, symbol.Symbol); err != nil {
			return summary, fmt.Errorf("record the symbol as pending: %w", err)
		}
	}
	// As many symbols as requests, because one symbol alone can use all requests.
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(opt.Parallel)
	for i, symbol := range plans {
		worker := &symbolRun{
			Clients: clients, Options: opt, SymbolPlan: symbol, dir: dir, requests: requests, files: files,
			out: &summary.Symbols[i], tried: map[time.Time]bool{}, archived: map[time.Time]bool{}, firstArchived: -1, askedFrom: map[int64]bool{},
		}
		group.Go(func() error {
			err := worker.run(groupCtx)
			opt.Progress.Line(fmt.Sprintf("%s: %v", symbol.Symbol, *worker.out))
			if worker.out.Problem != nil {
				opt.Progress.Line(fmt.Sprintf("%s: %v", symbol.Symbol, worker.out.Problem))
			}
			if err != nil {
				return fmt.Errorf("backfill %q: %w", symbol.Symbol, err)
			}
			return removePending(dir, symbol.Symbol)
		})
	}
	err := group.Wait()
	if err == nil {
		recordHealed(ctx, dir, plan, opt)
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	return summary, cmp.Or(err, summary.recordAnswers(dir))
}

// recordHealed adds to the recorder's history which of its gaps are closed by now. A failure does not
// make the backfill fail: the next one records it.
func recordHealed(ctx context.Context, dir *tape.Dir, plan Plan, opt Options) {
	err := plan.index.Refresh(ctx)
	if err == nil {
		_, err = dir.RecordHealed(ctx, plan.index, opt.Now, opt.Run)
	}
	if err != nil && ctx.Err() == nil {
		opt.Logger.Warn("the recorder's history does not say which gaps were closed", "error", err)
	}
}

// parallelFiles limits the archive files that are read at the same time. Each uses a core and some
// tens of megabytes.
const parallelFiles = 2

// symbolRun fetches one symbol. Only one goroutine writes out.
type symbolRun struct {
	Clients
	Options
	SymbolPlan
	dir             *tape.Dir
	requests, files *semaphore.Weighted // shared by the symbols of a run
	out             *SymbolSummary
	tried           map[time.Time]bool // days whose archive file was requested
	archived        map[time.Time]bool // days whose archive file was used
	firstArchived   int64              // the smallest id that was taken from one; -1 for none
	archiveProblem  error              // why a file lacks what it should have; not a problem if REST has it

	askedFrom map[int64]bool    // the first ids of the requests to REST
	notShown  [proofs]idset.Set // at i: the ids that i+1 answers showed not to exist
}

func (s *symbolRun) run(ctx context.Context) error {
	defer func() {
		if s.out.Problem == nil && len(s.out.StillMissing) > 0 {
			s.out.Problem = s.archiveProblem
		}
	}()
	var tooMany *tooManyError
	if errors.As(s.Problem, &tooMany) {
		return nil
	}
	for _, day := range s.Days {
		if err := s.fetchDay(ctx, day); err != nil {
			return err
		}
	}
	s.out.Answer.extend(s.archived, s.firstArchived, s.Window)
	if s.Source == ArchiveOnly {
		return nil
	}
	if err := s.fetchPages(ctx, s.out.StillMissing); err != nil {
		if ctx.Err() == nil && onlyThisSymbol(err) {
			s.Logger.Warn("backfill not finished", "symbol", s.Symbol,
				"missing", s.out.StillMissing.Count(), "error", err)
			s.out.Problem = err
			return nil
		}
		return err
	}
	// Ids that REST did not return and that are not proven absent may be older than REST's history.
	for _, day := range s.untriedDays() {
		if err := s.fetchDay(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

// onlyThisSymbol reports whether an error should not stop the other symbols: it is temporary, or
// the symbol was delisted.
func onlyThisSymbol(err error) bool {
	return binance.Temporary(err) || errors.Is(err, binance.ErrUnknownSymbol)
}

// markDone removes ids that were published or found absent from the missing ones.
func (s *symbolRun) markDone(ids idset.Set) {
	s.out.StillMissing = s.out.StillMissing.Subtract(ids)
	s.Progress.Set(s.Symbol.String(), s.out.Missing-s.out.StillMissing.Count())
}

// publishPages publishes trades from REST, sorted by id.
func (s *symbolRun) publishPages(ctx context.Context, trades []tape.Trade, inexact int64) error {
	if len(trades) == 0 {
		return nil
	}
	origin := tape.Origin{Source: tape.FromREST, Run: s.Run, Inexact: inexact, At: s.Now, Restores: s.RestoreDropped}
	published, err := s.dir.Publish(ctx, trades, origin)
	var other *tape.DisagreementError
	if errors.As(err, &other) {
		err = fmt.Errorf("%s: %w", s.REST.URL(), err)
	}
	var ids idset.Set
	for i := range trades {
		ids.Append(trades[i].ID)
	}
	return s.recordPublished(published, inexact, ids, err)
}

// recordPublished adds to the summary what a publishing call did with ids. err is the call's error.
func (s *symbolRun) recordPublished(published tape.Published, inexact int64, ids idset.Set, err error) error {
	s.out.Fetched += published.Rows
	s.out.Bytes += published.Bytes
	s.out.countConflicts(published)
	if err != nil {
		return err
	}
	s.out.Inexact += inexact
	if inexact > 0 {
		s.Logger.Warn("values are not exact as doubles", "symbol", s.Symbol, "values", inexact)
	}
	s.markDone(ids)
	return nil
}
