package stream

import (
	"errors"
	"time"

	"tapedeck/internal/binance"
)

// connection is one connection at a link.
type connection struct {
	link     *link
	conn     *binance.Conn
	openedAt time.Time
	opened   int64 // the same by deck.clock
	maxAge   time.Duration
	streams  []string      // subscribed to; belongs to the link's goroutine
	leaving  chan struct{} // closed when the exchange says that it will close
	done     chan struct{} // closed when reading has ended, with
	err      error         // what ended it

	// Guarded by deck.mu.
	messages int64
	heardAt  int64   // when the last trade came, by deck.clock
	heard    []int64 // the same by symbol.index
}

// reading says whether there is a connection and it has not ended.
func (c *connection) reading() bool {
	if c == nil {
		return false
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// read hands on what the connection delivers until it ends.
func (c *connection) read() {
	defer close(c.done)
	r := c.link.r
	left := false
	var m binance.Message
	for {
		if err := c.conn.Read(&m); err != nil {
			if errors.Is(err, binance.ErrMalformed) {
				r.deck.malformed(c, err)
				continue
			}
			c.err = err
			return
		}
		if m.Kind == r.kind && !m.Damaged {
			if s := (*r.symbols.Load())[string(m.Symbol)]; s != nil {
				r.deck.trade(c, s, &m, c.conn.CameAt())
				continue
			}
		}
		if m.Kind == binance.KindServerShutdown && !left {
			left = true
			close(c.leaving)
		}
		r.deck.other(c, &m)
	}
}
