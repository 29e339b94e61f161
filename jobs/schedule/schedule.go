// Package schedule runs tapedeck's own commands at the times that crontab.yaml names. It owns that file's format, the
// ticking, the child processes and the ledger: every run is a child process of the same binary, ends before its timeout
// and before the scheduler, and leaves a row in the tape's runs, also when it was skipped because the run before it was
// still going. Schedules are those of github.com/robfig/cron, in UTC unless an entry names a zone.
package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"tapedeck/analytics/tape"
)

// Ledger is where runs are written down: PublishRuns returns when the rows are durable, and may be called concurrently.
type Ledger interface {
	PublishRuns(ctx context.Context, runs []tape.Run) (tape.Published, error)
}

// StateWriter keeps a small JSON document under a name, replacing the one before it in one step.
type StateWriter interface {
	WriteState(name string, v any) error
}

// Start begins one run of a command and returns when it is over. It ends the run when ctx does, and returns only when
// nothing of it is alive any more.
type Start func(ctx context.Context, job Job, runID string, output func(line string)) Exit

// Exit is how a run ended.
type Exit struct {
	Code   int    // the exit status; 128 and the signal's number where a signal ended it; -1 where there is none
	Signal string // the signal that ended it, if one did
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
}

// StateName is the name that the scheduler's State is kept under.
const StateName = "schedule.json"

// beat is how often the state is written although nothing happens, so that `health` can tell a scheduler that lives from
// one that hangs.
const beat = 15 * time.Second

// State is what the scheduler says about itself.
type State struct {
	PID       int        `json:"pid"`
	StartedAt time.Time  `json:"started_at"`
	BeatAt    time.Time  `json:"beat_at"`
	StoppedAt time.Time  `json:"stopped_at,omitzero"` // set by a clean end
	Jobs      []JobState `json:"jobs"`
}

// JobState is what the scheduler says about one job.
type JobState struct {
	Name       string    `json:"name"`
	NextAt     time.Time `json:"next_at,omitzero"`
	Running    bool      `json:"running"`
	StartedAt  time.Time `json:"started_at,omitzero"`  // of the last run
	FinishedAt time.Time `json:"finished_at,omitzero"` // of the last run that is over
	Outcome    string    `json:"outcome,omitempty"`    // of the last run that is over
	Failures   int       `json:"failures"`             // in a row, up to now
}

// Options are what the scheduler works with. All fields are required.
type Options struct {
	Jobs   []Job
	Start  Start
	Ledger Ledger
	State  StateWriter
	Logger *slog.Logger
	Now    func() time.Time
	PID    int
}

// scheduler is one running scheduler.
type scheduler struct {
	Options
	// end is done when the scheduler is told to stop; runs end with it.
	end context.Context

	mu    sync.Mutex // guards state
	state State
}

// Run starts the jobs at their times until ctx is done. Then it starts nothing more, ends what runs, writes down how it
// ended, and returns nil.
func Run(ctx context.Context, options Options) error {
	s := &scheduler{Options: options, end: ctx}
	s.state = State{PID: options.PID, StartedAt: options.Now()}
	for _, job := range options.Jobs {
		s.state.Jobs = append(s.state.Jobs, JobState{Name: job.Name})
	}
	logger := cronLogger{options.Logger}
	ticker := cron.New(cron.WithLocation(time.UTC), cron.WithLogger(logger))
	entries := make([]cron.EntryID, len(options.Jobs))
	for i, job := range options.Jobs {
		// Skip stands outside Recover: a panic inside must not leave the job marked as running for ever.
		chain := cron.NewChain(s.skipIfRunning(i), cron.Recover(logger))
		entries[i] = ticker.Schedule(job.schedule, chain.Then(cron.FuncJob(func() { s.run(i) })))
	}
	if err := s.writeState(); err != nil {
		return fmt.Errorf("write the scheduler's state: %w", err)
	}
	ticker.Start()
	options.Logger.Info("scheduler started", "jobs", len(options.Jobs))
	beats := time.NewTicker(beat)
	defer beats.Stop()
	for {
		s.update(func(state *State) {
			for i, id := range entries {
				state.Jobs[i].NextAt = ticker.Entry(id).Next.UTC()
			}
		})
		select {
		case <-beats.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	<-ticker.Stop().Done() // the runs end by ctx; each returns when its process is gone and its row is written
	s.update(func(state *State) { state.StoppedAt = options.Now() })
	options.Logger.Info("scheduler stopped")
	return nil
}

// skipIfRunning lets a run of job i pass only if the one before it is over, and writes down the one that did not.
func (s *scheduler) skipIfRunning(i int) cron.JobWrapper {
	free := make(chan struct{}, 1)
	free <- struct{}{}
	return func(inner cron.Job) cron.Job {
		return cron.FuncJob(func() {
			select {
			case <-free:
				defer func() { free <- struct{}{} }()
				inner.Run()
			default:
				s.skip(i)
			}
		})
	}
}

// skip writes down that job i was due while its last run was still going.
func (s *scheduler) skip(i int) {
	job, now := s.Jobs[i], s.Now()
	s.Logger.Warn("run skipped: the one before it still runs", "job", job.Name)
	row := tape.Run{ID: newRunID(job.Name, now), Job: job.Name, Command: job.Command, Attempt: 1, Outcome: "skipped",
		ScheduledAt: dueAt(job, now).UnixMicro(), FinishedAt: now.UnixMicro(), Message: "the run before it was still going"}
	s.write(row)
}

// run runs job i now and writes down how it went.
func (s *scheduler) run(i int) {
	if s.end.Err() != nil {
		return
	}
	job := s.Jobs[i]
	s.update(func(state *State) {
		state.Jobs[i].Running = true
		state.Jobs[i].StartedAt = s.Now()
	})
	defer s.update(func(state *State) { state.Jobs[i].Running = false })
	row := runJob(s.end, job, dueAt(job, s.Now()), s.Options)
	s.update(func(state *State) {
		entry := &state.Jobs[i]
		entry.FinishedAt, entry.Outcome = s.Now(), row.Outcome
		if failed(row.Outcome) {
			entry.Failures++
		} else {
			entry.Failures = 0
		}
	})
	s.write(row)
}

// failed reports whether an outcome is one that a person may have to look at.
func failed(outcome string) bool {
	return slices.Contains([]string{"failed", "timeout", "lost"}, outcome)
}

// lastWrite bounds how long a ledger row or the state may take to be written when the scheduler is already told to stop.
const lastWrite = 10 * time.Second

func (s *scheduler) write(row tape.Run) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.end), lastWrite)
	defer cancel()
	if _, err := s.Ledger.PublishRuns(ctx, []tape.Run{row}); err != nil {
		s.Logger.Error("run not written to the ledger", "job", row.Job, "run_id", row.ID, "outcome", row.Outcome, "error", err)
	}
}

// update changes the state and writes it; a state that cannot be written is logged, for no job depends on it.
func (s *scheduler) update(change func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
	s.state.BeatAt = s.Now()
	if err := s.State.WriteState(StateName, s.state); err != nil {
		s.Logger.Error("state not written", "name", StateName, "error", err)
	}
}

func (s *scheduler) writeState() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.BeatAt = s.Now()
	return s.State.WriteState(StateName, s.state)
}

// Once runs job now, writes down how it went, and returns that.
func Once(ctx context.Context, job Job, options Options) (tape.Run, error) {
	row := runJob(ctx, job, options.Now(), options)
	write, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	if _, err := options.Ledger.PublishRuns(write, []tape.Run{row}); err != nil {
		return row, fmt.Errorf("write down run %q: %w", row.ID, err)
	}
	return row, nil
}

// dueAt is the instant that a run which starts at now was scheduled for: ticks come a moment late, never early.
func dueAt(job Job, now time.Time) time.Time {
	due := now
	for at := job.Next(now.Add(-2 * time.Second)); !at.IsZero() && !at.After(now); at = job.Next(at) {
		due = at
	}
	return due.Truncate(time.Second)
}

// cronLogger passes what robfig/cron has to say to slog; its Info is chatter.
type cronLogger struct{ log *slog.Logger }

func (l cronLogger) Info(message string, keysAndValues ...any) {
	l.log.Debug("cron: "+message, keysAndValues...)
}

func (l cronLogger) Error(err error, message string, keysAndValues ...any) {
	l.log.Error("cron: "+message, append([]any{"error", err}, keysAndValues...)...)
}

// Due is one run that is to come.
type Due struct {
	At  time.Time // UTC
	Job Job
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
			due = append(due, Due{at, job})
		}
	}
	slices.SortStableFunc(due, func(a, b Due) int { return a.At.Compare(b.At) })
	return due[:min(n, len(due))]
}
