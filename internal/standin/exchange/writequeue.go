package exchange

import (
	"errors"
	"net"
	"sync"
	"time"
)

// writeQueue is a connection whose writes are queued in memory and sent by one goroutine, many
// frames in one system call. Everything written to a websocket goes through it as whole frames: the
// events and gorilla's own frames (handshake, pong, close).
type writeQueue struct {
	net.Conn
	mu      sync.Mutex
	changed sync.Cond // bytes were queued or sent, or the queue was closed
	queue   []byte
	sending int // bytes taken from queue that are not in the kernel yet
	closed  bool
	done    chan struct{} // closed when the sending goroutine has ended
}

var errQueueClosed = errors.New("connection closed")

func newWriteQueue(conn net.Conn) *writeQueue {
	q := &writeQueue{Conn: conn, done: make(chan struct{})}
	q.changed.L = &q.mu
	return q
}

// start begins sending. It is called once, when the connection's streams are subscribed to: a client
// whose handshake was answered must not miss an event.
func (q *writeQueue) start() { go q.send() }

func (q *writeQueue) send() {
	defer close(q.done)
	var spare []byte
	for {
		q.mu.Lock()
		for len(q.queue) == 0 && !q.closed {
			q.changed.Wait()
		}
		if q.closed {
			q.mu.Unlock()
			return
		}
		batch := q.queue
		q.queue, q.sending = spare[:0], len(batch)
		q.mu.Unlock()

		_, err := q.Conn.Write(batch)

		q.mu.Lock()
		spare, q.sending = batch, 0
		if err != nil {
			q.closed = true
		}
		q.changed.Broadcast()
		q.mu.Unlock()
	}
}

// append queues bytes without waking the sender. The queue has no limit; the clock applies it.
func (q *writeQueue) append(p []byte) {
	q.mu.Lock()
	if !q.closed {
		q.queue = append(q.queue, p...)
	}
	q.mu.Unlock()
}

// flush wakes the sender and returns how many bytes are queued.
func (q *writeQueue) flush() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) > 0 {
		q.changed.Broadcast()
	}
	return len(q.queue) + q.sending
}

// waitBelow blocks until at most limit bytes are queued or the connection is closed. It returns false
// if nothing was sent for the time of stall.
func (q *writeQueue) waitBelow(limit int, stall time.Duration) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	stalled := false
	timer := time.AfterFunc(stall, func() {
		q.mu.Lock()
		stalled = true
		q.changed.Broadcast()
		q.mu.Unlock()
	})
	defer timer.Stop()
	for !q.closed && !stalled && len(q.queue)+q.sending > limit {
		before := len(q.queue) + q.sending
		q.changed.Wait()
		if len(q.queue)+q.sending != before {
			timer.Reset(stall)
		}
	}
	return q.closed || !stalled
}

// Write implements net.Conn. It queues, and fails only if the connection is closed.
func (q *writeQueue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, errQueueClosed
	}
	q.queue = append(q.queue, p...)
	q.changed.Broadcast()
	return len(p), nil
}

// SetDeadline sets the deadline for reading only: one for writing would end a batch in the middle of
// a frame.
func (q *writeQueue) SetDeadline(t time.Time) error { return q.Conn.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (q *writeQueue) SetWriteDeadline(time.Time) error { return nil }

// Close drops the connection and what is queued.
func (q *writeQueue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.changed.Broadcast()
	q.mu.Unlock()
	return q.Conn.Close()
}

// reset drops the connection with a TCP reset instead of an orderly end.
func (q *writeQueue) reset() {
	setReset(q.Conn)
	_ = q.Close()
}

// setReset makes closing a connection reset it.
func setReset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}
