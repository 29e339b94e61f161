package main

import (
	"testing"
	"time"
)

func parseInstant(text string) (value instant, err error) {
	err = value.UnmarshalText([]byte(text))
	return value, err
}

func TestParseInstant(t *testing.T) {
	for text, want := range map[string]string{
		"2026-01-15": "2026-01-15T00:00:00Z", "2026-01-15 12:00": "2026-01-15T12:00:00Z", "2026-01-15T12:00:30Z": "2026-01-15T12:00:30Z",
		"2026-01-15T12:00:00+02:00": "2026-01-15T10:00:00Z", "2026-01-15 12:00:00.25": "2026-01-15T12:00:00.25Z", "2026-01-15T12:00": "2026-01-15T12:00:00Z",
	} {
		if got, err := parseInstant(text); err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %v %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "15.1.2026", "2026-02-30", "12:00", "2026-01-15 25:00"} {
		if got, err := parseInstant(text); err == nil {
			t.Errorf("%q was parsed as %v", text, got)
		}
	}
}

func TestWindowFlags(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	at := func(text string) instant {
		value, err := parseInstant(text)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	for name, c := range map[string]struct {
		flags    windowFlags
		from, to string // to is empty if an error is expected
	}{
		"default":             {windowFlags{}, "2026-01-14T12:00:00Z", "2026-01-15T12:00:00Z"},
		"since":               {windowFlags{Since: length(time.Hour)}, "2026-01-15T11:00:00Z", "2026-01-15T12:00:00Z"},
		"hours":               {windowFlags{Hours: 13}, "2026-01-14T23:00:00Z", "2026-01-15T12:00:00Z"},
		"hours before an end": {windowFlags{Hours: 0.5, To: at("2026-01-10")}, "2026-01-09T23:30:00Z", "2026-01-10T00:00:00Z"},
		"from":                {windowFlags{From: at("2026-01-01")}, "2026-01-01T00:00:00Z", "2026-01-15T12:00:00Z"},
		"from and to":         {windowFlags{From: at("2026-01-01"), To: at("2026-01-02")}, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"},
		"reversed":            {windowFlags{From: at("2026-01-02"), To: at("2026-01-01")}, "", ""},
		"in the future":       {windowFlags{From: at("2027-01-01")}, "", ""},
		"empty":               {windowFlags{From: at("2026-01-01"), To: at("2026-01-01")}, "", ""},
	} {
		window, err := c.flags.window(now, 24*time.Hour)
		if c.to == "" {
			if status(err) != exitMisuse {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || window.Start.Format(time.RFC3339) != c.from || window.End.Format(time.RFC3339) != c.to {
			t.Errorf("%s: %v, %v", name, window, err)
		}
	}
}

func TestLengthString(t *testing.T) {
	for _, text := range []string{"15s", "10m", "1h", "1h30m", "6h", "1m5s"} {
		var value length
		if err := value.UnmarshalText([]byte(text)); err != nil || value.String() != text {
			t.Errorf("%q prints as %s, %v", text, value, err)
		}
	}
}
