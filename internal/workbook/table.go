package workbook

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
)

// table writes a table on as many sheets as it needs and returns their names.
func (b *builder) table(number int, table Table) ([]string, error) {
	if len(table.Columns) > excelize.MaxColumns {
		return nil, fmt.Errorf("%d columns are too many: a sheet has %d", len(table.Columns), excelize.MaxColumns)
	}
	var sheets []string
	for from := 0; from == 0 || from < len(table.Rows); from += b.book.RowsPerSheet {
		to := min(from+b.book.RowsPerSheet, len(table.Rows))
		name := b.sheetName(table.Name)
		if _, err := b.file.NewSheet(name); err != nil {
			return nil, err
		}
		part := sheetPart{
			sheet:  name,
			object: fmt.Sprintf("%s_%d_%d", objectName(table.Name), number+1, len(sheets)+1),
			from:   from,
			to:     to,
		}
		if err := b.writePart(table, part); err != nil {
			return nil, err
		}
		sheets = append(sheets, name)
	}
	return sheets, nil
}

// sheetPart is the rows [from, to) of a table on one sheet. object is the name of the Excel table.
type sheetPart struct {
	sheet, object string
	from, to      int
}

func (b *builder) writePart(table Table, part sheetPart) error {
	rows := table.Rows[part.from:part.to]
	// The print setup and the colors must be set before the stream starts. The library drops them
	// silently later.
	if err := b.setUpTablePrint(part.sheet); err != nil {
		return err
	}
	if err := b.paint(table, part); err != nil {
		return err
	}
	stream, err := b.file.NewStreamWriter(part.sheet)
	if err != nil {
		return err
	}
	if err := stream.SetPanes(frozenHeader(table)); err != nil {
		return err
	}
	millis := make([]bool, len(table.Columns))
	for i, column := range table.Columns {
		millis[i] = column.Format == DateTime && anyMillis(rows, i)
		if err := stream.SetColWidth(i+1, i+1, b.width(table, part, i, millis[i])); err != nil {
			return err
		}
	}
	if err := b.header(stream, table); err != nil {
		return err
	}
	if len(rows) == 0 {
		muted, err := b.style(style{tone: Muted})
		if err != nil {
			return err
		}
		if table.Empty != "" {
			if err := stream.SetRow("A2", []any{excelize.Cell{StyleID: muted, Value: clean(table.Empty)}}); err != nil {
				return err
			}
		}
		return stream.Flush()
	}
	if len(table.Columns) > 0 {
		last := cellName(len(table.Columns), len(rows)+1)
		stripes := true
		if err := stream.AddTable(&excelize.Table{Range: "A1:" + last, Name: part.object,
			StyleName: "TableStyleLight1", ShowRowStripes: &stripes}); err != nil {
			return err
		}
	}
	cells := make([]any, len(table.Columns))
	for i, row := range rows {
		for j := range table.Columns {
			var value any
			if j < len(row) {
				value = row[j]
			}
			cells[j], err = b.cell(table, part.from+i, j, value, millis[j])
			if err != nil {
				return err
			}
		}
		if err := stream.SetRow("A"+strconv.Itoa(i+2), cells, rowHeight(table, row)...); err != nil {
			return err
		}
	}
	return stream.Flush()
}

func (b *builder) header(stream *excelize.StreamWriter, table Table) error {
	header := make([]any, len(table.Columns))
	used := map[string]bool{}
	for i, column := range table.Columns {
		id, err := b.style(style{header: true, format: column.Format})
		if err != nil {
			return err
		}
		name := clean(column.Name)
		for n := 2; name == "" || used[strings.ToLower(name)]; n++ { // the headers of a table must be unique
			name = fmt.Sprintf("%s %d", column.Name, n)
		}
		used[strings.ToLower(name)] = true
		header[i] = excelize.Cell{StyleID: id, Value: name}
	}
	return stream.SetRow("A1", header, excelize.RowOpts{Height: 20})
}

// frozenHeader freezes the header row and, in a wide table, a first column of text.
func frozenHeader(table Table) *excelize.Panes {
	panes := &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}
	if len(table.Columns) > 6 && table.Columns[0].Format == Text {
		panes.XSplit, panes.TopLeftCell, panes.ActivePane = 1, "B2", "bottomRight"
	}
	return panes
}

// cell converts a value for the stream. Numbers keep 15 significant digits.
func (b *builder) cell(table Table, row, column int, value any, millis bool) (any, error) {
	s := style{format: table.Columns[column].Format, decimals: table.Columns[column].Decimals, millis: millis,
		inTable: true}
	if s.format == Number && table.Decimals != nil {
		if n := table.Decimals(row, column); n >= 0 {
			s.decimals = n
		}
	}
	switch v := value.(type) {
	case nil:
		return nil, nil
	case bool:
	case time.Time:
		value = v.UTC()
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) { // Excel has no such numbers
			value, s.format = strconv.FormatFloat(v, 'g', -1, 64), Text
			break
		}
		value = rounded(v)
	case int64:
		if v > 1e15 || v < -1e15 { // Excel keeps 15 digits
			value, s.format = strconv.FormatInt(v, 10), Text
		}
	case string:
		value = clean(v)
		if s.format != LongText {
			s.format = Text
		}
	default:
		value, s.format = clean(fmt.Sprint(v)), Text
	}
	switch s.format {
	case Number, Percent, PlainPercent, Share:
	default:
		s.decimals = 0
	}
	if s.format != DateTime {
		s.millis = false
	}
	id, err := b.style(s)
	return excelize.Cell{StyleID: id, Value: value}, err
}

// excelDigits is how many significant digits of a number Excel keeps.
const excelDigits = 15

// rounded rounds a number to the digits that Excel keeps. The library would truncate it.
func rounded(v float64) float64 {
	if short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', excelDigits, 64), 64); err == nil {
		return short
	}
	return v // rounding would exceed the largest double
}

// paint sets the conditional colors of a part.
func (b *builder) paint(table Table, part sheetPart) error {
	if part.to == part.from {
		return nil
	}
	for i, column := range table.Columns {
		var rules []excelize.ConditionalFormatOptions
		switch column.Paint {
		case Sign:
			up, err := b.file.NewConditionalStyle(&excelize.Style{Font: &excelize.Font{Color: green}})
			if err != nil {
				return err
			}
			down, err := b.file.NewConditionalStyle(&excelize.Style{Font: &excelize.Font{Color: red}})
			if err != nil {
				return err
			}
			rules = append(rules,
				excelize.ConditionalFormatOptions{Type: "cell", Criteria: ">", Value: "0", Format: &up},
				excelize.ConditionalFormatOptions{Type: "cell", Criteria: "<", Value: "0", Format: &down})
		case Bars:
			rules = append(rules, excelize.ConditionalFormatOptions{Type: "data_bar", Criteria: "=",
				MinType: "num", MinValue: "0", MaxType: "max", BarColor: "#" + paleBlue, BarSolid: true})
		case Scale:
			rules = append(rules, excelize.ConditionalFormatOptions{Type: "3_color_scale", Criteria: "=",
				MinType: "num", MidType: "num", MaxType: "num",
				MinValue: "0.3", MidValue: "0.5", MaxValue: "0.7", MinColor: "#F4B6B0", MidColor: "#FFFFFF",
				MaxColor: "#A9DDBD"})
		}
		for _, text := range slices.Sorted(maps.Keys(column.Tones)) {
			id, err := b.toneFill(column.Tones[text])
			if err != nil {
				return err
			}
			rules = append(rules, excelize.ConditionalFormatOptions{Type: "cell", Criteria: "==",
				Value: quoted(text), Format: &id})
		}
		if len(rules) == 0 {
			continue
		}
		cells := cellName(i+1, 2) + ":" + cellName(i+1, part.to-part.from+1)
		if err := b.file.SetConditionalFormat(part.sheet, cells, rules); err != nil {
			return err
		}
	}
	return nil
}

func quoted(text string) string { return `"` + strings.ReplaceAll(text, `"`, `""`) + `"` }

// widthSample is how many rows determine a column's width.
const widthSample = 500

// width returns the width of a column: that of the widest of the header and the first rows, within
// limits.
func (b *builder) width(table Table, part sheetPart, column int, millis bool) float64 {
	spec := table.Columns[column]
	widest := utf8.RuneCountInString(spec.Name) + 3 // for the filter button
	for i := part.from; i < min(part.to, part.from+widthSample); i++ {
		if column >= len(table.Rows[i]) {
			continue
		}
		digits := spec.Decimals
		if spec.Format == Number && table.Decimals != nil {
			if n := table.Decimals(i, column); n >= 0 {
				digits = n
			}
		}
		widest = max(widest, displayWidth(table.Rows[i][column], spec.Format, digits, millis))
	}
	limit := textWidth
	if spec.Format == LongText {
		limit = longTextWidth
	}
	return float64(min(max(widest, 7), limit)) + 2.5
}

// The widest columns, in characters.
const (
	textWidth     = 44
	longTextWidth = 72
)

// rowHeight returns the height of a row with a text of several lines. Not every program adjusts the
// height of streamed rows itself.
func rowHeight(table Table, row []any) []excelize.RowOpts {
	lines := 1
	for i, column := range table.Columns {
		if column.Format != LongText || i >= len(row) {
			continue
		}
		if text, ok := row[i].(string); ok {
			lines = max(lines, strings.Count(text, "\n")+1,
				(displayWidth(text, LongText, 0, false)+longTextWidth-1)/longTextWidth)
		}
	}
	if lines == 1 {
		return nil
	}
	return []excelize.RowOpts{{Height: min(15*float64(lines)+1, 409)}} // the maximum of Excel
}

// displayWidth estimates how many characters a value occupies.
func displayWidth(value any, format Format, digits int, millis bool) int {
	switch v := value.(type) {
	case nil:
		return 0
	case time.Time:
		switch {
		case format == Date:
			return 10
		case millis:
			return 23
		}
		return 19
	case float64:
		if format == Share {
			v *= 100
		}
		text := strconv.FormatFloat(math.Abs(v), 'f', max(digits, 0), 64)
		whole, _, _ := strings.Cut(text, ".")
		return len(text) + (len(whole)-1)/3 + 2
	case int64:
		text := strconv.FormatInt(v, 10)
		if format == Integer {
			return len(text) + (len(text)-1)/3
		}
		return len(text)
	case string:
		n := 0
		for _, r := range v {
			n++
			if r > 0x2E7F { // wide scripts
				n++
			}
		}
		return n
	}
	return utf8.RuneCountInString(fmt.Sprint(value))
}

func anyMillis(rows [][]any, column int) bool {
	for _, row := range rows {
		if column < len(row) {
			if at, ok := row[column].(time.Time); ok && at.Nanosecond() != 0 {
				return true
			}
		}
	}
	return false
}

// objectName returns a name that Excel accepts for a table: letters, digits and underscores.
func objectName(name string) string {
	return "t_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
}
