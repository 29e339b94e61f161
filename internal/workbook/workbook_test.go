package workbook_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"tapedeck/internal/workbook"
)

// write writes a workbook and reads it again.
func write(t *testing.T, book workbook.Book) *excelize.File {
	t.Helper()
	var out bytes.Buffer
	if err := workbook.Write(&out, book); err != nil {
		t.Fatal(err)
	}
	file, err := excelize.OpenReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func value(t *testing.T, file *excelize.File, sheet, cell string) string {
	t.Helper()
	text, err := file.GetCellValue(sheet, cell)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestLongTableContinuesOnAnotherSheet(t *testing.T) {
	table := workbook.Table{Name: "Trades", Columns: []workbook.Column{{Name: "n", Format: workbook.Integer}}}
	for i := range 25 {
		table.Rows = append(table.Rows, []any{int64(i)})
	}
	file := write(t, workbook.Book{Tables: []workbook.Table{table}, RowsPerSheet: 10})
	want := []string{"Report", "Trades", "Trades (2)", "Trades (3)", "Columns"}
	if diff := cmp.Diff(want, file.GetSheetList()); diff != "" {
		t.Fatalf("sheets (-want +have):\n%s", diff)
	}
	n := 0
	for _, sheet := range want[1:4] {
		rows, err := file.GetRows(sheet)
		if err != nil {
			t.Fatal(err)
		}
		if rows[0][0] != "n" {
			t.Errorf("%s has no header", sheet)
		}
		for _, row := range rows[1:] {
			if row[0] != fmt.Sprint(n) {
				t.Errorf("%s: %q, want %d", sheet, row[0], n)
			}
			n++
		}
		tables, err := file.GetTables(sheet)
		if err != nil || len(tables) != 1 {
			t.Errorf("%s has the tables %v, %v", sheet, tables, err)
		}
	}
	if n != 25 {
		t.Errorf("%d rows, want 25", n)
	}
}

func TestSheetNamesAreValidAndUnique(t *testing.T) {
	names := []string{"Report", "columns", "a/b[c]:*?\\", "'quoted'", "", strings.Repeat("币", 40), strings.Repeat("币", 40), "History", strings.Repeat("😀", 20)}
	book := workbook.Book{}
	for _, name := range names {
		book.Tables = append(book.Tables, workbook.Table{Name: name, Columns: []workbook.Column{{Name: "x"}}, Rows: [][]any{{"y"}}})
	}
	sheets := write(t, book).GetSheetList()
	if len(sheets) != len(names)+2 {
		t.Fatalf("%d sheets for %d tables: %q", len(sheets), len(names), sheets)
	}
	used := map[string]bool{}
	for _, sheet := range sheets {
		units := 0
		for _, r := range sheet {
			units++
			if r > 0xffff {
				units++
			}
		}
		key := strings.ToLower(sheet)
		if units > 31 || sheet == "" || strings.ContainsAny(sheet, `:\/?*[]`) || used[key] || key == "history" || strings.Trim(sheet, "'") != sheet {
			t.Errorf("%q is not a valid and unique sheet name", sheet)
		}
		used[key] = true
	}
}

func TestUnsupportedValues(t *testing.T) {
	at := time.Date(2026, 1, 15, 10, 0, 0, 123_000_000, time.FixedZone("", 3600))
	long := strings.Repeat("x", 40_000)
	columns := []workbook.Column{
		{Name: "number", Format: workbook.Number, Decimals: 2}, {Name: "id", Format: workbook.ID}, {Name: "text"},
		{Name: "when", Format: workbook.DateTime}, {Name: "flag"}, {Name: "TEXT"}, {Name: ""},
	}
	file := write(t, workbook.Book{Tables: []workbook.Table{{Name: "T", Columns: columns, Rows: [][]any{
		{math.NaN(), int64(1_751_234_567_889_123_456), "a\x00b\x1bc\xff", at, true, "=1", nil},
		{math.Inf(1), int64(-5), long, nil, false, "+1", struct{ a int }{7}},
		{1234.5678, int64(999_999_999_999_999), "", time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), nil, "@x"},
		{math.MaxFloat64},
	}}}})
	for cell, want := range map[string]string{
		"A2": "NaN", "B2": "1751234567889123456", "C2": `a\x00b\x1bc\xff`, "E2": "TRUE", "F2": "=1", "G2": "",
		"A3": "+Inf", "B3": "-5", "F3": "+1", "G3": "{7}", "A4": "1,234.57", "B4": "999999999999999",
		"F1": "TEXT 2", "G1": " 2",
	} {
		if have := value(t, file, "T", cell); have != want {
			t.Errorf("%s displays %q, want %q", cell, have, want)
		}
	}
	raw, err := file.GetCellValue("T", "D2", excelize.Options{RawCellValue: true})
	days, _ := strconv.ParseFloat(raw, 64)
	if err != nil || math.Abs(days-(46037+(9*3600+0.123)/86400))*86400 > 1e-5 {
		t.Errorf("the time is %q days, %v", raw, err)
	}
	if style, err := file.GetCellStyle("T", "D2"); err != nil {
		t.Error(err)
	} else if look, err := file.GetStyle(style); err != nil || look.CustomNumFmt == nil || *look.CustomNumFmt != "yyyy-mm-dd hh:mm:ss.000" {
		t.Errorf("the times have the style %+v, %v", look, err)
	}
	if have := value(t, file, "T", "C3"); len(have) != 32_766+len("…") || !strings.HasSuffix(have, "…") {
		t.Errorf("the long text has %d bytes and ends in %q", len(have), have[len(have)-3:])
	}
}

func TestChartsReferToTheirRows(t *testing.T) {
	table := workbook.Table{Name: "Prices", Columns: []workbook.Column{{Name: "at", Format: workbook.DateTime}}}
	for _, name := range []string{"open", "high", "low", "close", "volume", "alerts"} {
		table.Columns = append(table.Columns, workbook.Column{Name: name, Format: workbook.Number})
	}
	for i := range 30 {
		price := 100 + float64(i)
		table.Rows = append(table.Rows, []any{time.Date(2026, 1, 15, i%24, 0, 0, 0, time.UTC), price, price + 2, price - 1, price + 1, float64(i), nil})
	}
	table.Rows[5][6] = 20.0
	var candles []workbook.Series
	for column := 1; column <= 6; column++ {
		candles = append(candles, workbook.Series{Value: column, From: 2, To: 12})
	}
	var out bytes.Buffer
	book := workbook.Book{RowsPerSheet: 20, Tables: []workbook.Table{table}, Charts: [][]workbook.Chart{{
		{Title: "price & volume", Kind: workbook.Candles, CategoryFormat: "hh:mm", Series: candles},
		{Title: "limited to the first sheet", Series: []workbook.Series{{Table: 0, Category: 0, Value: 1, From: 10, To: 30}}},
	}, {
		{Title: "nothing to draw", Series: []workbook.Series{{Table: 0, Category: 0, Value: 1, From: 25, To: 30}}},
		{Title: "candles without marks", Kind: workbook.Candles, Series: candles[:5]},
	}}}
	if err := workbook.Write(&out, book); err != nil {
		t.Fatal(err)
	}
	parts := parts(t, out.Bytes(), "xl/charts/chart")
	if len(parts) != 3 {
		t.Fatalf("%d charts, want 3", len(parts))
	}
	for i, wants := range [][]string{
		{"&#39;Prices&#39;!$A$4:$A$13", "&#39;Prices&#39;!$B$4:$B$13", "&#39;Prices&#39;!$E$4:$E$13", "&#39;Prices&#39;!$F$4:$F$13", "&#39;Prices&#39;!$G$4:$G$13",
			`<auto val="0">`, "price &amp; volume", "<stockChart><ser>", "<hiLowLines>", "<upDownBars>", "<barChart>", "<lineChart>", "<legendEntry>"},
		{"&#39;Prices&#39;!$B$12:$B$21"},
		{"<stockChart><ser>", "&#39;Prices&#39;!$F$4:$F$13"},
	} {
		for _, want := range wants {
			if !strings.Contains(parts[i], want) {
				t.Errorf("chart %d lacks %s", i+1, want)
			}
		}
		if i == 2 && (strings.Contains(parts[i], "<lineChart>") || strings.Contains(parts[i], "<legend>")) {
			t.Error("the chart without marks has some, or a legend")
		}
		if strings.Contains(parts[i], "dateAx") || strings.Count(parts[i], "<legendEntry>") != strings.Count(parts[i], "<legend>")*5 {
			t.Errorf("chart %d has an axis of days or a legend of its candles", i+1)
		}
	}
}

func TestSeriesWithoutTableIsAnError(t *testing.T) {
	err := workbook.Write(&bytes.Buffer{}, workbook.Book{Charts: [][]workbook.Chart{{{Title: "lost", Series: []workbook.Series{{Table: 3}}}}}})
	if err == nil || !strings.Contains(err.Error(), `chart "lost"`) {
		t.Errorf("error %v", err)
	}
}

func TestColumnGuideHasEveryColumn(t *testing.T) {
	file := write(t, workbook.Book{Tables: []workbook.Table{
		{Name: "One", Doc: "What a row\nis.", Columns: []workbook.Column{{Name: "a", Unit: "seconds", Doc: "how long"}, {Name: "b", Doc: "=what"}}},
	}})
	rows, err := file.GetRows("Columns")
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"sheet", "column", "unit", "meaning"}, {"One", "", "", "What a row is."}, {"One", "a", "seconds", "how long"}, {"One", "b", "", "=what"}}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	if !slices.Contains(file.GetSheetList(), "One") {
		t.Error("the table without rows has no sheet")
	}
}

// parts returns the parts of a workbook whose names start with prefix, sorted by name.
func parts(t *testing.T, content []byte, prefix string) (out []string) {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(slices.Clone(archive.File), func(f *zip.File) bool { return !strings.HasPrefix(f.Name, prefix) })
	slices.SortFunc(files, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	for _, file := range files {
		reader, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(reader)
		reader.Close()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return out
}
