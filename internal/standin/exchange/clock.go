package exchange

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// tick is how often the clock moves in real time. 5 ms is below the latency of a network, and 200
	// ticks a second are cheap.
	tick = 5 * time.Millisecond
	// batchRows is about how many rows are queued between two checks for slow clients.
	batchRows = 1024
	// maxStep is the longest slice of the source's time that is dispatched at once, µs.
	maxStep = 10 * 60 * 1_000_000
	// At MaxSpeed the clock stops if more than highWater bytes are queued for a client, and continues
	// at lowWater.
	highWater, lowWater = 1 << 20, 256 << 10
)

// Done returns a channel that is closed when the source has ended, all of it was sent to the connected
// clients and, with CloseAtEnd, their connections were asked to close.
func (s *Server) Done() <-chan struct{} { return s.done }

func (s *Server) play() {
	if s.opt.Speed == Manual {
		return
	}
	if !s.waitForStreams(s.opt.WaitForStreams) {
		return
	}
	close(s.clockStarted)
	if math.IsInf(s.opt.Speed, 1) {
		s.playAtMaxSpeed()
		return
	}
	var (
		begin  = time.Now()
		from   = s.now.Load()
		ticker = time.NewTicker(tick)
	)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
		}
		until := from + int64(float64(time.Since(begin).Microseconds())*s.opt.Speed)
		s.clockMu.Lock()
		s.playUntil(s.ctx, until)
		s.clockMu.Unlock()
	}
}

func (s *Server) playAtMaxSpeed() {
	s.clockMu.Lock()
	defer s.clockMu.Unlock()
	step := int64(1000)
	for s.now.Load() < s.last && s.waitForStreams(1) {
		step = s.step(s.last, step)
	}
	s.finish()
}

// waitForStreams blocks until so many streams are subscribed to. It returns false after Close.
func (s *Server) waitForStreams(least int) bool {
	for s.ctx.Err() == nil {
		streams, more := s.hub.subscribedStreams()
		if streams >= least {
			return true
		}
		select {
		case <-more:
		case <-s.ctx.Done():
		}
	}
	return false
}

// playUntil moves the clock to a time and dispatches the rows released until then. clockMu is held.
func (s *Server) playUntil(ctx context.Context, until int64) {
	step := int64(tick.Microseconds())
	for s.now.Load() < until && ctx.Err() == nil {
		step = s.step(until, step)
	}
	if s.now.Load() >= s.last {
		s.finish()
	}
}

// step moves the clock by at most step microseconds and returns the length of the next step.
func (s *Server) step(until, step int64) int64 {
	now := s.now.Load()
	next := now + step
	if until-now < step {
		next = until
	}
	next = min(next, s.hub.nextDerived(now))
	rows := s.release(now, next)
	switch {
	case rows < batchRows/4:
		return min(step*2, maxStep)
	case rows > batchRows:
		return max(step/2, 1)
	}
	return step
}

// release moves the clock from now to next and dispatches the rows of that time. Then it waits for
// slow clients or drops them. It returns the number of rows.
func (s *Server) release(now, next int64) int {
	rows := 0
	s.receivers = s.receivers[:0]
	s.source.Release(next)
	for _, kind := range Kinds() {
		if !s.hub.hasListeners(kind) {
			continue
		}
		s.events = s.source.Between(s.events[:0], kind, now, next)
		// REST must serve a row as soon as a client may have received it.
		s.now.Store(next)
		s.receivers = s.hub.dispatch(kind, s.events, s.receivers)
		rows += len(s.events)
	}
	s.now.Store(next)
	var sent int
	s.receivers, sent = s.hub.dispatchDerived(now, next, s.receivers)
	rows += sent
	for _, c := range s.receivers {
		if c.tooSlow {
			continue
		}
		queued := c.out.flush()
		tooSlow := queued > s.opt.SendBuffer
		if math.IsInf(s.opt.Speed, 1) || s.opt.Speed == Manual { // the clock waits for slow clients
			tooSlow = queued > highWater && !c.out.waitBelow(lowWater, s.opt.StallLimit)
		}
		if tooSlow {
			c.tooSlow = true
			s.counters.offence(SlowReader)
			c.log("connection dropped: the client is too slow", "queued_bytes", queued)
			c.out.reset()
		}
	}
	return rows
}

// finish closes Done once the clock has passed the last release.
func (s *Server) finish() {
	if s.ctx.Err() != nil {
		return
	}
	s.ended.Do(func() {
		for _, c := range s.hub.all() {
			s.hub.flushHeld(c)
			c.out.waitBelow(0, s.opt.StallLimit)
			if s.opt.CloseAtEnd {
				c.close(websocket.CloseNormalClosure, "")
			}
		}
		close(s.done)
	})
}

// Advance moves the clock of a server with Speed Manual to a time. When it returns, all rows released
// until then were sent to the clients. It does nothing if the time has passed.
func (s *Server) Advance(ctx context.Context, until time.Time) error {
	if s.opt.Speed != Manual {
		return errors.New("advance the clock: its speed is not Manual")
	}
	s.clockMu.Lock()
	defer s.clockMu.Unlock()
	s.playUntil(ctx, until.UnixMicro())
	for _, c := range s.hub.all() {
		c.out.flush()
		c.out.waitBelow(0, s.opt.StallLimit)
	}
	return ctx.Err()
}
