// Package metrics serves /metrics in the text format of Prometheus, and /healthz.
//
// Each scrape reads the services' state files. So one address covers the stream, the scheduler
// and the outbox of a data directory, regardless of the process that serves it, and nothing is
// computed between scrapes. The counters of the stream start at zero when it starts; those of the
// scheduler survive a restart. docs/OPERATING.md lists the metrics.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tapedeck/internal/wording"
)

// StateReader reads a state file, which is JSON, into v. The error is fs.ErrNotExist if there is no
// such file.
type StateReader interface {
	Read(name string, v any) error
}

// Sources are where the numbers come from. Health, Outbox, Disk and LogDropped may be nil; their metrics are
// left out then. They are called concurrently.
type Sources struct {
	State   StateReader
	Version string
	// Health reports whether the services of this process are healthy, and why in one line.
	Health func() (healthy bool, why string, err error)
	// Outbox returns how many messages wait, and since when the oldest does.
	Outbox func() (waiting int, since time.Time, err error)
	// Disk returns how many bytes are free, and how many a day of recording takes; 0 if that is
	// unknown.
	Disk func() (free, perDay uint64, err error)
	// LogDropped returns how many lines of this process's log were dropped.
	LogDropped func() int64
}

const (
	headerTimeout = 5 * time.Second
	answerTimeout = 30 * time.Second
	// closeTimeout bounds the answers that are unfinished when Run is stopped.
	closeTimeout = time.Second
)

// Server serves the metrics. It accepts connections from Listen on and answers them in Run.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen opens a TCP address such as 127.0.0.1:9090. The caller must call Run.
func Listen(ctx context.Context, address string, sources Sources, logger *slog.Logger) (*Server, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w", err)
	}
	logger.Info("metrics served", "address", listener.Addr().String())
	return &Server{listener, &http.Server{
		Handler: Handler(sources, logger), ReadHeaderTimeout: headerTimeout, WriteTimeout: answerTimeout,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}}, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx is done, finishes the answers in progress within a second, and returns nil.
func (s *Server) Run(ctx context.Context) error {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if s.http.Shutdown(last) != nil {
			s.http.Close()
		}
	})
	err := s.http.Serve(s.listener)
	if !stop() {
		<-closed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve metrics: %w", err)
}

// Handler answers /metrics, and /healthz with 200 if all is well, else with 503. The answer of
// /healthz says why.
func Handler(sources Sources, logger *slog.Logger) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(sources))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if sources.Health == nil {
			fmt.Fprintln(w, "alive")
			return
		}
		healthy, why, err := sources.Health()
		state := "healthy:"
		if err != nil || !healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
			state = "unhealthy:"
		}
		if err != nil {
			fmt.Fprintln(w, wording.Visible(err.Error()))
			return
		}
		fmt.Fprintln(w, state, wording.Visible(why))
	})
	return mux
}
