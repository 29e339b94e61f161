package stream

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/state"
	"tapedeck/internal/symbol"
)

// tracker keeps account of what was received: the ids of each symbol and their gaps, what was
// received when, which connections are up, and how many messages of each kind there were. Times are
// by its clock.
type tracker struct {
	log   *slog.Logger
	clock clock

	// symbols is replaced as a whole when symbols are added, so that lookup takes no lock.
	symbols atomic.Pointer[map[string]*trackedSymbol]

	mu         sync.Mutex
	counts     state.StreamCounters // those of receiving and of connections
	connectors []*trackedConnector
	gapped     []*trackedSymbol // symbols that may have gaps to report
	onTape     map[string]int64 // the last id of each symbol on the tape at the start; see awaitFirst
	reached    bool             // the exchange has answered once
	stalledAt  int64            // when reading last waited for room
	leastDelay int64            // of the latest trades, between trade and receipt, if hasDelay
	hasDelay   bool
	limiter    logLimiter
}

// trackedSymbol, trackedConnector and trackedConnection are the tracker's records. Its mutex guards
// all fields except the name and the index of a symbol, which do not change.
type trackedSymbol struct {
	name  symbol.Name
	lower string // as in the names of its streams
	index int    // position in trackedConnection.receivedBySymbol

	requested    bool
	ids          receivedIDs
	gapped       bool  // it is in tracker.gapped
	onTape       int64 // the last id on the tape at the start; -1 if it does not matter, or was compared
	firstAt      int64 // when the first trade was received
	trades       int64
	lastID       int64
	lastTradedAt int64 // microseconds since the epoch
	receivedAt   int64
	silence      usualSilence
	replacements int // of its connection because it was silent, in a row
}

type trackedConnector struct {
	name             string
	streams          func() int
	readers          *readers           // of its group
	current          *trackedConnection // nil if none is up
	lastError        string             // since a connection was up
	connects         int64
	receivedAt       int64
	silence          usualSilence
	replacements     int   // of its connection because it was silent, in a row
	unreachableSince int64 // 0 if the last attempt reached the exchange
	downSince        int64 // 0 while a connection is up
}

type trackedConnection struct {
	connector        *trackedConnector
	openedAt         time.Time
	opened           int64 // openedAt by the tracker's clock
	lastPing         func() int64
	ended            bool
	receivedAt       int64
	receivedBySymbol []int64
}

func newTracker(log *slog.Logger, c clock) *tracker {
	t := &tracker{log: log, clock: c}
	t.symbols.Store(&map[string]*trackedSymbol{})
	return t
}

// request sets which symbols are recorded. Others stay known, because their last trades may arrive
// after they were unsubscribed from.
func (t *tracker) request(names []symbol.Name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	symbols := maps.Clone(*t.symbols.Load())
	for _, s := range symbols {
		s.requested = false
	}
	for _, name := range names {
		key := name.String()
		if symbols[key] == nil {
			symbols[key] = &trackedSymbol{name: name, lower: strings.ToLower(key), index: len(symbols), onTape: -1}
			if last, ok := t.onTape[key]; ok {
				symbols[key].onTape = last
			}
		}
		symbols[key].requested = true
	}
	t.symbols.Store(&symbols)
}

// lookup returns a symbol that is or was requested, or nil.
func (t *tracker) lookup(name []byte) *trackedSymbol { return (*t.symbols.Load())[string(name)] }

// addConnector starts to track a connector. streams returns how many streams its connection should
// have, r counts the connections of its group that are read.
func (t *tracker) addConnector(name string, streams func() int, r *readers) *trackedConnector {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &trackedConnector{name: name, streams: streams, readers: r, downSince: t.clock.now()}
	t.connectors = append(t.connectors, c)
	return c
}

func (t *tracker) removeConnector(c *trackedConnector) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connectors = slices.DeleteFunc(t.connectors, func(other *trackedConnector) bool { return other == c })
}

// newConnection returns a record for a connection that was opened now. connected makes it the
// connector's.
func (t *tracker) newConnection(c *trackedConnector, lastPing func() int64) *trackedConnection {
	return &trackedConnection{connector: c, openedAt: time.Now(), opened: t.clock.now(), lastPing: lastPing}
}

// connected records that a connection is up and subscribed.
func (t *tracker) connected(c *trackedConnection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := c.connector
	t.counts.Connects++
	t.reached = true
	if k.connects > 0 && k.current == nil {
		t.counts.Reconnects++
	}
	k.connects++
	k.current, k.lastError, k.unreachableSince, k.downSince = c, "", 0, 0
}

// replaced records that a connection was closed in favor of a new one.
func (t *tracker) replaced() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Replaced++
}

// ended records that nothing more is read from a connection.
func (t *tracker) ended(c *trackedConnection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.ended = true
}

// lost records that a connection ended by itself, and which one its connector has now; nil if none.
func (t *tracker) lost(c *trackedConnection, err error, current *trackedConnection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.connector.current, c.connector.lastError = current, err.Error()
	if current == nil && c.connector.downSince == 0 {
		c.connector.downSince = t.clock.now()
	}
}

// refused records a failed attempt to connect. An exchange that answers, even with a refusal, is
// reachable: it says when to come back, and a new process would get the same answer.
func (t *tracker) refused(c *trackedConnector, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Refused++
	c.lastError = err.Error()
	var refusal *binance.RefusedError
	switch {
	case errors.As(err, &refusal):
		c.unreachableSince, t.reached = 0, true
	case c.unreachableSince == 0:
		c.unreachableSince = t.clock.now()
	}
}

// everReached reports whether the exchange has answered an attempt to connect, be it with a refusal.
func (t *tracker) everReached() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reached
}

// unreachable returns for how long no connector has reached the exchange, and the error of the one
// that failed last. ok is false if one has reached it.
func (t *tracker) unreachable() (since time.Duration, lastError string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var latest int64
	for _, c := range t.connectors {
		if c.unreachableSince == 0 {
			return 0, "", false
		}
		if c.unreachableSince > latest {
			latest, lastError = c.unreachableSince, c.lastError
		}
	}
	return time.Duration(t.clock.now() - latest), lastError, latest > 0
}

// received records a trade and reports whether its id is new, and whether it is the symbol's first on
// the connection. It does not allocate, except for such a one.
func (t *tracker) received(c *trackedConnection, s *trackedSymbol, id, tradedAt, at int64) (isNew, isFirst bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Messages++
	isFirst = c.received(s, at)
	if !s.ids.add(id, at) {
		t.counts.Duplicates++
		return false, isFirst
	}
	if s.trades == 0 {
		s.firstAt = at
	}
	if (s.ids.hasGaps() || s.onTape >= 0) && !s.gapped {
		s.gapped = true
		t.gapped = append(t.gapped, s)
	}
	s.trades++
	if id > s.lastID || s.trades == 1 {
		s.lastID, s.lastTradedAt = id, tradedAt
	}
	return true, isFirst
}

// received updates the silences of a symbol and of a connection, and reports whether the connection
// has delivered the symbol for the first time. Silences are measured within one connection, so that
// a dead connection does not count as usual silence.
func (c *trackedConnection) received(s *trackedSymbol, at int64) (isFirst bool) {
	if s.index >= len(c.receivedBySymbol) {
		c.receivedBySymbol = append(c.receivedBySymbol, make([]int64, s.index+1-len(c.receivedBySymbol))...)
	}
	isFirst = c.receivedBySymbol[s.index] == 0
	if last := c.receivedBySymbol[s.index]; last != 0 {
		s.silence.observe(time.Duration(at - last))
	}
	c.receivedBySymbol[s.index] = at
	s.receivedAt, s.replacements = at, 0

	last := c.receivedAt
	if last == 0 {
		last = c.opened
	}
	k := c.connector
	k.silence.observe(time.Duration(at - last))
	c.receivedAt, k.receivedAt = at, at
	k.unreachableSince, k.replacements = 0, 0
	return isFirst
}

// delivers reports whether a trade was received on the connection.
func (t *tracker) delivers(c *trackedConnection) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return c.receivedAt != 0
}

// quietIsUsual reports whether a connection that has delivered no trade up to an instant may have had
// none to deliver. It may not if it is usually never silent for so long, unless the connection before
// it was replaced for its silence.
func (t *tracker) quietIsUsual(c *trackedConnection, at int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	longest, ok := c.connector.silence.estimate()
	return !ok || c.connector.replacements > 0 || time.Duration(at-max(c.receivedAt, c.opened)) <= 2*longest
}

// suspicious reports whether a connection that tooSilent has just found too silent is likely to have
// lost trades. It is not if too little is known about its usual silences, or if the connection before
// it was replaced for the same reason and this one did not help.
func (t *tracker) suspicious(c *trackedConnection) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := c.connector.silence.estimate()
	return ok && c.connector.replacements <= 1
}

// stalled records that reading waits for room at present. Silence up to now is not the exchange's.
func (t *tracker) stalled() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stalledAt = t.clock.now()
}

// tooSilent returns what on the connection has been silent for much longer than usual:
// "connection", "pings", or the name of a symbol. It returns "" if nothing has.
func (t *tracker) tooSilent(c *trackedConnection, names []string) (what string, silence time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.now()
	earliest := max(c.opened, t.stalledAt)
	silence = time.Duration(now - max(c.receivedAt, earliest))
	if silence > connectionLimit(&c.connector.silence, c.connector.replacements) {
		c.connector.replacements++
		return "connection", silence
	}
	if ping := c.lastPing(); ping != 0 && time.Duration(now-ping) > pingMost && silence > pingMost {
		return "pings", time.Duration(now - ping)
	}
	symbols := *t.symbols.Load()
	for _, name := range names {
		s := symbols[name]
		usual, ok := s.silence.estimate()
		if !ok {
			continue
		}
		since := earliest
		if s.index < len(c.receivedBySymbol) {
			since = max(since, c.receivedBySymbol[s.index])
		}
		if silence := time.Duration(now - since); silence > symbolLimit(usual, s.replacements) {
			s.replacements++
			return name, silence
		}
	}
	return "", 0
}

// describe fills in the tracker's part of the state. It overwrites the counters.
func (t *tracker) describe(out *state.Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	out.Counters = t.counts
	out.Connections = make([]state.StreamConnection, len(t.connectors))
	for i, c := range t.connectors {
		out.Connections[i] = state.StreamConnection{
			Name: c.name, Up: c.current != nil && !c.current.ended, Trouble: c.lastError,
			Streams: c.streams(), Connects: c.connects,
			LastReceivedAt: t.clock.wall(c.receivedAt), UsualSilenceMS: c.silence.milliseconds(),
		}
		if !out.Connections[i].Up {
			out.Connections[i].DownSince = t.clock.wall(c.downSince)
		}
		if c.current != nil {
			out.Connections[i].OpenedAt = t.clock.wall(c.current.opened)
			out.Connections[i].LastPingAt = t.clock.wall(c.current.lastPing())
		}
	}
	out.Symbols = map[string]state.StreamSymbol{}
	var latest *trackedSymbol
	for name, s := range *t.symbols.Load() {
		if !s.requested {
			continue
		}
		symbol := state.StreamSymbol{
			Trades: s.trades, LastID: s.lastID,
			LastReceivedAt: t.clock.wall(s.receivedAt), UsualSilenceMS: s.silence.milliseconds(),
		}
		if s.trades > 0 {
			symbol.LastTradedAt = time.UnixMicro(s.lastTradedAt).UTC()
			if latest == nil || s.receivedAt > latest.receivedAt {
				latest = s
			}
		}
		out.Symbols[name] = symbol
	}
	if latest != nil {
		delay := latest.receivedAt - time.UnixMicro(latest.lastTradedAt).UnixNano()
		if !t.hasDelay || delay < t.leastDelay {
			t.leastDelay, t.hasDelay = delay, true
		}
		out.DelayMS, out.LeastDelayMS = delay/int64(time.Millisecond), t.leastDelay/int64(time.Millisecond)
	}
}
