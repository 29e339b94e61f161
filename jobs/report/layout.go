package report

import (
	"slices"
	"strings"

	"golang.org/x/text/width"
)

// importance names a section's columns from the one that must be seen to those that go first where a terminal is narrow. Those
// not named follow in the query's order; a section not named here has that order altogether.
func importance(section string) []string {
	switch section {
	case "overview":
		return []string{"symbol", "close", "change", "trades", "quote_volume", "taker_buy_share", "high", "low", "open", "volume", "vwap", "last_traded_at", "first_traded_at", "rows"}
	case "movers":
		return []string{"side", "rank", "symbol", "change", "close", "open", "quote_volume", "trades", "high", "low"}
	case "incidents":
		return []string{"at", "severity", "symbol", "message", "detector", "score"}
	case "completeness":
		return []string{"symbol", "verdict", "rows", "missing", "recorded_since", "recorded_until", "gaps", "absent", "missing_from", "missing_until"}
	case "largest_trades":
		return []string{"symbol", "rank", "traded_at", "taker_side", "quote_qty", "price", "window_share", "qty"}
	case "taker_flow":
		return []string{"symbol", "imbalance", "net_quote_volume", "buy_quote_volume", "sell_quote_volume"}
	case "volatility":
		return []string{"symbol", "realized_volatility", "range", "drawdown", "steepest_fall", "steepest_rise"}
	case "illiquidity":
		return []string{"symbol", "amihud", "roll_spread", "empty_share", "judged_minutes"}
	case "wash_signs":
		return []string{"symbol", "rows", "benford_deviation", "round_share", "matched_share", "flat_share"}
	case "runs":
		return []string{"job", "runs", "ok", "not_ok", "last_outcome", "last_started_at", "last_message"}
	}
	return nil
}

// grid is a table under layout: for each column its cells in every form.
type grid struct {
	heads []string
	right []bool
	wraps []bool       // text that may be cut
	cells [][][]string // [column][form][row]
	tones [][]Mood     // [column][row], may be nil
	rank  []int        // of importance, the most important first
	keep  []bool       // of the key
	kinds []kind
}

// placed is a grid that fits.
type placed struct {
	columns []int // in the grid's order
	form    []int // by column of the grid
	width   []int
	dropped []int
}

const (
	gutter  = 2  // between columns
	minText = 40 // a text that is cut keeps as much
)

func (g *grid) natural(column, form int) int {
	widest := 0
	for _, line := range headLines(g.heads[column]) {
		widest = max(widest, displayWidth(line))
	}
	for _, cell := range g.cells[column][form] {
		widest = max(widest, displayWidth(cell))
	}
	return widest
}

// fit chooses columns and forms so that a row takes no more than limit. It shortens values first, then cuts long texts, then
// leaves out columns from the least important, and at last gives back the full forms for which there is room.
func (g *grid) fit(limit int) placed {
	n := len(g.heads)
	natural := make([][]int, n)
	for i := range n {
		for form := range g.cells[i] {
			natural[i] = append(natural[i], g.natural(i, form))
		}
	}
	form := make([]int, n)
	in := make([]bool, n)
	for i := range in {
		in[i] = true
	}
	least := func(i int) int {
		w := natural[i][form[i]]
		if g.wraps[i] {
			w = min(w, minText)
		}
		return w
	}
	total := func(of func(int) int) int {
		sum := -gutter
		for i := range n {
			if in[i] {
				sum += of(i) + gutter
			}
		}
		return sum
	}
	for total(least) > limit {
		if i := g.shortenable(in, form, natural); i >= 0 {
			form[i]++
			continue
		}
		i := g.leastImportant(in)
		if i < 0 {
			break
		}
		in[i] = false
	}
	for { // give back
		changed := false
		for i := range n {
			if in[i] && form[i] > 0 {
				form[i]--
				if total(least) <= limit {
					changed = true
				} else {
					form[i]++
				}
			}
		}
		if !changed {
			break
		}
	}
	for i := range n { // columns of one kind look alike
		for j := range n {
			if in[i] && in[j] && g.kinds[i] == g.kinds[j] && (g.kinds[i] == kindTime || g.kinds[i] == kindAmount) {
				form[i] = max(form[i], min(form[j], len(natural[i])-1))
			}
		}
	}
	out := placed{form: form, width: make([]int, n)}
	spare := limit - total(least)
	for i := range n {
		if !in[i] {
			out.dropped = append(out.dropped, i)
			continue
		}
		out.columns = append(out.columns, i)
		out.width[i] = least(i)
		if full := natural[i][form[i]]; full > out.width[i] && spare > 0 {
			more := min(spare, full-out.width[i])
			out.width[i] += more
			spare -= more
		}
	}
	for spare < 0 { // only key columns are left: cut the widest
		widest := slices.MaxFunc(out.columns, func(a, b int) int { return out.width[a] - out.width[b] })
		if out.width[widest] <= 4 {
			break
		}
		out.width[widest]--
		spare++
	}
	return out
}

// headLines breaks a head of several words into two lines of about the same width.
func headLines(head string) []string {
	best := []string{head}
	for i, r := range head {
		if r != ' ' {
			continue
		}
		if wide := max(displayWidth(head[:i]), displayWidth(head[i+1:])); len(best) == 1 || wide < max(displayWidth(best[0]), displayWidth(best[1])) {
			best = []string{head[:i], head[i+1:]}
		}
	}
	return best
}

// shortenable is the column that loses the most by its next form, or less than 0.
func (g *grid) shortenable(in []bool, form []int, natural [][]int) int {
	best, gain := -1, 0
	for i := range in {
		if in[i] && form[i]+1 < len(natural[i]) {
			if d := natural[i][form[i]] - natural[i][form[i]+1]; d > gain {
				best, gain = i, d
			}
		}
	}
	return best
}

func (g *grid) leastImportant(in []bool) int {
	worst := -1
	for i := range in {
		if in[i] && !g.keep[i] && (worst < 0 || g.rank[i] > g.rank[worst]) {
			worst = i
		}
	}
	return worst
}

// displayWidth is how many cells of a terminal a text takes: two for East Asian wide characters, none for marks.
func displayWidth(text string) int {
	n := 0
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	switch {
	case r < 0x20 || r >= 0x7f && r < 0xa0:
		return 0
	case r >= 0x300 && r <= 0x36f || r == 0x200b || r == 0x200d || r >= 0xfe00 && r <= 0xfe0f:
		return 0
	case r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// pad brings a text to a width, cut with an ellipsis where it is longer.
func pad(text string, to int, right bool) string {
	if displayWidth(text) > to {
		text = cut(text, to)
	}
	space := strings.Repeat(" ", max(0, to-displayWidth(text)))
	if right {
		return space + text
	}
	return text + space
}

func cut(text string, to int) string {
	n := 0
	for i, r := range text {
		if n+runeWidth(r) > to-1 {
			return strings.TrimRight(text[:i], " ") + "…"
		}
		n += runeWidth(r)
	}
	return text
}

// wrap breaks a text into lines at spaces.
func wrap(text string, to int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case displayWidth(line)+1+displayWidth(word) <= to:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
		for displayWidth(line) > to { // a word longer than the line
			n, at := 0, len(line)
			for i, r := range line {
				if n += runeWidth(r); n > to {
					at = i
					break
				}
			}
			if at == 0 {
				break
			}
			lines = append(lines, line[:at])
			line = line[at:]
		}
	}
	return append(lines, line)
}

// oneLine makes a text that keeps to its row of a terminal: no line breaks, no control characters.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, text)
}
