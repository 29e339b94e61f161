package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"tapedeck/analytics"
	"tapedeck/internal/wording"
)

// TableOptions describe the terminal.
type TableOptions struct {
	Width int  // in characters; 0: 80
	Color bool // use ANSI colors
	Rows  int  // most rows of a section; 0: 20, negative: all
}

// Table writes the report for a terminal. No line is wider than the terminal: values take shorter
// forms, then the least important columns are left out, which a line below the table says.
func Table(w io.Writer, r *Report, opt TableOptions) error {
	opt.Width = max(cmp.Or(max(opt.Width, 0), 80), 40)
	opt.Rows = cmp.Or(opt.Rows, 20)
	t := &tableWriter{w: bufio.NewWriter(w), opt: opt, report: r}
	t.heading()
	for _, section := range r.visibleSections() {
		t.section(section)
	}
	return t.w.Flush()
}

type tableWriter struct {
	w      *bufio.Writer // keeps the first error until Flush
	opt    TableOptions
	report *Report
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

var levelColors = map[Level]string{Bad: ansiRed, Fair: ansiYellow, Good: ansiGreen}

func (t *tableWriter) paint(code, text string) string {
	if !t.opt.Color || code == "" || text == "" {
		return text
	}
	return code + text + ansiReset
}

func (t *tableWriter) line(text string) {
	t.w.WriteString(strings.TrimRight(text, " "))
	t.w.WriteByte('\n')
}

func (t *tableWriter) heading() {
	t.line(t.paint(ansiBold, wording.Truncate("Report  "+t.report.heading(), t.opt.Width)))
	t.line("")
	for _, statement := range t.report.Statements {
		mark := map[Level]string{Bad: "✗ ", Fair: "! ", Good: "✓ ", Note: "  "}[statement.Level]
		for i, line := range wording.WrapAll(statement.Text, t.opt.Width-2) {
			if i > 0 {
				mark = "  "
			}
			t.line(t.paint(levelColors[statement.Level], mark+line))
		}
	}
}

func (t *tableWriter) section(section Section) {
	t.line("")
	t.line(t.paint(ansiBold, wording.Truncate(wording.Visible(section.Query.Title), t.opt.Width)))
	if section.Err != nil {
		for _, line := range wording.WrapAll("✗ "+wording.Visible(section.Err.Error()), t.opt.Width) {
			t.line(t.paint(ansiRed, line))
		}
		return
	}
	if len(section.Result.Rows) == 0 {
		for _, line := range wording.WrapAll(t.report.emptyText(section.Query), t.opt.Width-2) {
			t.line(t.paint(ansiFaint, "  "+line))
		}
		return
	}
	if section.Query.Name == hourlyName && len(t.report.Sections) > 1 {
		if profile, note, ok := t.hourlyProfile(section); ok {
			t.grid(profile, note)
			return
		}
	}
	limit := t.opt.Rows
	if limit < 0 {
		limit = len(section.Result.Rows)
	}
	rows, note := t.report.topRows(section, limit)
	t.grid(t.newGrid(section, rows), note)
}

// newGrid formats a section's rows in all forms. Columns without any value are left out.
func (t *tableWriter) newGrid(section Section, rows [][]any) (g grid) {
	priority := columnPriority[section.Query.Name]
	for _, f := range t.report.formatters(section.Result, rows) {
		column := &gridColumn{
			head: columnLabel(f.Column), kind: f.kind, rank: slices.Index(priority, f.Name),
			truncates: f.kind == kindText && f.Name != "symbol",
		}
		column.keep = slices.Contains(section.Query.Key, f.Name) && (priority == nil || column.rank >= 0 && column.rank < mostKept)
		if column.rank < 0 {
			column.rank = len(priority) + f.index
		}
		column.cells = make([][]string, f.countForms(rows))
		nothing := true
		for _, row := range rows {
			for form := range column.cells {
				column.cells[form] = append(column.cells[form], f.format(row, form))
			}
			column.levels = append(column.levels, levelOf(f.Column, row[f.index]))
			nothing = nothing && (row[f.index] == nil || row[f.index] == int64(0))
		}
		if nothing && column.rank > mostKept {
			column.rank += len(section.Result.Columns) // other columns explain more
		}
		g = append(g, column)
	}
	return g
}

// grid writes a grid, and a note below it.
func (t *tableWriter) grid(g grid, note string) {
	if len(g) == 0 {
		return
	}
	g.fit(t.opt.Width)
	visible := g.visible()
	var first, second, rule []string
	for _, c := range visible {
		top, bottom := "", c.head
		if wording.Width(c.head) > c.width {
			top, bottom = headLines(c.head)
		}
		first = append(first, pad(top, c.width, c.kind.rightAligned()))
		second = append(second, pad(bottom, c.width, c.kind.rightAligned()))
		rule = append(rule, strings.Repeat("─", c.width))
	}
	space := strings.Repeat(" ", gutter)
	if text := strings.Join(first, space); strings.TrimSpace(text) != "" {
		t.line(text)
	}
	t.line(strings.Join(second, space))
	t.line(t.paint(ansiFaint, strings.Join(rule, strings.Repeat("─", gutter))))
	for row := range g[0].cells[0] {
		var cells []string
		for _, c := range visible {
			cell := pad(c.cells[c.form][row], c.width, c.kind.rightAligned())
			if c.levels != nil {
				cell = t.paint(levelColors[c.levels[row]], cell)
			}
			cells = append(cells, cell)
		}
		t.line(strings.Join(cells, space))
	}
	if note != "" {
		t.line(t.paint(ansiFaint, wording.Truncate(note, t.opt.Width)))
	}
	var dropped []string
	for _, c := range g {
		if c.dropped {
			dropped = append(dropped, c.head)
		}
	}
	if dropped != nil {
		for _, line := range wording.WrapAll("not shown at this width: "+strings.Join(dropped, ", "), t.opt.Width) {
			t.line(t.paint(ansiFaint, line))
		}
	}
}

// heading returns the window, its length and the symbols asked for.
func (r *Report) heading() string {
	end := formatTime(r.Window.End)
	if day := r.Window.Start.Format("2006-01-02 "); strings.HasPrefix(end, day) {
		end = strings.TrimPrefix(end, day)
	}
	heading := fmt.Sprintf("%s to %s UTC, %s", formatTime(r.Window.Start), end, formatDuration(r.Window.Duration()))
	if len(r.Symbols) > 0 {
		heading += ": " + r.symbolsTitle()
	}
	return heading
}

// visibleSections returns the sections to show. The section candles, from which charts are drawn,
// is left out unless it is the only one.
func (r *Report) visibleSections() []Section {
	if len(r.Sections) == 1 {
		return r.Sections
	}
	return slices.DeleteFunc(slices.Clone(r.Sections), func(s Section) bool { return s.Query.Name == "candles" })
}

// topRows returns at most limit rows of a section, and a note if there are more. If there are more,
// the most important rows come first; otherwise the query's order is kept.
func (r *Report) topRows(section Section, limit int) (rows [][]any, note string) {
	rows = section.Result.Rows
	if len(rows) <= limit {
		return rows, ""
	}
	note = fmt.Sprintf("… and %s", wording.Count(len(rows)-limit, "more row"))
	rows, order := r.orderByImportance(section)
	if order != "" {
		note += "; " + order
	}
	return rows[:limit], note
}

// orderByImportance sorts the rows of a section by symbol, the most traded or the least complete
// first, and describes the order. If the section is not about symbols, it keeps the query's order.
func (r *Report) orderByImportance(section Section) (rows [][]any, order string) {
	symbol := columnIndex(section.Result, "symbol")
	if symbol < 0 || len(section.Query.Key) == 0 || section.Query.Key[0] != "symbol" {
		return section.Result.Rows, ""
	}
	order = "most traded symbols first"
	rank := func([]any) int { return 0 }
	if section.Query.Name == completenessName && columnIndex(section.Result, "verdict") >= 0 {
		order = "worst first"
		rank = func(row []any) int {
			return textLevels["verdict"][field[string](section.Result, row, "verdict")].rank()
		}
	}
	rows = slices.Clone(section.Result.Rows)
	trades := r.tradesBySymbol()
	slices.SortStableFunc(rows, func(a, b []any) int {
		nameA, _ := a[symbol].(string)
		nameB, _ := b[symbol].(string)
		return cmp.Or(rank(a)-rank(b), cmp.Compare(trades[nameB], trades[nameA]), strings.Compare(nameA, nameB))
	})
	return rows, order
}

// tradesBySymbol returns the trades of each symbol from the section overview; it is empty without
// one.
func (r *Report) tradesBySymbol() map[string]int64 {
	out := map[string]int64{}
	overview, _ := r.result("overview")
	for _, row := range overview.Rows {
		out[field[string](overview, row, "symbol")] = field[int64](overview, row, "trades")
	}
	return out
}

// levelOf returns the level with which a value is colored, or "".
func levelOf(column analytics.Column, value any) Level {
	switch v := value.(type) {
	case float64:
		switch {
		case !signed(column):
		case v > 0:
			return Good
		case v < 0:
			return Bad
		}
	case string:
		return textLevels[column.Name][v]
	}
	return ""
}

var outcomeLevels = map[string]Level{
	"ok": Good, "incomplete": Fair, "skipped": Fair, "failed": Bad, "timeout": Bad, "killed": Bad, "lost": Bad,
}

// textLevels are the levels of texts, by column.
var textLevels = map[string]map[string]Level{
	"severity": {"high": Bad, "medium": Fair, "low": Note},
	"verdict": {
		"complete": Good, "missing": Bad, "conflict": Bad, "begins late": Fair, "ends early": Fair,
		"not recorded": Fair, "dropped": Fair, "absent": Note, "no trades": Note,
	},
	"side":         {"gainer": Good, "loser": Bad},
	"taker_side":   {"buy": Good, "sell": Bad},
	"last_outcome": outcomeLevels,
	"outcome":      outcomeLevels,
}
