package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"tapedeck/jobs/health"
	"tapedeck/jobs/schedule"
	"tapedeck/jobs/stream"
)

// service is something that runs until it is stopped: the recorder, the scheduler, the sender of
// messages, the metrics.
type service interface {
	// Run blocks until ctx is done or the service ends by itself. Then it stops everything it
	// started, and waits for it; it writes what it holds within a bounded time. It returns nil
	// after a normal stop. It may be called once.
	Run(ctx context.Context) error
}

type serviceFunc func(ctx context.Context) error

func (f serviceFunc) Run(ctx context.Context) error { return f(ctx) }

// namedService adds the name of a service to its error.
func namedService(name string, s service) service {
	return serviceFunc(func(ctx context.Context) error {
		if err := s.Run(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// runServices runs services until ctx is done or one of them ends, whether with an error or not. It
// stops the others, waits for all, and returns the first error.
func runServices(ctx context.Context, services ...service) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running errgroup.Group
	for _, s := range services {
		running.Go(func() error {
			defer stop()
			return s.Run(ctx)
		})
	}
	return running.Wait()
}

type runCmd struct {
	recordFlags
	archiveURLFlag
	telegramFlags
	crontabFlags
	metricsFlags
}

func (*runCmd) runsUntilStopped() bool { return true }

func (*runCmd) recordsUnread() {}

func (*runCmd) reloadsOnHangup() {}

func (c *runCmd) Run(ctx context.Context, a *app) error {
	if !a.fixed.IsZero() {
		return misuse("--now fixes the time, but recording needs a running clock")
	}
	crontab, jobs, err := a.crontabIfExists(c.Crontab)
	if err != nil {
		return err
	}
	dir, err := a.createTape(c.Feed)
	if err != nil {
		return err
	}
	notifier, err := a.serviceNotifier(ctx, dir, c.telegramFlags)
	if err != nil {
		return err
	}
	a.upgrade(ctx, dir)
	recorder, err := a.recorder(ctx, dir, "run", c.recordFlags, stream.Options{})
	if err != nil {
		return err
	}
	services, board := []service{namedService("the stream", recorder)}, &jobBoard{}
	judged := []health.Service{health.Stream}
	if len(jobs) > 0 {
		services = append(services, namedService("the schedule", a.schedule(dir, crontab, jobs, notifier, board)))
		judged = health.Services()
	}
	metrics, err := a.metrics(ctx, c.metricsFlags, dir, notifier, judged...)
	if err != nil {
		return err
	}
	defer a.showStatus(ctx, statusSources{recorder: recorder.Status, tape: dir, jobs: board})()
	return runServices(ctx, append(services, metrics...)...)
}

// crontabIfExists reads the schedule. A missing crontab.yaml is an error only if another path was
// given.
func (a *app) crontabIfExists(path string) (*schedule.Crontab, []schedule.Job, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && path == "crontab.yaml" {
		a.log.Warn("nothing is scheduled: no crontab.yaml")
		return nil, nil, nil
	}
	crontab := a.crontab(path)
	jobs, err := a.loadCrontab(crontab)
	return crontab, jobs, err
}
