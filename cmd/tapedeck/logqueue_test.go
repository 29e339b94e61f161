package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// slowReader is a pipe that takes nothing until it is opened, and fails while it is broken.
type slowReader struct {
	opened chan struct{}

	mu     sync.Mutex
	broken bool
	text   bytes.Buffer
}

func (r *slowReader) Write(text []byte) (int, error) {
	<-r.opened
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return 0, errors.New("broken pipe")
	}
	return r.text.Write(text)
}

func (r *slowReader) setBroken(broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = broken
}

func testNote(lines int64) []byte { return fmt.Appendf(nil, "%d dropped\n", lines) }

// TestLogQueueCountsWhatItDrops: while nobody reads, lines beyond the bound are dropped. Once somebody
// does, every line either arrives or is counted in a note.
func TestLogQueueCountsWhatItDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := &slowReader{opened: make(chan struct{})}
		q := newLogQueue(reader, testNote)
		line := strings.Repeat("x", 1023) + "\n"
		const lines = 3000 // three times what fits
		for range lines {
			if n, err := q.Write([]byte(line)); n != len(line) || err != nil {
				t.Fatal(n, err)
			}
		}
		if dropped := q.droppedLines(); dropped < lines-logQueueBytes/1024 || dropped == lines {
			t.Errorf("%d of %d lines dropped", dropped, lines)
		}
		close(reader.opened)
		q.close()
		arrived := strings.Count(reader.text.String(), line)
		note := string(testNote(q.droppedLines()))
		if arrived+int(q.droppedLines()) != lines || !strings.Contains(reader.text.String(), note) {
			t.Errorf("%d lines arrived, %d were dropped, of %d", arrived, q.droppedLines(), lines)
		}
	})
}

// TestLogQueueOutlivesItsReader: what a reader that is gone does not take is counted, and the next
// reader is told.
func TestLogQueueOutlivesItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := &slowReader{opened: make(chan struct{}), broken: true}
		close(reader.opened)
		q := newLogQueue(reader, testNote)
		fmt.Fprintln(q, "lost")
		for q.droppedLines() == 0 {
			<-q.room
		}
		reader.setBroken(false)
		fmt.Fprintln(q, "kept")
		q.close()
		if got := reader.text.String(); got != "kept\n1 dropped\n" {
			t.Errorf("the next reader got %q", got)
		}
	})
}

// TestLogQueueEndsUnread: a reader that never reads does not keep a command from ending.
func TestLogQueueEndsUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := &slowReader{opened: make(chan struct{})}
		q := newLogQueue(reader, testNote)
		fmt.Fprintln(q, "never read")
		q.close()
		if reader.text.Len() > 0 {
			t.Error("it was read")
		}
		close(reader.opened)
		<-q.done
	})
}
