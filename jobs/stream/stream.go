// Package stream records the market streams: websocket to tape.
//
// It owns the connections to the exchange and the trades that are not yet on the tape. Its guarantee: a
// trade that any of its connections received is published once, within the flush interval, or at the
// latest when Run returns; what a connection did not deliver shows as a gap in the ids and is for a
// backfill to heal. The protocol is specified in
// https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams.
//
// The package is larger than other jobs, for the symbols (stream.go, group.go), the connections (link.go,
// connection.go, watch.go, cadence.go) and the trades (deck.go, batch.go, seen.go) share one lock and one end.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"tapedeck/internal/binance"
	"tapedeck/internal/tape"
)

// Timing of the run's end.
const (
	// lastFlush bounds the publishing that is under way or left when Run is told to end. Docker waits 10 s.
	lastFlush = 8 * time.Second
	// stateEvery is how often the state file is written besides at each flush.
	stateEvery = 5 * time.Second
)

// dialEvery and dialBurst hold all connections of a run under the exchange's 300 in 5 minutes.
const (
	dialEvery = 1250 * time.Millisecond
	dialBurst = 40
)

// Run records until the context ends, and then publishes everything received and returns nil. It also
// ends, with an error, when the tape can't be written: what was published stays, what was not is lost. A
// connection that can't be had is no error: it is tried until it can, or until Options.GiveUpAfter.
func Run(ctx context.Context, dir *tape.Dir, opt Options) (Summary, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return Summary{}, err
	}
	names, err := firstSymbols(ctx, opt)
	if err != nil && ctx.Err() != nil {
		return Summary{}, nil // told to end before it began
	}
	if err != nil {
		return Summary{}, err
	}
	if opt.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opt.For)
		defer cancel()
	}
	r := newRecorder(dir, opt)
	err = r.run(ctx, names)
	return Summary{Counters: r.deck.counters(), Symbols: len(r.wanted)}, err
}

// firstSymbols asks until there is an answer, as for a connection: an exchange that limits or refuses this address, or is out of reach, is no reason to end.
func firstSymbols(ctx context.Context, opt Options) ([]string, error) {
	began := time.Now()
	for attempt := 1; ; attempt++ {
		names, err := askSymbols(ctx, opt.Symbols)
		if err == nil || ctx.Err() != nil || opt.Once || !binance.Temporary(err) || opt.GiveUpAfter > 0 && time.Since(began) >= opt.GiveUpAfter {
			return names, err
		}
		wait := backoff(attempt, nil)
		opt.Logger.Warn("symbols not known yet", "error", err, "attempt", attempt, "retry_in_ms", wait.Milliseconds())
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// askSymbols gives the symbols sorted, each once.
func askSymbols(ctx context.Context, ask func(context.Context) ([]string, error)) ([]string, error) {
	names, err := ask(ctx)
	if err != nil {
		return nil, fmt.Errorf("which symbols to record: %w", err)
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return nil, errors.New("which symbols to record: there are none")
	}
	return names, nil
}

type linkEnd struct {
	group *group
	err   error
}

// recorder is one run.
type recorder struct {
	opt    Options
	log    *slog.Logger
	feed   tape.Feed
	kind   binance.Kind
	deck   *deck
	state  *stateFile
	dials  *rate.Limiter
	events sync.Mutex // held while Observe runs

	// symbols is replaced as a whole when symbols come; readers look names up in it without a lock.
	symbols atomic.Pointer[map[string]*symbol]

	// The rest belongs to the goroutine of run.
	wanted    map[string]bool
	groups    []*group
	nextGroup int
	links     sync.WaitGroup
	linkEnds  chan linkEnd // links that ended by themselves; see Options.Once
	live      int          // links that have not
}

func newRecorder(dir *tape.Dir, opt Options) *recorder {
	r := &recorder{
		opt: opt, log: opt.Logger, feed: dir.Feed(), kind: binance.KindTrade,
		dials: rate.NewLimiter(rate.Every(dialEvery), dialBurst), wanted: map[string]bool{},
		linkEnds: make(chan linkEnd),
	}
	if r.feed == tape.AggTrade {
		r.kind = binance.KindAggTrade
	}
	r.symbols.Store(&map[string]*symbol{})
	r.deck = newDeck(dir, opt, r.observe)
	r.state = newStateFile(dir, r)
	return r
}

func (r *recorder) observe(event Event) {
	r.events.Lock()
	defer r.events.Unlock()
	r.opt.Observe(event)
}

func (r *recorder) run(ctx context.Context, names []string) error {
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()

	// Publishing outlives the reading, by a bounded time.
	publishing, stopPublishing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPublishing()
	grace := context.AfterFunc(ctx, func() { time.AfterFunc(lastFlush, stopPublishing) })
	defer grace()

	var helpers sync.WaitGroup
	published := make(chan error, 1)
	helpers.Go(func() { published <- r.deck.flush(publishing) })
	helpers.Go(func() { r.state.keep(reading) })

	r.assign(reading, names)
	r.log.Info("stream started", "symbols", len(names), "feed", string(r.feed), "url", r.opt.URL,
		"flush_interval_ms", r.opt.FlushInterval.Milliseconds(), "flush_rows", r.opt.FlushRows, "connections", r.live)
	cutOff := make(chan error, 1)
	if r.opt.GiveUpAfter > 0 {
		helpers.Go(func() { cutOff <- r.awaitCutOff(reading) })
	}
	err := r.supervise(reading, published, cutOff)

	stopReading()
	r.deck.stop() // lets go a reader that waits for room
	r.endLinks()
	r.deck.finish()
	if err == nil || !errors.Is(err, errPublish) {
		err = errors.Join(err, <-published)
	}
	helpers.Wait()
	r.state.end(err)
	counters := r.deck.counters()
	r.log.Info("stream ended", "trades", counters.Trades, "rows", counters.Rows, "flushes", counters.Flushes, "gaps", counters.Gaps,
		"reconnects", counters.Reconnects, "malformed", counters.Malformed)
	return err
}

// supervise keeps the symbols fresh until the run is to end.
func (r *recorder) supervise(ctx context.Context, published, cutOff <-chan error) error {
	refresh := time.NewTicker(r.opt.RefreshEvery)
	defer refresh.Stop()
	type answer struct {
		names []string
		err   error
	}
	answers := make(chan answer, 1) // one question at a time
	asking := false
	defer func() {
		if asking {
			<-answers
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-published:
			return err
		case err := <-cutOff:
			return err
		case end := <-r.linkEnds:
			end.group.live--
			r.live--
			if end.err != nil || r.live == 0 {
				return end.err
			}
		case <-refresh.C:
			if !asking {
				asking = true
				go func() {
					names, err := askSymbols(ctx, r.opt.Symbols)
					answers <- answer{names, err}
				}()
			}
		case got := <-answers:
			asking = false
			if got.err != nil {
				if ctx.Err() == nil {
					r.log.Warn("symbols not refreshed", "error", got.err)
				}
				continue
			}
			r.assign(ctx, got.names)
		}
	}
}

// assign gives every wanted symbol a place in a group of connections, and takes the others from theirs.
func (r *recorder) assign(ctx context.Context, names []string) {
	wanted := make(map[string]bool, len(names))
	var added, removed []string
	for _, name := range names {
		wanted[name] = true
		if !r.wanted[name] {
			added = append(added, name)
		}
	}
	for name := range r.wanted {
		if !wanted[name] {
			removed = append(removed, name)
		}
	}
	if len(added) == 0 && len(removed) == 0 {
		return
	}
	if len(r.wanted) > 0 {
		slices.Sort(removed)
		r.log.Info("symbols changed", "added", added, "removed", removed, "symbols", len(names))
	}
	r.wanted = wanted
	r.know(added)
	r.deck.want(r.wanted, *r.symbols.Load())

	r.groups = slices.DeleteFunc(r.groups, func(g *group) bool {
		if g.remove(removed) > 0 {
			return false
		}
		g.stop() // its links end without a word
		r.live -= g.live
		return true
	})
	for _, g := range r.groups {
		room := min(r.opt.StreamsPerConnection-g.size(), len(added))
		g.add(added[:room])
		added = added[room:]
	}
	// What is left is spread evenly over as few new groups as can hold it.
	for groups := (len(added) + r.opt.StreamsPerConnection - 1) / r.opt.StreamsPerConnection; groups > 0; groups-- {
		n := (len(added) + groups - 1) / groups
		r.start(ctx, added[:n])
		added = added[n:]
	}
}

// know makes symbols that readers recognise. They are never forgotten: a last trade may come after they
// were unsubscribed from.
func (r *recorder) know(names []string) {
	known := *r.symbols.Load()
	grown := maps.Clone(known)
	for _, name := range names {
		if grown[name] == nil {
			grown[name] = &symbol{name: name, index: len(grown)}
		}
	}
	r.symbols.Store(&grown)
}

// start opens the connections of a new group.
func (r *recorder) start(ctx context.Context, names []string) {
	ctx, cancel := context.WithCancel(ctx)
	g := newGroup(string(r.feed), cancel)
	g.add(names)
	r.nextGroup++
	r.groups = append(r.groups, g)
	for copies := range r.opt.Connections {
		l := newLink(r, g, fmt.Sprintf("%d.%d", r.nextGroup, copies+1))
		r.deck.join(l)
		g.live++
		r.live++
		r.links.Go(func() {
			err := l.run(ctx)
			r.deck.leave(l)
			if ctx.Err() != nil {
				return
			}
			select {
			case r.linkEnds <- linkEnd{g, err}:
			case <-ctx.Done():
			}
		})
	}
}

func (r *recorder) endLinks() {
	for _, g := range r.groups {
		g.stop()
	}
	r.links.Wait()
}
