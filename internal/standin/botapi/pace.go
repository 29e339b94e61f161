package botapi

import (
	"fmt"
	"strings"
	"time"
)

// What Telegram allows a bot (its FAQ, "My bot is hitting limits"): a message a second to a chat, 20 a minute to a group, 30 a
// second to all. Telegram lets short bursts pass; the stand-in does not.
const (
	chatSpacing  = time.Second
	groupMinute  = 20
	globalSecond = 30
)

// pace remembers when messages were accepted.
type pace struct {
	chats map[string][]time.Time // of the last minute
	all   []time.Time            // of the last second
	until map[string]time.Time   // by chat, when retry_after ends
}

func since(times []time.Time, from time.Time) []time.Time {
	for len(times) > 0 && !times[0].After(from) {
		times = times[1:]
	}
	return times
}

// admit says how long a message to a chat has to wait at now, zero where it may pass, and by which rule.
func (p *pace) admit(chat string, now time.Time) (wait time.Duration, rule string) {
	if until := p.until[chat]; now.Before(until) {
		return until.Sub(now), "before retry_after was over"
	}
	times := since(p.chats[chat], now.Add(-time.Minute))
	p.chats[chat] = times
	p.all = since(p.all, now.Add(-time.Second))
	switch {
	case len(times) > 0 && now.Sub(times[len(times)-1]) < chatSpacing:
		return chatSpacing - now.Sub(times[len(times)-1]), "more than a message a second to a chat"
	case isGroup(chat) && len(times) >= groupMinute:
		return times[len(times)-groupMinute].Add(time.Minute).Sub(now), fmt.Sprintf("more than %d messages a minute to a group", groupMinute)
	case len(p.all) >= globalSecond:
		return p.all[len(p.all)-globalSecond].Add(time.Second).Sub(now), fmt.Sprintf("more than %d messages a second", globalSecond)
	}
	return 0, ""
}

func (p *pace) accepted(chat string, now time.Time) {
	p.chats[chat] = append(p.chats[chat], now)
	p.all = append(p.all, now)
}

func isGroup(chat string) bool { return strings.HasPrefix(chat, "-") || strings.HasPrefix(chat, "@") }
