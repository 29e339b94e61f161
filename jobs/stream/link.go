package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"tapedeck/internal/binance"
)

// Timing of a link.
const (
	dialTimeout = 15 * time.Second
	// answerTimeout bounds a change of subscriptions besides the pace at which its frames go out.
	answerTimeout = 5 * time.Second
	// overlap is how long the old connection goes on beside the new one, so that whatever was on its way
	// when the new one was subscribed still arrives.
	overlap = 2 * time.Second
	// Waits after refusals in a row double from backoffLeast to backoffMost; each is cut by up to a half
	// at random. So do those after a second connection that ended within shortLife, and further ones; after
	// others there is no wait.
	backoffLeast, backoffMost = time.Second, 20 * time.Second
	shortLife                 = 5 * time.Second
	// unprovenMost is how many connections in a row are given up because they neither answer nor deliver.
	// Then the next is kept: perhaps this exchange never answers and nothing is traded.
	unprovenMost = 3
	// banned is the least wait after 418, and after 429, where the answer says no longer one.
	banned, limited = 2 * time.Minute, 30 * time.Second
	// onceAttempts is after how many refusals in a row a run with Options.Once gives up.
	onceAttempts = 4
	// watchEvery is how often silence is looked for.
	watchEvery = time.Second
)

// link is a place at which there should always be a connection. It replaces one that ends, that is about
// to, or that has fallen silent, and where it can, the new one is up before it leaves the old.
type link struct {
	r     *recorder
	group *group
	name  string
	log   *slog.Logger

	// These belong to the link's goroutine.
	refusals   int // handshakes that failed, in a row
	shortLives int // connections that ended too soon, in a row
	unproven   int // connections whose subscriptions could not be verified, in a row

	// Guarded by deck.mu.
	live      *connection // nil while there is none
	trouble   string      // why there is none
	cadence   cadence
	strikes   int
	connects  int64
	lastHeard int64 // by deck.clock
	cutOff    int64 // by deck.clock, since when the exchange can't be reached; 0 where it can
}

func newLink(r *recorder, g *group, name string) *link {
	return &link{r: r, group: g, name: name, log: r.log.With("link", name)}
}

// What ends or replaces a connection.
const (
	reasonLost     = "lost"
	reasonAge      = "age"
	reasonShutdown = "server_shutdown"
	reasonSilence  = "silence"
	reasonRequest  = "request_failed"
)

// run keeps a connection at the link until the context ends. With Options.Once it also ends when the
// exchange closes one normally, or can't be reached.
func (l *link) run(ctx context.Context) error {
	var old *connection
	var why string
	for {
		c, err := l.open(ctx, why != "")
		if err != nil {
			l.close(old)
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if old != nil && !l.handOver(ctx, old, c, why) {
			continue
		}
		old = c
		why = l.watch(ctx, c)
		if time.Since(c.openedAt) >= shortLife {
			l.shortLives = 0
		}
		if why == "" { // it has ended, or the run has
			l.close(c)
			if ctx.Err() != nil {
				return nil
			}
			code := binance.CloseCode(c.err)
			if l.r.opt.Once && code == 1000 {
				return nil
			}
			l.lost(c, code)
			l.r.deck.live(l, nil)
			old, why = nil, reasonLost
		}
	}
}

// open returns a connection that is up, however long that takes. Its error is the context's, or with
// Options.Once the exchange's.
func (l *link) open(ctx context.Context, again bool) (*connection, error) {
	if l.shortLives > 1 {
		if err := sleep(ctx, backoff(l.shortLives-1, nil)); err != nil {
			return nil, err
		}
	}
	for {
		if err := l.r.dials.Wait(ctx); err != nil {
			return nil, err
		}
		c, err := l.dial(ctx)
		if err == nil {
			l.refusals = 0
			l.r.deck.arrive(l, c, again)
			l.log.Info("stream connected", "streams", len(c.streams))
			l.r.observe(Event{Kind: Connected, Link: l.name, Streams: len(c.streams)})
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l.refusals++
		wait := backoff(l.refusals, err)
		l.r.deck.refused(l, err)
		l.log.Warn("stream not connected", "error", err, "attempt", l.refusals, "retry_in_ms", wait.Milliseconds())
		l.r.observe(Event{Kind: Refused, Link: l.name, Reason: err.Error()})
		if l.r.opt.Once && l.refusals >= onceAttempts {
			return nil, err
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// backoff is how long to wait after so many failures in a row, the last of which was err.
func backoff(failures int, err error) time.Duration {
	wait := min(backoffLeast<<min(failures-1, 10), backoffMost)
	wait -= rand.N(wait/2 + 1)
	var refusal *binance.RefusedError
	if errors.As(err, &refusal) {
		least := refusal.RetryAfter
		if least == 0 && refusal.Status == 418 {
			least = banned
		} else if least == 0 && refusal.Status == 429 {
			least = limited
		}
		if least > 0 {
			wait = max(wait, least+rand.N(least/10+1))
		}
	}
	return wait
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dial makes one connection, subscribes it to the group's streams and asks the exchange whether it has
// them. It reads from the first moment on.
func (l *link) dial(ctx context.Context) (*connection, error) {
	_, streams, _ := l.group.now()
	address, rest, err := binance.StreamURL(l.r.opt.URL, streams)
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := binance.Dial(dialing, address, binance.DialOptions{DialContext: l.r.opt.DialContext, UserAgent: l.r.opt.UserAgent, Clock: l.r.deck.clock})
	if err != nil {
		return nil, err
	}
	maxAge := l.r.opt.MaxAge
	c := &connection{
		link: l, conn: conn, openedAt: time.Now(), opened: l.r.deck.clock(), maxAge: maxAge - rand.N(maxAge/20+1), streams: streams,
		leaving: make(chan struct{}), done: make(chan struct{}),
	}
	go c.read()
	if err := l.subscribe(ctx, c, rest); err != nil {
		l.close(c)
		return nil, err
	}
	return c, nil
}

// subscribe asks for the streams that were not in the address, and checks that the connection has all. A
// connection that ended meanwhile is left to the watch; its trades may be all that there were.
func (l *link) subscribe(ctx context.Context, c *connection, rest []string) error {
	asking, cancel := context.WithTimeout(ctx, answerTimeout+time.Duration(len(rest))*answerTimeout/100)
	defer cancel()
	err := c.conn.Subscribe(asking, rest)
	for attempt := 0; err == nil; attempt++ {
		var have []string
		if have, err = c.conn.Subscriptions(asking); err != nil {
			break
		}
		l.unproven = 0
		missing := without(c.streams, have)
		if len(missing) == 0 {
			return nil
		}
		if attempt == 1 {
			l.log.Warn("streams not subscribed: the exchange does not list them", "streams", len(missing), "first", missing[0])
			return nil
		}
		err = c.conn.Subscribe(asking, missing)
	}
	select {
	case <-c.done:
		return nil
	default:
	}
	if l.unproven++; len(rest) == 0 && ctx.Err() == nil && (l.unproven > unprovenMost || l.r.deck.delivers(c)) {
		// The address named all streams, so that they do not hang on this answer.
		l.log.Warn("subscriptions not verified", "error", err)
		return nil
	}
	return fmt.Errorf("subscribe: %w", err)
}

// handOver leaves the old connection once it has overlapped with the new, and reports whether it did. It
// does not where the new one ended first: then the old one stays until the next attempt.
func (l *link) handOver(ctx context.Context, old, c *connection, why string) bool {
	timer := time.NewTimer(overlap)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-old.done:
	case <-ctx.Done():
	case <-c.done:
		l.close(c)
		l.lost(c, binance.CloseCode(c.err))
		l.r.deck.live(l, old)
		return false
	}
	l.close(old)
	l.r.deck.replaced()
	l.log.Info("stream connection replaced", "reason", why, "age_s", int64(time.Since(old.openedAt).Seconds()))
	l.r.observe(Event{Kind: Replaced, Link: l.name, Streams: len(c.streams), Reason: why})
	return true
}

// lost notes that a connection ended by itself.
func (l *link) lost(c *connection, code int) {
	if time.Since(c.openedAt) < shortLife {
		l.shortLives++
	}
	l.r.deck.troubled(l, c.err)
	l.log.Warn("stream connection lost", "error", c.err, "close_code", code, "age_s", int64(time.Since(c.openedAt).Seconds()))
	l.r.observe(Event{Kind: Lost, Link: l.name, Reason: c.err.Error()})
}

// close ends a connection and waits for its reader.
func (l *link) close(c *connection) {
	if c == nil {
		return
	}
	c.conn.Close()
	<-c.done
}

// watch returns why the connection must be replaced while it still runs, or nothing when it has ended or
// the run has.
func (l *link) watch(ctx context.Context, c *connection) string {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		symbols, streams, changed := l.group.now()
		if err := l.follow(ctx, c, streams); err != nil {
			if ctx.Err() == nil {
				l.log.Warn("subscriptions not changed", "error", err)
			}
			return l.unlessEnded(ctx, c, reasonRequest)
		}
	waiting:
		for {
			select {
			case <-ctx.Done():
				return ""
			case <-c.done:
				return ""
			case <-c.leaving:
				return l.unlessEnded(ctx, c, reasonShutdown)
			case <-changed:
				break waiting
			case <-ticker.C:
				if time.Since(c.openedAt) >= c.maxAge {
					return reasonAge
				}
				if what, silence := l.r.deck.silent(c, symbols); what != "" {
					l.log.Warn("stream silent", "what", what, "silent_ms", silence.Milliseconds())
					return reasonSilence
				}
			}
		}
	}
}

func (l *link) unlessEnded(ctx context.Context, c *connection, why string) string {
	select {
	case <-c.done:
		return ""
	case <-ctx.Done():
		return ""
	default:
		return why
	}
}

// follow brings the connection's subscriptions to the group's.
func (l *link) follow(ctx context.Context, c *connection, streams []string) error {
	added, removed := without(streams, c.streams), without(c.streams, streams)
	if len(added) == 0 && len(removed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout+time.Duration(len(added)+len(removed))*answerTimeout/100)
	defer cancel()
	if err := c.conn.Unsubscribe(ctx, removed); err != nil {
		return err
	}
	if err := c.conn.Subscribe(ctx, added); err != nil {
		return err
	}
	c.streams = streams
	l.log.Info("subscriptions changed", "added", len(added), "removed", len(removed), "streams", len(streams))
	l.r.observe(Event{Kind: Changed, Link: l.name, Streams: len(streams)})
	return nil
}
