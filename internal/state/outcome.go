package state

// Outcome says how a run of a job ended. Every outcome is exactly one of done, failed, interrupted
// and skipped, so that the scheduler, `tapedeck runs` and the notifications agree on what a failure
// is.
type Outcome string

// The outcomes of a run.
const (
	OK         Outcome = "ok"         // exit status 0
	Incomplete Outcome = "incomplete" // exit status 3: done, but something could not be had or a check failed
	Failed     Outcome = "failed"     // any other exit status, a crash, or a process that did not start
	Timeout    Outcome = "timeout"    // stopped by the scheduler because it took too long
	Killed     Outcome = "killed"     // stopped by the scheduler, which was stopping or replaced the run
	Lost       Outcome = "lost"       // cut off because the scheduler itself was killed
	Skipped    Outcome = "skipped"    // never started
)

// Outcomes returns all outcomes, in the order in which they are listed for people.
func Outcomes() []Outcome {
	return []Outcome{OK, Incomplete, Failed, Timeout, Killed, Lost, Skipped}
}

// Done reports whether the run covered its window, so that no later run has to.
func (o Outcome) Done() bool { return o == OK || o == Incomplete }

// Failed reports whether the run failed by its own fault. Only such a run is retried, counted as a
// failure of its job and reported to people.
func (o Outcome) Failed() bool { return o == Failed || o == Timeout }

// Interrupted reports whether the run started and was cut off for a reason outside of the job. It
// says nothing about the job; what the run was to do is still due.
func (o Outcome) Interrupted() bool { return o == Killed || o == Lost }

// Unfinished reports whether the run started and did not get done: it failed or was interrupted.
// `tapedeck runs --failed` lists these.
func (o Outcome) Unfinished() bool { return o.Failed() || o.Interrupted() }

// Timed reports whether the time between the run's start and its finish is how long it took. A
// skipped run took none, and the time at which a lost run ended is unknown.
func (o Outcome) Timed() bool { return o != Skipped && o != Lost }
