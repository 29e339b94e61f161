package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/wording"
)

// record streams for Options.Live and resets the connection in the middle. The next handshake is
// refused, as by a busy exchange, so that trades are missed.
func (d *demo) record(ctx context.Context) error {
	d.heading(fmt.Sprintf("Live trades for %s, with one lost connection", d.opt.Live), "stream")
	streaming, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		args := []string{"stream", "--flush-interval", "2s", "--log-level", "error"}
		ended <- d.wait(streaming, d.opt.Stdout, d.opt.Stderr, 0, args)
		close(ended)
	}()
	err := d.loseConnection(ctx, ended)
	stop()
	// A stream that ended normally after SIGTERM returns context.Canceled.
	if end := <-ended; err == nil && end != context.Canceled {
		err = end
	}
	return err
}

// reconnectTimeout is how long beyond Options.Live the stream may take to reconnect: on a busy machine
// a second is too short.
const reconnectTimeout = time.Minute

// loseConnection waits until trades arrive, resets the connection, and waits until the stream has
// reconnected and Options.Live is over.
func (d *demo) loseConnection(ctx context.Context, ended <-chan error) error {
	before, err := d.exchange.Served(ctx)
	if err != nil {
		return err
	}
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	var lostAt time.Time
	connections := int64(0)
	started, reconnected := time.Now(), false
	for !reconnected || time.Since(started) < d.opt.Live {
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("the stream ended unexpectedly")
			}
			return err
		case <-poll.C:
		}
		if time.Since(started) > d.opt.Live+reconnectTimeout {
			return fmt.Errorf("the stream did not reconnect within %s", d.opt.Live+reconnectTimeout)
		}
		served, err := d.exchange.Served(ctx)
		if err != nil {
			return err
		}
		switch {
		case lostAt.IsZero() && served.Messages-before.Messages >= 10:
			refuse := exchange.Fault{Kind: exchange.Refuse, Code: http.StatusServiceUnavailable, RetryAfter: time.Second}
			if _, err := d.exchange.Inject(ctx, refuse); err != nil {
				return err
			}
			lost, err := d.exchange.Inject(ctx, exchange.Fault{Kind: exchange.Cut})
			if err != nil {
				return err
			}
			if lost == 1 {
				lostAt, connections = d.opt.Now(), served.Connections
				d.printOver("connected; %s so far; the connection is cut now", wording.Count(served.Messages-before.Messages, "trade"))
			}
		case !lostAt.IsZero() && !reconnected && served.Connections > connections:
			reconnected = true
			d.printOver("reconnected %.1f s later", d.opt.Now().Sub(lostAt).Seconds())
		}
	}
	return nil
}
