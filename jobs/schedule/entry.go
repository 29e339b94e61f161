package schedule

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// entry is the scheduler's view of one job. Only the loop uses it.
type entry struct {
	job Job
	// considered is the instant up to which due runs were started, queued or skipped; doneUntil is
	// the instant up to which the job's work is done or given up. A failed run was considered and
	// is not done.
	considered, doneUntil time.Time
	nextDue               time.Time               // the first due instant after considered
	queue                 []time.Time             // due instants whose runs have not started
	catchingUp            bool                    // the queue began with missed runs
	cancel                context.CancelCauseFunc // of the active run; nil if there is none
	redo                  bool                    // done windows turned out to lie in the future; the next run includes them
	isNew                 bool                    // it has no mark from before this scheduler, and nothing was done yet
	removed               bool                    // no longer in the crontab
}

// finishedRun tells the loop that a run is over.
type finishedRun struct {
	job    string
	until  time.Time // up to which the job's work is done; zero if the run settled nothing
	failed bool      // the due instant needs another run
}

// clockSetBack handles a clock that was set back: runs become due again, except for windows that
// are done and not in the future.
func (s *scheduler) clockSetBack(now time.Time) {
	s.Logger.Warn("clock set back", "now", now)
	for _, e := range s.entries {
		e.queue = slices.DeleteFunc(e.queue, func(due time.Time) bool { return due.After(now) })
		if e.considered.After(now) {
			e.considered = cmp.Or(e.job.times.last(now), now)
			e.nextDue = e.job.Next(e.considered)
		}
	}
	s.believe(now)
}

// enqueueDue queues the runs of a job that became due since it was last considered.
func (s *scheduler) enqueueDue(e *entry, now time.Time) {
	if e.removed || e.nextDue.IsZero() || e.nextDue.After(now) {
		return
	}
	if e.cancel != nil || len(e.queue) > 0 {
		s.applyOverlap(e, now)
	} else {
		after := e.considered
		if e.job.Window == WindowSinceDone {
			after = e.doneUntil
		}
		job := e.job
		if e.redo {
			job.CatchUp, e.redo = CatchUpLast, false
		}
		plan := planRuns(job, after, now)
		if !plan.giveUp.IsZero() {
			s.giveUp(e, plan.giveUp)
		}
		e.queue = plan.run
		e.catchingUp = len(plan.run) > 1
		if plan.merged {
			s.Logger.Info("one run makes up for several missed ones",
				"job", e.job.Name, "since", after, "scheduled_at", plan.run[0])
		}
	}
	e.considered = e.job.times.last(now)
	e.nextDue = e.job.Next(e.considered)
	s.showEntry(e)
}

// applyOverlap handles runs that become due while another run of the job is active or queued.
func (s *scheduler) applyOverlap(e *entry, now time.Time) {
	newest := e.job.times.last(now)
	switch {
	case e.job.Overlap == Replace:
		e.queue, e.catchingUp = []time.Time{newest}, false
		if e.cancel != nil {
			e.cancel(errReplaced)
		}
	case e.job.Overlap == Queue || e.catchingUp:
		for due := e.nextDue; !due.IsZero() && !due.After(now); due = e.job.Next(due) {
			if len(e.queue) < max(maxQueue, e.job.Limit) {
				e.queue = append(e.queue, due)
				continue
			}
			s.skip(e, newest, fmt.Sprintf("%d runs are already queued", len(e.queue)))
			return
		}
	default:
		s.skip(e, newest, "the previous run was still active")
	}
}

// skip records that a due run does not take place. Its window becomes part of the next run's.
func (s *scheduler) skip(e *entry, due time.Time, reason string) {
	s.Logger.Warn("run skipped", "job", e.job.Name, "scheduled_at", due, "reason", reason)
	s.writeSkipped(e.job, due, time.Time{}, reason)
}

// giveUp records that missed runs up to an instant will not be made up.
func (s *scheduler) giveUp(e *entry, until time.Time) {
	first := e.job.Next(e.doneUntil).Format("2006-01-02 15:04")
	reason := fmt.Sprintf("missed runs since %s are not made up (catch_up: %s)", first, e.job.CatchUp)
	s.Logger.Warn("missed runs given up", "job", e.job.Name, "until", until, "reason", reason)
	from := time.Time{}
	if e.job.Window == WindowSinceDone {
		from = e.doneUntil
	}
	if s.writeSkipped(e.job, until, from, reason) {
		e.doneUntil = until
	}
}

// writeSkipped writes the row of a run that does not take place. If from is set, the row gives up
// the window [from, due).
func (s *scheduler) writeSkipped(job Job, due, from time.Time, reason string) (accepted bool) {
	now := s.Now().UTC()
	row := tape.Run{
		ID: newRunID(job.Name, now), Job: job.Name, Command: job.Command, Attempt: 1, Outcome: state.Skipped, Exit: -1,
		ScheduledAt: due.UnixMicro(), FinishedAt: now.UnixMicro(), Message: reason,
	}
	if !from.IsZero() {
		row.WindowStart, row.WindowEnd = from.UnixMicro(), due.UnixMicro()
	}
	accepted = s.write(row)
	s.update(func(current *state.Scheduler) { addToTotals(&current.Job(job.Name).Totals, row) })
	return accepted
}

// startNext starts the first queued run of a job if its time has come and no other run is active.
func (s *scheduler) startNext(e *entry, now time.Time) {
	if e.cancel != nil || len(e.queue) == 0 || e.removed {
		return
	}
	due := e.queue[0]
	if now.Before(due.Add(startDelay(e.job, due))) {
		return
	}
	e.queue = e.queue[1:]
	s.showEntry(e)
	if e.job.Window == WindowSinceDone && !e.doneUntil.Before(due) {
		s.Logger.Warn("run left out: its window is done",
			"job", e.job.Name, "scheduled_at", due, "done_until", e.doneUntil)
		return
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	e.cancel = cancel
	t := task{job: e.job, due: due, from: e.doneUntil}
	go func() {
		defer cancel(nil)
		until, failed := s.execute(ctx, t)
		s.finished <- finishedRun{t.job.Name, until, failed}
	}()
}

// finish updates the entry of a run that is over.
func (s *scheduler) finish(run finishedRun) {
	e := s.entries[run.job]
	e.cancel = nil
	if run.until.After(e.doneUntil) {
		e.doneUntil, e.isNew = run.until, false
	}
	if run.failed && e.job.Window == WindowSinceDone && e.job.CatchUp == CatchUpAll && e.job.Overlap != Replace {
		e.queue = nil // missed runs go oldest first: these become due again after the failed one
	}
	if len(e.queue) == 0 {
		e.catchingUp = false
	}
	if e.removed {
		delete(s.entries, run.job)
		s.update(func(current *state.Scheduler) { arrangeJobs(current, s.Jobs) })
	}
}
