// Package workbook writes Excel workbooks of tables, with frozen headers, filters, number formats,
// conditional colors, native charts, a sheet that explains every column, and a print setup.
//
// It guarantees that text stays text: no cell is ever a formula, whatever its text starts with. A
// table that is longer than a sheet continues on another one. Rows are streamed, so memory does not
// grow with the number of cells. The format is Office Open XML (ECMA-376); the limits are those of
// Excel.
package workbook

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"

	"tapedeck/internal/wording"
)

// Book is a workbook: a front page, the tables in order, and a sheet that explains their columns.
type Book struct {
	Title   string
	Subject string
	Created time.Time // UTC

	Front  []Line    // at the top of the front page
	Charts [][]Chart // below the lines, in rows of at most two
	Tables []Table

	// RowsPerSheet is the most data rows of a table on one sheet; 0 means as many as a sheet holds.
	RowsPerSheet int
}

// Line is one line of the front page.
type Line struct {
	Text string
	Tone Tone
}

// Tone is the style of a text.
type Tone int

const (
	Plain Tone = iota
	Title
	Heading
	Muted
	Good
	Fair
	Bad
)

// Table is written on one sheet, or on several if it is long.
type Table struct {
	Name    string // of the sheet; changed if it is invalid or taken
	Doc     string // what a row contains
	Columns []Column
	Rows    [][]any // nil, bool, int64, float64, string or time.Time; other values are written as text
	// Decimals returns the decimals of a cell in a Number column. If it is nil or returns a
	// negative number, the cell has the decimals of its column.
	Decimals func(row, column int) int
	Empty    string // shown if there are no rows
}

// Column is a column of a table.
type Column struct {
	Name string
	Unit string // shown on the sheet that explains the columns
	Doc  string
	// Format decides how the values are displayed. The values themselves keep 15 significant
	// digits, as in Excel.
	Format   Format
	Decimals int // for Number, Percent, PlainPercent and Share
	Paint    Paint
	Tones    map[string]Tone // by text
}

// Format is how values are displayed.
type Format int

const (
	Text         Format = iota
	Integer             // with thousands separators
	ID                  // without thousands separators
	Number              // with thousands separators and decimals
	Percent             // 3.5 is displayed as +3.50%
	PlainPercent        // 3.5 is displayed as 3.50%
	Share               // 0.035 is displayed as 3.50%
	DateTime            // date and time
	Date                // date
	LongText            // wrapped
)

// Paint colors cells by their values.
type Paint int

const (
	None  Paint = iota
	Sign        // positive values green, negative ones red
	Bars        // a bar in the cell, proportional to the value
	Scale       // red below 0.5, white at 0.5, green above
)

// Chart is drawn on the front page. Its data are columns of the tables.
type Chart struct {
	Title  string
	Kind   Kind
	Series []Series
	// Format and Decimals apply to the value axis. CategoryFormat is an Excel number format for the
	// categories, such as "hh:mm"; it is empty for text.
	Format         Format
	Decimals       int
	CategoryFormat string
	Height         int // in pixels; 0 means 300
}

// Kind is a kind of chart.
type Kind int

const (
	Columns Kind = iota
	Bar          // horizontal
	// Candles draws the first four series, which are open, high, low and close, as candlesticks on an axis
	// on the right, the fifth as columns in the lower part, and the others as marks at the top, on an axis
	// on the left that ends at MarksTop of the columns. Marks are named in a legend.
	Candles
)

// Series takes its values from the rows [From, To) of a table. Rows that are not on the table's
// first sheet are left out.
type Series struct {
	Table    int    // index in Book.Tables
	Category int    // column
	Value    int    // column, whose header names the series
	From, To int    // rows
	Color    string // RRGGBB; empty means blue
}

// Write writes the workbook to w. After an error, what w holds is undefined.
func Write(w io.Writer, book Book) error {
	b := &builder{file: excelize.NewFile(), book: book, styles: map[style]int{}, names: map[string]bool{}}
	b.build()
	if b.err == nil {
		b.finishCharts()
		b.keep(b.file.Write(w))
	}
	b.keep(b.file.Close()) // removes the temporary files of long sheets
	return b.err
}

// builder is the state of a workbook that is being written.
type builder struct {
	file   *excelize.File
	book   Book
	styles map[style]int
	names  map[string]bool // of sheets, in lower case
	sheets [][]string      // names of the sheets of each table
	err    error           // the first error
}

// keep keeps the first error.
func (b *builder) keep(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *builder) build() {
	if b.book.RowsPerSheet <= 0 || b.book.RowsPerSheet > excelize.TotalRows-1 {
		b.book.RowsPerSheet = excelize.TotalRows - 1
	}
	at := b.book.Created.UTC().Format(time.RFC3339)
	b.keep(b.file.SetDocProps(&excelize.DocProperties{
		Title:          clean(b.book.Title),
		Subject:        clean(b.book.Subject),
		Creator:        "tapedeck",
		LastModifiedBy: "tapedeck",
		Created:        at,
		Modified:       at,
	}))
	front := b.sheetName("Report")
	b.keep(b.file.SetSheetName("Sheet1", front))
	guide := b.sheetName("Columns") // reserved before the tables get their names
	for i, table := range b.book.Tables {
		b.sheets = append(b.sheets, b.table(i, table))
		if b.err != nil {
			b.err = fmt.Errorf("sheet %q: %w", table.Name, b.err)
			return
		}
	}
	b.columnGuide(guide)
	b.front(front)
	b.file.SetActiveSheet(0)
}

// sheetName reserves a valid and unique sheet name that resembles name.
func (b *builder) sheetName(name string) string {
	name = cmp.Or(strings.Trim(notInSheet.ReplaceAllString(name, "_"), "' "), "Sheet")
	for n := 1; ; n++ {
		suffix := ""
		if n > 1 {
			suffix = fmt.Sprintf(" (%d)", n)
		}
		candidate := cutUnits(name, excelize.MaxSheetNameLength-len(suffix)) + suffix
		if key := strings.ToLower(candidate); !b.names[key] && key != "history" { // Excel reserves "History"
			b.names[key] = true
			return candidate
		}
	}
}

// notInSheet matches the characters that Excel does not accept in the name of a sheet.
var notInSheet = regexp.MustCompile(`[:\\/?*\[\]\x00-\x1f]`)

// cellName returns the name of a cell, such as A1. Both arguments start at 1. It panics if there is no
// such cell; table checks the number of columns.
func cellName(column, row int) string { return columnName(column) + strconv.Itoa(row) }

// columnName returns the name of a column, such as A. It panics like cellName.
func columnName(column int) string {
	name, err := excelize.ColumnNumberToName(column)
	if err != nil {
		panic(err)
	}
	return name
}

// cutUnits truncates a text to that many UTF-16 code units, never inside a character.
func cutUnits(text string, limit int) string {
	units := 0
	for i, r := range text {
		units += utf16.RuneLen(r)
		if units > limit {
			return text[:i]
		}
	}
	return text
}

// clean escapes characters that cannot be seen, which XML cannot hold either, and truncates a text
// that is too long for a cell with an ellipsis.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == 0xFFFE || r == 0xFFFF { // not in XML
			return ' '
		}
		return r
	}, wording.VisibleLines(text))
	if cutUnits(text, excelize.TotalCellChars) != text {
		return cutUnits(text, excelize.TotalCellChars-1) + "…"
	}
	return text
}
