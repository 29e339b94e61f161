package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"tapedeck/internal/strictyaml"
	"tapedeck/internal/window"
)

// times are the instants at which a job is due. Five fields name local times in location, and each
// of these is due once a day: a time that a clock change skips is due at the instant of the change,
// a time that occurs twice the first time. An interval is counted from 1970-01-01 00:00 UTC, so a
// restart does not shift it.
type times struct {
	fields   *cron.SpecSchedule // matched against local times as if they were UTC; nil for an interval
	every    time.Duration
	location *time.Location
}

const specHelp = "write five fields (minute hour day month weekday), @every 90s or @daily"

// parseSpec parses a schedule: five fields, @every LENGTH or a descriptor such as @daily.
func parseSpec(spec string, location *time.Location) (out times, err error) {
	defer func() {
		// cron.ParseStandard panics on some specs, such as "TZ=0".
		if fault := recover(); fault != nil {
			out, err = times{}, fmt.Errorf("%q is not a schedule; %s", strictyaml.Shorten(spec), specHelp)
		}
	}()
	if strings.Contains(spec, "TZ=") {
		return times{}, fmt.Errorf("%q: set the zone with the key timezone instead", strictyaml.Shorten(spec))
	}
	if rest, ok := strings.CutPrefix(spec, "@every "); ok {
		// cron itself turns anything shorter than a second, or negative, into a second.
		every, err := window.ParseLength(rest)
		if err != nil || every < time.Second || every%time.Second != 0 {
			return times{}, fmt.Errorf("%q: @every needs a duration in whole seconds, such as 90s or 1h30m", strictyaml.Shorten(spec))
		}
		return times{every: every, location: location}, nil
	}
	if err := checkFields(spec); err != nil {
		return times{}, fmt.Errorf("%q: %w", strictyaml.Shorten(spec), err)
	}
	parsed, err := cron.ParseStandard(spec)
	if err != nil {
		return times{}, fmt.Errorf("%q: %w; %s", strictyaml.Shorten(spec), err, specHelp)
	}
	fields := parsed.(*cron.SpecSchedule) // only @every is another type
	fields.Location = time.UTC
	return times{fields: fields, location: location}, nil
}

// checkFields names the first of the five fields that is wrong.
func checkFields(spec string) error {
	if strings.HasPrefix(spec, "@") {
		return nil
	}
	fields := strings.Fields(spec)
	if len(fields) != 5 {
		return fmt.Errorf("has %d fields; %s", len(fields), specHelp)
	}
	for i, name := range []string{
		"minute: write 0 to 59", "hour: write 0 to 23", "day: write 1 to 31", "month: write 1 to 12 or JAN to DEC",
		"weekday: write 0 (Sunday) to 6 or SUN to SAT",
	} {
		probe := []string{"*", "*", "*", "*", "*"}
		probe[i] = fields[i]
		if _, err := cron.ParseStandard(strings.Join(probe, " ")); err != nil {
			return fmt.Errorf("%q is not a %s, *, */5, 1-5, or a list with commas", strictyaml.Shorten(fields[i]), name)
		}
	}
	return nil
}

// next returns the first due instant after t, in UTC; zero if there is none within five years.
func (s times) next(t time.Time) time.Time {
	if s.fields == nil {
		return s.floor(t).Add(s.every)
	}
	// Due instants are in the order of their local times, so all due after t have a local time
	// after t's.
	for local := localTime(t.In(s.location)); ; {
		local = s.fields.Next(local)
		if local.IsZero() {
			return time.Time{}
		}
		if at := instantOf(local, s.location); at.After(t) {
			return at
		}
	}
}

// last returns the last due instant at or before t, in UTC; zero if there is none within five
// years.
func (s times) last(t time.Time) time.Time {
	if s.fields == nil {
		return s.floor(t)
	}
	const most = 5 * 366 * 24 * time.Hour
	for back := time.Minute; back < 2*most; back *= 2 {
		at := s.next(t.Add(-back))
		if at.IsZero() || at.After(t) {
			continue
		}
		for {
			following := s.next(at)
			if following.IsZero() || following.After(t) {
				return at
			}
			at = following
		}
	}
	return time.Time{}
}

// floor returns the last multiple of the interval at or before t.
func (s times) floor(t time.Time) time.Time {
	every, seconds := int64(s.every/time.Second), t.Unix()
	return time.Unix(seconds-(seconds%every+every)%every, 0).UTC()
}

// clockChange says how daylight saving time decided that the job is due at that instant; empty if
// it did not.
func (s times) clockChange(at time.Time) string {
	if s.fields == nil {
		return ""
	}
	local := at.In(s.location)
	start, end := local.ZoneBounds()
	if start.Equal(at) {
		before := localTime(start.Add(-time.Second).In(s.location)).Add(time.Second)
		if skipped := s.fields.Next(before.Add(-time.Second)); !skipped.IsZero() && skipped.Before(localTime(local)) {
			return fmt.Sprintf("the clock skips %s on this day; it runs right after", skipped.Format("15:04"))
		}
	}
	if !end.IsZero() {
		_, offset := local.Zone()
		_, later := end.Zone()
		if again := at.Add(time.Duration(offset-later) * time.Second); later < offset && !again.Before(end) {
			return fmt.Sprintf("%s occurs twice on this day; it runs the first time", local.Format("15:04"))
		}
	}
	return ""
}

// localTime returns the local time of t as if it were UTC.
func localTime(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// instantOf returns when it is first that local time in location, or the instant of the clock
// change that skips it.
func instantOf(local time.Time, location *time.Location) time.Time {
	const farthest = 26 * time.Hour // more than any zone's distance from UTC
	for zone := local.Add(-farthest).In(location); ; {
		start, end := zone.ZoneBounds()
		_, offset := zone.Zone()
		at := local.Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || at.Before(end) {
			if at.Before(start) {
				at = start
			}
			return at.UTC()
		}
		zone = end
	}
}
