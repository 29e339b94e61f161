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

// entry is what the scheduler's loop knows of a job.
type entry struct {
	job Job
	// seen is the instant up to which due instants were dealt with, done that up to which they are settled: a run that
	// failed was seen and is not done.
	seen, done time.Time
	next       time.Time   // the first due instant after seen
	queue      []time.Time // due instants that wait for their turn
	backlog    bool        // queue began with runs that were missed
	active     context.CancelCauseFunc
	gone       bool // not in the crontab any more
}

// ending is what a run tells the loop when it is over.
type ending struct {
	job     string
	due     time.Time
	settled bool
}

// turnBack deals with a clock that was set back: what was due meanwhile is due again, but for windows that are done.
func (s *scheduler) turnBack(now time.Time) {
	s.Logger.Warn("clock set back", "now", now)
	for _, e := range s.entries {
		if e.seen.After(now) {
			if e.seen = e.job.times.last(now); e.seen.IsZero() {
				e.seen = now
			}
			e.next = e.job.Next(e.seen)
		}
	}
}

// inOrder lists the entries by name, so that runs that are due at once start in one order.
func (s *scheduler) inOrder() []*entry {
	out := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *entry) int { return cmp.Compare(a.job.Name, b.job.Name) })
	return out
}

// tick deals with the instants at which a job was due since the last look.
func (s *scheduler) tick(e *entry, now time.Time) {
	if e.gone || e.next.IsZero() || e.next.After(now) {
		return
	}
	if e.active != nil || len(e.queue) > 0 {
		s.overlap(e, now)
	} else {
		after := e.seen
		if e.job.Takes == TakesWindow {
			after = e.done
		}
		what := owed(e.job, after, now)
		if !what.giveUp.IsZero() {
			s.giveUp(e, what.giveUp)
		}
		e.queue = what.run
		e.backlog = len(what.run) > 1
		if what.merged {
			s.Logger.Info("one run makes up for several", "job", e.job.Name, "since", after, "scheduled_at", what.run[0])
		}
	}
	e.seen = e.job.times.last(now)
	e.next = e.job.Next(e.seen)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(e)
}

// overlap deals with due instants that come while a run is under way or waits.
func (s *scheduler) overlap(e *entry, now time.Time) {
	newest := e.job.times.last(now)
	switch {
	case e.job.Overlap == Replace:
		e.queue, e.backlog = []time.Time{newest}, false
		if e.active != nil {
			e.active(errReplaced)
		}
	case e.job.Overlap == Queue || e.backlog:
		for due := e.next; !due.IsZero() && !due.After(now); due = e.job.Next(due) {
			if len(e.queue) < max(longestQueue, e.job.Limit) {
				e.queue = append(e.queue, due)
				continue
			}
			s.skip(e, newest, fmt.Sprintf("%d runs before it wait for their turn", len(e.queue)))
			return
		}
	default:
		s.skip(e, newest, "the run before it was still going")
	}
}

// skip writes down that a job was due and left out. Its window is the next run's.
func (s *scheduler) skip(e *entry, due time.Time, why string) {
	s.Logger.Warn("run skipped", "job", e.job.Name, "scheduled_at", due, "reason", why)
	s.leaveOut(e.job, due, time.Time{}, why)
}

// giveUp writes down that all that is owed up to an instant will not be made up.
func (s *scheduler) giveUp(e *entry, until time.Time) {
	why := fmt.Sprintf("what was due from %s on is not made up: catch_up is %s", e.job.Next(e.done).Format("2006-01-02 15:04"), e.job.CatchUp)
	s.Logger.Warn("runs given up", "job", e.job.Name, "until", until, "reason", why)
	from := time.Time{}
	if e.job.Takes == TakesWindow {
		from = e.done
	}
	if s.leaveOut(e.job, until, from, why) {
		e.done = until
	}
}

// leaveOut writes the row of a run that does not take place; with from it settles the window [from, due).
func (s *scheduler) leaveOut(job Job, due, from time.Time, why string) (taken bool) {
	now := s.Now().UTC()
	row := tape.Run{ID: newRunID(job.Name, now), Job: job.Name, Command: job.Command, Attempt: 1, Outcome: state.Skipped, Exit: -1,
		ScheduledAt: due.UnixMicro(), FinishedAt: now.UnixMicro(), Message: why}
	if !from.IsZero() {
		row.WindowStart, row.WindowEnd = from.UnixMicro(), due.UnixMicro()
	}
	taken = s.write(row)
	s.update(func(state *state.Scheduler) { count(&state.Job(job.Name).Totals, row) })
	return taken
}

// startNext starts the first run that waits, if its time has come.
func (s *scheduler) startNext(e *entry, now time.Time) {
	if e.active != nil || len(e.queue) == 0 || e.gone {
		return
	}
	due := e.queue[0]
	if now.Before(due.Add(delayOf(e.job, due))) {
		return
	}
	e.queue = e.queue[1:]
	s.mu.Lock()
	s.note(e)
	s.mu.Unlock()
	if e.job.Takes == TakesWindow && !e.done.Before(due) {
		s.Logger.Warn("run left out: its window is done", "job", e.job.Name, "scheduled_at", due, "done_until", e.done)
		return
	}
	ctx, cancel := context.WithCancelCause(s.end)
	e.active = cancel
	t := task{job: e.job, due: due, from: e.done}
	go func() {
		defer cancel(nil)
		settled := s.execute(ctx, t)
		s.endings <- ending{t.job.Name, t.due, settled}
	}()
}

// ended takes note of a run that is over.
func (s *scheduler) ended(over ending) {
	e := s.entries[over.job]
	e.active = nil
	if over.settled && over.due.After(e.done) {
		e.done = over.due
	}
	if !over.settled && e.job.Takes == TakesWindow && e.job.CatchUp == CatchUpAll && e.job.Overlap != Replace {
		e.queue = nil // the oldest first: they are owed again when the job is due next
	}
	if len(e.queue) == 0 {
		e.backlog = false
	}
	if e.gone {
		delete(s.entries, over.job)
		s.update(func(state *state.Scheduler) { arrange(state, s.Jobs) })
	}
}
