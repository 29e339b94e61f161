package wording

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration returns d for people, in at most two units: "0.4 s", "12 s", "3 min 4 s", "2 h 5 min",
// "3 d 4 h". It rounds to the smaller unit; what is negative counts as zero.
func Duration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 50*time.Millisecond:
		return "0 s"
	case d < 9950*time.Millisecond:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + " s"
	case d.Round(time.Second) < time.Minute:
		return units(d, time.Second, "s", time.Second, "s")
	case d.Round(time.Second) < time.Hour:
		return units(d, time.Minute, "min", time.Second, "s")
	case d.Round(time.Minute) < day:
		return units(d, time.Hour, "h", time.Minute, "min")
	}
	return units(d, day, "d", time.Hour, "h")
}

// units returns d in a large unit and the rest of it in a small one, to which it is rounded.
func units(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	d = d.Round(small)
	text := fmt.Sprintf("%d %s", d/large, largeName)
	if rest := d % large / small; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return text
}
