package schedule

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// settles is the instant up to which a row of the ledger says that its job is done or given up; zero where it says nothing
// of the kind. The next window begins there, so only what was done, or given up in so many words, ends a window. A job
// without windows has nothing to make up for once it was tried.
func settles(row tape.Run, job Job) time.Time {
	at := time.UnixMicro(row.ScheduledAt).UTC()
	switch {
	case row.ScheduledAt == 0: // run by hand, which changes nothing in what is due
		return time.Time{}
	case row.Outcome.Done():
		return at
	case job.Takes == TakesWindow:
		if row.Outcome == state.Skipped && row.WindowEnd != 0 {
			return at
		}
	case row.Outcome == state.Skipped, row.Outcome.Failed() && int(row.Attempt) > job.Retries:
		return at
	}
	return time.Time{}
}

// remember reads what the scheduler before this one left: its state, brought up to date from the ledger, which is what
// counts. The rows are those of runs that were under way when it was killed.
func remember(store StateStore, ledger Ledger, jobs []Job) (state.Scheduler, []tape.Run, error) {
	var left state.Scheduler
	err := store.ReadState(state.SchedulerFile, &left)
	known := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return state.Scheduler{}, nil, fmt.Errorf("read the state of the last scheduler: %w", err)
	}
	since := ""
	if known && left.DoneUntil != nil {
		// What is in the ledger and not in the state was written after the state, by a clock that may have been set since.
		since = left.BeatAt.AddDate(0, 0, -2).UTC().Format(time.DateOnly)
	}
	rows, err := ledger.ReadRuns(since, "")
	if err != nil {
		return state.Scheduler{}, nil, fmt.Errorf("read the ledger: %w", err)
	}
	if left.DoneUntil == nil {
		left.DoneUntil = map[string]time.Time{}
	}
	byName := map[string]Job{}
	for _, job := range jobs {
		byName[job.Name] = job
	}
	written := map[string]bool{}
	for _, row := range rows {
		written[row.ID] = true
		job, there := byName[row.Job]
		if !there {
			job.Takes = TakesWindow // what is not known is not counted as done
		}
		if at := settles(row, job); at.After(left.DoneUntil[row.Job]) {
			left.DoneUntil[row.Job] = at
		}
	}
	var lost []tape.Run
	for _, job := range left.Jobs {
		if run := job.Run; run != nil && !written[run.ID] {
			lost = append(lost, rowOf(run, job.Name))
		}
	}
	return left, lost, nil
}

// row is the beginning of the run's row.
func rowOf(r *state.ActiveRun, job string) tape.Run {
	return tape.Run{
		ID: r.ID, Job: job, Command: r.Command, Attempt: int32(r.Attempt), Exit: -1, Outcome: state.Lost,
		ScheduledAt: micros(r.ScheduledAt), StartedAt: micros(r.StartedAt), WindowStart: micros(r.WindowStart), WindowEnd: micros(r.WindowEnd),
	}
}

// arrange makes the entries those of jobs, in their order, and keeps what is known of them and what runs of others.
func arrange(s *state.Scheduler, jobs []Job) {
	var out []state.Job
	for _, job := range jobs {
		out = append(out, *s.Job(job.Name))
	}
	for _, old := range s.Jobs {
		if old.Run != nil && !slices.ContainsFunc(out, func(j state.Job) bool { return j.Name == old.Name }) {
			old.NextAt = time.Time{}
			out = append(out, old)
		}
	}
	s.Jobs = out
}

func micros(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMicro()
}
