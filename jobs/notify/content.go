package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/telegram"
)

// digestLines bounds what a digest lists; it counts all.
const digestLines = 60

var marks = map[string]string{"low": "🟡", "medium": "🟠", "high": "🔴"}

func (a alert) mark() string {
	if a.Over {
		return "✅"
	}
	return marks[a.Severity]
}

// single is the message about one alert.
func single(a alert) draft {
	what := a.Severity
	if a.Over {
		what = "over"
	}
	text := fmt.Sprintf("%s <b>%s</b> %s, %s\n%s\n%s UTC, score %.1f", a.mark(), telegram.Escape(a.Symbol), telegram.Escape(a.Detector), what,
		telegram.Escape(a.text), a.At.Format("2006-01-02 15:04:05"), a.score)
	if a.incident != nil && !a.Over && len(a.incident.Detectors) > 1 {
		text += "\n" + telegram.Escape(fmt.Sprintf("%d detectors agree: %s", len(a.incident.Detectors), strings.Join(a.incident.Detectors, ", ")))
	}
	return draft{kind: alertKind, key: a.key(), alerts: []toldAlert{a.toldAlert}, parts: textParts(text)}
}

// marketSymbols bounds what a message about the whole market lists.
const marketSymbols = 30

// marketWide makes one message of the alerts of each incident of the whole market, and gives the rest back.
func marketWide(alerts []alert) (drafts []draft, rest []alert) {
	byIncident := map[*Incident][]alert{}
	var incidents []*Incident
	for _, a := range alerts {
		if !a.Market || a.Over {
			rest = append(rest, a)
			continue
		}
		if byIncident[a.incident] == nil {
			incidents = append(incidents, a.incident)
		}
		byIncident[a.incident] = append(byIncident[a.incident], a)
	}
	for _, incident := range incidents {
		d := draft{kind: alertKind}
		var symbols []string
		for _, a := range byIncident[incident] {
			d.alerts = append(d.alerts, a.toldAlert)
			if !slices.Contains(symbols, a.Symbol) {
				symbols = append(symbols, a.Symbol)
			}
		}
		first := d.alerts[0]
		d.key = fmt.Sprintf("market/%s/%s", first.At.Format(time.RFC3339Nano), incident.Severity)
		slices.Sort(symbols)
		listed := strings.Join(symbols[:min(len(symbols), marketSymbols)], ", ")
		if more := len(symbols) - marketSymbols; more > 0 {
			listed += fmt.Sprintf(" and %d more, in the table alerts", more)
		}
		d.parts = textParts(fmt.Sprintf("%s <b>The whole market</b>, %s\n%s (%s)\n%s\nsince %s UTC", marks[incident.Severity], telegram.Escape(incident.Severity), telegram.Escape(incident.Message),
			telegram.Escape(strings.Join(incident.Detectors, ", ")), telegram.Escape(listed), incident.StartedAt.Format("2006-01-02 15:04:05")))
		drafts = append(drafts, d)
	}
	return drafts, rest
}

// digest is one message about many alerts, the most severe first.
func digest(alerts []alert) draft {
	d := draft{kind: alertKind}
	sum := sha256.New()
	counts := map[string]int{}
	for _, a := range alerts {
		d.alerts = append(d.alerts, a.toldAlert)
		fmt.Fprintln(sum, a.key())
		what := a.Severity
		if a.Over {
			what = "over"
		}
		counts[what]++
	}
	d.key = "alerts/" + hex.EncodeToString(sum.Sum(nil)[:12])
	var found []string
	for _, what := range []string{"high", "medium", "low", "over"} {
		if counts[what] > 0 {
			found = append(found, fmt.Sprintf("%d %s", counts[what], what))
		}
	}
	var text strings.Builder
	first, last := alerts[0].At, alerts[len(alerts)-1].At
	fmt.Fprintf(&text, "<b>%d alerts</b>: %s\n%s to %s UTC\n", len(alerts), strings.Join(found, ", "), first.Format("2006-01-02 15:04"), last.Format(clockOf(first, last)))
	ordered := slices.Clone(alerts)
	slices.SortStableFunc(ordered, func(a, b alert) int { return a.rank() - b.rank() })
	for i, a := range ordered {
		if i == digestLines {
			fmt.Fprintf(&text, "\nand %d more, in the table alerts", len(ordered)-i)
			break
		}
		fmt.Fprintf(&text, "\n%s %s <b>%s</b> %s: %s", a.mark(), a.At.Format(clockOf(first, last)), telegram.Escape(a.Symbol), telegram.Escape(a.Detector), telegram.Escape(a.text))
	}
	d.parts = textParts(text.String())
	return d
}

func (a alert) rank() int {
	if a.Over {
		return len(severities)
	}
	return -slices.Index(severities, a.Severity)
}

// clockOf is the layout in which times between first and last are told apart.
func clockOf(first, last time.Time) string {
	if first.Truncate(24 * time.Hour).Equal(last.Truncate(24 * time.Hour)) {
		return "15:04"
	}
	return "2006-01-02 15:04"
}

var stateWords = map[ReportState]string{
	Partial: "⚠️ Not complete: ", Empty: "Nothing to report: ", Stale: "⚠️ The data are too old for a report: ", Failed: "⛔ The report could not be made: ",
}

// reportDraft is the message with a report, and the contents of its files by their names in the outbox.
func reportDraft(r Report) (draft, map[string][]byte) {
	d := draft{kind: reportKind, key: r.Key}
	files := map[string][]byte{}
	text := "<b>" + telegram.Escape(r.Title) + "</b>"
	if r.State != "" {
		text += "\n" + stateWords[r.State] + telegram.Escape(cut(r.Why))
	}
	if r.State != "" && r.State != Partial {
		d.parts = textParts(text)
		return d, files
	}
	if strings.TrimSpace(r.HTML) != "" {
		text += "\n" + r.HTML
	}
	var carried []part
	for _, picture := range r.Pictures {
		form := photoForm
		if len(picture.Content) > telegram.PhotoLimit {
			form = documentForm
		}
		carried = append(carried, fileParts(form, picture, files)...)
	}
	for _, document := range r.Documents {
		carried = append(carried, fileParts(documentForm, document, files)...)
	}
	if len(carried) > 0 && carried[0].Form == photoForm && carried[0].HTML == "" && telegram.Units(text) <= telegram.CaptionLimit {
		// The first picture without a caption of its own carries the text: one message instead of two.
		carried[0].HTML = telegram.Split(text, telegram.CaptionLimit)[0]
	} else {
		d.parts = textParts(text)
	}
	d.parts = append(d.parts, carried...)
	return d, files
}

// fileParts are the parts that carry a file. One that Telegram would not take is told of instead.
func fileParts(form form, file File, files map[string][]byte) []part {
	switch size := len(file.Content); {
	case size == 0:
		return textParts(fmt.Sprintf("<code>%s</code> is empty and was not sent.", telegram.Escape(file.Name)))
	case size > telegram.DocumentLimit:
		return textParts(fmt.Sprintf("<code>%s</code> has %d MB and was not sent: Telegram takes %d MB from a bot.", telegram.Escape(file.Name), (size+1<<20-1)>>20, telegram.DocumentLimit>>20))
	}
	name := fileName(file.Content)
	files[name] = file.Content
	p := part{Form: form, File: name, FileName: file.Name}
	captions := telegram.Split(telegram.Escape(file.Caption), telegram.CaptionLimit)
	if len(captions) == 0 {
		return []part{p}
	}
	p.HTML = captions[0]
	parts := []part{p}
	for _, more := range captions[1:] {
		parts = append(parts, part{Form: textForm, HTML: more})
	}
	return parts
}

// noticeDraft is the message with a notice.
func noticeDraft(n Notice) draft {
	d := draft{kind: noticeKind, key: n.Key, topic: n.Topic, over: n.Over}
	if n.Topic != "" {
		d.key = fmt.Sprintf("notice/%s/%s/%t", n.Topic, n.At.UTC().Format(time.RFC3339Nano), n.Over)
	}
	mark := "ℹ️"
	switch {
	case n.Over:
		mark = "✅"
	case n.Topic != "":
		mark = "⛔"
	}
	text := fmt.Sprintf("%s <b>%s</b>", mark, telegram.Escape(n.Title))
	if n.Text != "" {
		text += "\n" + telegram.Escape(n.Text)
	}
	if !n.At.IsZero() {
		text += "\n" + n.At.UTC().Format("2006-01-02 15:04:05") + " UTC"
	}
	d.parts = textParts(text)
	return d
}

// textParts cuts markup into messages. Markup that shows nothing is a message all the same, so that something arrives.
func textParts(markup string) []part {
	var parts []part
	for _, text := range telegram.Split(markup, telegram.TextLimit) {
		parts = append(parts, part{Form: textForm, HTML: text})
	}
	if len(parts) == 0 {
		parts = []part{{Form: textForm, HTML: "(an empty message)"}}
	}
	return parts
}

// cut shortens an explanation to what fits into a message with its title.
func cut(text string) string {
	const most = 1000
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
