package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"time"

	"tapedeck/internal/wording"
)

// CSV writes the sections as RFC 4180, with the column names as header row. If the report has
// several sections, the first column is "section", followed by every column of any section once; a
// column that a section lacks is empty.
//
// Numbers have all their digits and no thousands separators, times are RFC 3339 in UTC, and unknown
// values are empty. A text that a spreadsheet would take for a formula, because it starts with = +
// - @, a tab or a line break, is prefixed with an apostrophe. A section that failed has no rows.
func CSV(w io.Writer, r *Report) error {
	out := csv.NewWriter(w)
	several := len(r.Sections) != 1
	var header []string
	index := map[string]int{}
	if several {
		header = append(header, "section")
	}
	for _, section := range r.Sections {
		for _, column := range section.Result.Columns {
			if _, ok := index[column.Name]; !ok {
				index[column.Name] = len(header)
				header = append(header, wording.Formula(column.Name))
			}
		}
	}
	if len(header) == 0 { // the only section failed
		return nil
	}
	if err := out.Write(header); err != nil {
		return err
	}
	for _, section := range r.Sections {
		for _, row := range section.Result.Rows {
			record := make([]string, len(header))
			if several {
				record[0] = wording.Formula(section.Query.Name)
			}
			for i, column := range section.Result.Columns {
				record[index[column.Name]] = csvValue(kindOf(column), row[i])
			}
			if err := out.Write(record); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// csvValue formats a value exactly.
func csvValue(kind kind, value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case time.Time:
		if kind == kindDate {
			return v.UTC().Format(time.DateOnly)
		}
		return formatInstant(v)
	case float64:
		return fixed(v, -1)
	case int64, bool:
		return fmt.Sprint(v)
	case string:
		return wording.Formula(v)
	}
	return wording.Formula(fmt.Sprint(value))
}
