package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"tapedeck/internal/wording"
)

// The bounds of a logQueue.
const (
	// logQueueBytes is what a queue holds: some thousand lines.
	logQueueBytes = 1 << 20
	// logPatience is how long a queue that is full waits for its reader before it drops lines. It
	// waits once, and again only after the reader has read what was queued.
	logPatience = 50 * time.Millisecond
	// logLastWrite bounds writing what is left when the command ends.
	logLastWrite = time.Second
)

// logQueue is the standard error of a service. Writing to it neither blocks, apart from one
// logPatience, nor fails, whether its reader is slow, stopped or gone: what does not fit is dropped
// and counted. It is safe for concurrent use.
type logQueue struct {
	out io.Writer
	// note returns the text that says that lines were dropped.
	note func(lines int64) []byte

	mu      sync.Mutex
	queued  []byte
	writing int   // bytes that are being written
	stuck   bool  // the reader has had its logPatience
	dropped int64 // lines, not noted yet
	total   int64 // lines ever dropped
	closed  bool

	work chan struct{} // holds a value when there may be something to write
	room chan struct{} // holds a value when something was written
	done chan struct{} // closed when everything is written after close
}

// newLogQueue returns a queue that writes to out. It is to be closed.
func newLogQueue(out io.Writer, note func(lines int64) []byte) *logQueue {
	q := &logQueue{
		out: out, note: note,
		work: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go q.run() // close waits for it, unless out blocks forever
	return q
}

// Write implements io.Writer. It returns len(text) and no error.
func (q *logQueue) Write(text []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.fits(text) && !q.stuck {
		q.stuck = !q.awaitRoom(text)
	}
	if q.closed || !q.fits(text) {
		q.drop(text)
		return len(text), nil
	}
	q.queued = append(q.queued, text...)
	signalOnce(q.work)
	return len(text), nil
}

// fits reports whether text fits into the queue. Any text fits into an empty one.
func (q *logQueue) fits(text []byte) bool {
	held := len(q.queued) + q.writing
	return held == 0 || held+len(text) <= logQueueBytes
}

// awaitRoom waits until text fits, for logPatience at most, and reports whether it does.
func (q *logQueue) awaitRoom(text []byte) bool {
	timeout := time.NewTimer(logPatience)
	defer timeout.Stop()
	for !q.fits(text) && !q.closed {
		q.mu.Unlock()
		select {
		case <-q.room:
			q.mu.Lock()
		case <-timeout.C:
			q.mu.Lock()
			return q.fits(text)
		}
	}
	return true
}

func (q *logQueue) drop(text []byte) {
	lines := int64(bytes.Count(text, []byte("\n"))) // the drawing of a status line is none
	q.dropped += lines
	q.total += lines
}

// droppedLines returns how many lines were dropped.
func (q *logQueue) droppedLines() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}

// run writes what is queued until the queue is closed and empty.
func (q *logQueue) run() {
	defer close(q.done)
	for range q.work {
		for q.writeQueued() {
		}
		q.mu.Lock()
		ended := q.closed && len(q.queued) == 0
		q.mu.Unlock()
		if ended {
			return
		}
	}
}

// writeQueued writes what is queued, and then says how many lines were dropped meanwhile. It reports
// whether there was anything.
func (q *logQueue) writeQueued() bool {
	q.mu.Lock()
	text := q.queued
	q.queued, q.writing = nil, len(text)
	q.mu.Unlock()
	if len(text) == 0 {
		return false
	}
	n, err := q.out.Write(text)
	q.mu.Lock()
	q.writing, q.stuck = 0, false
	if err != nil { // the reader is gone; another one may come, if it is a named pipe
		q.drop(text[min(n, len(text)):])
	}
	dropped := q.dropped
	q.mu.Unlock()
	signalOnce(q.room)
	if err == nil && dropped > 0 {
		if _, err := q.out.Write(q.note(dropped)); err == nil {
			q.mu.Lock()
			q.dropped -= dropped
			q.mu.Unlock()
		}
	}
	return true
}

// close writes what is queued, for logLastWrite at most.
func (q *logQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	signalOnce(q.work)
	timeout := time.NewTimer(logLastWrite)
	defer timeout.Stop()
	select {
	case <-q.done:
	case <-timeout.C:
	}
}

// signalOnce puts a value into a channel for one, unless it holds one.
func signalOnce(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// noteAsRecord returns a record of a JSON log about dropped lines.
func noteAsRecord(lines int64) []byte {
	var text bytes.Buffer
	record := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped because nobody read them", 0)
	record.AddAttrs(slog.Int64("lines", lines))
	_ = slog.NewJSONHandler(&text, nil).Handle(context.Background(), record) // a buffer takes everything
	return text.Bytes()
}

// noteForPeople returns a line about dropped lines, in place of the status line of a terminal.
func noteForPeople(lines int64) []byte {
	verb := " were"
	if lines == 1 {
		verb = " was"
	}
	return []byte(clearStatus + "warning: " + wording.Count(lines, "log line") + verb + " dropped because nobody read them\n")
}
