// Package metrics serves what there is to be watched: /metrics in Prometheus' text format and /healthz.
//
// All numbers are read from the services' state files when they are asked for, so that one address shows the stream, the scheduler and the outbox of a data
// directory, whichever process serves it, and a scrape costs nothing between scrapes. Counters of the stream begin at zero when
// it starts, those of the scheduler go on over a restart.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tapedeck/internal/state"
)

// StateReader reads a small JSON document by its name into v; fs.ErrNotExist where there is none.
type StateReader interface {
	ReadState(name string, v any) error
}

// Sources are where the numbers come from. Those from Health on may be nil: what they would tell is left out. They may be called concurrently.
type Sources struct {
	State   StateReader
	Version string
	// Bounds are the upper bounds in seconds that the scheduler counts its runs' durations by, and Outcomes all that a run can have.
	Bounds   []float64
	Outcomes []state.Outcome
	// Health judges what this process is there for, in one line.
	Health func() (healthy bool, why string, err error)
	// Outbox tells how many messages wait, and since when the oldest does.
	Outbox func() (waiting int, since time.Time, err error)
	// Disk tells how many bytes are free and how many a day takes; 0 where that is not known.
	Disk func() (free, perDay uint64, err error)
}

const (
	headerTimeout = 5 * time.Second
	answerTimeout = 30 * time.Second
	// closeTimeout is how long answers under way may take at the end.
	closeTimeout = time.Second
)

// Serve serves at a TCP address such as 127.0.0.1:9090 until ctx is done, and then returns nil. ready, if it is not nil, hears the address.
func Serve(ctx context.Context, address string, sources Sources, logger *slog.Logger, ready func(net.Addr)) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	logger.Info("metrics served", "address", listener.Addr().String())
	if ready != nil {
		ready(listener.Addr())
	}
	server := &http.Server{
		Handler: Handler(sources, logger), ReadHeaderTimeout: headerTimeout, WriteTimeout: answerTimeout,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if server.Shutdown(last) != nil {
			server.Close()
		}
	})
	err = server.Serve(listener)
	if !stop() {
		<-closed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve metrics: %w", err)
}

// Handler answers /metrics and /healthz: 200 where all is well, else 503, with the line that says why.
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
		switch {
		case err != nil:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
		case !healthy:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "unhealthy:", why)
		default:
			fmt.Fprintln(w, "healthy:", why)
		}
	})
	return mux
}

// streamState is what is needed of stream.json.
type streamState struct {
	UpdatedAt       time.Time        `json:"updated_at"`
	StartedAt       time.Time        `json:"started_at"`
	LastFlushAt     time.Time        `json:"last_flush_at"`
	UnflushedTrades float64          `json:"unflushed_trades"`
	Counters        map[string]int64 `json:"counters"`
	Connections     []struct {
		Up             bool      `json:"up"`
		LastReceivedAt time.Time `json:"last_received_at"`
	} `json:"connections"`
	Symbols map[string]struct {
		LastReceivedAt time.Time `json:"last_received_at"`
	} `json:"symbols"`
}

// scheduleState is what is needed of schedule.json.
type scheduleState struct {
	BeatAt        time.Time `json:"beat_at"`
	StartedAt     time.Time `json:"started_at"`
	CrontabError  string    `json:"crontab_error"`
	UnwrittenRuns float64   `json:"unwritten_runs"`
	Jobs          []struct {
		Name       string    `json:"name"`
		NextAt     time.Time `json:"next_at"`
		Run        *struct{} `json:"run"`
		Waiting    float64   `json:"waiting"`
		LastDoneAt time.Time `json:"last_done_at"`
		Failures   float64   `json:"failures"`
		Totals     struct {
			Runs    map[state.Outcome]int64 `json:"runs"`
			Seconds float64                 `json:"seconds"`
			Within  []int64                 `json:"within"`
			Rows    float64                 `json:"rows"`
			Bytes   float64                 `json:"bytes"`
		} `json:"totals"`
	} `json:"jobs"`
}

// streamCounters are the stream's counters by their name in stream.json, with what they count.
func streamCounters() map[string]string {
	return map[string]string{
		"messages":   "Messages received by the stream.",
		"trades":     "Trades received by the stream, each once.",
		"duplicates": "Trades received that had been received before.",
		"malformed":  "Messages that could not be read.",
		"unknown":    "Messages of streams that were not asked for.",
		"damaged":    "Trades that the exchange voided.",
		"inexact":    "Prices and quantities that a double does not hold exactly.",
		"gaps":       "Runs of trade ids that did not arrive in time.",
		"missing":    "Trade ids in these runs.",
		"connects":   "Connections made.",
		"reconnects": "Connections made after one that failed.",
		"replaced":   "Connections that took over from one that still ran.",
		"refused":    "Connections that could not be made.",
		"flushes":    "Times that trades were put on the tape.",
		"rows":       "Rows that the stream put on the tape.",
		"dropped":    "Rows that were on the tape already.",
		"bytes":      "Bytes that the stream put on the tape.",
		"stalls":     "Times that reading had to wait for the tape.",
	}
}

// collector reads the sources when it is asked.
type collector struct {
	sources  Sources
	counters map[string]*prometheus.Desc // of the stream, by their name in its state

	info, scrapeErrors                                                            *prometheus.Desc
	alive, started, lastFlush, lastReceived, unflushed, connections, symbols      *prometheus.Desc
	runs, duration, lastDone, next, failures, running, waiting, jobRows, jobBytes *prometheus.Desc
	unwritten, crontabWrong, outbox, outboxSince, free, perDay                    *prometheus.Desc
}

func newCollector(sources Sources) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tapedeck_"+name, help, labels, nil)
	}
	c := &collector{
		sources: sources, counters: map[string]*prometheus.Desc{},
		info:         desc("build_info", "1; the label is tapedeck's version.", "version"),
		scrapeErrors: desc("source_errors", "1 where a source of these numbers could not be read now.", "source"),
		alive:        desc("last_sign_of_life_timestamp_seconds", "When a service last renewed its state.", "service"),
		started:      desc("start_timestamp_seconds", "When a service was started.", "service"),
		lastFlush:    desc("stream_last_flush_timestamp_seconds", "When trades were last put on the tape by the stream."),
		lastReceived: desc("stream_last_received_timestamp_seconds", "When the stream last received a trade."),
		unflushed:    desc("stream_unflushed_trades", "Trades that wait to be put on the tape."),
		connections:  desc("stream_connections", "Connections that there should be, by whether they are up.", "state"),
		symbols:      desc("stream_symbols", "Symbols that are recorded, by whether one of their trades was received since the start.", "state"),
		runs:         desc("runs_total", "Runs of a job by outcome.", "job", "outcome"),
		duration:     desc("run_duration_seconds", "How long the runs of a job took.", "job"),
		lastDone:     desc("run_last_success_timestamp_seconds", "When a run of a job was last done.", "job"),
		next:         desc("run_next_timestamp_seconds", "When a job is due next.", "job"),
		failures:     desc("run_failures_in_a_row", "Runs of a job that failed since one was done.", "job"),
		running:      desc("run_running", "1 while a run of a job is under way.", "job"),
		waiting:      desc("run_waiting", "Runs of a job that are due and wait for their turn.", "job"),
		jobRows:      desc("run_rows_total", "Rows that runs of a job wrote.", "job"),
		jobBytes:     desc("run_bytes_total", "Bytes that runs of a job wrote.", "job"),
		unwritten:    desc("runs_unwritten", "Runs that are over and could not be written to the ledger yet."),
		crontabWrong: desc("crontab_wrong", "1 while the crontab that is there is wrong and an older one in force."),
		outbox:       desc("outbox_messages", "Messages that wait to be sent."),
		outboxSince:  desc("outbox_oldest_timestamp_seconds", "When the oldest message that waits was written down."),
		free:         desc("disk_free_bytes", "Bytes that are free on the tape's disk."),
		perDay:       desc("disk_written_bytes_per_day", "Bytes of trades that a day takes at the present rate."),
	}
	for name, help := range streamCounters() {
		c.counters[name] = desc("stream_"+name+"_total", help)
	}
	return c
}

// Describe is part of prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range c.counters {
		out <- desc
	}
	for _, desc := range []*prometheus.Desc{c.info, c.scrapeErrors, c.alive, c.started, c.lastFlush, c.lastReceived, c.unflushed, c.connections, c.symbols,
		c.runs, c.duration, c.lastDone, c.next, c.failures, c.running, c.waiting, c.jobRows, c.jobBytes, c.unwritten, c.crontabWrong,
		c.outbox, c.outboxSince, c.free, c.perDay} {
		out <- desc
	}
}

// Collect is part of prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	instant := func(desc *prometheus.Desc, at time.Time, labels ...string) {
		if !at.IsZero() {
			gauge(desc, float64(at.UnixMilli())/1000, labels...)
		}
	}
	// A source that is not there has nothing to tell; one that cannot be read is told of.
	read := func(source string, err error) bool {
		if errors.Is(err, fs.ErrNotExist) {
			return false
		}
		failed := 0.0
		if err != nil {
			failed = 1
		}
		gauge(c.scrapeErrors, failed, source)
		return err == nil
	}
	gauge(c.info, 1, c.sources.Version)
	var stream streamState
	if read("stream", c.sources.State.ReadState("stream.json", &stream)) {
		instant(c.alive, stream.UpdatedAt, "stream")
		instant(c.started, stream.StartedAt, "stream")
		c.stream(out, stream, gauge, instant)
	}
	var schedule scheduleState
	if read("schedule", c.sources.State.ReadState("schedule.json", &schedule)) {
		instant(c.alive, schedule.BeatAt, "schedule")
		instant(c.started, schedule.StartedAt, "schedule")
		c.schedule(out, schedule, gauge, instant)
	}
	if c.sources.Outbox != nil {
		if waiting, since, err := c.sources.Outbox(); read("outbox", err) {
			gauge(c.outbox, float64(waiting))
			instant(c.outboxSince, since)
		}
	}
	if c.sources.Disk != nil {
		if free, perDay, err := c.sources.Disk(); read("disk", err) {
			gauge(c.free, float64(free))
			gauge(c.perDay, float64(perDay))
		}
	}
}

func (c *collector) stream(out chan<- prometheus.Metric, state streamState, gauge func(*prometheus.Desc, float64, ...string), instant func(*prometheus.Desc, time.Time, ...string)) {
	for name, desc := range c.counters {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(state.Counters[name]))
	}
	instant(c.lastFlush, state.LastFlushAt)
	gauge(c.unflushed, state.UnflushedTrades)
	var last time.Time
	up := 0
	for _, connection := range state.Connections {
		if connection.Up {
			up++
		}
		if connection.LastReceivedAt.After(last) {
			last = connection.LastReceivedAt
		}
	}
	instant(c.lastReceived, last)
	gauge(c.connections, float64(up), "up")
	gauge(c.connections, float64(len(state.Connections)-up), "down")
	heard := 0
	for _, symbol := range state.Symbols {
		if !symbol.LastReceivedAt.IsZero() {
			heard++
		}
	}
	gauge(c.symbols, float64(heard), "heard")
	gauge(c.symbols, float64(len(state.Symbols)-heard), "silent")
}

func (c *collector) schedule(out chan<- prometheus.Metric, scheduler scheduleState, gauge func(*prometheus.Desc, float64, ...string), instant func(*prometheus.Desc, time.Time, ...string)) {
	truth := map[bool]float64{true: 1}
	gauge(c.unwritten, scheduler.UnwrittenRuns)
	gauge(c.crontabWrong, truth[scheduler.CrontabError != ""])
	told := []string{}
	for _, job := range scheduler.Jobs {
		if slices.Contains(told, job.Name) {
			continue // a series stands once, whatever the file says
		}
		told = append(told, job.Name)
		ran := uint64(0)
		// A counter that begins with its first failure would hide that one from increase().
		counts := map[state.Outcome]int64{}
		for _, outcome := range c.sources.Outcomes {
			counts[outcome] = 0
		}
		maps.Copy(counts, job.Totals.Runs)
		for outcome, n := range counts {
			out <- prometheus.MustNewConstMetric(c.runs, prometheus.CounterValue, float64(n), job.Name, string(outcome))
			if outcome.Timed() && n > 0 { // how long took only what ran to an end
				ran += uint64(n)
			}
		}
		buckets := map[float64]uint64{}
		for i, bound := range c.sources.Bounds {
			buckets[bound] = 0
			if i < len(job.Totals.Within) {
				buckets[bound] = uint64(max(job.Totals.Within[i], 0))
			}
		}
		out <- prometheus.MustNewConstHistogram(c.duration, ran, job.Totals.Seconds, buckets, job.Name)
		instant(c.lastDone, job.LastDoneAt, job.Name)
		instant(c.next, job.NextAt, job.Name)
		gauge(c.failures, job.Failures, job.Name)
		gauge(c.running, truth[job.Run != nil], job.Name)
		gauge(c.waiting, job.Waiting, job.Name)
		out <- prometheus.MustNewConstMetric(c.jobRows, prometheus.CounterValue, job.Totals.Rows, job.Name)
		out <- prometheus.MustNewConstMetric(c.jobBytes, prometheus.CounterValue, job.Totals.Bytes, job.Name)
	}
}
