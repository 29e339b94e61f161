package tape

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// comparison compares the rows of one publication with the rows on the tape that have their ids. It
// costs nothing where no ids meet. It is not safe for concurrent use.
type comparison struct {
	dir    *Dir
	origin Origin // of the publication
	// symbols says how the ids agree, by symbol. An id counts each time that the publication has it with the
	// same content, and once for all other contents: an exchange that repeats one id is not another market.
	symbols   map[string]*agreement
	conflicts []Conflict
	// unreadable counts rows whose ids are in segments that cannot be read.
	unreadable int64
}

// agreement says how the ids of one symbol agree.
type agreement struct {
	compared, differing int64
	lastDiffering       int64
	sample              Conflict // the first one
}

func newComparison(d *Dir, origin Origin) *comparison {
	return &comparison{dir: d, origin: origin, symbols: map[string]*agreement{}}
}

func (c *comparison) of(symbol string) *agreement {
	a := c.symbols[symbol]
	if a == nil {
		a = &agreement{}
		c.symbols[symbol] = a
	}
	return a
}

// compare compares rows, sorted by (symbol, id), whose ids are in existing.
func (c *comparison) compare(ctx context.Context, existing *existingRows, rows []Trade) error {
	for start := 0; start < len(rows); {
		if err := ctx.Err(); err != nil {
			return err
		}
		end := start + 1
		for end < len(rows) && rows[end].Symbol == rows[start].Symbol {
			end++
		}
		symbol := c.of(rows[start].Symbol)
		absent, err := existing.each(rows[start:end], func(row *Trade, on *columns, i int, origin Origin) {
			if on.sameContent(i, row) {
				symbol.compared++
				return
			}
			kept := on.trade(row.Symbol, i)
			conflict := newConflict(&kept, origin, row, c.origin)
			symbol.differ(conflict)
			c.conflicts = append(c.conflicts, conflict)
		})
		if err != nil {
			return fmt.Errorf("compare with the tape: %w", err)
		}
		c.unreadable += absent
		if len(c.conflicts) > disagreeMost {
			return c.disagreement(symbol)
		}
		start = end
	}
	return nil
}

// identical reports whether two rows of the publication that have the same id are equal in every
// field.
func (c *comparison) identical(first, second *Trade) bool {
	if *first != *second {
		return false
	}
	c.of(first.Symbol).compared++
	return true
}

// repeated compares two rows of the publication that have the same id, of which the first stays. ok is
// true if they have a conflict.
func (c *comparison) repeated(first, second *Trade) (conflict Conflict, ok bool) {
	if sameContent(first, second) {
		c.of(first.Symbol).compared++
		return Conflict{}, false
	}
	conflict = newConflict(first, c.origin, second, c.origin)
	c.of(first.Symbol).differ(conflict)
	return conflict, true
}

// differ counts an id that has another content. Ids that are equal come one after the other.
func (a *agreement) differ(conflict Conflict) {
	if a.differing > 0 && a.lastDiffering == conflict.ID {
		return
	}
	a.lastDiffering = conflict.ID
	a.compared++
	if a.differing++; a.differing == 1 {
		a.sample = conflict
	}
}

// wholesale reports whether the differing ids are too many for conflicts of single rows. agreed is the
// number of ids that were compared elsewhere and agree.
func (a *agreement) wholesale(agreed int64) bool {
	compared := a.compared + agreed
	return compared >= disagreeLeast && 2*a.differing > compared
}

// agree returns a *DisagreementError if the publication and the tape disagree wholesale.
func (c *comparison) agree() error {
	for _, symbol := range c.symbols {
		if symbol.wholesale(c.origin.Agreed[symbol.sample.Symbol]) {
			return c.disagreement(symbol)
		}
	}
	return nil
}

func (c *comparison) disagreement(symbol *agreement) error {
	sample := symbol.sample
	return &DisagreementError{
		Symbol: sample.Symbol, Kept: sample.Kept(), Other: sample.Other(), KeptSource: sample.Source,
		OtherSource: sample.OtherSource, Differing: symbol.differing,
		Compared: symbol.compared + c.origin.Agreed[sample.Symbol],
	}
}

// record stores conflicts in their table, each once. The rows that stay are durable. The caller holds
// the writers' lock.
func (c *comparison) record(ctx context.Context, conflicts []Conflict) error {
	if len(conflicts) == 0 {
		return nil
	}
	if _, err := c.dir.publishConflicts(ctx, conflicts); err != nil {
		return fmt.Errorf("record conflicts: %w", err)
	}
	return nil
}

// describe sets the fields of a result that are about conflicts: those with the tape, and those
// between rows of the publication.
func (c *comparison) describe(out *Published, between []Conflict) {
	all := slices.Concat(c.conflicts, between)
	out.Conflicts, out.Unreadable = int64(len(all)), c.unreadable
	out.ConflictRows = slices.Clip(all[:min(len(all), conflictSamples)])
}

// sameContent is sameContent for the row i and t, which have the same id.
func (c *columns) sameContent(i int, t *Trade) bool {
	if c.prices[i] != t.Price || c.qtys[i] != t.Qty || c.buyerMakers[i] != t.IsBuyerMaker || !sameTime(c.times[i], t.TradedAt) {
		return false
	}
	if c.firsts[i] == t.FirstTradeID && c.lasts[i] == t.LastTradeID {
		return true
	}
	kept := Trade{ID: c.ids[i], FirstTradeID: c.firsts[i], LastTradeID: c.lasts[i]}
	return !kept.knowsRawTrades() || !t.knowsRawTrades()
}

func (c *columns) trade(symbol string, i int) Trade {
	return Trade{symbol, c.ids[i], c.prices[i], c.qtys[i], c.firsts[i], c.lasts[i], c.times[i], c.buyerMakers[i]}
}

// checkSeams returns a *DisagreementError if time runs back by more than maxBackwards where runs of a
// publication meet the tape: the rows before and after them in the partitions of some dates, which the
// index has up to date, and ends, the first and the last trades of all.
func (c *comparison) checkSeams(dates []string, published symbolRuns, ends map[string][]tradeTime) error {
	for symbol, runs := range published {
		for _, run := range runs {
			for _, on := range append(c.dir.index.neighbors(symbol, dates, run), ends[symbol]...) {
				if err := c.checkSeam(symbol, run, on); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// tradeTime is the time of one trade.
type tradeTime struct{ id, at int64 }

// checkSeam checks a run against the time of one trade on the tape.
func (c *comparison) checkSeam(symbol string, run IDRun, on tradeTime) error {
	other, back := tradeTime{run.First, run.FirstAt}, on.at-run.FirstAt
	switch {
	case on.id >= run.First && on.id <= run.Last:
		return nil
	case on.id > run.Last:
		other, back = tradeTime{run.Last, run.LastAt}, run.LastAt-on.at
	}
	if back <= int64(maxBackwards/time.Microsecond) {
		return nil
	}
	return &DisagreementError{
		Symbol:      symbol,
		Kept:        Trade{Symbol: symbol, ID: on.id, TradedAt: on.at},
		Other:       Trade{Symbol: symbol, ID: other.id, TradedAt: other.at},
		OtherSource: c.origin.Source,
		Backwards:   time.Duration(back) * time.Microsecond,
	}
}

// checkOrder returns a *DisagreementError if time runs back by more than maxBackwards within rows,
// which are sorted by (symbol, id). Connections can deliver two markets to one recorder.
func (c *comparison) checkOrder(rows []Trade) error {
	for i := 1; i < len(rows); i++ {
		before, row := &rows[i-1], &rows[i]
		back := before.TradedAt - row.TradedAt
		if back > int64(maxBackwards/time.Microsecond) && before.Symbol == row.Symbol {
			return &DisagreementError{
				Symbol: row.Symbol, Kept: *before, Other: *row, KeptSource: c.origin.Source, OtherSource: c.origin.Source,
				Backwards: time.Duration(back) * time.Microsecond,
			}
		}
	}
	return nil
}
