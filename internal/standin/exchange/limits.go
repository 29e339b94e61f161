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

// inFlightGrace is how long after a 429 or 418 a request is not an offence, because it may have been
// sent before the answer arrived.
const inFlightGrace = 250 * time.Millisecond

// rejection is an answer that refuses a request. The zero value admits it.
type rejection struct {
	status     int
	retryAfter time.Duration
	message    string
}

func (r rejection) write(w http.ResponseWriter) {
	if r.retryAfter > 0 {
		seconds := int64((r.retryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	writeError(w, r.status, -1003, r.message)
}

// limiter counts the requests and handshakes of each address.
type limiter struct {
	opt      Options
	counters *counters

	mu        sync.Mutex
	addresses map[string]*usage
}

type usage struct {
	window       time.Time // start of the minute of used
	used         int64     // weight
	blockedUntil time.Time // end of the last 429
	rejectedAt   time.Time // when the last 429 or 418 was answered
	strikes      int       // requests after the last 429
	bannedUntil  time.Time // end of the last 418
	bans         int
	connects     []time.Time // handshakes within connectWindow
}

func newLimiter(opt Options, l *counters) *limiter {
	return &limiter{opt: opt, counters: l, addresses: map[string]*usage{}}
}

// address returns the client's address without its port, by which limits are counted.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// lock locks the limiter and returns what an address has used. The caller unlocks it.
func (l *limiter) lock(address string) (u *usage, now time.Time) {
	l.mu.Lock()
	now = time.Now()
	u = l.addresses[address]
	if u == nil {
		u = &usage{}
		l.addresses[address] = u
	}
	if window := now.Truncate(l.opt.WeightWindow); window.After(u.window) {
		u.window, u.used = window, 0
	}
	return u, now
}

// spend counts the weight of a request. It returns the weight that the address has used in this
// minute, and the rejection if it is over a limit.
func (l *limiter) spend(address string, weight int64) (used int64, refused rejection) {
	u, now := l.lock(address)
	defer l.mu.Unlock()
	if now.Before(u.bannedUntil) {
		if now.Sub(u.rejectedAt) > inFlightGrace {
			l.counters.offence(RequestWhileBanned)
		}
		return u.used, u.rejectBanned(now)
	}
	u.used += weight
	l.counters.observeWeight(u.used)
	if now.Before(u.blockedUntil) {
		if now.Sub(u.rejectedAt) > inFlightGrace {
			l.counters.offence(IgnoredRetryAfter)
			u.strikes++
		}
		if u.strikes >= l.opt.StrikesToBan {
			u.bannedUntil = now.Add(l.opt.BanFor << u.bans)
			u.bans++
			u.strikes = 0
			u.rejectedAt = now
			return u.used, u.rejectBanned(now)
		}
		return u.used, l.tooManyRequests(u, now)
	}
	if u.used > l.opt.WeightLimit {
		l.counters.offence(BudgetExceeded)
		u.blockedUntil, u.strikes, u.rejectedAt = u.window.Add(l.opt.WeightWindow), 0, now
		return u.used, l.tooManyRequests(u, now)
	}
	return u.used, rejection{}
}

func (u *usage) rejectBanned(now time.Time) rejection {
	return rejection{
		status: http.StatusTeapot, retryAfter: u.bannedUntil.Sub(now),
		message: fmt.Sprintf("Way too much request weight used; IP banned until %d. Please use WebSocket Streams for live updates to avoid bans.", u.bannedUntil.UnixMilli()),
	}
}

func (l *limiter) tooManyRequests(u *usage, now time.Time) rejection {
	return rejection{
		status: http.StatusTooManyRequests, retryAfter: u.blockedUntil.Sub(now),
		message: fmt.Sprintf("Too much request weight used; current limit is %d request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.", l.opt.WeightLimit),
	}
}

// block answers 429 for some time, whatever was used.
func (l *limiter) block(address string, wait time.Duration) rejection {
	u, now := l.lock(address)
	defer l.mu.Unlock()
	u.blockedUntil, u.strikes, u.rejectedAt = now.Add(wait), 0, now
	return l.tooManyRequests(u, now)
}

// ban answers 418 for some time.
func (l *limiter) ban(address string, wait time.Duration) rejection {
	u, now := l.lock(address)
	defer l.mu.Unlock()
	u.bannedUntil, u.rejectedAt = now.Add(wait), now
	return u.rejectBanned(now)
}

// connect counts a handshake and rejects it if there are too many.
func (l *limiter) connect(address string) rejection {
	u, now := l.lock(address)
	defer l.mu.Unlock()
	for len(u.connects) > 0 && now.Sub(u.connects[0]) >= connectWindow {
		u.connects = u.connects[1:]
	}
	u.connects = append(u.connects, now)
	if len(u.connects) > l.opt.Connects {
		l.counters.offence(TooManyConnects)
		return rejection{
			status: http.StatusTooManyRequests, retryAfter: u.connects[0].Add(connectWindow).Sub(now),
			message: "Too many connections.",
		}
	}
	return rejection{}
}
