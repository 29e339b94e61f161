package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tapedeck/internal/durable"
	"tapedeck/internal/telegram"
)

// Sender sends one message once, without retrying, and returns the message's id. It is safe for
// concurrent use. Its errors are *telegram.Error, which tells whether the message may have been
// accepted.
type Sender interface {
	Send(ctx context.Context, m telegram.Message) (id int, err error)
}

// CommandSendTime is SendOptions.For of a command that is not a service. What is left after it is
// sent by the next command or by the scheduler.
const CommandSendTime = 20 * time.Second

// SendOptions configure Send and Run. Now is required.
type SendOptions struct {
	Now func() time.Time
	// Sleep waits for d or until ctx is done; nil means a timer.
	Sleep func(ctx context.Context, d time.Duration)
	// For limits the duration of Send. Messages that would have to wait longer stay in the outbox.
	// 0 means no limit. A request that has started is not interrupted.
	For time.Duration
}

// grace is how long a request may continue after ctx is done. It is shorter than the 10 s in which
// Docker expects a container to stop.
const grace = 5 * time.Second

func (opt SendOptions) sleep(ctx context.Context, d time.Duration) {
	if opt.Sleep != nil {
		opt.Sleep(ctx, d)
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Summary is the result of a Send.
type Summary struct {
	// Busy means that another process is sending and will send the waiting messages. Nothing else
	// was done.
	Busy bool
	// Sent and GaveUp count messages of the outbox, Parts the Telegram messages that they consist
	// of.
	Sent, Parts, GaveUp int
	// Resent counts the parts that were sent again because an earlier reply was lost. They may have
	// arrived twice.
	Resent int
	// Waiting counts the messages that are left.
	Waiting int
}

// Send sends what is in the outbox until nothing is left, the limit of opt is reached or ctx is
// done. An error explains why the rest cannot be sent now; it stays in the outbox.
func (o *Outbox) Send(ctx context.Context, sender Sender, opt SendOptions) (Summary, error) {
	if !o.HasChats() {
		return Summary{}, nil
	}
	summary, err := o.sendLocked(ctx, sender, opt, untilEmpty)
	if errors.Is(err, durable.ErrLocked) {
		return Summary{Busy: true}, nil
	}
	if summary.Sent+summary.GaveUp > 0 || err != nil {
		o.log.Info("messages sent", "sent", summary.Sent, "parts", summary.Parts, "resent", summary.Resent,
			"gave_up", summary.GaveUp, "waiting", summary.Waiting)
	}
	return summary, err
}

// lockRetryInterval is how often Run tries to become the sender.
const lockRetryInterval = 10 * time.Second

// Run sends what any process enqueues, and blocks until ctx is done. While another process sends,
// it waits. If sender is nil or there are no chats, it only waits. It always returns nil.
func (o *Outbox) Run(ctx context.Context, sender Sender, opt SendOptions) error {
	if sender == nil || !o.HasChats() {
		<-ctx.Done()
		return nil
	}
	opt.For = 0
	for ctx.Err() == nil {
		if _, err := o.sendLocked(ctx, sender, opt, untilStopped); err != nil && !errors.Is(err, durable.ErrLocked) {
			o.log.Error("messages not sent", "error", err)
		}
		opt.sleep(ctx, lockRetryInterval)
	}
	return nil
}

// run is one sender. It holds the sender's lock.
type run struct {
	*Outbox
	SendOptions
	sender   Sender
	deadline time.Time // zero for none
	total    *rate.Limiter
	limiters map[string]*chatLimiter // by chat; each is used by the chat's worker only

	runMu      sync.Mutex // guards the following
	migrations map[string]string
	summary    Summary
}

// sendLocked sends while it holds the sender's lock. Its error is durable.ErrLocked if another
// process holds it.
func (o *Outbox) sendLocked(ctx context.Context, sender Sender, opt SendOptions, until drainMode) (Summary, error) {
	unlock, err := durable.TryLock(o.store.Path(senderLock))
	if err != nil {
		return Summary{}, fmt.Errorf("send: %w", err)
	}
	defer unlock()
	r := &run{
		Outbox: o, SendOptions: opt, sender: sender, total: rate.NewLimiter(messagesPerSecond, 1),
		limiters: map[string]*chatLimiter{},
	}
	if opt.For > 0 {
		r.deadline = opt.Now().Add(opt.For)
	}
	for _, chat := range o.config.Chats {
		r.limiters[chat.ID] = &chatLimiter{isGroup: chat.ID[0] == '-' || chat.ID[0] == '@'}
	}
	if err := o.store.Read(migrationsName, &r.migrations); err != nil && !errors.Is(err, fs.ErrNotExist) {
		// Telegram reports a migration again with the next message.
		o.log.Warn("group migrations unknown: their file cannot be read", "error", err)
	}
	if r.migrations == nil {
		r.migrations = map[string]string{}
	}
	entries, _, err := o.scan()
	if err != nil {
		return Summary{}, fmt.Errorf("send: %w", err)
	}
	r.restoreLimiters(entries)
	err = r.drain(ctx, until)
	return r.summary, err
}

// restoreLimiters sets the limiters to what earlier processes sent.
func (r *run) restoreLimiters(entries []*entry) {
	type attempt struct {
		at       time.Time
		accepted bool
	}
	attempts := map[string][]attempt{}
	for _, e := range entries {
		chat := e.message.Chat
		for _, p := range e.message.Parts {
			attempts[chat] = append(attempts[chat], attempt{p.TriedAt, false}, attempt{p.SentAt, true})
			for _, lost := range p.Lost {
				attempts[chat] = append(attempts[chat], attempt{lost.At, true})
			}
		}
	}
	now := r.Now()
	for chat, limiter := range r.limiters {
		slices.SortFunc(attempts[chat], func(a, b attempt) int { return a.at.Compare(b.at) })
		for _, a := range attempts[chat] {
			if a.at.After(now) {
				a.at = now
			}
			switch {
			case a.at.IsZero() || now.Sub(a.at) > 2*time.Minute:
			case a.accepted:
				limiter.addAccepted(a.at)
			default:
				limiter.addAttempt(a.at)
			}
		}
	}
}

// drainMode is when a run ends.
type drainMode string

const (
	untilEmpty   drainMode = "until empty"
	untilStopped drainMode = "until stopped"
)

const (
	pollInterval  = time.Second      // between checks of the directory's modification time
	scanInterval  = 30 * time.Second // between scans, which see what the modification time does not show
	pruneInterval = time.Hour
)

// drain sends with one worker per chat, so that no chat blocks another, and waits for all of them.
func (r *run) drain(ctx context.Context, until drainMode) error {
	r.tidy()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var workers sync.WaitGroup
	for _, chat := range r.config.Chats {
		workers.Go(func() {
			if err := r.work(ctx, chat, until); err != nil {
				stop(err)
			}
		})
	}
	if until == untilStopped {
		workers.Go(func() {
			for r.sleep(ctx, pruneInterval); ctx.Err() == nil; r.sleep(ctx, pruneInterval) {
				r.tidy()
			}
		})
	}
	workers.Wait()
	entries, _, err := r.scan()
	for _, e := range entries {
		if e.message.isPending() {
			r.summary.Waiting++
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) &&
		!errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return err
}

// tidy prunes the outbox and gives up old messages to chats that are no longer in the
// configuration.
func (r *run) tidy() {
	now := r.Now()
	if err := r.prune(now); err != nil {
		r.log.Warn("outbox not pruned", "error", err)
	}
	entries, _, err := r.scan()
	if err != nil {
		return // the workers get the same error
	}
	for _, e := range entries {
		if r.limiters[e.message.Chat] == nil && e.message.isPending() &&
			now.Sub(e.message.QueuedAt) > maxDeliveryTime {
			m := e.message.clone()
			r.close(Chat{ID: m.Chat}, m, "its chat is no longer in the configuration")
			if err := r.write(e.name, m); err != nil {
				r.log.Warn("outbox not tidied", "error", err)
			}
		}
	}
}

// pending returns the messages that wait for a chat, oldest first. It gives up the oldest alerts if
// too many messages wait; reports and notices are kept.
func (r *run) pending(chat Chat) ([]*entry, error) {
	entries, _, err := r.scan()
	if err != nil {
		return nil, err
	}
	var out []*entry
	for _, e := range entries {
		if e.message.Chat == chat.ID && e.message.isPending() {
			out = append(out, e)
		}
	}
	for excess := len(out) - r.maxPending; excess > 0; excess-- {
		i := slices.IndexFunc(out, func(e *entry) bool { return e.message.Kind == AlertKind })
		if i < 0 {
			break
		}
		m := out[i].message.clone()
		r.close(chat, m, fmt.Sprintf("more than %d messages wait for the chat", r.maxPending))
		if err := r.write(out[i].name, m); err != nil {
			return nil, err
		}
		out = slices.Delete(out, i, i+1)
	}
	return out, nil
}

// changed returns the modification time of the outbox's directory, and whether it differs from
// last. The zero time always differs.
func (r *run) changed(last time.Time) (time.Time, bool) {
	info, err := os.Stat(r.store.Path(outboxDir))
	if err != nil {
		return time.Time{}, !errors.Is(err, fs.ErrNotExist)
	}
	return info.ModTime(), last.IsZero() || !info.ModTime().Equal(last)
}

// work sends the messages of one chat in order. An error means that nothing can be sent to any
// chat.
func (r *run) work(ctx context.Context, chat Chat, until drainMode) error {
	w := &worker{run: r, chat: chat, limiter: r.limiters[chat.ID], log: r.log.With("chat", chat.label())}
	var lastModified, lastScan time.Time
	for ctx.Err() == nil {
		now := r.Now()
		modified, changed := r.changed(lastModified)
		var queue []*entry
		if changed || now.Sub(lastScan).Abs() >= scanInterval {
			var err error
			if queue, err = r.pending(chat); err != nil {
				if until == untilEmpty {
					return err
				}
				r.log.Warn("outbox not read, will retry", "error", err)
				modified = time.Time{}
			}
			lastModified, lastScan = modified, now
		}
		for _, e := range queue {
			lastModified = time.Time{} // sending changes the directory
			err := w.deliver(ctx, e)
			if err == errPostponed {
				return nil
			}
			if err != nil && until == untilStopped {
				r.log.Error("messages not sent", "error", err)
				r.sleep(ctx, time.Minute)
				break
			}
			if err != nil {
				return err
			}
		}
		if len(queue) == 0 {
			if until == untilEmpty {
				return nil
			}
			r.sleep(ctx, pollInterval)
		}
	}
	return nil
}

// close closes a message and removes its texts. gaveUp is empty if it was sent.
func (r *run) close(chat Chat, m *message, gaveUp string) {
	m.ClosedAt, m.GaveUp = r.Now().UTC(), gaveUp
	for i := range m.Parts {
		m.Parts[i].HTML = ""
	}
	r.runMu.Lock()
	defer r.runMu.Unlock()
	if gaveUp == "" {
		r.summary.Sent++
		return
	}
	r.summary.GaveUp++
	r.log.Error("message given up", "chat", chat.label(), "kind", string(m.Kind), "key", m.Key,
		"queued_at", m.QueuedAt, "reason", gaveUp)
}

// addMigration stores the new id of a group.
func (r *run) addMigration(chat Chat, to int64) {
	r.runMu.Lock()
	defer r.runMu.Unlock()
	r.migrations[chat.ID] = strconv.FormatInt(to, 10)
	if err := r.store.Write(migrationsName, r.migrations); err != nil {
		r.log.Warn("group migration not stored; Telegram will report it again", "chat", chat.label(),
			"error", err)
	}
	r.log.Warn("group has migrated; put the new id into config.yaml", "chat", chat.label(),
		"old_id", chat.ID, "new_id", to)
}

// currentID returns the id that a chat has now.
func (r *run) currentID(chat Chat) string {
	r.runMu.Lock()
	defer r.runMu.Unlock()
	return cmp.Or(r.migrations[chat.ID], chat.ID)
}
