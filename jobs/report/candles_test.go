package report_test

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"tapedeck/internal/tape"
	"tapedeck/jobs/report"
)

// crashTape has a symbol at about 0.66 that falls to 0.57 for a second, within one candle, and alerts
// about it. The second alert is about minutes in which nothing traded.
func crashTape(t *testing.T) *tape.Dir {
	t.Helper()
	crash := sampleStart.Add(92 * time.Minute)
	var trades []tape.Trade
	for i := range int64(4 * 60) {
		at := sampleStart.Add(time.Duration(i) * time.Minute)
		if at.After(crash.Add(time.Hour)) && at.Before(crash.Add(90*time.Minute)) {
			continue
		}
		price := 0.66 + float64(i%3)/1000
		if at.Equal(crash) {
			price = 0.57
		}
		id := int64(len(trades)) + 1
		trades = append(trades, tape.Trade{Symbol: "CRASHUSDT", ID: id, Price: price, Qty: 100, FirstTradeID: id, LastTradeID: id, TradedAt: at.UnixMicro()})
	}
	alert := func(detector, severity string, after time.Duration) tape.Alert {
		return tape.Alert{Detector: detector, Symbol: "CRASHUSDT", At: crash.Add(after).UnixMicro(), Severity: severity, Message: "as low as 0.57", FirstID: 91, LastID: 91, Extra: "{}"}
	}
	return newTape(t, tape.AggTrade, trades, alert("flash_crash", "high", time.Minute), alert("silent_symbol", "low", 85*time.Minute))
}

// TestFlashCrashIsVisible looks for the low of a candle whose open and close are 0.66 in the page and in
// the workbook, and for the alerts.
func TestFlashCrashIsVisible(t *testing.T) {
	built := build(t, crashTape(t), nil)
	page := write(t, built, report.HTML)
	_, figure, ok := strings.Cut(page, "<figcaption>CRASHUSDT: price and volume")
	figure, _, _ = strings.Cut(figure, "</figure>")
	if !ok || !strings.Contains(figure, "Alerts: 1 flash_crash, 2 silent_symbol") {
		t.Errorf("the page's chart does not name the alerts: %.100q", figure)
	}
	for _, want := range []string{"<title>2026-01-15 10:33:00 flash_crash, high: as low as 0.57</title>", "<title>2026-01-15 11:57:00 silent_symbol, low: as low as 0.57</title>"} {
		if !strings.Contains(figure, want) {
			t.Errorf("the page's chart lacks %s", want)
		}
	}
	var lengths []int
	for _, m := range regexp.MustCompile(`d="M (\d+) (\d+)\s+L (\d+) (\d+)"\s+style="stroke-width:2;stroke:var\(--chart-(?:good|bad)\)`).FindAllStringSubmatch(figure, -1) {
		from, _ := strconv.Atoi(m[2])
		to, _ := strconv.Atoi(m[4])
		if m[1] == m[3] {
			lengths = append(lengths, to-from)
		}
	}
	slices.Sort(lengths)
	if n := len(lengths); n < 20 || lengths[n-1] < 100 || lengths[n-2] > 20 {
		t.Errorf("the page's wicks are %v pixels long, want one that is much longer than the others", lengths)
	}

	content := workbookBytes(t, built)
	file := openBytes(t, content)
	rows, err := file.GetRows("Alert marks", excelize.Options{RawCellValue: true})
	if err != nil {
		t.Fatal(err)
	}
	candles := built.Section("candles").Result
	if len(rows) != len(candles.Rows)+1 || !slices.Equal(rows[0], []string{"symbol", "bucket", "alerts", "flash_crash", "silent_symbol"}) {
		t.Fatalf("%d marks for %d candles under %q", len(rows)-1, len(candles.Rows), rows[0])
	}
	marked := map[string]int{}
	for i, row := range rows[1:] {
		if len(row) > 2 && row[2] != "" {
			marked[row[2]] = i
		}
	}
	crashed, ok := marked["2026-01-15 10:33:00 flash_crash, high: as low as 0.57"]
	if low, _ := candles.Rows[crashed][4].(float64); !ok || low != 0.57 {
		t.Errorf("marked are %v; the low of the candle of the crash is %v", marked, low)
	}
	silent, ok := marked["2026-01-15 11:57:00 silent_symbol, low: as low as 0.57"]
	if at, _ := candles.Rows[silent][1].(time.Time); !ok || !at.Equal(sampleStart.Add(150*time.Minute)) {
		t.Errorf("the alert about silence is marked at %v, want the last candle before it", at)
	}
	if numbers := storedNumbers(t, content, "Alert marks"); numbers["D20"] == "" || math.IsNaN(must(strconv.ParseFloat(numbers["D20"], 64))) {
		t.Errorf("the crash has no mark: %v", numbers)
	}
}

func must(v float64, err error) float64 {
	if err != nil {
		return math.NaN()
	}
	return v
}
