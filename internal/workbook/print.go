package workbook

import (
	"strings"

	"github.com/xuri/excelize/v2"
)

const (
	paperA4 = 9

	// frontScale is the scale in percent at which the front page is printed, so that two charts fit
	// side by side. frontPixels is the height of a printed page at that scale: 7.07 of the 8.27
	// inches of A4 at 96 pixels per inch, less a row. Fitting the front page to the page width, as
	// tables are, would drop its page breaks.
	frontScale  = 60
	frontPixels = 1100
)

// setUpPrint makes a sheet print on A4 landscape.
func (b *builder) setUpPrint(sheet string, layout excelize.PageLayoutOptions, fitToPage bool) {
	layout.Size, layout.Orientation = new(paperA4), new("landscape")
	b.keep(b.file.SetPageLayout(sheet, &layout))
	b.keep(b.file.SetSheetProps(sheet, &excelize.SheetPropsOptions{FitToPage: &fitToPage}))
	side, end := 0.4, 0.6
	b.keep(b.file.SetPageMargins(sheet, &excelize.PageLayoutMarginsOptions{Left: &side, Right: &side, Top: &end,
		Bottom: &end}))
	footer := "&L&8" + strings.ReplaceAll(cutUnits(clean(b.book.Title), 100), "&", "&&") + "&C&8&A&R&8&P / &N"
	b.keep(b.file.SetHeaderFooter(sheet, &excelize.HeaderFooterOptions{OddFooter: footer}))
}

// quoteSheet quotes the name of a sheet for a reference.
func quoteSheet(sheet string) string { return "'" + strings.ReplaceAll(sheet, "'", "''") + "'" }
