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
	args := []string{"stream", "--for", d.opt.Live.String()}
	d.heading(fmt.Sprintf("Live trades for %s, with the connection cut once", d.opt.Live), args...)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- d.runQuietly(ctx, d.opt.Stdout, nil, append(args, "--flush-interval", "2s", "--log-level", "error")...)
	}()
	err := d.interrupt(ctx, ended)
	if err != nil {
		cancel()
		<-ended
	}
	return err
}

// interrupt waits until trades flow, cuts the connection, sees it come back, and waits for the end.
func (d *demo) interrupt(ctx context.Context, ended <-chan error) error {
	before, err := d.exchange.served(ctx)
	if err != nil {
		return err
	}
	watch := time.NewTicker(100 * time.Millisecond)
	defer watch.Stop()
	var cutAt time.Time
	connections := int64(0)
	for back := false; ; {
		select {
		case err := <-ended:
			if err == nil && !back {
				err = errors.New("the stream ended before its connection was cut and came back")
			}
			return err
		case <-watch.C:
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
}
