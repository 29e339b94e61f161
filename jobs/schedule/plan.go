package schedule

import (
	"hash/fnv"
	"slices"
	"time"
)

const (
	// punctual is how late a run may start and still be the run that was due: a restart of the scheduler takes less.
	punctual = time.Minute
	// longestQueue bounds the runs of one job that wait for their turn.
	longestQueue = 100
)

// plan is what is to be done about the instants at which a job was due.
type plan struct {
	// run are the due instants to run now, the oldest first. Each run's window begins where the one before it ended, so
	// that the first takes what is older, too.
	run []time.Time
	// giveUp is the due instant up to which nothing is made up; zero for none.
	giveUp time.Time
	// merged says that runs before the first one of run were missed and are part of it.
	merged bool
}

// owed plans for a job that is idle, all of which is settled up to after: what to do about the due instants in (after, now].
func owed(job Job, after, now time.Time) plan {
	newest := job.times.last(now)
	if newest.IsZero() || !newest.After(after) {
		return plan{}
	}
	before := job.times.last(newest.Add(-time.Nanosecond))
	earlier := before.After(after)
	late := now.Sub(newest) > punctual
	switch job.CatchUp {
	case CatchUpNone:
		switch {
		case late:
			return plan{giveUp: newest}
		case earlier:
			return plan{run: []time.Time{newest}, giveUp: before}
		}
		return plan{run: []time.Time{newest}}
	case CatchUpAll:
		run := []time.Time{newest}
		for ; earlier && len(run) < job.Limit; earlier = before.After(after) {
			run = append(run, before)
			before = job.times.last(before.Add(-time.Nanosecond))
		}
		slices.Reverse(run)
		switch {
		case !earlier:
			return plan{run: run}
		case job.Takes == TakesWindow:
			return plan{run: run, merged: true}
		}
		return plan{run: run, giveUp: before}
	}
	return plan{run: []time.Time{newest}, merged: earlier}
}

// delayOf is how much later than due a run starts: the same for the same run, so that a restart does not roll the dice anew.
func delayOf(job Job, due time.Time) time.Duration {
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

// Due is one run that is to come.
type Due struct {
	At  time.Time // UTC
	Job Job
	// Rule is what summer time has to do with it; mostly empty.
	Rule string
}

// Upcoming lists the next n runs of jobs after now, in order of time, then in the order of the file.
func Upcoming(jobs []Job, now time.Time, n int) []Due {
	var due []Due
	for _, job := range jobs {
		at := now
		for range n {
			if at = job.Next(at); at.IsZero() {
				break
			}
			due = append(due, Due{at, job, job.times.rule(at)})
		}
	}
	slices.SortStableFunc(due, func(a, b Due) int { return a.At.Compare(b.At) })
	return due[:min(n, len(due))]
}
