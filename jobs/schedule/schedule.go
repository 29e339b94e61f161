// Package schedule runs tapedeck's own commands at the times that crontab.yaml names. It owns that file's format, when a
// job is due and for which window, the child processes and the ledger.
//
// The guarantee: every run is a child process of the same binary, ends before its timeout and before the scheduler, and leaves a row in
// the tape's runs, also where it was left out or lost. The windows of a job's runs that were done, and of those that were given up in so
// many words, follow one another in the ledger without a hole and without an overlap, whenever and however the scheduler was
// ended. Expressions are those of github.com/robfig/cron, read in UTC unless an entry names a zone; times says what summer time does to them.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// Options are what the scheduler works with. Those from Crontab on are optional.
type Options struct {
	Jobs   []Job
	Start  Start
	Ledger Ledger
	State  StateStore
	Logger *slog.Logger
	Now    func() time.Time
	PID    int

	Crontab  *Crontab                             // looked at for changes; nil: the jobs stay as they are
	Reload   <-chan struct{}                      // has Crontab looked at now
	Notifier Notifier                             // hears of jobs with on_failure: notify; nil: only the log does
	Ping     Ping                                 // nil: nobody is pinged
	After    func(time.Duration) <-chan time.Time // time.After, or that of Now's own clock
	Beat     time.Duration                        // how often the state is written although nothing happens; 0 is 15 s
}

const (
	// beat is how often the state is written although nothing happens, so that `health` can tell a scheduler that lives from
	// one that hangs.
	beat = 15 * time.Second
	// lookEvery is how often the crontab is looked at. Its content is compared, for a file mounted into a container tells nobody that it changed.
	lookEvery = 2 * time.Second
)

// scheduler is one running scheduler.
type scheduler struct {
	Options
	end   context.Context // done when the scheduler is told to stop; runs end with it
	book  *book
	pings *pinger

	entries map[string]*entry // owned by the loop
	endings chan ending

	mu    sync.Mutex // guards what follows
	state state.Scheduler
	jobs  map[string]Job  // by name, those that are gone, too
	told  map[string]bool // jobs whose failure people know of
	mute  bool            // that the state cannot be written was logged
}

func newScheduler(ctx context.Context, options Options) *scheduler {
	if options.After == nil {
		options.After = time.After
	}
	if options.Beat == 0 {
		options.Beat = beat
	}
	return &scheduler{
		Options: options, end: ctx, book: &book{ledger: options.Ledger, log: options.Logger, written: map[string]int{}}, pings: newPinger(ctx, options),
		entries: map[string]*entry{}, endings: make(chan ending), jobs: map[string]Job{}, told: map[string]bool{},
	}
}

// Run starts the jobs at their times until ctx is done. Then it starts nothing more, ends what runs and writes down how it
// ended. It first makes up for what the scheduler before it left. An error means that it could not begin, or at the end that rows could not be
// written to the ledger. Only one scheduler may run on a ledger: see Claim.
func Run(ctx context.Context, options Options) error {
	s := newScheduler(ctx, options)
	defer s.pings.stop()
	if err := s.begin(); err != nil {
		return err
	}
	s.Logger.Info("scheduler started", "jobs", len(options.Jobs))
	s.loop(ctx)
	for _, e := range s.entries {
		for e.active != nil { // it ends by ctx; it returns when its process is gone and its row is written
			over := <-s.endings
			s.entries[over.job].active = nil
		}
	}
	s.pings.close()
	s.settle(s.book.retry(ctx))
	s.book.tidy(context.WithoutCancel(ctx))
	s.update(func(state *state.Scheduler) { state.StoppedAt = s.Now().UTC() })
	if left := s.book.waiting(); left > 0 {
		return fmt.Errorf("write the ledger: %d runs could not be written and are lost; what they did is done again", left)
	}
	s.Logger.Info("scheduler stopped")
	return nil
}

// begin takes over from the scheduler before: it writes down the runs that one lost, and sees what is owed.
func (s *scheduler) begin() error {
	before, lost, err := remember(s.State, s.Ledger, s.Jobs)
	if err != nil {
		return err
	}
	now := s.Now().UTC()
	s.state = state.Scheduler{PID: s.PID, StartedAt: now, BeatAt: now, Jobs: before.Jobs, DoneUntil: before.DoneUntil}
	for i := range s.state.Jobs {
		entry := &s.state.Jobs[i]
		entry.Run, entry.Waiting = nil, 0
		s.told[entry.Name] = entry.Failures > 0
	}
	for _, row := range lost {
		row.FinishedAt, row.Message = max(now.UnixMicro(), row.StartedAt), "the scheduler was killed while it ran"
		s.Logger.Error("run lost: the scheduler was killed while it ran", "job", row.Job, "run_id", row.ID)
		job := s.state.Job(row.Job)
		job.Outcome = state.Lost
		count(&job.Totals, row)
		s.book.write(s.end, row)
	}
	s.adopt(s.Jobs, now)
	for _, job := range s.Jobs {
		if e := s.entries[job.Name]; e.next.Before(now) && !e.next.IsZero() {
			s.Logger.Warn("runs missed while there was no scheduler", "job", job.Name, "since", e.next, "catch_up", string(job.CatchUp))
		}
	}
	for _, at := range []time.Time{now.AddDate(0, 0, -1), now} {
		s.book.mergeSoon(tape.DateOf(at.UnixMicro()))
	}
	s.book.tidy(s.end)
	// From here on every window begins where the state says.
	if err := s.State.WriteState(state.SchedulerFile, s.state); err != nil {
		return fmt.Errorf("write the scheduler's state: %w", err)
	}
	return nil
}

// loop starts what is due until ctx is done.
func (s *scheduler) loop(ctx context.Context) {
	looked, beaten, before := s.Now(), s.Now(), s.Now()
	for ctx.Err() == nil {
		now := s.Now().UTC()
		if now.Before(before.Add(-punctual)) {
			s.turnBack(now)
		}
		before = now
		if now.Sub(looked) >= lookEvery || now.Before(looked) {
			looked = now
			s.look(now)
		}
		for _, e := range s.inOrder() {
			s.tick(e, now)
			s.startNext(e, now)
		}
		if now.Sub(beaten) >= s.Beat || now.Before(beaten) {
			beaten = now
			s.settle(s.book.retry(ctx))
			s.book.tidy(ctx)
			s.update(func(*state.Scheduler) {})
		}
		select {
		case <-ctx.Done():
		case over := <-s.endings:
			s.ended(over)
		case <-s.Reload:
			s.look(s.Now().UTC())
		case <-s.After(s.pause(s.Now(), beaten)):
		}
	}
}

// pause is how long there is nothing to do. It is never long, for a machine may have slept or its clock been set meanwhile.
func (s *scheduler) pause(now, beaten time.Time) time.Duration {
	until := beaten.Add(s.Beat)
	if s.Crontab != nil && now.Add(lookEvery).Before(until) {
		until = now.Add(lookEvery)
	}
	for _, e := range s.entries {
		if !e.gone && !e.next.IsZero() && e.next.Before(until) {
			until = e.next
		}
		if len(e.queue) > 0 && e.active == nil {
			if at := e.queue[0].Add(delayOf(e.job, e.queue[0])); at.Before(until) {
				until = at
			}
		}
	}
	return max(until.Sub(now), 0)
}

// Once runs job now, outside of what is due, writes down how it went, and returns that. A job that takes a window gets the time since
// the last one that was done; what is due later is not changed by it.
func Once(ctx context.Context, job Job, options Options) (tape.Run, error) {
	before, _, err := remember(options.State, options.Ledger, []Job{job})
	if err != nil {
		return tape.Run{}, err
	}
	s := newScheduler(ctx, options)
	defer s.pings.stop()
	now := options.Now().UTC().Truncate(time.Second)
	from, known := before.DoneUntil[job.Name]
	if !known || !from.Before(now) {
		if from = job.times.last(now.Add(-time.Nanosecond)); from.IsZero() {
			from = now.Add(-24 * time.Hour)
		}
	}
	row := s.attempt(ctx, task{job: job, due: now, from: from, byHand: true}, 1)
	if _, taken := s.book.write(ctx, row); !taken || s.book.waiting() > 0 {
		return row, errors.New("write down the run: the ledger cannot be written")
	}
	return row, nil
}
