package report_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/jobs/report"
)

type column = analytics.Column

func TestTableGolden(t *testing.T) {
	dir := sampleTape(t, nil)
	all := build(t, dir, nil)
	golden(t, "table_80.txt", write(t, all, asTable(report.TableOptions{Width: 80})))
	golden(t, "table_160.txt", write(t, all, asTable(report.TableOptions{Width: 160})))
	golden(t, "table_brief_color.txt", write(t, build(t, dir, func(o *report.Options) { o.Brief = true }), asTable(report.TableOptions{Width: 100, Color: true})))
}

var escapes = regexp.MustCompile("\x1b\\[[0-9]*m")

func TestTableFitsTerminal(t *testing.T) {
	dir := sampleTape(t, nil)
	built := build(t, dir, nil)
	for width := 40; width <= 240; width += 13 {
		plain := write(t, built, asTable(report.TableOptions{Width: width}))
		painted := write(t, built, asTable(report.TableOptions{Width: width, Color: true}))
		if bare := escapes.ReplaceAllString(painted, ""); strings.ReplaceAll(bare, " ", "") != strings.ReplaceAll(plain, " ", "") {
			t.Errorf("at width %d, color changes the text", width)
		}
		for line := range strings.Lines(plain) {
			if n := cells(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("at width %d, a line is %d wide: %q", width, n, line)
			}
		}
	}
}

// cells returns the width of a sample text in a terminal. Chinese characters occupy two cells.
func cells(text string) (n int) {
	for _, r := range text {
		if n++; r >= 0x4e00 && r <= 0x9fff {
			n++
		}
	}
	return n
}

func TestMarkdownGolden(t *testing.T) {
	golden(t, "report.md", write(t, build(t, sampleTape(t, nil), nil), report.Markdown))
}

func TestJSONGolden(t *testing.T) {
	built := build(t, sampleTape(t, nil), func(o *report.Options) { o.Sections = []string{"overview", "incidents"} })
	text := write(t, built, report.JSON)
	golden(t, "report.json", text)
	var read struct {
		Schema   string
		Complete bool
		Sections []struct {
			Name string
			Rows []map[string]any
		}
	}
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		t.Fatal(err)
	}
	if read.Schema != report.Schema || !read.Complete || len(read.Sections) != 2 {
		t.Fatalf("decoded: %+v", read)
	}
	for s, section := range read.Sections {
		result := built.Sections[s].Result
		if len(section.Rows) != len(result.Rows) || len(section.Rows) == 0 {
			t.Fatalf("%s: %d rows, want %d", section.Name, len(section.Rows), len(result.Rows))
		}
		for i, row := range section.Rows {
			for j, column := range result.Columns {
				if v, ok := result.Rows[i][j].(float64); ok && row[column.Name] != v {
					t.Errorf("%s, row %d: %s is %v, want %v", section.Name, i, column.Name, row[column.Name], v)
				}
			}
		}
	}
}

func TestCSVEscapesFormulas(t *testing.T) {
	built := build(t, sampleTape(t, nil), func(o *report.Options) { o.Sections = []string{"incidents"} })
	golden(t, "incidents.csv", write(t, built, report.CSV))
	result := &built.Section("incidents").Result
	message := slices.IndexFunc(result.Columns, func(c column) bool { return c.Name == "message" })
	for text, want := range map[string]string{
		"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@sum": "'@sum", "\tx": "'\tx", "\rx": "'\rx", "\nx": "'\nx", "＝1": "'＝1",
		"plain": "plain", "a=1": "a=1", "": "", chineseSymbol: chineseSymbol, `"quoted", and so on`: `"quoted", and so on`,
	} {
		result.Rows[0][message] = text
		records, err := csv.NewReader(strings.NewReader(write(t, built, report.CSV))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if have := strings.ReplaceAll(records[1][message], "\r\n", "\n"); have != strings.ReplaceAll(want, "\r\n", "\n") {
			t.Errorf("%q becomes %q, want %q", text, have, want)
		}
	}
}

func TestCSVOfSeveralSections(t *testing.T) {
	built := build(t, sampleTape(t, nil), nil)
	records, err := csv.NewReader(strings.NewReader(write(t, built, report.CSV))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, section := range built.Sections {
		rows += len(section.Result.Rows)
	}
	if len(records) != rows+1 || records[0][0] != "section" {
		t.Fatalf("%d records for %d rows, first column %q", len(records), rows, records[0][0])
	}
	names := map[string]bool{}
	for _, name := range records[0] {
		if names[name] {
			t.Errorf("duplicate column %q", name)
		}
		names[name] = true
	}
	at := 1
	for _, section := range built.Sections {
		for range section.Result.Rows {
			if records[at][0] != section.Query.Name {
				t.Fatalf("record %d is of %q, want %q", at, records[at][0], section.Query.Name)
			}
			at++
		}
	}
}

// TestCSVLacksAFailedSection: the others are there, as in the other formats, and the report is partial.
func TestCSVLacksAFailedSection(t *testing.T) {
	built := build(t, sampleTape(t, nil), nil)
	failed := &built.Sections[2]
	failed.Err, failed.Result = errors.New("out of memory"), analytics.Result{}
	var out bytes.Buffer
	if err := report.CSV(&out, built); err != nil || !built.Partial() || strings.Contains(out.String(), "\n"+failed.Query.Name+",") ||
		!strings.Contains(out.String(), "\n"+built.Sections[1].Query.Name+",") {
		t.Errorf("error %v, partial %t:\n%s", err, built.Partial(), out.String())
	}
	only := *built
	only.Sections = built.Sections[2:3]
	out.Reset()
	if err := report.CSV(&out, &only); err != nil || out.Len() > 0 {
		t.Errorf("only that section: %v, %q", err, out.String())
	}
}

// formats are all formats of a report.
var formats = map[string]func(io.Writer, *report.Report) error{
	"table": asTable(report.TableOptions{}), "markdown": report.Markdown, "json": report.JSON, "csv": report.CSV, "xlsx": report.XLSX, "html": report.HTML,
}

// texts are the formats that contain the statements as text.
var texts = []string{"table", "markdown", "json", "html"}

func TestEmptyWindowIsStated(t *testing.T) {
	dir := sampleTape(t, nil)
	for name, c := range map[string]struct {
		from time.Time
		want string
	}{
		"after":  {sampleEnd.Add(48 * time.Hour), "Not recorded: this window is after the record of all 5 symbols, which is known until 2026-01-15 13:15:00, by the live stream."},
		"before": {sampleStart.Add(-48 * time.Hour), "Not recorded: this window is before the record of all 5 symbols, which is known from 2026-01-15 08:45:00, by the first trade."},
	} {
		t.Run(name, func(t *testing.T) {
			built := build(t, dir, func(o *report.Options) { o.Window.Start, o.Window.End = c.from, c.from.Add(time.Hour) })
			if !built.Empty || built.Complete || built.Missing != 0 || !built.Partial() {
				t.Errorf("empty %v, complete %v, missing %d, partial %v", built.Empty, built.Complete, built.Missing, built.Partial())
			}
			if built.Statements[0].Text != c.want {
				t.Errorf("first statement %q, want %q", built.Statements[0].Text, c.want)
			}
			for format, writer := range formats {
				text := write(t, built, writer)
				if slices.Contains(texts, format) && !strings.Contains(strings.Join(strings.Fields(text), " "), c.want) {
					t.Errorf("%s does not state it:\n%s", format, text)
				}
			}
		})
	}
	t.Run("nothing recorded", func(t *testing.T) {
		built := build(t, newTape(t, tape.AggTrade, nil), nil)
		if want := "No trades in this window: the tape is empty."; !built.Empty || built.Statements[0].Text != want || !built.Partial() {
			t.Errorf("first statement %q, want %q", built.Statements[0].Text, want)
		}
		for _, writer := range formats {
			write(t, built, writer)
		}
	})
}

func TestGapsAreStatedFirst(t *testing.T) {
	dir := sampleTape(t, func(trade tape.Trade) bool {
		return trade.Symbol == "ETHUSDT" && (trade.ID >= 1400 && trade.ID < 1410 || trade.ID == 1500) || trade.Symbol == "BTCUSDT" && trade.ID == 1200
	})
	built := build(t, dir, nil)
	if built.Complete || built.Missing != 12 || !built.Partial() {
		t.Errorf("complete %v, missing %d, partial %v", built.Complete, built.Missing, built.Partial())
	}
	want := []string{
		"Missing: 11 ids of ETHUSDT in 2 gaps (from 1400 to 1500), traded between 2026-01-15 09:58:09.000 and 2026-01-15 10:16:51.000.",
		"Missing: id 1200 of BTCUSDT, traded between 2026-01-15 09:08:13.000 and 2026-01-15 09:08:27.000.",
		"The numbers below leave them out. `tapedeck backfill --from 2026-01-15T09:00:00Z --to 2026-01-15T13:00:00Z` fetches those that the exchange still has.",
	}
	for i, text := range want {
		if have := built.Statements[i]; have.Text != text || have.Level != report.Bad {
			t.Errorf("statement %d: %s %q, want bad %q", i, have.Level, have.Text, text)
		}
	}
	table := write(t, built, asTable(report.TableOptions{Width: 200}))
	if stated, first := strings.Index(table, "Missing: 11 ids"), strings.Index(table, "Overview"); stated < 0 || stated > first {
		t.Errorf("the table states it at %d, its first section starts at %d", stated, first)
	}
	markdown := write(t, built, report.Markdown)
	if stated, first := strings.Index(markdown, "Missing: 11 ids"), strings.Index(markdown, "## "); stated < 0 || stated > first {
		t.Errorf("Markdown states it at %d, its first section starts at %d", stated, first)
	}
}

func TestMissingCountsEverySymbol(t *testing.T) {
	const symbols = 8 // more than the statements list one by one
	trades := sampleTrades(manyMarkets(symbols), func(trade tape.Trade) bool { return trade.ID == 1010 })
	built := build(t, newTape(t, tape.AggTrade, trades), nil)
	if built.Missing != symbols {
		t.Errorf("missing %d, want %d: %v", built.Missing, symbols, built.Statements)
	}
}

func TestReportOfRequestedSymbols(t *testing.T) {
	dir := sampleTape(t, nil)
	built := build(t, dir, func(o *report.Options) { o.Symbols = []string{chineseSymbol, "NOSUCHUSDT"} })
	if want := "Not on the tape at all: NOSUCHUSDT."; built.Statements[0].Text != want || built.Complete || !built.Partial() {
		t.Errorf("first statement %q, want %q; complete %v", built.Statements[0].Text, want, built.Complete)
	}
	// A tape of these symbols alone gives the same sections.
	alone := func(trade tape.Trade) bool { return trade.Symbol != chineseSymbol }
	aloneDir := newTape(t, tape.AggTrade, sampleTrades(markets, alone), sampleAlerts[0])
	judge(t, aloneDir, sampleStart.Add(-15*time.Minute), sampleEnd.Add(15*time.Minute), "", chineseSymbol)
	watch(t, aloneDir, sampleStart.Add(-15*time.Minute), sampleEnd.Add(15*time.Minute), chineseSymbol)
	want := build(t, aloneDir, nil)
	for _, section := range built.Sections {
		name := section.Query.Name
		if name == "runs" {
			continue
		}
		if diff := cmp.Diff(want.Section(name).Result, section.Result); diff != "" {
			t.Errorf("section %s differs from that of a tape of this symbol alone (-want +have):\n%s", name, diff)
		}
		if name != "incidents" && len(section.Result.Rows) == 0 {
			t.Errorf("section %s is empty", name)
		}
	}
	if want := "Report of " + chineseSymbol + ", NOSUCHUSDT, 2026-01-15 09:00 to 2026-01-15 13:00 UTC"; built.Title() != want {
		t.Errorf("title %q, want %q", built.Title(), want)
	}
	page := write(t, built, report.HTML)
	for _, other := range []string{"BTCUSDT", "all symbols"} {
		if strings.Contains(page, other) {
			t.Errorf("the page contains %q", other)
		}
	}
}

func TestReportOf400Symbols(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: make test-all")
	}
	built := build(t, newTape(t, tape.AggTrade, sampleTrades(manyMarkets(400), nil)), func(o *report.Options) { o.Window.End = o.Window.Start.Add(20 * time.Minute) })
	if n := len(built.Section("overview").Result.Rows); n != 400 || !built.Complete {
		t.Fatalf("%d symbols, complete %v: %v", n, built.Complete, built.Statements)
	}
	for format, writer := range formats {
		text := write(t, built, writer)
		if strings.Contains(text, "C399USDT") == (format == "table") && format != "xlsx" && format != "markdown" {
			t.Errorf("%s contains the last symbol: %v", format, strings.Contains(text, "C399USDT"))
		}
	}
	table := write(t, built, asTable(report.TableOptions{}))
	if !strings.Contains(table, "… and 380 more rows; most traded symbols first") {
		t.Errorf("the table does not count the other rows:\n%.2000s", table)
	}
	if !strings.Contains(write(t, built, report.Markdown), "_… and 300 more rows_") {
		t.Error("Markdown does not count the other rows")
	}
}
