package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
)

// EnqueueAlerts stores the alerts of one run for each chat that receives them. Of the alerts of one
// incident a chat receives the first, and another one if the severity rises or the cooldown is
// over. A market-wide incident is one message. Alerts that were enqueued before are ignored, so the
// alerts of a run that died can be enqueued again. Alerts older than a day are left out. When
// EnqueueAlerts returns without error, the messages are durable.
func (o *Outbox) EnqueueAlerts(ctx context.Context, alerts []tape.Alert, incidents []analytics.Incident,
	now time.Time) (Queued, error) {
	all := make([]alert, len(alerts))
	for i, a := range alerts {
		all[i] = newAlert(a).withIncident(incidents)
	}
	setLeads(all)
	slices.SortStableFunc(all, func(a, b alert) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Symbol, b.Symbol), a.rank()-b.rank(),
			strings.Compare(a.Detector, b.Detector))
	})
	if !o.HasChats() {
		for _, a := range all {
			o.log.Info("alert", "detector", a.Detector, "symbol", a.Symbol, "at", a.At, "severity", a.Severity,
				"message", a.text)
		}
		return Queued{}, nil
	}
	var queued Queued
	err := o.enqueue(ctx, AlertKind, &queued, now, func(chat Chat, history []*entry) []draft {
		drafts, chosen := marketDrafts(o.chooseAlerts(chat, all, history, now, &queued))
		if len(chosen) > o.config.DigestAbove {
			return append(drafts, digestDraft(chosen))
		}
		for _, a := range chosen {
			drafts = append(drafts, alertDraft(a))
		}
		return drafts
	})
	return queued, err
}

// setLeads sets the lead of the alerts that belong to a symbol's incident: the alert whose text the
// messages about the incident show. It is the most severe one, and of several the one with the
// highest score.
func setLeads(all []alert) {
	leads := map[*analytics.Incident]*alert{}
	for i := range all {
		a := &all[i]
		if a.incident == nil || a.MarketWide || a.Recovered {
			continue
		}
		if lead := leads[a.incident]; lead == nil || a.leads(*lead) {
			leads[a.incident] = a
		}
	}
	for i := range all {
		if a := &all[i]; !a.Recovered {
			a.lead = leads[a.incident]
		}
	}
}

// leads reports whether a rather than b is the lead of their incident.
func (a alert) leads(b alert) bool {
	return cmp.Or(severityRank(b.severity)-severityRank(a.severity), cmp.Compare(b.score, a.score), a.At.Compare(b.At),
		strings.Compare(a.Detector, b.Detector)) < 0
}

// EnqueueRecorded enqueues alerts on the tape that were found recently. They include those of a run
// that died after it published its alerts and before it enqueued them. Alerts that were enqueued
// before are ignored.
func (o *Outbox) EnqueueRecorded(ctx context.Context, alerts []tape.Alert, incidents []analytics.Incident,
	now time.Time) (Queued, error) {
	if !o.HasChats() {
		return Queued{}, nil // the run that found them has logged them
	}
	return o.EnqueueAlerts(ctx, alerts, incidents, now)
}

// alert is an alert that may be sent.
type alert struct {
	sentAlert
	text     string
	score    float64
	severity string              // its own, which that of the incident may exceed
	incident *analytics.Incident // nil if it belongs to none
	lead     *alert              // whose text is shown; nil if it belongs to no incident of its symbol
}

func newAlert(a tape.Alert) alert {
	var extra struct {
		Recovered bool `json:"recovered"`
	}
	_ = json.Unmarshal([]byte(a.Extra), &extra) // a user's detector may have a column recovered of another type
	return alert{
		sentAlert: sentAlert{Detector: a.Detector, Symbol: a.Symbol, At: time.UnixMicro(a.At).UTC(),
			Severity: a.Severity, Recovered: extra.Recovered},
		text: a.Message, score: a.Score, severity: a.Severity,
	}
}

// withIncident returns the alert with its incident, whose severity it takes if that is higher.
func (a alert) withIncident(incidents []analytics.Incident) alert {
	for i, incident := range incidents {
		wide := incident.Symbol == analytics.AllSymbols
		concerned := incident.Symbol == a.Symbol || wide && slices.Contains(incident.Symbols, a.Symbol)
		if !concerned || a.At.Before(incident.StartedAt) || a.At.After(incident.LastAt) {
			continue
		}
		if a.incident == nil || !wide { // a symbol's own incident says more than a market-wide one at the same time
			a.incident, a.MarketWide = &incidents[i], wide
		}
	}
	if a.incident != nil && severityRank(a.incident.Severity) > severityRank(a.Severity) {
		a.Severity = a.incident.Severity
	}
	return a
}

// rank orders alerts: the most severe first, recoveries last.
func (a alert) rank() int {
	if a.Recovered {
		return len(severities)
	}
	return -severityRank(a.Severity)
}

func (a alert) key() string {
	key := fmt.Sprintf("alert/%s/%s/%s", a.Detector, a.Symbol, a.At.Format(time.RFC3339Nano))
	if a.Recovered {
		key += "/over"
	}
	return key
}

// chooseAlerts returns the alerts that a chat receives now, and counts the others in queued.
func (o *Outbox) chooseAlerts(chat Chat, all []alert, history []*entry, now time.Time, queued *Queued) []alert {
	sent := map[string][]sentAlert{} // by symbol; market-wide ones also under AllSymbols
	add := func(a sentAlert) {
		sent[a.Symbol] = append(sent[a.Symbol], a)
		if a.MarketWide {
			sent[analytics.AllSymbols] = append(sent[analytics.AllSymbols], a)
		}
	}
	for _, e := range history {
		for _, a := range e.message.Alerts {
			add(a)
		}
	}
	var chosen []alert
	for _, a := range all {
		if len(chat.Detectors) > 0 {
			a.lead = nil // the incident's text may be that of a detector that the chat does not receive
		}
		earlier := sent[a.Symbol]
		// A recovery from something that the chat never received is an alert like any other: for
		// example a crash that was already over when it was detected.
		a.Recovered = a.Recovered && latest(earlier, a.At, a.isRelated) != nil
		switch {
		case slices.ContainsFunc(earlier, func(b sentAlert) bool { return a.isSame(b) && b.At.Equal(a.At) }):
			queued.Known++
			continue
		case now.Sub(a.At) > maxAlertAge:
			queued.Old++
			continue
		case !chat.acceptsAlert(a):
			queued.Filtered++
			continue
		case a.MarketWide && !a.Recovered && a.isRepeat(sent[analytics.AllSymbols], o.config.Cooldown) ||
			(!a.MarketWide || a.Recovered) && o.isHeldBack(a, earlier):
			queued.HeldBack++
			continue
		}
		chosen = append(chosen, a)
		if !a.MarketWide { // market-wide alerts that are chosen now become one message
			add(a.sentAlert)
		}
	}
	return chosen
}

// isHeldBack reports whether an alert is not sent because of what was sent about its symbol
// earlier: a second recovery, or a repetition without a recovery in between.
func (o *Outbox) isHeldBack(a alert, earlier []sentAlert) bool {
	if a.Recovered {
		return latest(earlier, a.At, a.isRelated).Recovered
	}
	last := latest(earlier, a.At, a.isSame)
	return a.isRepeat(earlier, o.config.Cooldown) && (last == nil || !last.Recovered)
}

// isRepeat reports whether a related alert of at least the same severity was sent within the
// cooldown.
func (a alert) isRepeat(earlier []sentAlert, cooldown time.Duration) bool {
	return slices.ContainsFunc(earlier, func(b sentAlert) bool {
		return a.isRelated(b) && !b.Recovered && a.At.Sub(b.At).Abs() < cooldown &&
			severityRank(b.Severity) >= severityRank(a.Severity)
	})
}

// isSame reports whether b has the same detector and symbol.
func (a alert) isSame(b sentAlert) bool { return b.Detector == a.Detector && b.Symbol == a.Symbol }

// isRelated reports whether b has the same detector and symbol, or belongs to the same incident.
func (a alert) isRelated(b sentAlert) bool {
	return a.isSame(b) || a.incident != nil && !b.At.Before(a.incident.StartedAt) && !b.At.After(a.incident.LastAt)
}

// latest returns the last alert up to at that matches, or nil.
func latest(sent []sentAlert, at time.Time, matches func(sentAlert) bool) (last *sentAlert) {
	for i, b := range sent {
		if matches(b) && !b.At.After(at) && (last == nil || !b.At.Before(last.At)) {
			last = &sent[i]
		}
	}
	return last
}
