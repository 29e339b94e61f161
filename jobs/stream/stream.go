// Package stream records the market streams: from the websocket to the tape.
//
// It owns the connections to the exchange and the trades that are not on the tape yet. Its
// guarantee: a trade that one of its connections received is published once, within the flush
// interval, or at the latest when Run returns. What no connection delivered shows as a gap in the
// ids, which a backfill heals. docs/BINANCE.md describes the protocol.
//
// Three types hold what is shared between goroutines, each with its own lock: the tracker (what was
// received), the batcher (which trades wait) and the publisher (what was written). A connector per
// group of symbols keeps a connection up; a receiver reads it.
package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tapedeck/internal/binance"
	"tapedeck/internal/state"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// lastFlush bounds the publishing that is left when Run is stopped. Docker kills a container after
// 10 s.
const lastFlush = 8 * time.Second

// dialEvery and dialBurst keep all connections of a recorder below the exchange's limit of 300 in 5
// minutes.
const (
	dialEvery = 1250 * time.Millisecond
	dialBurst = 40
)

// startPatience is how long a recorder that is to record for a bounded time waits for its first
// connection.
const startPatience = 10 * time.Second

// ErrUnreachable is wrapped by the error of a recorder that gave up because it could not reach the
// exchange.
var ErrUnreachable = errors.New("the exchange could not be reached")

// ErrNotPublished is wrapped by the error of a recorder that stops because the tape cannot be written.
var ErrNotPublished = errors.New("stream stopped")

// Recorder records the streams of a set of symbols. Run may be called once.
type Recorder struct {
	opt       Options
	dir       *tape.Dir
	log       *slog.Logger
	feed      tape.Feed
	receiver  receiver
	tracker   *tracker
	watcher   *watcher
	watched   *watchedFile
	batcher   *batcher
	publisher *publisher
	state     *stateWriter
	history   *history
	dials     *rate.Limiter
	stopping  chan struct{} // closed when Run stops
	events    sync.Mutex    // held while Observe runs
	startAge  time.Duration // of the clock when Run began to record

	// The rest belongs to Run's goroutine.
	symbols       map[symbol.Name]bool // requested at present
	groups        []*group
	groupsStarted int
	connectors    sync.WaitGroup
	ends          chan connectorEnd // connectors that ended by themselves; see Options.Once
	running       int               // connectors that have not
}

type connectorEnd struct {
	group *group
	err   error
}

// New returns a recorder that writes to the tape at dir. Its error is about the options.
func New(dir *tape.Dir, opt Options) (*Recorder, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		opt: opt, dir: dir, log: opt.Logger, feed: dir.Feed(), dials: rate.NewLimiter(rate.Every(dialEvery), dialBurst),
		stopping: make(chan struct{}), ends: make(chan connectorEnd), tracker: newTracker(opt.Logger, newClock(opt.system, opt.uptime)),
	}
	r.watcher = newWatcher(r.tracker.clock)
	r.watched = &watchedFile{dir: dir, runID: opt.RunID, log: opt.Logger, watcher: r.watcher}
	r.batcher = newBatcher(opt.FlushInterval, opt.FlushRows, r.stopping, r.watched.prepare)
	dups := newDuplicates()
	r.publisher = &publisher{dir: dir, runID: opt.RunID, log: opt.Logger, clock: r.tracker.clock, stopping: r.stopping, agreed: dups.take}
	r.receiver = receiver{kind: binance.KindTrade, tracker: r.tracker, watcher: r.watcher, batcher: r.batcher, dups: dups}
	if r.feed == tape.AggTrade {
		r.receiver.kind = binance.KindAggTrade
	}
	r.history = &history{dir: dir, runID: opt.RunID, log: opt.Logger}
	r.state = &stateWriter{dir: dir.State(), log: opt.Logger, describe: r.describe}
	return r, nil
}

// Run records until ctx is done, then publishes everything that was received, within 8 s, and
// returns nil. It returns an error if the tape cannot be written: what was published stays, the
// rest is lost. A connection that fails is not an error; it is retried until it succeeds, or until
// Options.GiveUpAfter. With Once or For, the first one must succeed soon.
func (r *Recorder) Run(ctx context.Context) error {
	if err := r.dir.CheckWritable(); err != nil {
		return fmt.Errorf("the tape cannot be written: %w", err)
	}
	names, err := r.firstSymbols(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // stopped before there was anything to record
		}
		return err
	}
	if r.opt.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.opt.For)
		defer cancel()
	}
	return r.record(ctx, names)
}

// Summary counts what Run did. It is complete when Run has returned.
func (r *Recorder) Summary() Summary {
	var s state.Stream
	r.describe(&s)
	out := Summary{StreamCounters: s.Counters, Symbols: len(r.symbols)}
	for _, symbol := range s.Symbols {
		if symbol.Trades > 0 {
			out.Traded++
		}
	}
	return out
}

// describe fills in the parts of the state that change.
func (r *Recorder) describe(s *state.Stream) {
	c := r.tracker.clock
	s.UpdatedAt, s.Uptime = c.system().UTC(), c.uptime()
	if !s.StartedAt.IsZero() {
		s.StartedAt = restated(s.StartedAt.Round(0), s.UpdatedAt.Add(r.startAge-c.age()))
	}
	s.ExchangeAt = r.watcher.exchangeNow()
	r.tracker.describe(s)
	r.watched.describe(s)
	r.publisher.describe(s)
	s.Counters.Trades, s.Counters.Stalls = r.batcher.added()
	trades, since := r.batcher.waiting()
	s.UnflushedTrades, s.UnflushedSince = trades, c.restate(since)
}

func (r *Recorder) observe(event Event) {
	r.events.Lock()
	defer r.events.Unlock()
	r.opt.Observe(event)
}

func (r *Recorder) record(ctx context.Context, names []symbol.Name) error {
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()

	// Publishing continues after reading has stopped, for a bounded time.
	publishing, stopPublishing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishing()
	stopGrace := context.AfterFunc(ctx, func() { time.AfterFunc(lastFlush, stopPublishing) })
	defer stopGrace()

	r.startAge = r.tracker.clock.age()
	r.state.begin(state.Stream{
		PID: os.Getpid(), RunID: r.opt.RunID, StartedAt: time.Now().UTC(),
		Feed: string(r.feed), URL: r.opt.URL, FlushIntervalMS: r.opt.FlushInterval.Milliseconds(),
	})
	r.recordStart(len(names))
	var helpers sync.WaitGroup
	published := make(chan error, 1)
	helpers.Go(func() { published <- r.publishBatches(publishing) })
	helpers.Go(func() { r.state.run(reading) })
	helpers.Go(func() { r.awaitFlushRequests(reading) })

	r.assign(reading, names)
	r.log.Info("stream started", "symbols", len(names), "feed", string(r.feed), "url", r.opt.URL,
		"flush_interval_ms", r.opt.FlushInterval.Milliseconds(), "flush_rows", r.opt.FlushRows, "connections", r.running)
	unreachable := make(chan error, 1)
	if r.opt.GiveUpAfter > 0 || r.bounded() {
		helpers.Go(func() { unreachable <- r.awaitUnreachable(reading) })
	}
	err := r.supervise(reading, published, unreachable)

	stopReading()
	close(r.stopping)
	for _, g := range r.groups {
		g.stop()
	}
	r.connectors.Wait()
	r.batcher.close()
	if err == nil || !errors.Is(err, ErrNotPublished) {
		err = errors.Join(err, <-published)
	}
	helpers.Wait()
	counts := r.Summary()
	r.recordEnd(publishing, counts, err)
	r.state.writeEnd(err)
	r.log.Info("stream ended", "trades", counts.Trades, "rows", counts.Rows, "flushes", counts.Flushes,
		"gaps", counts.Gaps, "reconnects", counts.Reconnects, "malformed", counts.Malformed)
	return err
}

// publishBatches publishes batches until the batcher is closed and the last one is published, or
// until one cannot be.
func (r *Recorder) publishBatches(ctx context.Context) error {
	var rows []tape.Trade
	for {
		var inexact int64
		var last bool
		rows, inexact, last = r.batcher.next(rows)
		if len(rows) > 0 {
			done, err := r.publisher.publish(ctx, rows, inexact)
			if err != nil {
				addedMeanwhile, _ := r.batcher.waiting()
				lost := int64(len(rows)) - done.Rows + int64(addedMeanwhile)
				return fmt.Errorf("%w: %d trades received and not published: %w", ErrNotPublished, lost, err)
			}
			trades, _ := r.batcher.added()
			r.observe(Event{Kind: Flushed, Rows: done.Rows, Dropped: done.Dropped, Trades: trades})
		}
		r.watched.write()
		if last {
			r.history.addGaps(r.tracker.reportGaps(0))
			return nil
		}
		r.history.addGaps(r.tracker.reportGaps(gapPatience))
		r.history.write(ctx)
	}
}

// bounded reports whether somebody waits for the end of the recording.
func (r *Recorder) bounded() bool { return r.opt.Once || r.opt.For > 0 }

// awaitUnreachable returns an error when no connection has reached the exchange for
// Options.GiveUpAfter, or none ever for startPatience if the recording is bounded. It returns nil when
// ctx is done.
func (r *Recorder) awaitUnreachable(ctx context.Context) error {
	startedAt := time.Now()
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			since, lastError, ok := r.tracker.unreachable()
			if ok && r.opt.GiveUpAfter > 0 && since >= r.opt.GiveUpAfter {
				return fmt.Errorf("%w for %s: %s", ErrUnreachable, r.opt.GiveUpAfter, lastError)
			}
			if r.bounded() && time.Since(startedAt) >= startPatience && !r.tracker.everReached() {
				return fmt.Errorf("%w at %s within %s: %s", ErrUnreachable, r.opt.URL, startPatience, cmp.Or(lastError, "no answer"))
			}
		}
	}
}

// supervise refreshes the symbols until the recorder has to stop.
func (r *Recorder) supervise(ctx context.Context, published, unreachable <-chan error) error {
	refresh := time.NewTicker(r.opt.RefreshEvery)
	defer refresh.Stop()
	type answer struct {
		names []symbol.Name
		err   error
	}
	answers := make(chan answer, 1) // one lookup at a time
	lookingUp := false
	defer func() {
		if lookingUp {
			<-answers
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-published:
			return err
		case err := <-unreachable:
			return err
		case end := <-r.ends:
			end.group.running--
			r.running--
			if end.err != nil || r.running == 0 {
				return end.err
			}
		case <-refresh.C:
			if !lookingUp {
				lookingUp = true
				go func() {
					names, err := r.lookUpSymbols(ctx)
					answers <- answer{names, err}
				}()
			}
		case got := <-answers:
			lookingUp = false
			if got.err == nil {
				r.assign(ctx, got.names)
			} else if ctx.Err() == nil {
				r.log.Warn("symbols not refreshed", "error", got.err)
			}
		}
	}
}
