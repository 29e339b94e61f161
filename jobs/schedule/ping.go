package schedule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"tapedeck/internal/tape"
)

// Ping tells a dead-man service something by requesting an address; text is for its log. It gives up after a few seconds.
type Ping func(ctx context.Context, address, text string) error

const (
	pingTimeout  = 10 * time.Second
	pingAttempts = 3
	pingPause    = 2 * time.Second
	// pingEnd bounds the pings that are under way when the scheduler ends.
	pingEnd = 1500 * time.Millisecond
)

// HTTPPing is a Ping by POST, which every such service takes. Its errors do not name the address, which is a secret.
func HTTPPing(client *http.Client) Ping {
	return func(ctx context.Context, address, text string) error {
		ctx, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(text))
		if err != nil {
			return errors.New("the ping's address cannot be used")
		}
		request.Header.Set("Content-Type", "text/plain; charset=utf-8")
		answer, err := client.Do(request)
		if err != nil {
			var withAddress *url.Error
			if errors.As(err, &withAddress) {
				err = withAddress.Err
			}
			return fmt.Errorf("ping: %w", err)
		}
		defer answer.Body.Close()
		io.Copy(io.Discard, io.LimitReader(answer.Body, 4096))
		if answer.StatusCode >= 300 {
			return fmt.Errorf("ping: the service answered %s", answer.Status)
		}
		return nil
	}
}

// pinger sends pings beside the runs: no run waits for one.
type pinger struct {
	ping  Ping
	log   *slog.Logger
	after func(time.Duration) <-chan time.Time
	ctx   context.Context
	stop  context.CancelFunc
	all   sync.WaitGroup
}

func newPinger(ctx context.Context, options Options) *pinger {
	p := &pinger{ping: options.Ping, log: options.Logger, after: options.After}
	p.ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	return p
}

// close waits a moment for the pings under way.
func (p *pinger) close() {
	sent := make(chan struct{})
	go func() { p.all.Wait(); close(sent) }()
	select {
	case <-sent:
	case <-p.after(pingEnd):
	}
	p.stop()
	<-sent
}

// signals are the pings of one run.
type signals struct {
	address string
	pinger  *pinger
	queue   chan func(context.Context) // nil where nobody is pinged
}

// begin says that a run starts; an empty address pings nobody.
func (p *pinger) begin(address string) *signals {
	if address == "" || p.ping == nil {
		return &signals{}
	}
	s := &signals{address: address, pinger: p, queue: make(chan func(context.Context), 2)} // the start and the end
	p.all.Add(1)
	go func() {
		defer p.all.Done()
		for send := range s.queue {
			send(p.ctx)
		}
	}()
	s.queue <- func(ctx context.Context) { p.send(ctx, address+"/start", "") }
	return s
}

// tell says how a run ended. What was done in part is done: the ledger says what is missing.
func (s *signals) tell(row tape.Run) {
	if s.queue == nil {
		return
	}
	address, text := s.address, fmt.Sprintf("%s %s %s\n%s", row.Job, row.Outcome, row.Message, row.Output)
	if !row.Outcome.Done() {
		address += "/fail"
	}
	s.queue <- func(ctx context.Context) { s.pinger.send(ctx, address, text) }
}

func (s *signals) end() {
	if s.queue != nil {
		close(s.queue)
	}
}

// send tries a few times.
func (p *pinger) send(ctx context.Context, address, text string) {
	for attempt := 1; ; attempt++ {
		err := p.ping(ctx, address, text)
		if err == nil || ctx.Err() != nil {
			return
		}
		if attempt == pingAttempts {
			p.log.Warn("ping not sent", "error", err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-p.after(pingPause):
		}
	}
}
