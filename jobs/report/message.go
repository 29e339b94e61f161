package report

import (
	"fmt"
	"html"
	"strings"
	"time"

	"tapedeck/analytics"
)

// mostMovers and mostAlerts are how many a message shows; the workbook has the others.
const (
	mostMovers = 5
	mostAlerts = 5
)

// Title names a report in a line.
func (r *Report) Title() string {
	name := "Report"
	if len(r.Changes) > 0 {
		name = "Corrected report"
	}
	return fmt.Sprintf("%s %s to %s UTC", name, r.Window.Start.UTC().Format("2006-01-02 15:04"), r.Window.End.UTC().Format("2006-01-02 15:04"))
}

// Message is the report in short as Telegram's HTML, without its title: how complete the data are, of a correction what changed, sums, the top movers and the alerts.
func Message(r *Report) string {
	var out strings.Builder
	for _, s := range r.Statements {
		fmt.Fprintf(&out, "%s %s\n", marks()[s.Mood], markedCommands(s.Text))
	}
	r.messageChanges(&out)
	r.messageSums(&out)
	r.messageMovers(&out)
	r.messageAlerts(&out)
	return strings.TrimRight(out.String(), "\n")
}

// markedCommands escapes a statement and marks the commands between its backquotes.
func markedCommands(text string) string {
	var out strings.Builder
	for _, part := range statementParts(text) {
		if escaped := html.EscapeString(part.Text); part.Code {
			out.WriteString("<code>" + escaped + "</code>")
		} else {
			out.WriteString(escaped)
		}
	}
	return out.String()
}

func marks() map[Mood]string {
	return map[Mood]string{Bad: "❗", Fair: "⚠", Good: "✓", Note: "·"}
}

func (r *Report) messageSums(out *strings.Builder) {
	section := r.Section("overview")
	if section == nil || section.Err != nil {
		return
	}
	var trades int64
	for _, row := range section.Result.Rows {
		if n, ok := value(section.Result, row, "trades").(int64); ok {
			trades += n
		}
	}
	fmt.Fprintf(out, "\n%s of %s\n", count(trades, "trade"), count(int64(len(section.Result.Rows)), "symbol"))
}

func (r *Report) messageMovers(out *strings.Builder) {
	section := r.Section("movers")
	if section == nil || section.Err != nil || len(section.Result.Rows) == 0 {
		return
	}
	for _, side := range [...]struct{ name, title string }{{"gainer", "Up"}, {"loser", "Down"}} {
		var lines []string
		for _, row := range section.Result.Rows {
			if value(section.Result, row, "side") != side.name || len(lines) == mostMovers {
				continue
			}
			symbol, _ := value(section.Result, row, "symbol").(string)
			change, _ := value(section.Result, row, "change").(float64)
			lines = append(lines, fmt.Sprintf("%-12s %+7.2f%%", symbol, change))
		}
		if len(lines) > 0 {
			fmt.Fprintf(out, "\n<b>%s</b>\n<pre>%s</pre>\n", side.title, html.EscapeString(strings.Join(lines, "\n")))
		}
	}
}

func (r *Report) messageAlerts(out *strings.Builder) {
	section := r.Section("incidents")
	if section == nil || section.Err != nil || len(section.Result.Rows) == 0 {
		return
	}
	rows := section.Result.Rows
	fmt.Fprintf(out, "\n<b>%s</b>\n", count(int64(len(rows)), "alert"))
	for i, row := range rows {
		if i == mostAlerts {
			fmt.Fprintf(out, "… and %d more\n", len(rows)-i)
			break
		}
		at, _ := value(section.Result, row, "at").(time.Time)
		symbol, _ := value(section.Result, row, "symbol").(string)
		message, _ := value(section.Result, row, "message").(string)
		fmt.Fprintf(out, "%s <b>%s</b> %s\n", at.UTC().Format("01-02 15:04"), html.EscapeString(symbol), html.EscapeString(message))
	}
}

// value is a row's in the column of that name; nil where there is none.
func value(result analytics.Result, row []any, name string) any {
	if i := columnIndex(result, name); i >= 0 {
		return row[i]
	}
	return nil
}
