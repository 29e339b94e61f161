package analytics

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

var (
	leastPart = regexp.MustCompile(`(?:^|[ ,])(>=|>) ?(-?[0-9.]+)(?:$|[ ,;])`)
	rangePart = regexp.MustCompile(`(?:^|[ ,])(-?[0-9.]+) to (-?[0-9.]+)(?:$|[ ,;])`)
)

// limits are what a header says of a number: ">= 1", "> 0" or "0 to 1" in the description of a parameter.
type limits struct {
	least, most float64 // both included, but least where above
	above       bool
}

func (p Param) limits() limits {
	out := limits{math.Inf(-1), math.Inf(1), false}
	if match := rangePart.FindStringSubmatch(p.Doc); match != nil {
		out.least, _ = strconv.ParseFloat(match[1], 64)
		out.most, _ = strconv.ParseFloat(match[2], 64)
	}
	if match := leastPart.FindStringSubmatch(p.Doc); match != nil {
		out.least, _ = strconv.ParseFloat(match[2], 64)
		out.above = match[1] == ">"
	}
	return out
}

// within says what is wrong with a number for the parameter; anything else is right.
func (p Param) within(value any) error {
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
	case limits.above && number <= limits.least:
		return fmt.Errorf("%v is not more than %v", number, limits.least)
	case number < limits.least:
		return fmt.Errorf("%v is less than %v", number, limits.least)
	case number > limits.most:
		return fmt.Errorf("%v is more than %v", number, limits.most)
	}
	return nil
}

// Nearest gives the number nearest to value that the parameter may have, to two places.
func (p Param) Nearest(value float64) float64 {
	limits := p.limits()
	least := limits.least
	if limits.above {
		least += 0.01
	}
	return min(max(value, least), limits.most)
}
