package backfill

import (
	"context"
	"slices"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/ingest"
	"tapedeck/internal/window"
)

// chooseDays decides which past days come from the archive because that is faster, and returns the
// ids that are left to REST.
func (p *planner) chooseDays(ctx context.Context) (fromREST idset.Set, err error) {
	fromREST = p.Missing
	if p.Archive == nil || p.Source == RESTOnly {
		return fromREST, nil
	}
	firsts := map[time.Time]windowTrade{}
	for _, day := range p.candidates() {
		ids, known, err := p.idsOn(ctx, day, firsts)
		if err != nil {
			return nil, err
		}
		missing := fromREST.Intersect(idset.Set{ids})
		if len(missing) == 0 {
			continue
		}
		restSeconds := float64(int64(len(pagesOf(missing)))*pageWeight(p.feed)) * 60 / float64(p.perMinute)
		archiveSeconds := archiveFileSeconds + float64(ids.Count())/archiveRowsPerSecond
		if p.Source == ArchiveOnly || archiveSeconds < restSeconds && !p.isLate(ctx, day) {
			p.Days = append(p.Days, DayPlan{Day: day, IDs: ids, Missing: missing, known: known})
			fromREST = fromREST.Subtract(missing)
		}
	}
	return fromREST, nil
}

// archiveLateness is how long after a day's end its file may still be late. It usually appears within
// hours.
const archiveLateness = 72 * time.Hour

// isLate reports whether the archive says that it does not have the file of a recent day yet. Then
// REST has the day, and the plan says what that costs.
func (p *planner) isLate(ctx context.Context, day time.Time) bool {
	if p.Now.Sub(day.AddDate(0, 0, 1)) > archiveLateness {
		return false
	}
	has, err := p.Archive.Has(ctx, ingest.KindOf(p.feed), p.Symbol, day)
	return err == nil && !has
}

// candidates returns the past days of which enough may be missing to make looking up their ids
// worthwhile. The estimate spreads each gap's ids evenly over its time.
func (p *planner) candidates() []time.Time {
	missing := map[time.Time]float64{}
	for _, gap := range p.gaps {
		w := window.Window{Start: gap.After, End: gap.Before}
		length := max(w.Duration(), time.Second)
		for _, day := range pastDays(w.Start, w.End, p.Now) {
			part := w.Intersect(window.Window{Start: day, End: day.AddDate(0, 0, 1)}).Duration()
			missing[day] += float64(gap.Count()) * float64(max(part, time.Second)) / float64(length)
		}
	}
	var days []time.Time
	for day, rows := range missing {
		if p.Source == ArchiveOnly || rows >= archiveMinPages*binance.PageLimit {
			days = append(days, day)
		}
	}
	slices.SortFunc(days, time.Time.Compare)
	return days
}

// pastDays returns the days from the one of start to the one of end that are over.
func pastDays(start, end, now time.Time) (days []time.Time) {
	for day := start.UTC().Truncate(24 * time.Hour); !day.After(end); day = day.AddDate(0, 0, 1) {
		if !day.AddDate(0, 0, 1).After(now) {
			days = append(days, day)
		}
	}
	return days
}

// idsOn asks REST for the ids of a day. known is the day's first trade, if it has one. firsts keeps
// the first trade from each midnight on, because two days share one.
func (p *planner) idsOn(
	ctx context.Context, day time.Time, firsts map[time.Time]windowTrade,
) (ids idset.Range, known []binance.Row, err error) {
	next := day.AddDate(0, 0, 1)
	for _, at := range []time.Time{day, next} {
		if _, ok := firsts[at]; ok {
			continue
		}
		first, ok, err := p.firstAt(ctx, at)
		if err != nil {
			return ids, nil, err
		}
		if !ok { // nothing traded since: the id that the next trade will have
			last, _, err := p.lastBefore(ctx, at)
			if err != nil {
				return ids, nil, err
			}
			last.row.ID, last.row.FirstTradeID = last.row.ID+1, last.row.LastTradeID+1
			last.row.Time = at.UnixMicro()
			first = last
		}
		firsts[at] = first
	}
	first := firsts[day]
	if first.row.Price != nil && first.at().Before(next) {
		known = []binance.Row{first.row}
	}
	return idset.Range{First: first.firstID(), Last: firsts[next].firstID() - 1}, known, nil
}
