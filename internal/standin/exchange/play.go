package exchange

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// tick is how often the clock moves in real time. 5 ms is below what a network adds and costs 200 looks a second.
	tick = 5 * time.Millisecond
	// batchRows is about how many rows are queued before slow clients are looked at.
	batchRows = 1024
	// maxStep is the longest slice of the source's clock that is asked for at once, in microseconds.
	maxStep = 10 * 60 * 1_000_000
	// highWater and lowWater bound what waits for a client at MaxSpeed.
	highWater, lowWater = 1 << 20, 256 << 10
)

func (s *Server) startClock() {
	s.started.Do(func() {
		if !s.enter() {
			return
		}
		go func() {
			defer s.work.Done()
			s.play()
		}()
		if s.opt.Faults != nil && s.enter() {
			go func() {
				defer s.work.Done()
				s.breakConnections()
			}()
		}
	})
}

// Done is closed when the source has nothing more, all of it has been handed to the clients that were there, and, with
// CloseAtEnd, their connections have been asked to close.
func (s *Server) Done() <-chan struct{} { return s.done }

func (s *Server) play() {
	if s.opt.Speed == ByHand {
		return
	}
	for {
		streams, more := s.hub.waiting()
		if streams >= s.opt.WaitForStreams {
			break
		}
		select {
		case <-more:
		case <-s.ctx.Done():
			return
		}
	}
	close(s.begun)
	if math.IsInf(s.opt.Speed, 1) {
		s.playAtMost()
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
		s.playing.Lock()
		s.playUntil(s.ctx, until)
		s.playing.Unlock()
	}
}

func (s *Server) playAtMost() {
	s.playing.Lock()
	defer s.playing.Unlock()
	step := int64(1000)
	for s.ctx.Err() == nil && s.now.Load() < s.last {
		streams, more := s.hub.waiting()
		if streams == 0 {
			select {
			case <-more:
			case <-s.ctx.Done():
			}
			continue
		}
		step = s.step(s.last, step)
	}
	s.end()
}

// playUntil moves the clock to a time and hands out what is released on the way. The caller holds playing.
func (s *Server) playUntil(ctx context.Context, until int64) {
	step := int64(tick.Microseconds())
	for s.now.Load() < until && ctx.Err() == nil {
		step = s.step(until, step)
	}
	if s.now.Load() >= s.last {
		s.end()
	}
}

// step moves the clock by at most so many microseconds and returns by how many to go next.
func (s *Server) step(until, step int64) int64 {
	now := s.now.Load()
	next := now + step
	if until-now < step {
		next = until
	}
	rows := s.release(now, next)
	switch {
	case rows < batchRows/4:
		return min(step*2, maxStep)
	case rows > batchRows:
		return max(step/2, 1)
	}
	return step
}

// release moves the clock from now to next, hands the rows of that time to the connections, and then waits for slow
// clients or parts with them. It says how many rows there were.
func (s *Server) release(now, next int64) int {
	rows := 0
	s.touched = s.touched[:0]
	s.source.Release(next)
	for _, kind := range Kinds() {
		if !s.hub.listening(kind) {
			continue
		}
		s.events = s.source.Between(s.events[:0], kind, now, next)
		// REST must not be behind what a client has seen.
		s.now.Store(next)
		s.touched = s.hub.dispatch(kind, s.events, s.touched)
		rows += len(s.events)
	}
	s.now.Store(next)
	for _, c := range s.touched {
		if c.tooSlow {
			continue
		}
		waiting := c.out.flush()
		switch {
		case !s.patient() && waiting > s.opt.SendBuffer,
			s.patient() && waiting > highWater && !c.out.await(lowWater, s.opt.StallLimit):
			c.tooSlow = true
			s.ledger.offence(SlowReader)
			c.log("connection closed: the client is too slow", "waiting_bytes", waiting)
			c.out.cut()
		}
	}
	return rows
}

// patient says whether the clock waits for clients.
func (s *Server) patient() bool { return math.IsInf(s.opt.Speed, 1) || s.opt.Speed == ByHand }

// end is called when the clock has passed the last release.
func (s *Server) end() {
	if s.ctx.Err() != nil {
		return
	}
	s.ended.Do(func() {
		for _, c := range s.hub.all() {
			s.hub.flushHeld(c)
			c.out.await(0, s.opt.StallLimit)
			if s.opt.CloseAtEnd {
				c.close(websocket.CloseNormalClosure, "")
			}
		}
		close(s.done)
	})
}

// Advance plays, with Speed ByHand, what the source releases up to a time. When it returns, all of it has left for the
// clients. A time that has passed does nothing.
func (s *Server) Advance(ctx context.Context, until time.Time) error {
	if s.opt.Speed != ByHand {
		return errors.New("the clock runs by itself")
	}
	s.playing.Lock()
	defer s.playing.Unlock()
	s.playUntil(ctx, until.UnixMicro())
	for _, c := range s.hub.all() {
		c.out.flush()
		c.out.await(0, s.opt.StallLimit)
	}
	return ctx.Err()
}
