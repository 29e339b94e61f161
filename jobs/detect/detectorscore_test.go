package detect

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/standin/market"
)

var (
	detectorScore = flag.Int("detector-score", 0, "score all detectors on so many simulated markets, each with an incident of every kind")
	update        = flag.Bool("update", false, "with -detector-score, put the table into README.md between its markers")
)

// scoreMark and scoreEnd stand in README.md around the table.
const scoreMark, scoreEnd = "<!-- detector-score -->", "<!-- /detector-score -->"

// scoreSymbols is how many pairs a market has: enough for one untouched pair for each kind of incident.
const scoreSymbols = 40

// detectorResult is how one detector did.
type detectorResult struct {
	put, found, false int
	delays            []time.Duration
}

// TestDetectorScore runs all detectors over simulated markets in which one incident of each kind happens, and prints what share of those
// made for a detector it found, and how often it was alarmed by what no incident explains.
func TestDetectorScore(t *testing.T) {
	if *detectorScore == 0 {
		t.Skip("takes minutes: make detector-score")
	}
	start := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	results := map[string]*detectorResult{}
	for _, name := range every(t) {
		results[name] = &detectorResult{}
	}
	var incidents []market.Incident
	for _, kind := range market.Kinds() {
		incidents = append(incidents, market.Incident{Kind: kind})
	}
	symbolDays, falseIncidents := 0.0, 0
	for seed := range uint64(*detectorScore) {
		m, err := market.New(market.Config{Seed: seed + 1, Start: start, Symbols: scoreSymbols, Incidents: incidents})
		if err != nil {
			t.Fatal(err)
		}
		dir := simulated(t, m, exchange.AggTrade)
		summary := mustRun(t, dir, Options{Detectors: every(t), Now: start.Add(time.Hour), DryRun: true})
		events, symbols := m.Injected(), symbolsOf(m)
		found := map[int]bool{}
		false := map[string]bool{}
		for _, alert := range summary.Alerts {
			r := results[alert.Detector]
			_, explained := behind(events, symbols, alert)
			// The pairs of a triangle share what happens to one of them.
			if alert.Detector == market.CrossPair && !explained {
				for _, event := range events {
					at := time.UnixMicro(alert.At)
					explained = explained || strings.Contains(alert.Extra, event.Symbol) && !at.Before(event.From) && !at.After(event.To.Add(time.Hour))
				}
			}
			if !explained {
				r.false++
				false[alert.Symbol] = true
				t.Logf("seed %d: %s %s %s: %s", seed+1, time.UnixMicro(alert.At).UTC().Format("15:04"), alert.Detector, alert.Symbol, alert.Message)
			}
			for i, event := range events {
				if isFound(event, alert) && !found[i] {
					found[i] = true
					r.found++
					began := event.At
					if event.Kind == market.SilentSymbol {
						began = event.To // it is told when it is over
					}
					r.delays = append(r.delays, time.UnixMicro(alert.At).Sub(began))
				}
			}
		}
		falseIncidents += len(false)
		for i, event := range events {
			results[event.Kind].put++
			if !found[i] {
				t.Logf("seed %d: not found: %s %s %s: %s", seed+1, event.At.Format("15:04"), event.Kind, event.Symbol, event.Note)
			}
		}
		for _, symbol := range m.Symbols() {
			from := start.Add(-market.DefaultHistory)
			if listed := time.UnixMicro(symbol.ListedAt); listed.After(from) {
				from = listed
			}
			symbolDays += max(0, start.Sub(from.Add(12*time.Hour)).Hours()/24)
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| detector | put in | found | median delay | false alarms a day, on 400 symbols |\n|---|---|---|---|---|\n")
	for _, name := range every(t) {
		r := results[name]
		slices.SortFunc(r.delays, func(a, b time.Duration) int { return cmp.Compare(a, b) })
		delay := "-"
		if len(r.delays) > 0 {
			delay = r.delays[len(r.delays)/2].Round(time.Second).String()
		}
		fmt.Fprintf(&table, "| `%s` | %d | %.0f %% | %s | %.1f |\n", name, r.put, 100*float64(r.found)/float64(max(1, r.put)), delay, 400*float64(r.false)/symbolDays)
	}
	fmt.Fprintf(&table, "\n%d simulated markets of %d symbols, %.0f symbol-days judged; in all, %.1f symbols a day of 400 with a false alarm. A silence is told when it is over, and its delay counts from there. Made by `make detector-score`.\n",
		*detectorScore, scoreSymbols, symbolDays, 400*float64(falseIncidents)/symbolDays)
	fmt.Print(table.String())
	if *update {
		writeScore(t, table.String())
	}
}

func writeScore(t *testing.T, table string) {
	t.Helper()
	path := filepath.Join("..", "..", "README.md")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(content), scoreMark)
	_, after, ok2 := strings.Cut(rest, scoreEnd)
	if !ok || !ok2 {
		fmt.Printf("README.md has no place for the table: %s and %s go where it belongs\n", scoreMark, scoreEnd)
		return
	}
	if err := os.WriteFile(path, []byte(before+scoreMark+"\n"+table+scoreEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
