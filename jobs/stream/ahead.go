package stream

import "time"

const (
	// maxDrift is by how much the clock and the system's uptime may differ without sleep in between.
	maxDrift = time.Second
	// A trade proves nothing if it is further ahead of the clock than any before by maxJump, and in the
	// future of the system's time. Before the first one, that may be wrong by maxAhead.
	maxJump, maxAhead = time.Minute, 24 * time.Hour
)

// allow sets what is plausible. A trade is not so far in the future, whatever its time says: it would claim
// that everything until then was delivered. The caller holds the lock, if there is another user.
func (w *watcher) allow() {
	system := w.clock.system().UnixNano() - w.clock.now()
	if w.ahead == 0 {
		w.plausible.Store(system + int64(maxAhead))
		return
	}
	w.plausible.Store(max(w.ahead, system) + int64(maxJump))
}

// wake notices that the machine slept. The clock stood still meanwhile, so that the exchange is further ahead
// of it. If the uptime is unknown, the system's time may only have been set, and it is forgotten how far.
// The caller holds the lock.
func (w *watcher) wake() {
	slept := w.clock.slept()
	by := slept - w.slept
	if by.Abs() <= maxDrift {
		return
	}
	w.slept, w.awake = slept, w.clock.now()
	if known := w.clock.booted.Boot != ""; known && w.ahead != 0 && w.recent != 0 {
		w.ahead += int64(by)
		w.recent += int64(by)
	} else {
		w.ahead, w.recent = 0, 0
	}
	w.allow()
}

// reconsider forgets what is plausible if for a while nothing was: the trades before were late, and the
// system's time is wrong. The caller holds the lock.
func (w *watcher) reconsider(handled map[*watchedConnection]int64) {
	now, newest := w.clock.now(), int64(0)
	for _, at := range handled {
		newest = max(newest, at)
	}
	switch {
	case newest > w.newest || !w.doubted.Swap(false):
		w.newest, w.believed = newest, now
	case now-w.believed > int64(maxJump):
		w.ahead, w.recent = 0, 0
		w.allow()
	}
}

// aheadOf returns how far the exchange is ahead of the clock at least, according to a connection's latest
// trade; 0 if there was none since the machine slept. What a connection from before delivers may be as old
// as the sleep.
func (w *watcher) aheadOf(c *watchedConnection, handled int64) int64 {
	by := c.ahead.Load()
	if handled == 0 || handled*1000-by < w.awake || c.opened < w.awake && w.ahead == 0 {
		return 0
	}
	return by
}
