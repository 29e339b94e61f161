package binance

import (
	"net"
	"sync/atomic"
)

// bufferedConnSize is how much is read from the network at a time: about 300 trades.
const bufferedConnSize = 64 << 10

// bufferedConn reads from the network in large pieces and notes when each arrived. The websocket
// library alone reads 4 KB at a time, and reading the clock for each message costs about as much:
// together they took an eighth of the processor time per trade (see BenchmarkReadLoop in
// jobs/stream). One goroutine at a time may read.
type bufferedConn struct {
	net.Conn
	buffer     []byte
	unread     []byte // the end of buffer's content
	clock      func() int64
	receivedAt atomic.Int64 // when the last piece arrived, by clock
}

func newBufferedConn(conn net.Conn, clock func() int64) *bufferedConn {
	return &bufferedConn{Conn: conn, buffer: make([]byte, bufferedConnSize), clock: clock}
}

func (c *bufferedConn) Read(p []byte) (int, error) {
	if len(c.unread) == 0 {
		n, err := c.Conn.Read(c.buffer)
		if n == 0 {
			return 0, err
		}
		c.receivedAt.Store(c.clock())
		c.unread = c.buffer[:n] // an error that came with bytes is returned again by the next read
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}
