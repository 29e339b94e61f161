package detect

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/recorded"
	"tapedeck/internal/tape"
)

var pumpScore = flag.Bool("pump-score", false, "score pump_burst on the recorded pumps, on halves of the events and with shifted buckets")

// TestPumpScore runs pump_burst over the recorded pumps, and scores its alerts with the script that comes with
// the recording. Each event has its own symbol and is moved by whole days to the same date. That makes no
// difference to a detector that looks at one symbol, and leaves 20 days to judge instead of 640. The score is
// also printed for the earlier and the later half of the events, and with all trades shifted by some seconds
// against the minutes of the clock.
func TestPumpScore(t *testing.T) {
	dir := recorded.Path(t, "pumps")
	if !*pumpScore {
		t.Skip("takes minutes: make pump-score")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3")
	}
	trades, err := parquet.ReadFile[tape.Trade](filepath.Join(dir, "trades.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	events, spans := readRecords(t, filepath.Join(dir, "events.csv")), readRecords(t, filepath.Join(dir, "spans.csv"))
	slices.SortFunc(events[1:], func(a, b []string) int { return strings.Compare(a[1], b[1]) })
	half := 1 + len(events[1:])/2
	fmt.Println("| buckets shifted by | events | precision | recall | F1 | false alerts per symbol and day | median delay | 90 % within |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, shift := range []time.Duration{0, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, 45 * time.Second} {
		alerts := pumpAlerts(t, trades, shift)
		for _, part := range []struct {
			name   string
			events [][]string
		}{{"all", events}, {"earlier half", events[:half]}, {"later half", append([][]string{events[0]}, events[half:]...)}} {
			if shift != 0 && part.name != "all" {
				continue
			}
			s := scoreAlerts(t, dir, part.events, spans, alerts)
			fmt.Printf("| %v | %s, %d | %.3f | %.3f | %.3f | %.4f | %.0f s | %.0f s |\n", shift, part.name, s.Events, s.Precision, s.Recall, s.F1, s.False, s.Median, s.P90)
			if part.name == "all" && (s.F1 < 0.95 || s.False > 0.035 || s.Median > 30) {
				t.Errorf("shifted by %v: F1 %.3f, %.4f false alerts, delay %.0f s; want 0.95, 0.035, 30 s", shift, s.F1, s.False, s.Median)
			}
		}
	}
}

// pumpAlerts runs pump_burst over the shifted trades and returns the alerts in the time of the original trades,
// as lines of JSON.
func pumpAlerts(t *testing.T, trades []tape.Trade, shift time.Duration) []byte {
	t.Helper()
	const day = int64(24 * time.Hour / time.Microsecond)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	moved := map[string]int64{} // by symbol, µs
	for _, trade := range trades {
		by := start.UnixMicro() - trade.TradedAt/day*day + shift.Microseconds()
		if old, ok := moved[trade.Symbol]; !ok || by > old {
			moved[trade.Symbol] = by
		}
	}
	rows := slices.Clone(trades)
	for i := range rows {
		rows[i].TradedAt += moved[rows[i].Symbol]
	}
	dir, err := tape.Create(t.TempDir(), tape.AggTrade, start)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Publish(t.Context(), rows, testOrigin); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, alert := range runDetect(t, dir, Options{Detectors: []string{"pump_burst"}, Now: start.Add(40 * 24 * time.Hour), DryRun: true}).Alerts {
		at := time.UnixMicro(alert.At - moved[alert.Symbol]).UTC()
		fmt.Fprintf(&out, "{\"symbol\":%q,\"at\":%q}\n", alert.Symbol, at.Format(time.RFC3339))
	}
	return out.Bytes()
}

type pumpScored struct {
	Events            int `json:"events"`
	Precision, Recall float64
	F1                float64
	False             float64 `json:"false_per_day"`
	Median            float64 `json:"delay_median_s"`
	P90               float64 `json:"delay_p90_s"`
}

func scoreAlerts(t *testing.T, dir string, events, spans [][]string, alerts []byte) (s pumpScored) {
	t.Helper()
	scratch := t.TempDir()
	for name, records := range map[string][][]string{"events.csv": events, "spans.csv": spans} {
		file, err := os.Create(filepath.Join(scratch, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := csv.NewWriter(file).WriteAll(records); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), "python3", filepath.Join(dir, "score.py"), filepath.Join(scratch, "events.csv"), filepath.Join(scratch, "spans.csv"))
	command.Stdin, command.Stderr = bytes.NewReader(alerts), os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(output, &s); err != nil {
		t.Fatalf("%s: %v", output, err)
	}
	return s
}

func readRecords(t *testing.T, path string) [][]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	records, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return records
}
