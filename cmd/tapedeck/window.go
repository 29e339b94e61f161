package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tapedeck/internal/strictyaml"
)

// length is a length of time on the command line and in config.yaml: what Go takes (90m, 1h30m) and whole days and
// weeks (7d, 2w).
type length time.Duration

func (l *length) UnmarshalText(text []byte) error {
	value, err := parseLength(string(text))
	if err != nil {
		return err
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

// longest is 100 years: anything above is a slip of the finger, and would overflow further down.
const longest = 100 * 365 * 24 * time.Hour

func parseLength(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	value, err := time.ParseDuration(text)
	if err != nil {
		days := map[byte]float64{'d': 1, 'w': 7}
		if len(text) > 1 && days[text[len(text)-1]] > 0 {
			number, numberErr := strconv.ParseFloat(text[:len(text)-1], 64)
			hours := number * 24 * days[text[len(text)-1]]
			if numberErr == nil && hours > 0 && hours <= longest.Hours() {
				return time.Duration(hours * float64(time.Hour)), nil
			}
		}
		return 0, fmt.Errorf("%q is not a length of time; write for example 90m, 24h, 7d or 1h30m", strictyaml.Shorten(text))
	}
	if value <= 0 || value > longest {
		return 0, fmt.Errorf("%q is not a usable length of time; write for example 90m, 24h, 7d or 1h30m", strictyaml.Shorten(text))
	}
	return value, nil
}

// instant is a moment on the command line, UTC unless it names its zone.
type instant struct{ time.Time }

func (i *instant) UnmarshalText(text []byte) error {
	value, err := parseInstant(string(text))
	if err != nil {
		return err
	}
	i.Time = value
	return nil
}

func parseInstant(text string) (time.Time, error) {
	text = strings.TrimSpace(text)
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04Z07:00",
		"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04", time.DateOnly,
	} {
		if value, err := time.Parse(layout, text); err == nil {
			return value.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a date or time; write for example 2026-01-15, \"2026-01-15 12:00\" or 2026-01-15T12:00:00Z (UTC unless it names a zone)", strictyaml.Shorten(text))
}

// hours is a number of hours above 0 on the command line.
type hours float64

func (h *hours) UnmarshalText(text []byte) error {
	value, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil || !(value > 0 && value <= longest.Hours()) {
		return fmt.Errorf("%q is not a number of hours above 0; write for example 13", strictyaml.Shorten(string(text)))
	}
	*h = hours(value)
	return nil
}

// windowFlags are the flags of every command that works on a half-open window [from, to).
type windowFlags struct {
	Since length  `placeholder:"LENGTH" xor:"start" help:"Work on the last LENGTH before --to: 90m, 24h, 7d."`
	Hours hours   `placeholder:"N" xor:"start" help:"The same as --since, in hours: --hours 13."`
	From  instant `placeholder:"TIME" xor:"start" help:"Start of the window, inclusive: a date, \"2026-01-15 12:00\" or RFC 3339; UTC unless it names a zone."`
	To    instant `placeholder:"TIME" help:"End of the window, exclusive; written like --from. The default is now."`
}

// given reports whether any flag of the window was used.
func (w windowFlags) given() bool {
	return w.Since != 0 || w.Hours != 0 || !w.From.IsZero() || !w.To.IsZero()
}

// window is the window that the flags name; without a start it is the last otherwise before its end.
func (w windowFlags) window(now time.Time, otherwise time.Duration) (from, to time.Time, err error) {
	to = now.UTC()
	if !w.To.IsZero() {
		to = w.To.Time
	}
	switch {
	case !w.From.IsZero():
		from = w.From.Time
	case w.Since != 0:
		from = to.Add(-time.Duration(w.Since))
	case w.Hours != 0:
		from = to.Add(-time.Duration(float64(w.Hours) * float64(time.Hour)))
	default:
		from = to.Add(-otherwise)
	}
	if !from.Before(to) {
		return from, to, misuse("the window from %s to %s is empty: its start is not before its end", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return from, to, nil
}
