package botapi

import (
	"fmt"
	"strings"
	"time"
)

// The rates that Telegram allows a bot (its FAQ, "My bot is hitting limits"). Telegram tolerates short
// bursts; the stand-in does not.
const (
	chatSpacing      = time.Second // between two messages to a chat
	groupPerMinute   = 20          // messages to a group
	overallPerSecond = 30          // messages to all chats
)

// rates holds when messages were accepted.
type rates struct {
	chats      map[string][]time.Time // in the last minute, by chat
	all        []time.Time            // in the last second
	retryAfter map[string]time.Time   // end of retry_after, by chat
}

// since returns the times after from.
func since(times []time.Time, from time.Time) []time.Time {
	for len(times) > 0 && !times[0].After(from) {
		times = times[1:]
	}
	return times
}

// admit returns how long a message to a chat must wait and the rule that it violates; 0 means that it
// is allowed.
func (r *rates) admit(chat string, now time.Time) (wait time.Duration, rule string) {
	if until := r.retryAfter[chat]; now.Before(until) {
		return until.Sub(now), "before retry_after was over"
	}
	times := since(r.chats[chat], now.Add(-time.Minute))
	r.chats[chat] = times
	r.all = since(r.all, now.Add(-time.Second))
	switch {
	case len(times) > 0 && now.Sub(times[len(times)-1]) < chatSpacing:
		return chatSpacing - now.Sub(times[len(times)-1]), "more than a message a second to a chat"
	case isGroup(chat) && len(times) >= groupPerMinute:
		return times[len(times)-groupPerMinute].Add(time.Minute).Sub(now), fmt.Sprintf("more than %d messages a minute to a group", groupPerMinute)
	case len(r.all) >= overallPerSecond:
		return r.all[len(r.all)-overallPerSecond].Add(time.Second).Sub(now), fmt.Sprintf("more than %d messages a second", overallPerSecond)
	}
	return 0, ""
}

func (r *rates) accepted(chat string, now time.Time) {
	r.chats[chat] = append(r.chats[chat], now)
	r.all = append(r.all, now)
}

func isGroup(chat string) bool { return strings.HasPrefix(chat, "-") || strings.HasPrefix(chat, "@") }
