package schedule

import (
	"context"
	"time"

	"tapedeck/internal/tape"
)

// Notice is what people are told about a job with on_failure: notify: that it failed, once, and that it is well again.
type Notice struct {
	Job       string
	Recovered bool // it failed before and is done now
	RunID     string
	Command   string
	Outcome   string // failed or timeout; of a recovery ok or incomplete
	Message   string // why, in one line
	Output    string // the end of what the run printed
	Attempts  int
	// ScheduledAt, WindowStart and WindowEnd are zero where there are none.
	ScheduledAt, WindowStart, WindowEnd, FinishedAt time.Time
}

// Notifier tells people. Notify returns when the notice is durable, not when it has arrived, and does so within seconds. It may be
// called concurrently, and is not called again for what it gave an error for.
type Notifier interface {
	Notify(ctx context.Context, notice Notice) error
}

// tell passes on that a job fails or is well again; of a series of failures only the first.
func (s *scheduler) tell(job Job, row tape.Run) {
	s.mu.Lock()
	failures := s.state.Job(job.Name).Failures
	told := s.told[job.Name]
	wanted := job.Notify && s.Notifier != nil && (row.Outcome.Failed() && failures >= 1 && !told || row.Outcome.Done() && told)
	if wanted || row.Outcome.Done() {
		s.told[job.Name] = row.Outcome.Failed()
	}
	s.mu.Unlock()
	if !wanted {
		return
	}
	instant := func(micros int64) time.Time {
		if micros == 0 {
			return time.Time{}
		}
		return time.UnixMicro(micros).UTC()
	}
	notice := Notice{
		Job: job.Name, Recovered: row.Outcome.Done(), RunID: row.ID, Command: row.Command, Outcome: string(row.Outcome), Message: row.Message, Output: row.Output,
		Attempts: int(row.Attempt), ScheduledAt: instant(row.ScheduledAt), WindowStart: instant(row.WindowStart), WindowEnd: instant(row.WindowEnd),
		FinishedAt: instant(row.FinishedAt),
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.end), lastWrite)
	defer cancel()
	if err := s.Notifier.Notify(ctx, notice); err != nil {
		s.Logger.Error("nobody told of a run", "job", job.Name, "run_id", row.ID, "outcome", row.Outcome, "error", err)
	}
}
