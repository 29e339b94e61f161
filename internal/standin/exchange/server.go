// Package exchange is a stand-in for Binance's spot market: one HTTP server for its websocket
// streams, its REST endpoints for market data and its archive of daily files. It serves the rows of a
// Source: a recorded capture, a simulated market, or rows written by a test. It counts violations of
// the exchange's rules and injects faults on request.
//
// The guarantee: all three interfaces show the same rows with the same ids, each row as soon as the
// server's clock reaches its release, and decimals are sent as the source spells them.
//
// Klines, tickers and average prices are the sums of these rows. There are no orders: a book has one
// level on each side of the last price (see book.go), so it says nothing about liquidity.
//
// The protocol is specified in github.com/binance/binance-spot-api-docs (web-socket-streams.md,
// rest-api.md, errors.md), the archive in github.com/binance/binance-public-data; docs/BINANCE.md
// summarises both. Limits that are only reported by users are marked in the code.
//
// The package shares no code with internal/binance and internal/tape, although they know the same
// protocol: a bug in shared code would agree with itself, and no test would find it. The package is
// larger than others because it is a whole exchange. Only the exchange command and tests import it.
package exchange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Speeds other than a factor of real time.
var (
	// MaxSpeed plays as fast as the clients read. It waits for slow clients instead of dropping data,
	// and the clock stops while no stream is subscribed to.
	MaxSpeed = math.Inf(1)
	// Manual plays only when Advance is called.
	Manual = -1.0
)

// Options are a server's settings; the zero value is Binance's behaviour in real time.
type Options struct {
	// Speed is how many times faster than the wall clock the source's clock runs; 0 means 1. See MaxSpeed and Manual.
	Speed float64
	// Start is the initial time of the source's clock. Rows released before are history, which REST
	// and the archive serve. Zero means just before the source's first row.
	Start time.Time
	// WaitForStreams is how many streams must be subscribed to before the clock starts. MaxSpeed
	// implies at least 1.
	WaitForStreams int
	// CloseAtEnd closes every connection, with close code 1000, when the source ends.
	CloseAtEnd bool

	// PingEvery is the time between pings, 20 s; PongWithin is how long a pong may take, 1 min;
	// Lifetime is how long a connection lasts, 24 h.
	PingEvery, PongWithin, Lifetime time.Duration
	// MaxStreams is how many streams a connection may have, 1024; FramesPerSecond is how many frames
	// it may send, 5; MaxFrame is the size of the largest request that is answered, 4096 bytes on the
	// wire; Connects is how many handshakes an address may make in 5 minutes, 300. Below 0 means no
	// limit.
	MaxStreams, FramesPerSecond, MaxFrame, Connects int
	// SendBuffer is how many bytes may be queued for a slow client before its connection is closed,
	// 8 MiB. At MaxSpeed the clock waits for the client instead, for at most StallLimit, 30 s.
	SendBuffer int
	StallLimit time.Duration

	// WeightLimit is the weight that an address may use in a minute, 6000. WeightWindow replaces the
	// minute.
	WeightLimit  int64
	WeightWindow time.Duration
	// StrikesToBan is how many requests after a 429 lead to a ban, 5. BanFor is the length of the
	// first ban, 2 min; it doubles with each further ban.
	StrikesToBan int
	BanFor       time.Duration
	// Latency delays each answer of REST and the archive.
	Latency time.Duration

	// ArchiveDelay is how long after the end of a day its file appears, on the source's clock; 0 means
	// 5 h, below 0 means no delay.
	ArchiveDelay time.Duration
	// SpoolDir is where archive files are built; empty means a temporary directory that Close removes.
	SpoolDir string

	// Faults is a random schedule of faults; nil means none.
	Faults *Faults
	// Injected is served at /_tapedeck/injected as JSON: the incidents that the data contains.
	Injected any
	// Logger receives connection events at debug level; nil means no logging.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.Speed = cmp.Or(o.Speed, 1)
	o.PingEvery = cmp.Or(o.PingEvery, 20*time.Second)
	o.PongWithin = cmp.Or(o.PongWithin, time.Minute)
	o.Lifetime = cmp.Or(o.Lifetime, 24*time.Hour)
	o.MaxStreams = cmp.Or(o.MaxStreams, 1024)
	o.FramesPerSecond = cmp.Or(o.FramesPerSecond, 5)
	o.MaxFrame = cmp.Or(o.MaxFrame, 4096)
	o.Connects = cmp.Or(o.Connects, 300)
	for _, limit := range []*int{&o.MaxStreams, &o.FramesPerSecond, &o.MaxFrame, &o.Connects} {
		if *limit < 0 {
			*limit = math.MaxInt
		}
	}
	o.SendBuffer = cmp.Or(o.SendBuffer, 8<<20)
	o.StallLimit = cmp.Or(o.StallLimit, 30*time.Second)
	o.WeightLimit = cmp.Or(o.WeightLimit, 6000)
	o.WeightWindow = cmp.Or(o.WeightWindow, time.Minute)
	o.StrikesToBan = cmp.Or(o.StrikesToBan, 5)
	o.BanFor = cmp.Or(o.BanFor, 2*time.Minute)
	o.ArchiveDelay = cmp.Or(o.ArchiveDelay, 5*time.Hour)
	o.ArchiveDelay = max(o.ArchiveDelay, 0)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if math.IsInf(o.Speed, 1) {
		o.WaitForStreams = max(o.WaitForStreams, 1)
	}
	return o
}

// Server is the exchange. Create one with New and serve it with Serve, or do both with Start. Close
// ends it.
type Server struct {
	opt      Options
	source   Source
	hub      *hub
	counters *counters
	faults   *injector
	limits   *limiter
	archive  *archive
	bars     bars
	altered  altered
	upgrader websocket.Upgrader
	http     *http.Server
	url      atomic.Value // string

	now  atomic.Int64 // the source's clock, µs
	last int64        // the source's last release, µs

	ctx          context.Context // ends with Close
	cancel       context.CancelFunc
	clockMu      sync.Mutex // held by whoever moves the clock; guards events, receivers and conn.tooSlow
	events       []Event
	receivers    []*conn   // connections with new frames
	started      sync.Once // starts the clock's goroutine
	clockStarted chan struct{}
	done         chan struct{} // see Done
	ended        sync.Once
	handlers     sync.WaitGroup // goroutines and handlers that Close waits for
	closing      sync.Mutex     // guards adding to handlers against Close
	closed       bool
}

// New creates a server for the rows of source. The clock does not run before Serve.
func New(source Source, opt Options) (*Server, error) {
	if err := opt.Faults.Validate(); err != nil {
		return nil, err
	}
	if math.IsNaN(opt.Speed) || opt.Speed < 0 && opt.Speed != Manual {
		return nil, fmt.Errorf("speed %g is below 0", opt.Speed)
	}
	s := &Server{
		opt: opt.withDefaults(), source: source, counters: newCounters(),
		altered:      altered{rows: map[Altered]bool{}},
		clockStarted: make(chan struct{}), done: make(chan struct{}),
	}
	s.bars = bars{server: s, hours: map[barKey]*barHour{}}
	s.faults = newInjector(opt.Faults)
	s.limits = newLimiter(s.opt, s.counters)
	s.hub = newHub(s)
	s.upgrader = websocket.Upgrader{
		CheckOrigin:     func(*http.Request) bool { return true },
		ReadBufferSize:  4096,
		WriteBufferSize: 1024,
	}
	var start int64
	start, s.last = source.Span()
	start--
	if !opt.Start.IsZero() {
		start = opt.Start.UnixMicro()
	}
	s.now.Store(start)
	source.Release(start)
	s.archive = newArchive(s)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(s.opt.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Start creates a server and serves it in the background on a free port of this machine.
func Start(source Source, opt Options) (*Server, error) {
	s, err := New(source, opt)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.listening(ln)
	s.run(func() { _ = s.http.Serve(ln) })
	return s, nil
}

// TestingT is the part of *testing.T that StartTest uses.
type TestingT interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// StartTest is Start for a test. It closes the server when the test ends, and fails the test if the
// client committed offences other than those allowed.
func StartTest(t TestingT, source Source, opt Options, allowed ...Offence) *Server {
	t.Helper()
	s, err := Start(source, opt)
	if err != nil {
		t.Fatalf("stand-in exchange: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("stand-in exchange: close: %v", err)
		}
		offences := s.Offences()
		for _, o := range allowed {
			delete(offences, o)
		}
		if len(offences) > 0 {
			t.Errorf("stand-in exchange: the client committed offences: %v", offences)
		}
	})
	return s
}

// Serve answers on a listener, which it closes, until Close is called. It returns nil after Close.
func (s *Server) Serve(ln net.Listener) error {
	s.listening(ln)
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) listening(ln net.Listener) {
	s.url.Store("http://" + ln.Addr().String())
	s.started.Do(func() {
		s.run(s.play)
		if s.opt.Faults != nil {
			s.run(s.breakConnections)
		}
	})
}

// URL returns the address of REST and the archive, as http://host:port; empty before Serve.
func (s *Server) URL() string {
	url, _ := s.url.Load().(string)
	return url
}

// StreamURL returns the address of the streams, as ws://host:port; empty before Serve.
func (s *Server) StreamURL() string {
	return strings.Replace(s.URL(), "http", "ws", 1)
}

// Now returns the time of the source's clock, UTC.
func (s *Server) Now() time.Time { return time.UnixMicro(s.now.Load()).UTC() }

// Close drops every connection, waits for the server's goroutines and removes its files.
func (s *Server) Close() error {
	s.closing.Lock()
	s.closed = true
	s.closing.Unlock()
	s.cancel()
	err := s.http.Close()
	for _, c := range s.hub.all() {
		_ = c.out.Close()
	}
	s.handlers.Wait()
	return errors.Join(err, s.archive.close())
}

// addHandler registers a goroutine or handler that Close waits for, which must call handlers.Done.
// It returns false after Close.
func (s *Server) addHandler() bool {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return false
	}
	s.handlers.Add(1)
	return true
}

// run runs a function in a goroutine that Close waits for.
func (s *Server) run(f func()) {
	if s.addHandler() {
		go func() {
			defer s.handlers.Done()
			f()
		}()
	}
}

// routes returns the handler of all requests, for which Close waits.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/ws", "/ws/", "/stream"} {
		mux.HandleFunc(path, s.serveStream)
	}
	mux.HandleFunc("/_tapedeck/", s.serveAdmin)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.counters.offence(UnknownEndpoint)
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "404 page not found\n")
	})
	for path, serve := range map[string]http.HandlerFunc{
		"/data/":                        s.archive.serve,
		"/api/":                         s.unknownREST,
		"/api/v3/ping":                  s.serveREST(weight(1), s.ping), // with the weights of 2026
		"/api/v3/time":                  s.serveREST(weight(1), s.time),
		"/api/v3/exchangeInfo":          s.serveREST(weight(20), s.exchangeInfo),
		"/api/v3/aggTrades":             s.serveREST(weight(4), s.aggTrades),
		"/api/v3/historicalTrades":      s.serveREST(weight(25), s.historicalTrades),
		"/api/v3/historicalBlockTrades": s.serveREST(weight(25), s.blockTrades),
		"/api/v3/trades":                s.serveREST(weight(25), s.recentTrades),
		"/api/v3/klines":                s.serveREST(weight(2), s.answerKlines),
		"/api/v3/uiKlines":              s.serveREST(weight(2), s.answerKlines),
		"/api/v3/depth":                 s.serveREST(weighDepth, s.depth),
		"/api/v3/avgPrice":              s.serveREST(weight(2), s.avgPrice),
		"/api/v3/ticker":                s.serveREST(weighWindow, s.tickerWindow),
		"/api/v3/ticker/24hr":           s.serveREST(weighTicker24h, s.ticker24h),
		"/api/v3/ticker/tradingDay":     s.serveREST(weighWindow, s.tradingDay),
		"/api/v3/ticker/price":          s.serveREST(weighPrice, s.tickerPrice),
		"/api/v3/ticker/bookTicker":     s.serveREST(weighPrice, s.bookTicker),
		"/api/v3/referencePrice":        s.serveREST(weight(2), s.referencePrice),
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if s.opt.Latency <= 0 || s.pause(r, s.opt.Latency) {
				serve(w, r)
			}
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.addHandler() {
			defer s.handlers.Done()
			mux.ServeHTTP(w, r)
		}
	})
}
