package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/analytics"
)

// kind is what a column's values are, as far as showing them goes. It follows from the column's type and from the unit with
// which the header explains it, so a user's own section is shown like ours.
type kind int

const (
	kindText    kind = iota
	kindTime         // UTC
	kindDate         //
	kindCount        // grouped by thousands
	kindID           // not grouped
	kindPrice        // with the symbol's decimals
	kindAmount       // of an asset
	kindPercent      // 3.5 means 3.5 %
	kindShare        // 0.035 means 3.5 %
	kindNumber       // dimensionless, seconds, and all else
)

// kinds by the unit that a column's explanation begins with.
var units = [...]struct {
	unit string
	kind kind
}{
	{"quote asset per base asset", kindPrice},
	{"base asset", kindAmount},
	{"quote asset", kindAmount},
	{"percent", kindPercent},
	{"share", kindShare},
	{"seconds", kindNumber},
	{"UTC", kindTime},
}

func kindOf(column analytics.Column) kind {
	base, _, _ := strings.Cut(column.Type, "(")
	switch base {
	case "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP_S":
		return kindTime
	case "DATE":
		return kindDate
	case "BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UBIGINT", "UINTEGER":
		if column.Name == "id" || strings.HasSuffix(column.Name, "_id") || column.Name == "rank" {
			return kindID
		}
		return kindCount
	case "DOUBLE", "FLOAT", "DECIMAL":
		for _, u := range units {
			if strings.HasPrefix(column.Doc, u.unit) {
				return u.kind
			}
		}
		return kindNumber
	}
	return kindText
}

// unitOf gives the unit that a column's explanation begins with, and the rest of it.
func unitOf(column analytics.Column) (unit, meaning string) {
	for _, u := range units {
		if rest, ok := strings.CutPrefix(column.Doc, u.unit); ok && (rest == "" || rest[0] == ',' || rest[0] == ' ' || rest[0] == ';') {
			if u.kind == kindShare || rest != "" && rest[0] == ' ' {
				return u.unit, column.Doc
			}
			return u.unit, strings.TrimLeft(rest, ",; ")
		}
	}
	return "", column.Doc
}

// signed says whether a percentage may be below zero; one that may not says ">= 0" in its explanation.
func signed(column analytics.Column) bool {
	return kindOf(column) == kindPercent && !strings.Contains(column.Doc, ">= 0")
}

// right says whether a kind stands at the right of its column.
func (k kind) right() bool { return k >= kindCount }

// maxDecimals is the exchange's: a value with more was computed.
const maxDecimals = 8

// priceDecimals gives each symbol's decimals: the most that any of its prices in the report has.
func (r *Report) priceDecimals() map[string]int {
	out := map[string]int{}
	for _, section := range r.Sections {
		symbol := columnIndex(section.Result, "symbol")
		if symbol < 0 {
			continue
		}
		for i, column := range section.Result.Columns {
			if kindOf(column) != kindPrice || strings.Contains(column.Name, "vwap") {
				continue
			}
			for _, row := range section.Result.Rows {
				name, _ := row[symbol].(string)
				if price, ok := row[i].(float64); ok {
					if n := decimalsOf(price); n <= maxDecimals && n > out[name] {
						out[name] = n
					}
				}
			}
		}
	}
	return out
}

func decimalsOf(v float64) int {
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if _, fraction, ok := strings.Cut(text, "."); ok {
		return len(fraction)
	}
	return 0
}

func columnIndex(result analytics.Result, name string) int {
	return slices.IndexFunc(result.Columns, func(c analytics.Column) bool { return c.Name == name })
}

// shower shows the values of a column, fully and in ever shorter forms.
type shower struct {
	kind     kind
	signed   bool           // of percentages
	decimals map[string]int // of prices, by symbol
	symbol   int            // column, or less than 0
	window   Window
}

// forms is how many forms a column's values have. A time is shown without its year or its date only where that says enough.
func (s shower) forms(rows [][]any, column int) int {
	switch s.kind {
	case kindTime:
		forms := 3
		for _, row := range rows {
			at, ok := row[column].(time.Time)
			switch {
			case !ok:
			case at.Sub(s.window.End).Abs() > 180*24*time.Hour:
				return 1
			case at.Before(s.window.Start) || !at.Before(s.window.End) || s.window.Length() > 24*time.Hour:
				forms = 2
			}
		}
		return forms
	case kindAmount, kindCount:
		return 2
	}
	return 1
}

// show gives a value's form, 0 being the full one.
func (s shower) show(row []any, column, form int) string {
	switch v := row[column].(type) {
	case nil:
		return ""
	case time.Time:
		switch {
		case s.kind == kindDate:
			return v.UTC().Format("2006-01-02")
		case form == 1:
			return v.UTC().Format("01-02 15:04")
		case form == 2:
			return v.UTC().Format("15:04:05")
		}
		return moment(v)
	case int64:
		if s.kind == kindID {
			return strconv.FormatInt(v, 10)
		}
		if form == 1 && (v >= 100_000 || v <= -100_000) {
			return compact(float64(v))
		}
		return grouped(strconv.FormatInt(v, 10))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return strconv.FormatFloat(v, 'g', -1, 64)
		}
		return s.float(v, row, form)
	case string:
		return v
	}
	return fmt.Sprint(row[column])
}

func (s shower) float(v float64, row []any, form int) string {
	switch s.kind {
	case kindPrice:
		if s.symbol >= 0 {
			name, _ := row[s.symbol].(string)
			if n, ok := s.decimals[name]; ok {
				return grouped(strconv.FormatFloat(v, 'f', n, 64))
			}
		}
		return grouped(byMagnitude(v))
	case kindPercent:
		text := strconv.FormatFloat(v, 'f', 2, 64)
		switch {
		case text == "-0.00" || text == "0.00":
			return "0.00%"
		case v > 0 && s.signed:
			return "+" + grouped(text) + "%"
		}
		return grouped(text) + "%"
	case kindShare:
		return strconv.FormatFloat(v*100, 'f', 1, 64) + "%"
	case kindAmount:
		if form == 1 {
			return compact(v)
		}
		return grouped(byMagnitude(v))
	}
	return grouped(byMagnitude(v))
}

// byMagnitude keeps about six significant digits and never fewer than the whole part.
func byMagnitude(v float64) string {
	size := math.Abs(v)
	switch {
	case size == 0:
		return "0"
	case size >= 10_000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 100:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case size >= 1:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case size < 1e-8:
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	// Four digits after the zeros that follow the point.
	return strconv.FormatFloat(v, 'f', min(12, 3-int(math.Floor(math.Log10(size)))), 64)
}

// compact writes a size with a letter: 27.01M.
func compact(v float64) string {
	size := math.Abs(v)
	for _, unit := range [...]struct {
		from float64
		name string
	}{{1e15, "P"}, {1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}} {
		if size >= unit.from*0.99995 {
			return significant(v/unit.from) + unit.name
		}
	}
	if size == 0 {
		return "0"
	}
	if size < 0.001 {
		return byMagnitude(v)
	}
	return significant(v)
}

// significant writes a number below 1,000 with four digits.
func significant(v float64) string {
	size := math.Abs(v)
	switch {
	case size >= 99.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case size >= 9.9995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// grouped puts a comma between the thousands of a decimal number's whole part.
func grouped(text string) string {
	start := 0
	if strings.HasPrefix(text, "-") || strings.HasPrefix(text, "+") {
		start = 1
	}
	end := strings.IndexAny(text, ".e")
	if end < 0 {
		end = len(text)
	}
	for i := end - 3; i > start; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// label is a column's name for a person.
func label(name string) string { return strings.ReplaceAll(name, "_", " ") }

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
