package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"tapedeck/internal/wording"
)

// markdownRows is the most rows of a section that Markdown shows.
const markdownRows = 100

// Markdown writes the report as GitHub-flavored Markdown. A section shows at most 100 rows and says
// how many more there are. The section candles is left out unless it is the only one.
func Markdown(w io.Writer, r *Report) error {
	out := bufio.NewWriter(w) // keeps the first error until Flush
	fmt.Fprintf(out, "# Report: %s\n\n", r.heading())
	for _, statement := range r.Statements {
		mark := map[Level]string{Bad: "❌ ", Fair: "⚠️ ", Good: "✅ "}[statement.Level]
		fmt.Fprintf(out, "- %s%s\n", mark, formatStatement(statement.Text, escapeMarkdown, func(command string) string {
			return "`" + command + "`"
		}))
	}
	for _, section := range r.visibleSections() {
		fmt.Fprintf(out, "\n## %s\n\n", escapeMarkdown(section.Query.Title))
		if section.Err != nil {
			fmt.Fprintf(out, "❌ %s\n", escapeMarkdown(section.Err.Error()))
			continue
		}
		result := section.Result
		if len(result.Rows) == 0 {
			fmt.Fprintf(out, "_%s_\n", r.emptyText(section.Query))
			continue
		}
		formatters := r.formatters(result, result.Rows)
		var head, rule []string
		for _, f := range formatters {
			head = append(head, escapeMarkdown(columnLabel(f.Column)))
			if f.kind.rightAligned() {
				rule = append(rule, "---:")
			} else {
				rule = append(rule, "---")
			}
		}
		fmt.Fprintf(out, "| %s |\n| %s |\n", strings.Join(head, " | "), strings.Join(rule, " | "))
		for n, row := range result.Rows {
			if n == markdownRows {
				fmt.Fprintf(out, "\n_… and %s_\n", wording.Count(len(result.Rows)-n, "more row"))
				break
			}
			var cells []string
			for _, f := range formatters {
				cell := f.format(row, 0)
				if f.kind == kindText {
					cell = escapeMarkdown(cell)
				}
				cells = append(cells, cell)
			}
			fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	return out.Flush()
}

// escapeMarkdown escapes a text so that it shows as it is, also inside a table.
func escapeMarkdown(text string) string {
	var out strings.Builder
	for _, r := range wording.Visible(text) {
		if strings.ContainsRune("\\`*_{}[]<>#|~", r) {
			out.WriteByte('\\')
		}
		out.WriteRune(r)
	}
	return out.String()
}
