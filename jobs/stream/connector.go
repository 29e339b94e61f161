package stream

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"tapedeck/internal/binance"
)

// Timing of a connector.
const (
	dialTimeout = 15 * time.Second
	// answerTimeout bounds a change of subscriptions, in addition to the time that sending its
	// frames takes.
	answerTimeout = 5 * time.Second
	// overlap is how long the old connection stays open beside the new one, so that trades that
	// were in flight when the new one was subscribed still arrive. It stays up to overlapMost, until
	// the old one is proven to have delivered them.
	overlap, overlapMost = 3 * time.Second, 8 * time.Second
	// Waits after consecutive refusals double from backoffLeast to backoffMost; each is shortened
	// by up to a half at random. The same holds from the second consecutive connection on that
	// ended within shortLife. After other losses there is no wait.
	backoffLeast, backoffMost = time.Second, 20 * time.Second
	shortLife                 = 5 * time.Second
	// unverifiedMost is how many connections in a row are given up because they neither answer nor
	// deliver. The next one is kept: perhaps this exchange never answers and nothing trades.
	unverifiedMost = 3
	// banPause and limitPause are the shortest waits after 418 and 429 without a Retry-After.
	banPause, limitPause = 2 * time.Minute, 30 * time.Second
	// onceAttempts is the number of consecutive refusals after which a run with Options.Once fails.
	onceAttempts = 4
	// checkEvery is how often silence and reachability are checked.
	checkEvery = time.Second
)

// Reasons to replace a connection.
const (
	reasonLost     = "lost"
	reasonAge      = "age"
	reasonShutdown = "server_shutdown"
	reasonSilence  = "silence"
	reasonRequest  = "request_failed"
)

// connector keeps one connection for its group of symbols up. It replaces a connection that has
// ended, will end soon or is silent; if it can, it opens the new one before it closes the old one.
type connector struct {
	name     string // number of the group and of the copy
	group    *group
	tracked  *trackedConnector
	tracker  *tracker
	watcher  *watcher
	clock    clock
	receiver *receiver
	full     func() bool // reports whether reading has to wait for room
	observe  func(Event)
	history  *history
	dials    *rate.Limiter
	opt      Options
	log      *slog.Logger

	lostAt     time.Time // zero unless the connection was lost; belongs to the connector's goroutine
	connected  bool      // a connection was up
	refusals   int       // failed attempts in a row
	shortLives int       // connections that ended too soon, in a row
	unverified int       // connections whose subscriptions could not be verified, in a row
}

// run keeps a connection up until ctx is done. With Options.Once it also returns when the exchange
// closes a connection normally, or cannot be reached.
func (c *connector) run(ctx context.Context) error {
	var old *connection
	var reason string
	for {
		conn, err := c.open(ctx)
		if err != nil {
			if old != nil {
				old.close()
			}
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if old != nil && !c.handOver(ctx, old, conn, reason) {
			continue
		}
		old = conn
		reason = c.watch(ctx, conn)
		if time.Since(conn.openedAt) >= shortLife {
			c.shortLives = 0
		}
		if reason != "" {
			continue
		}
		conn.close()
		if ctx.Err() != nil {
			return nil
		}
		if c.opt.Once && binance.CloseCode(conn.err) == 1000 {
			return nil
		}
		c.lost(conn, nil)
		old, reason = nil, reasonLost
	}
}

// open returns a connection that is up, however long that takes. Its error is the context's, or
// with Options.Once the exchange's.
func (c *connector) open(ctx context.Context) (*connection, error) {
	if c.shortLives > 1 {
		if err := binance.Sleep(ctx, backoff(c.shortLives-1, nil)); err != nil {
			return nil, err
		}
	}
	for {
		if err := c.dials.Wait(ctx); err != nil {
			return nil, err
		}
		conn, err := c.dial(ctx)
		if err == nil {
			c.recordConnected(len(conn.streams))
			c.refusals = 0
			c.tracker.connected(conn.tracked)
			c.log.Info("stream connected", "streams", len(conn.streams))
			c.observe(Event{Kind: Connected, Connection: c.name, Streams: len(conn.streams)})
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c.refusals++
		wait := backoff(c.refusals, err)
		c.tracker.refused(c.tracked, err)
		c.log.Warn("stream not connected", "error", err, "attempt", c.refusals, "retry_in_ms", wait.Milliseconds())
		c.observe(Event{Kind: Refused, Connection: c.name, Reason: err.Error()})
		if c.opt.Once && c.refusals >= onceAttempts {
			return nil, err
		}
		if err := binance.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// backoff returns how long to wait after a number of failures in a row, the last of which was err.
func backoff(failures int, err error) time.Duration {
	wait := min(backoffLeast<<min(failures-1, 10), backoffMost)
	wait -= rand.N(wait/2 + 1)
	var refusal *binance.RefusedError
	if errors.As(err, &refusal) {
		least := refusal.RetryAfter
		if least == 0 && refusal.Status == 418 {
			least = banPause
		} else if least == 0 && refusal.Status == 429 {
			least = limitPause
		}
		if least > 0 {
			wait = max(wait, least+rand.N(least/10+1))
		}
	}
	return wait
}

// dial opens a connection, subscribes it to the group's streams and verifies the subscriptions. The
// connection is read from the start.
func (c *connector) dial(ctx context.Context) (*connection, error) {
	symbols, streams, _ := c.group.current()
	address, rest, err := binance.StreamURL(c.opt.URL, streams)
	if err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ws, err := binance.Dial(dialing, address, binance.DialOptions{
		DialContext: c.opt.DialContext, UserAgent: c.opt.UserAgent, Clock: c.clock.now,
	})
	if err != nil {
		return nil, err
	}
	conn := &connection{
		ws: ws, tracked: c.tracker.newConnection(c.tracked, ws.LastPing), openedAt: time.Now(),
		maxAge: c.opt.MaxAge - rand.N(c.opt.MaxAge/20+1), streams: streams, symbols: symbols,
		shutdown: make(chan struct{}), done: make(chan struct{}),
	}
	conn.watch.Store(c.watcher.connection(new(watchedReader)))
	go c.receiver.read(conn)
	listed, err := c.subscribe(ctx, conn, rest)
	if err != nil {
		conn.close()
		return nil, err
	}
	c.watcher.confirmed(conn.watch.Load(), symbolsOf(conn, listed))
	return conn, nil
}

// handOver closes the old connection once it has overlapped with the new one, and returns true. If
// the new one ends first, the old one stays until the next attempt, and handOver returns false.
func (c *connector) handOver(ctx context.Context, old, conn *connection, reason string) bool {
	timer := time.NewTimer(overlap)
	defer timer.Stop()
	enough := time.Now().Add(overlapMost)
waiting:
	for {
		select {
		case <-timer.C:
		case <-old.done:
			if ctx.Err() == nil {
				c.recordLost(endOf(old.err))
				c.recordConnected(len(conn.streams))
			}
			break waiting
		case <-ctx.Done():
			break waiting
		case <-conn.done:
			conn.close()
			c.lost(conn, old)
			return false
		}
		if old.watch.Load().spoiled.Load() || c.watcher.linked(old.watch.Load(), conn.watch.Load()) || !time.Now().Before(enough) {
			break
		}
		c.ping(ctx, old)
		timer.Reset(checkEvery / 2)
	}
	old.close()
	c.tracker.replaced()
	c.log.Info("stream connection replaced", "reason", reason, "age_s", int64(time.Since(old.openedAt).Seconds()))
	c.observe(Event{Kind: Replaced, Connection: c.name, Streams: len(conn.streams), Reason: reason})
	return true
}

// lost records that a connection ended by itself, and that other is what is left; it may be nil.
func (c *connector) lost(conn, other *connection) {
	if time.Since(conn.openedAt) < shortLife {
		c.shortLives++
	}
	var current *trackedConnection
	if other != nil {
		current = other.tracked
	}
	c.tracker.lost(conn.tracked, conn.err, current)
	c.log.Warn("stream connection lost", "error", conn.err, "close_code", binance.CloseCode(conn.err),
		"age_s", int64(time.Since(conn.openedAt).Seconds()))
	if other == nil {
		c.recordLost(endOf(conn.err))
	}
	c.observe(Event{Kind: Lost, Connection: c.name, Reason: conn.err.Error()})
}

// watch returns why the connection must be replaced while it is still up, or "" once it has ended
// or ctx is done.
func (c *connector) watch(ctx context.Context, conn *connection) string {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		symbols, streams, changed := c.group.current()
		if err := c.updateSubscriptions(ctx, conn, symbols, streams); err != nil {
			if ctx.Err() == nil {
				c.log.Warn("subscriptions not changed", "error", err)
			}
			return reasonUnlessEnded(ctx, conn, reasonRequest)
		}
	waiting:
		for {
			select {
			case <-ctx.Done():
				return ""
			case <-conn.done:
				return ""
			case <-conn.shutdown:
				return reasonUnlessEnded(ctx, conn, reasonShutdown)
			case <-changed:
				break waiting
			case <-ticker.C:
				if time.Since(conn.openedAt) >= conn.maxAge {
					return reasonAge
				}
				if c.full() {
					c.tracker.stalled()
				} else if what, silence := c.tracker.tooSilent(conn.tracked, symbols); what != "" {
					c.log.Warn("stream silent", "what", what, "silent_ms", silence.Milliseconds())
					c.distrust(conn, what)
					return reasonSilence
				}
				c.keepProving(ctx, conn)
			}
		}
	}
}

// distrust makes a connection prove nothing more about what on it is too silent: "connection", "pings"
// or a symbol. Its successor proves nothing about the time before.
func (c *connector) distrust(conn *connection, what string) {
	switch {
	case slices.Contains(conn.symbols, what):
		c.watcher.removed(conn.watch.Load(), []string{what})
	case what != "connection" || c.tracker.suspicious(conn.tracked):
		conn.watch.Load().spoil()
		c.recordLost("silent for longer than usual")
	}
}

// keepProving pings a connection that has delivered nothing for a while, and watches one again that
// has delivered something that could not be stored.
func (c *connector) keepProving(ctx context.Context, conn *connection) {
	watch := conn.watch.Load()
	if watch.spoiled.Load() {
		again := c.watcher.connection(watch.reader)
		conn.watch.Store(again)
		c.watcher.again(watch, again)
		return
	}
	if c.clock.now()-max(watch.silentSince(), conn.pingedAt) >= int64(pingEvery) {
		c.ping(ctx, conn)
	}
}

// ping pings a connection, unless the last ping is not answered yet. It does not wait for the answer.
func (c *connector) ping(ctx context.Context, conn *connection) {
	watch := conn.watch.Load()
	if !watch.reader.asking.CompareAndSwap(false, true) {
		return
	}
	conn.pingedAt = c.clock.now()
	conn.pings.Go(func() {
		defer watch.reader.asking.Store(false)
		ctx, cancel := context.WithTimeout(ctx, pongTimeout)
		defer cancel()
		if sentAt, err := conn.ws.Ping(ctx); err == nil && c.tracker.quietIsUsual(conn.tracked, sentAt) {
			watch.pong(sentAt)
		}
	})
}

func reasonUnlessEnded(ctx context.Context, conn *connection, reason string) string {
	if ctx.Err() != nil || isClosed(conn.done) {
		return ""
	}
	return reason
}
