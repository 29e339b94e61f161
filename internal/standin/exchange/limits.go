package exchange

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// connectWindow is the time in which an address may make Options.Connects handshakes.
const connectWindow = 5 * time.Minute

// reaction is how long after a 429 or 418 a request is forgiven: it may have been on its way.
const reaction = 250 * time.Millisecond

// verdict is a refusal; the zero value lets a request pass.
type verdict struct {
	status     int
	retryAfter time.Duration
	code       int
	message    string
}

func (v verdict) write(w http.ResponseWriter) {
	if v.retryAfter > 0 {
		seconds := int64((v.retryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	writeError(w, v.status, v.code, v.message)
}

// limiter counts what each address uses.
type limiter struct {
	opt    Options
	ledger *ledger

	mu        sync.Mutex
	addresses map[string]*usage
}

type usage struct {
	window   time.Time // start of the minute that used is about
	used     int64
	blocked  time.Time // end of the last 429
	told     time.Time // when the last 429 or 418 was answered
	strikes  int
	banned   time.Time // end of the last 418
	bans     int
	connects []time.Time
}

func newLimiter(opt Options, l *ledger) *limiter {
	return &limiter{opt: opt, ledger: l, addresses: map[string]*usage{}}
}

// address is what limits are counted by: the client's, without its port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func (l *limiter) of(address string, now time.Time) *usage {
	u := l.addresses[address]
	if u == nil {
		u = &usage{}
		l.addresses[address] = u
	}
	if window := now.Truncate(l.opt.WeightWindow); window.After(u.window) {
		u.window, u.used = window, 0
	}
	return u
}

// spend books the weight of a request and says what an address has used in this minute, and whether the request is
// refused.
func (l *limiter) spend(address string, weight int64) (used int64, v verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	u := l.of(address, now)
	if now.Before(u.banned) {
		if now.Sub(u.told) > reaction {
			l.ledger.offence(RequestWhileBanned)
		}
		return u.used, u.ban(now)
	}
	u.used += weight
	l.ledger.used(u.used)
	if now.Before(u.blocked) {
		if now.Sub(u.told) > reaction {
			l.ledger.offence(IgnoredRetryAfter)
			u.strikes++
		}
		if u.strikes >= l.opt.StrikesToBan {
			u.banned = now.Add(l.opt.BanFor << u.bans)
			u.bans++
			u.strikes = 0
			u.told = now
			return u.used, u.ban(now)
		}
		return u.used, l.tooMuch(u, now)
	}
	if u.used > l.opt.WeightLimit {
		l.ledger.offence(BudgetExceeded)
		u.blocked, u.strikes, u.told = u.window.Add(l.opt.WeightWindow), 0, now
		return u.used, l.tooMuch(u, now)
	}
	return u.used, verdict{}
}

func (u *usage) ban(now time.Time) verdict {
	return verdict{
		status: http.StatusTeapot, retryAfter: u.banned.Sub(now), code: -1003,
		message: fmt.Sprintf("Way too much request weight used; IP banned until %d. Please use WebSocket Streams for live updates to avoid bans.", u.banned.UnixMilli()),
	}
}

func (l *limiter) tooMuch(u *usage, now time.Time) verdict {
	return verdict{
		status: http.StatusTooManyRequests, retryAfter: u.blocked.Sub(now), code: -1003,
		message: fmt.Sprintf("Too much request weight used; current limit is %d request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.", l.opt.WeightLimit),
	}
}

// block answers 429 for a while, and impose 418, whatever was used.
func (l *limiter) block(address string, wait time.Duration) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	u := l.of(address, now)
	u.blocked, u.strikes, u.told = now.Add(wait), 0, now
	return l.tooMuch(u, now)
}

func (l *limiter) impose(address string, wait time.Duration) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	u := l.of(address, now)
	u.banned, u.told = now.Add(wait), now
	return u.ban(now)
}

// connect books a handshake.
func (l *limiter) connect(address string) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	u := l.of(address, now)
	for len(u.connects) > 0 && now.Sub(u.connects[0]) >= connectWindow {
		u.connects = u.connects[1:]
	}
	u.connects = append(u.connects, now)
	if len(u.connects) > l.opt.Connects {
		l.ledger.offence(TooManyConnects)
		return verdict{
			status: http.StatusTooManyRequests, retryAfter: u.connects[0].Add(connectWindow).Sub(now),
			code: -1003, message: "Too many connections.",
		}
	}
	return verdict{}
}
