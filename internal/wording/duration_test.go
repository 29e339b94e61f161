package wording

import (
	"math"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0 s", 0: "0 s", 5 * time.Second: "5 s", 49 * time.Millisecond: "0 s", 50 * time.Millisecond: "0.1 s",
		9949 * time.Millisecond: "9.9 s", 9951 * time.Millisecond: "10 s", 59499 * time.Millisecond: "59 s",
		59500 * time.Millisecond: "1 min", 184 * time.Second: "3 min 4 s", 59*time.Minute + 59600*time.Millisecond: "1 h",
		125 * time.Minute: "2 h 5 min", 24*time.Hour - time.Second: "1 d", 76 * time.Hour: "3 d 4 h",
		math.MaxInt64: "106751 d 23 h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}
