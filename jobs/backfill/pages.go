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
	// pagesPerPiece is how many pages are published together: 100,000 rows, a few seconds of the
	// budget.
	pagesPerPiece = 100
	// proofs is how many different requests must lack an id and have both its neighbours before it
	// is absent.
	proofs = 2
)

// retryOffsets is how many ids before a gap each further request for it starts: less than
// binance.PageLimit, so that the answer can reach past the gap. They differ so that
// the requests do, and are at least 1 so that each answer shows the gap's lower bound.
var retryOffsets = [...]int64{1, 500, 100, 250}

// piece is some pages and their answers. err is why some answers are missing.
type piece struct {
	pages   []Page
	answers []answer
	err     error
}

// skipTo returns the first id after a gap that at least two answers of the piece found to have no
// ids, or 0 if there is no such gap. Pages before it need no request: after the exchange was
// replaced, for example by a stand-in with other ids, a gap may have millions of ids. The ids of
// skipped pages are among those that fetchRest checks.
func (p piece) skipTo() int64 {
	firsts := map[int64]bool{}
	skip := int64(0)
	for i, a := range p.answers {
		if a.ok && a.first > p.pages[i].last() {
			if firsts[a.first] {
				skip = max(skip, a.first)
			}
			firsts[a.first] = true
		}
	}
	return skip
}

// fetchPages fetches ids by REST, one piece at a time, and then checks those that no answer had. It
// fetches the next piece while one is being published, so that the whole budget is used.
func (s *symbolRun) fetchPages(ctx context.Context, wanted idset.Set) error {
	fetchCtx, stop := context.WithCancel(ctx)
	pieces := make(chan piece)
	go func() {
		defer close(pieces)
		for left := pagesOf(withOverlap(wanted, s.onTape)); len(left) > 0; {
			p := s.fetchPiece(fetchCtx, left[:min(pagesPerPiece, len(left))], wanted)
			pieces <- p // the receiver takes all pieces
			if p.err != nil || fetchCtx.Err() != nil {
				return
			}
			left = left[len(p.pages):]
			if skip := p.skipTo(); skip > 0 {
				left = slices.DeleteFunc(slices.Clone(left), func(page Page) bool { return page.last() < skip })
			}
		}
	}()
	defer func() {
		stop()
		for p := range pieces { // until the goroutine has ended
			for _, a := range p.answers {
				s.out.Cost = s.out.Cost.Plus(a.cost)
			}
		}
	}()
	for p := range pieces {
		if err := s.publishPiece(ctx, p); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.fetchRest(ctx, wanted)
}

// fetchPiece requests some pages, as many concurrently as permitted.
func (s *symbolRun) fetchPiece(ctx context.Context, pages []Page, wanted idset.Set) piece {
	answers := make([]answer, len(pages))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, page := range pages {
		if s.requests.Acquire(groupCtx, 1) != nil {
			break // the error is that of the group or of ctx
		}
		group.Go(func() error {
			defer s.requests.Release(1)
			var err error
			answers[i], err = s.request(groupCtx, page.First, page.Limit, wanted)
			return err
		})
	}
	return piece{pages, answers, group.Wait()}
}

func (s *symbolRun) publishPiece(ctx context.Context, p piece) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var trades []tape.Trade
	var inexact int64
	for i, a := range p.answers {
		trades = append(trades, a.trades...)
		inexact += a.inexact
		s.record(p.pages[i].First, a)
	}
	if err := s.publishPages(ctx, trades, inexact); err != nil {
		return err
	}
	return p.err
}

// fetchRest requests again what no answer had. It starts from other ids, because a single answer
// proves nothing: answers that start too late or end too early do occur. Ids that two answers show
// not to exist are recorded as absent.
func (s *symbolRun) fetchRest(ctx context.Context, wanted idset.Set) error {
	for _, offset := range retryOffsets {
		if err := s.recordAbsent(); err != nil {
			return err
		}
		gaps := s.out.StillMissing.Intersect(wanted)
		for done := int64(-1); len(gaps) > 0; {
			gap := gaps[0]
			if gap.Last <= done {
				gaps = gaps[1:] // the previous answer covered it
				continue
			}
			first := s.startBefore(max(gap.First, done+1), offset)
			if err := s.requests.Acquire(ctx, 1); err != nil {
				return err
			}
			got, err := s.request(ctx, first, binance.PageLimit, wanted)
			s.requests.Release(1)
			s.record(first, got)
			if err != nil {
				return err
			}
			if err := s.publishPages(ctx, got.trades, got.inexact); err != nil {
				return err
			}
			if got.last <= max(gap.First, done) {
				gaps = gaps[1:] // asking on would not advance
			}
			done = max(done, got.last)
		}
	}
	if err := s.recordAbsent(); err != nil {
		return err
	}
	if gaps := s.out.StillMissing.Intersect(wanted); len(gaps) > 0 {
		s.out.Problem = fmt.Errorf("the exchange does not return ids %d to %d, which may exist all the same",
			gaps[0].First, gaps[len(gaps)-1].Last)
		s.warnIDs(gaps, "ids are missing from the exchange's answers, not proven absent")
	}
	return nil
}

// startBefore returns the id from which to request the ids from first on, so that the answer has an
// id before them: offset ids before the last one that may exist, or less to avoid repeating a
// request.
func (s *symbolRun) startBefore(first, offset int64) int64 {
	at := first - 1
	for _, r := range slices.Backward(s.absent.Union(s.out.absent)) {
		if r.First <= at && at <= r.Last {
			at = r.First - 1
		}
	}
	for at -= offset - 1; s.askedFrom[at] && at > 0; at-- {
	}
	return max(at, 0)
}

// record adds up what an answer cost, and the ids that it shows not to exist.
func (s *symbolRun) record(first int64, a answer) {
	s.out.Cost = s.out.Cost.Plus(a.cost)
	if !a.ok {
		return
	}
	s.askedFrom[first] = true
	for n := proofs - 1; n > 0; n-- {
		s.notShown[n] = s.notShown[n].Union(s.notShown[n-1].Intersect(a.notShown))
	}
	s.notShown[0] = s.notShown[0].Union(a.notShown)
}

// recordAbsent records the ids that enough answers show not to exist.
func (s *symbolRun) recordAbsent() error {
	absent := s.notShown[proofs-1].Intersect(s.out.StillMissing)
	if len(absent) == 0 {
		return nil
	}
	if err := s.dir.RecordAbsent(s.Symbol.String(), absent, s.Now); err != nil {
		return fmt.Errorf("record absent ids: %w", err)
	}
	s.warnIDs(absent, "the exchange does not have these ids")
	s.out.absent = s.out.absent.Union(absent)
	s.out.Absent += absent.Count()
	s.markDone(absent)
	return nil
}

// warnIDs logs a warning about ids.
func (s *symbolRun) warnIDs(ids idset.Set, text string, args ...any) {
	s.Logger.With("symbol", s.Symbol).With(args...).Warn(text, "ids", ids.Count(), "first_id", ids[0].First,
		"last_id", ids[len(ids)-1].Last)
}

// answer is the exchange's answer to one request.
type answer struct {
	trades   []tape.Trade // the wanted ones and those to compare with the tape, sorted by id
	inexact  int64
	notShown idset.Set // wanted ids between those in the answer that are not trades
	first    int64     // the smallest id in it; math.MaxInt64 if it is empty
	last     int64     // the greatest id in it; -1 if it is empty
	ok       bool      // the request succeeded
	cost     binance.Cost
}

// request makes one request.
func (s *symbolRun) request(ctx context.Context, first int64, limit int, wanted idset.Set) (answer, error) {
	page, err := s.page(ctx, first, limit)
	out := answer{cost: page.Cost, first: math.MaxInt64, last: -1}
	if err != nil {
		return out, err
	}
	for i := range page.Rows {
		row := &page.Rows[i]
		out.first, out.last = min(out.first, row.ID), row.ID
		missing := wanted.Contains(row.ID)
		if !missing && !s.onTape.Contains(row.ID) {
			continue
		}
		trade, inexact, err := ingest.FromRow(s.Symbol, row)
		if err != nil {
			return out, fmt.Errorf("REST: id %d: %w", row.ID, err)
		}
		out.trades = append(out.trades, trade)
		if missing {
			out.inexact += inexact.Count()
		}
	}
	for _, id := range page.Voided {
		out.first, out.last = min(out.first, id), max(out.last, id)
	}
	out.notShown = notShown(page).Intersect(wanted)
	out.ok = true
	return out, nil
}

// page requests a page of the tape's feed.
func (s *symbolRun) page(ctx context.Context, first int64, limit int) (binance.Page, error) {
	if s.dir.Feed() != tape.RawTrade {
		return s.REST.AggTrades(ctx, s.Symbol, first, limit)
	}
	page, err := s.REST.HistoricalTrades(ctx, s.Symbol, first, limit)
	var status *binance.StatusError
	if errors.As(err, &status) && status.Status == http.StatusNotFound {
		err = fmt.Errorf("%w (%s has the history of raw trades, %s does not)", err, DefaultRawTradesURL, DefaultRESTURL)
	}
	return page, err
}

// notShown returns the ids between the first and the last id of a page that are not trades, those
// that the exchange has voided among them.
func notShown(page binance.Page) idset.Set {
	var trades idset.Set
	for i := range page.Rows {
		trades.Append(page.Rows[i].ID)
	}
	shown := trades
	for _, id := range page.Voided {
		shown = shown.Add(idset.Range{First: id, Last: id})
	}
	if len(shown) == 0 {
		return nil
	}
	return trades.Missing(shown[0].First, shown[len(shown)-1].Last)
}
