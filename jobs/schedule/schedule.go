// Package schedule runs tapedeck's own commands at the times that crontab.yaml names. It owns that file's format, when a
// job is due and for which window, the child processes and the ledger.
//
// The guarantee: every run is a child process of the same binary, ends before its timeout and before the scheduler, and leaves a row in
// the tape's runs, also where it was left out or lost. The windows of a job's runs that were done, and of those that were given up in so
// many words, follow one another in the ledger without a hole and without an overlap, whenever and however the scheduler was
// ended. Expressions are those of github.com/robfig/cron, read in UTC unless an entry names a zone; times says what summer time does to them.
package schedule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// StateStore keeps small JSON documents under a name. ReadState gives fs.ErrNotExist where there is none; WriteState replaces
// the one before in one step and returns when that is durable.
type StateStore interface {
	ReadState(name string, v any) error
	WriteState(name string, v any) error
}

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

// adopt makes jobs those in force. Runs of others go on to their end.
func (s *scheduler) adopt(jobs []Job, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		e.gone = true
	}
	for _, job := range jobs {
		s.jobs[job.Name] = job
		latest := job.times.last(now)
		if latest.IsZero() {
			latest = now
		}
		until, known := s.state.DoneUntil[job.Name]
		if !known {
			// A new job has missed nothing: its first window begins at the instant at which it would have been due last.
			until = latest
			s.state.DoneUntil[job.Name] = until
		}
		e := s.entries[job.Name]
		switch {
		case e == nil:
			e = &entry{seen: until, done: until}
			// One that stood in no crontab meanwhile was not due; and where the clock was ahead it is due again.
			if s.state.Find(job.Name) == nil || job.Takes != TakesWindow && until.After(now) {
				e.seen = latest
			}
			s.entries[job.Name] = e
		case e.job.Spec != job.Spec || e.job.Location.String() != job.Location.String():
			// By its old schedule it was up to date; by the new one it is due from now on.
			e.seen = now
			e.queue = nil
		}
		e.job, e.gone = job, false
		e.next = job.Next(e.seen)
	}
	for name, e := range s.entries {
		if e.gone {
			e.queue = nil
			if e.active == nil {
				delete(s.entries, name)
			}
		}
	}
	s.Jobs = jobs
	arrange(&s.state, jobs)
	for _, e := range s.entries {
		s.note(e)
	}
}

// note takes what is known of an entry into the state; the caller holds mu.
func (s *scheduler) note(e *entry) {
	job := s.state.Job(e.job.Name)
	job.NextAt, job.Waiting = e.next, len(e.queue)
	if e.gone {
		job.NextAt = time.Time{}
	}
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

// look takes over a crontab that has changed; a broken one leaves the old one in force.
func (s *scheduler) look(now time.Time) {
	if s.Crontab == nil {
		return
	}
	jobs, changed, err := s.Crontab.Look(now)
	switch {
	case err != nil:
		if changed {
			s.Logger.Error("crontab is wrong; the one before it stays in force", "error", err)
		}
		if changed || !s.crontabWasWrong() {
			s.update(func(state *state.Scheduler) {
				if state.CrontabError == "" {
					state.CrontabErrorAt = now
				}
				state.CrontabError = err.Error()
			})
		}
	case changed:
		s.adopt(jobs, now)
		s.update(func(state *state.Scheduler) { state.CrontabError, state.CrontabErrorAt = "", time.Time{} })
		s.Logger.Info("crontab taken over", "jobs", len(jobs))
	case s.crontabWasWrong():
		s.update(func(state *state.Scheduler) { state.CrontabError, state.CrontabErrorAt = "", time.Time{} })
		s.Logger.Info("crontab is again the one in force")
	}
}

func (s *scheduler) crontabWasWrong() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.CrontabError != ""
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

// write puts a row down; taken is false where there will be none. What became durable settles its jobs' windows.
func (s *scheduler) write(row tape.Run) (taken bool) {
	durable, taken := s.book.write(s.end, row)
	s.settle(durable)
	return taken
}

// settle takes durable rows into the state.
func (s *scheduler) settle(rows []tape.Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		if at := settles(row, s.jobs[row.Job]); at.After(s.state.DoneUntil[row.Job]) {
			s.state.DoneUntil[row.Job] = at
		}
	}
}

// update changes the state and writes it; a state that cannot be written is logged once, for the ledger is what counts.
func (s *scheduler) update(change func(*state.Scheduler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
	s.describe()
	err := s.State.WriteState(state.SchedulerFile, s.state)
	if err != nil && !s.mute {
		s.Logger.Error("state not written", "name", state.SchedulerFile, "error", err)
	}
	s.mute = err != nil
}

// describe fills in what changes by itself; the caller holds mu.
func (s *scheduler) describe() {
	s.state.BeatAt = s.Now().UTC()
	s.state.UnwrittenRuns = s.book.waiting()
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
