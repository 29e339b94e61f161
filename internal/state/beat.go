package state

import "time"

// Uptime is an instant on the clock of the running system, which nobody sets and which counts while
// the machine sleeps. It compares only with an instant of the same boot. The zero value is unknown:
// not every system tells it.
type Uptime struct {
	// Boot identifies the boot of the system, and Since is the time since then.
	Boot  string        `json:"boot,omitempty"`
	Since time.Duration `json:"uptime_ns,omitempty"`
}

// sub returns the time from then to u; ok is false if they cannot be compared.
func (u Uptime) sub(then Uptime) (d time.Duration, ok bool) {
	if u.Boot == "" || u.Boot != then.Boot {
		return 0, false
	}
	return u.Since - then.Since, true
}

// Elapsed returns the time from then to now, by the system's uptime if both are of one boot, and else
// by fallback.
func (u Uptime) Elapsed(then Uptime, fallback time.Duration) time.Duration {
	if d, ok := u.sub(then); ok {
		return d
	}
	return fallback
}

// Beat is a sign of life of a process that writes its state regularly.
type Beat struct {
	// Number counts the signs since the process started, from 1.
	Number int64 `json:"beat,omitempty"`
	Uptime
}

// Machine tells a reader of a state about the system that it runs on. Dir is one.
type Machine interface {
	// Held reports whether some process holds the lock on a state file.
	Held(name string) bool
	// Uptime returns the present.
	Uptime() Uptime
}

// clockSlack is how far in the future a time may be that another process wrote: clocks of machines
// that share a directory differ a little.
const clockSlack = 5 * time.Second

// IsAhead reports whether a time that was written as the present of its writer is in the future of now:
// the clock was set back since, or one of the two clocks is wrong.
func IsAhead(at, now time.Time) bool { return at.Sub(now) > clockSlack }

// Age returns how long ago a sign of life was, which its writer dated writtenAt; at least 0. It is
// measured if the same boot of the system wrote it, and then does not depend on the clock. Otherwise ok
// is false if writtenAt is in the future of now, and nothing is known.
func (b Beat) Age(writtenAt time.Time, machine Machine, now time.Time) (age time.Duration, ok bool) {
	if d, measured := machine.Uptime().sub(b.Uptime); measured && d >= 0 {
		return d, true
	}
	return max(0, now.Sub(writtenAt)), !IsAhead(writtenAt, now)
}
