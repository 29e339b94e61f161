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

// place is an outbox with the real client before a stand-in Telegram, without a network in between: in a bubble of testing/synctest all
// of it runs on the bubble's clock.
type place struct {
	t       *testing.T
	dir     *tape.Dir
	store   *faultyStore
	standIn *botapi.Server
	client  *telegram.Client
	log     *lockedBuffer
	logger  *slog.Logger
	down    atomic.Bool // no connection is had
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir, err := tape.Create(t.TempDir(), "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, dir: dir, store: &faultyStore{Store: dir}, log: &lockedBuffer{}}
	p.logger = slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p.standIn = botapi.New(botapi.Options{Token: testToken, Now: time.Now})
	p.client = p.newClient(testToken)
	return p
}

func (p *place) newClient(secret string) *telegram.Client {
	p.t.Helper()
	token, err := ReadToken(func(name string) string {
		if name == telegram.TokenVariable {
			return secret
		}
		return ""
	})
	if err != nil {
		p.t.Fatal(err)
	}
	client, err := telegram.NewClient("http://stand.in", token, telegram.Options{Transport: direct{p}, Logger: p.logger})
	if err != nil {
		p.t.Fatal(err)
	}
	return client
}

// outbox opens the outbox as another process would.
func (p *place) outbox(chats ...Chat) *Outbox {
	p.t.Helper()
	o, err := Open(p.store, Config{Chats: chats}, p.logger)
	if err != nil {
		p.t.Fatal(err)
	}
	return o
}

func (p *place) options() SendOptions { return SendOptions{Now: time.Now} }

// send sends all there is and fails the test on an error.
func (p *place) send(o *Outbox) Summary {
	p.t.Helper()
	summary, err := o.Send(p.t.Context(), p.client, p.options())
	if err != nil {
		p.t.Fatal(err)
	}
	return summary
}

func (p *place) notice(o *Outbox, text string) {
	p.t.Helper()
	if _, err := o.EnqueueNotice(p.t.Context(), Notice{Key: text, Title: text}, time.Now()); err != nil {
		p.t.Fatal(err)
	}
}

// arrived gives the texts that came to a chat, in order.
func (p *place) arrived(chat string) []string {
	var out []string
	for _, m := range p.standIn.Messages() {
		if m.Chat == chat {
			out = append(out, strings.TrimPrefix(m.Text, "ℹ️ "))
		}
	}
	return out
}

// wellBehaved fails the test where the stand-in was treated otherwise than Telegram wants to be.
func (p *place) wellBehaved() {
	p.t.Helper()
	if offences := p.standIn.Offences(); len(offences) > 0 {
		p.t.Errorf("offences: %v", offences)
	}
}

// files lists what is in the outbox's directory.
func (p *place) files() []string {
	listed, err := os.ReadDir(p.dir.StatePath(outboxDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.t.Fatal(err)
	}
	var out []string
	for _, file := range listed {
		out = append(out, file.Name())
	}
	return out
}

func (p *place) messageFiles() []string {
	return slices.DeleteFunc(p.files(), func(name string) bool { return filepath.Ext(name) != messageEnding })
}

// direct hands requests to the stand-in.
type direct struct{ p *place }

func (d direct) RoundTrip(r *http.Request) (response *http.Response, err error) {
	defer r.Body.Close()
	if d.p.down.Load() {
		return nil, fmt.Errorf("dial tcp: connect: %w", syscall.ECONNREFUSED)
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	defer func() {
		if recover() != nil { // a handler that aborts
			response, err = nil, io.ErrUnexpectedEOF
		}
	}()
	recorder := httptest.NewRecorder()
	d.p.standIn.ServeHTTP(recorder, r)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	return recorder.Result(), nil
}

// faultyStore fails the writes that fail says.
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

func (s *faultyStore) WriteState(name string, v any) error {
	if err := s.fault(name, v); err != nil {
		return err
	}
	return s.Store.WriteState(name, v)
}

func (s *faultyStore) WriteStateBytes(name string, content []byte) error {
	if err := s.fault(name, content); err != nil {
		return err
	}
	return s.Store.WriteStateBytes(name, content)
}

var errFull = fmt.Errorf("write: %w", syscall.ENOSPC)

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

// rewrite changes a message's file by hand.
func (p *place) rewrite(name string, change func(*message)) {
	p.t.Helper()
	var m message
	if err := p.dir.ReadState(filepath.Join(outboxDir, name), &m); err != nil {
		p.t.Fatal(err)
	}
	change(&m)
	if err := p.dir.WriteState(filepath.Join(outboxDir, name), m); err != nil {
		p.t.Fatal(err)
	}
}

// during runs Run until while returns.
func (p *place) during(o *Outbox, while func()) {
	p.t.Helper()
	ctx, stop := context.WithCancel(p.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx, p.client, p.options()) }()
	while()
	stop()
	if err := <-ended; err != nil {
		p.t.Errorf("run: %v", err)
	}
}
