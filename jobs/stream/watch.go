package stream

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tapedeck/internal/window"
)

const (
	// watchMargin is how much later than a trade matched its connection may deliver it, compared
	// with an answer to a ping. Binance documents no bound; usual are some milliseconds. Both ends
	// of a watched span keep this distance to what was observed.
	watchMargin = 2 * time.Second
	// pingEvery is how long a connection without a trade goes unproven: it is pinged then, far less
	// often than the 5 messages a second that the exchange accepts.
	pingEvery = 5 * time.Second
	// pongTimeout bounds the wait for an answer to a ping. A late one proves as little as none.
	pongTimeout = 10 * time.Second
	// keptFirst and keptLast are how many closed spans of a symbol are kept: only those around the
	// first and the last trade matter.
	keptFirst, keptLast = 8, 24
)

// watcher keeps account of when each symbol was watched: from when to when a connection, or several
// that overlap, were subscribed to it and had delivered all that the exchange sent. It is safe for
// concurrent use.
//
// Times of trades are the exchange's, in microseconds since the epoch; times "by the clock" are
// nanoseconds of the tracker's clock. The difference of both at a trade is the least that the
// exchange is ahead of the clock, because a trade cannot arrive before it matched.
//
// What is proven: a trade proves that its connection has delivered what matched before it, and the
// answer to a ping what matched before the ping was sent; each with watchMargin to spare. The ends
// of connections prove nothing, and a message that cannot be stored ends what its connection
// proves.
type watcher struct {
	clock clock

	// plausible is how much a trade may be ahead of the clock, in nanoseconds, to prove anything.
	plausible atomic.Int64
	doubted   atomic.Bool // one that was further ahead has arrived

	mu       sync.Mutex
	ahead    int64         // the most that the exchange was found ahead of the clock, in nanoseconds; 0 if unknown
	recent   int64         // the same of the latest trades
	awake    int64         // by the clock: when it was noticed that the machine had slept; 0 if it did not
	slept    time.Duration // until then, since the clock was started
	newest   int64         // time of the newest trade that was taken as proof
	believed int64         // by the clock: when a trade was last found that was not
	symbols  map[string][]*watchedChain
	open     map[*watchedConnection]bool // connections that may still prove something
}

// watchedChain is a time in which a symbol was watched without a break.
type watchedChain struct {
	confirmed int64 // by the clock: when the first connection was known to be subscribed
	start     int64 // the latest that can have been at the exchange; 0 while unknown
	first     int64 // when the symbol first traded on the first connection; 0 if it did not yet
	end       int64 // what is proven to have been delivered; 0 if nothing is yet
	conns     []*watchedConnection
}

// watchedConnection is what one connection has proven since it was watched. The reader of the
// connection calls begin and done, which cost a trade some nanoseconds.
type watchedConnection struct {
	reader  *watchedReader
	handled atomic.Int64 // the latest time of a trade that was taken
	ahead   atomic.Int64 // how much that was ahead of the clock, in nanoseconds
	most    atomic.Int64 // the most of that since the last update, in nanoseconds; 0 if there was none
	pinged  atomic.Int64 // by the clock: when the ping was sent that was answered last
	spoiled atomic.Bool  // it proves nothing more

	watcher  *watcher
	opened   int64            // by the clock
	seen     int64            // the pinged that answered is about; guarded by watcher.mu like the rest
	answered int64            // when that ping was sent, at the exchange
	firsts   map[string]int64 // when symbols first traded on it; guarded by watcher.mu
}

// watchedReader is what the watchedConnections of one connection, which follow one another, share.
type watchedReader struct {
	pending atomic.Int64 // time of the trade that is being taken; 0 if none is
	ended   atomic.Bool  // nothing more is read
	asking  atomic.Bool  // a ping is not answered yet
}

func newWatcher(c clock) *watcher {
	w := &watcher{clock: c, symbols: map[string][]*watchedChain{}, open: map[*watchedConnection]bool{}}
	w.slept = c.slept()
	w.allow()
	return w
}

// connection returns the record of a connection that reader reads.
func (w *watcher) connection(reader *watchedReader) *watchedConnection {
	return &watchedConnection{reader: reader, watcher: w, opened: w.clock.now()}
}

// begin says that a trade of that time is about to be taken.
func (c *watchedConnection) begin(tradedAt int64) { c.reader.pending.Store(tradedAt) }

// done says that the trade of begin, which arrived at a time by the clock, waits to be published, or
// another connection's reader has taken it.
func (c *watchedConnection) done(tradedAt, at int64) {
	switch ahead := tradedAt*1000 - at; {
	case c.spoiled.Load() || tradedAt <= c.handled.Load():
	case ahead > c.watcher.plausible.Load():
		c.watcher.doubted.Store(true)
	default:
		c.ahead.Store(ahead)
		if most := c.most.Load(); most == 0 || ahead > most {
			c.most.Store(ahead)
		}
		c.handled.Store(tradedAt)
	}
	c.reader.pending.Store(0)
}

// spoil says that the connection proves nothing from now on: something arrived that may have been a
// trade and was not stored, or it is silent for no known reason.
func (c *watchedConnection) spoil() { c.spoiled.Store(true) }

// pong says that a ping sent at a time by the clock was answered, and everything before the answer
// was taken.
func (c *watchedConnection) pong(sentAt int64) {
	if !c.spoiled.Load() {
		c.pinged.Store(sentAt)
	}
}

// silentSince returns the time by the clock at which the connection last proved something; 0 if it
// never did.
func (c *watchedConnection) silentSince() int64 {
	at := c.pinged.Load()
	if handled := c.handled.Load(); handled != 0 {
		at = max(at, handled*1000-c.ahead.Load())
	}
	return at
}

// confirmed says that a connection is known to be subscribed to symbols from now on.
func (w *watcher) confirmed(c *watchedConnection, symbols []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.now()
	w.open[c] = true
	for _, name := range symbols {
		w.symbols[name] = append(w.symbols[name], &watchedChain{confirmed: now, first: c.firsts[name], conns: []*watchedConnection{c}})
	}
	w.update()
}

// traded says that a symbol has traded on a connection for the first time. Whatever margin there is:
// from then on, the connection delivers the symbol.
func (w *watcher) traded(c *watchedConnection, symbol string, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.firsts == nil {
		c.firsts = map[string]int64{}
	}
	c.firsts[symbol] = at
	for _, chain := range w.symbols[symbol] {
		if len(chain.conns) > 0 && chain.conns[0] == c && chain.first == 0 {
			chain.first = at
		}
	}
}

// removed says that a connection is subscribed to some symbols no longer.
func (w *watcher) removed(c *watchedConnection, symbols []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range symbols {
		for _, chain := range w.symbols[name] {
			chain.conns = slices.DeleteFunc(chain.conns, func(other *watchedConnection) bool { return other == c })
		}
	}
}

// again watches the symbols of a connection from now on, after it was spoiled. The reader uses the new
// record already.
func (w *watcher) again(spoiled, now *watchedConnection) {
	var names []string
	w.mu.Lock()
	w.update()
	for name, chains := range w.symbols {
		if slices.ContainsFunc(chains, func(c *watchedChain) bool { return slices.Contains(c.conns, spoiled) }) {
			names = append(names, name)
		}
	}
	w.mu.Unlock()
	w.confirmed(now, names)
	w.removed(spoiled, names)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, spoiled)
}

// linked reports whether every symbol that the old connection proves is proven by the new one from
// then on without a break.
func (w *watcher) linked(old, new *watchedConnection) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.update()
	for _, chains := range w.symbols {
		for _, chain := range chains {
			if slices.Contains(chain.conns, old) && !slices.Contains(chain.conns, new) {
				return false
			}
		}
	}
	return true
}

// spans returns, by symbol, when it was watched according to what is proven now. If it is called
// before a batch is taken, all trades in these times are on the tape once the batch is.
func (w *watcher) spans() map[string][]window.Window {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.update()
	out := make(map[string][]window.Window, len(w.symbols))
	margin := watchMargin.Microseconds()
	for name, chains := range w.symbols {
		for _, chain := range chains {
			start, end := chain.start+margin, chain.end-margin
			if chain.first != 0 {
				start = min(start, chain.first)
			}
			if chain.start != 0 && start < end {
				out[name] = append(out[name], window.Window{Start: time.UnixMicro(start).UTC(), End: time.UnixMicro(end).UTC()})
			}
		}
	}
	return out
}

// exchangeNow returns the time at the exchange according to the latest trades; zero before the first.
func (w *watcher) exchangeNow() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.update()
	if w.recent == 0 {
		return time.Time{}
	}
	return time.UnixMicro((w.clock.now() + w.recent) / 1000).UTC()
}

// update brings the chains up to date. The order matters: a trade counts as taken if any connection's
// reader found that another one had received it. That reader may not be done with it yet, so that what
// is pending is read after what was handled. The caller holds the lock.
func (w *watcher) update() {
	w.wake()
	ended := map[*watchedConnection]bool{}
	handled := make(map[*watchedConnection]int64, len(w.open))
	var ahead, most int64 // the most of the present connections: of their latest trades, and of all
	for c := range w.open {
		ended[c] = c.reader.ended.Load() // before the rest, which is final then
		handled[c] = c.handled.Load()
		by, since := w.aheadOf(c, handled[c]), c.most.Swap(0)
		if by == 0 {
			continue
		}
		if ahead == 0 || by > ahead {
			ahead = by
		}
		if since = max(by, cmp.Or(since, by)); most == 0 || since > most {
			most = since
		}
	}
	if ahead != 0 {
		w.recent = ahead
		if w.ahead == 0 || most > w.ahead {
			w.ahead = most
		}
		w.allow()
	}
	w.reconsider(handled)
	limit := int64(1) << 62
	for c := range w.open {
		if pending := c.reader.pending.Load(); pending != 0 {
			limit = min(limit, pending)
		}
	}
	proven := make(map[*watchedConnection]int64, len(handled))
	for c, at := range handled {
		// How far the exchange is ahead is known for pings since the machine slept last.
		if pinged := c.pinged.Load(); pinged != c.seen && pinged > w.awake && w.recent != 0 {
			c.seen, c.answered = pinged, (pinged+w.recent)/1000
		}
		proven[c] = min(max(at, c.answered), limit)
	}
	for name, chains := range w.symbols {
		for _, chain := range chains {
			w.resolve(chain, handled)
			for _, c := range chain.conns {
				chain.end = max(chain.end, proven[c])
			}
			chain.conns = slices.DeleteFunc(chain.conns, func(c *watchedConnection) bool { return ended[c] || !w.open[c] })
		}
		w.symbols[name] = trimmed(joined(chains))
	}
	maps.DeleteFunc(w.open, func(c *watchedConnection, _ bool) bool { return ended[c] })
}

// resolve finds out when a chain began at the exchange. After the machine slept, only a trade that arrived
// since tells.
func (w *watcher) resolve(chain *watchedChain, handled map[*watchedConnection]int64) {
	if chain.start != 0 {
		return
	}
	ahead := w.ahead
	for _, c := range chain.conns {
		if by := w.aheadOf(c, handled[c]); by != 0 && (ahead == 0 || by > ahead) {
			ahead = by
		}
	}
	if ahead != 0 {
		chain.start = (chain.confirmed + ahead) / 1000
	}
}

// joined joins chains that overlap by at least watchMargin: what matched before the later one began
// has arrived by the earlier one.
func joined(chains []*watchedChain) []*watchedChain {
	out := chains[:0]
	for _, chain := range chains {
		if n := len(out); n > 0 && chain.start != 0 && out[n-1].start != 0 &&
			out[n-1].end >= chain.start+watchMargin.Microseconds() {
			last := out[n-1]
			last.end = max(last.end, chain.end)
			last.conns = append(last.conns, chain.conns...)
			continue
		}
		out = append(out, chain)
	}
	return out
}

// trimmed removes closed chains that prove nothing, and those in the middle of a long list.
func trimmed(chains []*watchedChain) []*watchedChain {
	chains = slices.DeleteFunc(chains, func(c *watchedChain) bool {
		return len(c.conns) == 0 && (c.start == 0 || c.end-c.start <= 2*watchMargin.Microseconds())
	})
	if surplus := len(chains) - keptFirst - keptLast; surplus > 0 {
		chains = slices.Delete(chains, keptFirst, keptFirst+surplus)
	}
	return chains
}
