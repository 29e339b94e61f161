package report_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/tape"
)

// readCaptures returns the trades of the recorded streams of BTCUSDT and ETHUSDT.
func readCaptures(t *testing.T, dir string) []tape.Trade {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "stream", "*usdt_2024080*.gz"))
	if err != nil || len(files) != 4 {
		t.Fatalf("want 4 captures, have %v, %v", files, err)
	}
	var out []tape.Trade
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		unpacked, err := gzip.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(unpacked)
		for {
			line, err := lines.ReadString('\n')
			if _, message, ok := strings.Cut(line, " "); ok && strings.Contains(message, `@trade"`) {
				out = append(out, decode(t, message))
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

func decode(t *testing.T, message string) tape.Trade {
	t.Helper()
	var envelope struct {
		Data map[string]any `json:"data"`
	}
	decoder := json.NewDecoder(strings.NewReader(message))
	decoder.UseNumber()
	if err := decoder.Decode(&envelope); err != nil {
		t.Fatalf("%v in %s", err, message)
	}
	d := envelope.Data
	integer := func(key string) int64 { n, _ := d[key].(json.Number).Int64(); return n }
	decimal := func(key string) float64 {
		v, exact, err := tape.ParseDecimal([]byte(d[key].(string)))
		if err != nil || !exact {
			t.Fatalf("%s: %v, %v", d[key], exact, err)
		}
		return v
	}
	id := integer("t")
	return tape.Trade{
		Symbol: d["s"].(string), ID: id, Price: decimal("p"), Qty: decimal("q"), FirstTradeID: id, LastTradeID: id,
		TradedAt: integer("T") * 1000, IsBuyerMaker: d["m"].(bool),
	}
}

// newTape creates a tape with the trades and alerts.
func newTape(t *testing.T, feed tape.Feed, trades []tape.Trade, alerts ...tape.Alert) *tape.Dir {
	t.Helper()
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data"), feed, time.Date(2024, 8, 9, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if len(trades) > 0 {
		if _, err := dir.Publish(t.Context(), trades, tape.Origin{Source: tape.FromStream, Run: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	if len(alerts) > 0 {
		if _, err := dir.PublishAlerts(t.Context(), alerts); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
