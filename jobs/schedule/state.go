package schedule

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"tapedeck/internal/tape"
)

// StateName is the name that the scheduler's State is kept under.
const StateName = "schedule.json"

// State is what the scheduler says about itself, and what it must know of itself after a restart. Times are UTC.
type State struct {
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	BeatAt    time.Time `json:"beat_at"`
	StoppedAt time.Time `json:"stopped_at,omitzero"` // set by a clean end
	// CrontabError says what is wrong with the crontab that is there now, while an older one is in force, since CrontabErrorAt.
	CrontabError   string    `json:"crontab_error,omitempty"`
	CrontabErrorAt time.Time `json:"crontab_error_at,omitzero"`
	// UnwrittenRuns are over but could not be written to the ledger yet.
	UnwrittenRuns int        `json:"unwritten_runs,omitempty"`
	Jobs          []JobState `json:"jobs"`
	// DoneUntil is the instant up to which all of a job is done or given up, by the job's name; never ahead of the ledger.
	DoneUntil map[string]time.Time `json:"done_until"`
}

// JobState is what the scheduler says about one job.
type JobState struct {
	Name   string    `json:"name"`
	NextAt time.Time `json:"next_at,omitzero"`
	// Run is the run under way; written before its process starts.
	Run        *RunState `json:"run,omitempty"`
	Waiting    int       `json:"waiting,omitempty"`     // runs that are due and wait for their turn
	FinishedAt time.Time `json:"finished_at,omitzero"`  // of the last run that is over
	Outcome    string    `json:"outcome,omitempty"`     // of the last run that is over
	Message    string    `json:"message,omitempty"`     // of the last run that is over
	LastDoneAt time.Time `json:"last_done_at,omitzero"` // when a run was last done
	Failures   int       `json:"failures"`              // in a row, up to now
	Totals     Totals    `json:"totals"`                // since the job was first seen
}

// RunState is a run under way.
type RunState struct {
	ID          string    `json:"id"`
	Command     string    `json:"command"`
	ScheduledAt time.Time `json:"scheduled_at"`
	WindowStart time.Time `json:"window_start,omitzero"`
	WindowEnd   time.Time `json:"window_end,omitzero"`
	StartedAt   time.Time `json:"started_at"`
	Attempt     int       `json:"attempt"`
}

// Totals count a job's runs.
type Totals struct {
	Runs map[string]int64 `json:"runs,omitempty"` // by outcome
	// Seconds is how long the runs took in all, and Within how many took at most so many seconds as DurationBounds says.
	Seconds float64 `json:"seconds"`
	Within  []int64 `json:"within,omitempty"`
	Rows    int64   `json:"rows"`
	Bytes   int64   `json:"bytes"`
}

// DurationBounds are the upper bounds of Totals.Within, in seconds.
func DurationBounds() []float64 { return []float64{1, 5, 15, 60, 300, 900, 3600, 21600} }

func (t *Totals) count(row tape.Run) {
	if t.Runs == nil {
		t.Runs = map[string]int64{}
	}
	t.Runs[row.Outcome]++
	t.Rows += row.Rows
	t.Bytes += row.Bytes
	if row.StartedAt == 0 || row.Outcome == lost { // nobody knows how long a lost one took
		return
	}
	if bounds := DurationBounds(); len(t.Within) != len(bounds) {
		t.Within = make([]int64, len(bounds))
	}
	took := float64(row.FinishedAt-row.StartedAt) / 1e6
	t.Seconds += took
	for i, bound := range DurationBounds() {
		if took <= bound {
			t.Within[i]++
		}
	}
}

// The outcomes of a run.
const (
	ok         = "ok"
	incomplete = "incomplete"
	skipped    = "skipped"
	timedOut   = "timeout"
	killed     = "killed"
	lost       = "lost"
	didFail    = "failed"
)

// Outcomes are all that a run can have.
func Outcomes() []string {
	return []string{ok, incomplete, didFail, timedOut, killed, lost, skipped}
}

// done reports whether an outcome is one after which the run's window is not worked on again.
func done(outcome string) bool { return outcome == ok || outcome == incomplete }

// failed reports whether an outcome is one that a person may have to look at.
func failed(outcome string) bool { return outcome == didFail || outcome == timedOut }

// settles is the instant up to which a row of the ledger says that its job is done or given up; zero where it says nothing
// of the kind. The next window begins there, so only what was done, or given up in so many words, ends a window. A job
// without windows has nothing to make up for once it was tried.
func settles(row tape.Run, job Job) time.Time {
	at := time.UnixMicro(row.ScheduledAt).UTC()
	switch {
	case row.ScheduledAt == 0: // run by hand, which changes nothing in what is due
		return time.Time{}
	case done(row.Outcome):
		return at
	case job.Takes == TakesWindow:
		if row.Outcome == skipped && row.WindowEnd != 0 {
			return at
		}
	case row.Outcome == skipped, failed(row.Outcome) && int(row.Attempt) > job.Retries:
		return at
	}
	return time.Time{}
}

// remember reads what the scheduler before this one left: its state, brought up to date from the ledger, which is what
// counts. The rows are those of runs that were under way when it was killed.
func remember(store StateStore, ledger Ledger, jobs []Job) (State, []tape.Run, error) {
	var state State
	err := store.ReadState(StateName, &state)
	known := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return State{}, nil, fmt.Errorf("read the state of the last scheduler: %w", err)
	}
	since := ""
	if known && state.DoneUntil != nil {
		// What is in the ledger and not in the state was written after the state, by a clock that may have been set since.
		since = state.BeatAt.AddDate(0, 0, -2).UTC().Format(time.DateOnly)
	}
	rows, err := ledger.ReadRuns(since, "")
	if err != nil {
		return State{}, nil, fmt.Errorf("read the ledger: %w", err)
	}
	if state.DoneUntil == nil {
		state.DoneUntil = map[string]time.Time{}
	}
	byName := map[string]Job{}
	for _, job := range jobs {
		byName[job.Name] = job
	}
	written := map[string]bool{}
	for _, row := range rows {
		written[row.ID] = true
		job, there := byName[row.Job]
		if !there {
			job.Takes = TakesWindow // what is not known is not counted as done
		}
		if at := settles(row, job); at.After(state.DoneUntil[row.Job]) {
			state.DoneUntil[row.Job] = at
		}
	}
	var left []tape.Run
	for _, job := range state.Jobs {
		if run := job.Run; run != nil && !written[run.ID] {
			left = append(left, run.row(job.Name))
		}
	}
	return state, left, nil
}

// row is the beginning of the run's row.
func (r RunState) row(job string) tape.Run {
	return tape.Run{
		ID: r.ID, Job: job, Command: r.Command, Attempt: int32(r.Attempt), Exit: -1, Outcome: lost,
		ScheduledAt: micros(r.ScheduledAt), StartedAt: micros(r.StartedAt), WindowStart: micros(r.WindowStart), WindowEnd: micros(r.WindowEnd),
	}
}

// jobState is the entry of a job, made if there is none.
func (s *State) jobState(name string) *JobState {
	i := slices.IndexFunc(s.Jobs, func(j JobState) bool { return j.Name == name })
	if i < 0 {
		s.Jobs = append(s.Jobs, JobState{Name: name})
		i = len(s.Jobs) - 1
	}
	return &s.Jobs[i]
}

func (s *State) has(name string) bool {
	return slices.ContainsFunc(s.Jobs, func(j JobState) bool { return j.Name == name })
}

// arrange makes the entries those of jobs, in their order, and keeps what is known of them and what runs of others.
func (s *State) arrange(jobs []Job) {
	var out []JobState
	for _, job := range jobs {
		out = append(out, *s.jobState(job.Name))
	}
	for _, old := range s.Jobs {
		if old.Run != nil && !slices.ContainsFunc(out, func(j JobState) bool { return j.Name == old.Name }) {
			old.NextAt = time.Time{}
			out = append(out, old)
		}
	}
	s.Jobs = out
}

func micros(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMicro()
}
