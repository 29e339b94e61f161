package report

import (
	"bytes"
	"fmt"
	"html"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/wording"
)

// The most movers per side, alerts and changes that a message shows. The workbook has all of them.
const (
	messageMovers  = 5
	messageAlerts  = 5
	messageChanges = 12
)

// messagePictures is the most charts that are sent with a message.
const messagePictures = 1

// Title returns the report's name and window in one line.
func (r *Report) Title() string {
	name := "Report"
	if len(r.Changes) > 0 {
		name = "Corrected report"
	}
	if len(r.Symbols) > 0 {
		name += " of " + r.symbolsTitle() + ","
	}
	const layout = "2006-01-02 15:04"
	return fmt.Sprintf("%s %s to %s UTC", name, r.Window.Start.UTC().Format(layout), r.Window.End.UTC().Format(layout))
}

// Message returns a summary of the report in Telegram's HTML, without the title: how complete the
// data are, the changes of a correction, totals, the top movers and the alerts.
func Message(r *Report) string {
	var out strings.Builder
	for _, s := range r.Statements {
		mark := map[Level]string{Bad: "❗", Fair: "⚠", Good: "✓", Note: "·"}[s.Level]
		fmt.Fprintf(&out, "%s %s\n", mark, formatStatement(s.Text, html.EscapeString, func(command string) string {
			return "<code>" + html.EscapeString(command) + "</code>"
		}))
	}
	r.writeChanges(&out)
	r.writeTotals(&out)
	r.writeMovers(&out)
	r.writeAlerts(&out)
	return strings.TrimRight(out.String(), "\n")
}

// Attachment is a file that is sent with a message.
type Attachment struct {
	Name    string
	Caption string // plain text
	Content []byte
}

// Attachments returns the charts and the workbook that are sent with a message.
func Attachments(r *Report) (pictures []Attachment, workbook Attachment, err error) {
	if pictures, err = Pictures(r, messagePictures); err != nil {
		return nil, Attachment{}, err
	}
	var content bytes.Buffer
	err = XLSX(&content, r)
	name := r.Window.End.UTC().Format("report-2006-01-02-1504.xlsx")
	return pictures, Attachment{Name: name, Content: content.Bytes()}, err
}

func (r *Report) writeChanges(out *strings.Builder) {
	if len(r.Changes) == 0 {
		return
	}
	fmt.Fprintf(out, "\n<b>What changed</b>\n")
	for i, change := range r.Changes {
		if i == messageChanges && len(r.Changes) > messageChanges+1 {
			fmt.Fprintf(out, "… and %s\n", wording.Count(len(r.Changes)-i, "more change"))
			break
		}
		fmt.Fprintf(out, "%s\n", html.EscapeString(change.String()))
	}
}

func (r *Report) writeTotals(out *strings.Builder) {
	overview, ok := r.result("overview")
	if !ok {
		return
	}
	fmt.Fprintf(out, "\n%s of %s\n", wording.Count(r.countTrades(), "raw trade"), wording.Count(len(overview.Rows), "symbol"))
}

func (r *Report) writeMovers(out *strings.Builder) {
	movers, _ := r.result("movers")
	for _, side := range [...]struct{ name, title string }{{"gainer", "Up"}, {"loser", "Down"}} {
		var lines []string
		for _, row := range movers.Rows {
			if field[string](movers, row, "side") == side.name && len(lines) < messageMovers {
				symbol, change := field[string](movers, row, "symbol"), field[float64](movers, row, "change")
				lines = append(lines, fmt.Sprintf("%-12s %+7.2f%%", wording.Name(symbol), change))
			}
		}
		if len(lines) > 0 {
			fmt.Fprintf(out, "\n<b>%s</b>\n<pre>%s</pre>\n", side.title, html.EscapeString(strings.Join(lines, "\n")))
		}
	}
}

func (r *Report) writeAlerts(out *strings.Builder) {
	incidents, ok := r.result("incidents")
	if len(incidents.Rows) == 0 {
		if ok {
			fmt.Fprintf(out, "\nNo alerts; %s\n", html.EscapeString(r.Judged.Text))
		}
		return
	}
	fmt.Fprintf(out, "\n<b>%s</b>\n", wording.Count(len(incidents.Rows), "alert"))
	for i, row := range incidents.Rows {
		if i == messageAlerts {
			fmt.Fprintf(out, "… and %d more\n", len(incidents.Rows)-i)
			break
		}
		at := field[time.Time](incidents, row, "at")
		symbol, message := field[string](incidents, row, "symbol"), field[string](incidents, row, "message")
		fmt.Fprintf(out, "%s <b>%s</b> %s\n", at.UTC().Format("01-02 15:04"), html.EscapeString(wording.Name(symbol)),
			html.EscapeString(wording.Visible(message)))
	}
}

// countTrades returns the raw trades of all symbols in the section overview.
func (r *Report) countTrades() (sum int64) {
	for _, n := range r.tradesBySymbol() {
		sum += n
	}
	return sum
}

// field returns a row's value in the column with that name. It returns the zero value if there is no
// such column or if the value is of another type.
func field[T any](result analytics.Result, row []any, name string) (value T) {
	if i := columnIndex(result, name); i >= 0 {
		value, _ = row[i].(T)
	}
	return value
}

// textPart is a part of a statement: text, or a command.
type textPart struct {
	Text      string
	IsCommand bool
}

// statementParts splits a statement at the backquotes around its commands.
func statementParts(text string) (out []textPart) {
	for i, part := range strings.Split(text, "`") {
		if part != "" {
			out = append(out, textPart{part, i%2 == 1})
		}
	}
	return out
}

// formatStatement formats the texts and the commands of a statement.
func formatStatement(statement string, text, command func(string) string) string {
	var out strings.Builder
	for _, part := range statementParts(statement) {
		if part.IsCommand {
			out.WriteString(command(part.Text))
		} else {
			out.WriteString(text(part.Text))
		}
	}
	return out.String()
}
