package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/telegram"
)

// Queued is what a call enqueued, over all chats.
type Queued struct {
	// Messages counts the messages that were added to the outbox.
	Messages int
	// Known counts the alerts and messages that were in the outbox before.
	Known int
	// HeldBack counts the alerts and notices within the cooldown and repeated recoveries, Filtered
	// those that a chat does not receive, and Old those older than a day.
	HeldBack, Filtered, Old int
}

// Report is a report to send.
type Report struct {
	// Key identifies the report. Reports with the same key are sent once.
	Key string
	// Title is plain text.
	Title string
	// HTML is the body in Telegram's HTML.
	HTML string
	// State is empty for a complete report. Otherwise Reason explains it in plain text.
	State  ReportState
	Reason string
	// Pictures and Documents are sent with the report, in this order, if the report is complete or
	// Partial.
	Pictures, Documents []File
}

// ReportState is what is wrong with a report.
type ReportState string

// A Partial report is sent with a warning. Of the others, only the title and the reason are sent.
const (
	Partial ReportState = "partial" // data are missing
	Empty   ReportState = "empty"   // no trades
	Failed  ReportState = "failed"  // it could not be built
)

// File is sent with a report.
type File struct {
	Name    string
	Caption string // plain text
	Content []byte
}

// Notice is a message about tapedeck itself.
type Notice struct {
	// Topic names an ongoing problem, such as job/heal, and is empty for other notices. While the
	// problem lasts, its notice is repeated only after the cooldown. A notice with Recovered goes
	// to the chats that received the problem.
	Topic     string
	Recovered bool
	// Key identifies a notice without a Topic.
	Key string
	// Title and Text are plain text.
	Title, Text string
	// At is when it happened.
	At time.Time
}

// JobResult is the result of a scheduled job that failed or recovered.
type JobResult struct {
	Job, Outcome string
	Message      string // why, in one line
	Output       string // the end of the run's output
	Recovered    bool
	FinishedAt   time.Time
}

// JobNotice returns the notice of a job that failed or recovered.
func JobNotice(result JobResult) Notice {
	notice := Notice{
		Topic: "job/" + result.Job, Recovered: result.Recovered, At: result.FinishedAt,
		Title: fmt.Sprintf("Job %s: %s", result.Job, result.Outcome), Text: result.Message,
	}
	if result.Recovered {
		notice.Title = fmt.Sprintf("Job %s recovered", result.Job)
		return notice
	}
	// The output ends with the error, and often is nothing else.
	output := strings.TrimSpace(strings.TrimPrefix(result.Output, "tapedeck: "+result.Message))
	if output != "" && output != result.Message {
		notice.Text += "\n\n" + output
	}
	return notice
}

// EnqueueReport stores a report for each chat that receives reports. It is durable when
// EnqueueReport returns.
func (o *Outbox) EnqueueReport(ctx context.Context, report Report, now time.Time) (queued Queued, err error) {
	if report.Key == "" {
		return queued, errors.New("enqueue report: no key")
	}
	if !o.HasChats() {
		o.log.Info("report", "title", report.Title, "state", string(report.State), "reason", report.Reason,
			"text", telegram.Plain(report.HTML))
		return queued, nil
	}
	d := reportDraft(report)
	err = o.enqueue(ctx, ReportKind, &queued, now, func(Chat, []*entry) []draft { return []draft{d} })
	return queued, err
}

// EnqueueNotice stores a notice for each chat that receives notices. It is durable when
// EnqueueNotice returns.
func (o *Outbox) EnqueueNotice(ctx context.Context, notice Notice, now time.Time) (queued Queued, err error) {
	if !o.HasChats() {
		o.log.Info("notice", "title", notice.Title, "text", notice.Text, "recovered", notice.Recovered)
		return queued, nil
	}
	if notice.Topic == "" && notice.Key == "" {
		return queued, errors.New("enqueue notice: neither topic nor key")
	}
	d := noticeDraft(notice)
	err = o.enqueue(ctx, NoticeKind, &queued, now, func(_ Chat, history []*entry) []draft {
		if notice.Topic != "" && o.isNoticeHeldBack(notice, d.key, history) {
			queued.HeldBack++
			return nil
		}
		return []draft{d}
	})
	return queued, err
}

// isNoticeHeldBack reports whether a chat does not receive a notice about a problem: the problem
// recovered without the chat having received it, or the chat received it within the cooldown.
func (o *Outbox) isNoticeHeldBack(notice Notice, key string, history []*entry) bool {
	var last *message
	for _, e := range history {
		if e.message.Topic == notice.Topic {
			last = e.message
		}
	}
	ongoing := last != nil && !last.Recovered
	if notice.Recovered {
		return !ongoing
	}
	return ongoing && last.Key != key && notice.At.Sub(last.QueuedAt).Abs() < o.config.Cooldown
}

// draft is a message that has not been addressed to a chat.
type draft struct {
	key       string
	alerts    []sentAlert
	topic     string
	recovered bool
	parts     []part
	files     map[string][]byte // content by name in the outbox
}

// enqueue stores the messages that drafts returns for each chat that receives messages of the kind.
// history holds the messages to the chat that are still stored.
func (o *Outbox) enqueue(ctx context.Context, kind Kind, queued *Queued, now time.Time,
	drafts func(chat Chat, history []*entry) []draft) error {
	unlock, err := durable.Lock(o.store.Path(enqueueLock))
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	defer unlock()
	entries, next, err := o.scan()
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	history := map[string][]*entry{}
	hashes := map[string]bool{}
	for _, e := range entries {
		history[e.message.Chat] = append(history[e.message.Chat], e)
		hashes[e.hash] = true
	}
	for _, chat := range o.config.Chats {
		if !chat.accepts(kind) {
			continue
		}
		for _, d := range drafts(chat, history[chat.ID]) {
			if err := ctx.Err(); err != nil {
				return err
			}
			hash := messageHash(chat.ID, d.key)
			if hashes[hash] {
				queued.Known++
				continue
			}
			for name, content := range d.files {
				if err := o.writeFile(name, content); err != nil {
					return fmt.Errorf("enqueue a file: %w", err)
				}
			}
			m := &message{
				Format: messageFormat, Chat: chat.ID, Kind: kind, Key: d.key, QueuedAt: now.UTC(),
				Alerts: d.alerts, Topic: d.topic, Recovered: d.recovered, Parts: d.parts,
			}
			if err := o.write(messageName(next, hash), m); err != nil {
				return fmt.Errorf("enqueue: %w", err)
			}
			o.log.Debug("message queued", "chat", chat.label(), "kind", string(kind), "key", d.key)
			hashes[hash] = true
			next++
			queued.Messages++
		}
	}
	return nil
}

// writeFile writes a file into the outbox unless it is there.
func (o *Outbox) writeFile(name string, content []byte) error {
	if file, _, err := o.openFile(name); err == nil {
		return file.Close()
	}
	return o.store.WriteBytes(filepath.Join(outboxDir, name), content)
}

// fileName returns the name of a file in the outbox.
func fileName(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]) + fileSuffix
}
