package stream

import (
	"errors"
	"fmt"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/ingest"
)

// connection is one connection to the exchange.
type connection struct {
	ws       *binance.Conn
	tracked  *trackedConnection
	openedAt time.Time
	maxAge   time.Duration
	streams  []string      // subscribed to; belongs to the connector's goroutine
	shutdown chan struct{} // closed when the exchange announces that it will close the connection
	done     chan struct{} // closed when reading has ended
	err      error         // why; set before done is closed
}

// close ends the connection and waits until nothing more is read.
func (c *connection) close() {
	c.ws.Close()
	<-c.done
}

// receiver takes what connections deliver.
type receiver struct {
	kind    binance.Kind // of the trades to record
	tracker *tracker
	batcher *batcher
	dups    *duplicates
}

// read receives what a connection delivers until it ends.
func (r *receiver) read(c *connection) {
	defer close(c.done)
	r.dups.begin(c.tracked.connector)
	defer r.dups.end(c.tracked.connector)
	announced := false
	var m binance.Message
	for {
		if err := c.ws.Read(&m); err != nil {
			if errors.Is(err, binance.ErrMalformed) {
				r.tracker.malformed(c.tracked, err)
				continue
			}
			c.err = err
			r.tracker.ended(c.tracked)
			return
		}
		if m.Kind == r.kind && !m.Damaged {
			if s := r.tracker.lookup(m.Symbol); s != nil {
				r.receive(c.tracked, s, &m, c.ws.ReceivedAt())
				continue
			}
		}
		if m.Kind == binance.KindServerShutdown && !announced {
			announced = true
			close(c.shutdown)
		}
		r.tracker.skipped(c.tracked, &m)
	}
}

// receive takes a trade that was received at a time of the tracker's clock. It does not allocate. It
// takes the tracker's lock and then the batcher's, which is not measurably slower than one lock for
// both (BenchmarkReadLoop).
func (r *receiver) receive(c *trackedConnection, s *trackedSymbol, m *binance.Message, at int64) {
	trade, inexact, err := ingest.FromMessage(s.name, m)
	if err != nil {
		r.tracker.malformed(c, fmt.Errorf("symbol %q, id %d: %w", s.name, m.ID, err))
		return
	}
	if !r.tracker.received(c, s, m.ID, m.Time, at) {
		if !r.dups.equal(c.connector, s, &trade) {
			r.batcher.addDuplicate(&trade, s.index)
		}
		return
	}
	r.dups.remember(c.connector, s, &trade)
	if inexact.Price {
		r.tracker.inexact(s.name, m.ID, "price", m.Price)
	}
	if inexact.Qty {
		r.tracker.inexact(s.name, m.ID, "qty", m.Qty)
	}
	r.batcher.add(&trade, s.index, inexact.Count())
}
