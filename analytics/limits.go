package analytics

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

var (
	minPattern   = regexp.MustCompile(`(?:^|[ ,])(>=|>) ?(-?[0-9.]+)(?:$|[ ,;])`)
	rangePattern = regexp.MustCompile(`(?:^|[ ,])(-?[0-9.]+) to (-?[0-9.]+)(?:$|[ ,;])`)
)

// limits is the range of a numeric parameter. Its description in the header states it: ">= 1", "> 0" or
// "0 to 1".
type limits struct {
	min, max     float64 // max is inclusive, and min unless minExclusive
	minExclusive bool
}

func (p Param) limits() limits {
	out := limits{math.Inf(-1), math.Inf(1), false}
	if match := rangePattern.FindStringSubmatch(p.Doc); match != nil {
		out.min, _ = strconv.ParseFloat(match[1], 64)
		out.max, _ = strconv.ParseFloat(match[2], 64)
	}
	if match := minPattern.FindStringSubmatch(p.Doc); match != nil {
		out.min, _ = strconv.ParseFloat(match[2], 64)
		out.minExclusive = match[1] == ">"
	}
	return out
}

// checkLimits returns an error for a number outside the limits of the parameter. Other values pass.
func (p Param) checkLimits(value any) error {
	var number float64
	switch value := value.(type) {
	case int64:
		number = float64(value)
	case float64:
		number = value
	default:
		return nil
	}
	limits := p.limits()
	switch {
	case math.IsNaN(number), math.IsInf(number, 0):
		return fmt.Errorf("%v is not a finite number", number)
	case limits.minExclusive && number <= limits.min:
		return fmt.Errorf("%v is not more than %v", number, limits.min)
	case number < limits.min:
		return fmt.Errorf("%v is less than %v", number, limits.min)
	case number > limits.max:
		return fmt.Errorf("%v is more than %v", number, limits.max)
	}
	return nil
}

// Clamp returns the number nearest to value that the limits of the parameter allow. An exclusive
// minimum is exceeded by 0.01.
func (p Param) Clamp(value float64) float64 {
	limits := p.limits()
	least := limits.min
	if limits.minExclusive {
		least += 0.01
	}
	return min(max(value, least), limits.max)
}
