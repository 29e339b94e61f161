package stream

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// machine is a system whose clock can be set, and that can sleep: then the clocks of the exchange and the
// system and the uptime go on, and the recorder's stands still.
type machine struct {
	booted      time.Time
	step, slept time.Duration
}

func newMachine() *machine { return &machine{booted: time.Now().Add(-time.Hour)} }

func (m *machine) system() time.Time { return time.Now().Round(0).Add(m.slept + m.step) }

func (m *machine) uptime() state.Uptime {
	return state.Uptime{Boot: "boot", Since: time.Since(m.booted) + m.slept}
}

// exchange returns the time at the exchange, which nobody sets, in microseconds.
func (m *machine) exchange() int64 { return time.Now().Add(m.slept + 700*time.Millisecond).UnixMicro() }

func (m *machine) watcher() *watcher { return newWatcher(newClock(m.system, m.uptime)) }

// deliver makes a connection take a trade of that time at the exchange.
func deliver(w *watcher, c *watchedConnection, tradedAt int64) {
	c.begin(tradedAt)
	c.done(tradedAt, w.clock.now())
}

// until returns the end of the last span in which a symbol was watched.
func until(w *watcher, symbol string) time.Time {
	spans := w.spans()[symbol]
	if len(spans) == 0 {
		return time.Time{}
	}
	return spans[len(spans)-1].End
}

// TestSleepIsNotClaimed requires what was proven before the machine slept to prove nothing about the time in
// which it slept, whatever happened to its clock meanwhile.
func TestSleepIsNotClaimed(t *testing.T) {
	for _, step := range []time.Duration{0, -time.Hour, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			w := m.watcher()
			quiet, busy := w.connection(new(watchedReader)), w.connection(new(watchedReader))
			w.confirmed(quiet, []string{"QUIETUSDT"})
			w.confirmed(busy, []string{"BTCUSDT"})
			time.Sleep(time.Minute)
			deliver(w, busy, m.exchange())
			w.spans()
			time.Sleep(5 * time.Second)
			quiet.pong(w.clock.now())
			asleep := time.UnixMicro(m.exchange())
			m.slept, m.step = time.Hour, step
			deliver(w, busy, m.exchange())
			if at := until(w, "QUIETUSDT"); at.After(asleep) {
				t.Errorf("clock set by %v: watched until %v, and the machine slept from %v", step, at, asleep)
			}
			time.Sleep(time.Second)
			deliver(w, busy, m.exchange())
			if at := until(w, "QUIETUSDT"); at.After(asleep) {
				t.Errorf("clock set by %v: a second later watched until %v, and the machine slept from %v", step, at, asleep)
			}

			// The next connection is watched from when it was up.
			quiet.reader.ended.Store(true)
			again := w.connection(new(watchedReader))
			w.confirmed(again, []string{"QUIETUSDT"})
			up := time.UnixMicro(m.exchange())
			time.Sleep(time.Minute)
			deliver(w, busy, m.exchange())
			again.pong(w.clock.now())
			spans := w.spans()["QUIETUSDT"]
			if last := spans[len(spans)-1]; last.Start.Before(up) || last.End.Before(up.Add(50*time.Second)) {
				t.Errorf("clock set by %v: watched %v, want from %v to a minute later", step, spans, up)
			}
		})
	}
}

// TestTradeFromTheFutureProvesNothing requires a trade whose time is in the future not to claim that
// everything until then was delivered.
func TestTradeFromTheFutureProvesNothing(t *testing.T) {
	for _, first := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			w := m.watcher()
			c := w.connection(new(watchedReader))
			w.confirmed(c, []string{"BTCUSDT"})
			future := time.Now().AddDate(10, 0, 0).UnixMicro()
			if first {
				deliver(w, c, future)
			}
			for range 20 {
				time.Sleep(time.Second)
				deliver(w, c, m.exchange())
				w.spans()
			}
			deliver(w, c, future)
			time.Sleep(time.Second)
			deliver(w, c, m.exchange())
			now := time.UnixMicro(m.exchange())
			if at := until(w, "BTCUSDT"); at.After(now) || at.Before(now.Add(-5*time.Second)) || w.exchangeNow().Sub(now).Abs() > time.Second {
				t.Errorf("watched until %v when it was %v, %v at the exchange", at, now, w.exchangeNow())
			}
		})
	}
}

// TestNothingLostIsClaimed lets the machine sleep and its clock be set at random, while connections come and
// go. No trade that was lost may lie in a time that counts as watched.
func TestNothingLostIsClaimed(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CLOCK_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("CLOCK_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	lost, claimed := 0, time.Duration(0)
	for range 30 {
		synctest.Test(t, func(t *testing.T) {
			gone, spans := simulateSteps(t, random)
			for symbol, times := range gone {
				lost += len(times)
				for _, at := range times {
					for _, span := range spans[symbol] {
						if !at.Before(span.Start) && at.Before(span.End) {
							t.Errorf("%s: a trade of %v was lost, and watched is [%v, %v)", symbol, at, span.Start, span.End)
						}
					}
				}
			}
			for _, list := range spans {
				for _, span := range list {
					claimed += span.Duration()
				}
			}
		})
	}
	if lost == 0 || claimed == 0 {
		t.Errorf("%d lost, %v claimed", lost, claimed)
	}
}

// simulateSteps runs two connections, each with a busy and a quiet symbol, and returns the lost trades by
// symbol and when each symbol was watched.
func simulateSteps(t *testing.T, random *rand.Rand) (lost map[string][]time.Time, spans map[string][]window.Window) {
	m := newMachine()
	w := m.watcher()
	lost = map[string][]time.Time{}
	type link struct {
		names []string
		conn  *watchedConnection // nil while down
		cut   bool               // the exchange has closed it, which the reader does not know yet
		held  []int64            // sent, and not read yet
		late  bool               // the reader lags behind
	}
	links := []*link{{names: []string{"BTCUSDT", "QUIETUSDT"}}, {names: []string{"ETHUSDT", "RAREUSDT"}}}
	read := func(l *link) {
		for _, at := range l.held {
			deliver(w, l.conn, at)
		}
		l.held = nil
	}
	trade := func() {
		l, at := links[random.IntN(2)], m.exchange()
		name := l.names[0]
		if random.IntN(15) == 0 {
			name = l.names[1]
		}
		if l.conn == nil || l.cut {
			lost[name] = append(lost[name], time.UnixMicro(at))
			return
		}
		l.held = append(l.held, at)
	}
	for range 400 {
		time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		trade()
		for _, l := range links {
			if l.conn != nil && !l.late {
				read(l)
			}
		}
		switch l := links[random.IntN(2)]; random.IntN(13) {
		case 0: // sleep, in which a connection may be cut, and trades go on
			for range 1 + random.IntN(20) {
				m.slept += time.Duration(random.IntN(400)) * time.Second
				trade()
				if other := links[random.IntN(2)]; random.IntN(10) == 0 {
					other.cut = other.conn != nil
				}
			}
		case 1:
			m.step = []time.Duration{0, time.Hour, -time.Hour, -m.slept, 24 * time.Hour}[random.IntN(5)]
		case 2, 3:
			if l.conn != nil && !l.cut && !l.late {
				l.conn.pong(w.clock.now())
			}
		case 4, 5:
			if l.conn != nil && l.cut { // noticed
				read(l)
				l.conn.reader.ended.Store(true)
				l.conn, l.cut, l.late = nil, false, false
			}
		case 6, 7:
			if l.conn == nil {
				l.conn, l.cut = w.connection(new(watchedReader)), false
				w.confirmed(l.conn, l.names)
			}
		case 8:
			l.cut = l.conn != nil
		case 9:
			l.late = l.conn != nil && !l.late && !w.exchangeNow().IsZero() // a trade told how far the exchange is ahead
		default:
			w.spans()
		}
	}
	// In the end all is well, and everything is known again.
	for range 150 {
		if random.IntN(4) == 0 {
			w.spans()
		}
		for _, l := range links {
			if l.conn == nil || l.cut {
				l.conn, l.cut, l.held = w.connection(new(watchedReader)), false, nil
				w.confirmed(l.conn, l.names)
			}
			l.held = append(l.held, m.exchange())
			read(l)
		}
		time.Sleep(time.Second)
	}
	spans = w.spans()
	for _, l := range links {
		for _, name := range l.names {
			if list := spans[name]; len(list) == 0 || time.UnixMicro(m.exchange()).Sub(list[len(list)-1].End) > 5*time.Second {
				t.Errorf("%s is not known in the end: %v at %v", name, list, time.UnixMicro(m.exchange()).UTC())
			}
		}
	}
	return lost, spans
}

// TestRecordingIgnoresClockSteps requires batches to be published and claims to be made as usual while the
// system's clock is set, and the state's times to be by the clock as it is set.
func TestRecordingIgnoresClockSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := append(rowsAt("QUIETUSDT", 10, 12), evenRows("BTCUSDT", 3000, 100*time.Millisecond)...)
		m := newMachine()
		offset := time.Until(time.UnixMicro(1_700_000_000_000_000)) // evenRows begins then
		var set atomic.Int64                                        // how far the clock is ahead
		opt := Options{Symbols: fixedSymbols("QUIETUSDT", "BTCUSDT"), uptime: m.uptime, system: func() time.Time {
			return m.system().Add(offset + time.Duration(set.Load()))
		}}
		r := newRig(t, exchange.NewMemory(nil, rows), exchange.Options{WaitForStreams: 2}, opt)
		began := time.Now()
		flushes := int64(0)
		for _, step := range []time.Duration{0, time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour, 0} {
			set.Store(int64(step))
			time.Sleep(40 * time.Second)
			synctest.Wait()
			now := r.server.Now()
			requireKnown(t, r.dir, "QUIETUSDT", now.Add(-knownLag), now.Add(-watchMargin), tape.ByStream)
			s := readState(t, r.dir)
			if s.Counters.Flushes < flushes+2 {
				t.Errorf("clock set by %v: %d flushes after %d", step, s.Counters.Flushes, flushes)
			}
			flushes = s.Counters.Flushes
			age := opt.system().Sub(s.UpdatedAt)
			if age < 0 || age > 2*stateEvery {
				t.Errorf("clock set by %v: the state is %v old", step, age)
			}
			if running := s.UpdatedAt.Sub(s.StartedAt); (running - time.Since(began) + age).Abs() > 2*time.Second {
				t.Errorf("clock set by %v: it runs for %v, started at %v", step, running, s.StartedAt)
			}
			for what, at := range map[string]time.Time{
				"last flush": s.LastFlushAt, "last received": s.Symbols["BTCUSDT"].LastReceivedAt, "last received on the connection": s.Connections[0].LastReceivedAt,
			} {
				if since := s.UpdatedAt.Sub(at); since < 0 || since > defaultFlushInterval+2*time.Second {
					t.Errorf("clock set by %v: %s %v before %v", step, what, since, s.UpdatedAt)
				}
			}
			if opened := s.UpdatedAt.Sub(s.Connections[0].OpenedAt); opened < 0 || opened > time.Since(began)+time.Second {
				t.Errorf("clock set by %v: connection opened %v before", step, opened)
			}
		}
		r.stop()
	})
}
