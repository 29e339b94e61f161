package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"tapedeck/internal/telegram"
)

// Sender sends one message once and gives its id. It does not retry, it may be called from several goroutines, and its errors are
// *telegram.Error, which say whether the message may have been accepted all the same.
type Sender interface {
	Send(ctx context.Context, m telegram.Message) (id int, err error)
}

// SendOptions of Send and Run. Now is required.
type SendOptions struct {
	Now func() time.Time
	// Sleep waits for d, or until ctx is done; nil is a timer.
	Sleep func(ctx context.Context, d time.Duration)
	// For bounds Send: what would have to wait longer is left for the next one. 0 is no bound. A request under way is not cut.
	For time.Duration
	// Grace is how long a request under way may go on when the context is done; 0 is DefaultGrace.
	Grace time.Duration
}

// DefaultGrace is shorter than the 10 s that Docker gives a container to stop.
const DefaultGrace = 5 * time.Second

// Summary is what a Send did.
type Summary struct {
	// Busy says that another process sends; it will send what was waiting here, and nothing else was done.
	Busy bool
	// Sent messages, of the outbox's and as Telegram counts them. GaveUp are those that will not be sent, with errors in the log.
	Sent, Parts, GaveUp int
	// Again are the parts that were sent again because the answer to an earlier attempt was lost: each may have arrived twice.
	Again int
	// Waiting are the messages that are left.
	Waiting int
}

// Send sends what waits, until nothing does, the bound of opt is reached or ctx is done. An error says why what is left cannot be sent
// now; the messages stay.
func (o *Outbox) Send(ctx context.Context, sender Sender, opt SendOptions) (Summary, error) {
	if len(o.config.Chats) == 0 {
		return Summary{}, nil
	}
	unlock, err := o.lock(senderLock, dontWait)
	if err != nil {
		return Summary{}, fmt.Errorf("send: %w", err)
	}
	if unlock == nil {
		return Summary{Busy: true}, nil
	}
	defer unlock()
	r, err := o.newRun(sender, opt)
	if err != nil {
		return Summary{}, fmt.Errorf("send: %w", err)
	}
	if opt.For > 0 {
		r.until = opt.Now().Add(opt.For)
	}
	err = r.drain(ctx, untilEmpty)
	if r.summary.Sent+r.summary.GaveUp > 0 || err != nil {
		o.log.Info("messages sent", "sent", r.summary.Sent, "parts", r.summary.Parts, "again", r.summary.Again, "gave_up", r.summary.GaveUp, "waiting", r.summary.Waiting)
	}
	return r.summary, err
}

// Run sends for as long as ctx lasts whatever is written down, by any process. While another process sends, it waits for its turn. It
// returns nil when ctx is done.
func (o *Outbox) Run(ctx context.Context, sender Sender, opt SendOptions) error {
	if len(o.config.Chats) == 0 {
		return nil
	}
	opt.For = 0
	for ctx.Err() == nil {
		err := o.serve(ctx, sender, opt)
		if err != nil {
			o.log.Error("messages not sent", "error", err)
		}
		sleeper(opt)(ctx, 10*time.Second)
	}
	return nil
}

func (o *Outbox) serve(ctx context.Context, sender Sender, opt SendOptions) error {
	unlock, err := o.lock(senderLock, dontWait)
	if err != nil || unlock == nil {
		return err
	}
	defer unlock()
	r, err := o.newRun(sender, opt)
	if err != nil {
		return err
	}
	return r.drain(ctx, untilStopped)
}

func sleeper(opt SendOptions) func(context.Context, time.Duration) {
	if opt.Sleep != nil {
		return opt.Sleep
	}
	return func(ctx context.Context, d time.Duration) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}

// run is one sender at work. It holds the sender's lock.
type run struct {
	o      *Outbox
	sender Sender
	opt    SendOptions
	sleep  func(context.Context, time.Duration)
	until  time.Time // zero for no bound
	turns  turns
	paces  map[string]*pace // by chat; each is its worker's
	chats  map[string]Chat

	mu      sync.Mutex // guards what follows
	moved   map[string]string
	summary Summary
}

func (o *Outbox) newRun(sender Sender, opt SendOptions) (*run, error) {
	opt.Grace = cmp.Or(opt.Grace, DefaultGrace)
	r := &run{o: o, sender: sender, opt: opt, sleep: sleeper(opt), paces: map[string]*pace{}, chats: map[string]Chat{}, moved: map[string]string{}}
	for _, chat := range o.config.Chats {
		r.chats[chat.ID] = chat
		r.paces[chat.ID] = &pace{group: chat.ID[0] == '-' || chat.ID[0] == '@'}
	}
	if err := o.store.ReadState(movedName, &r.moved); err != nil && !errors.Is(err, fs.ErrNotExist) {
		// Telegram says it again at the next message.
		o.log.Warn("groups that moved are not known any more", "error", err)
	}
	if r.moved == nil {
		r.moved = map[string]string{}
	}
	entries, _, err := o.scan()
	if err != nil {
		return nil, err
	}
	type use struct {
		at   time.Time
		used bool
	}
	uses := map[string][]use{}
	for _, e := range entries {
		for _, p := range e.m.Parts {
			uses[e.m.Chat] = append(uses[e.m.Chat], use{p.TriedAt, false}, use{p.SentAt, true})
			for _, lost := range p.Lost {
				uses[e.m.Chat] = append(uses[e.m.Chat], use{lost.At, true})
			}
		}
	}
	now := opt.Now()
	for chat, times := range uses {
		p := r.paces[chat]
		if p == nil {
			continue
		}
		slices.SortFunc(times, func(a, b use) int { return a.at.Compare(b.at) })
		for _, u := range times {
			if u.at.After(now) {
				u.at = now
			}
			switch {
			case u.at.IsZero() || now.Sub(u.at) > 2*time.Minute:
			case u.used:
				p.used(u.at)
			default:
				p.tried(u.at)
			}
		}
	}
	return r, nil
}

type lasting string

const (
	untilEmpty   lasting = "until nothing waits"
	untilStopped lasting = "until stopped"
)

const (
	// pollEvery is how often a service looks whether a message was written down.
	pollEvery = time.Second
	// scanEvery is for what the directory's time does not show, pruneEvery how often a service tidies up.
	scanEvery  = 30 * time.Second
	pruneEvery = time.Hour
)

// drain gives each chat a worker of its own, so that none holds up another, and waits for all of them.
func (r *run) drain(ctx context.Context, last lasting) error {
	r.tidy()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var workers sync.WaitGroup
	for _, chat := range r.o.config.Chats {
		workers.Go(func() {
			if err := r.work(ctx, chat, last); err != nil {
				stop(err) // nothing can be sent to anyone
			}
		})
	}
	if last == untilStopped {
		workers.Go(func() {
			for r.sleep(ctx, pruneEvery); ctx.Err() == nil; r.sleep(ctx, pruneEvery) {
				r.tidy()
			}
		})
	}
	workers.Wait()
	entries, _, err := r.o.scan()
	for _, e := range entries {
		if e.m.open() {
			r.summary.Waiting++
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return err
}

// tidy prunes, and gives up what waits for chats that are not in the configuration any more.
func (r *run) tidy() {
	now := r.opt.Now()
	if err := r.o.prune(now); err != nil {
		r.o.log.Warn("outbox not pruned", "error", err)
	}
	entries, _, err := r.o.scan()
	if err != nil {
		return // whoever sends sees it too
	}
	for _, e := range entries {
		if _, known := r.chats[e.m.Chat]; !known && e.m.open() && now.Sub(e.m.QueuedAt) > keepTrying {
			m := e.m.clone()
			r.close(e.name, Chat{ID: m.Chat}, m, "its chat is not in the configuration any more")
			if err := r.write(e.name, m); err != nil {
				r.o.log.Warn("outbox not tidied", "error", err)
			}
		}
	}
}

// pending gives the messages that wait for a chat, the oldest first.
func (r *run) pending(chat Chat) ([]*entry, error) {
	entries, _, err := r.o.scan()
	if err != nil {
		return nil, err
	}
	var out []*entry
	for _, e := range entries {
		if e.m.Chat == chat.ID && e.m.open() {
			out = append(out, e)
		}
	}
	// The newest alerts are worth more than the oldest; reports and notices stay.
	for excess := len(out) - r.o.limit; excess > 0; excess-- {
		i := slices.IndexFunc(out, func(e *entry) bool { return e.m.Kind == alertKind })
		if i < 0 {
			break
		}
		m := out[i].m.clone()
		r.close(out[i].name, chat, m, fmt.Sprintf("more than %d messages wait for the chat", r.o.limit))
		if err := r.write(out[i].name, m); err != nil {
			return nil, err
		}
		out = slices.Delete(out, i, i+1)
	}
	return out, nil
}

// changed says whether the outbox's directory is another than at the time that it gives back; the zero time is always another.
func (r *run) changed(seen time.Time) (time.Time, bool) {
	info, err := os.Stat(r.o.store.StatePath(outboxDir))
	if err != nil {
		return time.Time{}, !errors.Is(err, fs.ErrNotExist)
	}
	return info.ModTime(), seen.IsZero() || !info.ModTime().Equal(seen)
}

// work sends what waits for one chat, in order. Its error means that nothing can be sent to anyone.
func (r *run) work(ctx context.Context, chat Chat, last lasting) error {
	w := &worker{run: r, chat: chat, pace: r.paces[chat.ID]}
	var seen, looked time.Time
	for ctx.Err() == nil {
		now := r.opt.Now()
		modified, changed := r.changed(seen)
		var queue []*entry
		if changed || now.Sub(looked).Abs() >= scanEvery {
			var err error
			if queue, err = r.pending(chat); err != nil {
				if last == untilEmpty {
					return err
				}
				r.o.log.Warn("outbox cannot be read now", "error", err)
				modified = time.Time{}
			}
			seen, looked = modified, now
		}
		for _, e := range queue {
			seen = time.Time{} // what is sent changes the directory
			outcome, err := w.deliver(ctx, e)
			if err != nil && last == untilStopped {
				r.o.log.Error("messages not sent", "error", err)
				r.sleep(ctx, time.Minute)
				break
			}
			if err != nil || outcome == postponed {
				return err
			}
		}
		if len(queue) == 0 && last == untilEmpty {
			return nil
		}
		if len(queue) == 0 {
			r.sleep(ctx, pollEvery)
		}
	}
	return nil
}

// write replaces a message's file.
func (r *run) write(name string, m *message) error {
	return r.o.store.WriteState(filepath.Join(outboxDir, name), m)
}

// close ends a message; gaveUp is empty for one that was sent. The texts are not kept.
func (r *run) close(name string, chat Chat, m *message, gaveUp string) {
	m.ClosedAt, m.GaveUp = r.opt.Now().UTC(), gaveUp
	for i := range m.Parts {
		m.Parts[i].HTML = ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if gaveUp == "" {
		r.summary.Sent++
		return
	}
	r.summary.GaveUp++
	r.o.log.Error("message given up", "chat", chat.label(), "kind", string(m.Kind), "key", m.Key, "queued_at", m.QueuedAt, "reason", gaveUp)
}

// moveTo remembers where a group went.
func (r *run) moveTo(chat Chat, to int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved[chat.ID] = strconv.FormatInt(to, 10)
	if err := r.o.store.WriteState(movedName, r.moved); err != nil {
		r.o.log.Warn("moved group not written down; Telegram will say it again", "chat", chat.label(), "error", err)
	}
	r.o.log.Warn("group has moved; put the new id into the configuration", "chat", chat.label(), "old_id", chat.ID, "new_id", to)
}

// address is the id that a chat has by now.
func (r *run) address(chat Chat) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cmp.Or(r.moved[chat.ID], chat.ID)
}
