package window

import (
	"strings"
	"testing"
	"time"
)

func TestParseLength(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour,
		"1h30m": 90 * time.Minute, "0.5d": 12 * time.Hour, " 15s ": 15 * time.Second, "36500d": MaxLength,
	} {
		if got, err := ParseLength(text); err != nil || got != want {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "banana", "d", "7", "-3h", "0", "0d", "-1d", "1e99d", "-1e99d", "NaNd", "Infd", "-Infd", "36501d", "2000000h", "3 hours",
	} {
		if got, err := ParseLength(text); err == nil {
			t.Errorf("%q was parsed as %v", text, got)
		} else if !strings.Contains(err.Error(), "24h") {
			t.Errorf("%q: the error %q has no example", text, err)
		}
	}
}
