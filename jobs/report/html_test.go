package report_test

import (
	"bytes"
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
	"strconv"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/jobs/report"
)

// element is what the tests look at of a page.
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

// all gives the elements of a name below e, in order.
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
			t.Fatalf("something follows the page: %v", token)
		}
	}
	return root
}

// TestPageHoldsTheReport compares every cell with the report.
func TestPageHoldsTheReport(t *testing.T) {
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
		place := map[string]int{}
		for i, column := range section.Result.Columns {
			place[strings.ReplaceAll(column.Name, "_", " ")] = i
		}
		rows := shown.all("tr")[1:]
		if len(rows) != len(section.Result.Rows) {
			t.Fatalf("%s shows %d rows of %d", section.Query.Name, len(rows), len(section.Result.Rows))
		}
		for i, row := range rows {
			for j, cell := range row.all("td") {
				value := section.Result.Rows[i][place[heads[j].Text]]
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
					if cell.Text != strings.ReplaceAll(v, "\n", " ") {
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

func TestPageIsSelfContained(t *testing.T) {
	text := write(t, build(t, sampleTape(t, nil), nil), report.HTML)
	root := parsePage(t, text)
	var look func(element)
	look = func(e element) {
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
			t.Errorf("there is a <%s>", e.XMLName.Local)
		}
		for _, child := range e.Children {
			look(child)
		}
	}
	look(root)
	if outside := regexp.MustCompile(`https?:|@import|url\(`).FindString(text); outside != "" {
		t.Errorf("the page holds %q", outside)
	}
	script := regexp.MustCompile(`(?s)<script>(.*)</script>`).FindStringSubmatch(text)
	if script == nil {
		t.Fatal("there is no script")
	}
	sum := sha256.Sum256([]byte(script[1]))
	if want := "script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(html.UnescapeString(text), want) {
		t.Errorf("the page's policy does not allow its script: want %s", want)
	}
	if !strings.Contains(text, "prefers-color-scheme: dark") || !strings.Contains(text, `name="viewport"`) {
		t.Error("it has no dark side or no viewport")
	}
}

func TestPageTakesTextForText(t *testing.T) {
	hostile := `</script><script>alert(1)</script><img src=x onerror=alert(1)>"'&`
	evil := coin{symbol: `<b>"&'USDT`, price: 10, decimals: 2, every: time.Minute, trend: 0.2, qty: 1}
	alert := tape.Alert{Detector: "whale_order", Symbol: evil.symbol, At: sampleStart.Add(time.Hour).UnixMicro(), Severity: "high", Message: hostile, Extra: "{}"}
	built := build(t, newTape(t, tape.AggTrade, sampleTrades([]coin{evil}, nil), alert), nil)
	text := write(t, built, report.HTML)
	if strings.Contains(text, "<script>alert") || strings.Contains(text, "<img") || strings.Contains(text, "<b>") {
		t.Error("a text became markup")
	}
	root := parsePage(t, text)
	found := false
	for _, cell := range root.all("td") {
		found = found || cell.Text == hostile
	}
	if !found {
		t.Error("the message is not shown as it is")
	}
}

func TestPageOfFewAndOfFailed(t *testing.T) {
	built := build(t, newTape(t, tape.AggTrade, nil), nil)
	built.Sections[1].Err = errors.New("out of <memory>")
	text := write(t, built, report.HTML)
	for _, want := range []string{"No trades in this window: the tape is empty.", "This section failed: out of &lt;memory&gt;", "no alerts in this window", "nothing in this window"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(text, "<svg") || strings.Contains(text, `id="filter"`) {
		t.Error("it draws or filters nothing")
	}
	hole := write(t, build(t, sampleTape(t, func(trade tape.Trade) bool { return trade.Symbol == "ETHUSDT" && trade.ID == 1500 }), nil), report.HTML)
	if said, first := strings.Index(hole, "Missing: id 1500 of ETHUSDT"), strings.Index(hole, "<section"); said < 0 || said > first {
		t.Errorf("a hole is said at %d, after the first section at %d", said, first)
	}
}

func TestPageShowsTheMostTellingOfManyRows(t *testing.T) {
	built := build(t, newTape(t, tape.AggTrade, sampleTrades(manyCoins(400), nil)), func(o *report.Options) { o.Sections = []string{"overview", "hourly"} })
	text := write(t, built, report.HTML)
	rows := len(built.Section("hourly").Result.Rows)
	if want := fmt.Sprintf("… and %d more rows; the most traded symbols first", rows-1000); rows != 1600 || !strings.Contains(text, want) {
		t.Errorf("of %d rows it does not say %q", rows, want)
	}
	for _, section := range parsePage(t, text).all("section") {
		name, _ := section.attr("id")
		if n := len(section.all("tr")) - 1; name == "overview" && n != 400 || name == "hourly" && n != 1000 {
			t.Errorf("%s shows %d rows", name, n)
		}
	}
}

// TestPageInABrowser opens the page, where there is a Chromium, and looks at what the script made of it.
func TestPageInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes seconds")
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium")
	}
	path := filepath.Join(t.TempDir(), "report.html")
	built := build(t, sampleTape(t, nil), nil)
	if err := report.WriteFile(path, func(w io.Writer) error { return report.HTML(w, built) }); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(), "--dump-dom", "file://"+path)
	command.Env = append(os.Environ(), "HOME="+t.TempDir())
	dom, err := command.Output()
	if err != nil {
		t.Skipf("chromium does not run here: %v", err)
	}
	heads := strings.Count(string(dom), "<th ")
	if buttons := strings.Count(string(dom), `<button type="button">`); buttons != heads || heads < 50 {
		t.Errorf("%d heads of tables have %d buttons", heads, buttons)
	}
	if !strings.Contains(string(dom), `<input type="search"`) {
		t.Error("there is no field to narrow the symbols")
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
	if len(pictures) != 3 || pictures[0].Name != "chart-01" || pictures[0].Caption != "Rose the most (2026-01-15 09:00:00 to 13:00:00 UTC, 4 h)" {
		t.Fatalf("%d pictures, the first %q %q", len(pictures), pictures[0].Name, pictures[0].Caption)
	}
	for _, picture := range pictures {
		if _, err := png.Decode(bytes.NewReader(picture.PNG)); err != nil {
			t.Errorf("%s: %v", picture.Name, err)
		}
	}
	if none, err := report.Pictures(build(t, newTape(t, tape.AggTrade, nil), nil), 3); err != nil || len(none) != 0 {
		t.Errorf("of nothing %d pictures, %v", len(none), err)
	}
	if testing.Short() { // drawing takes long under the race detector
		return
	}
	movers := build(t, sampleTape(t, nil), func(o *report.Options) { o.Sections = []string{"movers"} })
	if all, err := report.Pictures(movers, -1); err != nil || len(all) != 2 {
		t.Errorf("%d pictures of the movers, want 2 (%v)", len(all), err)
	}
}
