package detect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/idset"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// progressFile holds judgments. Losing it costs judging the whole tape again, which raises nothing twice.
const progressFile = "detect.json"

// judgments are what was judged.
type judgments struct {
	// Judged is by detector and symbol.
	Judged map[string]map[string]judgment `json:"judged"`
	// Gaps are the gaps of each symbol at the last judgment. What is filled of them is judged again.
	Gaps map[string][]judgedGap `json:"gaps,omitempty"`
}

// judgedGap is a gap in the ids. None of them was traded before After.
type judgedGap struct {
	First int64     `json:"first_id"`
	Last  int64     `json:"last_id"`
	After time.Time `json:"after"`
}

// judgment says that a symbol was judged from From to Until, when the last trade on the tape had the id
// LastID and the time LastAt.
type judgment struct {
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	LastID int64     `json:"last_id"`
	LastAt time.Time `json:"last_at"`
	// KnownUntil is up to when the record of the symbol was known to be complete. From there to Until,
	// nothing that was traded was on the tape, but it might still have arrived.
	KnownUntil time.Time `json:"known_until,omitzero"`
}

// provisionalFrom returns from when on a judgment has to be made again, because the record is by now known
// to be complete up to a later time. ok is false if it has not.
func (j judgment) provisionalFrom(knownUntil time.Time) (from time.Time, ok bool) {
	from = j.KnownUntil
	if from.IsZero() { // recorded by an earlier version
		from = j.LastAt
	}
	from = from.UTC().Truncate(time.Minute)
	return from, from.Before(j.Until) && knownUntil.UTC().Truncate(time.Minute).After(from)
}

const (
	// flushDelay is how far other symbols may be behind the newest trade on the tape. One flush writes
	// trades up to about a second apart, and several connections flush within seconds.
	flushDelay = 10 * time.Second
	// idleAfter is the age of the newest trade from which the tape counts as idle, so that its last minute
	// is judged too.
	idleAfter = 2 * time.Minute
)

// end returns the end of the minutes to judge: those that ended flushDelay before the newest trade on the
// tape, of any symbol. The last trade of the symbol itself does not show where its silence ends. If a
// symbol was further behind, because another process had not flushed or a backfill is not done, its
// trades arrive later with higher ids, and plan judges that time again.
func (r *run) end() time.Time {
	var newest time.Time
	for _, bounds := range r.index.AllBounds() {
		if bounds.LastAt.After(newest) {
			newest = bounds.LastAt
		}
	}
	if newest.IsZero() {
		return newest
	}
	end := newest.Add(-flushDelay).Truncate(time.Minute)
	if r.opt.Now.Sub(newest) >= idleAfter {
		end = newest.Truncate(time.Minute).Add(time.Minute)
	}
	if now := r.opt.Now.UTC().Truncate(time.Minute); end.After(now) {
		if newest.Sub(now) > 2*time.Minute {
			r.opt.Logger.Warn("this machine's clock is behind the newest trade; later minutes are judged when it has passed them",
				"clock", r.opt.Now.UTC(), "newest_trade", newest)
		}
		end = now
	}
	return end
}

// plan sets the windows to judge.
func (r *run) plan(ctx context.Context) error {
	if err := r.dir.State().Read(progressFile, &r.progress); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.opt.Logger.Warn("progress cannot be read; the whole tape is judged again", "error", err.Error())
		r.progress = judgments{}
	}
	if r.progress.Judged == nil {
		r.progress.Judged = map[string]map[string]judgment{}
	}
	end := r.end()
	if end.IsZero() {
		return nil
	}
	late := map[string]time.Time{}
	if r.opt.From.IsZero() {
		var err error
		if late, err = r.lateTrades(ctx); err != nil {
			return err
		}
		r.rollBack(late)
	} else if to := r.opt.To.UTC().Truncate(time.Minute); to.Before(end) {
		end = to
	}
	gaps := r.healableGaps()
	waiting := map[string]Waiting{}
	for _, query := range r.queries {
		windows, waits := map[string]window.Window{}, map[string]window.Window{}
		for symbol, bounds := range r.index.AllBounds() {
			w := window.Window{Start: r.planStart(query, symbol, bounds.FirstAt, late), End: end}
			if gap, around, ok := r.firstGap(query, symbol, w, gaps); ok {
				waits[symbol] = window.Window{Start: latest(w.Start, around.Start), End: w.End}
				w.End = around.Start
				if old, ok := waiting[symbol]; !ok || gap.After.Before(old.Since) {
					of := ""
					if gap.Symbol != symbol {
						of = " of " + gap.Symbol
					}
					reason := fmt.Sprintf("ids %d to %d%s are missing and may still arrive", gap.First, gap.Last, of)
					waiting[symbol] = Waiting{symbol, around.Start, gap, reason}
				}
			}
			if !w.IsEmpty() {
				windows[symbol] = w
				r.judged[symbol] = true
				r.summary.Judged = r.summary.Judged.Hull(w)
			}
		}
		r.windows[query.Name], r.waiting[query.Name] = windows, waits
	}
	for _, symbol := range slices.Sorted(maps.Keys(waiting)) {
		r.summary.Waiting = append(r.summary.Waiting, waiting[symbol])
	}
	return nil
}

// planStart returns from when a detector judges a symbol, whose first trade was at firstAt. late has the
// symbols with late trades.
func (r *run) planStart(query analytics.Query, symbol string, firstAt time.Time, late map[string]time.Time) time.Time {
	start := firstAt.UTC().Truncate(time.Minute)
	if !r.opt.From.IsZero() {
		if from := (window.Window{Start: r.opt.From}).WholeMinutes().Start; from.After(start) {
			return from
		}
		return start
	}
	judged, ok := r.progress.Judged[query.Name][symbol]
	if !ok || start.Before(judged.From) {
		return start
	}
	next := judged.Until
	if at, ok := late[symbol]; ok && at.Before(next) {
		next = at.Truncate(time.Minute)
	}
	if from, ok := judged.provisionalFrom(r.knownUntil(query, symbol)); ok && from.Before(next) {
		next = latest(from, start)
	}
	return latest(next, start)
}

// firstGap returns the first of the gaps, with its minutes, that overlaps with w and that a detector
// needs filled to judge a symbol.
func (r *run) firstGap(query analytics.Query, symbol string, w window.Window, gaps map[string][]tape.Gap) (
	first tape.Gap, minutes window.Window, found bool) {
	for _, leg := range r.legsOf(query, symbol) {
		for _, gap := range gaps[leg] {
			around := window.Minutes(gap.After, gap.Before)
			if w.Overlaps(around) && (!found || around.Start.Before(minutes.Start)) {
				first, minutes, found = gap, around, true
			}
		}
	}
	return first, minutes, found
}

// rollBack makes the time from which a gap was filled since the last run count as not judged. late is as
// from lateTrades: what it is computed from is lost.
func (r *run) rollBack(late map[string]time.Time) {
	filled := map[string]time.Time{}
	for symbol, gaps := range r.progress.Gaps {
		ids := r.index.IDs(symbol)
		for _, gap := range gaps {
			at, ok := filled[symbol]
			if from := gap.After.UTC().Truncate(time.Minute); ids.Overlaps(idset.Range{First: gap.First, Last: gap.Last}) && (!ok || from.Before(at)) {
				filled[symbol] = from
			}
		}
	}
	if len(filled) == 0 {
		return
	}
	for name, symbols := range r.progress.Judged {
		i := slices.IndexFunc(r.queries, func(q analytics.Query) bool { return q.Name == name })
		for symbol, judged := range symbols {
			legs := slices.Collect(maps.Keys(filled)) // of a detector that does not run now, any symbol may be one
			if i >= 0 {
				legs = r.legsOf(r.queries[i], symbol)
			}
			until := judged.Until
			for _, leg := range legs {
				if at, ok := filled[leg]; ok && at.Before(until) {
					until = at
				}
			}
			if at, ok := late[symbol]; ok && at.Before(until) {
				until = at.Truncate(time.Minute)
			}
			judged.Until = until
			symbols[symbol] = judged
		}
	}
}

// presentGaps returns the gaps of all symbols, to remember them.
func (r *run) presentGaps() map[string][]judgedGap {
	out := map[string][]judgedGap{}
	for _, symbol := range r.index.Symbols() {
		for _, gap := range r.index.Gaps(symbol) {
			out[symbol] = append(out[symbol], judgedGap{gap.First, gap.Last, gap.After.UTC()})
		}
	}
	return out
}

// gapReason returns why minutes with a gap are not judged.
func (r *run) gapReason(gap tape.Gap) string {
	ids := idset.Set{{First: gap.First, Last: gap.Last}}
	kept := ids.Subtract(r.dropped[gap.Symbol])
	switch {
	case len(kept.Subtract(r.absent[gap.Symbol])) > 0:
		return state.ReasonWaiting
	case kept.Count() < ids.Count():
		return state.ReasonDropped
	}
	return state.ReasonGap
}

// healableGaps returns the gaps with ids that the exchange is not known to lack and that were not
// dropped on purpose, by symbol.
func (r *run) healableGaps() map[string][]tape.Gap {
	out := map[string][]tape.Gap{}
	for _, symbol := range r.index.Symbols() {
		gone := r.absent[symbol].Union(r.dropped[symbol])
		for _, gap := range r.index.Gaps(symbol) {
			left := idset.Set{{First: gap.First, Last: gap.Last}}.Subtract(gone)
			if len(left) > 0 {
				gap.First, gap.Last = left[0].First, left[len(left)-1].Last
				out[symbol] = append(out[symbol], gap)
			}
		}
	}
	return out
}

// lateTrades returns the symbols with trades that arrived after their minute was judged, and the time of
// the first such trade. A late trade has a higher id than those known then, and a time before the end of
// what was judged.
func (r *run) lateTrades(ctx context.Context) (map[string]time.Time, error) {
	suspects := r.lateSuspects()
	out := map[string]time.Time{}
	if len(suspects) == 0 {
		return out, nil
	}
	var all window.Window
	for _, judged := range suspects {
		all = all.Hull(window.Window{Start: judged.LastAt, End: judged.Until})
	}
	// Usually the index of the segments already shows that the new trades are not late.
	if matching, _ := r.index.SegmentsWhere(all.Start, all.End, func(symbol string, ids tape.IDRun) bool {
		judged, ok := suspects[symbol]
		return ok && ids.Last > judged.LastID && ids.FirstAt < judged.Until.UnixMicro()
	}); len(matching) == 0 {
		return out, nil
	}
	var values []string
	for _, symbol := range slices.Sorted(maps.Keys(suspects)) {
		judged := suspects[symbol]
		values = append(values, fmt.Sprintf("(%s, %d, %s)", analytics.Quote(symbol), judged.LastID, analytics.Timestamp(judged.Until)))
	}
	session, err := analytics.Open(ctx, r.dir, analytics.Options{
		Threads: r.opt.Threads, MemoryLimit: r.opt.MemoryLimit, Index: r.index, Logger: r.opt.Logger,
		From: all.Start, To: all.End, Tables: []tape.Table{tape.Trades},
	})
	if err != nil {
		return nil, err
	}
	defer session.Close()
	result, err := session.SQL(ctx, fmt.Sprintf(`
SELECT symbol, min(traded_at) AS first_at
FROM trades
JOIN (VALUES %s) AS judged(symbol, last_id, until) USING (symbol)
WHERE trades.id > judged.last_id AND trades.traded_at < judged.until
    AND traded_at >= %s AND traded_at < %s
GROUP BY symbol`, strings.Join(values, ", "), analytics.Timestamp(all.Start.Truncate(time.Second)), analytics.Timestamp(all.End)))
	if err != nil {
		return nil, fmt.Errorf("find trades that arrived late: %w", err)
	}
	for _, row := range result.Rows {
		out[row[0].(string)] = row[1].(time.Time)
	}
	return out, nil
}

// lateSuspects returns the symbols that have new trades and were judged beyond their last trade. The
// judgment of each is the most cautious one of all detectors.
func (r *run) lateSuspects() map[string]judgment {
	suspects := map[string]judgment{}
	for _, query := range r.queries {
		for symbol, judged := range r.progress.Judged[query.Name] {
			bounds, ok := r.index.Bounds(symbol)
			if !ok || bounds.LastID <= judged.LastID || !judged.LastAt.Before(judged.Until) {
				continue
			}
			old, ok := suspects[symbol]
			if !ok {
				suspects[symbol] = judged
				continue
			}
			if judged.LastID < old.LastID {
				old.LastID, old.LastAt = judged.LastID, judged.LastAt
			}
			if judged.Until.After(old.Until) {
				old.Until = judged.Until
			}
			suspects[symbol] = old
		}
	}
	return suspects
}

// recordProgress records that detectors judged one day. A run over a given window records nothing.
func (r *run) recordProgress(done []analytics.Query, day window.Window) error {
	if r.opt.DryRun || !r.opt.From.IsZero() {
		return nil
	}
	for _, query := range done {
		symbols := r.progress.Judged[query.Name]
		if symbols == nil {
			symbols = map[string]judgment{}
			r.progress.Judged[query.Name] = symbols
		}
		for symbol, w := range r.windows[query.Name] {
			part := w.Intersect(day)
			bounds, ok := r.index.Bounds(symbol)
			if part.IsEmpty() || !ok {
				continue
			}
			judged := judgment{
				From: bounds.FirstAt.UTC().Truncate(time.Minute), Until: part.End, LastID: bounds.LastID, LastAt: bounds.LastAt.UTC(),
				KnownUntil: r.knownUntil(query, symbol),
			}
			if old, ok := symbols[symbol]; ok && !old.From.After(judged.From) {
				judged.From = old.From
			}
			symbols[symbol] = judged
		}
	}
	r.progress.Gaps = r.presentGaps()
	if err := r.dir.State().Write(progressFile, r.progress); err != nil {
		return fmt.Errorf("record the progress: %w", err)
	}
	return nil
}
