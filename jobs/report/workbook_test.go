package report_test

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"tapedeck/internal/tape"
	"tapedeck/jobs/report"
)

func openWorkbook(t *testing.T, r *report.Report) *excelize.File {
	t.Helper()
	return openBytes(t, workbookBytes(t, r))
}

func workbookBytes(t *testing.T, r *report.Report) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := report.XLSX(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func openBytes(t *testing.T, content []byte) *excelize.File {
	t.Helper()
	file, err := excelize.OpenReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// storedNumbers returns the numbers of a sheet by cell, exactly as the file holds them. The library
// rounds them to 15 digits when it reads.
func storedNumbers(t *testing.T, content []byte, sheet string) map[string]string {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	decode := func(name string, v any) {
		file, err := archive.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := xml.NewDecoder(file).Decode(v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var book struct {
		Sheets []struct {
			Name string `xml:"name,attr"`
			ID   string `xml:"http://schemas.openxmlformats.org/officeDocument/2006/relationships id,attr"`
		} `xml:"sheets>sheet"`
	}
	var links struct {
		Relationship []struct {
			ID     string `xml:"Id,attr"`
			Target string `xml:"Target,attr"`
		}
	}
	decode("xl/workbook.xml", &book)
	decode("xl/_rels/workbook.xml.rels", &links)
	target := ""
	for _, s := range book.Sheets {
		for _, link := range links.Relationship {
			if s.Name == sheet && link.ID == s.ID {
				target = path.Join("xl", strings.TrimPrefix(link.Target, "/xl/"))
			}
		}
	}
	var data struct {
		Cells []struct {
			Cell  string `xml:"r,attr"`
			Type  string `xml:"t,attr"`
			Value string `xml:"v"`
		} `xml:"sheetData>row>c"`
	}
	decode(target, &data)
	out := map[string]string{}
	for _, cell := range data.Cells {
		if cell.Type == "" || cell.Type == "n" {
			out[cell.Cell] = cell.Value
		}
	}
	return out
}

// TestWorkbookHoldsEveryCell reads the workbook and compares every cell with the report.
func TestWorkbookHoldsEveryCell(t *testing.T) {
	built := build(t, sampleTape(t, func(trade tape.Trade) bool { return trade.Symbol == "BTCUSDT" && trade.ID == 1200 }), nil)
	content := workbookBytes(t, built)
	file := openBytes(t, content)
	want := []string{"Report"}
	for _, section := range built.Sections {
		want = append(want, section.Query.Title)
	}
	want = append(want, "Columns", "Alert marks")
	if have := file.GetSheetList(); !slices.Equal(slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(want))) || have[0] != "Report" {
		t.Fatalf("sheets %q, want %q", have, want)
	}
	cells := 0
	for _, section := range built.Sections {
		sheet := section.Query.Title
		rows, err := file.GetRows(sheet, excelize.Options{RawCellValue: true})
		if err != nil {
			t.Fatal(err)
		}
		numbers := storedNumbers(t, content, sheet)
		if len(rows) != len(section.Result.Rows)+1 {
			t.Fatalf("%s has %d rows, want %d and a header", sheet, len(rows), len(section.Result.Rows))
		}
		for j, column := range section.Result.Columns {
			if rows[0][j] != column.Name {
				t.Errorf("%s: column %d is %q, want %q", sheet, j+1, rows[0][j], column.Name)
			}
			for i, row := range section.Result.Rows {
				have := ""
				if j < len(rows[i+1]) {
					have = rows[i+1][j]
				}
				if cell, _ := excelize.CoordinatesToCellName(j+1, i+2); numbers[cell] != "" {
					have = numbers[cell]
				}
				if !sameCell(row[j], have) {
					t.Errorf("%s, row %d, %s holds %q, want %v", sheet, i+2, column.Name, have, row[j])
				}
				cells++
			}
		}
		table, err := file.GetTables(sheet)
		if err != nil || len(table) != 1 {
			t.Fatalf("%s has tables %v, %v", sheet, table, err)
		}
		last, _ := excelize.CoordinatesToCellName(len(section.Result.Columns), len(rows))
		if table[0].Range != "A1:"+last {
			t.Errorf("%s: the table covers %s, want A1:%s", sheet, table[0].Range, last)
		}
		if panes, err := file.GetPanes(sheet); err != nil || !panes.Freeze || panes.YSplit != 1 {
			t.Errorf("%s: the header is not frozen: %+v, %v", sheet, panes, err)
		}
		if layout, err := file.GetPageLayout(sheet); err != nil || layout.Orientation == nil || *layout.Orientation != "landscape" || *layout.FitToWidth != 1 {
			t.Errorf("%s: the print setup is %+v, %v", sheet, layout, err)
		}
	}
	if cells < 500 {
		t.Errorf("only %d cells were compared", cells)
	}
}

func sameCell(want any, have string) bool {
	switch v := want.(type) {
	case nil:
		return have == ""
	case float64:
		h, err := strconv.ParseFloat(have, 64)
		kept, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 15, 64), 64)
		return err == nil && h == kept
	case time.Time: // days since 1899-12-30; a double holds them to about a microsecond
		h, err := strconv.ParseFloat(have, 64)
		days := float64(v.UnixMicro()-time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC).UnixMicro()) / 86400e6
		return err == nil && math.Abs(h-days)*86400 < 1e-5
	}
	return fmt.Sprint(want) == have
}

func TestWorkbookHasNoFormulas(t *testing.T) {
	file := openWorkbook(t, build(t, sampleTape(t, nil), nil))
	found := false
	for _, sheet := range file.GetSheetList() {
		rows, err := file.GetRows(sheet)
		if err != nil {
			t.Fatal(err)
		}
		for i, row := range rows {
			for j, text := range row {
				cell, _ := excelize.CoordinatesToCellName(j+1, i+1)
				if formula, err := file.GetCellFormula(sheet, cell); err != nil || formula != "" {
					t.Errorf("%s!%s is the formula %q, %v", sheet, cell, formula, err)
				}
				found = found || strings.HasPrefix(text, "=HYPERLINK(")
			}
		}
	}
	if !found {
		t.Error("no sheet has the text that looks like a formula")
	}
}

// TestWorkbookDisplaysPriceDecimals checks the formatted values.
func TestWorkbookDisplaysPriceDecimals(t *testing.T) {
	built := build(t, sampleTape(t, nil), nil)
	file := openWorkbook(t, built)
	overview := built.Section("overview")
	for _, c := range []struct{ symbol, column, want string }{
		{"BTCUSDT", "close", "63,071.89"},
		{"DOGEBTC", "close", "0.00000143"},
		{chineseSymbol, "open", "0.2566"},
		{"QUIETEUR", "close", "1.49"},
		{"BTCUSDT", "change", "+1.51%"},
		{"ETHUSDT", "change", "-0.70%"},
		{"QUIETEUR", "taker_buy_share", "17.3%"},
		{"BTCUSDT", "trades", "4,114"},
		{"BTCUSDT", "first_traded_at", "2026-01-15 09:00:03"},
	} {
		row := slices.IndexFunc(overview.Result.Rows, func(row []any) bool { return row[0] == c.symbol })
		at := slices.IndexFunc(overview.Result.Columns, func(column column) bool { return column.Name == c.column })
		cell, _ := excelize.CoordinatesToCellName(at+1, row+2)
		if have, err := file.GetCellValue("Overview", cell); err != nil || have != c.want {
			t.Errorf("%s of %s shows %q, want %q (%v)", c.column, c.symbol, have, c.want, err)
		}
	}
}

func TestWorkbookExplainsEveryColumn(t *testing.T) {
	built := build(t, sampleTape(t, nil), nil)
	rows, err := openWorkbook(t, built).GetRows("Columns")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]string{}
	for _, row := range rows[1:] {
		if len(row) < 4 || row[3] == "" {
			t.Errorf("no explanation in %q", row)
			continue
		}
		explained[row[0]+"."+row[1]] = row[3]
	}
	for _, section := range built.Sections {
		for _, column := range section.Query.Columns {
			if explained[section.Query.Title+"."+column.Name] == "" {
				t.Errorf("%s.%s is not explained", section.Query.Title, column.Name)
			}
		}
	}
}

func TestWorkbookOfEmptyTapeAndFailedSection(t *testing.T) {
	built := build(t, newTape(t, tape.AggTrade, nil), nil)
	built.Sections[1].Result, built.Sections[1].Err = report.Section{}.Result, fmt.Errorf("out of memory")
	file := openWorkbook(t, built)
	for i, want := range []string{"no rows in this window", "This section failed: out of memory", "no alerts; not judged at all"} {
		if have, err := file.GetCellValue(built.Sections[i].Query.Title, "A2"); err != nil || have != want {
			t.Errorf("%s shows %q, want %q (%v)", built.Sections[i].Query.Title, have, want, err)
		}
	}
}
