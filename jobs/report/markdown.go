package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// markdownRows is how many rows of a section Markdown shows.
const markdownRows = 100

// Markdown writes the report as GitHub's Markdown. A section shows at most 100 rows and says how many more there are; what
// charts are drawn from (candles) is left out unless it is all that was asked for.
func Markdown(w io.Writer, r *Report) error {
	out := bufio.NewWriter(w) // keeps the first error until Flush
	decimals := r.priceDecimals()
	fmt.Fprintf(out, "# Report: %s\n\n", r.heading())
	for _, statement := range r.Statements {
		mark := map[Mood]string{Bad: "❌ ", Fair: "⚠️ ", Good: "✅ "}[statement.Mood]
		fmt.Fprintf(out, "- %s%s\n", mark, markdownStatement(statement.Text))
	}
	for _, section := range r.Sections {
		if section.Query.Name == "candles" && len(r.Sections) > 1 {
			continue
		}
		fmt.Fprintf(out, "\n## %s\n\n", markdownText(section.Query.Title))
		if section.Err != nil {
			fmt.Fprintf(out, "❌ %s\n", markdownText(section.Err.Error()))
			continue
		}
		result := section.Result
		if len(result.Rows) == 0 {
			fmt.Fprintf(out, "_%s_\n", nothing(section.Query))
			continue
		}
		var columns []int
		for i := range result.Columns {
			if slices.ContainsFunc(result.Rows, func(row []any) bool { return row[i] != nil }) {
				columns = append(columns, i)
			}
		}
		symbol := columnIndex(result, "symbol")
		var head, rule []string
		for _, i := range columns {
			head = append(head, markdownText(label(result.Columns[i].Name)))
			if kindOf(result.Columns[i]).right() {
				rule = append(rule, "---:")
			} else {
				rule = append(rule, "---")
			}
		}
		fmt.Fprintf(out, "| %s |\n| %s |\n", strings.Join(head, " | "), strings.Join(rule, " | "))
		for n, row := range result.Rows {
			if n == markdownRows {
				fmt.Fprintf(out, "\n_… and %s_\n", count(int64(len(result.Rows)-n), "more row"))
				break
			}
			cells := make([]string, len(columns))
			for j, i := range columns {
				s := shower{kind: kindOf(result.Columns[i]), signed: signed(result.Columns[i]), decimals: decimals, symbol: symbol, window: r.Window}
				cells[j] = s.show(row, i, 0)
				if s.kind == kindText {
					cells[j] = markdownText(cells[j])
				}
			}
			fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	return out.Flush()
}

// markdownText makes a text mean itself inside a table.
func markdownText(text string) string {
	var out strings.Builder
	for _, r := range oneLine(text) {
		if strings.ContainsRune("\\`*_{}[]<>#|~", r) {
			out.WriteByte('\\')
		}
		out.WriteRune(r)
	}
	return out.String()
}

// markdownStatement escapes all but a command between backquotes.
func markdownStatement(text string) string {
	parts := strings.Split(text, "`")
	if len(parts) != 3 {
		return markdownText(text)
	}
	return markdownText(parts[0]) + "`" + oneLine(parts[1]) + "`" + markdownText(parts[2])
}
