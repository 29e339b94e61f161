package detect

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// alertCache reads the alerts on the tape, each date once.
type alertCache struct {
	dir    *tape.Dir
	byDate map[string][]tape.Alert
}

// read returns the alerts of the UTC dates from the one of first to the one of last.
func (c *alertCache) read(first, last time.Time) (alerts []tape.Alert, err error) {
	lastDate := last.UTC().Format(time.DateOnly)
	for at := first.UTC(); ; at = at.Add(24 * time.Hour) {
		date := at.Format(time.DateOnly)
		if date > lastDate {
			return alerts, nil
		}
		if _, ok := c.byDate[date]; !ok {
			if c.byDate[date], err = c.dir.ReadAlerts(date, date); err != nil {
				return nil, fmt.Errorf("read the alerts of %s: %w", date, err)
			}
		}
		alerts = append(alerts, c.byDate[date]...)
	}
}

// add adds alerts of dates that have been read.
func (c *alertCache) add(alerts []tape.Alert) {
	for _, alert := range alerts {
		date := time.UnixMicro(alert.At).UTC().Format(time.DateOnly)
		c.byDate[date] = append(c.byDate[date], alert)
	}
}

const (
	// incidentLookBack is how long before the judged window alerts can belong to its incidents.
	incidentLookBack = 24 * time.Hour
	// recentLookBack is the age up to which an alert can still matter to a notification.
	recentLookBack = 25 * time.Hour
	// recentlyFound is how long after an alert was found a later run hands it over again, in case the run
	// that found it died before it could.
	recentlyFound = time.Hour
)

// Recent is what notifications are made of, besides the new alerts.
type Recent struct {
	// Alerts were found in the last hour, by this run or an earlier one.
	Alerts []tape.Alert
	// Incidents are those of the alerts of the last day. They are empty if Alerts is.
	Incidents []analytics.Incident
}

// groupIncidents groups the alerts of the judged window, and those that notifications need, into
// incidents. Both are the same incidents unless alerts were raised after the window.
func (r *run) groupIncidents(ctx context.Context) error {
	s := r.summary
	group := func(alerts []tape.Alert) ([]analytics.Incident, error) {
		if r.session == nil {
			var err error
			if r.session, err = analytics.OpenEmpty(ctx, analytics.Options{Threads: 1}); err != nil {
				return nil, err
			}
		}
		return r.session.Incidents(ctx, alerts, s.SymbolsOnTape)
	}
	now := r.opt.Now.UTC()
	var recent []tape.Alert
	var err error
	if !r.opt.DryRun {
		if recent, err = r.alerts.read(now.Add(-recentLookBack), now); err != nil {
			return err
		}
		for _, alert := range recent {
			if now.Sub(time.UnixMicro(alert.FoundAt)).Abs() <= recentlyFound {
				s.Recent.Alerts = append(s.Recent.Alerts, alert)
			}
		}
	}
	if len(s.Alerts) > 0 {
		covered := window.Window{Start: s.Judged.Start.Add(-incidentLookBack), End: s.Judged.End}
		isLater := func(alert tape.Alert) bool { return alert.At > s.Judged.End.UnixMicro() }
		needRecent := len(s.Recent.Alerts) > 0 && !slices.ContainsFunc(recent, isLater)
		if needRecent {
			covered = covered.Hull(window.Window{Start: now.Add(-recentLookBack), End: now})
		}
		alerts, err := r.alerts.read(covered.Start, covered.End)
		if err != nil {
			return err
		}
		incidents, err := group(slices.DeleteFunc(alerts, isLater))
		if err != nil {
			return err
		}
		for _, incident := range incidents {
			if incident.LastAt.After(s.Judged.Start) {
				s.Incidents = append(s.Incidents, incident)
			}
		}
		if needRecent {
			s.Recent.Incidents = incidents
			return nil
		}
	}
	if len(s.Recent.Alerts) > 0 {
		s.Recent.Incidents, err = group(recent)
	}
	return err
}
