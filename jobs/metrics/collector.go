package metrics

import (
	"errors"
	"io/fs"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tapedeck/internal/state"
	"tapedeck/internal/wording"
)

// streamCounter is one of the stream's counters. Its metric is tapedeck_stream_<name>_total.
type streamCounter struct {
	name, help string
	value      int64
}

func streamCounters(c state.StreamCounters) []streamCounter {
	return []streamCounter{
		{"messages", "Messages received by the stream.", c.Messages},
		{"trades", "Trades received by the stream, each once.", c.Trades},
		{"duplicates", "Trades received again.", c.Duplicates},
		{"malformed", "Messages that could not be decoded.", c.Malformed},
		{"unknown", "Messages of streams that were not subscribed to.", c.Unknown},
		{"damaged", "Trades that the exchange voided.", c.Damaged},
		{"inexact", "Prices and quantities that a double does not represent exactly.", c.Inexact},
		{"gaps", "Ranges of trade ids that did not arrive in time.", c.Gaps},
		{"missing", "Trade ids in these ranges.", c.Missing},
		{"connects", "Connections established.", c.Connects},
		{"reconnects", "Connections established after one was lost.", c.Reconnects},
		{"replaced", "Connections that replaced one that was still up.", c.Replaced},
		{"refused", "Failed attempts to connect.", c.Refused},
		{"flushes", "Batches of trades written to the tape.", c.Flushes},
		{"rows", "Rows that the stream wrote to the tape.", c.Rows},
		{"dropped", "Rows that were on the tape already.", c.Dropped},
		{"bytes", "Bytes that the stream wrote to the tape.", c.Bytes},
		{"conflicts", "Trades refused because their ids have another content on the tape.", c.Conflicts},
		{"stalls", "Times that reading waited for the tape.", c.Stalls},
	}
}

// collector reads the sources at each scrape.
type collector struct {
	sources Sources
	descs   map[string]*prometheus.Desc // by name without the prefix tapedeck_
}

func newCollector(sources Sources) *collector {
	c := &collector{sources, map[string]*prometheus.Desc{}}
	desc := func(name, help string, labels ...string) {
		c.descs[name] = prometheus.NewDesc("tapedeck_"+name, help, labels, nil)
	}
	desc("build_info", "Always 1; the label is tapedeck's version.", "version")
	desc("source_errors", "1 if a source of these metrics could not be read.", "source")
	desc("last_sign_of_life_timestamp_seconds", "When a service last updated its state.", "service")
	desc("beats_total", "Signs of life of a service since it was started. Unlike their time, their number does not depend on the clock.", "service")
	desc("start_timestamp_seconds", "When a service was started.", "service")
	desc("stream_last_flush_timestamp_seconds", "When the stream last wrote trades to the tape.")
	desc("stream_last_received_timestamp_seconds", "When the stream last received a trade.")
	desc("stream_unflushed_trades", "Trades that wait to be written to the tape.")
	desc("stream_connections", "Connections of the stream, by whether they are up.", "state")
	desc("stream_symbols", "Symbols to record, by whether a trade was received since the start.", "state")
	desc("stream_delay_seconds", "How long after it was traded the latest trade was received.")
	desc("stream_received_until_timestamp_seconds", "When the newest trade received of a symbol was traded.", "symbol")
	desc("stream_written_until_timestamp_seconds", "When the newest trade of a symbol was traded that the stream wrote to the tape.", "symbol")
	desc("stream_known_until_timestamp_seconds", "Up to when the stream proves the record of a symbol to be complete.", "symbol")
	desc("stream_lag_seconds", "How far the tape is behind the newest trade received of a symbol.", "symbol")
	desc("log_lines_dropped_total", "Lines of the log of the process that serves these metrics that nobody read in time.")
	desc("runs_total", "Runs of a job, by outcome.", "job", "outcome")
	desc("run_duration_seconds", "Duration of the runs of a job.", "job")
	desc("run_last_success_timestamp_seconds", "When a run of a job last succeeded.", "job")
	desc("run_next_timestamp_seconds", "When a job is due next.", "job")
	desc("run_failures_in_a_row", "Runs of a job that failed since the last success.", "job")
	desc("run_running", "1 while a job runs.", "job")
	desc("run_waiting", "Runs of a job that are due and queued.", "job")
	desc("run_rows_total", "Rows that runs of a job wrote.", "job")
	desc("run_bytes_total", "Bytes that runs of a job wrote.", "job")
	desc("runs_unwritten", "Finished runs that could not be written to the ledger yet.")
	desc("crontab_wrong", "1 while the crontab is wrong and an older version is in force.")
	desc("outbox_messages", "Messages that wait to be sent.")
	desc("outbox_oldest_timestamp_seconds", "When the oldest waiting message was stored.")
	desc("disk_free_bytes", "Free bytes on the disk of the tape.")
	desc("disk_written_bytes_per_day", "Bytes of trades per day at the present rate.")
	for _, counter := range streamCounters(state.StreamCounters{}) {
		desc("stream_"+counter.name+"_total", counter.help)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		out <- desc
	}
}

// output sends the metrics of one scrape.
type output struct {
	descs   map[string]*prometheus.Desc
	metrics chan<- prometheus.Metric
}

func (o output) gauge(name string, value float64, labels ...string) {
	o.metrics <- prometheus.MustNewConstMetric(o.descs[name], prometheus.GaugeValue, value, labels...)
}

func (o output) counter(name string, value int64, labels ...string) {
	o.metrics <- prometheus.MustNewConstMetric(o.descs[name], prometheus.CounterValue, float64(value), labels...)
}

// timestamp sends a time unless it is zero.
func (o output) timestamp(name string, at time.Time, labels ...string) {
	if !at.IsZero() {
		o.gauge(name, float64(at.UnixMilli())/1000, labels...)
	}
}

// flag sends 1 for true and 0 for false.
func (o output) flag(name string, value bool, labels ...string) {
	number := 0.0
	if value {
		number = 1
	}
	o.gauge(name, number, labels...)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	out := output{c.descs, metrics}
	// A source that does not exist has no metrics, one that cannot be read has only the error's.
	usable := func(source string, err error) bool {
		if errors.Is(err, fs.ErrNotExist) {
			return false
		}
		out.flag("source_errors", err != nil, source)
		return err == nil
	}
	out.gauge("build_info", 1, c.sources.Version)
	var stream state.Stream
	if usable("stream", c.sources.State.Read(state.StreamFile, &stream)) {
		out.stream(stream)
	}
	var scheduler state.Scheduler
	if usable("schedule", c.sources.State.Read(state.SchedulerFile, &scheduler)) {
		out.scheduler(scheduler)
	}
	if c.sources.Outbox != nil {
		if waiting, since, err := c.sources.Outbox(); usable("outbox", err) {
			out.gauge("outbox_messages", float64(waiting))
			out.timestamp("outbox_oldest_timestamp_seconds", since)
		}
	}
	if c.sources.LogDropped != nil {
		out.counter("log_lines_dropped_total", c.sources.LogDropped())
	}
	if c.sources.Disk != nil {
		if free, perDay, err := c.sources.Disk(); usable("disk", err) {
			out.gauge("disk_free_bytes", float64(free))
			out.gauge("disk_written_bytes_per_day", float64(perDay))
		}
	}
}

func (out output) stream(s state.Stream) {
	out.timestamp("last_sign_of_life_timestamp_seconds", s.UpdatedAt, "stream")
	out.counter("beats_total", s.Number, "stream")
	out.timestamp("start_timestamp_seconds", s.StartedAt, "stream")
	for _, counter := range streamCounters(s.Counters) {
		out.counter("stream_"+counter.name+"_total", counter.value)
	}
	out.timestamp("stream_last_flush_timestamp_seconds", s.LastFlushAt)
	out.gauge("stream_unflushed_trades", float64(s.UnflushedTrades))
	var last time.Time
	up := 0
	for _, connection := range s.Connections {
		if connection.Up {
			up++
		}
		if connection.LastReceivedAt.After(last) {
			last = connection.LastReceivedAt
		}
	}
	out.timestamp("stream_last_received_timestamp_seconds", last)
	out.gauge("stream_connections", float64(up), "up")
	out.gauge("stream_connections", float64(len(s.Connections)-up), "down")
	if hasDelay(s) {
		out.gauge("stream_delay_seconds", float64(s.DelayMS)/1000)
	}
	received := 0
	for name, symbol := range s.Symbols {
		out.timestamp("stream_received_until_timestamp_seconds", symbol.LastTradedAt, name)
		out.timestamp("stream_written_until_timestamp_seconds", symbol.WrittenUntil, name)
		out.timestamp("stream_known_until_timestamp_seconds", symbol.WatchedUntil, name)
		if lag, ok := symbol.Lag(); ok {
			out.gauge("stream_lag_seconds", lag.Seconds(), name)
		}
		if !symbol.LastReceivedAt.IsZero() {
			received++
		}
	}
	out.gauge("stream_symbols", float64(received), "heard")
	out.gauge("stream_symbols", float64(len(s.Symbols)-received), "silent")
}

// hasDelay reports whether a trade was received, so that its delay is known.
func hasDelay(s state.Stream) bool {
	for _, symbol := range s.Symbols {
		if !symbol.LastTradedAt.IsZero() {
			return true
		}
	}
	return false
}

func (out output) scheduler(s state.Scheduler) {
	out.timestamp("last_sign_of_life_timestamp_seconds", s.BeatAt, "schedule")
	out.counter("beats_total", s.Number, "schedule")
	out.timestamp("start_timestamp_seconds", s.StartedAt, "schedule")
	out.gauge("runs_unwritten", float64(s.UnwrittenRuns))
	out.flag("crontab_wrong", s.CrontabError != "")
	collected := map[string]bool{} // Prometheus rejects a series that is sent twice
	for _, job := range s.Jobs {
		job.Name = wording.Name(job.Name) // Prometheus rejects what is not UTF-8
		if collected[job.Name] {
			continue
		}
		collected[job.Name] = true
		timed := uint64(0)
		// Outcomes that did not occur are sent as 0: increase() does not count a counter's first
		// value.
		for _, outcome := range state.Outcomes() {
			n := job.Totals.Runs[outcome]
			out.counter("runs_total", n, job.Name, string(outcome))
			if outcome.Timed() {
				timed += uint64(max(n, 0))
			}
		}
		buckets := map[float64]uint64{}
		for i, bound := range state.DurationBounds() {
			buckets[bound] = 0
			if i < len(job.Totals.Within) {
				buckets[bound] = uint64(max(job.Totals.Within[i], 0))
			}
		}
		out.metrics <- prometheus.MustNewConstHistogram(out.descs["run_duration_seconds"], timed, job.Totals.Seconds, buckets, job.Name)
		out.timestamp("run_last_success_timestamp_seconds", job.LastDoneAt, job.Name)
		out.timestamp("run_next_timestamp_seconds", job.NextAt, job.Name)
		out.gauge("run_failures_in_a_row", float64(job.Failures), job.Name)
		out.flag("run_running", job.Run != nil, job.Name)
		out.gauge("run_waiting", float64(job.Waiting), job.Name)
		out.counter("run_rows_total", job.Totals.Rows, job.Name)
		out.counter("run_bytes_total", job.Totals.Bytes, job.Name)
	}
}
