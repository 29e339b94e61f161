package workbook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/xuri/excelize/v2"
)

const rowPixels = 20 // height of an Excel row

// front writes the first sheet: the lines, links to the sheets, and the charts.
func (b *builder) front(sheet string) {
	b.setUpPrint(sheet, excelize.PageLayoutOptions{AdjustTo: new(uint(frontScale))}, false)
	b.keep(b.file.SetSheetView(sheet, 0, &excelize.ViewOptions{ShowGridLines: new(false)}))
	row, pixels := 1, 0 // of the lines and links so far
	for _, line := range b.book.Front {
		b.text(sheet, 1, row, line.Text, style{tone: line.Tone})
		height := 16.0 // points
		switch line.Tone {
		case Title:
			height = 28
		case Heading:
			height = 22
		}
		b.keep(b.file.SetRowHeight(sheet, row, height))
		pixels += int(height * 96 / 72)
		row++
	}
	pixels -= row * rowPixels
	row++
	b.text(sheet, 1, row, "Sheets", style{tone: Heading})
	row++
	for i, table := range b.book.Tables {
		for _, target := range b.sheets[i] {
			b.text(sheet, 1, row, target, style{link: true})
			b.keep(b.file.SetCellHyperLink(sheet, cellName(1, row), quoteSheet(target)+"!A1", "Location"))
			b.text(sheet, 4, row, firstSentence(table.Doc), style{tone: Muted})
			row++
		}
	}
	row += 2
	b.frontCharts(sheet, row, pixels+row*rowPixels)
}

// frontCharts draws the rows of charts from a row on. A row of charts that does not fit on the
// printed page, of which pixels are used, starts a new one.
func (b *builder) frontCharts(sheet string, row, pixels int) {
	for _, charts := range b.book.Charts {
		charts = slices.Clone(charts)
		height := 0
		for i := range charts {
			if charts[i].Height == 0 {
				charts[i].Height = chartHeight
			}
			height = max(height, charts[i].Height)
		}
		if pixels%frontPixels+height > frontPixels {
			b.keep(b.file.InsertPageBreak(sheet, cellName(1, row)))
			pixels = 0
		}
		for i, chart := range charts {
			if err := b.chart(sheet, 1+i*(chartWidth/columnPixels+1), row, chart); err != nil {
				b.keep(fmt.Errorf("chart %q: %w", chart.Title, err))
			}
		}
		rows := height/rowPixels + 2
		row += rows
		pixels += rows * rowPixels
	}
}

func firstSentence(doc string) string {
	first, _, more := strings.Cut(strings.Join(strings.Fields(doc), " "), ". ")
	if more {
		first += "."
	}
	return first
}

// text writes a text into a cell.
func (b *builder) text(sheet string, column, row int, text string, s style) {
	cell := cellName(column, row)
	b.keep(b.file.SetCellStr(sheet, cell, clean(text)))
	b.keep(b.file.SetCellStyle(sheet, cell, cell, b.style(s)))
}

// columnGuide writes the sheet that explains every column of every table.
func (b *builder) columnGuide(sheet string) {
	table := Table{
		Name: sheet,
		Columns: []Column{
			{Name: "sheet"}, {Name: "column"}, {Name: "unit"}, {Name: "meaning", Format: LongText},
		},
	}
	for i, source := range b.book.Tables {
		table.Rows = append(table.Rows, []any{b.sheets[i][0], "", "", strings.Join(strings.Fields(source.Doc), " ")})
		for _, column := range source.Columns {
			table.Rows = append(table.Rows, []any{b.sheets[i][0], column.Name, column.Unit, column.Doc})
		}
	}
	b.writePart(table, sheetPart{sheet: sheet, object: "t_columns_0_0", to: len(table.Rows)})
}
