package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/jobs/health"
	"tapedeck/jobs/metrics"
)

type healthCmd struct {
	Parts []string `arg:"" optional:"" name:"part" help:"stream, schedule or both: what must be alive here."`
}

func (*healthCmd) manual() manual {
	return manual{
		about: `Says whether what should be alive is alive and fresh, in one line. Without an argument it judges each service that was started on this data
directory and not stopped in the ordinary way; at least one must be there.

The stream is unhealthy until its first trade has come, if its last sign of life is older than 30 s, if trades wait to be written for longer than three flush intervals and 30 s,
if a connection is silent for ten times its usual longest silence (a minute at least), or if more than a tenth of its symbols are
silent for twenty times theirs (5 minutes at least). The scheduler is unhealthy if its last sign of life is older than a minute, if a job did not start when it was due, or if
one failed three times in a row, or if runs cannot be written to the ledger. A crontab that was changed and is wrong, and a disk that is full in less than
7 days at the present rate, are warnings in the same line.`,
		examples: []string{"tapedeck health", "tapedeck health stream  # as a container's HEALTHCHECK"},
		exits:    []string{"0  alive and fresh", "1  not; the line on standard error says why"},
	}
}

func (c *healthCmd) Run(a *app) error {
	var parts []health.Part
	for _, name := range c.Parts {
		part := health.Part(name)
		if !slices.Contains(health.Parts(), part) {
			return misuse("there is no service %q; say stream or schedule", name)
		}
		parts = append(parts, part)
	}
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	verdict, err := health.Check(dir, a.now(), parts)
	if err != nil {
		return err
	}
	said := verdict.Why
	for _, warning := range []string{verdict.Warning, room(dir, a.now())} {
		if warning != "" {
			said += "; warning: " + warning
		}
	}
	if !verdict.Healthy {
		return fmt.Errorf("unhealthy: %s", said)
	}
	_, err = fmt.Fprintf(a.stdout, "healthy: %s\n", said)
	return err
}

// room is a warning where the disk will be full before long.
func room(dir *tape.Dir, now time.Time) string {
	measured, err := health.MeasureRoom(dir.Path(), now)
	if err != nil {
		return err.Error()
	}
	return measured.Warning()
}

// watchFlags say where the process can be watched.
type watchFlags struct {
	MetricsAddr string `key:"metrics_addr" placeholder:"ADDRESS" help:"Serve /metrics for Prometheus and /healthz at ADDRESS, such as 127.0.0.1:9090, or :9090 for all who can reach this machine. The default is not to."`
}

// watch serves metrics and health, if it is wanted, until stop is called. notifier may be nil.
func (a *app) watch(ctx context.Context, flags watchFlags, dir *tape.Dir, notifier *notifier, parts ...health.Part) (stop func(), err error) {
	if flags.MetricsAddr == "" {
		return func() {}, nil
	}
	name, _ := buildVersion()
	sources := metrics.Sources{
		State: dir, Version: name, Bounds: state.DurationBounds(), Outcomes: state.Outcomes(),
		Health: func() (bool, string, error) {
			verdict, err := health.Check(dir, a.clock(), parts)
			return verdict.Healthy, verdict.Why, err
		},
		Disk: func() (free, perDay uint64, err error) {
			measured, err := health.MeasureRoom(dir.Path(), a.clock())
			return measured.Free, measured.PerDay, err
		},
	}
	if notifier != nil {
		sources.Outbox = func() (int, time.Time, error) {
			status, err := notifier.outbox.Status()
			return status.Waiting, status.WaitingSince, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- metrics.Serve(ctx, flags.MetricsAddr, sources, a.log, func(net.Addr) { close(ready) })
	}()
	select {
	case <-ready:
		return func() { cancel(); <-ended }, nil
	case err := <-ended:
		cancel()
		return nil, err
	}
}
