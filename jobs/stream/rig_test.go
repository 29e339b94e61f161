package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// wire is a listener and its dialer in memory, for use in a synctest bubble.
type wire struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
	down  atomic.Bool // dialing fails; open connections stay open
	// bytesPerSecond slows down what clients read; 0 does not.
	bytesPerSecond atomic.Int64
}

func newWire() *wire { return &wire{conns: make(chan net.Conn), done: make(chan struct{})} }

func (w *wire) Accept() (net.Conn, error) {
	select {
	case conn := <-w.conns:
		return conn, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}

func (w *wire) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// slowConn is a connection whose reader gets so many bytes per second.
type slowConn struct {
	net.Conn
	bytesPerSecond *atomic.Int64
}

func (c *slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if rate := c.bytesPerSecond.Load(); rate > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
	}
	return n, err
}

func (w *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if w.down.Load() {
		return nil, errors.New("no route to host")
	}
	client, server := net.Pipe()
	select {
	case w.conns <- server:
		return &slowConn{client, &w.bytesPerSecond}, nil
	case <-w.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rig is a recorder that runs against a stand-in exchange, both in one synctest bubble.
type rig struct {
	t      *testing.T
	wire   *wire
	server *exchange.Server
	dir    *tape.Dir
	opt    Options
	stream *Recorder
	cancel context.CancelFunc
	ended  chan struct{}
	ctx    context.Context
	excuse exchange.Offence // does not fail the test

	mu      sync.Mutex
	events  []timedEvent
	summary Summary
	err     error
}

type timedEvent struct {
	Event
	at time.Time
}

// newRig starts a rig. Offences of the recorder against the exchange's rules fail the test.
func newRig(t *testing.T, source exchange.Source, served exchange.Options, opt Options, observe ...func(*rig, Event)) *rig {
	t.Helper()
	freshDecoders()
	server, err := exchange.New(source, served)
	if err != nil {
		t.Fatal(err)
	}
	w := newWire()
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		if err := server.Serve(w); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	r := &rig{t: t, wire: w, server: server, dir: newTape(t, tape.AggTrade), opt: opt}
	if r.opt.system == nil { // the exchange's, and both clocks go on evenly
		began := time.Now()
		r.opt.system = func() time.Time { return server.Now().Round(0) }
		r.opt.uptime = func() state.Uptime { return state.Uptime{Boot: "boot", Since: time.Since(began)} }
	}
	r.opt.URL, r.opt.DialContext, r.opt.Logger = "ws://exchange", w.dial, testLogger(t)
	r.opt.Observe = func(e Event) {
		r.mu.Lock()
		r.events = append(r.events, timedEvent{e, time.Now()})
		r.mu.Unlock()
		for _, f := range observe {
			f(r, e)
		}
	}
	t.Cleanup(func() {
		r.cancel()
		<-r.ended
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		_ = w.Close()
		<-serving
		offences := server.Offences()
		delete(offences, r.excuse)
		if len(offences) > 0 {
			t.Errorf("the client broke the exchange's rules: %v", offences)
		}
	})
	r.start()
	return r
}

// start starts a recorder.
func (r *rig) start() {
	r.t.Helper()
	r.ctx, r.cancel = context.WithCancel(r.t.Context())
	ended := make(chan struct{})
	r.ended = ended
	var err error
	if r.stream, err = New(r.dir, r.opt); err != nil {
		close(r.ended)
		r.t.Fatal(err)
	}
	go func() {
		defer close(ended)
		r.err = r.stream.Run(r.ctx)
		r.summary = r.stream.Summary()
	}()
}

// stop stops the recorder, which must succeed.
func (r *rig) stop() Summary {
	r.t.Helper()
	r.cancel()
	<-r.ended
	if r.err != nil {
		r.t.Fatal(r.err)
	}
	return r.summary
}

func (r *rig) eventsOf(kind EventKind) []timedEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []timedEvent
	for _, e := range r.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// requireComplete fails the test unless each symbol's rows on the tape are consecutive rows of the
// source, as many as want says.
func (r *rig) requireComplete(source exchange.Source, want map[string]int) {
	r.t.Helper()
	rows := tapeRows(r.t, r.dir)
	if got := countBySymbol(r.t, rows); fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("on the tape %v, want %v", got, want)
	}
	sent := map[string][]exchange.Row{}
	for _, row := range rows {
		if sent[row.Symbol] == nil {
			sent[row.Symbol] = source.Rows(nil, row.Symbol, exchange.AggTrade, row.ID, 1<<30)
		}
		if err := compareRow(row, row.Symbol, sent[row.Symbol][0]); err != nil {
			r.t.Fatal(err)
		}
		sent[row.Symbol] = sent[row.Symbol][1:]
	}
}

// evenRows returns n aggTrades of a symbol at equal intervals.
func evenRows(symbol string, n int, every time.Duration) []exchange.MemoryRow {
	const start = 1_700_000_000_000_000
	rows := make([]exchange.MemoryRow, n)
	for i := range rows {
		id := int64(i) + 1000
		rows[i] = exchange.MemoryRow{Symbol: symbol, Kind: exchange.AggTrade, Row: exchange.Row{
			ID: id, FirstTradeID: id, LastTradeID: id, Price: "0.00000102", Qty: "1500.5", TradedAt: start + int64(i)*every.Microseconds(),
		}}
	}
	return rows
}

func inject(t *testing.T, s *exchange.Server, f exchange.Fault) {
	t.Helper()
	if _, err := s.Inject(f); err != nil {
		t.Fatal(err)
	}
}
