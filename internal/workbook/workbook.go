// Package workbook writes Excel workbooks of tables: frozen headers, real tables with filters, number formats, conditional
// colours, native charts, a page that explains every column, and a print setup.
//
// It guarantees that what is handed in as text stays text: no cell is ever a formula, whatever it begins with. A table longer
// than a sheet continues on another one. The rows are streamed, so the memory needed does not grow with cell objects.
// The format is Office Open XML (ECMA-376), the limits are Excel's.
package workbook

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"
)

// Excel's limits.
const (
	maxRows      = 1_048_576
	maxCellUnits = 32_767 // UTF-16 code units in a cell
	maxSheetName = 31
)

// Book is a workbook: a front page, then the tables in order, then a page that explains their columns.
type Book struct {
	Title   string
	Subject string
	Created time.Time // the workbook's own date, UTC

	Front  []Line    // the first sheet, from the top
	Charts [][]Chart // below the lines, in rows of at most two
	Tables []Table

	// RowsPerSheet is after how many data rows a table continues on another sheet; 0 means as many as a sheet holds.
	RowsPerSheet int
}

// Line is a line of the front page.
type Line struct {
	Text string
	Tone Tone
}

// Tone says how a text is meant.
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

// Table is a sheet, or several where it is long.
type Table struct {
	Name    string // of the sheet; made legal and unique where it is not
	Doc     string // what a row is
	Columns []Column
	Rows    [][]any // nil, bool, int64, float64, string or time.Time; anything else is written as its text
	// Decimals gives the decimals of a cell of a Number column, or less than 0 for the column's own; nil means always that.
	Decimals func(row, column int) int
	Empty    string // what to say where there is no row
}

// Column is a column of a table.
type Column struct {
	Name string
	Unit string // for the page that explains
	Doc  string
	// Format decides how values of the column are shown. The values themselves keep 15 significant digits, as in Excel.
	Format   Format
	Decimals int // of Number, Percent and Share
	Paint    Paint
	Tones    map[string]Tone // of texts
}

// Format is a way to show a value.
type Format int

const (
	Text         Format = iota
	Integer             // grouped by thousands
	ID                  // not grouped
	Number              // grouped, with decimals
	Percent             // 3.5 is shown as +3.50%
	PlainPercent        // 3.5 is shown as 3.50%
	Share               // 0.035 is shown as 3.50%
	Moment              // date and time
	Calendar            // date
	LongText            // wrapped
)

// Paint is a colouring by value.
type Paint int

const (
	None  Paint = iota
	Sign        // above zero green, below red
	Bars        // a bar in the cell, by the size
	Scale       // from red over white to green, from the smallest to the largest with 0.5 in the middle
)

// Chart is drawn on the front page from columns of the tables.
type Chart struct {
	Title  string
	Kind   Kind
	Series []Series
	// Format and Decimals are of the value axis, CategoryFormat is an Excel number format for the categories ("hh:mm"), empty for text.
	Format         Format
	Decimals       int
	CategoryFormat string
	Height         int // pixels; 0 is the usual
}

// Kind is a kind of chart.
type Kind int

const (
	Lines Kind = iota
	Columns
	Bar // horizontal
	// LineOverColumns draws the first series as a line and the others as columns on an axis of their own.
	LineOverColumns
)

// Series takes its values from the rows [From, To) of a table. A series that would leave the table's first sheet is cut there.
type Series struct {
	Table    int // index in Book.Tables
	Category int // column
	Value    int // column
	Label    int // column whose cell in the first row names the series; less than 0: the name of the Value column
	From, To int // rows
	Color    string
}

// Write writes the workbook. Nothing is promised about what w holds after an error.
func Write(w io.Writer, book Book) error {
	file := excelize.NewFile()
	b := &builder{file: file, book: book, styles: map[style]int{}, names: map[string]bool{}}
	err := b.build()
	if err == nil {
		b.textAxes()
		err = file.Write(w)
	}
	if closed := file.Close(); err == nil {
		err = closed // the temporary files of long sheets
	}
	return err
}

// builder holds what is known of a workbook under way.
type builder struct {
	file   *excelize.File
	book   Book
	styles map[style]int
	names  map[string]bool // sheets, lower case
	sheets [][]string      // by table, the sheets it lies on
}

func (b *builder) build() error {
	if b.book.RowsPerSheet <= 0 || b.book.RowsPerSheet > maxRows-1 {
		b.book.RowsPerSheet = maxRows - 1
	}
	if err := b.properties(); err != nil {
		return err
	}
	front := b.sheetName("Report")
	if err := b.file.SetSheetName("Sheet1", front); err != nil {
		return err
	}
	guide := b.sheetName("Columns") // taken before a table can
	for i, table := range b.book.Tables {
		parts, err := b.table(i, table)
		if err != nil {
			return fmt.Errorf("sheet %q: %w", table.Name, err)
		}
		b.sheets = append(b.sheets, parts)
	}
	if err := b.guide(guide); err != nil {
		return fmt.Errorf("sheet %q: %w", guide, err)
	}
	if err := b.front(front); err != nil {
		return fmt.Errorf("sheet %q: %w", front, err)
	}
	b.file.SetActiveSheet(0)
	return nil
}

func (b *builder) properties() error {
	at := b.book.Created.UTC().Format(time.RFC3339)
	return b.file.SetDocProps(&excelize.DocProperties{
		Title:          clean(b.book.Title),
		Subject:        clean(b.book.Subject),
		Creator:        "tapedeck",
		LastModifiedBy: "tapedeck",
		Created:        at,
		Modified:       at,
	})
}

// sheetName makes a legal name that no sheet has yet.
func (b *builder) sheetName(wanted string) string {
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`:\/?*[]`, r) || r < ' ' {
			return '_'
		}
		return r
	}, wanted)
	name = strings.Trim(name, "' ")
	if name == "" {
		name = "Sheet"
	}
	for n := 1; ; n++ {
		suffix := ""
		if n > 1 {
			suffix = fmt.Sprintf(" (%d)", n)
		}
		candidate := cutUnits(name, maxSheetName-len(suffix)) + suffix
		if key := strings.ToLower(candidate); !b.names[key] && key != "history" { // Excel keeps "History" for itself
			b.names[key] = true
			return candidate
		}
	}
}

// cutUnits cuts a text to so many UTF-16 code units, never inside a character.
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

// clean takes out what XML cannot hold and cuts what a cell cannot, visibly.
func clean(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' || r == 0xFFFE || r == 0xFFFF || r == '\r' {
			return ' '
		}
		return r
	}, text)
	if short := cutUnits(text, maxCellUnits); short == text {
		return text
	}
	return cutUnits(text, maxCellUnits-1) + "…"
}
