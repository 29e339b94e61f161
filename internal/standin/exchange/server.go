// Package exchange is a stand-in for Binance's spot market: one HTTP server for its websocket streams, its REST
// endpoints of trades and its archive of daily files, trading whatever a Source holds: a recorded capture, a simulated
// market, rows made by a test. It counts what clients do against the exchange's rules, and goes wrong on demand.
//
// The guarantee: all three ways show the same rows with the same ids, each row from the instant on at which the
// server's clock reaches its release, and a decimal goes out as the source spells it.
//
// The protocol is specified in github.com/binance/binance-spot-api-docs (web-socket-streams.md, rest-api.md,
// errors.md) and the archive in github.com/binance/binance-public-data; limits that are not documented there come from
// reports by users and are marked where they stand. The package is larger than others because it is a whole exchange;
// nothing else of tapedeck knows it but the command that serves it and tests.
package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Speeds other than a factor of real time.
var (
	// MaxSpeed plays as fast as the clients take it. Nothing is lost on the way, and time stands still while nobody has
	// subscribed.
	MaxSpeed = math.Inf(1)
	// ByHand plays only when Advance is called.
	ByHand = -1.0
)

// Options are a server's settings; the zero value is Binance's behaviour in real time.
type Options struct {
	// Speed is how many times faster than the wall clock the source's clock runs; 0 means 1. See MaxSpeed and ByHand.
	Speed float64
	// Start is where the source's clock stands at first: what was released before is history that REST and the archive
	// have. Zero means just before the source's first row.
	Start time.Time
	// WaitForStreams is how many streams must be subscribed to before the clock starts. At MaxSpeed at least 1 is.
	WaitForStreams int
	// CloseAtEnd closes every connection, with close code 1000, when the source has nothing more.
	CloseAtEnd bool

	// PingEvery is the time between pings, 20 s; PongWithin how long an answer may take, 1 min; Lifetime how long a
	// connection lasts, 24 h.
	PingEvery, PongWithin, Lifetime time.Duration
	// MaxStreams is how many streams a connection may have, 1024; FramesPerSecond how many frames it may send, 5;
	// MaxFrame the greatest request in bytes on the wire that is answered, 4096; Connects how many handshakes an address may make in
	// 5 minutes, 300. Below 0 means no limit.
	MaxStreams, FramesPerSecond, MaxFrame, Connects int
	// SendBuffer is how many bytes may wait for a slow client before its connection is closed, 8 MiB. At MaxSpeed the
	// clock waits for the client instead, for at most StallLimit, 30 s.
	SendBuffer int
	StallLimit time.Duration

	// WeightLimit is the weight an address may use in a minute, 6000. WeightWindow replaces the minute.
	WeightLimit  int64
	WeightWindow time.Duration
	// StrikesToBan is how many requests after a 429 make it a ban, 5; BanFor the length of the first, 2 min, which
	// doubles with each further one.
	StrikesToBan int
	BanFor       time.Duration
	// Latency is waited before each answer of REST and the archive.
	Latency time.Duration

	// ArchiveDelay is how long after the end of a day its file appears, on the source's clock; 0 means 5 h, below 0
	// none.
	ArchiveDelay time.Duration
	// SpoolDir is where archive files are put together; empty means a temporary directory that Close removes.
	SpoolDir string

	// Faults is a random schedule of faults; nil means none.
	Faults *Faults
	// Injected is served at /_tapedeck/injected as JSON: what is known to lie in the data.
	Injected any
	// Logger hears of connections; nil means silence.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	set(&o.Speed, 1)
	set(&o.PingEvery, 20*time.Second)
	set(&o.PongWithin, time.Minute)
	set(&o.Lifetime, 24*time.Hour)
	set(&o.MaxStreams, 1024)
	set(&o.FramesPerSecond, 5)
	set(&o.MaxFrame, 4096)
	set(&o.Connects, 300)
	for _, limit := range []*int{&o.MaxStreams, &o.FramesPerSecond, &o.MaxFrame, &o.Connects} {
		if *limit < 0 {
			*limit = math.MaxInt
		}
	}
	set(&o.SendBuffer, 8<<20)
	set(&o.StallLimit, 30*time.Second)
	set(&o.WeightLimit, 6000)
	set(&o.WeightWindow, time.Minute)
	set(&o.StrikesToBan, 5)
	set(&o.BanFor, 2*time.Minute)
	set(&o.ArchiveDelay, 5*time.Hour)
	o.ArchiveDelay = max(o.ArchiveDelay, 0)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if math.IsInf(o.Speed, 1) {
		o.WaitForStreams = max(o.WaitForStreams, 1)
	}
	return o
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Server is the exchange. Make one with New and serve it with Serve, or both with Start.
type Server struct {
	opt      Options
	source   Source
	hub      *hub
	ledger   *ledger
	faults   *faultBox
	limits   *limiter
	archive  *archive
	tickers  tickers
	upgrader websocket.Upgrader
	mux      *http.ServeMux
	http     *http.Server
	url      atomic.Pointer[string]

	now   atomic.Int64 // the source's clock, µs
	first int64        // the source's span
	last  int64

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	playing  sync.Mutex // held by whoever moves the clock; guards events and touched
	events   []Event
	touched  []*conn
	started  sync.Once // the clock's goroutine
	begun    chan struct{}
	done     chan struct{} // see Done
	ended    sync.Once
	work     sync.WaitGroup // goroutines and websocket handlers
	closing  sync.Mutex     // guards work against Close
	isClosed bool
}

// New makes a server that trades source. Nothing plays before Serve.
func New(source Source, opt Options) (*Server, error) {
	if err := opt.Faults.Validate(); err != nil {
		return nil, err
	}
	if math.IsNaN(opt.Speed) || opt.Speed < 0 && opt.Speed != ByHand {
		return nil, fmt.Errorf("speed %g is below 0", opt.Speed)
	}
	s := &Server{
		opt: opt.withDefaults(), source: source, ledger: newLedger(),
		begun: make(chan struct{}), done: make(chan struct{}),
	}
	s.faults = newFaultBox(opt.Faults)
	s.limits = newLimiter(s.opt, s.ledger)
	s.hub = newHub(s)
	s.upgrader = websocket.Upgrader{
		CheckOrigin:     func(*http.Request) bool { return true },
		ReadBufferSize:  4096,
		WriteBufferSize: 1024,
	}
	s.first, s.last = source.Span()
	start := s.first - 1
	if !opt.Start.IsZero() {
		start = opt.Start.UnixMicro()
	}
	s.now.Store(start)
	source.Release(start)
	archive, err := newArchive(s)
	if err != nil {
		return nil, err
	}
	s.archive = archive
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mux = s.routes()
	s.http = &http.Server{Handler: s.mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.opt.Logger.Handler(), slog.LevelDebug)}
	return s, nil
}

// Start makes a server, serves it on a free port of this machine and returns at once. End it with Close.
func Start(source Source, opt Options) (*Server, error) {
	s, err := New(source, opt)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.serving(ln)
	s.work.Go(func() { _ = s.http.Serve(ln) })
	return s, nil
}

// TestingT is the part of *testing.T that StartTest uses.
type TestingT interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// StartTest is Start for a test: the server is closed when the test ends, and offences of the client fail the test,
// other than those named.
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
			t.Errorf("stand-in exchange: the client broke the rules: %v", offences)
		}
	})
	return s
}

// Serve answers on a listener, which it closes, until Close. It returns nil after Close.
func (s *Server) Serve(ln net.Listener) error {
	s.serving(ln)
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) serving(ln net.Listener) {
	url := "http://" + ln.Addr().String()
	s.url.Store(&url)
	s.startClock()
}

// URL is where REST and the archive are, as http://host:port; empty before Serve.
func (s *Server) URL() string {
	if url := s.url.Load(); url != nil {
		return *url
	}
	return ""
}

// StreamURL is where the streams are, as ws://host:port.
func (s *Server) StreamURL() string {
	if url := s.URL(); url != "" {
		return "ws" + url[len("http"):]
	}
	return ""
}

// Now is the source's clock.
func (s *Server) Now() time.Time { return time.UnixMicro(s.now.Load()).UTC() }

// Close cuts every connection, ends the server's goroutines and removes its files.
func (s *Server) Close() error {
	s.closing.Lock()
	s.isClosed = true
	s.closing.Unlock()
	s.cancel()
	err := s.http.Close()
	for _, c := range s.hub.all() {
		_ = c.out.Close()
	}
	s.work.Wait()
	return errors.Join(err, s.archive.close())
}

// enter registers a handler that outlives its request; it fails after Close.
func (s *Server) enter() bool {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.isClosed {
		return false
	}
	s.work.Add(1)
	return true
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", s.serveStream)
	mux.HandleFunc("/ws/", s.serveStream)
	mux.HandleFunc("/stream", s.serveStream)
	mux.HandleFunc("/api/", s.serveREST)
	mux.HandleFunc("/data/", s.archive.serve)
	mux.HandleFunc("/_tapedeck/", s.serveOwn)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.ledger.offence(UnknownEndpoint)
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "404 page not found\n")
	})
	return mux
}
