package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/strictyaml"
	"tapedeck/internal/window"
)

// length is a duration on the command line and in config.yaml: as in Go (90m, 1h30m), or in days or
// weeks (7d, 2w).
type length time.Duration

func (l *length) UnmarshalText(text []byte) error {
	value, err := window.ParseLength(string(text))
	if err != nil {
		return fmt.Errorf("%q is %w", strictyaml.Shorten(string(text)), err)
	}
	*l = length(value)
	return nil
}

func (l length) String() string {
	text := time.Duration(l).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// instant is a date and time on the command line, in UTC unless it names a zone.
type instant struct{ time.Time }

func (i *instant) UnmarshalText(text []byte) error {
	trimmed := strings.TrimSpace(string(text))
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04Z07:00",
		"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04", time.DateOnly,
	} {
		if value, err := time.Parse(layout, trimmed); err == nil {
			i.Time = value.UTC()
			// The zero time stands for a flag that is not given: drop would remove everything up to now.
			if year := i.Year(); year < 1970 || year > 9999 {
				return fmt.Errorf("%q is not a time between 1970 and 9999", strictyaml.Shorten(trimmed))
			}
			return nil
		}
	}
	return fmt.Errorf("%q is not a date or time, such as 2026-01-15, \"2026-01-15 12:00\" or "+
		"2026-01-15T12:00:00Z (UTC unless it names a zone)", strictyaml.Shorten(trimmed))
}

// hours is a number of hours above 0 on the command line.
type hours float64

func (h *hours) UnmarshalText(text []byte) error {
	value, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil || !(value > 0 && value <= window.MaxLength.Hours()) {
		return fmt.Errorf("%q is not a number of hours above 0, such as 13", strictyaml.Shorten(string(text)))
	}
	*h = hours(value)
	return nil
}

// windowFlags are the flags of commands that work on a half-open window of time.
type windowFlags struct {
	Since length  `placeholder:"LENGTH" xor:"start" help:"Start of the window, as a duration before --to: 90m, 24h, 7d."`
	Hours hours   `placeholder:"N" xor:"start" help:"Like --since, in hours: --hours 13."`
	From  instant `placeholder:"TIME" xor:"start" help:"Start of the window, inclusive: a date, \"2026-01-15 12:00\" or RFC 3339; UTC unless it names a zone."`
	To    instant `placeholder:"TIME" help:"End of the window, exclusive, in the same form. The default is now."`
}

// given reports whether any of the flags is given.
func (f windowFlags) given() bool { return f != windowFlags{} }

// window returns the window that the flags name. Its end is now unless it is given, and its length
// is defaultLength unless its start is given.
func (f windowFlags) window(now time.Time, defaultLength time.Duration) (window.Window, error) {
	out := window.Window{End: now.UTC()}
	if !f.To.IsZero() {
		out.End = f.To.Time
	}
	switch {
	case !f.From.IsZero():
		out.Start = f.From.Time
	case f.Since != 0:
		out.Start = out.End.Add(-time.Duration(f.Since))
	case f.Hours != 0:
		out.Start = out.End.Add(-time.Duration(float64(f.Hours) * float64(time.Hour)))
	default:
		out.Start = out.End.Add(-defaultLength)
	}
	if out.IsEmpty() {
		return out, misuse("the window from %s to %s is empty",
			out.Start.Format(time.RFC3339), out.End.Format(time.RFC3339))
	}
	return out, nil
}
