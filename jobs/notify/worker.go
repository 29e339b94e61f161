package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/telegram"
)

// worker sends to one chat.
type worker struct {
	*run
	chat    Chat
	limiter *chatLimiter
	log     *slog.Logger // with the chat
}

// errPostponed means that a wait goes beyond the deadline, or that ctx is done.
var errPostponed = errors.New("postponed")

// The waits between attempts double from the first to the last.
const (
	firstRetry = time.Second // if Telegram or the network is unavailable
	lastRetry  = time.Minute

	firstAccessRetry = time.Minute // if a chat does not let the bot write, which only a person can change
	lastAccessRetry  = 10 * time.Minute

	firstWriteRetry = time.Second // if the disk cannot be written
	lastWriteRetry  = 30 * time.Second

	// minAttempts is the least number of attempts before a message is given up for its age, because
	// the clock may be wrong.
	minAttempts = 3
)

// backoff returns the wait after a number of attempts.
func backoff(first, last time.Duration, attempts int) time.Duration {
	return min(last, first<<min(max(attempts-1, 0), 20))
}

// deliver sends the parts of a message that have not been sent. An error other than errPostponed
// means that nothing can be sent to any chat.
func (w *worker) deliver(ctx context.Context, e *entry) error {
	m := e.message.clone()
	for i := range m.Parts {
		p := &m.Parts[i]
		if !p.StartedAt.IsZero() {
			// The process that started the attempt died before it stored the result.
			now := w.Now()
			p.StartedAt, p.TriedAt = time.Time{}, now.UTC()
			p.addLostReply(LostCrash, now.UTC())
			w.limiter.addAccepted(now)
			w.log.Warn("message may arrive twice: the process that sent it died before the reply",
				"key", m.Key, "part", i+1)
		}
		for first := true; p.isPending() && m.isPending(); first = false {
			wait := p.NotBefore.Sub(w.Now())
			if first {
				// NotBefore comes from the file. If the clock has been set back since, the wait is
				// not longer than it was meant to be, and never longer than one can be.
				wait = min(wait, p.NotBefore.Sub(p.TriedAt), telegram.LongestRetry)
			}
			if err := w.attempt(ctx, e.name, m, p, max(wait, 0)); err != nil {
				return err
			}
		}
	}
	return nil
}

// attempt waits, stores that the attempt starts, sends the part, and stores the result.
func (w *worker) attempt(ctx context.Context, name string, m *message, p *part, wait time.Duration) error {
	now := w.Now()
	wait = max(wait, w.limiter.wait(now))
	if w.exceedsDeadline(now.Add(wait)) {
		return errPostponed
	}
	w.sleep(ctx, wait)
	now = w.Now()
	w.sleep(ctx, w.total.ReserveN(now, 1).DelayFrom(now))
	if ctx.Err() != nil {
		return errPostponed
	}
	request, closeFile, ok := w.request(m, p)
	if !ok {
		return nil // the part is a text now
	}
	defer closeFile()

	p.StartedAt = w.Now().UTC()
	p.Attempts++
	if err := w.write(name, m); err != nil {
		// If the start of the attempt is not stored, a crash could send the message twice without
		// anyone noticing.
		p.StartedAt = time.Time{}
		p.Attempts--
		w.log.Error("message held back: the outbox cannot be written", "error", err)
		p.TriedAt = w.Now()
		p.NotBefore = p.TriedAt.Add(lastWriteRetry)
		return nil
	}
	requestCtx, cancel := w.withGrace(ctx)
	id, err := w.sender.Send(requestCtx, request)
	cancel()

	ended := w.Now()
	p.StartedAt, p.TriedAt, p.NotBefore = time.Time{}, ended.UTC(), time.Time{}
	if err == nil {
		w.limiter.addAccepted(ended)
		p.SentAt, p.MessageID, p.LastError = ended.UTC(), id, ""
		w.runMu.Lock()
		w.summary.Parts++
		if p.LostCount > 0 {
			w.summary.Resent++
		}
		w.runMu.Unlock()
	} else {
		err = w.handleError(m, p, ended, err)
	}
	w.closeIfDone(m, ended)
	if !w.storeResult(ctx, name, m) {
		return cmp.Or(err, errPostponed)
	}
	return err
}

func (w *worker) exceedsDeadline(at time.Time) bool {
	return !w.deadline.IsZero() && at.After(w.deadline)
}

// closeIfDone closes a message if no part is left to send, or if it has been tried for too long.
func (w *worker) closeIfDone(m *message, now time.Time) {
	var reasons []string
	pending := false
	lastError, attempts := "", 0
	for _, p := range m.Parts {
		attempts = max(attempts, p.Attempts)
		pending = pending || p.isPending()
		if p.GaveUp != "" {
			reasons = append(reasons, p.GaveUp)
		}
		if p.LastError != "" {
			lastError = p.LastError
		}
	}
	switch {
	case !pending:
		w.close(w.chat, m, strings.Join(reasons, "; "))
	case lastError != "" && attempts >= minAttempts && now.Sub(m.QueuedAt) > maxDeliveryTime:
		w.close(w.chat, m, fmt.Sprintf("not delivered within %v: %s", maxDeliveryTime, lastError))
	}
}

// storeResult writes the message's file and retries until it succeeds, because a message that was
// sent and not marked would be sent again. It returns false if ctx is done or the deadline is near.
func (w *worker) storeResult(ctx context.Context, name string, m *message) bool {
	for attempt := 1; ; attempt++ {
		err := w.write(name, m)
		if err == nil {
			return true
		}
		w.log.Error("result not stored: the outbox cannot be written", "key", m.Key, "error", err)
		wait := backoff(firstWriteRetry, lastWriteRetry, attempt)
		if ctx.Err() != nil || w.exceedsDeadline(w.Now().Add(wait)) {
			return false
		}
		w.sleep(ctx, wait)
	}
}

// withGrace returns a context that is done when the grace after the end of ctx is over.
func (w *worker) withGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	request, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return request, func() { stop(); cancel() }
}

// request builds the Telegram message of a part. If the part's file is missing or was altered, the part
// becomes a text that says so, and ok is false.
func (w *worker) request(m *message, p *part) (request telegram.Message, closeFile func(), ok bool) {
	request = telegram.Message{Chat: w.currentID(w.chat), Text: p.HTML, Plain: p.Plain,
		Photo: p.Form == photoForm, Silent: w.chat.Silent && !m.isUrgent()}
	if p.Plain {
		request.Text = telegram.Plain(p.HTML)
	}
	if p.File == "" {
		return request, func() {}, true
	}
	file, size, err := w.openFile(p.File)
	if err != nil {
		w.log.Error("file of a message is missing or is another one", "key", m.Key,
			"file", p.FileName, "error", err)
		reason := "the file is missing"
		if !errors.Is(err, fs.ErrNotExist) {
			reason = "the file is not the one that was enqueued"
		}
		p.replaceByText(reason)
		return request, nil, false
	}
	request.File = &telegram.File{Name: p.FileName, Size: size, Content: file}
	return request, func() { file.Close() }, true
}

// replaceByText turns a part whose file cannot be sent into a text.
func (p *part) replaceByText(reason string) {
	text := markup("<code>%s</code> was not sent: %s.", p.FileName, reason)
	if p.HTML != "" {
		text = p.HTML + "\n" + text
	}
	p.Form, p.File, p.HTML = textForm, "", text
}

// isUrgent reports whether a message makes a sound in silent chats, too.
func (m *message) isUrgent() bool {
	isProblem := m.Topic != "" && !m.Recovered
	return isProblem || slices.ContainsFunc(m.Alerts, func(a sentAlert) bool { return a.Severity == "high" && !a.Recovered })
}

// handleError updates a part after a failed attempt and decides when and how to try again. Its
// error means that nothing can be sent to any chat.
func (w *worker) handleError(m *message, p *part, at time.Time, err error) error {
	w.limiter.addAttempt(at)
	isNew := p.LastError != err.Error()
	p.LastError = err.Error()
	retry := backoff(firstRetry, lastRetry, p.Attempts)
	event := "message not sent, will retry"
	var failure *telegram.Error
	if !errors.As(err, &failure) {
		failure = &telegram.Error{Kind: telegram.Lost}
	}
	switch failure.Kind {
	case telegram.Unreached:
		p.NotBefore = at.Add(retry)
	case telegram.Lost, telegram.Broken:
		w.limiter.addAccepted(at)
		reason := LostConnection
		if failure.Kind == telegram.Broken {
			reason = LostServer
		}
		p.addLostReply(reason, at.UTC())
		p.NotBefore = at.Add(retry)
		event, isNew = "message may arrive twice: the reply was lost and it will be sent again", true
	case telegram.Limited:
		p.NotBefore = at.Add(failure.RetryAfter)
		event = "rate limit of telegram reached"
	case telegram.Migrated:
		if strconv.FormatInt(failure.MigrateTo, 10) == w.currentID(w.chat) { // then it would never end
			p.NotBefore = at.Add(retry)
			event = "telegram says that a group has migrated to the id that it has"
			break
		}
		w.addMigration(w.chat, failure.MigrateTo)
		p.LastError = ""
		return nil
	case telegram.NoAccess:
		p.NotBefore = at.Add(backoff(firstAccessRetry, lastAccessRetry, p.Attempts))
		if isNew {
			w.log.Error("chat does not let the bot write; its messages wait", "error", err)
		}
		return nil
	case telegram.BadToken:
		// NotBefore is not set: with a valid token the part is sent immediately.
		return fmt.Errorf("the bot's token is not accepted: %w", err)
	case telegram.BadMarkup:
		if p.Plain {
			p.GaveUp = err.Error()
			return nil
		}
		p.Plain = true
		event = "markup of a message refused; sent as plain text"
	case telegram.BadFile:
		switch p.Form {
		case photoForm:
			p.Form = documentForm
			event = "picture refused; sent as a document"
		case documentForm:
			p.replaceByText(failure.Text)
			event = "document refused; a text is sent instead"
		default:
			p.GaveUp = err.Error()
			return nil
		}
	default:
		p.GaveUp = err.Error()
		return nil
	}
	if isNew {
		w.log.Warn(event, "key", m.Key, "error", err, "next_at", p.NotBefore)
	}
	return nil
}
