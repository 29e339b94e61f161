package detect

import (
	"strconv"
	"testing"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/standin/market"
	"tapedeck/internal/tape"
)

// marketTape returns a tape with the history of a simulated market.
func marketTape(t *testing.T, m *market.Market, kind exchange.Kind) *tape.Dir {
	t.Helper()
	feed := tape.AggTrade
	if kind == exchange.Trade {
		feed = tape.RawTrade
	}
	dir, err := tape.Create(t.TempDir(), feed, m.Horizon())
	if err != nil {
		t.Fatal(err)
	}
	var trades []tape.Trade
	for _, symbol := range m.Symbols() {
		for from := int64(0); ; {
			rows := m.Rows(nil, symbol.Name, kind, from, 10_000)
			if len(rows) == 0 {
				break
			}
			for _, row := range rows {
				price, err := strconv.ParseFloat(row.Price, 64)
				if err != nil {
					t.Fatal(err)
				}
				qty, err := strconv.ParseFloat(row.Qty, 64)
				if err != nil {
					t.Fatal(err)
				}
				trades = append(trades, tape.Trade{Symbol: symbol.Name, ID: row.ID, Price: price, Qty: qty, FirstTradeID: row.FirstTradeID,
					LastTradeID: row.LastTradeID, TradedAt: row.TradedAt, IsBuyerMaker: row.BuyerMaker})
			}
			from = rows[len(rows)-1].ID + 1
		}
	}
	if _, err := dir.Publish(t.Context(), trades, testOrigin); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d trades", len(trades))
	return dir
}

// cause returns the event that explains an alert: one of the same pair, or of another pair with the same base
// asset, during the event or in the hour after it, in which averages of an hour still show it.
func cause(events []market.Event, symbols map[string]exchange.Symbol, alert tape.Alert) (market.Event, bool) {
	at := time.UnixMicro(alert.At)
	for _, event := range events {
		if (event.Symbol == alert.Symbol || symbols[event.Symbol].Base == symbols[alert.Symbol].Base) && !at.Before(event.From) && !at.After(event.To.Add(time.Hour)) {
			return event, true
		}
	}
	return market.Event{}, false
}

// detects reports whether an alert is the one for which an event was injected. A silence is detected at its end.
func detects(event market.Event, alert tape.Alert) bool {
	at := time.UnixMicro(alert.At)
	return event.Kind == alert.Detector && event.Symbol == alert.Symbol && at.After(event.At) && !at.After(event.To.Add(5*time.Minute))
}

func symbolsOf(m *market.Market) map[string]exchange.Symbol {
	symbols := map[string]exchange.Symbol{}
	for _, symbol := range m.Symbols() {
		symbols[symbol.Name] = symbol
	}
	return symbols
}

// TestSimulatedMarket checks for both feeds that the detectors find the injected events of a simulated market,
// with few false alerts.
func TestSimulatedMarket(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: make test-all")
	}
	start := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	m, err := market.New(market.Config{Seed: 1, Start: start})
	if err != nil {
		t.Fatal(err)
	}
	events, symbols := m.Injected(), symbolsOf(m)
	for name, kind := range map[string]exchange.Kind{"aggTrade": exchange.AggTrade, "trade": exchange.Trade} {
		t.Run(name, func(t *testing.T) {
			alerts := runDetect(t, marketTape(t, m, kind), Options{Detectors: allDetectors(t), Now: start.Add(time.Hour), DryRun: true}).Alerts
			others := 0
			found := map[string]bool{}
			for _, alert := range alerts {
				event, expected := cause(events, symbols, alert)
				if !expected {
					others++
				}
				if expected && detects(event, alert) {
					found[event.Kind] = true
				}
				t.Logf("%v expected=%v %s %s %v %s: %s", time.UnixMicro(alert.At).UTC(), expected, alert.Detector, alert.Symbol, alert.Score, alert.Severity, alert.Message)
			}
			for _, event := range events {
				if !found[event.Kind] {
					t.Errorf("%s was not found: %+v", event.Kind, event)
				}
			}
			if others > 2 {
				t.Errorf("%d false alerts", others)
			}
		})
	}
}
