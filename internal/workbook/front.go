package workbook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/xuri/excelize/v2"
)

const rowPixels = 20 // height of an Excel row

// front writes the first sheet: the lines, links to the sheets, and the charts.
func (b *builder) front(sheet string) error {
	if err := b.setUpFrontPrint(sheet); err != nil {
		return err
	}
	grid := false
	if err := b.file.SetSheetView(sheet, 0, &excelize.ViewOptions{ShowGridLines: &grid}); err != nil {
		return err
	}
	row, pixels, err := b.frontLines(sheet)
	if err != nil {
		return err
	}
	next, err := b.sheetLinks(sheet, row+1)
	if err != nil {
		return err
	}
	next += 2
	return b.frontCharts(sheet, next, pixels+(next-row)*rowPixels)
}

// frontLines writes the lines. It returns the next row and the height of the lines in pixels.
func (b *builder) frontLines(sheet string) (row, pixels int, err error) {
	row = 1
	for _, line := range b.book.Front {
		if err := b.text(sheet, 1, row, line.Text, style{tone: line.Tone}); err != nil {
			return 0, 0, err
		}
		height := 16.0 // points
		switch line.Tone {
		case Title:
			height = 28
		case Heading:
			height = 22
		}
		if err := b.file.SetRowHeight(sheet, row, height); err != nil {
			return 0, 0, err
		}
		pixels += int(height * 96 / 72)
		row++
	}
	return row, pixels, nil
}

// sheetLinks writes the list of the tables' sheets and returns the next row.
func (b *builder) sheetLinks(sheet string, row int) (next int, err error) {
	if err := b.text(sheet, 1, row, "Sheets", style{tone: Heading}); err != nil {
		return 0, err
	}
	row++
	for i, table := range b.book.Tables {
		for _, target := range b.sheets[i] {
			if err := b.text(sheet, 1, row, target, style{link: true}); err != nil {
				return 0, err
			}
			if err := b.file.SetCellHyperLink(sheet, cellName(1, row), quoteSheet(target)+"!A1", "Location"); err != nil {
				return 0, err
			}
			if err := b.text(sheet, 4, row, firstSentence(table.Doc), style{tone: Muted}); err != nil {
				return 0, err
			}
			row++
		}
	}
	return row, nil
}

// frontCharts draws the rows of charts from a row on. A row of charts that does not fit on the
// printed page, of which pixels are used, starts a new one.
func (b *builder) frontCharts(sheet string, row, pixels int) error {
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
			if err := b.file.InsertPageBreak(sheet, cellName(1, row)); err != nil {
				return err
			}
			pixels = 0
		}
		for i, chart := range charts {
			if err := b.chart(sheet, 1+i*(chartWidth/columnPixels+1), row, chart); err != nil {
				return fmt.Errorf("chart %q: %w", chart.Title, err)
			}
		}
		rows := height/rowPixels + 2
		row += rows
		pixels += rows * rowPixels
	}
	return nil
}

func firstSentence(doc string) string {
	doc = strings.Join(strings.Fields(doc), " ")
	if at := strings.Index(doc, ". "); at >= 0 {
		return doc[:at+1]
	}
	return doc
}

// text writes a text into a cell.
func (b *builder) text(sheet string, column, row int, text string, s style) error {
	cell := cellName(column, row)
	if err := b.file.SetCellStr(sheet, cell, clean(text)); err != nil {
		return err
	}
	id, err := b.style(s)
	if err != nil {
		return err
	}
	return b.file.SetCellStyle(sheet, cell, cell, id)
}

// columnGuide writes the sheet that explains every column of every table.
func (b *builder) columnGuide(sheet string) error {
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
	if _, err := b.file.NewSheet(sheet); err != nil {
		return err
	}
	return b.writePart(table, sheetPart{sheet: sheet, object: "t_columns_0_0", from: 0, to: len(table.Rows)})
}
