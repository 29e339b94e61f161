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

// setUpFrontPrint makes the front page print on A4 landscape.
func (b *builder) setUpFrontPrint(sheet string) error {
	scale := uint(frontScale)
	return b.setUpPrint(sheet, excelize.PageLayoutOptions{AdjustTo: &scale}, false)
}

// setUpTablePrint makes a table print on A4 landscape, as wide as the page, with its header on
// every page.
func (b *builder) setUpTablePrint(sheet string) error {
	onePage, anyPages := 1, 0
	if err := b.setUpPrint(sheet, excelize.PageLayoutOptions{FitToWidth: &onePage, FitToHeight: &anyPages},
		true); err != nil {
		return err
	}
	return b.file.SetDefinedName(&excelize.DefinedName{Name: "_xlnm.Print_Titles",
		RefersTo: quoteSheet(sheet) + "!$1:$1", Scope: sheet})
}

func (b *builder) setUpPrint(sheet string, layout excelize.PageLayoutOptions, fitToPage bool) error {
	size, landscape := paperA4, "landscape"
	layout.Size, layout.Orientation = &size, &landscape
	if err := b.file.SetPageLayout(sheet, &layout); err != nil {
		return err
	}
	if err := b.file.SetSheetProps(sheet, &excelize.SheetPropsOptions{FitToPage: &fitToPage}); err != nil {
		return err
	}
	side, end := 0.4, 0.6
	if err := b.file.SetPageMargins(sheet, &excelize.PageLayoutMarginsOptions{Left: &side, Right: &side,
		Top: &end, Bottom: &end}); err != nil {
		return err
	}
	footer := "&L&8" + strings.ReplaceAll(cutUnits(clean(b.book.Title), 100), "&", "&&") + "&C&8&A&R&8&P / &N"
	return b.file.SetHeaderFooter(sheet, &excelize.HeaderFooterOptions{OddFooter: footer})
}

// quoteSheet quotes the name of a sheet for a reference.
func quoteSheet(sheet string) string { return "'" + strings.ReplaceAll(sheet, "'", "''") + "'" }
