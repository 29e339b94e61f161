package stream

import (
	"time"

	"tapedeck/internal/binance"
)

// malformed counts and logs a message that cannot be decoded.
func (t *tracker) malformed(c *trackedConnection, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Messages++
	t.counts.Malformed++
	if t.limiter.allow("malformed") {
		t.log.Warn("message not decoded", "connection", c.connector.name, "error", err, "so_far", t.counts.Malformed)
	}
}

// skipped counts a message that is not a trade to record.
func (t *tracker) skipped(c *trackedConnection, m *binance.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Messages++
	switch {
	case m.Damaged:
		t.counts.Damaged++
	case m.Kind.AboutConnection():
	default:
		t.counts.Unknown++
		if t.limiter.allow("unknown") {
			t.log.Warn("message skipped: not a trade of a requested symbol", "connection", c.connector.name,
				"stream", string(m.Stream), "symbol", string(m.Symbol), "so_far", t.counts.Unknown)
		}
	}
}

// inexact counts and logs a value that is not exact as a double.
func (t *tracker) inexact(symbol string, id int64, column string, text []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Inexact++
	if t.limiter.allow("inexact") {
		t.log.Warn("value not exact as a double", "symbol", symbol, "id", id, "column", column,
			"text", string(text), "so_far", t.counts.Inexact)
	}
}

// logLimiter allows one line per kind and minute. The line carries the count so far.
type logLimiter struct{ last map[string]time.Time }

func (l *logLimiter) allow(kind string) bool {
	now := time.Now()
	if last, ok := l.last[kind]; ok && now.Sub(last) < time.Minute {
		return false
	}
	if l.last == nil {
		l.last = map[string]time.Time{}
	}
	l.last[kind] = now
	return true
}
