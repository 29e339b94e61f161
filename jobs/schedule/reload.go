package schedule

import (
	"cmp"
	"time"

	"tapedeck/internal/state"
)

// setJobs replaces the jobs of the schedule. Active runs of removed jobs go on to their end.
func (s *scheduler) setJobs(jobs []Job, now time.Time) {
	s.mu.Lock()
	for _, e := range s.entries {
		e.removed = true
	}
	for _, job := range jobs {
		s.jobs[job.Name] = job
		latest := cmp.Or(job.times.last(now), now)
		until, known := s.state.DoneUntil[job.Name]
		if !known {
			// A new job has missed nothing: its first window begins when it would last have been
			// due.
			until = latest
			s.state.DoneUntil[job.Name] = until
		}
		e := s.entries[job.Name]
		switch {
		case e == nil:
			e = &entry{considered: until, doneUntil: until, isNew: !known}
			// A job that was not in the crontab meanwhile has missed nothing. If the clock was
			// ahead, a job without a window is due again.
			if s.state.Find(job.Name) == nil || job.Window != WindowSinceDone && until.After(now) {
				e.considered = latest
			}
			s.entries[job.Name] = e
		case e.job.Spec != job.Spec || e.job.Location.String() != job.Location.String():
			// Nothing is overdue under the new schedule.
			e.considered = now
			e.queue = nil
		}
		e.job, e.removed = job, false
		e.nextDue = job.Next(e.considered)
	}
	for name, e := range s.entries {
		if e.removed {
			e.queue = nil
			if e.cancel == nil {
				delete(s.entries, name)
			}
		}
	}
	s.Jobs = jobs
	arrangeJobs(&s.state, jobs)
	s.mu.Unlock()
	for _, e := range s.entries {
		s.showEntry(e)
	}
}

// reload reads the crontab and applies it if it has changed. A wrong crontab leaves the old one in
// force.
func (s *scheduler) reload(now time.Time) {
	if s.Crontab == nil {
		return
	}
	jobs, err := s.Crontab.Read(now)
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	s.mu.Lock()
	previous := s.state.CrontabError
	s.mu.Unlock()
	if jobs == nil && problem == previous {
		return
	}
	if err != nil {
		s.Logger.Error("crontab is wrong; the previous one stays in force", "error", err)
	} else {
		s.setJobs(jobs, now)
		s.Logger.Info("crontab reloaded", "jobs", len(jobs))
	}
	s.update(func(current *state.Scheduler) {
		current.CrontabError = problem
		switch {
		case problem == "":
			current.CrontabErrorAt = time.Time{}
		case previous == "":
			current.CrontabErrorAt = now
		}
	})
}
