package report_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/jobs/report"
)

// element is an element of a page.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

func (e element) attr(name string) (string, bool) {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value, true
		}
	}
	return "", false
}

// all returns the elements with a name below e, in order.
func (e element) all(name string) (out []element) {
	for _, child := range e.Children {
		if child.XMLName.Local == name {
			out = append(out, child)
		}
		out = append(out, child.all(name)...)
	}
	return out
}

func parsePage(t *testing.T, text string) element {
	t.Helper()
	text = regexp.MustCompile(`(?s)<script>.*</script>`).ReplaceAllString(text, "<script></script>")
	decoder := xml.NewDecoder(strings.NewReader(text))
	decoder.Strict = false
	decoder.AutoClose = []string{"meta"}
	decoder.Entity = xml.HTMLEntity
	var root element
	if err := decoder.Decode(&root); err != nil {
		t.Fatal(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		if token, err := decoder.Token(); err == nil {
			t.Fatalf("unexpected token after the page: %v", token)
		}
	}
	return root
}

// TestPageShowsEveryCell compares every cell with the report.
func TestPageShowsEveryCell(t *testing.T) {
	built := build(t, sampleTape(t, nil), nil)
	root := parsePage(t, write(t, built, report.HTML))
	sections := map[string]element{}
	for _, section := range root.all("section") {
		name, _ := section.attr("id")
		sections[name] = section
	}
	cells := 0
	for _, section := range built.Sections {
		shown, ok := sections[section.Query.Name]
		if ok == (section.Query.Name == "candles") {
			t.Errorf("%s is on the page: %v", section.Query.Name, ok)
		}
		if !ok {
			continue
		}
		heads := shown.all("th")
		columns := map[string]int{}
		for i, column := range section.Result.Columns {
			name := strings.ReplaceAll(column.Name, "_", " ")
			if strings.HasPrefix(column.Doc, "raw trades") {
				name = strings.Replace(name, "trades", "raw trades", 1)
			} else if strings.HasPrefix(column.Doc, "rows of the tape") {
				name = "trades"
			}
			columns[name] = i
		}
		rows := shown.all("tr")[1:]
		if len(rows) != len(section.Result.Rows) {
			t.Fatalf("%s shows %d rows of %d", section.Query.Name, len(rows), len(section.Result.Rows))
		}
		for i, row := range rows {
			for j, cell := range row.all("td") {
				value := section.Result.Rows[i][columns[heads[j].Text]]
				sorted, _ := cell.attr("data-v")
				switch v := value.(type) {
				case float64:
					if have, err := strconv.ParseFloat(sorted, 64); err != nil || have != v {
						t.Errorf("%s, row %d, %s is %q, want %v", section.Query.Name, i+1, heads[j].Text, sorted, v)
					}
				case int64:
					if sorted != fmt.Sprint(v) {
						t.Errorf("%s, row %d, %s is %q, want %v", section.Query.Name, i+1, heads[j].Text, sorted, v)
					}
				case time.Time:
					if have, err := time.Parse(time.RFC3339Nano, sorted); err != nil || !have.Equal(v) {
						t.Errorf("%s, row %d, %s is %q, want %v", section.Query.Name, i+1, heads[j].Text, sorted, v)
					}
				case string:
					if cell.Text != strings.ReplaceAll(v, "\n", `\n`) {
						t.Errorf("%s, row %d, %s is %q, want %q", section.Query.Name, i+1, heads[j].Text, cell.Text, v)
					}
				case nil:
					if cell.Text != "" {
						t.Errorf("%s, row %d, %s is %q, want nothing", section.Query.Name, i+1, heads[j].Text, cell.Text)
					}
				}
				cells++
			}
		}
	}
	if cells < 400 {
		t.Errorf("only %d cells were compared", cells)
	}
	if n := len(root.all("svg")); n != 12 {
		t.Errorf("%d charts, want 12: 2 of movers, trades by hour, 5 prices, 4 volumes", n)
	}
}

func TestPageLoadsNothingElse(t *testing.T) {
	text := write(t, build(t, sampleTape(t, nil), nil), report.HTML)
	root := parsePage(t, text)
	var visit func(element)
	visit = func(e element) {
		for _, a := range e.Attrs {
			switch a.Name.Local {
			case "src", "srcset", "action", "data", "poster", "xlink", "background":
				t.Errorf("<%s> has %s=%q", e.XMLName.Local, a.Name.Local, a.Value)
			case "href":
				if !strings.HasPrefix(a.Value, "#") {
					t.Errorf("<%s> refers to %q", e.XMLName.Local, a.Value)
				}
			}
			if strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Value, "url(") {
				t.Errorf("<%s> has %s=%q", e.XMLName.Local, a.Name.Local, a.Value)
			}
		}
		switch e.XMLName.Local {
		case "link", "iframe", "img", "object", "embed", "base", "form":
			t.Errorf("the page has a <%s>", e.XMLName.Local)
		}
		for _, child := range e.Children {
			visit(child)
		}
	}
	visit(root)
	if outside := regexp.MustCompile(`https?:|@import|url\(`).FindString(text); outside != "" {
		t.Errorf("the page holds %q", outside)
	}
	script := regexp.MustCompile(`(?s)<script>(.*)</script>`).FindStringSubmatch(text)
	if script == nil {
		t.Fatal("the page has no script")
	}
	sum := sha256.Sum256([]byte(script[1]))
	if want := "script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(html.UnescapeString(text), want) {
		t.Errorf("the content security policy does not allow the script: want %s", want)
	}
	if !strings.Contains(text, "prefers-color-scheme: dark") || !strings.Contains(text, `name="viewport"`) {
		t.Error("the page lacks dark colors or a viewport")
	}
}

func TestPageEscapesText(t *testing.T) {
	hostile := `</script><script>alert(1)</script><img src=x onerror=alert(1)>"'&`
	evil := market{symbol: "EVILUSDT", price: 10, decimals: 2, every: time.Minute, trend: 0.2, qty: 1}
	alert := tape.Alert{Detector: "whale_order", Symbol: `<b>"&'USDT`, At: sampleStart.Add(time.Hour).UnixMicro(), Severity: "high", Message: hostile, Extra: "{}"}
	built := build(t, newTape(t, tape.AggTrade, sampleTrades([]market{evil}, nil), alert), nil)
	text := write(t, built, report.HTML)
	if strings.Contains(text, "<script>alert") || strings.Contains(text, "<img") || strings.Contains(text, "<b>") {
		t.Error("text became markup")
	}
	root := parsePage(t, text)
	found := false
	for _, cell := range root.all("td") {
		found = found || cell.Text == hostile
	}
	if !found {
		t.Error("the message is not shown as text")
	}
}

func TestPageOfEmptyTapeAndFailedSection(t *testing.T) {
	built := build(t, newTape(t, tape.AggTrade, nil), nil)
	built.Sections[1].Err = errors.New("out of <memory>")
	text := write(t, built, report.HTML)
	for _, want := range []string{"No trades in this window: the tape is empty.", "This section failed: out of &lt;memory&gt;", "no alerts; not judged at all", "no rows in this window"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(text, "<svg") || strings.Contains(text, `id="filter"`) {
		t.Error("the page has a chart or a filter without data")
	}
	gap := write(t, build(t, sampleTape(t, func(trade tape.Trade) bool { return trade.Symbol == "ETHUSDT" && trade.ID == 1500 }), nil), report.HTML)
	if stated, first := strings.Index(gap, "Missing: id 1500 of ETHUSDT"), strings.Index(gap, "<section"); stated < 0 || stated > first {
		t.Errorf("the gap is stated at %d, the first section starts at %d", stated, first)
	}
}

func TestPageShowsMostImportantOfManyRows(t *testing.T) {
	built := build(t, newTape(t, tape.AggTrade, sampleTrades(manyMarkets(400), nil)), func(o *report.Options) { o.Sections = []string{"overview", "hourly"} })
	text := write(t, built, report.HTML)
	rows := len(built.Section("hourly").Result.Rows)
	if want := fmt.Sprintf("… and %d more rows; most traded symbols first", rows-1000); rows != 1600 || !strings.Contains(text, want) {
		t.Errorf("%d rows: the page lacks %q", rows, want)
	}
	for _, section := range parsePage(t, text).all("section") {
		name, _ := section.attr("id")
		if n := len(section.all("tr")) - 1; name == "overview" && n != 400 || name == "hourly" && n != 1000 {
			t.Errorf("%s shows %d rows", name, n)
		}
	}
}

// chromium returns the path of a Chromium: the one that TAPEDECK_BROWSER names, or chromium. If
// there is none, it fails the test if TAPEDECK_BROWSER or CI is set, and skips it otherwise.
func chromium(t *testing.T) string {
	t.Helper()
	const variable = "TAPEDECK_BROWSER"
	named := os.Getenv(variable)
	path, err := exec.LookPath(cmp.Or(named, "chromium"))
	switch {
	case err == nil:
	case named != "" || os.Getenv("CI") != "":
		t.Fatal(err)
	default:
		t.Skipf("the page is not tested in a browser: chromium is not installed, and %s names no other", variable)
	}
	return path
}

// TestPageInBrowser checks what the page's script does in a real browser.
func TestPageInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes seconds")
	}
	browser := chromium(t)
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(write(t, build(t, sampleTape(t, nil), nil), report.HTML)), 0o644); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(), "--dump-dom", "file://"+path)
	command.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr bytes.Buffer
	command.Stderr = &stderr
	dom, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", browser, err, &stderr)
	}
	heads := strings.Count(string(dom), "<th ")
	if buttons := strings.Count(string(dom), `<button type="button">`); buttons != heads || heads < 50 {
		t.Errorf("%d table heads have %d buttons", heads, buttons)
	}
	if !strings.Contains(string(dom), `<input type="search"`) {
		t.Error("the page lacks the field that filters symbols")
	}
}

func TestPictures(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: make test-all")
	}
	built := build(t, sampleTape(t, nil), nil)
	pictures, err := report.Pictures(built, 3)
	if err != nil {
		t.Fatal(err)
	}
	if len(pictures) != 3 || pictures[0].Name != "chart-01.png" || pictures[0].Caption != "Top gainers (2026-01-15 09:00:00 to 13:00:00 UTC, 4 h)" {
		t.Fatalf("%d pictures, the first %q %q", len(pictures), pictures[0].Name, pictures[0].Caption)
	}
	for _, picture := range pictures {
		if _, err := png.Decode(bytes.NewReader(picture.Content)); err != nil {
			t.Errorf("%s: %v", picture.Name, err)
		}
	}
	if none, err := report.Pictures(build(t, newTape(t, tape.AggTrade, nil), nil), 3); err != nil || len(none) != 0 {
		t.Errorf("%d pictures of an empty tape, %v", len(none), err)
	}
	movers := build(t, sampleTape(t, nil), func(o *report.Options) { o.Sections = []string{"movers"} })
	if all, err := report.Pictures(movers, -1); err != nil || len(all) != 2 {
		t.Errorf("%d pictures of the movers, want 2 (%v)", len(all), err)
	}
}

// TestWideWindow checks that a report of many days has rows of days, and says so.
func TestWideWindow(t *testing.T) {
	dir := newTape(t, tape.AggTrade, sampleTrades(manyMarkets(2), nil))
	for days, want := range map[int]string{10: "", 11: "covers a day", 401: "covers a week"} {
		built := build(t, dir, func(o *report.Options) {
			o.Window.Start = o.Window.End.AddDate(0, 0, -days)
			o.Sections = []string{"hourly"}
		})
		found := slices.ContainsFunc(built.Statements, func(s report.Statement) bool { return strings.Contains(s.Text, "covers a") })
		if found != (want != "") || found && !slices.ContainsFunc(built.Statements, func(s report.Statement) bool { return strings.Contains(s.Text, want) }) {
			t.Errorf("%d days: %v", days, built.Statements)
		}
		if rows := len(built.Section("hourly").Result.Rows); want != "" && rows > 4 {
			t.Errorf("%d days: %d rows of two symbols in a few hours", days, rows)
		}
	}
}
