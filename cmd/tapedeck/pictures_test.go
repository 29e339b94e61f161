package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/standin/market"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// The pictures of the README are made from what the commands print about a simulated market. TestPictures fails
// when they are out of date. `make pictures` makes them again.
const (
	picturesDir  = "../../docs/pictures"
	terminalSVG  = picturesDir + "/terminal.svg"
	reportSHA256 = picturesDir + "/report.sha256" // of the HTML page that report.png shows
)

var pictureSymbols = []string{"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ETHBTC", "LSKBTC", "VIBUSDT"}

var pictureEnd = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// recordAnswers records that the exchange has shown nothing before and after what is on the tape, as a
// backfill does.
func recordAnswers(t *testing.T, data string) {
	dir, err := tape.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	index := dir.Index()
	if err := index.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers := state.Answers{}
	for symbol, bounds := range index.AllBounds() {
		answers[symbol] = state.SymbolAnswers{
			LastBefore: []state.Answer{{At: pictureEnd, ID: bounds.LastID}},
			FirstFrom:  []state.Answer{{At: pictureEnd.Add(-24 * time.Hour), ID: bounds.FirstID}},
		}
	}
	if err := state.RecordAnswers(dir.State(), answers); err != nil {
		t.Fatal(err)
	}
}

func TestPicturesAreUpToDate(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make test-all runs it")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the simulated market differs in the last digits on another architecture")
	}
	data := filepath.Join(t.TempDir(), "data")
	recordMarket(t, data)
	recordAnswers(t, data)
	page := filepath.Join(t.TempDir(), "report.html")
	if out := os.Getenv("TAPEDECK_PICTURE_PAGE"); out != "" {
		page = out
	}
	common := []string{"--data-dir", data, "--now", pictureEnd.Format(time.RFC3339)}
	command := func(args ...string) string {
		return runOnTerminal(t, 80, append(args, common...)...)
	}
	command("detect", "--since", "24h", "--format", "jsonl")
	command("report", "--since", "24h", "--out", page)
	screen := "$ tapedeck verify\n" + command("verify") +
		"$ tapedeck report --since 24h --sections overview\n" +
		command("report", "--since", "24h", "--sections", "overview")

	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(html)
	for path, want := range map[string]string{
		terminalSVG:  terminalPicture(screen, 80),
		reportSHA256: hex.EncodeToString(sum[:]) + "  report.html\n",
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != want {
			t.Errorf("%s is out of date; run make pictures", path)
		}
	}
}

// recordMarket creates a tape with 26 hours of a simulated market.
func recordMarket(t *testing.T, path string) {
	t.Helper()
	simulated, err := market.New(market.Config{Seed: 7, Start: pictureEnd})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := tape.Create(path, tape.AggTrade, pictureEnd)
	if err != nil {
		t.Fatal(err)
	}
	var trades []tape.Trade
	for _, symbol := range simulated.Symbols() {
		if !slices.Contains(pictureSymbols, symbol.Name) {
			continue
		}
		for _, row := range simulated.Rows(nil, symbol.Name, exchange.AggTrade, 0, 1<<30) {
			price, _, err := tape.ParseDecimal([]byte(row.Price))
			if err != nil {
				t.Fatal(err)
			}
			qty, _, err := tape.ParseDecimal([]byte(row.Qty))
			if err != nil {
				t.Fatal(err)
			}
			trades = append(trades, tape.Trade{
				Symbol: symbol.Name, ID: row.ID, Price: price, Qty: qty,
				FirstTradeID: row.FirstTradeID, LastTradeID: row.LastTradeID,
				TradedAt: row.TradedAt, IsBuyerMaker: row.BuyerMaker,
			})
		}
	}
	if _, err := dir.Publish(t.Context(), trades, tape.Origin{Source: tape.FromFile}); err != nil {
		t.Fatal(err)
	}
}

// runOnTerminal runs a command whose standard output is a terminal of some width, and returns what it prints there.
func runOnTerminal(t *testing.T, width uint16, args ...string) string {
	t.Helper()
	terminal, printed := openTerminal(t, width)
	var stderr bytes.Buffer
	status := run(args, nil, strings.NewReader(""), terminal, &stderr)
	terminal.Close()
	text := strings.ReplaceAll(printed(), "\r\n", "\n")
	if status != exitDone {
		t.Fatalf("tapedeck %q: exit status %d\n%s%s", args, status, text, stderr.String())
	}
	return text
}

// openTerminal opens a pseudo-terminal. printed returns what was written to it once it is closed.
func openTerminal(t *testing.T, width uint16) (terminal *os.File, printed func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: width})
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(master) // ends with an error when the other end is closed
		all <- string(text)
	}()
	return terminal, func() string {
		defer master.Close()
		return <-all
	}
}

var escapeSequence = regexp.MustCompile("\x1b\\[([0-9;]*)m")

// terminalPicture draws text with ANSI colors as SVG.
func terminalPicture(text string, columns int) string {
	const charWidth, lineHeight, margin = 8.4, 18, 16
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		for !strings.Contains(line, "\x1b") && utf8.RuneCountInString(line) > columns { // a terminal wraps it, too
			runes := []rune(line)
			lines, line = append(lines, string(runes[:columns])), string(runes[columns:])
		}
		lines = append(lines, line)
	}
	width, height := float64(columns)*charWidth+2*margin, len(lines)*lineHeight+2*margin
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" font-family="monospace" font-size="14">
<rect width="100%%" height="100%%" rx="8" fill="#1e1e2e"/>
`, width, height)
	colors := map[string]string{"1": "#ffffff", "2": "#9399b2", "31": "#f38ba8", "32": "#a6e3a1", "33": "#f9e2af", "36": "#89dceb"}
	for i, line := range lines {
		color, column := "#cdd6f4", 0
		if strings.HasPrefix(line, "$ ") {
			color = "#ffffff"
		}
		write := func(part string) {
			if strings.TrimSpace(part) != "" {
				fmt.Fprintf(&out, "<text x=\"%.1f\" y=\"%d\" fill=\"%s\" xml:space=\"preserve\">%s</text>\n",
					margin+float64(column)*charWidth, margin+i*lineHeight+13, color, html.EscapeString(part))
			}
			column += utf8.RuneCountInString(part)
		}
		for {
			at := escapeSequence.FindStringSubmatchIndex(line)
			if at == nil {
				write(line)
				break
			}
			write(line[:at[0]])
			color = "#cdd6f4"
			for code := range strings.SplitSeq(line[at[2]:at[3]], ";") {
				if known, ok := colors[code]; ok {
					color = known
				}
			}
			line = line[at[1]:]
		}
	}
	out.WriteString("</svg>\n")
	return out.String()
}
