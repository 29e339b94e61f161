package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/strictyaml"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/health"
	"tapedeck/jobs/schedule"
)

// childGrace is how long a run may take to end after SIGTERM. It is less than the 10 s after which
// Docker kills the scheduler itself.
const childGrace = 8 * time.Second

// crontabFlags name the crontab.
type crontabFlags struct {
	Crontab string `key:"crontab" placeholder:"FILE" default:"crontab.yaml" help:"The schedule."`
}

type scheduleCmd struct {
	crontabFlags
	metricsFlags
	feedFlags
	restURLFlag
	archiveURLFlag
	telegramFlags
	Check bool   `xor:"what" help:"Check the schedule, list every problem with its line, and exit."`
	Next  int    `xor:"what" placeholder:"N" help:"Print the next N runs and exit."`
	Once  string `xor:"what" placeholder:"NAME" help:"Run the job NAME now, record the run, and exit with its status."`
}

func (c *scheduleCmd) runsUntilStopped() bool { return !c.Check && c.Next == 0 && c.Once == "" }

func (*scheduleCmd) reloadsOnHangup() {}

func (*scheduleCmd) manual() manual {
	return manual{
		about: `Runs the jobs of crontab.yaml at their times until SIGTERM or Ctrl-C. Each run is a child process of the same
binary, so a crash or a leak in one does not affect the others. A run that exceeds its timeout gets SIGTERM and,
` + childGrace.String() + ` later, SIGKILL. Every run, including those that were skipped or lost, is a row of the table runs; see
tapedeck runs. A changed crontab.yaml is applied within seconds, or immediately on SIGHUP; active runs go on. If it is
wrong, the old one stays in force and tapedeck health reports the error.

A crontab.yaml with two jobs:
  jobs:
    - name: detect
      schedule: "* * * * *"
      run: detect
      timeout: 5m
    - name: daily-report
      schedule: "0 7 * * *"
      timezone: Europe/Berlin
      run: report --since 24h --send

The keys of a job:
  name            letters, digits, dashes, dots and underscores
  schedule        five fields (minute hour day month weekday), @every 90s
                  or @daily; if both day and weekday are set, either one
                  matches
  run             a tapedeck command line, as you would type it
  timezone        the time zone of schedule; default UTC
  timeout         limit for one attempt: 90s, 10m, 1h30m; default 6h
  retries         attempts after a failed one; default 0
  backoff         wait before the first retry; doubles with each; default
                  30s
  overlap         a run is due while the previous one is active: skip
                  (default) skips it, queue lets it wait, replace stops
                  the previous one
  catch_up        runs that were missed: last (default) makes up for all of
                  them with one run, all runs each of them, oldest first,
                  none skips them
  catch_up_limit  how many missed runs all makes up; default 24
  jitter          start up to this much later, so that many jobs do not
                  start together
  on_failure      notify: send a Telegram message when the job first
                  fails, and when it has recovered
  ping_url        of a monitoring service: URL/start, URL and URL/fail are
                  requested when a run starts, is done and has failed

A backfill or report without a window gets --from and --to: from the end of the job's last window that was done to the
time at which the run was due. After a failure or a night without the scheduler, the next run covers what was missed,
and nothing is done twice. With --since, only --to is added. A run with exit status 3 counts as done.

In a time zone with daylight saving time, a run at a time that the clock skips starts right after the change, and a time
that occurs twice counts once, the first time; --next shows this. Intervals (@every) count from 1970-01-01 00:00 UTC.`,
		examples: []string{
			"tapedeck schedule --check",
			"tapedeck schedule --next 10",
			"tapedeck schedule --once heal",
		},
		exits: []string{
			"0  stopped by a signal; --check found no problem; the job of --once is done",
			"1  failed; the job of --once failed; another scheduler runs here",
			"3  the job of --once is done but incomplete, or a check found something",
		},
	}
}

func (c *scheduleCmd) Run(ctx context.Context, a *app) error {
	crontab := a.crontab(c.Crontab)
	jobs, err := a.loadCrontab(crontab)
	if err != nil {
		return err
	}
	switch {
	case c.Check:
		_, err := fmt.Fprintf(a.stdout, "%s: %s, no problems\n", c.Crontab, wording.Count(len(jobs), "job"))
		return err
	case c.Next > 0:
		return a.printUpcoming(schedule.Upcoming(jobs, a.now(), c.Next))
	case c.Next < 0:
		return misuse("--next: %d is not a number above 0", c.Next)
	}
	if c.Once == "" && !a.fixed.IsZero() {
		return misuse("--now stops the clock, and the scheduler needs a running one; " +
			"use --now with --check, --next or --once")
	}
	dir, err := a.createTape(c.Feed)
	if err != nil {
		return err
	}
	if c.Once != "" {
		return a.runOnce(ctx, dir, c.Crontab, c.Once, jobs)
	}
	notifier, err := a.newNotifier(dir, c.telegramFlags)
	if err != nil {
		return err
	}
	a.upgrade(ctx, dir)
	metrics, err := a.metrics(ctx, c.metricsFlags, dir, notifier, health.Schedule)
	if err != nil {
		return err
	}
	return runServices(ctx, append(metrics, serviceFunc(func(ctx context.Context) error {
		return a.schedule(ctx, dir, crontab, jobs, notifier)
	}))...)
}

// crontab returns the crontab at path, whose command lines are checked against the real flags.
func (a *app) crontab(path string) *schedule.Crontab {
	return &schedule.Crontab{Path: path, Validate: a.validateJob}
}

func (a *app) loadCrontab(crontab *schedule.Crontab) ([]schedule.Job, error) {
	jobs, err := crontab.Load(a.now())
	var pathError *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, withHint(misuse("no schedule at %q", crontab.Path),
			"name another file with --crontab; tapedeck schedule --help shows an example")
	case errors.As(err, &pathError):
		return nil, &statusError{exitMisuse, fmt.Errorf("read the schedule: %w", err)}
	case err != nil:
		return nil, &statusError{exitMisuse, err}
	}
	return jobs, nil
}

// validateJob checks a job's command line as validateCommand does, and returns which flags of a
// window it gets: backfill and report work on the time since their last run. Other commands keep
// track of what they have done.
func (a *app) validateJob(args []string) (schedule.WindowMode, error) {
	parsed, err := a.validateCommand(args)
	if err != nil {
		return schedule.NoWindow, err
	}
	given := map[string]bool{}
	for _, step := range parsed.Path {
		if step.Flag != nil && !step.Resolved {
			given[step.Flag.Name] = true
		}
	}
	switch {
	case !slices.Contains([]string{"backfill", "report"}, parsed.Selected().Name), given["from"], given["to"]:
		return schedule.NoWindow, nil
	case given["since"], given["hours"]:
		return schedule.WindowEnd, nil
	}
	return schedule.WindowSinceDone, nil
}

// schedule runs jobs, and sends the messages of the outbox, until ctx is done.
func (a *app) schedule(ctx context.Context, dir *tape.Dir, crontab *schedule.Crontab, jobs []schedule.Job, notifier *notifier) error {
	unlock, err := schedule.Lock(dir.State().Path("schedule.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	children, err := a.children()
	if err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	ctx, stop := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	if os.Getpid() == 1 {
		helpers.Go(func() { children.Reap(ctx) })
	}
	helpers.Go(func() {
		// The schedule goes on without Telegram: messages wait in the outbox.
		if err := notifier.Run(ctx); err != nil {
			a.log.Error("messages are not sent until the scheduler restarts", "error", err)
		}
	})
	options := a.scheduleOptions(dir, children)
	options.Notifier = notifier
	options.Jobs, options.Crontab, options.Reload = jobs, crontab, hangups
	return schedule.Run(ctx, options)
}

// children returns what starts runs as child processes of this binary.
func (a *app) children() (*schedule.Children, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the path of this program: %w", err)
	}
	return &schedule.Children{Path: binary, Env: slices.Concat(a.environ, a.set), Grace: childGrace}, nil
}

func (a *app) scheduleOptions(dir *tape.Dir, children *schedule.Children) schedule.Options {
	return schedule.Options{
		Start: children.Start, Ledger: dir, State: dir.State(), Logger: a.log, Now: a.clock, PID: os.Getpid(),
		Ping: schedule.HTTPPing(&http.Client{}),
	}
}

// runOnce runs one job now, whether it is due or not.
func (a *app) runOnce(ctx context.Context, dir *tape.Dir, crontab, name string, jobs []schedule.Job) error {
	i := slices.IndexFunc(jobs, func(job schedule.Job) bool { return job.Name == name })
	if i < 0 {
		var names []string
		for _, job := range jobs {
			names = append(names, job.Name)
		}
		return misuse("no job named %q in %s%s", name, crontab, strictyaml.DidYouMean(name, names))
	}
	children, err := a.children()
	if err != nil {
		return err
	}
	// The output appears as if the command had been typed here.
	children.Stdout, children.Stderr = a.stdout, a.stderr
	row, err := schedule.Once(ctx, jobs[i], a.scheduleOptions(dir, children))
	switch {
	case err != nil:
		return err
	case row.Outcome == state.OK:
		return nil
	case row.Outcome == state.Incomplete:
		return partial("job %s: %s", name, row.Message)
	}
	return fmt.Errorf("job %s: %s: %s", name, row.Outcome, row.Message)
}

// printUpcoming prints upcoming runs with their time in UTC and, if a job has a time zone, also in
// that. A line below a run says how daylight saving time affects it.
func (a *app) printUpcoming(upcoming []schedule.Due) error {
	hasZone := func(due schedule.Due) bool { return due.Job.Location.String() != "UTC" }
	zones := slices.ContainsFunc(upcoming, hasZone)
	cells := func(at, local, job, command string) string {
		if !zones {
			return at + "\t" + job + "\t" + command
		}
		return at + "\t" + local + "\t" + job + "\t" + command
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, cells("AT (UTC)", "LOCAL TIME", "JOB", "COMMAND"))
	for _, due := range upcoming {
		local := "-"
		if hasZone(due) {
			local = due.At.In(due.Job.Location).Format("2006-01-02 15:04:05 MST")
		}
		command := strings.Join(strings.Fields(due.Job.Command), " ")
		fmt.Fprintln(table, cells(due.At.Format(time.DateTime), local, due.Job.Name, command))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	row := -1 // the first line is the header
	for line := range strings.Lines(text.String()) {
		if _, err := io.WriteString(a.stdout, line); err != nil {
			return err
		}
		if row >= 0 && upcoming[row].ClockChange != "" {
			indent := strings.Repeat(" ", len(time.DateTime)+2)
			if _, err := io.WriteString(a.stdout, indent+upcoming[row].ClockChange+"\n"); err != nil {
				return err
			}
		}
		row++
	}
	return nil
}
