package schedule

import (
	"hash/fnv"
	"slices"
	"time"
)

const (
	// startTolerance is how late a run may start without counting as missed; a restart of the
	// scheduler takes less.
	startTolerance = time.Minute
	// maxQueue bounds the queued runs of one job.
	maxQueue = 100
)

// plan is what to do about the instants at which a job was due.
type plan struct {
	// run lists the due instants to run now, oldest first. The window of each run begins where the
	// one before ended, so the first run covers everything older, too.
	run []time.Time
	// giveUp is the due instant up to which missed runs are not made up; zero if there is none.
	giveUp time.Time
	// merged reports that the first run also covers missed runs before it.
	merged bool
}

// planRuns decides about the due instants in (after, now] of a job without an active run, whose
// work is settled up to after.
func planRuns(job Job, after, now time.Time) plan {
	newest := job.times.last(now)
	if newest.IsZero() || !newest.After(after) {
		return plan{}
	}
	previous := job.times.last(newest.Add(-time.Nanosecond))
	more := previous.After(after)
	out := plan{run: []time.Time{newest}}
	switch job.CatchUp {
	case CatchUpNone:
		if now.Sub(newest) > startTolerance {
			return plan{giveUp: newest}
		}
	case CatchUpAll:
		for ; more && len(out.run) < job.Limit; more = previous.After(after) {
			out.run = append(out.run, previous)
			previous = job.times.last(previous.Add(-time.Nanosecond))
		}
		slices.Reverse(out.run)
		out.merged = more && job.Window == WindowSinceDone
	default:
		out.merged = more
	}
	if more && !out.merged {
		out.giveUp = previous
	}
	return out
}

// startDelay returns how long after it is due a run starts, in [0, Jitter). It is a function of the
// job and the due instant, so a restart does not change it.
func startDelay(job Job, due time.Time) time.Duration {
	if job.Jitter <= 0 {
		return 0
	}
	hash := fnv.New64a()
	hash.Write([]byte(job.Name + due.UTC().Format(time.RFC3339)))
	// FNV alone mixes the last bytes badly.
	mixed := hash.Sum64()
	mixed = (mixed ^ mixed>>33) * 0xff51afd7ed558ccd
	mixed = (mixed ^ mixed>>33) * 0xc4ceb9fe1a85ec53
	mixed ^= mixed >> 33
	return time.Duration(mixed % uint64(job.Jitter))
}

// Due is an upcoming run.
type Due struct {
	At  time.Time // UTC
	Job Job
	// ClockChange says how daylight saving time affects the run; mostly empty.
	ClockChange string
}

// Upcoming returns the next n runs of jobs after now, ordered by time, then as in the file.
func Upcoming(jobs []Job, now time.Time, n int) []Due {
	var due []Due
	for _, job := range jobs {
		at := now
		for range n {
			if at = job.Next(at); at.IsZero() {
				break
			}
			due = append(due, Due{at, job, job.times.clockChange(at)})
		}
	}
	slices.SortStableFunc(due, func(a, b Due) int { return a.At.Compare(b.At) })
	return due[:min(n, len(due))]
}
