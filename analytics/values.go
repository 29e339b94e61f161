package analytics

import (
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/strictyaml"
)

// parseDefault parses the default of a parameter from a header.
func parseDefault(typ, text string) (any, error) {
	if text == "NULL" {
		return nil, nil
	}
	if typ == "VARCHAR" && len(text) >= 2 && text[0] == '\'' && text[len(text)-1] == '\'' {
		return strings.ReplaceAll(text[1:len(text)-1], "''", "'"), nil
	}
	if typ == "VARCHAR[]" {
		return nil, fmt.Errorf("%q: the default of a list must be NULL", text)
	}
	return ParseValue(typ, text)
}

// ParseValue parses the value of a parameter of the given type, as in a flag or a configuration file.
func ParseValue(typ, text string) (any, error) {
	switch typ {
	case "BOOLEAN":
		if value, err := strconv.ParseBool(text); err == nil {
			return value, nil
		}
	case "BIGINT":
		if value, err := strconv.ParseInt(text, 10, 64); err == nil {
			return value, nil
		}
	case "DOUBLE":
		if value, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(value) {
			return value, nil
		}
	case "VARCHAR":
		return text, nil
	case "VARCHAR[]":
		return strings.Split(text, ","), nil
	case "TIMESTAMP", "DATE":
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999", time.DateOnly} {
			if value, err := time.Parse(layout, text); err == nil {
				return value.UTC(), nil
			}
		}
	case "INTERVAL":
		if value, err := parseInterval(text); err == nil {
			return value, nil
		}
	}
	return nil, fmt.Errorf("%q is not %s", strictyaml.Shorten(text), withArticle(typ))
}

var intervalUnits = map[string]time.Duration{
	"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour,
}

// parseInterval parses "30 minutes", "1 day" or the notation of Go, "90s".
func parseInterval(text string) (time.Duration, error) {
	if value, err := time.ParseDuration(text); err == nil {
		return value, nil
	}
	count, unit, _ := strings.Cut(text, " ")
	length, ok := intervalUnits[strings.TrimSuffix(strings.TrimSpace(unit), "s")]
	if n, err := strconv.ParseInt(count, 10, 32); err == nil && ok {
		return time.Duration(n) * length, nil
	}
	return 0, fmt.Errorf("%q is not a duration such as 30 minutes", text)
}

// toDriver converts a value to what the driver binds to a parameter of the given type.
func toDriver(typ string, value any) (any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		if typ == "VARCHAR" {
			return v, nil
		}
		value, err := ParseValue(typ, v)
		if err != nil {
			return nil, err
		}
		return toDriver(typ, value)
	case bool:
		if typ == "BOOLEAN" {
			return v, nil
		}
	case int:
		if bound, err := toDriver(typ, int64(v)); err == nil {
			return bound, nil
		}
	case int64:
		switch typ {
		case "BIGINT":
			return v, nil
		case "DOUBLE":
			return float64(v), nil
		}
	case float64:
		switch {
		case typ == "DOUBLE":
			return v, nil
		case typ == "BIGINT" && v == math.Trunc(v) && math.Abs(v) < 1<<53:
			return int64(v), nil
		}
	case []string:
		switch {
		case typ == "VARCHAR[]" && v == nil:
			return nil, nil
		case typ == "VARCHAR[]":
			return v, nil
		}
	case []any:
		if list := stringList(v); typ == "VARCHAR[]" && list != nil {
			return list, nil
		}
	case time.Time:
		if typ == "TIMESTAMP" || typ == "DATE" {
			return v.UTC(), nil
		}
	case time.Duration:
		if typ == "INTERVAL" {
			return duckdb.Interval{Micros: v.Microseconds()}, nil
		}
	}
	return nil, fmt.Errorf("%v (%T) is not %s", value, value, withArticle(typ))
}

// stringList returns a list whose elements are strings, or nil if one is not.
func stringList(value any) []string {
	list, _ := value.([]any)
	out := make([]string, len(list))
	for i, element := range list {
		var ok bool
		if out[i], ok = element.(string); !ok {
			return nil
		}
	}
	return out
}

// fromDriver converts a value of the driver to one of the types that Result lists.
func fromDriver(value any) any {
	switch v := value.(type) {
	case nil, bool, int64, float64, string:
		return v
	case *big.Int:
		if v.IsInt64() {
			return v.Int64()
		}
		f, _ := new(big.Float).SetInt(v).Float64()
		return f
	case duckdb.Decimal:
		return v.Float64()
	case time.Time:
		return v.UTC()
	case []byte:
		return string(v)
	case duckdb.Interval:
		return intervalText(v)
	case duckdb.UUID:
		return v.String()
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = fromDriver(element)
		}
		return out
	case map[string]any:
		return mapFromDriver(v)
	case duckdb.Map:
		return mapFromDriver(v)
	case fmt.Stringer:
		return v.String()
	}
	switch v := reflect.ValueOf(value); {
	case v.CanInt():
		return v.Int()
	case v.CanUint() && v.Uint() <= math.MaxInt64:
		return int64(v.Uint())
	case v.CanUint():
		return float64(v.Uint())
	case v.CanFloat():
		return v.Float()
	}
	return fmt.Sprint(value)
}

func mapFromDriver[K comparable, M ~map[K]any](values M) map[string]any {
	out := make(map[string]any, len(values))
	for key, element := range values {
		out[fmt.Sprint(fromDriver(key))] = fromDriver(element)
	}
	return out
}

func intervalText(v duckdb.Interval) string {
	var parts []string
	if v.Months != 0 {
		parts = append(parts, fmt.Sprintf("%d months", v.Months))
	}
	if v.Days != 0 {
		parts = append(parts, fmt.Sprintf("%d days", v.Days))
	}
	if v.Micros != 0 || len(parts) == 0 {
		parts = append(parts, (time.Duration(v.Micros) * time.Microsecond).String())
	}
	return strings.Join(parts, " ")
}

// withArticle returns the name of a type with its article: an INTERVAL.
func withArticle(typ string) string {
	if typ == "INTERVAL" {
		return "an " + typ
	}
	return "a " + typ
}
