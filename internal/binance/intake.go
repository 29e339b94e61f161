package binance

import (
	"net"
	"sync/atomic"
)

// intakeSize is how much is asked of the network at once: some 300 trades.
const intakeSize = 64 << 10

// intake reads from the network in large pieces and notes when each came. The websocket library by itself asks for 4 KB at a time, and whoever wants to
// know when a message came asks the clock for each: together an eighth of the processor time that a trade took (see BenchmarkReadLoop
// in jobs/stream). One goroutine at a time reads.
type intake struct {
	net.Conn
	buffer []byte
	unread []byte // the end of buffer's content
	clock  func() int64
	cameAt atomic.Int64 // when the last piece came, by clock
}

func newIntake(conn net.Conn, clock func() int64) *intake {
	return &intake{Conn: conn, buffer: make([]byte, intakeSize), clock: clock}
}

func (in *intake) Read(p []byte) (int, error) {
	if len(in.unread) == 0 {
		n, err := in.Conn.Read(in.buffer)
		if n == 0 {
			return 0, err
		}
		in.cameAt.Store(in.clock())
		in.unread = in.buffer[:n] // an error that came with bytes comes again without
	}
	n := copy(p, in.unread)
	in.unread = in.unread[n:]
	return n, nil
}
