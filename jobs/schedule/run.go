package schedule

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// Start runs a command and returns when it is over and none of its processes is left. It stops the
// run when ctx is done. Calls of output do not overlap.
type Start func(ctx context.Context, args []string, runID string, output func(line string)) Exit

// Exit is how a run ended.
type Exit struct {
	Code   int    // the exit status; 128 plus the signal's number if a signal killed it; -1 if there is none
	Signal string // the signal that killed it, or ""
	Err    error  // the run could not be started
	Report Report
}

// Report is what a run says about itself.
type Report struct {
	Rows        int64     `json:"rows,omitempty"`
	Bytes       int64     `json:"bytes,omitempty"`
	WindowStart time.Time `json:"window_start,omitzero"`
	WindowEnd   time.Time `json:"window_end,omitzero"`
	Message     string    `json:"message,omitempty"`
	// CoveredUntil is the instant up to which a run that is incomplete, with exit status 3, has done all
	// that a later run could do: the job's next window begins there. Zero means none of its window. A
	// run with exit status 0 has covered its whole window.
	CoveredUntil time.Time `json:"covered_until,omitzero"`
}

// newRunID returns a run's id: its job, when it started, and random letters, because two runs may
// start in the same second.
func newRunID(job string, at time.Time) string {
	return fmt.Sprintf("%s-%s-%s", job, at.UTC().Format("20060102T150405"), strings.ToLower(rand.Text()[:6]))
}

var (
	errTimeout  = errors.New("timeout")
	errReplaced = errors.New("replaced")
)

// maxBackoff is where the wait before a retry stops doubling.
const maxBackoff = time.Hour

// task is one run to do: of job, for the due instant, over the window [from, due) if the job takes
// one.
type task struct {
	job         Job
	due, from   time.Time
	unscheduled bool // run by hand: due is only the present
}

// args returns the command line including the window.
func (t task) args() []string {
	args, to := slices.Clone(t.job.Args), t.due.UTC().Format(time.RFC3339Nano)
	switch t.job.Window {
	case WindowSinceDone:
		args = append(args, "--from", t.from.UTC().Format(time.RFC3339Nano), "--to", to)
	case WindowEnd:
		args = append(args, "--to", to)
	}
	return args
}

// execute runs a task with its retries. until is the instant up to which the job's work is done, or zero.
// failed reports whether the due instant needs another run.
func (s *scheduler) execute(ctx context.Context, t task) (until time.Time, failed bool) {
	pings := s.pings.start(t.job.PingURL)
	defer close(pings.queue)
	for attempt := 1; ; attempt++ {
		row := s.attempt(ctx, t, attempt)
		last := !row.Outcome.Failed() || attempt > t.job.Retries || ctx.Err() != nil
		until = s.record(t, row, last)
		failed = until.IsZero() && !row.Outcome.Done()
		if last {
			if row.Outcome != state.Killed {
				pings.finish(row)
				s.notify(t.job, row)
			}
			return until, failed
		}
		wait := min(t.job.Backoff<<min(attempt-1, 20), maxBackoff)
		s.Logger.Info("run will be retried", "job", t.job.Name, "attempt", attempt+1, "wait_ms", wait.Milliseconds())
		select {
		case <-ctx.Done():
			return until, failed
		case <-s.After(wait):
		}
	}
}

// attempt runs a task once and returns its row. The state that is written before the process starts
// tells the next scheduler about the run if this one does not live to write the row.
func (s *scheduler) attempt(ctx context.Context, t task, number int) tape.Run {
	job, started := t.job, s.Now().UTC()
	run := state.ActiveRun{
		ID: newRunID(job.Name, started), Command: job.Command, ScheduledAt: t.due, StartedAt: started, Attempt: number,
	}
	if job.Window == WindowSinceDone {
		run.WindowStart, run.WindowEnd = t.from, t.due
	}
	row := rowOf(run, job.Name)
	if t.unscheduled {
		row.ScheduledAt = 0
	} else {
		s.update(func(current *state.Scheduler) { current.Job(job.Name).Run = &run })
	}
	logger := s.Logger.With("job", job.Name, "run_id", run.ID)
	attributes := []any{"command", job.Command, "attempt", number}
	if job.Window == WindowSinceDone {
		attributes = append(attributes, "window_start", run.WindowStart, "window_end", run.WindowEnd)
	}
	logger.Info("run started", attributes...)

	limited, cancel := context.WithTimeoutCause(ctx, job.Timeout, errTimeout)
	defer cancel()
	output := &runOutput{log: logger}
	exit := s.start(limited, t.args(), run.ID, output.add)
	stopCause := context.Cause(limited)
	finished := s.Now().UTC()

	row.FinishedAt = max(finished.UnixMicro(), row.StartedAt)
	row.Exit = int32(exit.Code)
	row.Rows, row.Bytes = exit.Report.Rows, exit.Report.Bytes
	if job.Window != WindowSinceDone {
		row.WindowStart, row.WindowEnd = micros(exit.Report.WindowStart), micros(exit.Report.WindowEnd)
	}
	row.Outcome, row.Message = outcomeOf(stopCause, job, exit)
	if row.Outcome == state.Incomplete && job.Window == WindowSinceDone {
		// What the run has not covered becomes part of the next window.
		row.WindowEnd = min(max(micros(exit.Report.CoveredUntil), row.WindowStart), row.WindowEnd)
	}
	row.Message = cmp.Or(row.Message, exit.Report.Message)
	row.Output = output.tailText()
	// A run that is incomplete has said so in its report. Of others the output tells the reason.
	reported := row.Outcome == state.Incomplete && exit.Report.Message != ""
	if reason := output.reason(); row.Outcome != state.OK && reason != "" && !reported {
		row.Message = strings.TrimPrefix(row.Message+": "+reason, ": ")
	}
	level := slog.LevelInfo
	if row.Outcome.Failed() {
		level = slog.LevelError
	}
	logger.Log(ctx, level, "run finished",
		"outcome", row.Outcome, "exit", exit.Code, "attempt", number, "elapsed_ms", max(0, finished.Sub(started)).Milliseconds(),
		"rows", row.Rows, "message", row.Message)
	return row
}

// start calls Start. A panic there fails this run only.
func (s *scheduler) start(ctx context.Context, args []string, runID string, output func(string)) (exit Exit) {
	defer func() {
		if fault := recover(); fault != nil {
			exit = Exit{Code: -1, Err: fmt.Errorf("panic: %v", fault)}
		}
	}()
	return s.Start(ctx, args, runID, output)
}

// record writes how an attempt ended, and returns the instant up to which the job's work is done; zero if
// the attempt settles nothing.
func (s *scheduler) record(t task, row tape.Run, last bool) (until time.Time) {
	if s.write(row) {
		s.mu.Lock()
		run, _ := s.settles(row)
		s.mu.Unlock()
		until = run.until
	}
	s.update(func(current *state.Scheduler) {
		job := current.Job(t.job.Name)
		job.Run = nil
		job.FinishedAt, job.Outcome, job.Message = instant(row.FinishedAt), row.Outcome, row.Message
		addToTotals(&job.Totals, row)
		switch {
		case row.Outcome.Done():
			job.LastDoneAt, job.Failures = job.FinishedAt, 0
		case row.Outcome.Failed() && last:
			job.Failures++
		}
	})
	return until
}

// outcomeOf returns the outcome of a run, and the reason if the exit status does not tell.
// stopCause is why the scheduler stopped the run, or nil. A run that was stopped may have left
// something out even if it exited with status 0, so it is not done.
func outcomeOf(stopCause error, job Job, exit Exit) (outcome state.Outcome, message string) {
	switch {
	case errors.Is(stopCause, errTimeout):
		return state.Timeout, fmt.Sprintf("timed out after %s", job.Timeout)
	case errors.Is(stopCause, errReplaced):
		return state.Killed, "replaced by its next run"
	case stopCause != nil:
		return state.Killed, "the scheduler was stopped"
	case exit.Err != nil:
		return state.Failed, exit.Err.Error()
	case exit.Code == 0:
		return state.OK, ""
	case exit.Code == 3:
		return state.Incomplete, ""
	case exit.Signal != "":
		return state.Failed, "killed by signal: " + exit.Signal
	}
	return state.Failed, ""
}
