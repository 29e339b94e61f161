package schedule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// settledUntil returns the instant up to which a row of the ledger proves its job's work to be done
// or given up; zero if it proves nothing. The job's next window begins there, so only a run that
// was done, or a skipped one that names the window it gives up, settles a window. A run that was done
// incompletely settles what it says it has covered. A job without windows owes nothing once a run was
// tried.
func settledUntil(row tape.Run, job Job) time.Time {
	at := time.UnixMicro(row.ScheduledAt).UTC()
	switch {
	case row.ScheduledAt == 0: // run by hand, which does not change what is due
		return time.Time{}
	case row.Outcome == state.Incomplete && job.Window == WindowSinceDone:
		// The row's window is what the run has covered.
		if row.WindowEnd > row.WindowStart {
			return time.UnixMicro(min(row.WindowEnd, row.ScheduledAt)).UTC()
		}
	case row.Outcome.Done():
		return at
	case job.Window == WindowSinceDone:
		if row.Outcome == state.Skipped && row.WindowEnd != 0 {
			return at
		}
	case row.Outcome == state.Skipped, row.Outcome.Failed() && int(row.Attempt) > job.Retries:
		return at
	}
	return time.Time{}
}

// restoreState reads the state of the previous scheduler and brings it up to date from the ledger,
// which is authoritative. Marks in the future of now are not believed. settled are the runs that were
// read, by job. lost are the rows of runs that were active when that scheduler was
// killed.
func restoreState(ctx context.Context, options Options, jobs []Job, now time.Time) (
	previous state.Scheduler, settled map[string][]settledRun, lost []tape.Run, err error,
) {
	if previous, err = readState(options); err != nil {
		return state.Scheduler{}, nil, nil, fmt.Errorf("read the previous scheduler's state: %w", err)
	}
	since := ""
	if previous.DoneUntil != nil {
		// Rows that are missing in the state are younger than it. Two days allow for a clock that
		// was set since, and the present for one that was ahead then.
		written := previous.BeatAt
		if now.Before(written) {
			written = now
		}
		since = written.AddDate(0, 0, -2).UTC().Format(time.DateOnly)
	}
	rows, err := options.Ledger.ReadRuns(since, "")
	if err != nil {
		return state.Scheduler{}, nil, nil, fmt.Errorf("read the ledger: %w", err)
	}
	if previous.DoneUntil == nil {
		previous.DoneUntil = map[string]time.Time{}
	}
	byName := map[string]Job{}
	for _, job := range jobs {
		byName[job.Name] = job
	}
	written := map[string]bool{}
	settled = map[string][]settledRun{}
	begun := map[string]time.Time{} // begun: the earliest window that was not done
	for _, row := range rows {
		written[row.ID] = true
		job, ok := byName[row.Job]
		if !ok {
			job.Window = WindowSinceDone // the strictest rule for a job that is no longer in the crontab
		}
		run, ok := settledRunOf(row, job, &previous)
		if !ok {
			if at := instant(row.WindowStart); row.ScheduledAt != 0 && !at.IsZero() && (begun[row.Job].IsZero() || at.Before(begun[row.Job])) {
				begun[row.Job] = at
			}
			continue
		}
		settled[row.Job] = append(settled[row.Job], run)
		if run.until.After(previous.DoneUntil[row.Job]) {
			previous.DoneUntil[row.Job] = run.until
		}
	}
	for name, at := range begun {
		if _, known := previous.DoneUntil[name]; !known { // the state was lost, and no run was ever done
			previous.DoneUntil[name] = at
		}
	}
	if moved := disbelieve(&previous, settled, byName, now, options.horizon(ctx, now, latestMark(previous.DoneUntil))); len(moved) > 0 {
		options.Logger.Warn("windows that were done lie in the future: done again", "jobs", moved, "now", now)
	}
	for _, job := range previous.Jobs {
		if run := job.Run; run != nil && !written[run.ID] {
			lost = append(lost, rowOf(*run, job.Name))
		}
	}
	return previous, settled, lost, nil
}

// readState reads the state of the previous scheduler. A damaged one is set aside and counts as lost: what
// was done is then only known from the ledger, which can mean that a window is done twice and not that one is
// skipped.
func readState(options Options) (previous state.Scheduler, err error) {
	err = options.State.Read(state.SchedulerFile, &previous)
	var damaged *state.DamagedError
	switch {
	case errors.As(err, &damaged):
		if err := options.State.SetAside(state.SchedulerFile); err != nil {
			return state.Scheduler{}, errors.Join(damaged, err)
		}
		options.Logger.Warn("the scheduler's state was damaged and is set aside; what the jobs have done is read from the runs on the tape",
			"name", state.SchedulerFile+".damaged", "error", damaged.Err)
		return state.Scheduler{}, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return state.Scheduler{}, err
	}
	return previous, nil
}

// rowOf returns the row of a run that has started. Its outcome is lost until the run is over.
func rowOf(run state.ActiveRun, job string) tape.Run {
	return tape.Run{
		ID: run.ID, Job: job, Command: run.Command, Attempt: int32(run.Attempt), Exit: -1, Outcome: state.Lost,
		ScheduledAt: micros(run.ScheduledAt), StartedAt: micros(run.StartedAt),
		WindowStart: micros(run.WindowStart), WindowEnd: micros(run.WindowEnd),
	}
}

// micros converts an instant to the ledger's microseconds, in which 0 is none.
func micros(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMicro()
}

// instant is the inverse of micros.
func instant(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// arrangeJobs orders the jobs of the state as in the crontab. It drops jobs that are not in the
// crontab, unless a run of theirs is active.
func arrangeJobs(current *state.Scheduler, jobs []Job) {
	var out []state.Job
	for _, job := range jobs {
		out = append(out, *current.Job(job.Name))
	}
	for _, old := range current.Jobs {
		if old.Run != nil && !slices.ContainsFunc(out, func(j state.Job) bool { return j.Name == old.Name }) {
			old.NextAt = time.Time{}
			out = append(out, old)
		}
	}
	current.Jobs = out
}

// addToTotals counts a run.
func addToTotals(totals *state.RunTotals, row tape.Run) {
	totals.Add(row.Outcome, time.Duration(row.FinishedAt-row.StartedAt)*time.Microsecond, row.Rows, row.Bytes)
}

// showEntry copies an entry to the state, which is written later.
func (s *scheduler) showEntry(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	job := s.state.Job(e.job.Name)
	job.NextAt, job.Waiting = e.nextDue, len(e.queue)
	if e.removed {
		job.NextAt = time.Time{}
	}
	s.observe()
}

// observe shows the jobs to Options.Observe. s.mu is held. A run of a job is replaced, never
// changed, so the copy may share it.
func (s *scheduler) observe() {
	if s.Observe != nil {
		s.Observe(slices.Clone(s.state.Jobs))
	}
}

// write hands a row to the ledger; accepted is false if it will never be written. It also settles
// the windows of the rows that became durable.
func (s *scheduler) write(row tape.Run) (accepted bool) {
	durable, accepted := s.writer.write(s.ctx, row)
	s.advance(durable)
	return accepted
}

// advance moves DoneUntil of the state forward to what durable rows settle.
func (s *scheduler) advance(rows []tape.Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		run, ok := s.settles(row)
		if !ok {
			continue
		}
		s.settled[row.Job] = remember(s.settled[row.Job], run)
		if run.until.After(s.state.DoneUntil[row.Job]) {
			s.state.DoneUntil[row.Job] = run.until
		}
	}
}

// update changes the state and writes it. A failed write is only logged, once, because the ledger
// is authoritative.
func (s *scheduler) update(change func(*state.Scheduler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
	s.observe()
	s.state.BeatAt = s.Now().UTC()
	s.state.Number++
	s.state.Beat.Uptime = s.uptime()
	s.state.UnwrittenRuns = s.writer.pendingRows()
	err := s.State.Write(state.SchedulerFile, s.state)
	if err != nil && !s.unstored {
		s.Logger.Error("scheduler state not written", "name", state.SchedulerFile, "error", err)
	}
	s.unstored = err != nil
}
