package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"

	"tapedeck/internal/strictyaml"
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
	feedFlags
	restPlace
	archivePlace
	Check bool   `xor:"what" help:"Check the schedule, name everything that is wrong with it by line, and end."`
	Next  int    `xor:"what" placeholder:"N" help:"Print the next N runs and end."`
	Once  string `xor:"what" placeholder:"NAME" help:"Run the job NAME now, write it down, and end with its exit status."`
}

func (c *scheduleCmd) runsUntilStopped() bool { return !c.Check && c.Next == 0 && c.Once == "" }

func (*scheduleCmd) manual() manual {
	return manual{
		about: `Runs the jobs of crontab.yaml at their times, until SIGTERM or ctrl-C. Each run is a child process of this same binary, so a crash or a
leak in one harms no other. A run that lasts longer than its timeout is ended with SIGTERM and, ` + childGrace.String() + ` later, SIGKILL. A job that is due
while its last run still goes is skipped. Each run, skipped ones too, leaves a row in the table runs.

An entry of crontab.yaml has these keys:
  name      letters, digits, dashes, dots and underscores
  schedule  five fields (minute hour day month weekday), @every 90s or @daily
  run       a tapedeck command line, as one would type it
  timezone  the zone that schedule is read in; the default is UTC
  timeout   90s, 10m, 1h30m; the default is 6h

In a zone with summer time, a time that the clock jumps over is skipped that day, and one that comes twice runs twice. UTC has neither.`,
		examples: []string{
			"tapedeck schedule --check",
			"tapedeck schedule --next 10",
			"tapedeck schedule --once heal",
			"tapedeck query \"SELECT job, outcome, message FROM runs ORDER BY started_at\"",
		},
		exits: []string{
			"0  stopped as asked; --check found nothing wrong; --once went well",
			"1  failed; the job of --once failed",
			"3  the job of --once could not have all, or found something",
		},
	}
}

func (c *scheduleCmd) Run(ctx context.Context, a *app) error {
	jobs, err := a.readCrontab(c.Crontab)
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
	options, err := a.scheduleOptions(jobs, c.Feed)
	if err != nil {
		return err
	}
	if c.Once != "" {
		return a.runOnce(ctx, c.Crontab, c.Once, options)
	}
	if !a.fixed.IsZero() {
		return misuse("--now stops the clock, and a scheduler needs one that runs; --now goes with --check, --next and --once")
	}
	return schedule.Run(ctx, options)
}

// readCrontab reads the schedule and holds each command line in it to the real flags.
func (a *app) readCrontab(path string) ([]schedule.Job, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, withHint(misuse("no schedule at %q", path), "--crontab names another file; the README shows what goes into it")
	case err != nil:
		return nil, &statusError{exitMisuse, fmt.Errorf("read the schedule: %w", err)}
	}
	jobs, err := schedule.Parse(path, text, a.now(), a.validateCommand)
	if err != nil {
		return nil, &statusError{exitMisuse, err}
	}
	return jobs, nil
}

// scheduleOptions are those of a scheduler whose jobs are children of this binary.
func (a *app) scheduleOptions(jobs []schedule.Job, feed feedName) (schedule.Options, error) {
	dir, err := a.createTape(feed)
	if err != nil {
		return schedule.Options{}, err
	}
	binary, err := os.Executable()
	if err != nil {
		return schedule.Options{}, fmt.Errorf("find this program's own file: %w", err)
	}
	children := schedule.Children{Path: binary, Env: append(append([]string{}, a.environ...), a.set...), Grace: childGrace}
	return schedule.Options{
		Jobs: jobs, Start: children.Start, Ledger: dir, State: dir, Logger: a.log, Now: a.clock, PID: os.Getpid(),
	}, nil
}

func (a *app) runOnce(ctx context.Context, crontab, name string, options schedule.Options) error {
	names := []string{}
	for _, job := range options.Jobs {
		names = append(names, job.Name)
		if job.Name != name {
			continue
		}
		binary, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program's own file: %w", err)
		}
		// Its output goes where this process's goes, as if the command had been typed here.
		children := schedule.Children{Path: binary, Env: append(append([]string{}, a.environ...), a.set...), Grace: childGrace, Stdout: a.stdout, Stderr: a.stderr}
		options.Start = children.Start
		row, err := schedule.Once(ctx, job, options)
		switch {
		case err != nil:
			return err
		case row.Outcome == "ok":
			return nil
		case row.Outcome == "incomplete":
			return partial("job %s: %s", name, row.Message)
		}
		return fmt.Errorf("job %s: %s: %s", name, row.Outcome, row.Message)
	}
	return misuse("no job named %q in %s%s", name, crontab, strictyaml.DidYouMean(name, names))
}

// printUpcoming prints runs to come with their time in UTC, and in the job's own zone where that is another.
func (a *app) printUpcoming(upcoming []schedule.Due) error {
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "AT (UTC)\tIN ITS ZONE\tJOB\tCOMMAND")
	for _, due := range upcoming {
		local := "-"
		if due.Job.Location != time.UTC && due.Job.Location.String() != "UTC" {
			local = due.At.In(due.Job.Location).Format("2006-01-02 15:04:05 -0700 MST")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", due.At.Format("2006-01-02 15:04:05"), local, due.Job.Name, due.Job.Command)
	}
	return table.Flush()
}
