package report

import "slices"

// columnPriority lists the columns of sections from the most important to those that a narrow terminal
// leaves out first. Columns that are not listed follow in the query's order.
var columnPriority = map[string][]string{
	"overview": {"symbol", "close", "change", "trades", "quote_volume", "taker_buy_share", "high", "low",
		"open", "volume", "vwap", "last_traded_at", "first_traded_at", "rows"},
	"movers":    {"side", "rank", "symbol", "change", "close", "open", "quote_volume", "trades", "high", "low"},
	"incidents": {"at", "severity", "symbol", "message", "detector", "score"},
	"completeness": {"symbol", "verdict", "rows", "missing", "recorded_since", "recorded_until", "gaps",
		"absent", "missing_from", "missing_until"},
	"largest_trades": {"symbol", "rank", "traded_at", "taker_side", "quote_qty", "price", "window_share", "qty"},
	"taker_flow":     {"symbol", "imbalance", "net_quote_volume", "buy_quote_volume", "sell_quote_volume"},
	"volatility":     {"symbol", "realized_volatility", "range", "drawdown", "steepest_fall", "steepest_rise"},
	"illiquidity":    {"symbol", "amihud", "roll_spread", "empty_share", "judged_minutes"},
	"wash_signs":     {"symbol", "rows", "benford_deviation", "round_share", "matched_share", "flat_share"},
	"runs":           {"job", "runs", "ok", "not_ok", "last_outcome", "last_started_at", "last_message"},
}

// grid is a table before layout.
type grid []gridColumn

type gridColumn struct {
	head      string
	kind      kind
	right     bool       // aligned to the right
	truncates bool       // a long text, which may be truncated
	cells     [][]string // by form and row
	levels    []Level    // by row; may be nil
	rank      int        // priority, 0 being the highest
	keep      bool       // part of the key, never left out
}

// layout is how a grid fits a width.
type layout struct {
	columns []int // the visible columns, in order
	dropped []int
	form    []int // by column
	width   []int // by column
}

const (
	gutter   = 2  // between columns
	minText  = 40 // to which a text may be truncated
	minWidth = 4  // to which a key column may be truncated
)

// naturalWidth returns the width that a column needs in a form.
func (c gridColumn) naturalWidth(form int) int {
	widest := 0
	for _, line := range headLines(c.head) {
		widest = max(widest, displayWidth(line))
	}
	for _, cell := range c.cells[form] {
		widest = max(widest, displayWidth(cell))
	}
	return widest
}

// fitter is the state of fitting a grid to a width.
type fitter struct {
	grid    grid
	limit   int
	natural [][]int // width by column and form
	form    []int   // by column
	visible []bool  // by column
}

// fit chooses columns and forms so that a row is no wider than limit. It first uses shorter forms,
// then truncates long texts, then leaves out columns, and finally restores the longer forms for
// which there is room.
func (g grid) fit(limit int) layout {
	n := len(g)
	f := &fitter{grid: g, limit: limit, natural: make([][]int, n), form: make([]int, n), visible: make([]bool, n)}
	for i, column := range g {
		f.visible[i] = true
		for form := range column.cells {
			f.natural[i] = append(f.natural[i], column.naturalWidth(form))
		}
	}
	f.shrink()
	f.restoreForms()
	f.alignForms()
	return f.layout()
}

// minWidthOf returns the least width that a column can have in its form.
func (f *fitter) minWidthOf(column int) int {
	width := f.natural[column][f.form[column]]
	if f.grid[column].truncates {
		width = min(width, minText)
	}
	return width
}

// total returns the width of a row.
func (f *fitter) total() int {
	sum := -gutter
	for i, visible := range f.visible {
		if visible {
			sum += f.minWidthOf(i) + gutter
		}
	}
	return sum
}

// shrink shortens values, and then drops the columns of the lowest priority, until a row fits or
// only key columns are left.
func (f *fitter) shrink() {
	for f.total() > f.limit {
		if i := f.mostShortenable(); i >= 0 {
			f.form[i]++
			continue
		}
		i := f.leastImportant()
		if i < 0 {
			return
		}
		f.visible[i] = false
	}
}

// restoreForms goes back to longer forms as long as a row fits.
func (f *fitter) restoreForms() {
	for changed := true; changed; {
		changed = false
		for i := range f.form {
			if !f.visible[i] || f.form[i] == 0 {
				continue
			}
			f.form[i]--
			if f.total() <= f.limit {
				changed = true
			} else {
				f.form[i]++
			}
		}
	}
}

// alignForms gives all columns of times, and all columns of amounts, the same form if they have it.
func (f *fitter) alignForms() {
	for i := range f.form {
		for j := range f.form {
			if f.visible[i] && f.visible[j] && f.grid[i].kind == f.grid[j].kind &&
				(f.grid[i].kind == kindTime || f.grid[i].kind == kindAmount) {
				f.form[i] = max(f.form[i], min(f.form[j], len(f.natural[i])-1))
			}
		}
	}
}

// layout distributes the width that is left, or truncates the widest key columns if a row is too
// wide.
func (f *fitter) layout() layout {
	out := layout{form: f.form, width: make([]int, len(f.form))}
	spare := f.limit - f.total()
	for i, visible := range f.visible {
		if !visible {
			out.dropped = append(out.dropped, i)
			continue
		}
		out.columns = append(out.columns, i)
		out.width[i] = f.minWidthOf(i)
		if more := min(spare, f.natural[i][f.form[i]]-out.width[i]); more > 0 {
			out.width[i] += more
			spare -= more
		}
	}
	for ; spare < 0; spare++ {
		widest := slices.MaxFunc(out.columns, func(a, b int) int { return out.width[a] - out.width[b] })
		if out.width[widest] <= minWidth {
			break
		}
		out.width[widest]--
	}
	return out
}

// mostShortenable returns the column that its next form narrows the most, or -1.
func (f *fitter) mostShortenable() int {
	best, gain := -1, 0
	for i, form := range f.form {
		if f.visible[i] && form+1 < len(f.natural[i]) {
			if d := f.natural[i][form] - f.natural[i][form+1]; d > gain {
				best, gain = i, d
			}
		}
	}
	return best
}

// leastImportant returns the visible column of the lowest priority that may be left out, or -1.
func (f *fitter) leastImportant() int {
	worst := -1
	for i, visible := range f.visible {
		if visible && !f.grid[i].keep && (worst < 0 || f.grid[i].rank > f.grid[worst].rank) {
			worst = i
		}
	}
	return worst
}

// headLines breaks a head of several words into two lines of about the same width.
func headLines(head string) []string {
	best := []string{head}
	for i, r := range head {
		if r != ' ' {
			continue
		}
		width := max(displayWidth(head[:i]), displayWidth(head[i+1:]))
		if len(best) == 1 || width < max(displayWidth(best[0]), displayWidth(best[1])) {
			best = []string{head[:i], head[i+1:]}
		}
	}
	return best
}
