package exchange

import (
	"errors"
	"net"
	"sync"
	"time"
)

// outbox is a connection whose writes are queued in memory and sent by one goroutine, many frames in one system call.
// Everything that is written to a websocket goes through it whole frame by whole frame: the frames of the feed and
// those of gorilla's own (handshake, pong, close).
type outbox struct {
	net.Conn
	mu      sync.Mutex
	changed sync.Cond // something was queued, sent or closed
	queue   []byte
	sending int // bytes taken from queue that are not in the kernel yet
	closed  bool
	done    chan struct{} // the sending goroutine has ended
}

var errOutboxClosed = errors.New("connection closed")

func newOutbox(conn net.Conn) *outbox {
	o := &outbox{Conn: conn, done: make(chan struct{})}
	o.changed.L = &o.mu
	return o
}

// start lets what is queued go out: not before the connection's streams are known, so that a client whose handshake
// was answered misses nothing. It is called once.
func (o *outbox) start() { go o.send() }

func (o *outbox) send() {
	defer close(o.done)
	var spare []byte
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.closed {
			o.changed.Wait()
		}
		if o.closed {
			o.mu.Unlock()
			return
		}
		batch := o.queue
		o.queue, o.sending = spare[:0], len(batch)
		o.mu.Unlock()

		_, err := o.Conn.Write(batch)

		o.mu.Lock()
		spare, o.sending = batch, 0
		if err != nil {
			o.closed = true
		}
		o.changed.Broadcast()
		o.mu.Unlock()
	}
}

// append queues bytes without waking the sender, however full the queue is.
func (o *outbox) append(p []byte) {
	o.mu.Lock()
	if !o.closed {
		o.queue = append(o.queue, p...)
	}
	o.mu.Unlock()
}

// flush wakes the sender and says how many bytes wait.
func (o *outbox) flush() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) > 0 {
		o.changed.Broadcast()
	}
	return len(o.queue) + o.sending
}

// await blocks until at most bytes wait, or the connection is closed, or nothing was sent for the time of stall. It
// says whether the client is still taking what it is sent.
func (o *outbox) await(bytes int, stall time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	stalled := false
	timer := time.AfterFunc(stall, func() {
		o.mu.Lock()
		stalled = true
		o.changed.Broadcast()
		o.mu.Unlock()
	})
	defer timer.Stop()
	for !o.closed && !stalled && len(o.queue)+o.sending > bytes {
		before := len(o.queue) + o.sending
		o.changed.Wait()
		if len(o.queue)+o.sending != before {
			timer.Reset(stall)
		}
	}
	return o.closed || !stalled
}

// Write implements net.Conn: it queues, and fails only once the connection is closed.
func (o *outbox) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, errOutboxClosed
	}
	o.queue = append(o.queue, p...)
	o.changed.Broadcast()
	return len(p), nil
}

// SetDeadline and SetWriteDeadline would end a batch in the middle of a frame: only reading has a deadline.
func (o *outbox) SetDeadline(t time.Time) error { return o.Conn.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (o *outbox) SetWriteDeadline(time.Time) error { return nil }

// Close ends the connection at once; what is queued is lost.
func (o *outbox) Close() error {
	o.mu.Lock()
	o.closed = true
	o.changed.Broadcast()
	o.mu.Unlock()
	return o.Conn.Close()
}

// cut ends the connection as a lost one does: with a reset instead of an orderly end.
func (o *outbox) cut() {
	if tcp, ok := o.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = o.Close()
}
