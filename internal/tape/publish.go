package tape

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"tapedeck/internal/durable"
	"tapedeck/internal/idset"
	"tapedeck/internal/state"
)

// extentName is the state file that remembers each symbol's Bounds. Losing it loses only the power to notice that a whole end of a symbol's record was deleted.
const extentName = "extent.json"

// readExtent gives the remembered bounds that can be: a file that is damaged or something else is as good as lost.
func (d *Dir) readExtent() (map[string]Bounds, error) {
	bounds, err := state.ReadCache[Bounds](d.state, extentName)
	if err != nil {
		return nil, err
	}
	for symbol, b := range bounds {
		if symbol == "" || b.FirstID < 0 || b.LastID < b.FirstID || !tradeable(b.FirstAt.UnixMicro()) || !tradeable(b.LastAt.UnixMicro()) {
			delete(bounds, symbol)
		}
	}
	return bounds, nil
}

// widenExtent takes published runs into the remembered bounds; the caller holds the writers' lock.
func (d *Dir) widenExtent(spans []map[string][]timedSpan) error {
	bounds, err := d.readExtent()
	if err != nil {
		return err
	}
	changed := false
	for _, bySymbol := range spans {
		for symbol, runs := range bySymbol {
			for _, run := range runs {
				old, ok := bounds[symbol]
				if wider := old.with(run, ok); !ok || wider != old {
					bounds[symbol] = wider
					changed = true
				}
			}
		}
	}
	if !changed {
		return nil
	}
	return d.WriteState(extentName, bounds)
}

// Publish puts trades on the tape: any order, any symbols and dates. It sorts the slice in place; a row that is on the tape
// already, or stands twice in the call, is dropped. When it returns without an error the rows are durable and visible. After an error some of
// them may be on the tape, never half a file; calling again with the same rows completes it. Many goroutines and processes may publish at once.
func (d *Dir) Publish(ctx context.Context, trades []Trade, origin Origin) (Published, error) {
	if err := check(trades); err != nil {
		return Published{}, err
	}
	if !slices.IsSortedFunc(trades, compareTrades) {
		slices.SortFunc(trades, compareTrades)
	}
	rows := once(trades)

	d.mu.Lock()
	defer d.mu.Unlock()
	if d.encoder == nil {
		d.encoder = &encoder{}
	}
	batch := &batch{dir: d, origin: origin, rows: rows}
	defer batch.discard()
	// Most of the work is done before the lock is taken. What another writer published meanwhile is seen under it, and only the parts that met it are written again.
	if err := batch.stage(ctx); err != nil {
		return Published{}, err
	}
	unlock, err := d.lock(writersLock)
	if err != nil {
		return Published{}, err
	}
	defer unlock()
	if err := batch.restage(ctx); err != nil {
		return Published{}, err
	}
	out, err := batch.place()
	out.Dropped = int64(len(trades)) - out.Rows
	return out, err
}

// once gives sorted trades without those whose id stands twice, and leaves the argument as it is.
func once(trades []Trade) []Trade {
	for i := 1; i < len(trades); i++ {
		if sameTrade(trades[i-1], trades[i]) {
			return slices.CompactFunc(slices.Clone(trades), sameTrade)
		}
	}
	return trades
}

// check refuses rows that no exchange sends, before they can do harm.
func check(trades []Trade) error {
	for i := range trades {
		t := &trades[i]
		if t.Symbol == "" || t.ID < 0 || t.LastTradeID < t.FirstTradeID || !(t.Price > 0) || !(t.Qty > 0) || !tradeable(t.TradedAt) {
			return fmt.Errorf("not a trade: symbol %q, id %d, price %v, qty %v, raw trades %d to %d, traded at %d µs", t.Symbol, t.ID, t.Price, t.Qty, t.FirstTradeID, t.LastTradeID, t.TradedAt)
		}
	}
	return nil
}

// batch is one publishing call under way: its rows, and one staged file a date.
type batch struct {
	dir    *Dir
	origin Origin
	rows   []Trade  // sorted by (symbol, id), each once
	dates  []string // of the parts, and those near them
	parts  []part
}

type part struct {
	date   string
	near   []string // the dates on which its ids may stand
	rows   []Trade
	spans  map[string][]timedSpan
	there  []map[string][]timedSpan // of the rows before some were left out that are on the tape; nil if none were
	staged string                   // path of the staged file; empty if there are no rows left
	bytes  int64
}

// stage splits the rows by date and writes one file each with what is not on the tape.
func (b *batch) stage(ctx context.Context) error {
	byDay := map[int64][]Trade{}
	first := int64(0)
	for i := range b.rows {
		day := dayOf(b.rows[i].TradedAt)
		if i == 0 {
			first = day
		}
		if day != first {
			first = -1 << 62
		}
	}
	if len(b.rows) > 0 && first != -1<<62 {
		byDay[first] = b.rows
	} else {
		for _, row := range b.rows {
			day := dayOf(row.TradedAt)
			byDay[day] = append(byDay[day], row)
		}
	}
	for day, rows := range byDay {
		first, last := rows[0].TradedAt, rows[0].TradedAt
		for i := range rows {
			first, last = min(first, rows[i].TradedAt), max(last, rows[i].TradedAt)
		}
		date := dateOfDay(day)
		near := beside(date, first, last)
		b.dates = append(b.dates, near...)
		b.parts = append(b.parts, part{date: date, near: near, rows: rows})
	}
	slices.Sort(b.dates)
	b.dates = slices.Compact(b.dates)
	slices.SortFunc(b.parts, func(x, y part) int { return compareDates(x.date, y.date) })
	if err := b.dir.index.refreshDates(b.dates); err != nil {
		return err
	}
	for i := range b.parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.write(&b.parts[i]); err != nil {
			return err
		}
	}
	return nil
}

func compareDates(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// restage writes again what others have published since stage; the caller holds the writers' lock.
func (b *batch) restage(ctx context.Context) error {
	if err := b.dir.index.refreshDates(b.dates); err != nil {
		return err
	}
	for i := range b.parts {
		p := &b.parts[i]
		if p.staged == "" || !b.met(p) {
			continue
		}
		if err := b.dir.disk.Remove(p.staged); err != nil {
			return fmt.Errorf("remove %q: %w", p.staged, err)
		}
		p.staged = ""
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.write(p); err != nil {
			return err
		}
	}
	return nil
}

// met says whether any of a part's ids is on the tape.
func (b *batch) met(p *part) bool {
	for symbol, runs := range p.spans {
		on := b.dir.index.spansOn(symbol, p.near)
		for _, run := range runs {
			if on.Overlaps(idset.Range{First: run.first, Last: run.last}) {
				return true
			}
		}
	}
	return false
}

// write stages one part's rows less those that are on the tape.
func (b *batch) write(p *part) error {
	all := p.rows
	if p.rows = b.uncovered(p); len(p.rows) < len(all) {
		p.there = append(p.there, spansOf(all))
	}
	p.spans = spansOf(p.rows)
	if len(p.rows) == 0 {
		return nil
	}
	staged, bytes, err := b.dir.stage(durable.UniqueName(string(b.origin.Source), ".parquet.tmp"), func(w io.Writer) error {
		return b.dir.encoder.encode(w, p.rows, p.spans, b.dir.Feed(), b.origin)
	})
	if err != nil {
		return err
	}
	p.staged, p.bytes = staged, bytes
	return nil
}

// uncovered gives the rows of a part that are not on the tape.
func (b *batch) uncovered(p *part) []Trade {
	var kept []Trade
	cut := false
	for start := 0; start < len(p.rows); {
		symbol := p.rows[start].Symbol
		end := start
		for end < len(p.rows) && p.rows[end].Symbol == symbol {
			end++
		}
		rows := p.rows[start:end]
		on := b.dir.index.spansOn(symbol, p.near)
		if on.Overlaps(idset.Range{First: rows[0].ID, Last: rows[len(rows)-1].ID}) {
			if !cut {
				kept, cut = append(kept, p.rows[:start]...), true
			}
			for _, row := range rows {
				if !on.Contains(row.ID) {
					kept = append(kept, row)
				}
			}
		} else if cut {
			kept = append(kept, rows...)
		}
		start = end
	}
	if !cut {
		return p.rows
	}
	return kept
}

// place makes the staged parts visible; the caller holds the writers' lock.
func (b *batch) place() (Published, error) {
	var out Published
	var placed []map[string][]timedSpan
	var failed error
	for i := range b.parts {
		p := &b.parts[i]
		// Rows that are there already count as published by this call too.
		if p.staged == "" && p.there != nil {
			if failed = b.dir.settle(Trades, p.date); failed != nil {
				break
			}
		}
		placed = append(placed, p.there...)
		if p.staged == "" {
			continue
		}
		name := filepath.Join(string(Trades), "date="+p.date, filepath.Base(p.staged[:len(p.staged)-len(".tmp")]))
		if failed = b.dir.place(p.staged, name); failed != nil {
			break
		}
		p.staged = ""
		out.Rows += int64(len(p.rows))
		out.Bytes += p.bytes
		out.Segments = append(out.Segments, name)
		placed = append(placed, p.spans)
	}
	if err := b.dir.widenExtent(placed); failed == nil {
		failed = err
	}
	return out, failed
}

// discard removes what was staged and not placed.
func (b *batch) discard() {
	for _, p := range b.parts {
		if p.staged != "" {
			b.dir.disk.Remove(p.staged)
		}
	}
}
