package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"tapedeck/internal/strictyaml"
)

// times are the instants at which a job is due. Five fields name times of day as a clock on the wall in location shows
// them, and each of these is due once: one that the clock jumps over at the instant of the jump, one that it shows twice
// the first time. An interval is counted from 1970-01-01 00:00 UTC, so that a restart does not shift it.
type times struct {
	fields   *cron.SpecSchedule // read with the wall's time as if it were UTC; nil for an interval
	every    time.Duration
	location *time.Location
}

const specHelp = "write five fields (minute hour day month weekday), @every 90s or @daily"

// parseSpec reads a schedule: five fields, @every LENGTH or a descriptor such as @daily.
func parseSpec(spec string, location *time.Location) (out times, err error) {
	defer func() {
		// cron.ParseStandard slices past the end of some specs, such as "TZ=0".
		if fault := recover(); fault != nil {
			out, err = times{}, fmt.Errorf("%q cannot be read; %s", strictyaml.Cut(spec), specHelp)
		}
	}()
	if strings.Contains(spec, "TZ=") {
		return times{}, fmt.Errorf("%q: name the zone under the key timezone instead", strictyaml.Cut(spec))
	}
	if rest, ok := strings.CutPrefix(spec, "@every "); ok {
		// cron itself makes a second of everything shorter, and of what is below zero.
		every, err := parseLength(strings.TrimSpace(rest))
		if err != nil || every < time.Second || every%time.Second != 0 {
			return times{}, fmt.Errorf("%q: @every wants a length of time in whole seconds, such as 90s or 1h30m", strictyaml.Cut(spec))
		}
		return times{every: every, location: location}, nil
	}
	if err := checkFields(spec); err != nil {
		return times{}, fmt.Errorf("%q: %w", strictyaml.Cut(spec), err)
	}
	parsed, err := cron.ParseStandard(spec)
	if err != nil {
		return times{}, fmt.Errorf("%q: %w; %s", strictyaml.Cut(spec), err, specHelp)
	}
	fields, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return times{}, fmt.Errorf("%q cannot be read; %s", strictyaml.Cut(spec), specHelp)
	}
	fields.Location = time.UTC
	return times{fields: fields, location: location}, nil
}

// checkFields says which of five fields is wrong, in a person's words.
func checkFields(spec string) error {
	if strings.HasPrefix(spec, "@") {
		return nil
	}
	fields := strings.Fields(spec)
	if len(fields) != 5 {
		return fmt.Errorf("it has %d fields; %s", len(fields), specHelp)
	}
	for i, name := range []string{"minute, which is 0 to 59", "hour, which is 0 to 23", "day, which is 1 to 31", "month, which is 1 to 12 or JAN to DEC",
		"weekday, which is 0 (Sunday) to 6 or SUN to SAT"} {
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = fields[i]
		if _, err := cron.ParseStandard(strings.Join(alone, " ")); err != nil {
			return fmt.Errorf("%q is wrong for the %s, or *, */5, 1-5, or several with commas", strictyaml.Cut(fields[i]), name)
		}
	}
	return nil
}

// parseLength reads a length of time as Go writes it, and whole days as in 2d.
func parseLength(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		hours, err := time.ParseDuration(days + "h")
		if err != nil || hours > 100*365*time.Hour {
			return 0, errors.New("not a length of time")
		}
		return 24 * hours, nil
	}
	return time.ParseDuration(text)
}

// next is the first due instant after t, in UTC; zero where there is none within five years.
func (s times) next(t time.Time) time.Time {
	if s.fields == nil {
		return s.floor(t).Add(s.every)
	}
	// A time that the wall showed before wall(t) was due at or before t, for what is due later is named later.
	for wall := wallOf(t.In(s.location)); ; {
		wall = s.fields.Next(wall)
		if wall.IsZero() {
			return time.Time{}
		}
		if at := instantOf(wall, s.location); at.After(t) {
			return at
		}
	}
}

// last is the last due instant at or before t, in UTC; zero where there is none within five years.
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

// floor is the last multiple of the interval at or before t.
func (s times) floor(t time.Time) time.Time {
	every, seconds := int64(s.every/time.Second), t.Unix()
	steps := seconds / every
	if seconds%every < 0 {
		steps--
	}
	return time.Unix(steps*every, 0).UTC()
}

// rule says which rule of summer time made a job due at that instant; empty where none did.
func (s times) rule(at time.Time) string {
	if s.fields == nil {
		return ""
	}
	local := at.In(s.location)
	start, end := local.ZoneBounds()
	if start.Equal(at) {
		before := wallOf(start.Add(-time.Second).In(s.location)).Add(time.Second)
		if named := s.fields.Next(before.Add(-time.Second)); !named.IsZero() && named.Before(wallOf(local)) {
			return fmt.Sprintf("there is no %s on that day: at once after", named.Format("15:04"))
		}
	}
	if !end.IsZero() {
		_, offset := local.Zone()
		_, later := end.Zone()
		if again := at.Add(time.Duration(offset-later) * time.Second); later < offset && !again.Before(end) {
			return fmt.Sprintf("%s comes twice: the first one", local.Format("15:04"))
		}
	}
	return ""
}

// wallOf is what the clock on the wall shows at t, as if it were UTC.
func wallOf(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// instantOf is when the clock on the wall in location first shows wall, or the instant at which it jumps over it.
func instantOf(wall time.Time, location *time.Location) time.Time {
	const farthest = 26 * time.Hour // further than any zone is from UTC
	for zone := wall.Add(-farthest).In(location); ; {
		start, end := zone.ZoneBounds()
		_, offset := zone.Zone()
		at := wall.Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || at.Before(end) {
			if at.Before(start) {
				at = start
			}
			return at.UTC()
		}
		zone = end
	}
}
