package stream

import (
	"context"
	"fmt"
	"time"
)

// requestTimeout bounds requests about that many streams.
func requestTimeout(streams int) time.Duration {
	return answerTimeout + time.Duration(streams)*answerTimeout/100
}

// symbolsOf returns the symbols of some of a connection's streams.
func symbolsOf(conn *connection, streams []string) []string {
	var out []string
	others := without(conn.streams, streams)
	for i, stream := range conn.streams {
		if len(others) > 0 && others[0] == stream {
			others = others[1:]
			continue
		}
		out = append(out, conn.symbols[i])
	}
	return out
}

// subscribe subscribes to the streams that are not in the address, and verifies that the connection
// has all. It returns those that the exchange lists; none if it could not be asked. A connection that
// has ended meanwhile is not an error; what it delivered before may be all there is.
func (c *connector) subscribe(ctx context.Context, conn *connection, rest []string) (listed []string, err error) {
	asking, cancel := context.WithTimeout(ctx, requestTimeout(len(rest)))
	defer cancel()
	err = conn.ws.Subscribe(asking, rest)
	for attempt := 0; err == nil; attempt++ {
		var subscribed []string
		if subscribed, err = conn.ws.Subscriptions(asking); err != nil {
			break
		}
		c.unverified = 0
		missing := without(conn.streams, subscribed)
		if len(missing) == 0 {
			return conn.streams, nil
		}
		if attempt == 1 {
			c.log.Warn("streams not subscribed: the exchange does not list them", "streams", len(missing), "first", missing[0])
			return without(conn.streams, missing), nil
		}
		err = conn.ws.Subscribe(asking, missing)
	}
	if isClosed(conn.done) {
		return nil, nil
	}
	c.unverified++
	if len(rest) == 0 && ctx.Err() == nil && (c.unverified > unverifiedMost || c.tracker.delivers(conn.tracked)) {
		// The address named all streams, so the connection works without this answer.
		c.log.Warn("subscriptions not verified", "error", err)
		return nil, nil
	}
	return nil, fmt.Errorf("subscribe: %w", err)
}

// updateSubscriptions changes the connection's subscriptions to the streams of the given symbols.
func (c *connector) updateSubscriptions(ctx context.Context, conn *connection, symbols, streams []string) error {
	added, removed := without(streams, conn.streams), without(conn.streams, streams)
	if len(added) == 0 && len(removed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout(len(added)+len(removed)))
	defer cancel()
	c.watcher.removed(conn.watch.Load(), symbolsOf(conn, removed))
	if err := conn.ws.Unsubscribe(ctx, removed); err != nil {
		return err
	}
	if err := conn.ws.Subscribe(ctx, added); err != nil {
		return err
	}
	conn.streams, conn.symbols = streams, symbols
	c.watcher.confirmed(conn.watch.Load(), symbolsOf(conn, added))
	c.log.Info("subscriptions changed", "added", len(added), "removed", len(removed), "streams", len(streams))
	c.observe(Event{Kind: Changed, Connection: c.name, Streams: len(streams)})
	return nil
}
