package tape

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"tapedeck/internal/idset"
	"tapedeck/internal/symbol"
)

// Publish adds trades to the tape, in any order and of any symbols and dates. It sorts the slice in
// place. Rows whose ids are on the tape already, or are repeated in the call, are left out, of two rows
// with the same id the second; and unless origin.Restores is set those whose ids were dropped on
// purpose. When it returns without an error, the other rows are durable and visible. After an error
// some of them may be on the tape, in complete files; publishing the same rows again completes it.
//
// A row that is left out and has another content than the one that stays is a conflict: it is in the table
// conflicts before Publish returns. If the rows are not of the tape's market, nothing is published and
// the error is a *DisagreementError.
func (d *Dir) Publish(ctx context.Context, trades []Trade, origin Origin) (Published, error) {
	if err := validate(trades); err != nil {
		return Published{}, err
	}
	if !slices.IsSortedFunc(trades, compareTrades) {
		slices.SortStableFunc(trades, compareTrades)
	}
	batch := &batch{dir: d, origin: origin, comparison: newComparison(d, origin)}
	defer batch.discard()

	d.mu.Lock()
	defer d.mu.Unlock()
	// Most of the work is done before the lock is taken. Under the lock only the parts that overlap
	// with what another writer published meanwhile are written again.
	if err := batch.stage(ctx, trades); err != nil {
		return Published{}, err
	}
	unlock, err := d.publisher.lockUntil(ctx)
	if err != nil {
		return Published{}, err
	}
	defer unlock()
	if err := batch.restageOverlapping(ctx); err != nil {
		return Published{}, err
	}
	if err := batch.check(); err != nil {
		return Published{}, err
	}
	out, err := batch.publish(ctx)
	if err == nil && origin.Restores {
		err = batch.restore(trades)
	}
	out.Dropped = int64(len(trades)) - out.Rows
	batch.comparison.describe(&out, batch.repeats)
	return out, err
}

func compareTrades(a, b Trade) int {
	if c := strings.Compare(a.Symbol, b.Symbol); c != 0 {
		return c
	}
	return cmp.Compare(a.ID, b.ID)
}

func sameTrade(a, b Trade) bool { return a.ID == b.ID && a.Symbol == b.Symbol }

// validate returns an error for a row that no exchange sends.
func validate(trades []Trade) error {
	checked := ""
	for i := range trades {
		t := &trades[i]
		if t.Symbol != checked {
			if err := symbol.Check(t.Symbol); err != nil {
				return fmt.Errorf("not a trade: %w", err)
			}
			checked = t.Symbol
		}
		if t.Symbol == "" || t.ID < 0 || t.ID > MaxID || t.LastTradeID < t.FirstTradeID || t.LastTradeID > MaxID || !(t.Price > 0) || !(t.Qty > 0) ||
			!validTime(t.TradedAt) {
			return fmt.Errorf("not a trade: symbol %q, id %d, price %v, qty %v, raw trades %d to %d, traded at %d µs",
				t.Symbol, t.ID, t.Price, t.Qty, t.FirstTradeID, t.LastTradeID, t.TradedAt)
		}
	}
	return nil
}

// split appends the rows whose ids are not in published to kept, which may be rows[:0], and the others
// to met.
func split(kept, met, rows []Trade, published idset.Set) ([]Trade, []Trade) {
	for _, row := range rows {
		if published.Contains(row.ID) {
			met = append(met, row)
		} else {
			kept = append(kept, row)
		}
	}
	return kept, met
}

// batch is one call of Publish: one staged file for each date.
type batch struct {
	dir        *Dir
	origin     Origin
	comparison *comparison
	dates      []string // of all parts, with the adjacent dates that matter
	parts      []batchPart
	repeats    []Conflict // between rows of the call; set by check
}

// batchPart holds the rows of one date.
type batchPart struct {
	date  string
	dates []string // on which the part's ids can be
	rows  []Trade
	// repeated are rows whose ids are in rows, which are not identical, in the order of rows.
	repeated []Trade
	runs     symbolRuns
	onTape   []symbolRuns // the runs before rows on the tape were left out; nil if none were
	staged   string       // path of the staged file; empty if no rows are left
	bytes    int64
}

// stage splits sorted trades by date and writes one file for each date without the rows on the tape.
func (b *batch) stage(ctx context.Context, trades []Trade) error {
	dropped, err := b.dir.droppedFor(b.origin)
	if err != nil {
		return err
	}
	rows, repeated := b.withoutRepeated(withoutDropped(trades, dropped))
	byDay := splitByDay(rows)
	for _, day := range slices.Sorted(maps.Keys(byDay)) {
		rows := byDay[day]
		first, last := rows[0].TradedAt, rows[0].TradedAt
		for i := range rows {
			first, last = min(first, rows[i].TradedAt), max(last, rows[i].TradedAt)
		}
		date := dateOfDay(day)
		dates := possibleDates(date, first, last)
		b.dates = append(b.dates, dates...)
		b.parts = append(b.parts, batchPart{date: date, dates: dates, rows: rows, repeated: repeated[day]})
	}
	slices.Sort(b.dates)
	b.dates = slices.Compact(b.dates)
	if err := b.dir.index.refreshDates(b.dates); err != nil {
		return err
	}
	for i := range b.parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.write(ctx, &b.parts[i]); err != nil {
			return err
		}
	}
	return nil
}

// withoutRepeated returns sorted trades with each id once, the first. It does not change the argument.
// The others that are not identical are returned by the day of the row that stays.
func (b *batch) withoutRepeated(trades []Trade) (rows []Trade, others map[int64][]Trade) {
	rows, others = trades, map[int64][]Trade{}
	copied := false
	for i := 1; i < len(trades); i++ {
		n := i // the rows kept so far
		if copied {
			n = len(rows)
		}
		last := &rows[n-1]
		switch repeated := sameTrade(*last, trades[i]); {
		case repeated:
			if !copied {
				rows, copied = slices.Clone(trades[:i]), true
				last = &rows[i-1]
			}
			if b.comparison.identical(last, &trades[i]) {
				continue
			}
			day := dayOf(last.TradedAt)
			others[day] = append(others[day], trades[i])
		case copied:
			rows = append(rows, trades[i])
		}
	}
	return rows, others
}

// splitByDay splits rows by the UTC day number of traded_at and keeps their order.
func splitByDay(rows []Trade) map[int64][]Trade {
	byDay := map[int64][]Trade{}
	if len(rows) == 0 {
		return byDay
	}
	first := dayOf(rows[0].TradedAt)
	for i := range rows {
		if dayOf(rows[i].TradedAt) == first {
			continue
		}
		for _, row := range rows {
			day := dayOf(row.TradedAt)
			byDay[day] = append(byDay[day], row)
		}
		return byDay
	}
	byDay[first] = rows // one day, which is usual, needs no copy
	return byDay
}

// restageOverlapping writes the parts again of which others have published or dropped rows since
// stage. The caller holds the writers' lock.
func (b *batch) restageOverlapping(ctx context.Context) error {
	if err := b.dir.index.refreshDates(b.dates); err != nil {
		return err
	}
	dropped, err := b.dir.droppedFor(b.origin)
	if err != nil {
		return err
	}
	for i := range b.parts {
		p := &b.parts[i]
		if p.staged == "" || !b.dir.index.overlaps(p.dates, p.runs) && !overlapsDropped(p.runs, dropped) {
			continue
		}
		p.rows, p.repeated = withoutDropped(p.rows, dropped), withoutDropped(p.repeated, dropped)
		if err := b.dir.staging.remove(p.staged); err != nil {
			return err
		}
		p.staged = ""
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.write(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// write stages the rows of one part that are not on the tape, and compares the others.
func (b *batch) write(ctx context.Context, p *batchPart) error {
	rows, met := b.unpublished(p)
	if len(met) > 0 {
		if err := b.comparison.compare(ctx, b.dir.newExistingRows(p.dates), met); err != nil {
			return err
		}
		p.onTape = append(p.onTape, runsOf(p.rows))
		p.rows = rows
	}
	p.runs = runsOf(p.rows)
	if len(p.rows) == 0 {
		return nil
	}
	var err error
	p.staged, p.bytes, err = b.dir.staging.write(stagedName(string(b.origin.Source)), func(w io.Writer) error {
		return encodeTrades(&b.dir.encoder, w, p.rows, p.runs, b.dir.identity(), b.origin)
	})
	return err
}

// unpublished returns the rows of a part that are not on the tape, and those that are, with their
// repetitions, which it takes from the part. It copies only if it has to.
func (b *batch) unpublished(p *batchPart) (kept, met []Trade) {
	copied := false
	for start := 0; start < len(p.rows); {
		symbol := p.rows[start].Symbol
		end := start
		for end < len(p.rows) && p.rows[end].Symbol == symbol {
			end++
		}
		rows := p.rows[start:end]
		published := b.dir.index.idsOn(symbol, p.dates)
		if published.Overlaps(idset.Range{First: rows[0].ID, Last: rows[len(rows)-1].ID}) {
			if !copied {
				kept, copied = append(kept, p.rows[:start]...), true
			}
			kept, met = split(kept, met, rows, published)
			p.repeated = slices.DeleteFunc(p.repeated, func(row Trade) bool {
				onTape := row.Symbol == symbol && published.Contains(row.ID)
				if onTape {
					met = append(met, row)
				}
				return onTape
			})
		} else if copied {
			kept = append(kept, rows...)
		}
		start = end
	}
	if !copied {
		return p.rows, nil
	}
	slices.SortStableFunc(met, compareTrades) // the repetitions came last
	return kept, met
}

// check returns a *DisagreementError if the rows are not of the tape's market. The caller holds the
// writers' lock.
func (b *batch) check() error {
	for i := range b.parts {
		p := &b.parts[i]
		for k := range p.repeated {
			at, _ := slices.BinarySearchFunc(p.rows, p.repeated[k], compareTrades)
			if conflict, ok := b.comparison.repeated(&p.rows[at], &p.repeated[k]); ok {
				b.repeats = append(b.repeats, conflict)
			}
		}
	}
	if err := b.comparison.agree(); err != nil {
		return err
	}
	bounds, err := b.dir.extent.ends()
	if err != nil {
		return err
	}
	for i := range b.parts {
		p := &b.parts[i]
		if err := b.comparison.checkSeams(p.dates, p.runs, bounds); err != nil {
			return err
		}
		if b.origin.Source == FromStream {
			if err := b.comparison.checkOrder(p.rows); err != nil {
				return err
			}
		}
	}
	return nil
}

// publish records the conflicts and makes the staged parts visible. The caller holds the writers'
// lock.
func (b *batch) publish(ctx context.Context) (out Published, err error) {
	for i := range b.parts {
		p := &b.parts[i]
		// This call also promises that the rows it found on the tape are durable.
		if p.onTape != nil && (p.staged == "" || len(b.comparison.conflicts) > 0) {
			if err := b.dir.publisher.sync(Trades, p.date); err != nil {
				return out, err
			}
		}
	}
	// Conflicts with rows on the tape come first. If this process died between the two, the rows would
	// be there, and a backfill would not fetch them again and not find the conflicts.
	if err := b.comparison.record(ctx, b.comparison.conflicts); err != nil {
		return out, err
	}
	var published []symbolRuns
	for i := range b.parts {
		p := &b.parts[i]
		published = append(published, p.onTape...)
		if p.staged == "" {
			continue
		}
		var path string
		if path, err = b.dir.publisher.publish(p.staged, Trades, p.date); err != nil {
			break
		}
		p.staged = ""
		out.add(path, int64(len(p.rows)), p.bytes)
		published = append(published, p.runs)
	}
	if extendErr := b.dir.extent.extend(published); err == nil {
		err = extendErr
	}
	if err != nil {
		return out, err
	}
	return out, b.comparison.record(ctx, b.repeats)
}

// discard removes what was staged and not published.
func (b *batch) discard() {
	for _, p := range b.parts {
		if p.staged != "" {
			b.dir.staging.remove(p.staged)
		}
	}
}
