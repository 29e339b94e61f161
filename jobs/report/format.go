package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/wording"
)

// kind decides how the values of a column are formatted. It follows from the column's type and from
// the unit in the query's header, so a user's own section looks like the embedded ones.
type kind int

const (
	kindText    kind = iota
	kindTime         // UTC
	kindDate         //
	kindCount        // with thousands separators
	kindID           // without thousands separators
	kindPrice        // with the symbol's decimals
	kindAmount       // amount of an asset
	kindPercent      // 3.5 means 3.5 %
	kindShare        // 0.035 means 3.5 %
	kindNumber       // dimensionless, seconds, and everything else
)

// units maps the unit at the start of a column's documentation to a kind.
var units = [...]struct {
	unit string
	kind kind
}{
	{"quote asset per base asset", kindPrice},
	{"base asset", kindAmount},
	{"quote asset", kindAmount},
	{"USDT", kindAmount},
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

// unitOf returns the unit at the start of a column's documentation, and the rest of the text.
func unitOf(column analytics.Column) (unit, meaning string) {
	for _, u := range units {
		if rest, ok := strings.CutPrefix(column.Doc, u.unit); ok &&
			(rest == "" || rest[0] == ',' || rest[0] == ' ' || rest[0] == ';') {
			if u.kind == kindShare || rest != "" && rest[0] == ' ' {
				return u.unit, column.Doc
			}
			return u.unit, strings.TrimLeft(rest, ",; ")
		}
	}
	return "", column.Doc
}

// signed reports whether a percentage may be negative: its documentation does not contain ">= 0".
func signed(column analytics.Column) bool {
	return kindOf(column) == kindPercent && !strings.Contains(column.Doc, ">= 0")
}

// rightAligned reports whether values of the kind are aligned to the right.
func (k kind) rightAligned() bool { return k >= kindCount }

// maxDecimals is the most decimals that the exchange uses. A value with more was computed.
const maxDecimals = 8

// priceDecimals returns the decimals of each symbol: the most that any of its prices in the report
// has.
func (r *Report) priceDecimals() map[string]int {
	if r.decimals != nil {
		return r.decimals
	}
	r.decimals = map[string]int{}
	for _, section := range r.Sections {
		symbol := columnIndex(section.Result, "symbol")
		for i, column := range section.Result.Columns {
			if symbol < 0 || kindOf(column) != kindPrice || strings.Contains(column.Name, "vwap") {
				continue
			}
			for _, row := range section.Result.Rows {
				name, _ := row[symbol].(string)
				if price, ok := row[i].(float64); ok {
					if n := countDecimals(price); n <= maxDecimals && n > r.decimals[name] {
						r.decimals[name] = n
					}
				}
			}
		}
	}
	return r.decimals
}

func countDecimals(v float64) int {
	_, fraction, _ := strings.Cut(fixed(v, -1), ".")
	return len(fraction)
}

func columnIndex(result analytics.Result, name string) int {
	return slices.IndexFunc(result.Columns, func(c analytics.Column) bool { return c.Name == name })
}

// columnIndices returns the indices of the columns with these names, or nil if one does not exist.
func columnIndices(result analytics.Result, names ...string) []int {
	out := make([]int, len(names))
	for i, name := range names {
		if out[i] = columnIndex(result, name); out[i] < 0 {
			return nil
		}
	}
	return out
}

// formatter formats the values of a column, in full or in shorter forms.
type formatter struct {
	analytics.Column
	report *Report
	kind   kind
	index  int // of the column
	symbol int // index of the column symbol; negative if there is none
}

// formatter returns the formatter of a column.
func (r *Report) formatter(result analytics.Result, index int) formatter {
	column := result.Columns[index]
	return formatter{column, r, kindOf(column), index, columnIndex(result, "symbol")}
}

// formatters returns the formatters of the columns that have a value in one of the rows.
func (r *Report) formatters(result analytics.Result, rows [][]any) (out []formatter) {
	for i := range result.Columns {
		if slices.ContainsFunc(rows, func(row []any) bool { return row[i] != nil }) {
			out = append(out, r.formatter(result, i))
		}
	}
	return out
}

// countForms returns how many forms the values of a column have. Times lose their year or date only
// if they stay unambiguous.
func (f formatter) countForms(rows [][]any) int {
	switch f.kind {
	case kindTime:
		forms := 3
		window := f.report.Window
		for _, row := range rows {
			at, ok := row[f.index].(time.Time)
			switch {
			case !ok || f.isAlways(at):
			case at.Sub(window.End).Abs() > 180*24*time.Hour:
				return 1
			case at.Before(window.Start) || !at.Before(window.End) || window.Duration() > 24*time.Hour:
				forms = 2
			}
		}
		return forms
	case kindAmount, kindCount:
		return 2
	}
	return 1
}

// sinceFirstTrade says that a symbol's record is known from its beginning. As a time that is 1970.
const sinceFirstTrade = "its first trade, id 0"

// isAlways reports whether a value is the time from which a record is known that begins with id 0.
func (f formatter) isAlways(at time.Time) bool { return f.Name == "known_since" && at.Unix() == 0 }

// formatSince is formatTime for the time from which a record is known.
func formatSince(at time.Time) string {
	if at.Unix() == 0 {
		return sinceFirstTrade
	}
	return formatTime(at)
}

// format formats a value; texts are escaped. Form 0 is the full form; higher forms are shorter.
func (f formatter) format(row []any, form int) string {
	switch v := row[f.index].(type) {
	case nil:
		return ""
	case time.Time:
		switch {
		case f.isAlways(v):
			return sinceFirstTrade
		case f.kind == kindDate:
			return v.UTC().Format("2006-01-02")
		case form == 1:
			return v.UTC().Format("01-02 15:04")
		case form == 2:
			return v.UTC().Format("15:04:05")
		}
		return formatTime(v)
	case int64:
		if f.kind == kindID {
			return strconv.FormatInt(v, 10)
		}
		if form == 1 && (v >= 100_000 || v <= -100_000) {
			return abbreviate(float64(v))
		}
		return wording.Comma(v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return strconv.FormatFloat(v, 'g', -1, 64)
		}
		return f.formatFloat(v, row, form)
	case string:
		if f.Name == "symbol" {
			return wording.Name(v)
		}
		return wording.Visible(v)
	}
	return wording.Visible(fmt.Sprint(row[f.index]))
}

func (f formatter) formatFloat(v float64, row []any, form int) string {
	switch f.kind {
	case kindPrice:
		if f.symbol >= 0 {
			name, _ := row[f.symbol].(string)
			if n, ok := f.report.priceDecimals()[name]; ok {
				return groupThousands(fixed(v, n))
			}
		}
	case kindPercent:
		text := fixed(v, 2)
		switch {
		case text == "-0.00":
			text = "0.00"
		case v > 0 && text != "0.00" && signed(f.Column):
			text = "+" + text
		}
		return groupThousands(text) + "%"
	case kindShare:
		return fixed(v*100, 1) + "%"
	case kindAmount:
		if form == 1 {
			return abbreviate(v)
		}
	}
	return groupThousands(formatMagnitude(v))
}

// formatMagnitude keeps about six significant digits, and all digits of the integer part.
func formatMagnitude(v float64) string {
	size := math.Abs(v)
	switch {
	case size == 0:
		return "0"
	case size >= 10_000:
		return fixed(v, 0)
	case size >= 100:
		return fixed(v, 2)
	case size >= 1:
		return fixed(v, 3)
	case size < 1e-8:
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	// Four digits after the leading zeros of the fraction.
	return fixed(v, min(12, 3-int(math.Floor(math.Log10(size)))))
}

// fixed formats a number with that many decimals. With -1, these are the fewest that read back as
// the same number.
func fixed(v float64, decimals int) string { return strconv.FormatFloat(v, 'f', decimals, 64) }

// abbreviate formats a number with four digits and a unit letter: 27.01M.
func abbreviate(v float64) string {
	size := math.Abs(v)
	for _, unit := range [...]struct {
		size float64
		name string
	}{{1e15, "P"}, {1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}} {
		if size >= unit.size*0.99995 {
			return fourDigits(v/unit.size) + unit.name
		}
	}
	if size == 0 {
		return "0"
	}
	if size < 0.001 {
		return formatMagnitude(v)
	}
	return fourDigits(v)
}

// fourDigits formats a number below 1,000 with four significant digits.
func fourDigits(v float64) string {
	decimals := 3
	switch size := math.Abs(v); {
	case size >= 99.995:
		decimals = 1
	case size >= 9.9995:
		decimals = 2
	}
	return fixed(v, decimals)
}

// groupThousands inserts thousands separators into the integer part of a decimal number.
func groupThousands(text string) string {
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

// label returns a column's name for people.
func label(name string) string { return wording.Name(strings.ReplaceAll(name, "_", " ")) }

// columnLabel is label for a column. Where a column counts raw trades or rows of trades, by its
// description, the heading says so in the words of all other texts: a trade is a row of the tape.
func columnLabel(column analytics.Column) string {
	name := label(column.Name)
	switch {
	case strings.HasPrefix(column.Doc, "raw trades"):
		return strings.Replace(name, "trades", "raw trades", 1)
	case name == "rows" && strings.HasPrefix(column.Doc, "rows of the tape"):
		return "trades"
	}
	return name
}

// listedNames is how many names a statement lists before it counts the rest.
const listedNames = 10

func formatTime(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05") }

// formatMillis is formatTime with milliseconds.
func formatMillis(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05.000") }

// formatDuration formats a duration with its two largest units.
func formatDuration(d time.Duration) string {
	d = d.Round(time.Second)
	units := []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	for i, unit := range units {
		n := d / unit.length
		if n == 0 {
			continue
		}
		text := fmt.Sprintf("%d %s", n, unit.name)
		if rest := d - n*unit.length; i+1 < len(units) && rest >= units[i+1].length {
			text += fmt.Sprintf(" %d %s", rest/units[i+1].length, units[i+1].name)
		}
		return text
	}
	return "0 s"
}
