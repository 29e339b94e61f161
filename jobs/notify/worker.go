package notify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/telegram"
)

// worker sends to one chat.
type worker struct {
	*run
	chat Chat
	pace *pace
}

type outcome string

const (
	finished  outcome = "finished"  // sent or given up
	postponed outcome = "postponed" // what it has to wait for lies behind the bound, or the context is done
)

const (
	// retryFirst doubles with each attempt up to retryMost, where Telegram or the network is not to be had.
	retryFirst = time.Second
	retryMost  = time.Minute
	// accessFirst and accessMost are the same where a chat does not let the bot write: only a person can change that.
	accessFirst = time.Minute
	accessMost  = 10 * time.Minute
	// givingUp is the least number of attempts before a message is given up for its age: the clock may be wrong.
	givingUp = 3
	// markFirst and markMost are the same for the disk.
	markFirst = time.Second
	markMost  = 30 * time.Second
)

func doubled(first, most time.Duration, attempts int) time.Duration {
	return min(most, first<<min(max(attempts-1, 0), 20))
}

// deliver sends what is left of a message. Its error means that nothing can be sent to anyone.
func (w *worker) deliver(ctx context.Context, e *entry) (outcome, error) {
	m := e.m.clone()
	for i := range m.Parts {
		p := &m.Parts[i]
		if !p.BegunAt.IsZero() {
			// The process that began it died before it could note what came of it.
			now := w.opt.Now()
			p.BegunAt, p.TriedAt = time.Time{}, now.UTC()
			p.lose(LostKilled, now.UTC())
			w.pace.used(now)
			w.o.log.Warn("message may arrive twice: the process that sent it died before the answer", "chat", w.chat.label(), "key", m.Key, "part", i+1)
		}
		for first := true; p.SentAt.IsZero() && p.GaveUp == "" && m.open(); first = false {
			if outcome, err := w.attempt(ctx, e.name, m, p, w.notBefore(p, first)); outcome == postponed || err != nil {
				return outcome, err
			}
		}
	}
	return finished, nil
}

// notBefore is how long the part itself has to wait. What a file says of a later time is bounded by what was meant when it was written, for a
// clock may have been set back since.
func (w *worker) notBefore(p *part, fromFile bool) time.Duration {
	wait := p.NotBefore.Sub(w.opt.Now())
	if fromFile {
		wait = min(wait, p.NotBefore.Sub(p.TriedAt))
	}
	return max(wait, 0)
}

// attempt waits for its turn, notes that it begins, sends, and notes what came of it.
func (w *worker) attempt(ctx context.Context, name string, m *message, p *part, wait time.Duration) (outcome, error) {
	now := w.opt.Now()
	wait = max(wait, w.pace.wait(now))
	if !w.until.IsZero() && now.Add(wait).After(w.until) {
		return postponed, nil
	}
	w.sleep(ctx, wait)
	w.sleep(ctx, w.turns.take(w.opt.Now()))
	if ctx.Err() != nil {
		return postponed, nil
	}
	request, closeFile, ok := w.request(m, p)
	if !ok {
		return finished, nil // the part has become another
	}
	defer closeFile()

	p.BegunAt = w.opt.Now().UTC()
	p.Attempts++
	if err := w.write(name, m); err != nil {
		// Without this note a message could go out that nobody knows of: it waits for the disk.
		p.BegunAt = time.Time{}
		p.Attempts--
		w.o.log.Error("message held back: the outbox cannot be written", "chat", w.chat.label(), "error", err)
		p.TriedAt = w.opt.Now()
		p.NotBefore = p.TriedAt.Add(markMost)
		return finished, nil
	}
	answered, cancel := w.withGrace(ctx)
	id, err := w.sender.Send(answered, request)
	cancel()

	ended := w.opt.Now()
	p.BegunAt, p.TriedAt, p.NotBefore = time.Time{}, ended.UTC(), time.Time{}
	if err == nil {
		w.pace.used(ended)
		p.SentAt, p.MessageID, p.LastError = ended.UTC(), id, ""
		w.mu.Lock()
		w.summary.Parts++
		if p.LostCount > 0 {
			w.summary.Again++
		}
		w.mu.Unlock()
	} else {
		err = w.failed(m, p, ended, err)
	}
	w.closeIfDone(name, m, ended)
	if !w.mark(ctx, name, m) {
		return postponed, err
	}
	return finished, err
}

// closeIfDone closes a message of which nothing is left to send, and one that has been tried for long enough.
func (w *worker) closeIfDone(name string, m *message, now time.Time) {
	var refused []string
	left := false
	last, attempts := "", 0
	for _, p := range m.Parts {
		attempts = max(attempts, p.Attempts)
		left = left || p.SentAt.IsZero() && p.GaveUp == ""
		if p.GaveUp != "" {
			refused = append(refused, p.GaveUp)
		}
		if p.LastError != "" {
			last = p.LastError
		}
	}
	switch {
	case !left:
		w.close(name, w.chat, m, strings.Join(refused, "; "))
	case last != "" && attempts >= givingUp && now.Sub(m.QueuedAt) > keepTrying:
		w.close(name, w.chat, m, fmt.Sprintf("not to be delivered for %v: %s", keepTrying, last))
	}
}

// mark writes down what came of an attempt, and does not go on before it has: what is sent and not marked would be sent
// again. It gives up when the context is done; false says so.
func (w *worker) mark(ctx context.Context, name string, m *message) bool {
	for attempt := 1; ; attempt++ {
		err := w.write(name, m)
		if err == nil {
			return true
		}
		w.o.log.Error("answer not marked: the outbox cannot be written", "chat", w.chat.label(), "key", m.Key, "error", err)
		wait := doubled(markFirst, markMost, attempt)
		if ctx.Err() != nil || !w.until.IsZero() && w.opt.Now().Add(wait).After(w.until) {
			return false
		}
		w.sleep(ctx, wait)
	}
}

// withGrace gives a context for a request that outlasts ctx by the grace.
func (w *worker) withGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	request, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(w.opt.Grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-ended:
		}
	})
	return request, func() {
		stop()
		close(ended)
		cancel()
	}
}

// request makes what is sent. Where the part's file is gone, the part becomes a text that says so, and ok is false.
func (w *worker) request(m *message, p *part) (request telegram.Message, closeFile func(), ok bool) {
	request = telegram.Message{Chat: w.address(w.chat), Text: p.HTML, Plain: p.Plain, Photo: p.Form == photoForm, Silent: w.chat.Silent && !loud(m)}
	if p.Plain {
		request.Text = telegram.Plain(p.HTML)
	}
	if p.File == "" {
		return request, func() {}, true
	}
	file, err := os.Open(w.o.path(p.File))
	var info fs.FileInfo
	if err == nil {
		if info, err = file.Stat(); err != nil {
			file.Close()
		}
	}
	if err != nil {
		w.o.log.Error("file of a message is lost", "chat", w.chat.label(), "key", m.Key, "file", p.FileName, "error", err)
		p.becomeText("it is lost")
		return request, nil, false
	}
	request.File = &telegram.File{Name: p.FileName, Size: info.Size(), Content: file}
	return request, func() { file.Close() }, true
}

// becomeText makes a text of a part whose file cannot be sent.
func (p *part) becomeText(why string) {
	lines := fmt.Sprintf("<code>%s</code> was not sent: %s.", telegram.Escape(p.FileName), telegram.Escape(why))
	if p.HTML != "" {
		lines = p.HTML + "\n" + lines
	}
	p.Form, p.File, p.HTML = textForm, "", lines
}

// loud messages make a sound in silent chats too.
func loud(m *message) bool {
	return m.Topic != "" && !m.Over || slices.ContainsFunc(m.Alerts, func(a toldAlert) bool { return a.Severity == "high" && !a.Over })
}

// failed notes what an attempt that did not succeed means for the part. Its error means that nothing can be sent to anyone.
func (w *worker) failed(m *message, p *part, at time.Time, err error) error {
	w.pace.tried(at)
	news := p.LastError != err.Error()
	p.LastError = err.Error()
	retry := doubled(retryFirst, retryMost, p.Attempts)
	said := "message not sent, it will be tried again"
	var failure *telegram.Error
	if !errors.As(err, &failure) {
		failure = &telegram.Error{Kind: telegram.Lost}
	}
	switch failure.Kind {
	case telegram.Unreached:
		p.NotBefore = at.Add(retry)
	case telegram.Lost, telegram.Broken:
		w.pace.used(at)
		why := LostCut
		if failure.Kind == telegram.Broken {
			why = LostServer
		}
		p.lose(why, at.UTC())
		p.NotBefore = at.Add(retry)
		said, news = "message may arrive twice: the answer was lost and it will be sent again", true
	case telegram.Limited:
		p.NotBefore = at.Add(failure.RetryAfter)
		said = "telegram asks to wait"
	case telegram.Migrated:
		w.moveTo(w.chat, failure.MigrateTo)
		p.LastError = ""
		return nil
	case telegram.NoAccess:
		p.NotBefore = at.Add(doubled(accessFirst, accessMost, p.Attempts))
		if news {
			w.o.log.Error("chat does not let the bot write; its messages wait", "chat", w.chat.label(), "error", err)
		}
		return nil
	case telegram.BadToken:
		// It does not wait by itself: with the right token it goes out at once.
		return fmt.Errorf("the bot's token is not accepted: %w", err)
	case telegram.BadMarkup:
		if p.Plain {
			p.GaveUp = err.Error()
			return nil
		}
		p.Plain = true
		said = "markup of a message refused; sent as plain text"
	case telegram.BadFile:
		switch p.Form {
		case photoForm:
			p.Form = documentForm
			said = "picture refused; sent as a document"
		case documentForm:
			p.becomeText(failure.Text)
			said = "document refused; told of instead"
		default:
			p.GaveUp = err.Error()
			return nil
		}
	default:
		p.GaveUp = err.Error()
		return nil
	}
	if news {
		w.o.log.Warn(said, "chat", w.chat.label(), "key", m.Key, "error", err, "next_at", p.NotBefore)
	}
	return nil
}
