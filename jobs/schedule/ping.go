package schedule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"tapedeck/internal/outbound"
	"tapedeck/internal/tape"
)

// Ping sends a request to an address of a service that expects regular pings, such as
// healthchecks.io; text is for the service's log. It gives up after a few seconds and may be called
// concurrently.
type Ping func(ctx context.Context, address, text string) error

const (
	pingTimeout  = 10 * time.Second
	pingAttempts = 3
	pingPause    = 2 * time.Second
	// pingGrace bounds the pings that are in flight when the scheduler stops.
	pingGrace = 1500 * time.Millisecond
)

// HTTPPing returns a Ping that POSTs, which all such services accept. Its errors leave out the
// address, which is a secret, and the answer. client is one of package outbound, so that a redirect does
// not send a job's output to another server.
func HTTPPing(client *http.Client) Ping {
	return func(ctx context.Context, address, text string) error {
		ctx, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(text))
		if err != nil {
			return errors.New("ping: the address cannot be used")
		}
		request.Header.Set("Content-Type", "text/plain; charset=utf-8")
		response, err := client.Do(request)
		if err != nil {
			return fmt.Errorf("ping: %w", outbound.WithoutURL(err))
		}
		defer response.Body.Close()
		io.Copy(io.Discard, io.LimitReader(response.Body, 4096))
		if response.StatusCode >= 300 {
			return fmt.Errorf("ping: the service answered %d %s", response.StatusCode, http.StatusText(response.StatusCode))
		}
		return nil
	}
}

// pinger sends pings in the background, so that no run waits for one.
type pinger struct {
	Options
	ctx      context.Context
	cancel   context.CancelFunc
	inFlight sync.WaitGroup
}

func newPinger(ctx context.Context, options Options) *pinger {
	p := &pinger{Options: options}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return p
}

// close waits for the pings in flight, for pingGrace at most.
func (p *pinger) close() {
	sent := make(chan struct{})
	go func() { p.inFlight.Wait(); close(sent) }()
	select {
	case <-sent:
	case <-p.After(pingGrace):
	}
	p.cancel()
	<-sent
}

// runPings are the pings of one run, sent in order.
type runPings struct {
	address string
	queue   chan ping // closed when the run is over; what is queued is still sent
}

type ping struct{ address, text string }

// start sends the ping of a run that starts. An empty address sends none.
func (p *pinger) start(address string) *runPings {
	r := &runPings{address, make(chan ping, 2)} // the start and the end
	if address != "" && p.Ping != nil {
		p.inFlight.Go(func() {
			for next := range r.queue {
				p.send(next)
			}
		})
	}
	r.queue <- ping{address + "/start", ""}
	return r
}

// finish sends the ping of a run that is over. An incomplete run counts as done: the ledger says
// what is missing.
func (r *runPings) finish(row tape.Run) {
	address := r.address
	if !row.Outcome.Done() {
		address += "/fail"
	}
	r.queue <- ping{address, fmt.Sprintf("%s %s %s\n%s", row.Job, row.Outcome, row.Message, row.Output)}
}

// send sends a ping, with retries.
func (p *pinger) send(ping ping) {
	for attempt := 1; ; attempt++ {
		err := p.Ping(p.ctx, ping.address, ping.text)
		if err == nil || p.ctx.Err() != nil {
			return
		}
		if attempt == pingAttempts {
			p.Logger.Warn("ping not sent", "error", err)
			return
		}
		select {
		case <-p.ctx.Done():
			return
		case <-p.After(pingPause):
		}
	}
}
