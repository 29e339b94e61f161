package stream

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
	watch    atomic.Pointer[watchedConnection]
	pings    sync.WaitGroup // that wait for their answers
	// The next three belong to the connector's goroutine.
	streams  []string      // subscribed to
	symbols  []string      // of the streams, in their order
	pingedAt int64         // by the tracker's clock: when the last ping was sent
	shutdown chan struct{} // closed when the exchange announces that it will close the connection
	done     chan struct{} // closed when reading has ended
	err      error         // why; set before done is closed
}

// close ends the connection and waits until nothing more is read.
func (c *connection) close() {
	c.ws.Close()
	<-c.done
	c.pings.Wait()
}

// receiver takes what connections deliver.
type receiver struct {
	kind    binance.Kind // of the trades to record
	tracker *tracker
	watcher *watcher
	batcher *batcher
	dups    *duplicates
}

// read receives what a connection delivers until it ends.
func (r *receiver) read(c *connection) {
	defer close(c.done)
	r.dups.begin(c.tracked.connector)
	defer r.dups.end(c.tracked.connector)
	defer func() { c.watch.Load().reader.ended.Store(true) }()
	announced := false
	var m binance.Message
	for {
		if err := c.ws.Read(&m); err != nil {
			if errors.Is(err, binance.ErrMalformed) {
				c.watch.Load().spoil()
				r.tracker.malformed(c.tracked, err)
				continue
			}
			c.err = err
			r.tracker.ended(c.tracked)
			return
		}
		if m.Kind == r.kind && !m.Damaged {
			s := r.tracker.lookup(m.Symbol)
			if s != nil && !s.isNamedBy(m.Stream) {
				c.watch.Load().spoil()
				r.tracker.malformed(c.tracked, fmt.Errorf("symbol %q, id %d: %w", s.name, m.ID, errOtherStream))
				continue
			}
			if s != nil {
				watch, at := c.watch.Load(), c.ws.ReceivedAt()
				watch.begin(m.Time)
				if !r.receive(c.tracked, watch, s, &m, at) {
					watch.spoil()
				}
				watch.done(m.Time, at)
				continue
			}
		}
		if m.Kind == binance.KindServerShutdown && !announced {
			announced = true
			close(c.shutdown)
		}
		if !m.Kind.AboutConnection() {
			c.watch.Load().spoil() // it may have been a trade
		}
		r.tracker.skipped(c.tracked, &m)
	}
}

var errOtherStream = errors.New("the trade came by the stream of another symbol")

// isNamedBy reports whether a stream is one of the symbol's. A message without an envelope names none.
func (s *trackedSymbol) isNamedBy(stream []byte) bool {
	n := len(s.lower)
	return stream == nil || len(stream) > n && string(stream[:n]) == s.lower && stream[n] == '@'
}

var errNotDecimal = errors.New("the price or the quantity is not a decimal number")

// receive takes a trade that was received at a time of the tracker's clock, and reports whether it is
// one. It does not allocate. It
// takes the tracker's lock and then the batcher's, which is not measurably slower than one lock for
// both (BenchmarkReadLoop).
func (r *receiver) receive(c *trackedConnection, watch *watchedConnection, s *trackedSymbol, m *binance.Message, at int64) bool {
	trade, inexact, err := ingest.FromMessage(s.name, m)
	if err != nil {
		reason := errNotDecimal // an error of another kind quotes the message
		if errors.Is(err, ingest.ErrTooLarge) {
			reason = ingest.ErrTooLarge
		}
		r.tracker.malformed(c, fmt.Errorf("symbol %q, id %d: %w", s.name, m.ID, reason))
		return false
	}
	isNew, isFirst := r.tracker.received(c, s, m.ID, m.Time, at)
	if isFirst {
		r.watcher.traded(watch, s.name.String(), m.Time)
	}
	if !isNew {
		if !r.dups.equal(c.connector, s, &trade) {
			r.batcher.addDuplicate(&trade, s.index)
		}
		return true
	}
	if inexact.Price {
		r.tracker.inexact(s.name.String(), m.ID, "price", m.Price)
	}
	if inexact.Qty {
		r.tracker.inexact(s.name.String(), m.ID, "qty", m.Qty)
	}
	r.batcher.add(&trade, s.index, inexact.Count())
	// Not before it is in the batch: another connection could deliver an equal trade, which would be left out,
	// and then one with other content, which would be the first in the batch.
	r.dups.remember(c.connector, s, &trade)
	return true
}
