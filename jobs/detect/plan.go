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
	"tapedeck/internal/tape"
)

// window is a half-open time on whole minutes, UTC.
type window struct{ start, end time.Time }

func (w window) empty() bool { return !w.start.Before(w.end) }

func (w window) hull(other window) window {
	switch {
	case other.empty():
		return w
	case w.empty():
		return other
	}
	if other.start.Before(w.start) {
		w.start = other.start
	}
	if other.end.After(w.end) {
		w.end = other.end
	}
	return w
}

func (w window) cut(other window) window {
	if other.start.After(w.start) {
		w.start = other.start
	}
	if other.end.Before(w.end) {
		w.end = other.end
	}
	return w
}

// covers says whether what could be known at an instant, in microseconds, belongs to the window: a bucket ends after the window's start
// and at the latest at its end.
func (w window) covers(at int64) bool {
	return !w.empty() && at > w.start.UnixMicro() && at <= w.end.UnixMicro()
}

// stateName is the state file. Losing it costs judging the whole tape again, which raises nothing twice.
const stateName = "detect.json"

// state is what was judged, by detector and symbol.
type state struct {
	Judged map[string]map[string]judgement `json:"judged"`
}

// judgement says that a symbol was judged from From to Until, when the tape had it up to LastID, traded at LastAt.
type judgement struct {
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	LastID int64     `json:"last_id"`
	LastAt time.Time `json:"last_at"`
}

const (
	// settle is how far behind the newest trade on the tape the other symbols may be: what a flush writes together was traded
	// up to about a second apart, and a stream with several connections flushes within seconds.
	settle = 10 * time.Second
	// atRest is how long the newest trade must be past for the tape to count as at rest, so that its last minute is judged, too.
	atRest = 2 * time.Minute
)

// end is up to where minutes are judged: those that ended before the newest trade on the tape, less settle. That newest trade, of
// whatever symbol, says how far the record goes, for a symbol's own last trade does not tell where its silence ends. If a symbol turns out to
// have been further behind (another process had not flushed, a backfill had not got there), its trades come later with ids
// above those known then, and plan goes back to judge them.
func (r *run) end() time.Time {
	var newest time.Time
	for _, symbol := range r.index.Symbols() {
		if bounds, ok := r.index.Bounds(symbol); ok && bounds.LastAt.After(newest) {
			newest = bounds.LastAt
		}
	}
	if newest.IsZero() {
		return newest
	}
	end := newest.Add(-settle).Truncate(time.Minute)
	if r.opt.Now.Sub(newest) >= atRest {
		end = newest.Truncate(time.Minute).Add(time.Minute)
	}
	if now := r.opt.Now.UTC().Truncate(time.Minute); end.After(now) {
		end = now
	}
	return end
}

// plan works out which time is to be judged, for each detector and symbol.
func (r *run) plan(ctx context.Context) error {
	r.windows = map[string]map[string]window{}
	r.failed, r.judged = map[string]bool{}, map[string]bool{}
	if err := r.dir.ReadState(stateName, &r.state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.opt.Logger.Warn("what was judged before cannot be read, judging the whole tape again", "error", err.Error())
		r.state = state{}
	}
	if r.state.Judged == nil {
		r.state.Judged = map[string]map[string]judgement{}
	}
	end := r.end()
	if end.IsZero() {
		return nil
	}
	late := map[string]time.Time{}
	if r.opt.From.IsZero() {
		var err error
		if late, err = r.late(ctx); err != nil {
			return err
		}
	} else if to := r.opt.To.UTC().Truncate(time.Minute); to.Before(end) {
		end = to
	}
	gaps, err := r.healable()
	if err != nil {
		return err
	}
	waiting := map[string]Waiting{}
	for _, query := range r.queries {
		windows := map[string]window{}
		for _, symbol := range r.index.Symbols() {
			bounds, ok := r.index.Bounds(symbol)
			if !ok {
				continue
			}
			first := bounds.FirstAt.UTC().Truncate(time.Minute)
			w := window{first, end}
			if !r.opt.From.IsZero() {
				if from := r.opt.From.UTC().Add(time.Minute - 1).Truncate(time.Minute); from.After(first) {
					w.start = from
				}
			} else if judged, ok := r.state.Judged[query.Name][symbol]; ok && !first.Before(judged.From) {
				w.start = judged.Until
				if at, ok := late[symbol]; ok && at.Before(w.start) {
					w.start = at.Truncate(time.Minute)
				}
			}
			for _, gap := range gaps[symbol] {
				hole := window{gap.After.UTC().Truncate(time.Minute), gap.Before.UTC().Truncate(time.Minute).Add(time.Minute)}
				if w.cut(hole).empty() {
					continue
				}
				w.end = hole.start
				if old, ok := waiting[symbol]; !ok || gap.After.Before(old.Since) {
					waiting[symbol] = Waiting{symbol, hole.start, gap, fmt.Sprintf("ids %d to %d are missing and may still be had", gap.First, gap.Last)}
				}
				break
			}
			if !w.empty() {
				windows[symbol] = w
				r.judged[symbol] = true
				all := window{r.summary.From, r.summary.To}.hull(w)
				r.summary.From, r.summary.To = all.start, all.end
			}
		}
		r.windows[query.Name] = windows
	}
	for _, symbol := range slices.Sorted(maps.Keys(waiting)) {
		r.summary.Waiting = append(r.summary.Waiting, waiting[symbol])
	}
	return nil
}

// healable gives the gaps with ids that the exchange is not known to lack, by symbol.
func (r *run) healable() (map[string][]tape.Gap, error) {
	absent, err := r.dir.Absent()
	if err != nil {
		return nil, fmt.Errorf("read which ids the exchange lacks: %w", err)
	}
	out := map[string][]tape.Gap{}
	for _, symbol := range r.index.Symbols() {
		for _, gap := range r.index.Gaps(symbol) {
			left := idset.Set{{First: gap.First, Last: gap.Last}}.Subtract(absent[symbol])
			if len(left) > 0 {
				gap.First, gap.Last = left[0].First, left[len(left)-1].Last
				out[symbol] = append(out[symbol], gap)
			}
		}
	}
	return out, nil
}

// late finds the trades that came after their minute had been judged: they have ids above those known then, and an earlier time than
// the end of what was judged. It gives the time of the first, by symbol.
func (r *run) late(ctx context.Context) (map[string]time.Time, error) {
	known := map[string]judgement{}
	for _, query := range r.queries {
		for symbol, judged := range r.state.Judged[query.Name] {
			bounds, ok := r.index.Bounds(symbol)
			if !ok || bounds.LastID <= judged.LastID || !judged.LastAt.Before(judged.Until) {
				continue
			}
			old, ok := known[symbol]
			if !ok {
				known[symbol] = judged
				continue
			}
			if judged.LastID < old.LastID {
				old.LastID, old.LastAt = judged.LastID, judged.LastAt
			}
			if judged.Until.After(old.Until) {
				old.Until = judged.Until
			}
			known[symbol] = old
		}
	}
	out := map[string]time.Time{}
	if len(known) == 0 {
		return out, nil
	}
	var span window
	for _, judged := range known {
		span = span.hull(window{judged.LastAt, judged.Until})
	}
	// Most often the segments themselves tell that what is new is also later.
	if touching, _ := r.index.SegmentsWhere(span.start, span.end, func(symbol string, ids tape.IDRun) bool {
		judged, ok := known[symbol]
		return ok && ids.Last > judged.LastID && ids.FirstAt < judged.Until.UnixMicro()
	}); len(touching) == 0 {
		return out, nil
	}
	var conditions []string
	for _, symbol := range slices.Sorted(maps.Keys(known)) {
		judged := known[symbol]
		conditions = append(conditions, fmt.Sprintf("('%s', %d, TIMESTAMP '%s')",
			strings.ReplaceAll(symbol, "'", "''"), judged.LastID, judged.Until.UTC().Format("2006-01-02 15:04:05.999999")))
	}
	session, err := analytics.Open(ctx, r.dir, analytics.Options{
		Threads: r.opt.Threads, MemoryLimit: r.opt.MemoryLimit, Index: r.index, Now: r.opt.Now, Logger: r.opt.Logger,
		From: span.start, To: span.end, Tables: []tape.Table{tape.Trades},
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
    AND traded_at >= TIMESTAMP '%s' AND traded_at < TIMESTAMP '%s'
GROUP BY symbol`, strings.Join(conditions, ", "), span.start.UTC().Format("2006-01-02 15:04:05"), span.end.UTC().Format("2006-01-02 15:04:05")))
	if err != nil {
		return nil, fmt.Errorf("look for trades that came late: %w", err)
	}
	for _, row := range result.Rows {
		out[row[0].(string)] = row[1].(time.Time)
	}
	return out, nil
}

// remember writes down that detectors judged a chunk.
func (r *run) remember(done []analytics.Query, chunk window) error {
	if r.opt.DryRun || !r.opt.From.IsZero() {
		return nil
	}
	for _, query := range done {
		symbols := r.state.Judged[query.Name]
		if symbols == nil {
			symbols = map[string]judgement{}
			r.state.Judged[query.Name] = symbols
		}
		for symbol, w := range r.windows[query.Name] {
			part := w.cut(chunk)
			bounds, ok := r.index.Bounds(symbol)
			if part.empty() || !ok {
				continue
			}
			old, known := symbols[symbol]
			judged := judgement{From: bounds.FirstAt.UTC().Truncate(time.Minute), Until: part.end, LastID: bounds.LastID, LastAt: bounds.LastAt.UTC()}
			if known && !old.From.After(judged.From) {
				judged.From = old.From
			}
			symbols[symbol] = judged
		}
	}
	if err := r.dir.WriteState(stateName, r.state); err != nil {
		return fmt.Errorf("write down what was judged: %w", err)
	}
	return nil
}
