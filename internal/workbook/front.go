package workbook

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/xuri/excelize/v2"
)

// The front page's charts stand two a row.
const (
	chartWidth   = 640 // pixels
	chartHeight  = 300
	rowPixels    = 20 // Excel's usual row
	columnPixels = 64
	paperA4      = 9

	// frontScale is at how many percent the front page is printed, so that two charts fit beside one another, and frontPixels how high a
	// printed page of it then is: 7.07 of A4's 8.27 inches at 96 pixels, less a row. It is not fitted to the page's width as the
	// tables are, for then page breaks are not kept.
	frontScale  = 60
	frontPixels = 1100
)

// page sets up how a sheet is printed: A4 landscape, numbered; a table as wide as the page, its header repeated.
func (b *builder) page(sheet string, front bool) error {
	size, landscape, one, any, scale := paperA4, "landscape", 1, 0, uint(frontScale)
	layout := excelize.PageLayoutOptions{Size: &size, Orientation: &landscape, FitToWidth: &one, FitToHeight: &any}
	if front {
		layout = excelize.PageLayoutOptions{Size: &size, Orientation: &landscape, AdjustTo: &scale}
	}
	if err := b.file.SetPageLayout(sheet, &layout); err != nil {
		return err
	}
	fit := !front
	if err := b.file.SetSheetProps(sheet, &excelize.SheetPropsOptions{FitToPage: &fit}); err != nil {
		return err
	}
	side, end := 0.4, 0.6
	if err := b.file.SetPageMargins(sheet, &excelize.PageLayoutMarginsOptions{Left: &side, Right: &side, Top: &end, Bottom: &end}); err != nil {
		return err
	}
	footer := "&L&8" + strings.ReplaceAll(cutUnits(clean(b.book.Title), 100), "&", "&&") + "&C&8&A&R&8&P / &N"
	if err := b.file.SetHeaderFooter(sheet, &excelize.HeaderFooterOptions{OddFooter: footer}); err != nil {
		return err
	}
	if front {
		return nil
	}
	return b.file.SetDefinedName(&excelize.DefinedName{Name: "_xlnm.Print_Titles", RefersTo: quoteSheet(sheet) + "!$1:$1", Scope: sheet})
}

func quoteSheet(sheet string) string { return "'" + strings.ReplaceAll(sheet, "'", "''") + "'" }

// front writes the first sheet: the lines, a list of the sheets, the charts.
func (b *builder) front(sheet string) error {
	f := b.file
	if err := b.page(sheet, true); err != nil {
		return err
	}
	grid := false
	if err := f.SetSheetView(sheet, 0, &excelize.ViewOptions{ShowGridLines: &grid}); err != nil {
		return err
	}
	row := 1
	used := 0 // pixels of the printed page
	for _, line := range b.book.Front {
		if err := b.text(sheet, 1, row, line.Text, style{tone: line.Tone}); err != nil {
			return err
		}
		height := 16.0
		switch line.Tone {
		case Title:
			height = 28
		case Heading:
			height = 22
		}
		if err := f.SetRowHeight(sheet, row, height); err != nil {
			return err
		}
		used += int(height * 96 / 72)
		row++
	}
	top := row
	row++
	if err := b.text(sheet, 1, row, "Sheets", style{tone: Heading}); err != nil {
		return err
	}
	row++
	for i, table := range b.book.Tables {
		for _, part := range b.sheets[i] {
			cell, err := excelize.CoordinatesToCellName(1, row)
			if err != nil {
				return err
			}
			if err := b.text(sheet, 1, row, part, style{link: true}); err != nil {
				return err
			}
			if err := f.SetCellHyperLink(sheet, cell, quoteSheet(part)+"!A1", "Location"); err != nil {
				return err
			}
			if err := b.text(sheet, 4, row, firstSentence(table.Doc), style{tone: Muted}); err != nil {
				return err
			}
			row++
		}
	}
	row += 2
	used += (row - top) * rowPixels
	for _, charts := range b.book.Charts {
		charts = slices.Clone(charts)
		height := 0
		for i := range charts {
			if charts[i].Height == 0 {
				charts[i].Height = chartHeight
			}
			height = max(height, charts[i].Height)
		}
		if used%frontPixels+height > frontPixels {
			cell, err := excelize.CoordinatesToCellName(1, row)
			if err != nil {
				return err
			}
			if err := f.InsertPageBreak(sheet, cell); err != nil {
				return err
			}
			used = 0
		}
		for i, chart := range charts {
			if err := b.chart(sheet, 1+i*(chartWidth/columnPixels+1), row, chart); err != nil {
				return fmt.Errorf("chart %q: %w", chart.Title, err)
			}
		}
		row += height/rowPixels + 2
		used += (height/rowPixels + 2) * rowPixels
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

func (b *builder) text(sheet string, column, row int, text string, look style) error {
	cell, err := excelize.CoordinatesToCellName(column, row)
	if err != nil {
		return err
	}
	if err := b.file.SetCellStr(sheet, cell, clean(text)); err != nil {
		return err
	}
	id, err := b.style(look)
	if err != nil {
		return err
	}
	return b.file.SetCellStyle(sheet, cell, cell, id)
}

// chart draws a chart with its upper left corner in a cell.
func (b *builder) chart(sheet string, column, row int, chart Chart) error {
	cell, err := excelize.CoordinatesToCellName(column, row)
	if err != nil {
		return err
	}
	var series []excelize.ChartSeries
	for i, s := range chart.Series {
		made, ok, err := b.series(s, i)
		if err != nil {
			return err
		}
		if ok {
			series = append(series, made)
		}
	}
	if len(series) == 0 {
		return nil
	}
	main, rest := series, []excelize.ChartSeries(nil)
	kind := excelize.Line
	switch chart.Kind {
	case Columns:
		kind = excelize.Col
	case Bar:
		kind = excelize.Bar
	case LineOverColumns:
		main, rest = series[:1], series[1:]
	}
	axis := excelize.Font{Size: 9, Color: "#" + faint, Family: fontName}
	value := style{format: chart.Format, decimals: chart.Decimals}.numberFormat()
	out := &excelize.Chart{
		Type:         kind,
		Series:       main,
		Dimension:    excelize.ChartDimension{Width: chartWidth, Height: uint(chart.Height)},
		Title:        excelize.ChartTitle{Paragraph: []excelize.RichTextRun{{Text: clean(chart.Title), Font: &excelize.Font{Size: 12, Bold: true, Color: "#" + ink, Family: fontName}}}},
		Legend:       excelize.ChartLegend{Position: "none"},
		XAxis:        excelize.ChartAxis{Font: axis, NumFmt: excelize.ChartNumFmt{CustomNumFmt: chart.CategoryFormat}, TickLabelPosition: excelize.ChartTickLabelLow, TickLabelSkip: labelSkip(chart), Alignment: excelize.Alignment{TextRotation: rotation(chart)}},
		YAxis:        excelize.ChartAxis{Font: axis, NumFmt: excelize.ChartNumFmt{CustomNumFmt: value}, MajorGridLines: true},
		Border:       excelize.LineOptions{Type: excelize.LineNone},
		ShowBlanksAs: "gap",
	}
	if len(series) > 1 {
		out.Legend.Position = "bottom"
	}
	switch chart.Kind {
	case Bar:
		gap := barGap(chart)
		out.GapWidth = &gap
		out.XAxis.ReverseOrder = true                             // the first row on top
		out.YAxis.TickLabelPosition = excelize.ChartTickLabelHigh // and the values' axis below all the same
		zero := 0.0
		switch low, high := b.extremes(chart.Series); { // a bar's length means its size only from zero on
		case low >= 0:
			out.YAxis.Minimum = &zero
		case high <= 0:
			out.YAxis.Maximum = &zero
		}
	case Columns:
		gap, zero := barGap(chart), 0.0
		out.GapWidth = &gap
		out.YAxis.Minimum = &zero
	}
	if rest == nil {
		return b.file.AddChart(sheet, cell, out)
	}
	out.YAxis.Minimum, out.YAxis.Maximum = around(b.extremes(chart.Series[:1]))
	gap := uint(30)
	_, top := b.extremes(chart.Series[1:])
	top *= 2.5 // the columns keep to the lower part, below the line
	columns := &excelize.Chart{
		Type:     excelize.Col,
		Series:   rest,
		GapWidth: &gap,
		YAxis:    excelize.ChartAxis{Font: axis, Secondary: true, Maximum: roundUp(top), NumFmt: excelize.ChartNumFmt{CustomNumFmt: `[>=1000000]0.0,,"M";[>=1000]0.0,"k";0.##`}},
	}
	return b.file.AddChart(sheet, cell, out, columns)
}

// extremes are the smallest and the largest value of some series.
func (b *builder) extremes(series []Series) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, s := range series {
		rows := b.book.Tables[s.Table].Rows
		for i := s.From; i < min(s.To, len(rows)); i++ {
			switch v := rows[i][s.Value].(type) {
			case float64:
				low, high = math.Min(low, v), math.Max(high, v)
			case int64:
				low, high = math.Min(low, float64(v)), math.Max(high, float64(v))
			}
		}
	}
	return low, high
}

// around gives an axis for a line that is to stand in its upper part, or nil where the line is level.
func around(low, high float64) (bottom, top *float64) {
	if !(high > low) || math.IsInf(low, 0) || math.IsInf(high, 0) {
		return nil, nil
	}
	step := *roundUp((high - low) / 4)
	from, to := math.Floor((low-(high-low)*0.6)/step)*step, math.Ceil((high+(high-low)*0.05)/step)*step
	if low >= 0 {
		from = math.Max(from, 0)
	}
	return &from, &to
}

// roundUp gives the next of 1, 2, 4, 8 times a power of ten, or nil where there is nothing to round.
func roundUp(v float64) *float64 {
	if v <= 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, digit := range [...]float64{1, 2, 4, 8, 10} {
		if rounded := digit * power; rounded >= v {
			return &rounded
		}
	}
	return nil
}

// textAxes keeps categories that are times from becoming an axis of days, on which all of a day's values fall on one another.
// The library has no setting for it.
func (b *builder) textAxes() {
	b.file.Pkg.Range(func(name, part any) bool {
		if content, ok := part.([]byte); ok && strings.HasPrefix(name.(string), "xl/charts/chart") {
			b.file.Pkg.Store(name, bytes.ReplaceAll(content, []byte(`<auto val="1"></auto>`), []byte(`<auto val="0"></auto>`)))
		}
		return true
	})
}

// rotation slants many categories; level ones are broken into columns of letters by LibreOffice, which shows all of them.
func rotation(chart Chart) int {
	if labelSkip(chart) > 1 {
		return -45
	}
	return 0
}

// barGap is the space between bars in percent of their width: few bars would be slabs.
func barGap(chart Chart) uint {
	switch n := longest(chart); {
	case n <= 2:
		return 220
	case n <= 5:
		return 110
	}
	return 35
}

// longest is the number of values of the longest series.
func longest(chart Chart) (n int) {
	for _, s := range chart.Series {
		n = max(n, s.To-s.From)
	}
	return n
}

// labelSkip keeps about eight categories labelled.
func labelSkip(chart Chart) int {
	if chart.Kind == Bar {
		return 1
	}
	return max(1, (longest(chart)+7)/8)
}

func (b *builder) series(s Series, number int) (excelize.ChartSeries, bool, error) {
	if s.Table < 0 || s.Table >= len(b.book.Tables) {
		return excelize.ChartSeries{}, false, fmt.Errorf("series %d: no table %d", number, s.Table)
	}
	s.To = min(s.To, b.book.RowsPerSheet, len(b.book.Tables[s.Table].Rows))
	if s.From >= s.To {
		return excelize.ChartSeries{}, false, nil
	}
	where := func(column int) (string, error) {
		name, err := excelize.ColumnNumberToName(column + 1)
		return fmt.Sprintf("%s!$%s$%d:$%s$%d", quoteSheet(b.sheets[s.Table][0]), name, s.From+2, name, s.To+1), err
	}
	categories, err := where(s.Category)
	if err != nil {
		return excelize.ChartSeries{}, false, err
	}
	values, err := where(s.Value)
	if err != nil {
		return excelize.ChartSeries{}, false, err
	}
	label := s.Label
	labelRow := s.From + 2
	if label < 0 {
		label, labelRow = s.Value, 1
	}
	name, err := excelize.ColumnNumberToName(label + 1)
	if err != nil {
		return excelize.ChartSeries{}, false, err
	}
	color := s.Color
	if color == "" {
		color = palette[number%len(palette)]
	}
	return excelize.ChartSeries{
		Name:       fmt.Sprintf("%s!$%s$%d", quoteSheet(b.sheets[s.Table][0]), name, labelRow),
		Categories: categories,
		Values:     values,
		Fill:       fill(color),
		Line:       excelize.LineOptions{Type: excelize.LineSolid, Fill: fill(color), Width: 1.75},
		Marker:     excelize.ChartMarker{Symbol: "none"},
	}, true, nil
}

// guide writes the page that explains every column of every table.
func (b *builder) guide(sheet string) error {
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
	return b.part(table, sheetPart{sheet: sheet, object: "t_columns_0_0", from: 0, to: len(table.Rows)})
}
