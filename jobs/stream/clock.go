package stream

import (
	"time"

	"tapedeck/internal/state"
)

// clock counts nanoseconds from the system's time at its start and ignores changes of that time.
// Otherwise a step of an hour would look like an hour of silence, or hide one. It stands still while the
// machine sleeps.
type clock struct {
	start  time.Time
	booted state.Uptime        // at the start
	system func() time.Time    // the system's time, which may be set at any time
	uptime func() state.Uptime // the system's uptime, which goes on while the machine sleeps
}

// newClock starts a clock. Its arguments may be nil: they are for tests.
func newClock(system func() time.Time, uptime func() state.Uptime) clock {
	if system == nil {
		system = func() time.Time { return time.Now().Round(0) } // a monotonic reading would hide that it was set
	}
	if uptime == nil {
		uptime = state.ReadUptime
	}
	return clock{start: time.Now(), booted: uptime(), system: system, uptime: uptime}
}

func (c clock) now() int64 { return c.start.UnixNano() + int64(time.Since(c.start)) }

// wall converts a time of the clock into the system's time, as it is set now. 0 becomes the zero
// time.
func (c clock) wall(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return c.system().Add(time.Duration(at - c.now())).UTC()
}

// restate returns an instant that time.Now returned, by the system's time as it is set now. The zero time
// stays zero.
func (c clock) restate(at time.Time) time.Time {
	if at.IsZero() {
		return time.Time{}
	}
	return c.system().Add(-time.Since(at)).UTC()
}

// age returns for how long the clock has run, with the time in which the machine slept. Where the uptime is
// unknown, the system's time is taken for it, and setting that looks like sleep.
func (c clock) age() time.Duration {
	return c.uptime().Elapsed(c.booted, c.system().Sub(c.start.Round(0)))
}

// slept returns for how long the machine has slept since the clock was started.
func (c clock) slept() time.Duration { return c.age() - time.Since(c.start) }
