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
	"tapedeck/jobs/health"
	"tapedeck/jobs/schedule"
)

// childGrace is how long a job may take to end after SIGTERM. Docker kills the scheduler itself 10 s after asking it to stop.
const childGrace = 8 * time.Second

// crontabFlags say where the schedule is.
type crontabFlags struct {
	Crontab string `key:"crontab" placeholder:"FILE" default:"crontab.yaml" help:"The schedule."`
}

type scheduleCmd struct {
	crontabFlags
	watchFlags
	feedFlags
	restPlace
	archivePlace
	telegramFlags
	Check bool   `xor:"what" help:"Check the schedule, name everything that is wrong with it by line, and end."`
	Next  int    `xor:"what" placeholder:"N" help:"Print the next N runs and end."`
	Once  string `xor:"what" placeholder:"NAME" help:"Run the job NAME now, write it down, and end with its exit status."`
}

func (c *scheduleCmd) runsUntilStopped() bool { return !c.Check && c.Next == 0 && c.Once == "" }

func (*scheduleCmd) reloadsOnHangup() {}

func (*scheduleCmd) manual() manual {
	return manual{
		about: `Runs the jobs of crontab.yaml at their times, until SIGTERM or ctrl-C. Each run is a child process of this same binary, so a crash or a
leak in one harms no other. A run that lasts longer than its timeout is ended with SIGTERM and, ` + childGrace.String() + ` later, SIGKILL. Each run, those left out and lost too, leaves a row in the
table runs; tapedeck runs shows the last ones. A changed crontab.yaml is taken over within seconds, at once on SIGHUP; what runs goes on. One that is wrong
leaves the old one in force, and health says so.

A crontab.yaml of two jobs:
  jobs:
    - name: detect
      schedule: "* * * * *"
      run: detect
      timeout: 5m
    - name: daily-report
      schedule: "0 7 * * *"
      timezone: Europe/Berlin
      run: report --since 24h --send

An entry of it has these keys:
  name            letters, digits, dashes, dots and underscores
  schedule        five fields (minute hour day month weekday), @every 90s
                  or @daily; with both day and weekday either will do
  run             a tapedeck command line, as one would type it
  timezone        the zone that schedule is read in; the default is UTC
  timeout         of one attempt: 90s, 10m, 1h30m; the default is 6h
  retries         attempts after a failed one; the default is 0
  backoff         the wait before the first of them, which doubles with
                  each; the default is 30s
  overlap         of a run that is due while the last one still goes: skip
                  (default) leaves it out, queue lets it wait, replace ends
                  the last one
  catch_up        of runs that were missed: last (default) makes up for
                  all of them in one run, all one by one, the oldest first,
                  none leaves them out
  catch_up_limit  how many of them all makes up; the default is 24
  jitter          a run starts up to so much later, so that many jobs do
                  not start at once
  on_failure      notify: people are told when it fails for the first
                  time, and when it is well again
  ping_url        of a dead-man service: URL/start, URL and URL/fail are
                  requested when a run starts, is done and failed

A backfill or report without a window of its own gets --from and --to: from the end of the last window that was done to when the
run was due. So after a failure or a night without the scheduler the next run takes what was missed, and nothing is done twice. One
with --since gets --to. A run that is done in part, exit status 3, is done.

In a zone with summer time, a time that the clock jumps over runs once just after, and one that comes twice runs once, the first time; --next says so.
An interval (@every) is counted from midnight UTC of 1970-01-01 and knows no summer time.`,
		examples: []string{
			"tapedeck schedule --check",
			"tapedeck schedule --next 10",
			"tapedeck schedule --once heal",
		},
		exits: []string{
			"0  stopped as asked; --check found nothing wrong; --once went well",
			"1  failed; the job of --once failed; another scheduler runs here",
			"3  the job of --once could not have all, or found something",
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
		_, err := fmt.Fprintf(a.stdout, "%s: %d jobs, nothing wrong\n", c.Crontab, len(jobs))
		return err
	case c.Next > 0:
		return a.printUpcoming(schedule.Upcoming(jobs, a.now(), c.Next))
	case c.Next < 0:
		return misuse("--next: %d is not a number above 0", c.Next)
	}
	if c.Once == "" && !a.fixed.IsZero() {
		return misuse("--now stops the clock, and a scheduler needs one that runs; --now goes with --check, --next and --once")
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
	unwatch, err := a.watch(ctx, c.watchFlags, dir, notifier, health.Schedule)
	if err != nil {
		return err
	}
	defer unwatch()
	return a.schedule(ctx, dir, crontab, jobs, notifier)
}

// crontab is the schedule at path; each command line in it is held to the real flags.
func (a *app) crontab(path string) *schedule.Crontab {
	return &schedule.Crontab{Path: path, Validate: a.validateJob}
}

func (a *app) loadCrontab(crontab *schedule.Crontab) ([]schedule.Job, error) {
	jobs, err := crontab.Load(a.now())
	var pathError *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, withHint(misuse("no schedule at %q", crontab.Path), "--crontab names another file; tapedeck schedule --help shows one")
	case errors.As(err, &pathError):
		return nil, &statusError{exitMisuse, fmt.Errorf("read the schedule: %w", err)}
	case err != nil:
		return nil, &statusError{exitMisuse, err}
	}
	return jobs, nil
}

// validateJob checks a job's command line as validateCommand does, and says what window it wants: backfill and report work on
// what is new since their last run. Other commands with a window keep their own account of what they did.
func (a *app) validateJob(args []string) (schedule.Takes, error) {
	if err := a.validateCommand(args); err != nil {
		return schedule.TakesNothing, err
	}
	probe := &app{environ: a.environ, env: a.env, stdout: io.Discard, stderr: io.Discard}
	parsed, err := parse(probe, args)
	if err != nil {
		return schedule.TakesNothing, err
	}
	given := map[string]bool{}
	for _, step := range parsed.Path {
		if step.Flag != nil && !step.Resolved {
			given[step.Flag.Name] = true
		}
	}
	switch {
	case !slices.Contains([]string{"backfill", "report"}, parsed.Selected().Name), given["from"], given["to"]:
		return schedule.TakesNothing, nil
	case given["since"], given["hours"]:
		return schedule.TakesEnd, nil
	}
	return schedule.TakesWindow, nil
}

// schedule runs jobs until ctx is done, and sends what they put into the outbox.
func (a *app) schedule(ctx context.Context, dir *tape.Dir, crontab *schedule.Crontab, jobs []schedule.Job, notifier *notifier) error {
	release, err := schedule.Claim(dir.StatePath("schedule.lock"))
	if err != nil {
		return err
	}
	defer release()
	children, err := a.children()
	if err != nil {
		return err
	}
	options := a.scheduleOptions(dir, children)
	reload := make(chan struct{}, 1)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	ctx, stop := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	helpers.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				select {
				case reload <- struct{}{}:
				default: // one is on its way already
				}
			}
		}
	})
	if os.Getpid() == 1 {
		helpers.Go(func() { children.Reap(ctx) })
	}
	helpers.Go(func() {
		// A schedule goes on without Telegram: what is written down is sent when it can be.
		if err := notifier.Run(ctx); err != nil {
			a.log.Error("nothing more is sent until the scheduler starts again", "error", err)
		}
	})
	options.Notifier = notifier
	options.Jobs, options.Crontab, options.Reload = jobs, crontab, reload
	return schedule.Run(ctx, options)
}

// children starts runs as children of this binary.
func (a *app) children() (*schedule.Children, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's own file: %w", err)
	}
	return &schedule.Children{Path: binary, Env: append(append([]string{}, a.environ...), a.set...), Grace: childGrace}, nil
}

func (a *app) scheduleOptions(dir *tape.Dir, children *schedule.Children) schedule.Options {
	return schedule.Options{
		Start: children.Start, Ledger: dir, State: dir, Logger: a.log, Now: a.clock, PID: os.Getpid(),
		Ping: schedule.HTTPPing(&http.Client{}),
	}
}

func (a *app) runOnce(ctx context.Context, dir *tape.Dir, crontab, name string, jobs []schedule.Job) error {
	i := slices.IndexFunc(jobs, func(job schedule.Job) bool { return job.Name == name })
	if i < 0 {
		names := []string{}
		for _, job := range jobs {
			names = append(names, job.Name)
		}
		return misuse("no job named %q in %s%s", name, crontab, strictyaml.DidYouMean(name, names))
	}
	children, err := a.children()
	if err != nil {
		return err
	}
	// Its output goes where this process's goes, as if the command had been typed here.
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

// printUpcoming prints runs to come with their time in UTC and, where any has another, in the job's own zone. What summer time has to do
// with a run stands in a line below it.
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
	fmt.Fprintln(table, cells("AT (UTC)", "IN ITS ZONE", "JOB", "COMMAND"))
	for _, due := range upcoming {
		local := "-"
		if hasZone(due) {
			local = due.At.In(due.Job.Location).Format("2006-01-02 15:04:05 MST")
		}
		fmt.Fprintln(table, cells(due.At.Format(time.DateTime), local, due.Job.Name, strings.Join(strings.Fields(due.Job.Command), " ")))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	row := -1 // the first line is the heading
	for line := range strings.Lines(text.String()) {
		if _, err := io.WriteString(a.stdout, line); err != nil {
			return err
		}
		if row >= 0 && upcoming[row].Rule != "" {
			if _, err := fmt.Fprintf(a.stdout, "%*s%s\n", len(time.DateTime)+2, "", upcoming[row].Rule); err != nil {
				return err
			}
		}
		row++
	}
	return nil
}
