package schedule

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// The system's clock may be wrong for a while. A run that was due by a clock that was ahead has a window
// that reaches into the future: its end proves nothing once the clock is right again. So what a job has
// done is only believed up to the present, and a window that reaches further is done again from its
// start. Doing a window twice is harmless; every job can be repeated.

// maxSettledRuns bounds the remembered runs of a job.
const maxSettledRuns = 200

// settledRun is a run that settled the window [from, until) of its job; from is zero if the job takes no
// window.
type settledRun struct {
	id          string
	from, until time.Time
}

// settledRunOf returns the row's run. ok is false if it settles nothing, or if it was disbelieved before.
func settledRunOf(row tape.Run, job Job, current *state.Scheduler) (run settledRun, ok bool) {
	until := settledUntil(row, job)
	_, disbelieved := current.Disbelieved[row.ID]
	return settledRun{row.ID, instant(row.WindowStart), until}, !until.IsZero() && !disbelieved
}

// remember appends a run to the settled runs of a job.
func remember(runs []settledRun, run settledRun) []settledRun {
	if runs = append(runs, run); len(runs) > maxSettledRuns {
		runs = slices.Delete(runs, 0, len(runs)-maxSettledRuns)
	}
	return runs
}

// disbelieve moves the marks of jobs back that are after horizon: to the start of the earliest window that
// reaches further, and if there is none, to when the job was last due, as if it were new. It returns the
// names of these jobs. runs are the settled runs by job.
func disbelieve(current *state.Scheduler, runs map[string][]settledRun, jobs map[string]Job, now, horizon time.Time) (moved []string) {
	for _, name := range slices.Sorted(maps.Keys(current.DoneUntil)) {
		if !current.DoneUntil[name].After(horizon) {
			continue
		}
		until := time.Time{}
		runs[name] = slices.DeleteFunc(runs[name], func(run settledRun) bool {
			if !run.until.After(horizon) {
				return false
			}
			if !run.from.IsZero() && !run.from.After(horizon) && (until.IsZero() || run.from.Before(until)) {
				until = run.from
			}
			current.Disbelieve(run.id, run.until)
			return true
		})
		if job, ok := jobs[name]; ok && until.IsZero() {
			until = job.times.last(now)
		}
		current.DoneUntil[name] = cmp.Or(until, now)
		moved = append(moved, name)
	}
	return moved
}

// horizon returns up to when done work is believed at the time now, if latest is the last that is claimed:
// the present, by the system's clock or, if that is not enough, by the exchange's.
func (o Options) horizon(ctx context.Context, now, latest time.Time) time.Time {
	if latest.After(now.Add(startTolerance)) && o.ExchangeTime != nil {
		if at := o.ExchangeTime(ctx); at.After(now) {
			now = at
		}
	}
	return now.Add(startTolerance)
}

// latestMark returns the latest of the marks, or zero.
func latestMark(marks map[string]time.Time) (latest time.Time) {
	for _, at := range marks {
		if at.After(latest) {
			latest = at
		}
	}
	return latest
}

// believe moves marks back that are in the future, because the clock was set back since. What they claim
// becomes due again.
func (s *scheduler) believe(now time.Time) {
	s.mu.Lock()
	latest := latestMark(s.state.DoneUntil)
	s.mu.Unlock()
	for _, e := range s.entries {
		if e.doneUntil.After(latest) {
			latest = e.doneUntil
		}
	}
	horizon := s.horizon(s.ctx, now, latest)
	s.mu.Lock()
	moved := disbelieve(&s.state, s.settled, s.jobs, now, horizon)
	until := maps.Clone(s.state.DoneUntil)
	s.mu.Unlock()
	for name, e := range s.entries {
		if e.doneUntil.After(horizon) && !slices.Contains(moved, name) {
			moved = append(moved, name) // its row is not in the ledger yet
		}
	}
	slices.Sort(moved)
	for _, name := range moved {
		e := s.entries[name]
		if e == nil {
			continue
		}
		if e.job.Window != WindowSinceDone { // considered decides when it runs
			e.doneUntil = until[name]
			continue
		}
		s.Logger.Warn("windows that were done lie in the future: done again", "job", name,
			"done_until", e.doneUntil, "from", until[name], "now", now)
		e.doneUntil, e.redo = until[name], true
		if e.considered.After(e.doneUntil) {
			e.considered = e.doneUntil
		}
		e.nextDue = e.job.Next(e.considered)
	}
}

// settles returns the instant up to which a row proves its job's work to be done; zero if it proves
// nothing, also because it is in the future. The caller holds s.mu.
func (s *scheduler) settles(row tape.Run) (run settledRun, ok bool) {
	run, ok = settledRunOf(row, s.jobs[row.Job], &s.state)
	if ok && run.until.After(s.horizon(s.ctx, s.Now().UTC(), run.until)) {
		s.state.Disbelieve(run.id, run.until)
		return settledRun{}, false
	}
	return run, ok
}

// uptime returns the system's uptime, or the zero value if it is unknown.
func (o Options) uptime() state.Uptime {
	if o.Uptime == nil {
		return state.Uptime{}
	}
	return o.Uptime()
}

// noticeStartTime notices that the clock was behind when the scheduler started and was set forward since, as
// that of a machine without a battery is: then new jobs, which have missed nothing, begin when the scheduler
// started, and not at the beginning of the wrong clock's time.
func (s *scheduler) noticeStartTime(now time.Time) {
	startedAt := now.Add(-s.uptime().Elapsed(s.startUptime, now.Sub(s.startedAt)))
	if startedAt.Sub(s.startedAt) <= startTolerance {
		return
	}
	s.startedAt = startedAt
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, e := range s.entries {
		if begin := cmp.Or(e.job.times.last(startedAt), startedAt); e.isNew && e.cancel == nil && begin.After(e.doneUntil) {
			e.doneUntil, e.considered, e.queue = begin, begin, nil
			e.nextDue = e.job.Next(begin)
			s.state.DoneUntil[name] = begin
		}
	}
}
