package schedule

import (
	"context"
	"fmt"

	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/window"
)

// steppedClock is a clock that is right except for an offset, which a test sets.
type steppedClock struct{ offset atomic.Int64 }

func (c *steppedClock) now() time.Time {
	return time.Now().UTC().Round(0).Add(time.Duration(c.offset.Load()))
}

func (c *steppedClock) set(offset time.Duration) { c.offset.Store(int64(offset)) }

// doneRun is a run that was done: its window, and the true time at which it started.
type doneRun struct {
	window window.Window
	at     time.Time
}

func (r doneRun) String() string {
	const layout = "02 15:04:05"
	return fmt.Sprintf("at %s [%s, %s)", r.at.Format(layout), r.window.Start.Format(layout), r.window.End.Format(layout))
}

// clockStep sets the clock's offset at a true time of the first day, or at "start" and "stop" the
// scheduler.
type clockStep struct {
	at     string
	offset time.Duration
	do     string
}

// runWithSteps runs schedulers of one job by a stepped clock through steps, and returns the runs that were
// done. The job's runs end with status 0, or if asks is true with 3 and what they have covered: what was
// past when they started.
func runWithSteps(t *testing.T, entry string, asks bool, exchangeTime func(context.Context) time.Time, steps []clockStep) (runs []doneRun, midnight time.Time) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ledger, clock := &memoryLedger{}, &steppedClock{}
		midnight = time.Now().UTC()
		start := func(_ context.Context, args []string, _ string, _ func(string)) Exit {
			run, err := doneRun{at: time.Now().UTC()}, error(nil)
			if run.window.Start, err = time.Parse(time.RFC3339Nano, args[slices.Index(args, "--from")+1]); err != nil {
				t.Error(err)
			}
			if run.window.End, err = time.Parse(time.RFC3339Nano, args[slices.Index(args, "--to")+1]); err != nil {
				t.Error(err)
			}
			runs = append(runs, run)
			if asks && run.window.End.After(run.at) {
				return Exit{Code: 3, Report: Report{CoveredUntil: run.at}}
			}
			return Exit{}
		}
		jobs := parseJobs(t, "jobs:\n- {name: a, "+entry+"}\n")
		var stop func()
		for _, step := range steps {
			at, err := time.Parse("15:04:05", step.at)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(midnight.Add(at.Sub(at.Truncate(24 * time.Hour)))))
			clock.set(step.offset)
			switch step.do {
			case "start":
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				options := options(jobs, ledger, start)
				options.Uptime = func() state.Uptime { return state.Uptime{Boot: "boot", Since: time.Since(midnight)} }
				options.Now, options.ExchangeTime, options.Heartbeat = clock.now, exchangeTime, time.Minute
				go func() { ended <- Run(ctx, options) }()
				stop = func() {
					cancel()
					if err := <-ended; err != nil {
						t.Error(err)
					}
				}
			case "stop":
				stop()
			}
		}
	})
	return runs, midnight
}

// hole returns the first part of w that no run has done: a run did what of its window was past when it
// started.
func hole(w window.Window, runs []doneRun) window.Window {
	var done []window.Window
	for _, run := range runs {
		done = append(done, run.window.Intersect(window.Window{Start: run.window.Start, End: run.at}))
	}
	if rest := w.Subtract(window.Merge(done)); len(rest) > 0 {
		return rest[0]
	}
	return window.Window{}
}

// claimed returns runs that did all of their windows, whether these were past or not.
func claimed(runs []doneRun) []doneRun {
	runs = slices.Clone(runs)
	for i, run := range runs {
		runs[i].at = run.window.End
	}
	return runs
}

// TestClockStepsSkipNoWindow requires that a clock that is wrong for a while makes no job skip time, or
// wait until the wrong time comes: whether it is wrong at the start, in the middle or over a restart, for
// seconds or hours, ahead or behind, and whether runs notice that their window is in the future or not.
func TestClockStepsSkipNoWindow(t *testing.T) {
	shapes := map[string]func(wrong time.Duration) []clockStep{
		"for a minute in the middle": func(wrong time.Duration) []clockStep {
			return []clockStep{{"00:30:00", 0, "start"}, {"02:10:00", wrong, ""}, {"02:11:05", 0, ""}, {"05:30:00", 0, "stop"}}
		},
		"for 2 hours in the middle": func(wrong time.Duration) []clockStep {
			return []clockStep{{"00:30:00", 0, "start"}, {"02:10:00", wrong, ""}, {"04:10:00", 0, ""}, {"07:30:00", 0, "stop"}}
		},
		"at the first start": func(wrong time.Duration) []clockStep {
			return []clockStep{{"00:30:00", wrong, "start"}, {"00:31:00", 0, ""}, {"03:30:00", 0, "stop"}}
		},
		"at a later start": func(wrong time.Duration) []clockStep {
			return []clockStep{{"00:30:00", 0, "start"}, {"02:10:00", 0, "stop"}, {"02:20:00", wrong, "start"}, {"02:21:05", 0, ""}, {"05:30:00", 0, "stop"}}
		},
		"until a restart": func(wrong time.Duration) []clockStep {
			return []clockStep{{"00:30:00", 0, "start"}, {"02:10:00", wrong, ""}, {"02:20:00", wrong, "stop"}, {"02:20:10", 0, "start"}, {"05:30:00", 0, "stop"}}
		},
		"two days in turn": func(wrong time.Duration) []clockStep {
			return []clockStep{{"00:30:00", 0, "start"}, {"01:10:00", wrong, ""}, {"01:11:00", 0, ""}, {"03:10:00", 2 * wrong, ""},
				{"03:11:00", wrong, ""}, {"04:30:00", 0, ""}, {"07:30:00", 0, "stop"}}
		},
	}
	for shape, steps := range shapes {
		for _, wrong := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
			for _, entry := range []string{"schedule: '0 * * * *', run: backfill", "schedule: '*/20 * * * *', run: backfill, catch_up: all, catch_up_limit: 5",
				"schedule: '0 * * * *', run: backfill, overlap: queue"} {
				if testing.Short() && wrong < 24*time.Hour && !strings.HasSuffix(entry, "backfill") {
					continue
				}
				for _, asks := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s %v %s asks %v", shape, wrong, entry, asks), func(t *testing.T) {
						all := steps(wrong)
						runs, midnight := runWithSteps(t, entry, asks, nil, all)
						timeOf := func(step clockStep) time.Time {
							at, err := time.Parse("15:04:05", step.at)
							if err != nil {
								t.Fatal(err)
							}
							return midnight.Add(at.Sub(at.Truncate(24 * time.Hour)))
						}
						end, right := timeOf(all[len(all)-1]), timeOf(all[len(all)-2])
						due := window.Window{Start: midnight.Add(time.Hour), End: end.Truncate(time.Hour)}
						gap := hole(due, runs)
						if !asks {
							// A run that does not notice has done what it was asked to do early, but not after the
							// clock is right.
							gap = hole(due, claimed(runs)).Hull(hole(due.Intersect(window.Window{Start: right, End: due.End}), runs))
						}
						if !gap.IsEmpty() {
							t.Errorf("nobody did [%v, %v):\n%s", gap.Start, gap.End, strings.Trim(fmt.Sprintln(runs), "[]"))
						}
					})
				}
			}
		}
	}
}

// TestExchangeTimeProvesThatTheClockIsBehind requires that done work is not done again if the exchange's
// time shows that it does not lie in the future.
func TestExchangeTimeProvesThatTheClockIsBehind(t *testing.T) {
	steps := []clockStep{{"00:30:00", 0, "start"}, {"04:10:00", -24 * time.Hour, ""}, {"04:12:00", -24 * time.Hour, "stop"},
		{"04:13:00", -24 * time.Hour, "start"}, {"04:15:00", 0, ""}, {"05:30:00", 0, "stop"}}
	again, _ := runWithSteps(t, "schedule: '0 * * * *', run: backfill", false, nil, steps)
	once, _ := runWithSteps(t, "schedule: '0 * * * *', run: backfill", false, func(context.Context) time.Time { return time.Now() }, steps)
	if len(once) != 5 || len(again) <= len(once) {
		t.Errorf("%v with the exchange's time, %v without", once, again)
	}
}

// TestNewJobsBeginAtTheRightTime requires the first window of a new job not to reach back to where the clock
// of a machine without a battery starts.
func TestNewJobsBeginAtTheRightTime(t *testing.T) {
	for _, wrong := range []time.Duration{-30 * 365 * 24 * time.Hour, -time.Hour} {
		runs, midnight := runWithSteps(t, "schedule: '0 * * * *', run: backfill", true, nil,
			[]clockStep{{"00:30:00", wrong, "start"}, {"00:32:00", 0, ""}, {"02:30:00", 0, "stop"}})
		if len(runs) != 2 || runs[0].window.Start.Before(midnight) || runs[1].window.Start != midnight.Add(time.Hour) {
			t.Errorf("clock behind by %v: %v", -wrong, runs)
		}
	}
}

// TestIncompleteRunCoversWhatItSays requires the next window to begin where an incomplete run says that it
// has covered its own, in the ledger, too.
func TestIncompleteRunCoversWhatItSays(t *testing.T) {
	for name, c := range map[string]struct {
		covered time.Duration // after the window's start; below 0: not said
		want    []string
	}{
		"all of it":  {time.Hour, []string{"a 01:00 [00:00 01:00) incomplete", "a 02:00 [01:00 02:00) ok", "a 03:00 [02:00 03:00) ok"}},
		"too much":   {9 * time.Hour, []string{"a 01:00 [00:00 01:00) incomplete", "a 02:00 [01:00 02:00) ok", "a 03:00 [02:00 03:00) ok"}},
		"a part":     {20 * time.Minute, []string{"a 01:00 [00:00 00:20) incomplete", "a 02:00 [00:20 02:00) ok", "a 03:00 [02:00 03:00) ok"}},
		"nothing":    {-1, []string{"a 01:00 [00:00 00:00) incomplete", "a 02:00 [00:00 02:00) ok", "a 03:00 [02:00 03:00) ok"}},
		"its start":  {0, []string{"a 01:00 [00:00 00:00) incomplete", "a 02:00 [00:00 02:00) ok", "a 03:00 [02:00 03:00) ok"}},
		"before all": {-time.Hour, []string{"a 01:00 [00:00 00:00) incomplete", "a 02:00 [00:00 02:00) ok", "a 03:00 [02:00 03:00) ok"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			ledger := &memoryLedger{}
			midnight := time.Now().UTC()
			start := func(context.Context, []string, string, func(string)) Exit {
				if time.Now().After(midnight.Add(90 * time.Minute)) {
					return Exit{}
				}
				report := Report{}
				if c.covered != -1 {
					report.CoveredUntil = midnight.Add(c.covered)
				}
				return Exit{Code: 3, Report: report}
			}
			for range 2 { // a restart changes nothing
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Minute)
				if err := Run(ctx, options(parseJobs(t, "jobs:\n- {name: a, schedule: '0 * * * *', run: backfill}\n"), ledger, start)); err != nil {
					t.Error(err)
				}
				cancel()
				ledger.written = false // the ledger alone knows
			}
			if got := summarize(ledger.runs); !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		})
	}
}

// TestDamagedStateCountsAsLost, and what was done is known from the ledger: nothing of the state is believed, so
// that no window is skipped.
func TestDamagedStateCountsAsLost(t *testing.T) {
	at := time.Date(2026, 1, 15, 11, 0, 0, 0, time.UTC)
	job := parseJobs(t, "jobs:\n- {name: a, schedule: '0 * * * *', run: backfill}\n")[0]
	ledger := &memoryLedger{}
	ledger.runs = append(ledger.runs, rowOf(state.ActiveRun{ID: "done", ScheduledAt: at, WindowStart: at.Add(-time.Hour), WindowEnd: at}, "a"))
	ledger.runs[0].Outcome = state.OK
	claims := state.Scheduler{BeatAt: at, DoneUntil: map[string]time.Time{"a": at.Add(3 * time.Hour)}, Jobs: []state.Job{{Name: "a", Failures: 7}}}
	if err := ledger.Write(state.SchedulerFile, claims); err != nil {
		t.Fatal(err)
	}
	ledger.damaged = true
	options := options([]Job{job}, ledger, nil)
	previous, _, lost, err := restoreState(t.Context(), options, options.Jobs, at.Add(5*time.Hour))
	if err != nil || !previous.DoneUntil["a"].Equal(at) || len(previous.Jobs)+len(lost) > 0 {
		t.Errorf("%+v, lost %v: %v, want done until %v", previous, lost, err, at)
	}
	if ledger.written {
		t.Error("the damaged state was not set aside")
	}
}

// TestDisbelievedRunsStayDisbelieved requires that a window that reached into the future is not believed
// later either, when that time has come.
func TestDisbelievedRunsStayDisbelieved(t *testing.T) {
	day := 24 * time.Hour
	at := time.Date(2026, 1, 15, 11, 0, 0, 0, time.UTC)
	job := parseJobs(t, "jobs:\n- {name: a, schedule: '0 * * * *', run: backfill}\n")[0]
	ledger := &memoryLedger{}
	ledger.runs = append(ledger.runs, rowOf(state.ActiveRun{ID: "ahead", ScheduledAt: at.Add(day), WindowStart: at, WindowEnd: at.Add(day)}, "a"))
	ledger.runs[0].Outcome = state.OK
	options := options([]Job{job}, ledger, nil)
	previous, _, _, err := restoreState(t.Context(), options, options.Jobs, at.Add(time.Minute))
	if err != nil || !previous.DoneUntil["a"].Equal(at) {
		t.Fatalf("done until %v, want %v: %v", previous.DoneUntil["a"], at, err)
	}
	previous.BeatAt = at.Add(time.Minute)
	if err := ledger.Write(state.SchedulerFile, previous); err != nil {
		t.Fatal(err)
	}
	previous, _, _, err = restoreState(t.Context(), options, options.Jobs, at.Add(2*day))
	if err != nil || !previous.DoneUntil["a"].Equal(at) {
		t.Errorf("two days later done until %v, want %v: %v", previous.DoneUntil["a"], at, err)
	}
}
