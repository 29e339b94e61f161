package schedule

import (
	"context"
	"time"

	"tapedeck/internal/tape"
)

// Notice is what people are told about a job with on_failure: notify: that it failed, or that it
// has recovered.
type Notice struct {
	Job        string
	Recovered  bool   // it failed before and is done now
	Outcome    string // failed or timeout; ok or incomplete if the job has recovered
	Message    string // the reason, in one line
	Output     string // the end of the run's output
	FinishedAt time.Time
}

// Notifier tells people about jobs.
type Notifier interface {
	// Notify returns within seconds, when the notice is durable rather than delivered. It may be
	// called concurrently. A notice that it returned an error for is not repeated.
	Notify(ctx context.Context, notice Notice) error
}

// notify reports the first of consecutive failures of a job, and its recovery.
func (s *scheduler) notify(job Job, row tape.Run) {
	s.mu.Lock()
	failures := s.state.Job(job.Name).Failures
	notified := s.notified[job.Name]
	newFailure := row.Outcome.Failed() && failures >= 1 && !notified
	recovered := row.Outcome.Done() && notified
	send := job.Notify && s.Notifier != nil && (newFailure || recovered)
	if send || row.Outcome.Done() {
		s.notified[job.Name] = row.Outcome.Failed()
	}
	s.mu.Unlock()
	if !send {
		return
	}
	notice := Notice{
		Job: job.Name, Recovered: recovered, Outcome: string(row.Outcome), Message: row.Message, Output: row.Output,
		FinishedAt: instant(row.FinishedAt),
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), writeTimeout)
	defer cancel()
	if err := s.Notifier.Notify(ctx, notice); err != nil {
		s.Logger.Error("notification about a run not stored",
			"job", job.Name, "run_id", row.ID, "outcome", row.Outcome, "error", err)
	}
}
