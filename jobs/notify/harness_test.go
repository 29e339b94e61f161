package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tapedeck/internal/standin/botapi"
	"tapedeck/internal/tape"
	"tapedeck/internal/telegram"
)

// harness is an outbox with the real client and a stand-in for Telegram without a network in
// between, so that all of it runs on the clock of a testing/synctest bubble.
type harness struct {
	t       *testing.T
	dir     *tape.Dir
	store   *faultyStore
	standIn *botapi.Server
	client  *telegram.Client
	log     *lockedBuffer
	logger  *slog.Logger
	down    atomic.Bool // connections fail
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	dir, err := tape.Create(t.TempDir(), "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, dir: dir, store: &faultyStore{Store: dir.State()}, log: &lockedBuffer{}}
	h.logger = slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.standIn = botapi.New(botapi.Options{Token: testToken, Now: time.Now})
	h.client = h.newClient(testToken)
	return h
}

func (h *harness) newClient(secret string) *telegram.Client {
	h.t.Helper()
	token, err := telegram.ReadToken(func(name string) string {
		if name == telegram.TokenVariable {
			return secret
		}
		return ""
	})
	if err != nil {
		h.t.Fatal(err)
	}
	client, err := telegram.NewClient("http://stand.in", token, telegram.Options{Transport: direct{h}, Logger: h.logger})
	if err != nil {
		h.t.Fatal(err)
	}
	return client
}

// outbox opens the outbox like another process would.
func (h *harness) outbox(chats ...Chat) *Outbox {
	h.t.Helper()
	o, err := Open(h.store, Config{Chats: chats}, h.logger)
	if err != nil {
		h.t.Fatal(err)
	}
	return o
}

func (h *harness) options() SendOptions { return SendOptions{Now: time.Now} }

// send sends all messages and fails the test on an error.
func (h *harness) send(o *Outbox) Summary {
	h.t.Helper()
	summary, err := o.Send(h.t.Context(), h.client, h.options())
	if err != nil {
		h.t.Fatal(err)
	}
	return summary
}

func (h *harness) enqueueNotice(o *Outbox, text string) {
	h.t.Helper()
	if _, err := o.EnqueueNotice(h.t.Context(), Notice{Key: text, Title: text}, time.Now()); err != nil {
		h.t.Fatal(err)
	}
}

// received returns the texts that arrived in a chat, in order.
func (h *harness) received(chat string) []string {
	var out []string
	for _, m := range h.standIn.Messages() {
		if m.Chat == chat {
			out = append(out, strings.TrimPrefix(m.Text, "ℹ️ "))
		}
	}
	return out
}

// checkOffences fails the test if the client broke a rule of Telegram.
func (h *harness) checkOffences() {
	h.t.Helper()
	if offences := h.standIn.Offences(); len(offences) > 0 {
		h.t.Errorf("offences: %v", offences)
	}
}

// files lists the outbox's directory.
func (h *harness) files() []string {
	listed, err := os.ReadDir(h.dir.State().Path(outboxDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	var out []string
	for _, file := range listed {
		out = append(out, file.Name())
	}
	return out
}

func (h *harness) messageFiles() []string {
	return slices.DeleteFunc(h.files(), func(name string) bool { return filepath.Ext(name) != messageSuffix })
}

// direct passes requests to the stand-in.
type direct struct{ h *harness }

func (d direct) RoundTrip(r *http.Request) (response *http.Response, err error) {
	defer r.Body.Close()
	if d.h.down.Load() {
		return nil, fmt.Errorf("dial tcp: connect: %w", syscall.ECONNREFUSED)
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	defer func() {
		if recover() != nil { // the handler aborted
			response, err = nil, io.ErrUnexpectedEOF
		}
	}()
	recorder := httptest.NewRecorder()
	d.h.standIn.ServeHTTP(recorder, r)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	return recorder.Result(), nil
}

// faultyStore fails writes for which fail returns an error.
type faultyStore struct {
	Store
	mu   sync.Mutex
	fail func(name string, v any) error
}

func (s *faultyStore) setFault(fail func(name string, v any) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func (s *faultyStore) fault(name string, v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		return nil
	}
	return s.fail(name, v)
}

func (s *faultyStore) Write(name string, v any) error {
	if err := s.fault(name, v); err != nil {
		return err
	}
	return s.Store.Write(name, v)
}

func (s *faultyStore) WriteBytes(name string, content []byte) error {
	if err := s.fault(name, content); err != nil {
		return err
	}
	return s.Store.WriteBytes(name, content)
}

var errDiskFull = fmt.Errorf("write: %w", syscall.ENOSPC)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rewrite changes a message's file.
func (h *harness) rewrite(name string, change func(*message)) {
	h.t.Helper()
	var m message
	if err := h.dir.State().Read(filepath.Join(outboxDir, name), &m); err != nil {
		h.t.Fatal(err)
	}
	change(&m)
	if err := h.dir.State().Write(filepath.Join(outboxDir, name), m); err != nil {
		h.t.Fatal(err)
	}
}

// whileRunning calls f while Run runs.
func (h *harness) whileRunning(o *Outbox, f func()) {
	h.t.Helper()
	ctx, stop := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx, h.client, h.options()) }()
	f()
	stop()
	if err := <-ended; err != nil {
		h.t.Errorf("run: %v", err)
	}
}
