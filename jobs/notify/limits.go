package notify

import "time"

// Telegram's limits for a bot (its FAQ, "My bot is hitting limits"): one message per second to a
// chat, 20 per minute to a group and 30 per second in total. The limit of channels is not
// published; they count as groups.
const (
	chatInterval      = time.Second
	groupPerMinute    = 20
	messagesPerSecond = 25
)

// chatLimiter limits the messages to one chat. It counts from the time at which a reply arrived:
// Telegram had accepted the message by then, so messages that are a second apart here are at least
// that far apart there. A new process restores it from the outbox's files.
type chatLimiter struct {
	isGroup  bool
	last     time.Time   // last attempt
	accepted []time.Time // the last groupPerMinute messages that were or may have been accepted
}

// addAttempt records an attempt, including one that Telegram refused.
func (l *chatLimiter) addAttempt(at time.Time) {
	if at.After(l.last) {
		l.last = at
	}
}

// addAccepted records a message that was or may have been accepted.
func (l *chatLimiter) addAccepted(at time.Time) {
	l.addAttempt(at)
	l.accepted = append(l.accepted, at)
	l.accepted = l.accepted[max(0, len(l.accepted)-groupPerMinute):]
}

// wait returns how long the next message must wait. Times after now, which a clock that was set
// back leaves behind, count as now.
func (l *chatLimiter) wait(now time.Time) time.Duration {
	var wait time.Duration
	if !l.last.IsZero() {
		wait = min(chatInterval, chatInterval-now.Sub(l.last))
	}
	if l.isGroup && len(l.accepted) == groupPerMinute {
		wait = max(wait, min(time.Minute, time.Minute-now.Sub(l.accepted[0])))
	}
	return max(wait, 0)
}
