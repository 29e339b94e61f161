package backfill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/ingest"
	"tapedeck/internal/tape"
)

const (
	// pagesPerPiece is how many pages are published at once: 100,000 rows, some seconds' worth of the budget.
	pagesPerPiece = 100
	// proofs is in how many different requests an id must not be there, though both its neighbours are, to be absent.
	proofs = 2
)

// before is how far before a hole each further request for it begins, so that no two are the same and each shows its lower bound.
var before = [...]int64{1, 500, 100, 250}

// fetchedPiece is some pages and what they brought; err is why not all of them were had.
type fetchedPiece struct {
	pages []Page
	got   []pageResult
	err   error
}

// next is the first id that the exchange has after a hole that at least two of the answers looked into and found nothing; 0 where there is no such hole. The
// pages before it are not worth asking for: who has changed the exchange has millions of ids between those of the two. What they should have had is looked at
// more closely in the end, like all that was not in the answers.
func (p fetchedPiece) next() int64 {
	seen := map[int64]bool{}
	next := int64(0)
	for i, got := range p.got {
		if got.whole && got.first > p.pages[i].last() {
			if seen[got.first] {
				next = max(next, got.first)
			}
			seen[got.first] = true
		}
	}
	return next
}

// pages fetches ids by REST, a piece at a time, and then looks into what was not in the answers. While a piece is published the next one is
// fetched, so that nothing of the budget is left unused.
func (s *symbolRun) pages(ctx context.Context, wanted idset.Set) error {
	fetchCtx, stop := context.WithCancel(ctx)
	pieces := make(chan fetchedPiece)
	go func() {
		defer close(pieces)
		for left := pagesOf(wanted); len(left) > 0; {
			piece := s.fetch(fetchCtx, left[:min(pagesPerPiece, len(left))], wanted)
			pieces <- piece // it is always taken
			if piece.err != nil || fetchCtx.Err() != nil {
				return
			}
			left = left[len(piece.pages):]
			if next := piece.next(); next > 0 {
				left = slices.DeleteFunc(slices.Clone(left), func(page Page) bool { return page.last() < next })
			}
		}
	}()
	defer func() {
		stop()
		for piece := range pieces { // until the goroutine has ended
			for _, got := range piece.got {
				s.out.Cost = s.out.Cost.Plus(got.cost)
			}
		}
	}()
	for piece := range pieces {
		if err := s.take(ctx, piece); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.lookCloser(ctx, wanted)
}

// fetch asks for some pages, as many at once as there may be.
func (s *symbolRun) fetch(ctx context.Context, pages []Page, wanted idset.Set) fetchedPiece {
	got := make([]pageResult, len(pages))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, page := range pages {
		release, err := acquire(groupCtx, s.requests)
		if err != nil {
			break // the cause is group's or ctx's error
		}
		group.Go(func() error {
			defer release()
			var err error
			got[i], err = s.page(groupCtx, page.First, page.Limit, wanted)
			return err
		})
	}
	return fetchedPiece{pages, got, group.Wait()}
}

// take publishes a piece.
func (s *symbolRun) take(ctx context.Context, piece fetchedPiece) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var trades []tape.Trade
	var inexact int64
	for i, got := range piece.got {
		trades = append(trades, got.trades...)
		inexact += got.inexact
		s.book(piece.pages[i].First, got)
	}
	if err := s.publish(ctx, trades, inexact, tape.FromREST, ""); err != nil {
		return err
	}
	return piece.err
}

// lookCloser asks again for what the answers lacked: from other ids, for that an answer begins later than it should, or ends early, has
// been seen and proves nothing. What two answers show not to exist is recorded as absent.
func (s *symbolRun) lookCloser(ctx context.Context, wanted idset.Set) error {
	for _, back := range before {
		if err := s.recordAbsent(); err != nil {
			return err
		}
		holes := s.out.StillMissing.Intersect(wanted)
		for done := int64(-1); len(holes) > 0; {
			hole := holes[0]
			if hole.Last <= done {
				holes = holes[1:] // the answer before showed it, one way or the other
				continue
			}
			first := s.anchor(max(hole.First, done+1), back)
			release, err := acquire(ctx, s.requests)
			if err != nil {
				return err
			}
			got, err := s.page(ctx, first, binance.PageLimit, wanted)
			release()
			s.book(first, got)
			if err != nil {
				return err
			}
			if err := s.publish(ctx, got.trades, got.inexact, tape.FromREST, ""); err != nil {
				return err
			}
			if got.last <= max(hole.First, done) {
				holes = holes[1:] // it does not lead any further
			}
			done = max(done, got.last)
		}
	}
	if err := s.recordAbsent(); err != nil {
		return err
	}
	if holes := s.out.StillMissing.Intersect(wanted); len(holes) > 0 {
		s.out.Problem = fmt.Errorf("the exchange does not show ids %d to %d, which does not prove that it does not have them", holes[0].First, holes[len(holes)-1].Last)
		s.opt.Logger.Warn("the exchange does not show these ids, which proves nothing", "symbol", s.plan.Symbol, "ids", holes.Count(), "first_id", holes[0].First, "last_id", holes[len(holes)-1].Last)
	}
	return nil
}

// anchor gives the id from which to ask for a hole so that the answer shows an id before it: back before the last one that is not
// known to be absent, and not one that was asked from already.
func (s *symbolRun) anchor(first, back int64) int64 {
	at := first - 1
	for _, span := range slices.Backward(s.plan.absent.Union(s.absent)) {
		if span.First <= at && at <= span.Last {
			at = span.First - 1
		}
	}
	for at -= back - 1; s.askedFrom[at] && at > 0; at-- {
	}
	return max(at, 0)
}

// book takes what an answer cost and what it showed not to be there.
func (s *symbolRun) book(first int64, got pageResult) {
	s.out.Cost = s.out.Cost.Plus(got.cost)
	if !got.whole {
		return
	}
	s.askedFrom[first] = true
	for n := proofs - 1; n > 0; n-- {
		s.notThere[n] = s.notThere[n].Union(s.notThere[n-1].Intersect(got.notThere))
	}
	s.notThere[0] = s.notThere[0].Union(got.notThere)
}

// recordAbsent writes down what enough answers showed not to exist.
func (s *symbolRun) recordAbsent() error {
	absent := s.notThere[proofs-1].Intersect(s.out.StillMissing)
	if len(absent) == 0 {
		return nil
	}
	if err := s.dir.RecordAbsent(s.plan.Symbol, absent, s.opt.Now); err != nil {
		return fmt.Errorf("record absent ids: %w", err)
	}
	s.opt.Logger.Warn("the exchange does not have these ids", "symbol", s.plan.Symbol, "ids", absent.Count(), "first_id", absent[0].First, "last_id", absent[len(absent)-1].Last)
	s.absent = s.absent.Union(absent)
	s.out.Absent += absent.Count()
	s.settled(absent)
	return nil
}

// pageResult is what one answer brought.
type pageResult struct {
	trades   []tape.Trade // in ascending order, only wanted ones
	inexact  int64
	notThere idset.Set // wanted ids that it shows not to be trades
	first    int64     // the smallest id in it, more than any for none
	last     int64     // the greatest id in it, -1 for none
	whole    bool      // it was no error
	cost     binance.Cost
}

// page makes one request.
func (s *symbolRun) page(ctx context.Context, first int64, limit int, wanted idset.Set) (pageResult, error) {
	got, err := s.ask(ctx, first, limit)
	out := pageResult{cost: got.Cost, first: math.MaxInt64, last: -1}
	if err != nil {
		return out, err
	}
	for i := range got.Rows {
		row := &got.Rows[i]
		out.first, out.last = min(out.first, row.ID), row.ID
		if !wanted.Contains(row.ID) {
			continue
		}
		trade, inexact, err := ingest.FromRow(s.plan.Symbol, row)
		if err != nil {
			return out, fmt.Errorf("REST: id %d: %w", row.ID, err)
		}
		out.trades = append(out.trades, trade)
		out.inexact += inexact.Count()
	}
	for _, id := range got.Voided {
		out.first, out.last = min(out.first, id), max(out.last, id)
	}
	out.notThere = notThere(got).Intersect(wanted)
	out.whole = true
	return out, nil
}

// ask makes one request of the tape's feed.
func (s *symbolRun) ask(ctx context.Context, first int64, limit int) (binance.Page, error) {
	if s.dir.Feed() == tape.RawTrade {
		page, err := s.clients.REST.HistoricalTrades(ctx, s.plan.Symbol, first, limit)
		var status *binance.StatusError
		if errors.As(err, &status) && status.Status == http.StatusNotFound {
			return page, fmt.Errorf("%w (https://api.binance.com has it, https://data-api.binance.vision does not)", err)
		}
		return page, err
	}
	return s.clients.REST.AggTrades(ctx, s.plan.Symbol, first, limit)
}

// notThere gives the ids that a page shows not to be trades: those between ids that it has, and those that the exchange has voided.
func notThere(page binance.Page) idset.Set {
	var there, shown idset.Set
	for i := range page.Rows {
		there = there.Add(idset.Range{First: page.Rows[i].ID, Last: page.Rows[i].ID})
	}
	shown = there
	for _, id := range page.Voided {
		shown = shown.Add(idset.Range{First: id, Last: id})
	}
	if len(shown) == 0 {
		return nil
	}
	return there.Missing(shown[0].First, shown[len(shown)-1].Last)
}
