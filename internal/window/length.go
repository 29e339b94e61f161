package window

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// MaxLength is the longest duration that ParseLength returns, 100 years. More is a typing error, and
// would overflow elsewhere.
const MaxLength = 100 * 365 * 24 * time.Hour

// ParseLength parses the length of a window as people write it: as in Go (90m, 1h30m), or in days or
// weeks (7d, 2w). It is above 0 and at most MaxLength.
func ParseLength(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	length, err := time.ParseDuration(text)
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			var n float64
			n, err = strconv.ParseFloat(number, 64)
			length = time.Duration(min(n*float64(unit), 2*float64(MaxLength))) // does not overflow
		}
	}
	switch {
	case err != nil:
		return 0, errors.New("not a duration, such as 90m, 24h, 7d or 1h30m")
	case length <= 0 || length > MaxLength:
		return 0, errors.New("out of range; write a duration such as 90m, 24h, 7d or 1h30m")
	}
	return length, nil
}
