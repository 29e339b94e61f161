package notify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/telegram"
)

// Queued is what a call wrote down, over all chats.
type Queued struct {
	// Messages that are now in the outbox; each is sent as one or more.
	Messages int
	// Known alerts and messages were in the outbox already.
	Known int
	// HeldBack were told within the cooldown, or are the end of what the chat knows to be over. Filtered are not for that chat. Old alerts are no news.
	HeldBack, Filtered, Old int
}

// Incident is what some alerts are about together.
type Incident struct {
	// Symbol is MarketWide where many symbols are concerned at once.
	Symbol string
	// StartedAt and LastAt are the times of its first and its last alert.
	StartedAt, LastAt time.Time
	Severity          string
	// Detectors that agree and Symbols concerned, by name.
	Detectors, Symbols []string
	Message            string // plain text
}

// MarketWide is the symbol of an incident of the whole market.
const MarketWide = "*"

// Report is a report to be sent.
type Report struct {
	// Key is its identity, such as report/daily/2026-01-15: what has the same is sent once.
	Key string
	// Title is plain text.
	Title string
	// HTML is the body, in Telegram's HTML.
	HTML string
	// State is empty for a report that is as it should be. Why says in plain text what is wrong where it is not.
	State ReportState
	Why   string
	// Pictures and Documents go along, in this order, unless the State says that they are worth nothing.
	Pictures, Documents []File
}

// ReportState says what is wrong with a report.
type ReportState string

// The states. Partial comes with a warning; of the other three only the title and the reason are sent.
const (
	Partial ReportState = "partial" // not all of the data are there
	Empty   ReportState = "empty"   // nothing traded
	Stale   ReportState = "stale"   // the data end long before the window does
	Failed  ReportState = "failed"  // it could not be made
)

// File goes along with a report.
type File struct {
	Name    string
	Caption string // plain text
	Content []byte
}

// Notice is something that people should know of tapedeck itself.
type Notice struct {
	// Topic is the trouble, such as job/heal. While it lasts, it is told again after the cooldown only; with Over it is told to those
	// who heard of it that it has passed. Empty for what is no trouble.
	Topic string
	Over  bool
	// Key is the identity of a notice without a Topic.
	Key string
	// Title and Text are plain text.
	Title, Text string
	// At is when it happened.
	At time.Time
}

// EnqueueAlerts writes down the alerts of one run for each chat that wants them. Of the alerts of one incident a chat is told the first, and another when the
// severity rises or the cooldown is over; an incident of the whole market is one message. An alert that was written down before is not again, so
// a run whose process died can be handed over whole once more. Alerts older than a day are no news and are left out. When it returns
// without error, they are on the disk.
func (o *Outbox) EnqueueAlerts(ctx context.Context, alerts []tape.Alert, incidents []Incident, now time.Time) (Queued, error) {
	var queued Queued
	all := make([]alert, len(alerts))
	for i, a := range alerts {
		all[i] = newAlert(a).in(incidents)
	}
	slices.SortStableFunc(all, func(a, b alert) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Symbol, b.Symbol), a.rank()-b.rank(), strings.Compare(a.Detector, b.Detector))
	})
	if len(o.config.Chats) == 0 {
		for _, a := range all {
			o.log.Info("alert", "detector", a.Detector, "symbol", a.Symbol, "at", a.At, "severity", a.Severity, "message", a.text)
		}
		return queued, nil
	}
	if len(all) == 0 {
		return queued, nil
	}
	return o.enqueue(ctx, Alerts, func(chat Chat, history []*entry) []draft {
		chosen := o.choose(chat, all, history, now, &queued)
		drafts, chosen := marketWide(chosen)
		if len(chosen) > o.config.DigestAbove {
			return append(drafts, digest(chosen))
		}
		for _, a := range chosen {
			drafts = append(drafts, single(a))
		}
		return drafts
	}, &queued, now)
}

// choose gives the alerts that a chat is told now.
func (o *Outbox) choose(chat Chat, all []alert, history []*entry, now time.Time, queued *Queued) []alert {
	told := map[string][]toldAlert{} // by symbol, and those of the whole market
	remember := func(a toldAlert) {
		told[a.Symbol] = append(told[a.Symbol], a)
		if a.Market {
			told[MarketWide] = append(told[MarketWide], a)
		}
	}
	for _, e := range history {
		for _, a := range e.m.Alerts {
			remember(a)
		}
	}
	var chosen []alert
	for _, a := range all {
		before := told[a.Symbol]
		// What a chat never heard of is no end for it, but an alert like any other: a fall that has come back by the time that it is seen.
		a.Over = a.Over && latest(before, a.At, a.goesWith) != nil
		switch {
		case slices.ContainsFunc(before, func(b toldAlert) bool { return b.Detector == a.Detector && b.At.Equal(a.At) }):
			queued.Known++
			continue
		case now.Sub(a.At) > tellWithin:
			queued.Old++
			continue
		case !chat.wantsSymbol(a.Symbol) || !chat.wantsDetector(a.Detector) || !a.Over && !chat.wantsSeverity(a.Severity):
			queued.Filtered++
			continue
		case a.Market && !a.Over && a.wasTold(told[MarketWide], o.config.Cooldown) || (!a.Market || a.Over) && o.heldBack(a, before):
			queued.HeldBack++
			continue
		}
		chosen = append(chosen, a)
		if !a.Market { // those of the market that are told now are one message
			remember(a.toldAlert)
		}
	}
	return chosen
}

// heldBack says whether an alert is left untold for what was told of its symbol before.
func (o *Outbox) heldBack(a alert, before []toldAlert) bool {
	if a.Over {
		return latest(before, a.At, a.goesWith).Over // this chat heard of the end before
	}
	last := latest(before, a.At, a.isLike)
	return a.wasTold(before, o.config.Cooldown) && (last == nil || !last.Over)
}

// wasTold says whether something as severe of the same detector or incident was told, at most the cooldown away.
func (a alert) wasTold(before []toldAlert, cooldown time.Duration) bool {
	return slices.ContainsFunc(before, func(b toldAlert) bool {
		return a.goesWith(b) && !b.Over && a.At.Sub(b.At).Abs() < cooldown && slices.Index(severities, b.Severity) >= slices.Index(severities, a.Severity)
	})
}

// isLike says whether another is of the same detector and symbol, goesWith whether it is that or of the same incident.
func (a alert) isLike(b toldAlert) bool { return b.Detector == a.Detector && b.Symbol == a.Symbol }

func (a alert) goesWith(b toldAlert) bool {
	return a.isLike(b) || a.incident != nil && !b.At.Before(a.incident.StartedAt) && !b.At.After(a.incident.LastAt)
}

// latest is the last of those told that is not after at and meets the condition; nil for none.
func latest(told []toldAlert, at time.Time, meets func(toldAlert) bool) (last *toldAlert) {
	for i, b := range told {
		if meets(b) && !b.At.After(at) && (last == nil || !b.At.Before(last.At)) {
			last = &told[i]
		}
	}
	return last
}

// EnqueueReport writes a report down for each chat that wants reports.
func (o *Outbox) EnqueueReport(ctx context.Context, report Report, now time.Time) (Queued, error) {
	var queued Queued
	if report.Key == "" {
		return queued, errors.New("enqueue a report: it has no key")
	}
	if len(o.config.Chats) == 0 {
		o.log.Info("report", "title", report.Title, "state", string(report.State), "why", report.Why, "text", telegram.Plain(report.HTML))
		return queued, nil
	}
	d, files := reportDraft(report)
	d.files = files
	return o.enqueue(ctx, Reports, func(Chat, []*entry) []draft { return []draft{d} }, &queued, now)
}

// EnqueueNotice writes a notice down for each chat that wants notices.
func (o *Outbox) EnqueueNotice(ctx context.Context, notice Notice, now time.Time) (Queued, error) {
	var queued Queued
	if len(o.config.Chats) == 0 {
		o.log.Info("notice", "title", notice.Title, "text", notice.Text, "over", notice.Over)
		return queued, nil
	}
	if notice.Topic == "" && notice.Key == "" {
		return queued, errors.New("enqueue a notice: it has neither topic nor key")
	}
	d := noticeDraft(notice)
	return o.enqueue(ctx, Notices, func(_ Chat, history []*entry) []draft {
		if notice.Topic == "" {
			return []draft{d}
		}
		var last *entry
		for _, e := range history {
			if e.m.Topic == notice.Topic {
				last = e
			}
		}
		lasts := last != nil && !last.m.Over
		again := lasts && last.m.Key != d.key && notice.At.Sub(last.m.QueuedAt).Abs() < o.config.Cooldown
		if notice.Over && !lasts || !notice.Over && again {
			queued.HeldBack++
			return nil
		}
		return []draft{d}
	}, &queued, now)
}

// draft is a message before it has a chat.
type draft struct {
	kind   kind
	key    string
	alerts []toldAlert
	topic  string
	over   bool
	parts  []part
	files  map[string][]byte // contents by the name in the outbox
}

// enqueue writes down what drafts gives for each chat that wants such messages; history are the messages to the chat that are still known.
func (o *Outbox) enqueue(ctx context.Context, wanted Wanted, drafts func(chat Chat, history []*entry) []draft, queued *Queued, now time.Time) (Queued, error) {
	unlock, err := o.lock(enqueueLock, doWait)
	if err != nil {
		return *queued, fmt.Errorf("enqueue: %w", err)
	}
	defer unlock()
	entries, next, err := o.scan()
	if err != nil {
		return *queued, fmt.Errorf("enqueue: %w", err)
	}
	history := map[string][]*entry{}
	names := map[string]bool{}
	for _, e := range entries {
		history[e.m.Chat] = append(history[e.m.Chat], e)
		names[e.hash] = true
	}
	for _, chat := range o.config.Chats {
		if !chat.wants(wanted) {
			continue
		}
		for _, d := range drafts(chat, history[chat.ID]) {
			if err := ctx.Err(); err != nil {
				return *queued, err
			}
			hash := hashOf(chat.ID, d.key)
			if names[hash] {
				queued.Known++
				continue
			}
			for name, content := range d.files {
				if err := o.keepFile(name, content); err != nil {
					return *queued, fmt.Errorf("enqueue a file: %w", err)
				}
			}
			m := message{
				Format: messageFormat, Chat: chat.ID, Kind: d.kind, Key: d.key, QueuedAt: now.UTC(), Alerts: d.alerts, Topic: d.topic, Over: d.over, Parts: d.parts,
			}
			if err := o.store.WriteState(filepath.Join(outboxDir, messageName(next, hash)), m); err != nil {
				return *queued, fmt.Errorf("enqueue: %w", err)
			}
			o.log.Debug("message queued", "chat", chat.label(), "kind", string(d.kind), "key", d.key)
			names[hash] = true
			next++
			queued.Messages++
		}
	}
	return *queued, nil
}

// keepFile puts a file into the outbox unless it is there.
func (o *Outbox) keepFile(name string, content []byte) error {
	info, err := os.Stat(o.path(name))
	switch {
	case err == nil && info.Size() == int64(len(content)):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return o.store.WriteStateBytes(filepath.Join(outboxDir, name), content)
}

func fileName(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]) + fileEnding
}

// alert is one to be told.
type alert struct {
	toldAlert
	text     string
	score    float64
	incident *Incident // nil where none is known
}

func newAlert(a tape.Alert) alert {
	var extra struct {
		Recovered bool `json:"recovered"`
	}
	_ = json.Unmarshal([]byte(a.Extra), &extra) // a column of that name and another type is not this
	return alert{
		toldAlert: toldAlert{Detector: a.Detector, Symbol: a.Symbol, At: time.UnixMicro(a.At).UTC(), Severity: a.Severity, Over: extra.Recovered},
		text:      a.Message, score: a.Score,
	}
}

// in gives the alert as part of its incident, whose severity it takes where that is graver.
func (a alert) in(incidents []Incident) alert {
	for i, incident := range incidents {
		wide := incident.Symbol == MarketWide
		if a.At.Before(incident.StartedAt) || a.At.After(incident.LastAt) || incident.Symbol != a.Symbol && !(wide && slices.Contains(incident.Symbols, a.Symbol)) {
			continue
		}
		if a.incident == nil || !wide { // a symbol's own incident says more than one of the market that goes on meanwhile
			a.incident, a.Market = &incidents[i], wide
		}
	}
	if a.incident != nil && slices.Index(severities, a.incident.Severity) > slices.Index(severities, a.Severity) {
		a.Severity = a.incident.Severity
	}
	return a
}

func (a alert) key() string {
	key := fmt.Sprintf("alert/%s/%s/%s", a.Detector, a.Symbol, a.At.Format(time.RFC3339Nano))
	if a.Over {
		key += "/over"
	}
	return key
}

// recordedWithin is how long ago an alert may have been found for EnqueueRecorded to take it up.
const recordedWithin = time.Hour

// Recorded is where alerts are published: *tape.Dir.
type Recorded interface {
	ReadAlerts(fromDate, toDate string) ([]tape.Alert, error)
}

// EnqueueRecorded enqueues the alerts that were found in the last hour, as the table alerts has them: those of a run that died after it had published
// them and before it could hand them over. What is in the outbox already is not enqueued again.
func (o *Outbox) EnqueueRecorded(ctx context.Context, recorded Recorded, incidents []Incident, now time.Time) (Queued, error) {
	if len(o.config.Chats) == 0 {
		return Queued{}, nil // they are in the log of the run that found them, or lost with it
	}
	alerts, err := recorded.ReadAlerts(now.Add(-tellWithin).UTC().Format(time.DateOnly), now.UTC().Format(time.DateOnly))
	if err != nil {
		return Queued{}, fmt.Errorf("read the alerts: %w", err)
	}
	alerts = slices.DeleteFunc(alerts, func(a tape.Alert) bool { return now.Sub(time.UnixMicro(a.FoundAt)).Abs() > recordedWithin })
	return o.EnqueueAlerts(ctx, alerts, incidents, now)
}
