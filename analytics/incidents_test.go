package analytics

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/tape"
)

func TestIncidentsGroupAlerts(t *testing.T) {
	noon := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	alert := func(symbol, detector, severity string, after time.Duration) tape.Alert {
		return tape.Alert{Detector: detector, Symbol: symbol, At: noon.Add(after).UnixMicro(), Severity: severity, Message: detector + " on " + symbol}
	}
	var alerts []tape.Alert
	// Two alerts within an hour, and one exactly an hour after the second, which is another incident.
	alerts = append(alerts, alert("AAA", "one", "low", 0), alert("AAA", "two", "medium", 59*time.Minute), alert("AAA", "one", "low", 119*time.Minute))
	// The severity rises if three detectors agree, and again if six do. One detector counts once.
	for i, detector := range []string{"a", "b", "b"} {
		equal := alert("TWO", detector, "low", time.Duration(i)*time.Minute)
		equal.Score = float64(i % 2) // of equally severe alerts, that with the highest score gives the text
		alerts = append(alerts, equal)
	}
	for i, detector := range []string{"a", "b", "c"} {
		alerts = append(alerts, alert("THREE", detector, "low", time.Duration(i)*time.Minute))
	}
	for i, detector := range []string{"a", "b", "c", "d", "e"} {
		alerts = append(alerts, alert("FIVE", detector, "low", 5*time.Hour+time.Duration(i)*time.Minute))
	}
	for i, detector := range []string{"a", "b", "c", "d", "e", "f"} {
		alerts = append(alerts, alert("SIX", detector, "low", 10*time.Hour+time.Duration(i)*time.Minute))
	}
	// Five of 50 symbols in the same ten minutes are a market-wide incident. The sixth begins in the next ten.
	for i := range 5 {
		alerts = append(alerts, alert(fmt.Sprintf("M%d", i), "fall", "high", 20*time.Hour+time.Duration(i)*2*time.Minute+time.Minute))
	}
	alerts = append(alerts, alert("M5", "fall", "high", 20*time.Hour+10*time.Minute))
	s, err := OpenEmpty(t.Context(), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	group := func(symbols int) (out []string) {
		incidents, err := s.Incidents(t.Context(), alerts, symbols)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range incidents {
			out = append(out, fmt.Sprintf("%s %s-%s %s %s %s %d %s", in.Symbol, in.StartedAt.Format("15:04"), in.LastAt.Format("15:04"), in.Severity,
				strings.Join(in.Detectors, "+"), strings.Join(in.Symbols, "+"), in.Alerts, in.Message))
		}
		return out
	}
	want := []string{
		"THREE 12:00-12:02 medium a+b+c THREE 3 a on THREE",
		"TWO 12:00-12:02 low a+b TWO 3 b on TWO",
		"AAA 12:00-12:59 medium one+two AAA 2 two on AAA",
		"AAA 13:59-13:59 low one AAA 1 one on AAA",
		"FIVE 17:00-17:04 medium a+b+c+d+e FIVE 5 a on FIVE",
		"SIX 22:00-22:05 high a+b+c+d+e+f SIX 6 a on SIX",
		"* 08:01-08:09 high fall M0+M1+M2+M3+M4 5 5 of 50 symbols at once",
		"M5 08:10-08:10 high fall M5 1 fall on M5",
	}
	if diff := cmp.Diff(want, group(50)); diff != "" {
		t.Errorf("incidents (-want +got):\n%s", diff)
	}
	// Five of 51 symbols are less than a tenth.
	if few := group(51); len(few) != len(want)+4 || strings.HasPrefix(few[6], "*") {
		t.Errorf("incidents of 51 symbols: %q", few)
	}
	slices.Reverse(alerts)
	if diff := cmp.Diff(want, group(50)); diff != "" {
		t.Errorf("the incidents depend on the order of the alerts (-want +got):\n%s", diff)
	}
}
