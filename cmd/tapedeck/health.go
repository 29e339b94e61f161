package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/health"
	"tapedeck/jobs/metrics"
)

type healthCmd struct {
	Services []string `arg:"" optional:"" name:"service" help:"stream, schedule or both: the services that must be alive."`
}

func (c *healthCmd) Run(ctx context.Context, a *app) error {
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
	for _, warning := range []string{
		verdict.Warning, missingWarning(dir, a.now()), conflictWarning(ctx, dir), leftOutWarning(dir), nameWarning(dir), diskWarning(dir, a.now()),
	} {
		if warning != "" {
			line += "; warning: " + warning
		}
	}
	if !verdict.Healthy {
		return fmt.Errorf("unhealthy: %s", line)
	}
	_, err = fmt.Fprintf(a.stdout, "healthy: %s\n", wording.Visible(line))
	return err
}

// withCure returns an error and its hint in one line.
func (a *app) withCure(err error) string {
	if hint := a.hint(err); hint != "" {
		return fmt.Sprintf("%v; %s", err, hint)
	}
	return err.Error()
}

// missingWarning returns a line about ids that recorders missed and that were not fetched since, or "".
func missingWarning(dir *tape.Dir, now time.Time) string {
	open, err := dir.OpenGaps(now)
	switch {
	case err != nil:
		return err.Error()
	case len(open) == 0:
		return ""
	}
	total := int64(0)
	for _, ids := range open {
		total = idset.Sum(total, ids.Count())
	}
	return fmt.Sprintf("%s of %s that recorders missed %s not known to be on the tape; tapedeck backfill fetches what is missing",
		wording.Count(total, "id"), wording.List(slices.Sorted(maps.Keys(open)), 5), wording.Noun(total, "is", "are"))
}

// conflictWarning returns a line about ids that have two contents and are not resolved, or "".
func conflictWarning(ctx context.Context, dir *tape.Dir) string {
	conflicts, err := dir.OpenConflicts(ctx)
	switch {
	case err != nil:
		return err.Error()
	case len(conflicts) == 0:
		return ""
	}
	newest := slices.MaxFunc(conflicts, func(a, b tape.Conflict) int { return cmp.Compare(a.FoundAt, b.FoundAt) })
	return fmt.Sprintf("%s with two contents, the newest is %s", wording.Count(len(conflicts), "trade"), newest)
}

// leftOutWarning returns a line about files that commands leave out, as of the last one that read the tape, or
// "".
func leftOutWarning(dir *tape.Dir) string {
	found, at, err := dir.LastLeftOut()
	switch n := len(found.Files); {
	case err != nil:
		return err.Error()
	case n == 0:
		return ""
	default:
		return fmt.Sprintf("%s left out when the tape was read, found %s: %s: %s; %s",
			wording.Count(n, "file was", "files were"), at.UTC().Format("2006-01-02 15:04 UTC"), found.Files[0].Path, found.Files[0].Error, found.Hint)
	}
}

// nameWarning returns a line about names on the tape that are not symbols, as of the last verify or
// backfill, or "".
func nameWarning(dir *tape.Dir) string {
	texts, err := dir.LastNotSymbols()
	switch {
	case err != nil:
		return err.Error()
	case len(texts) == 0:
		return ""
	}
	return fmt.Sprintf("%s on the tape that no symbol can have, the first is %s: tapedeck drop --not-symbols removes their rows",
		wording.Count(len(texts), "name is", "names are"), symbol.Quote(texts[0]))
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
	MetricsAddr listenAddress `key:"metrics_addr" placeholder:"ADDRESS" help:"Serve /metrics for Prometheus and /healthz at ADDRESS, such as 127.0.0.1:9090, or :9090 for every machine that can reach this one. Off by default."`
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
			if manifestErr := dir.CheckManifest(); manifestErr != nil && err == nil {
				return false, a.withCure(manifestErr), nil
			}
			return verdict.Healthy, verdict.Why, err
		},
		Disk: func() (free, perDay uint64, err error) {
			room, err := health.MeasureRoom(dir.Path(), a.clock())
			return room.Free, room.PerDay, err
		},
	}
	if a.logQueue != nil {
		sources.LogDropped = a.logQueue.droppedLines
	}
	if notifier != nil {
		sources.Outbox = func() (int, time.Time, error) {
			status, err := notifier.outbox.Status()
			return status.Waiting, status.WaitingSince, err
		}
	}
	server, err := metrics.Listen(ctx, string(flags.MetricsAddr), sources, a.log)
	if err != nil {
		return nil, err
	}
	return []service{server}, nil
}
