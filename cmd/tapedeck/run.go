package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"tapedeck/jobs/health"
	"tapedeck/jobs/schedule"
	"tapedeck/jobs/stream"
)

type runCmd struct {
	recordFlags
	archivePlace
	telegramFlags
	crontabFlags
	watchFlags
}

func (*runCmd) runsUntilStopped() bool { return true }

func (*runCmd) reloadsOnHangup() {}

func (*runCmd) manual() manual {
	return manual{
		about: `Records and runs the schedule in one process, until SIGTERM or ctrl-C: what the image does if nothing else is said. It is stream and schedule together, and what
their help says holds. If one of the two fails, the other is ended in the ordinary way and the process ends with the
failure, so that whatever started it can start it again. Without a crontab.yaml it only records, and says so.`,
		examples: []string{"tapedeck run", "tapedeck run --data-dir /srv/tape --crontab /etc/tapedeck/crontab.yaml"},
		exits:    []string{"0  stopped as asked, everything written", "1  failed"},
	}
}

func (c *runCmd) Run(ctx context.Context, a *app) error {
	if !a.fixed.IsZero() {
		return misuse("--now stops the clock, and recording needs one that runs")
	}
	crontab, jobs, err := a.crontabIfThere(c.Crontab)
	if err != nil {
		return err
	}
	dir, err := a.createTape(c.Feed)
	if err != nil {
		return err
	}
	notifier, err := a.newNotifier(dir, c.telegramFlags)
	if err != nil {
		return err
	}
	a.upgrade(ctx, dir)
	watched := []health.Part{health.Stream}
	if len(jobs) > 0 {
		watched = health.Parts()
	}
	unwatch, err := a.watch(ctx, c.watchFlags, dir, notifier, watched...)
	if err != nil {
		return err
	}
	defer unwatch()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ends := make(chan error, 2)
	parts := 1
	go func() {
		_, err := a.stream(ctx, "run", c.recordFlags, func(*stream.Options) {})
		if err != nil {
			err = fmt.Errorf("the stream: %w", err)
		}
		ends <- err
	}()
	if len(jobs) > 0 {
		parts++
		go func() {
			err := a.schedule(ctx, dir, crontab, jobs, notifier)
			if err != nil {
				err = fmt.Errorf("the schedule: %w", err)
			}
			ends <- err
		}()
	}
	var failure error
	for range parts {
		if err := <-ends; err != nil && failure == nil {
			failure = err
		}
		stop()
	}
	return failure
}

// crontabIfThere reads the schedule; none is an error only if it was asked for.
func (a *app) crontabIfThere(path string) (*schedule.Crontab, []schedule.Job, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && path == "crontab.yaml" {
		a.log.Warn("nothing is scheduled: there is no crontab.yaml")
		return nil, nil, nil
	}
	crontab := a.crontab(path)
	jobs, err := a.loadCrontab(crontab)
	return crontab, jobs, err
}
