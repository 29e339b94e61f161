package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"tapedeck/analytics"
)

// TableOptions are of the terminal's form.
type TableOptions struct {
	Width int  // of the terminal in characters; 0 is 80
	Color bool // with ANSI colours
	Rows  int  // of each section at most; 0 is 20, less than 0 is all
}

// Table writes the report for a terminal. No line is wider than the width: values take shorter forms, then the less important
// columns go, which is said below the table.
func Table(w io.Writer, r *Report, opt TableOptions) error {
	if opt.Width <= 0 {
		opt.Width = 80
	}
	opt.Width = max(opt.Width, 40)
	if opt.Rows == 0 {
		opt.Rows = 20
	}
	t := &tableWriter{w: bufio.NewWriter(w), opt: opt, report: r, decimals: r.priceDecimals()}
	t.top()
	for _, section := range r.Sections {
		if section.Query.Name == "candles" && len(r.Sections) > 1 {
			continue // what charts are drawn from
		}
		t.section(section)
	}
	return t.w.Flush()
}

type tableWriter struct {
	w        *bufio.Writer // keeps the first error until Flush
	opt      TableOptions
	report   *Report
	decimals map[string]int
}

// ANSI escape codes.
const (
	ansiReset  = "\x1b[0m"
	ansiBold   = "\x1b[1m"
	ansiFaint  = "\x1b[2m"
	ansiRed    = "\x1b[31m"
	ansiGreen  = "\x1b[32m"
	ansiYellow = "\x1b[33m"
)

func (t *tableWriter) paint(code, text string) string {
	if !t.opt.Color || code == "" || text == "" {
		return text
	}
	return code + text + ansiReset
}

func moodColor(mood Mood) string {
	switch mood {
	case Bad:
		return ansiRed
	case Fair:
		return ansiYellow
	case Good:
		return ansiGreen
	}
	return ""
}

// heading is the report's title in words.
func (r *Report) heading() string {
	end := moment(r.Window.End)
	if day := r.Window.Start.Format("2006-01-02 "); strings.HasPrefix(end, day) {
		end = strings.TrimPrefix(end, day)
	}
	return fmt.Sprintf("%s to %s UTC, %s", moment(r.Window.Start), end, length(r.Window.Length()))
}

func (t *tableWriter) top() {
	t.line(t.paint(ansiBold, cut1("Report  "+t.report.heading(), t.opt.Width)))
	t.line("")
	for _, statement := range t.report.Statements {
		mark := map[Mood]string{Bad: "✗ ", Fair: "! ", Good: "✓ ", Note: "  "}[statement.Mood]
		for i, line := range wrap(oneLine(statement.Text), t.opt.Width-2) {
			if i > 0 {
				mark = "  "
			}
			t.line(t.paint(moodColor(statement.Mood), mark+line))
		}
	}
}

func cut1(text string, to int) string {
	if displayWidth(text) <= to {
		return text
	}
	return cut(text, to)
}

func (t *tableWriter) line(text string) {
	t.w.WriteString(strings.TrimRight(text, " "))
	t.w.WriteByte('\n')
}

func (t *tableWriter) section(section Section) {
	t.line("")
	t.line(t.paint(ansiBold, cut1(section.Query.Title, t.opt.Width)))
	if section.Err != nil {
		for _, line := range wrap("✗ "+oneLine(section.Err.Error()), t.opt.Width) {
			t.line(t.paint(ansiRed, line))
		}
		return
	}
	if len(section.Result.Rows) == 0 {
		t.line(t.paint(ansiFaint, "  "+nothing(section.Query)))
		return
	}
	if section.Query.Name == "hourly" && len(t.report.Sections) > 1 {
		if profile, note, ok := t.profile(section); ok {
			t.grid(profile, note)
			return
		}
	}
	shown := section.Result
	note := ""
	if t.opt.Rows >= 0 && len(shown.Rows) > t.opt.Rows {
		note = fmt.Sprintf("… and %s", count(int64(len(shown.Rows)-t.opt.Rows), "more row"))
		var order string
		shown.Rows, order = t.report.mostTelling(section)
		shown.Rows = shown.Rows[:t.opt.Rows]
		if order != "" {
			note += "; " + order
		}
	}
	t.grid(t.gridOf(section, shown), note)
}

// mostTelling puts the rows of a section of which not all are shown into an order in which the first tell the most, and says
// which, or keeps the query's order.
func (r *Report) mostTelling(section Section) ([][]any, string) {
	symbol := columnIndex(section.Result, "symbol")
	if symbol < 0 || len(section.Query.Key) == 0 || section.Query.Key[0] != "symbol" {
		return section.Result.Rows, ""
	}
	rows := slices.Clone(section.Result.Rows)
	trades := r.tradesBySymbol()
	verdict := -1
	if section.Query.Name == completenessName {
		verdict = columnIndex(section.Result, "verdict")
	}
	slices.SortStableFunc(rows, func(a, b []any) int {
		worse := 0
		if verdict >= 0 {
			of := func(row []any) int {
				text, _ := row[verdict].(string)
				return rank(textMoods()["verdict"][text])
			}
			worse = cmp.Compare(of(a), of(b))
		}
		nameA, _ := a[symbol].(string)
		nameB, _ := b[symbol].(string)
		return cmp.Or(worse, cmp.Compare(trades[nameB], trades[nameA]), strings.Compare(nameA, nameB))
	})
	if verdict >= 0 {
		return rows, "the worst first"
	}
	return rows, "the most traded symbols first"
}

// tradesBySymbol is from the overview; without it there is nothing to go by.
func (r *Report) tradesBySymbol() map[string]int64 {
	out := map[string]int64{}
	overview := r.Section("overview")
	if overview == nil {
		return out
	}
	symbol, trades := columnIndex(overview.Result, "symbol"), columnIndex(overview.Result, "trades")
	if symbol < 0 || trades < 0 {
		return out
	}
	for _, row := range overview.Result.Rows {
		name, _ := row[symbol].(string)
		out[name], _ = row[trades].(int64)
	}
	return out
}

// nothing says that a section has no rows.
func nothing(query analytics.Query) string {
	if query.Name == "incidents" {
		return "no alerts in this window"
	}
	return "nothing in this window"
}

// gridOf lays out a section's rows; columns without any value are left out.
func (t *tableWriter) gridOf(section Section, result analytics.Result) *grid {
	order := importance(section.Query.Name)
	g := &grid{}
	symbol := columnIndex(result, "symbol")
	for i, column := range result.Columns {
		if !slices.ContainsFunc(result.Rows, func(row []any) bool { return row[i] != nil }) {
			continue
		}
		s := shower{kind: kindOf(column), signed: signed(column), decimals: t.decimals, symbol: symbol, window: t.report.Window}
		forms := make([][]string, s.forms(result.Rows, i))
		for form := range forms {
			for _, row := range result.Rows {
				forms[form] = append(forms[form], oneLine(s.show(row, i, form)))
			}
		}
		var tones []Mood
		for _, row := range result.Rows {
			tones = append(tones, moodOf(column, row[i]))
		}
		rank := slices.Index(order, column.Name)
		if rank < 0 {
			rank = len(order) + i
		}
		g.heads = append(g.heads, label(column.Name))
		g.right = append(g.right, s.kind.right())
		g.wraps = append(g.wraps, s.kind == kindText && column.Name != "symbol")
		g.cells = append(g.cells, forms)
		g.tones = append(g.tones, tones)
		g.rank = append(g.rank, rank)
		g.kinds = append(g.kinds, s.kind)
		g.keep = append(g.keep, slices.Contains(section.Query.Key, column.Name) && column.Name != "detector")
	}
	return g
}

// moodOf judges a value that is shown in colour.
func moodOf(column analytics.Column, value any) Mood {
	switch v := value.(type) {
	case float64:
		if signed(column) {
			switch {
			case v > 0:
				return Good
			case v < 0:
				return Bad
			}
		}
	case string:
		if tones, ok := textMoods()[column.Name]; ok {
			return tones[v]
		}
	}
	return ""
}

// textMoods are the texts that are judged, by column.
func textMoods() map[string]map[string]Mood {
	outcome := map[string]Mood{"ok": Good, "incomplete": Fair, "skipped": Fair, "failed": Bad, "timeout": Bad, "killed": Bad, "lost": Bad}
	return map[string]map[string]Mood{
		"severity":     {"high": Bad, "medium": Fair, "low": Note},
		"verdict":      {"complete": Good, "missing": Bad, "begins late": Fair, "ends early": Fair, "not recorded": Fair, "absent": Note, "no trades": Note},
		"side":         {"gainer": Good, "loser": Bad},
		"taker_side":   {"buy": Good, "sell": Bad},
		"last_outcome": outcome,
		"outcome":      outcome,
	}
}

// grid writes a laid out table and a note below it.
func (t *tableWriter) grid(g *grid, note string) {
	if len(g.heads) == 0 {
		return
	}
	p := g.fit(t.opt.Width)
	var above, head, rule []string
	for _, i := range p.columns {
		lines := []string{"", g.heads[i]}
		if displayWidth(g.heads[i]) > p.width[i] {
			lines = headLines(g.heads[i])
		}
		if len(lines) == 1 {
			lines = []string{"", lines[0]}
		}
		above = append(above, pad(lines[0], p.width[i], g.right[i]))
		head = append(head, pad(lines[1], p.width[i], g.right[i]))
		rule = append(rule, strings.Repeat("─", p.width[i]))
	}
	space := strings.Repeat(" ", gutter)
	if text := strings.Join(above, space); strings.TrimSpace(text) != "" {
		t.line(text)
	}
	t.line(strings.Join(head, space))
	t.line(t.paint(ansiFaint, strings.Join(rule, strings.Repeat("─", gutter))))
	shown := len(g.cells[0][0])
	for row := range shown {
		var cells []string
		for _, i := range p.columns {
			cell := pad(g.cells[i][p.form[i]][row], p.width[i], g.right[i])
			if g.tones != nil && g.tones[i] != nil {
				cell = t.paint(moodColor(g.tones[i][row]), cell)
			}
			cells = append(cells, cell)
		}
		t.line(strings.Join(cells, space))
	}
	if note != "" {
		t.line(t.paint(ansiFaint, cut1(note, t.opt.Width)))
	}
	if len(p.dropped) > 0 {
		var names []string
		for _, i := range p.dropped {
			names = append(names, g.heads[i])
		}
		for _, line := range wrap("not shown at this width: "+strings.Join(names, ", "), t.opt.Width) {
			t.line(t.paint(ansiFaint, line))
		}
	}
}
