package schedule

import (
	"time"

	"tapedeck/internal/state"
)

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
