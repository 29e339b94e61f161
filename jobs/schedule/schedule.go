// Package schedule runs tapedeck commands at the times listed in crontab.yaml. It owns the format
// of that file, when a job is due and for which window, the child processes, and the ledger of
// runs.
//
// Its guarantee: every run is a child process of the same binary and ends before its timeout and
// before the scheduler. Every run leaves a row in the table runs, even one that was skipped or
// lost. The windows of a job that were done or explicitly given up follow one another in the ledger
// without a gap or an overlap, whenever and however the scheduler was stopped. Windows that reached
// into the future of a clock that was set back do not count: they are done again.
// docs/CONFIGURATION.md specifies crontab.yaml.
package schedule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// StateStore stores small JSON documents by name. A state.Dir is one.
type StateStore interface {
	// Read decodes a document into v. The error is fs.ErrNotExist if there is none, and a
	// *state.DamagedError if it is damaged.
	Read(name string, v any) error
	// SetAside keeps a damaged document where Read does not find it.
	SetAside(name string) error
	// Write replaces a document atomically and returns when that is durable.
	Write(name string, v any) error
}

// Options configure a scheduler. The fields from Crontab on are optional.
type Options struct {
	Jobs   []Job
	Start  Start
	Ledger Ledger
	State  StateStore
	Logger *slog.Logger
	Now    func() time.Time // the system's clock, which may be set at any time

	Uptime func() state.Uptime // nil: unknown; signs of life are by the clock only then
	// ExchangeTime returns what time it is at the exchange at least; zero if that is unknown. Windows up
	// to then are not in the future, even if the clock says so. It is only asked then. May be nil.
	ExchangeTime func(context.Context) time.Time
	Crontab      *Crontab                             // checked for changes; nil: the jobs never change
	Reload       <-chan os.Signal                     // makes the scheduler check Crontab immediately
	Notifier     Notifier                             // for jobs with on_failure: notify; nil: failures are only logged
	Ping         Ping                                 // nil: no pings are sent
	After        func(time.Duration) <-chan time.Time // time.After, or that of the clock behind Now
	Heartbeat    time.Duration                        // how often the state is written although nothing changed; 0 is 15 s
	// Observe, if set, is called with a copy of the jobs' states whenever one changed. It must not
	// block.
	Observe func([]state.Job)
}

const (
	// defaultHeartbeat is a quarter of the age at which `tapedeck health` calls the scheduler dead.
	defaultHeartbeat = 15 * time.Second
	// crontabInterval is how often the crontab is read. File notifications do not reach a file that
	// is mounted into a container, so its content is compared.
	crontabInterval = 2 * time.Second
)

// ErrLocked is returned by Lock if another scheduler holds the lock.
var ErrLocked = errors.New("another scheduler runs on this data directory")

// Lock makes this process the only scheduler of a ledger, by a lock on the file at path, until
// unlock is called or the process ends.
func Lock(path string) (unlock func(), err error) {
	unlock, err = durable.TryLock(path)
	if errors.Is(err, durable.ErrLocked) {
		return nil, ErrLocked
	}
	return unlock, err
}

// scheduler is one running scheduler.
type scheduler struct {
	Options
	ctx    context.Context // done when the scheduler is to stop; runs end with it
	writer *ledgerWriter
	pings  *pinger

	entries map[string]*entry // by job name; used by the loop only
	// startedAt is when the scheduler started, by the clock as it is set now.
	startedAt   time.Time
	startUptime state.Uptime
	finished    chan finishedRun

	mu       sync.Mutex // guards the fields below
	state    state.Scheduler
	jobs     map[string]Job          // by name, including those removed from the crontab
	settled  map[string][]settledRun // by job name, oldest first
	notified map[string]bool         // jobs whose failure was reported to people
	unstored bool                    // the last write of the state failed
}

func newScheduler(ctx context.Context, options Options) *scheduler {
	if options.After == nil {
		options.After = time.After
	}
	options.Heartbeat = cmp.Or(options.Heartbeat, defaultHeartbeat)
	return &scheduler{
		Options: options, ctx: ctx, pings: newPinger(ctx, options),
		writer:  &ledgerWriter{ledger: options.Ledger, log: options.Logger, unmerged: map[string]int{}},
		entries: map[string]*entry{}, finished: make(chan finishedRun),
		jobs: map[string]Job{}, settled: map[string][]settledRun{}, notified: map[string]bool{},
	}
}

// Run starts the jobs at their times until ctx is done, after making up for runs that were missed
// while no scheduler ran. Then it stops the active runs, writes how they ended, and returns. It
// returns an error if it cannot start, or if rows of the ledger could not be written by the end.
// Only one scheduler may use a ledger: see Lock.
func Run(ctx context.Context, options Options) error {
	s := newScheduler(ctx, options)
	defer s.pings.cancel()
	if err := s.restore(); err != nil {
		return err
	}
	s.Logger.Info("scheduler started", "jobs", len(options.Jobs))
	s.loop(ctx)
	for _, e := range s.entries {
		for e.cancel != nil { // ctx ends the run; it is finished when its process is gone and its row is written
			run := <-s.finished
			s.entries[run.job].cancel = nil
		}
	}
	s.pings.close()
	s.advance(s.writer.retry(ctx))
	s.writer.merge(context.WithoutCancel(ctx))
	s.update(func(current *state.Scheduler) { current.StoppedAt = s.Now().UTC() })
	if n := s.writer.pendingRows(); n > 0 {
		return fmt.Errorf("write the ledger: %s could not be written; their work will be done again", wording.Count(n, "run"))
	}
	s.Logger.Info("scheduler stopped")
	return nil
}

// restore takes over from the previous scheduler: it writes the rows of the runs that were lost
// with it, and sets up the entries.
func (s *scheduler) restore() error {
	now := s.Now().UTC()
	previous, settled, lost, err := restoreState(s.ctx, s.Options, s.Jobs, now)
	if err != nil {
		return err
	}
	s.settled, s.startedAt, s.startUptime = settled, now, s.uptime()
	s.state = state.Scheduler{
		PID: os.Getpid(), StartedAt: now, BeatAt: now, Jobs: previous.Jobs, DoneUntil: previous.DoneUntil,
		Disbelieved: previous.Disbelieved,
	}
	for i := range s.state.Jobs {
		job := &s.state.Jobs[i]
		job.Run, job.Waiting = nil, 0
		s.notified[job.Name] = job.Failures > 0
	}
	for _, row := range lost {
		row.FinishedAt, row.Message = max(now.UnixMicro(), row.StartedAt), "the scheduler was killed during the run"
		s.Logger.Error("run lost: the scheduler was killed", "job", row.Job, "run_id", row.ID)
		job := s.state.Job(row.Job)
		job.Outcome = state.Lost
		addToTotals(&job.Totals, row)
		s.writer.write(s.ctx, row)
	}
	s.setJobs(s.Jobs, now)
	for _, job := range s.Jobs {
		if e := s.entries[job.Name]; e.nextDue.Before(now) && !e.nextDue.IsZero() {
			s.Logger.Warn("runs missed while no scheduler ran",
				"job", job.Name, "since", e.nextDue, "catch_up", string(job.CatchUp))
		}
	}
	for _, at := range []time.Time{now.AddDate(0, 0, -1), now} {
		s.writer.requestMerge(tape.DateOf(at.UnixMicro()))
	}
	s.writer.merge(s.ctx)
	// From here on every window begins where the state says.
	if err := s.State.Write(state.SchedulerFile, s.state); err != nil {
		return fmt.Errorf("write the scheduler's state: %w", err)
	}
	return nil
}

// loop starts due runs until ctx is done.
func (s *scheduler) loop(ctx context.Context) {
	crontabRead, stateWritten, last := s.Now(), s.Now(), s.Now()
	for ctx.Err() == nil {
		now := s.Now().UTC()
		if now.Before(last.Add(-startTolerance)) {
			s.clockSetBack(now)
		}
		last = now
		s.noticeStartTime(now)
		if now.Sub(crontabRead) >= crontabInterval || now.Before(crontabRead) {
			crontabRead = now
			s.reload(now)
		}
		// By name, so that runs due at the same instant start in a fixed order.
		for _, name := range slices.Sorted(maps.Keys(s.entries)) {
			e := s.entries[name]
			s.enqueueDue(e, now)
			s.startNext(e, now)
		}
		if now.Sub(stateWritten) >= s.Heartbeat || now.Before(stateWritten) {
			stateWritten = now
			s.believe(now)
			s.advance(s.writer.retry(ctx))
			s.writer.merge(ctx)
			s.update(func(*state.Scheduler) {})
		}
		select {
		case <-ctx.Done():
		case run := <-s.finished:
			s.finish(run)
		case <-s.Reload:
			s.reload(s.Now().UTC())
		case <-s.After(s.untilNextEvent(s.Now(), stateWritten)):
		}
	}
}

// untilNextEvent returns how long the loop has nothing to do. It is never more than a heartbeat,
// because the machine may have been suspended or its clock set meanwhile.
func (s *scheduler) untilNextEvent(now, stateWritten time.Time) time.Duration {
	next := stateWritten.Add(s.Heartbeat)
	if s.Crontab != nil && now.Add(crontabInterval).Before(next) {
		next = now.Add(crontabInterval)
	}
	for _, e := range s.entries {
		if !e.removed && !e.nextDue.IsZero() && e.nextDue.Before(next) {
			next = e.nextDue
		}
		if len(e.queue) > 0 && e.cancel == nil {
			if at := e.queue[0].Add(startDelay(e.job, e.queue[0])); at.Before(next) {
				next = at
			}
		}
	}
	// The clock may have been set since stateWritten.
	return min(max(next.Sub(now), 0), s.Heartbeat)
}

// Once runs job now, whether it is due or not, writes its row and returns that. A job that takes a
// window gets the time since its last window that was done. Runs that are due later are not
// affected.
func Once(ctx context.Context, job Job, options Options) (tape.Run, error) {
	now := options.Now().UTC().Truncate(time.Second)
	previous, _, _, err := restoreState(ctx, options, []Job{job}, now)
	if err != nil {
		return tape.Run{}, err
	}
	s := newScheduler(ctx, options)
	defer s.pings.cancel()
	from, known := previous.DoneUntil[job.Name]
	if !known || !from.Before(now) {
		if from = job.times.last(now.Add(-time.Nanosecond)); from.IsZero() {
			from = now.Add(-24 * time.Hour)
		}
	}
	row := s.attempt(ctx, task{job: job, due: now, from: from, unscheduled: true}, 1)
	if _, accepted := s.writer.write(ctx, row); !accepted || s.writer.pendingRows() > 0 {
		return row, errors.New("write the run's row: the ledger cannot be written")
	}
	return row, nil
}
