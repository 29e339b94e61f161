package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/jobs/health"
	"tapedeck/jobs/metrics"
)

type healthCmd struct {
	Services []string `arg:"" optional:"" name:"service" help:"stream, schedule or both: the services that must be alive."`
}

func (*healthCmd) manual() manual {
	return manual{
		about: `Checks in one line whether the services are alive and up to date. Without an argument it checks each service that was
started on this data directory and not stopped normally; there must be at least one.

The stream is unhealthy
  - until it has received its first trade;
  - if its last sign of life is older than 30 s;
  - if trades wait to be written for longer than three flush intervals and 30 s;
  - if a connection is silent for ten times its longest usual silence, and at
    least a minute;
  - if more than a tenth of its symbols are silent for twenty times theirs, and
    at least 5 minutes.

The scheduler is unhealthy
  - if its last sign of life is older than a minute;
  - if a job did not start when it was due, or failed three times in a row;
  - if finished runs cannot be written to the ledger.

The same line warns about a changed crontab that is wrong, and about a disk that will be full within 7 days at the present
rate.`,
		examples: []string{"tapedeck health", "tapedeck health stream  # as a container's HEALTHCHECK"},
		exits:    []string{"0  healthy", "1  unhealthy; the line on standard error says why"},
	}
}

func (c *healthCmd) Run(a *app) error {
	var services []health.Service
	for _, name := range c.Services {
		service := health.Service(name)
		if !slices.Contains(health.Services(), service) {
			return misuse("unknown service %q: use stream or schedule", name)
		}
		services = append(services, service)
	}
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	verdict, err := health.Check(dir.State(), a.now(), services)
	if err != nil {
		return err
	}
	line := verdict.Why
	for _, warning := range []string{verdict.Warning, diskWarning(dir, a.now())} {
		if warning != "" {
			line += "; warning: " + warning
		}
	}
	if !verdict.Healthy {
		return fmt.Errorf("unhealthy: %s", line)
	}
	_, err = fmt.Fprintf(a.stdout, "healthy: %s\n", line)
	return err
}

// diskWarning returns a line about a disk that will be full soon, or "".
func diskWarning(dir *tape.Dir, now time.Time) string {
	room, err := health.MeasureRoom(dir.Path(), now)
	if err != nil {
		return err.Error()
	}
	return room.Warning()
}

// metricsFlags select where the process can be monitored.
type metricsFlags struct {
	MetricsAddr string `key:"metrics_addr" placeholder:"ADDRESS" help:"Serve /metrics for Prometheus and /healthz at ADDRESS, such as 127.0.0.1:9090, or :9090 for every machine that can reach this one. Off by default."`
}

// metrics returns the service of metrics and health, or none if it is off. The notifier may be nil.
// The given services are the ones that /healthz judges.
func (a *app) metrics(
	ctx context.Context, flags metricsFlags, dir *tape.Dir, notifier *notifier, services ...health.Service,
) ([]service, error) {
	if flags.MetricsAddr == "" {
		return nil, nil
	}
	version, _ := buildVersion()
	sources := metrics.Sources{
		State: dir.State(), Version: version,
		Health: func() (bool, string, error) {
			verdict, err := health.Check(dir.State(), a.clock(), services)
			return verdict.Healthy, verdict.Why, err
		},
		Disk: func() (free, perDay uint64, err error) {
			room, err := health.MeasureRoom(dir.Path(), a.clock())
			return room.Free, room.PerDay, err
		},
	}
	if notifier != nil {
		sources.Outbox = func() (int, time.Time, error) {
			status, err := notifier.outbox.Status()
			return status.Waiting, status.WaitingSince, err
		}
	}
	server, err := metrics.Listen(ctx, flags.MetricsAddr, sources, a.log)
	if err != nil {
		return nil, err
	}
	return []service{server}, nil
}
