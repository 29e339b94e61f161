package notify

import (
	"sync"
	"time"
)

// Telegram's limits for a bot (its FAQ, "My bot is hitting limits"): a message a second to a chat, 20 a minute to a group, 30 a second to all
// together. Channels are counted as groups: their limit is not published.
const (
	chatSpacing   = time.Second
	groupMinute   = 20
	globalSpacing = time.Second / 25
)

// pace is when messages to one chat went out, measured when the answer to them had come: Telegram had accepted them by then, so
// what is a second apart here is at least that there. It is taken from the outbox's files at a start, so a new process keeps to what the old one used up.
type pace struct {
	group  bool
	last   time.Time   // of any attempt
	minute []time.Time // of those that were or may have been accepted, the last groupMinute of them
}

// tried notes an attempt that Telegram refused.
func (p *pace) tried(at time.Time) {
	if at.After(p.last) {
		p.last = at
	}
}

// used notes a message that was accepted, or may have been.
func (p *pace) used(at time.Time) {
	p.tried(at)
	p.minute = append(p.minute, at)
	p.minute = p.minute[max(0, len(p.minute)-groupMinute):]
}

// wait is how long the next message has to wait. Times that lie after now, from before a clock was set back, count as now.
func (p *pace) wait(now time.Time) time.Duration {
	var wait time.Duration
	if !p.last.IsZero() {
		wait = min(chatSpacing, chatSpacing-now.Sub(p.last))
	}
	if p.group && len(p.minute) == groupMinute {
		wait = max(wait, min(time.Minute, time.Minute-now.Sub(p.minute[0])))
	}
	return max(wait, 0)
}

// turns spaces the messages to all chats.
type turns struct {
	mu   sync.Mutex
	next time.Time
}

// take gives a place in the queue, and how long it is until then.
func (t *turns) take(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next.Before(now) || t.next.After(now.Add(time.Minute)) {
		t.next = now
	}
	wait := t.next.Sub(now)
	t.next = t.next.Add(globalSpacing)
	return wait
}
