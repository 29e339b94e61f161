package state

import (
	"maps"
	"slices"
	"time"
)

// SchedulerFile is the name of the file that holds a Scheduler.
const SchedulerFile = "schedule.json"

// Scheduler is what the scheduler says about itself, and what it needs after a restart. Times are
// UTC.
type Scheduler struct {
	Beat                // at BeatAt
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	BeatAt    time.Time `json:"beat_at"`             // when this was last written, whether anything changed or not
	StoppedAt time.Time `json:"stopped_at,omitzero"` // set by a clean stop
	// CrontabError says what is wrong with the crontab file, while an older version stays in force.
	// It has been wrong since CrontabErrorAt.
	CrontabError   string    `json:"crontab_error,omitempty"`
	CrontabErrorAt time.Time `json:"crontab_error_at,omitzero"`
	// UnwrittenRuns counts the finished runs that are not in the ledger yet because it cannot be
	// written.
	UnwrittenRuns int   `json:"unwritten_runs,omitempty"`
	Jobs          []Job `json:"jobs"`
	// DoneUntil maps the name of a job to the instant up to which its work is done or given up. It
	// is never ahead of the ledger.
	DoneUntil map[string]time.Time `json:"done_until"`
	// Disbelieved maps the id of a run to when it was due, if its work does not count as done because
	// the clock was ahead then. It holds those of the last days.
	Disbelieved map[string]time.Time `json:"disbelieved,omitempty"`
}

// disbelievedFor is how long after it was due a run is remembered in Disbelieved. By then a later run
// has settled its window.
const disbelievedFor = 30 * 24 * time.Hour

// Disbelieve adds a run, due at that time, to Disbelieved, and forgets the oldest.
func (s *Scheduler) Disbelieve(runID string, due time.Time) {
	if s.Disbelieved == nil {
		s.Disbelieved = map[string]time.Time{}
	}
	maps.DeleteFunc(s.Disbelieved, func(_ string, other time.Time) bool { return due.Sub(other) > disbelievedFor })
	s.Disbelieved[runID] = due
}

// Job is the state of one job of the schedule.
type Job struct {
	Name       string     `json:"name"`
	NextAt     time.Time  `json:"next_at,omitzero"`
	Run        *ActiveRun `json:"run,omitempty"`         // the run in progress; written before its process starts
	Waiting    int        `json:"waiting,omitempty"`     // runs that are due and queued
	FinishedAt time.Time  `json:"finished_at,omitzero"`  // of the last finished run
	Outcome    Outcome    `json:"outcome,omitempty"`     // of the last finished run
	Message    string     `json:"message,omitempty"`     // of the last finished run
	LastDoneAt time.Time  `json:"last_done_at,omitzero"` // when a run was last done
	Failures   int        `json:"failures"`              // consecutive failed runs up to now
	Totals     RunTotals  `json:"totals"`                // since the job was first scheduled
}

// ActiveRun is a run in progress.
type ActiveRun struct {
	ID          string    `json:"id"`
	Command     string    `json:"command"`
	ScheduledAt time.Time `json:"scheduled_at"`
	WindowStart time.Time `json:"window_start,omitzero"`
	WindowEnd   time.Time `json:"window_end,omitzero"`
	StartedAt   time.Time `json:"started_at"`
	Attempt     int       `json:"attempt"` // 1 is the first
}

// RunTotals count the runs of a job.
type RunTotals struct {
	Runs    map[Outcome]int64 `json:"runs,omitempty"`
	Seconds float64           `json:"seconds"` // how long all timed runs took together
	// Within counts, for each of DurationBounds, the timed runs that took no longer than that.
	Within []int64 `json:"within,omitempty"`
	Rows   int64   `json:"rows"`
	Bytes  int64   `json:"bytes"`
}

// DurationBounds returns the upper bounds of RunTotals.Within, in seconds, ascending.
func DurationBounds() []float64 { return []float64{1, 5, 15, 60, 300, 900, 3600, 21600} }

// Add counts a run. took is ignored if the outcome is not timed.
func (t *RunTotals) Add(outcome Outcome, took time.Duration, rows, bytes int64) {
	if t.Runs == nil {
		t.Runs = map[Outcome]int64{}
	}
	t.Runs[outcome]++
	t.Rows += rows
	t.Bytes += bytes
	if !outcome.Timed() {
		return
	}
	bounds := DurationBounds()
	if len(t.Within) != len(bounds) {
		t.Within = make([]int64, len(bounds))
	}
	t.Seconds += took.Seconds()
	for i, bound := range bounds {
		if took.Seconds() <= bound {
			t.Within[i]++
		}
	}
}

// Find returns the job of that name, or nil.
func (s *Scheduler) Find(name string) *Job {
	if i := slices.IndexFunc(s.Jobs, func(j Job) bool { return j.Name == name }); i >= 0 {
		return &s.Jobs[i]
	}
	return nil
}

// Job returns the job of that name, which is added if it is missing. The pointer is valid until the
// next job is added.
func (s *Scheduler) Job(name string) *Job {
	if job := s.Find(name); job != nil {
		return job
	}
	s.Jobs = append(s.Jobs, Job{Name: name})
	return &s.Jobs[len(s.Jobs)-1]
}
