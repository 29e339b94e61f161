package workbook

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
)

// table writes a table on as many sheets as it needs and returns their names.
func (b *builder) table(number int, table Table) (sheets []string) {
	if len(table.Columns) > excelize.MaxColumns {
		b.keep(fmt.Errorf("%d columns are too many: a sheet has %d", len(table.Columns), excelize.MaxColumns))
		return nil
	}
	for from := 0; from == 0 || from < len(table.Rows); from += b.book.RowsPerSheet {
		part := sheetPart{
			sheet:  b.sheetName(table.Name),
			object: fmt.Sprintf("t_%s_%d_%d", notWord.ReplaceAllString(table.Name, "_"), number+1, len(sheets)+1),
			from:   from,
			to:     min(from+b.book.RowsPerSheet, len(table.Rows)),
		}
		b.writePart(table, part)
		sheets = append(sheets, part.sheet)
	}
	return sheets
}

// notWord matches the characters that Excel does not accept in the name of a table.
var notWord = regexp.MustCompile(`[^A-Za-z0-9]`)

// sheetPart is the rows [from, to) of a table on one sheet. object is the name of the Excel table.
type sheetPart struct {
	sheet, object string
	from, to      int
}

func (b *builder) writePart(table Table, part sheetPart) {
	rows := table.Rows[part.from:part.to]
	_, err := b.file.NewSheet(part.sheet)
	b.keep(err)
	// The print setup and the colors must be set before the stream starts. The library drops them
	// silently later. A table prints as wide as the page, with its header on every page.
	b.setUpPrint(part.sheet, excelize.PageLayoutOptions{FitToWidth: new(1), FitToHeight: new(0)}, true)
	b.keep(b.file.SetDefinedName(&excelize.DefinedName{Name: "_xlnm.Print_Titles",
		RefersTo: quoteSheet(part.sheet) + "!$1:$1", Scope: part.sheet}))
	b.paint(table, part)
	stream, err := b.file.NewStreamWriter(part.sheet)
	if b.keep(err); b.err != nil {
		return
	}
	b.keep(stream.SetPanes(frozenHeader(table)))
	millis := make([]bool, len(table.Columns))
	for i, column := range table.Columns {
		millis[i] = column.Format == DateTime && slices.ContainsFunc(rows, func(row []any) bool {
			at, ok := valueAt(row, i).(time.Time)
			return ok && at.Nanosecond() != 0
		})
		b.keep(stream.SetColWidth(i+1, i+1, b.width(table, part, i, millis[i])))
	}
	b.header(stream, table)
	switch {
	case len(rows) == 0 && table.Empty != "":
		muted := b.style(style{tone: Muted})
		b.keep(stream.SetRow("A2", []any{excelize.Cell{StyleID: muted, Value: clean(table.Empty)}}))
	case len(rows) > 0 && len(table.Columns) > 0:
		last := cellName(len(table.Columns), len(rows)+1)
		b.keep(stream.AddTable(&excelize.Table{Range: "A1:" + last, Name: part.object,
			StyleName: "TableStyleLight1", ShowRowStripes: new(true)}))
	}
	cells := make([]any, len(table.Columns))
	for i, row := range rows {
		for j := range cells {
			cells[j] = b.cell(table, part.from+i, j, millis[j])
		}
		if b.keep(stream.SetRow(cellName(1, i+2), cells, rowHeight(table, row)...)); b.err != nil {
			return
		}
	}
	b.keep(stream.Flush())
}

func (b *builder) header(stream *excelize.StreamWriter, table Table) {
	header := make([]any, len(table.Columns))
	used := map[string]bool{}
	for i, column := range table.Columns {
		name := clean(column.Name)
		for n := 2; name == "" || used[strings.ToLower(name)]; n++ { // the headers of a table must be unique
			name = fmt.Sprintf("%s %d", column.Name, n)
		}
		used[strings.ToLower(name)] = true
		header[i] = excelize.Cell{StyleID: b.style(style{header: true, format: column.Format}), Value: name}
	}
	b.keep(stream.SetRow("A1", header, excelize.RowOpts{Height: 20}))
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
func (b *builder) cell(table Table, row, column int, millis bool) any {
	s := style{format: table.Columns[column].Format, decimals: table.decimals(row, column), millis: millis, inTable: true}
	value := valueAt(table.Rows[row], column)
	switch v := value.(type) {
	case nil:
		return nil
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
	return excelize.Cell{StyleID: b.style(s), Value: value}
}

// valueAt returns a value of a row, nil if the row is shorter.
func valueAt(row []any, column int) any {
	if column < len(row) {
		return row[column]
	}
	return nil
}

// decimals returns the decimals of a cell.
func (t Table) decimals(row, column int) int {
	if t.Columns[column].Format == Number && t.Decimals != nil {
		if n := t.Decimals(row, column); n >= 0 {
			return n
		}
	}
	return t.Columns[column].Decimals
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
func (b *builder) paint(table Table, part sheetPart) {
	if part.to == part.from {
		return
	}
	for i, column := range table.Columns {
		var rules []excelize.ConditionalFormatOptions
		switch column.Paint {
		case Sign:
			rules = append(rules,
				excelize.ConditionalFormatOptions{Type: "cell", Criteria: ">", Value: "0", Format: b.conditional(green)},
				excelize.ConditionalFormatOptions{Type: "cell", Criteria: "<", Value: "0", Format: b.conditional(red)})
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
			colors, ok := toneColors[column.Tones[text]]
			if !ok {
				colors = [...]string{faint, white}
			}
			rules = append(rules, excelize.ConditionalFormatOptions{Type: "cell", Criteria: "==",
				Value: `"` + strings.ReplaceAll(text, `"`, `""`) + `"`, Format: b.conditional(colors[0], colors[1])})
		}
		if len(rules) > 0 {
			cells := cellName(i+1, 2) + ":" + cellName(i+1, part.to-part.from+1)
			b.keep(b.file.SetConditionalFormat(part.sheet, cells, rules))
		}
	}
}

// widthSample is how many rows determine a column's width.
const widthSample = 500

// width returns the width of a column: that of the widest of the header and the first rows, within
// limits.
func (b *builder) width(table Table, part sheetPart, column int, millis bool) float64 {
	spec := table.Columns[column]
	widest := utf8.RuneCountInString(spec.Name) + 3 // for the filter button
	for i := part.from; i < min(part.to, part.from+widthSample); i++ {
		widest = max(widest, displayWidth(valueAt(table.Rows[i], column), spec.Format, table.decimals(i, column), millis))
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
		if text, ok := valueAt(row, i).(string); ok && column.Format == LongText {
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
