package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/telegram"
	"tapedeck/internal/wording"
)

const (
	maxDigestLines   = 60   // alerts that a digest lists; it counts all
	maxMarketSymbols = 30   // symbols that a market-wide alert lists
	maxReason        = 1000 // characters of a report's reason
)

var severityMarks = map[string]string{"low": "🟡", "medium": "🟠", "high": "🔴"}

func (a alert) mark() string {
	if a.Recovered {
		return "✅"
	}
	return severityMarks[a.Severity]
}

// state returns the alert's severity, or "recovered".
func (a alert) state() string {
	if a.Recovered {
		return "recovered"
	}
	return a.Severity
}

// shown returns the detector, the text and the time of a message about the alert: those of its
// incident's lead. If the most severe alert of the incident was raised by an earlier run, its text is
// all that is known of it.
func (a alert) shown() (detector, text, at string) {
	if a.lead == nil {
		return a.Detector, a.text, atText(a)
	}
	if message := a.incident.Message; message != "" && message != a.lead.text {
		return "incident", message, "since " + a.incident.StartedAt.Format("2006-01-02 15:04:05") + " UTC"
	}
	return a.lead.Detector, a.lead.text, atText(*a.lead)
}

func atText(a alert) string {
	return fmt.Sprintf("%s UTC, score %.1f", a.At.Format("2006-01-02 15:04:05"), a.score)
}

// alertDraft drafts the message about one alert.
func alertDraft(a alert) draft {
	detector, shown, at := a.shown()
	text := markup("%s <b>%s</b> %s, %s\n%s\n%s", a.mark(), a.Symbol, detector, a.state(), shown, at)
	if a.incident != nil && !a.Recovered && len(a.incident.Detectors) > 1 {
		text += markup("\n%d detectors agree: %s", len(a.incident.Detectors), strings.Join(a.incident.Detectors, ", "))
	}
	return draft{key: a.key(), alerts: []sentAlert{a.sentAlert}, parts: textParts(text)}
}

// marketDrafts drafts one message for each market-wide incident, and returns the alerts that belong
// to none.
func marketDrafts(alerts []alert) (drafts []draft, rest []alert) {
	byIncident := map[*analytics.Incident][]alert{}
	var incidents []*analytics.Incident
	for _, a := range alerts {
		if !a.MarketWide || a.Recovered {
			rest = append(rest, a)
			continue
		}
		if byIncident[a.incident] == nil {
			incidents = append(incidents, a.incident)
		}
		byIncident[a.incident] = append(byIncident[a.incident], a)
	}
	for _, incident := range incidents {
		d := draft{key: fmt.Sprintf("market/%s/%s", byIncident[incident][0].At.Format(time.RFC3339Nano),
			incident.Severity)}
		var symbols []string
		for _, a := range byIncident[incident] {
			d.alerts = append(d.alerts, a.sentAlert)
			symbols = append(symbols, a.Symbol)
		}
		slices.Sort(symbols)
		symbols = slices.Compact(symbols)
		listed := strings.Join(symbols[:min(len(symbols), maxMarketSymbols)], ", ")
		if more := len(symbols) - maxMarketSymbols; more > 0 {
			listed += fmt.Sprintf(" and %d more, in the table alerts", more)
		}
		d.parts = textParts(markup("%s <b>Market-wide</b>, %s\n%s (%s)\n%s\nsince %s UTC",
			severityMarks[incident.Severity], incident.Severity, incident.Message,
			strings.Join(incident.Detectors, ", "), listed, incident.StartedAt.Format("2006-01-02 15:04:05")))
		drafts = append(drafts, d)
	}
	return drafts, rest
}

// digestDraft drafts one message about many alerts, the most severe first. The alerts must be in
// the order of time.
func digestDraft(alerts []alert) draft {
	var d draft
	sum := sha256.New()
	counts := map[string]int{}
	for _, a := range alerts {
		d.alerts = append(d.alerts, a.sentAlert)
		fmt.Fprintln(sum, a.key())
		counts[a.state()]++
	}
	d.key = "alerts/" + hex.EncodeToString(sum.Sum(nil)[:12])
	var parts []string
	for _, state := range []string{"high", "medium", "low", "recovered"} {
		if counts[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
		}
	}
	first, last := alerts[0].At, alerts[len(alerts)-1].At
	layout := "2006-01-02 15:04"
	if first.Truncate(24 * time.Hour).Equal(last.Truncate(24 * time.Hour)) {
		layout = "15:04"
	}
	text := markup("<b>%s</b>: %s\n%s to %s UTC\n", wording.Count(len(alerts), "alert"),
		strings.Join(parts, ", "), first.Format("2006-01-02 15:04"), last.Format(layout))
	sorted := slices.Clone(alerts)
	slices.SortStableFunc(sorted, func(a, b alert) int { return a.rank() - b.rank() })
	for i, a := range sorted {
		if i == maxDigestLines {
			text += fmt.Sprintf("\nand %d more, in the table alerts", len(sorted)-i)
			break
		}
		detector, shown, _ := a.shown()
		text += markup("\n%s %s <b>%s</b> %s: %s", a.mark(), a.At.Format(layout), a.Symbol, detector, shown)
	}
	d.parts = textParts(text)
	return d
}

var reportStates = map[ReportState]string{
	Partial: "⚠️ Incomplete: ",
	Empty:   "Nothing to report: ",
	Failed:  "⛔ The report failed: ",
}

// reportDraft drafts the message with a report.
func reportDraft(r Report) draft {
	d := draft{key: r.Key, files: map[string][]byte{}}
	text := markup("<b>%s</b>", r.Title)
	summary := strings.TrimSpace(r.HTML)
	if r.State == Partial && summary != "" {
		text += ", incomplete" // the summary says why
	} else if r.State != "" {
		reason := r.Reason
		if runes := []rune(reason); len(runes) > maxReason {
			reason = string(runes[:maxReason]) + "…"
		}
		text += "\n" + reportStates[r.State] + telegram.Escape(wording.VisibleLines(reason))
	}
	if r.State != "" && r.State != Partial {
		d.parts = textParts(text)
		return d
	}
	if summary != "" {
		text += "\n" + r.HTML
	}
	var fileParts []part
	for _, picture := range r.Pictures {
		form := photoForm
		if len(picture.Content) > telegram.PhotoLimit {
			form = documentForm
		}
		fileParts = append(fileParts, d.addFile(form, picture)...)
	}
	for _, document := range r.Documents {
		fileParts = append(fileParts, d.addFile(documentForm, document)...)
	}
	if len(fileParts) > 0 && fileParts[0].Form == photoForm && fileParts[0].HTML == "" &&
		telegram.Units(text) <= telegram.CaptionLimit {
		// The text becomes the caption of the first picture: one message instead of two.
		fileParts[0].HTML = telegram.Split(text, telegram.CaptionLimit)[0]
	} else {
		d.parts = textParts(text)
	}
	d.parts = append(d.parts, fileParts...)
	return d
}

// addFile adds a file to the draft and returns the parts that carry it. If Telegram would not
// accept the file, the part is a text that says so.
func (d *draft) addFile(form form, file File) []part {
	switch size := len(file.Content); {
	case size == 0:
		return textParts(markup("<code>%s</code> is empty and was not sent.", file.Name))
	case size > telegram.DocumentLimit:
		return textParts(markup("<code>%s</code> has %d MB and was not sent: Telegram accepts at most %d MB from a bot.",
			file.Name, (size+1<<20-1)>>20, telegram.DocumentLimit>>20))
	}
	name := fileName(file.Content)
	d.files[name] = file.Content
	parts := []part{{Form: form, File: name, FileName: file.Name}}
	for i, caption := range telegram.Split(telegram.Escape(wording.VisibleLines(file.Caption)), telegram.CaptionLimit) {
		if i == 0 {
			parts[0].HTML = caption
		} else {
			parts = append(parts, part{Form: textForm, HTML: caption})
		}
	}
	return parts
}

// noticeDraft drafts the message with a notice.
func noticeDraft(n Notice) draft {
	d := draft{key: n.Key, topic: n.Topic, recovered: n.Recovered}
	if n.Topic != "" {
		d.key = fmt.Sprintf("notice/%s/%s/%t", n.Topic, n.At.UTC().Format(time.RFC3339Nano), n.Recovered)
	}
	mark := "ℹ️"
	switch {
	case n.Recovered:
		mark = "✅"
	case n.Topic != "":
		mark = "⛔"
	}
	text := markup("%s <b>%s</b>", mark, n.Title)
	if n.Text != "" {
		text += "\n" + telegram.Escape(wording.VisibleLines(n.Text))
	}
	if !n.At.IsZero() {
		text += "\n" + n.At.UTC().Format("2006-01-02 15:04:05") + " UTC"
	}
	d.parts = textParts(text)
	return d
}

// markup formats a text as Telegram's HTML. Texts among the arguments are escaped; each stays on its
// line.
func markup(format string, args ...any) string {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = telegram.Escape(wording.Visible(text))
		}
	}
	return fmt.Sprintf(format, args...)
}

// textParts splits markup into messages. Markup without any text still becomes a message, so that
// something arrives.
func textParts(text string) []part {
	var parts []part
	for _, piece := range telegram.Split(text, telegram.TextLimit) {
		parts = append(parts, part{Form: textForm, HTML: piece})
	}
	if len(parts) == 0 {
		parts = []part{{Form: textForm, HTML: "(an empty message)"}}
	}
	return parts
}
