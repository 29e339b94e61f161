package demo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// record streams for a while and breaks the connection in the middle of it. The handshake that follows is refused, as a busy exchange does, so
// that trades are really missed.
func (d *demo) record(ctx context.Context) error {
	args := []string{"stream"}
	d.heading(fmt.Sprintf("Live trades for %s, with the connection cut once", d.opt.Live), args...)
	streaming, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- d.runQuietly(streaming, d.opt.Stdout, nil, append(args, "--flush-interval", "2s", "--log-level", "error")...)
		close(ended)
	}()
	err := d.interrupt(ctx, ended)
	stop()
	// It was told to end, and has ended well or not.
	if end := <-ended; err == nil && end != context.Canceled {
		err = end
	}
	return err
}

// backWithin is how long beyond its time the stream may take to be connected again: on a busy machine a second is soon over.
const backWithin = time.Minute

// interrupt waits until trades flow, cuts the connection, sees it come back, and waits until the time is over.
func (d *demo) interrupt(ctx context.Context, ended <-chan error) error {
	before, err := d.exchange.served(ctx)
	if err != nil {
		return err
	}
	watch := time.NewTicker(100 * time.Millisecond)
	defer watch.Stop()
	var cutAt time.Time
	connections := int64(0)
	begun, back := time.Now(), false
	for !back || time.Since(begun) < d.opt.Live {
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("the stream ended of itself")
			}
			return err
		case <-watch.C:
		}
		if time.Since(begun) > d.opt.Live+backWithin {
			return fmt.Errorf("the stream was not connected again within %s", d.opt.Live+backWithin)
		}
		now, err := d.exchange.served(ctx)
		if err != nil {
			return err
		}
		switch {
		case cutAt.IsZero() && now.Messages-before.Messages >= 10:
			if _, err := d.exchange.inject(ctx, url.Values{"kind": {"refuse"}, "code": {"503"}, "retry_after": {"1s"}}); err != nil {
				return err
			}
			met, err := d.exchange.inject(ctx, url.Values{"kind": {"cut"}})
			if err != nil {
				return err
			}
			if met == 1 {
				cutAt, connections = d.opt.Now(), now.Connections
				d.tell("connected; %s trades so far; now the connection is cut", grouped(now.Messages-before.Messages))
			}
		case !cutAt.IsZero() && !back && now.Connections > connections:
			back = true
			d.tell("connected again %.1f s later", d.opt.Now().Sub(cutAt).Seconds())
		}
	}
	return nil
}
