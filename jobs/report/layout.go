package report

import (
	"slices"

	"tapedeck/internal/wording"
)

// columnPriority lists the columns of sections from the most important to those that a narrow terminal
// leaves out first. Columns that are not listed follow in the query's order.
var columnPriority = map[string][]string{
	"overview": {"symbol", "close", "change", "trades", "quote_volume", "taker_buy_share", "quote_volume_usdt", "high", "low",
		"open", "volume", "vwap", "last_traded_at", "first_traded_at", "rows"},
	"compared":  {"symbol", "before", "trades", "trades_change", "quote_volume_change", "change", "change_before", "quote_volume"},
	"movers":    {"side", "rank", "symbol", "change", "close", "open", "quote_volume", "trades", "quote_volume_usdt", "high", "low"},
	"incidents": {"at", "severity", "symbol", "message", "detector", "score"},
	"completeness": {"symbol", "verdict", "missing", "known_until", "known_until_by", "rows", "known_since",
		"known_since_by", "conflicts", "dropped", "gaps", "absent", "missing_from", "missing_until"},
	"judged": {"symbol", "minutes", "judged_minutes", "unjudged_by", "history_minutes", "unseen_minutes",
		"unrecorded_minutes", "waiting_minutes", "gap_minutes", "dropped_minutes", "failed_minutes", "changed_minutes"},
	"conflicts": {"symbol", "id", "price", "other_price", "qty", "other_qty", "traded_at", "other_traded_at",
		"source", "other_source"},
	"largest_trades": {"symbol", "rank", "traded_at", "taker_side", "quote_qty", "price", "window_share", "quote_qty_usdt", "qty"},
	"taker_flow":     {"symbol", "imbalance", "net_quote_volume", "buy_quote_volume", "sell_quote_volume"},
	"volatility":     {"symbol", "realized_volatility", "range", "drawdown", "steepest_fall", "steepest_rise"},
	"illiquidity":    {"symbol", "amihud", "roll_spread", "empty_share", "used_minutes"},
	"wash_signs":     {"symbol", "rows", "benford_deviation", "round_share", "matched_share", "flat_share"},
	"runs":           {"job", "runs", "ok", "not_ok", "last_outcome", "last_started_at", "last_message"},
}

// grid is a table.
type grid []*gridColumn

type gridColumn struct {
	head      string
	kind      kind
	truncates bool       // a long text, which may be truncated
	cells     [][]string // by form and row
	levels    []Level    // by row; may be nil
	rank      int        // priority, 0 being the highest
	keep      bool       // part of the key, never left out

	// The layout, set by fit.
	natural []int // width by form
	form    int
	width   int
	dropped bool
}

const (
	gutter   = 2  // between columns
	minText  = 40 // to which a text may be truncated
	minWidth = 4  // to which a key column may be truncated
	mostKept = 3  // how many columns of a key are never left out, if they are of the highest priority
)

// naturalWidth returns the width that a column needs in a form.
func (c *gridColumn) naturalWidth(form int) int {
	first, second := headLines(c.head)
	widest := max(wording.Width(first), wording.Width(second))
	for _, cell := range c.cells[form] {
		widest = max(widest, wording.Width(cell))
	}
	return widest
}

// leastWidth returns the least width that a column can have in its form.
func (c *gridColumn) leastWidth() int {
	width := c.natural[c.form]
	if c.truncates {
		width = min(width, minText)
	}
	return width
}

// gain returns how much the next form narrows a column.
func (c *gridColumn) gain() int {
	if c.form+1 == len(c.natural) {
		return 0
	}
	return c.natural[c.form] - c.natural[c.form+1]
}

// visible returns the columns that are not dropped.
func (g grid) visible() grid {
	return slices.DeleteFunc(slices.Clone(g), func(c *gridColumn) bool { return c.dropped })
}

// fit chooses columns and forms so that a row is no wider than limit. It first uses shorter forms,
// then truncates long texts, then leaves out columns, and finally restores the longer forms for
// which there is room.
func (g grid) fit(limit int) {
	for _, c := range g {
		for form := range c.cells {
			c.natural = append(c.natural, c.naturalWidth(form))
		}
	}
	g.shrink(limit)
	g.restoreForms(limit)
	g.alignForms()
	g.setWidths(limit)
}

// total returns the width of a row.
func (g grid) total() int {
	sum := -gutter
	for _, c := range g.visible() {
		sum += c.leastWidth() + gutter
	}
	return sum
}

// shrink shortens values, and then drops the columns of the lowest priority, until a row fits or
// only key columns are left.
func (g grid) shrink(limit int) {
	for g.total() > limit {
		rest := g.visible()
		if c := slices.MaxFunc(rest, func(a, b *gridColumn) int { return a.gain() - b.gain() }); c.gain() > 0 {
			c.form++
			continue
		}
		rest = slices.DeleteFunc(rest, func(c *gridColumn) bool { return c.keep })
		if len(rest) == 0 {
			return
		}
		slices.MaxFunc(rest, func(a, b *gridColumn) int { return a.rank - b.rank }).dropped = true
	}
}

// restoreForms goes back to longer forms as long as a row fits.
func (g grid) restoreForms(limit int) {
	for changed := true; changed; {
		changed = false
		for _, c := range g.visible() {
			if c.form == 0 {
				continue
			}
			c.form--
			if g.total() <= limit {
				changed = true
			} else {
				c.form++
			}
		}
	}
}

// alignForms gives all columns of times, and all columns of amounts, the same form if they have it.
func (g grid) alignForms() {
	visible := g.visible()
	for _, c := range visible {
		for _, other := range visible {
			if c.kind == other.kind && (c.kind == kindTime || c.kind == kindAmount) {
				c.form = max(c.form, min(other.form, len(c.natural)-1))
			}
		}
	}
}

// setWidths distributes the width that is left, or truncates the widest key columns if a row is too
// wide.
func (g grid) setWidths(limit int) {
	visible := g.visible()
	spare := limit - g.total()
	for _, c := range visible {
		c.width = c.leastWidth()
		if more := min(spare, c.natural[c.form]-c.width); more > 0 {
			c.width += more
			spare -= more
		}
	}
	for ; spare < 0; spare++ {
		widest := slices.MaxFunc(visible, func(a, b *gridColumn) int { return a.width - b.width })
		if widest.width <= minWidth {
			break
		}
		widest.width--
	}
}

// headLines breaks a head of several words into two lines of about the same width. The first line
// of a single word is empty.
func headLines(head string) (first, second string) {
	second = head
	for i, r := range head {
		if r == ' ' && max(wording.Width(head[:i]), wording.Width(head[i+1:])) <
			max(wording.Width(first), wording.Width(second)) {
			first, second = head[:i], head[i+1:]
		}
	}
	return first, second
}
