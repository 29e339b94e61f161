package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"time"
)

// CSV writes sections as RFC 4180 with a header row of the columns' names. A report of one section gives that section; one
// of several gives a first column "section" and then every column of any of them once, empty where a section does not have it.
//
// Numbers have every digit and no grouping, times are RFC 3339 in UTC, what is not known is empty. A text that a spreadsheet
// would take for a formula, one that begins with = + - @ a tab or a line break, gets an apostrophe before it. A section that
// failed is an error and nothing is written.
func CSV(w io.Writer, r *Report) error {
	for _, section := range r.Sections {
		if section.Err != nil {
			return fmt.Errorf("section %q: %w", section.Query.Name, section.Err)
		}
	}
	out := csv.NewWriter(w)
	several := len(r.Sections) != 1
	var header []string
	place := map[string]int{}
	if several {
		header = append(header, "section")
	}
	for _, section := range r.Sections {
		for _, column := range section.Result.Columns {
			if _, ok := place[column.Name]; !ok {
				place[column.Name] = len(header)
				header = append(header, guard(column.Name))
			}
		}
	}
	if err := out.Write(header); err != nil {
		return err
	}
	for _, section := range r.Sections {
		for _, row := range section.Result.Rows {
			record := make([]string, len(header))
			if several {
				record[0] = section.Query.Name
			}
			for i, column := range section.Result.Columns {
				record[place[column.Name]] = csvValue(kindOf(column), row[i])
			}
			if err := out.Write(record); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

func csvValue(kind kind, value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case time.Time:
		if kind == kindDate {
			return v.UTC().Format(time.DateOnly)
		}
		return instant(v)
	case float64:
		return number(v)
	case int64, bool:
		return fmt.Sprint(v)
	case string:
		return guard(v)
	}
	return guard(fmt.Sprint(value))
}

// guard keeps a text from being a formula.
func guard(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(text)[0]) {
		return "'" + text
	}
	return text
}
