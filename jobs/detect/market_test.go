package detect

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"tapedeck/analytics/tape"
	"tapedeck/jobs/internal/market"
)

// simulated puts the history of a simulated market on a tape.
func simulated(t *testing.T, config market.Config, kind market.Kind) (*tape.Dir, []market.Event) {
	t.Helper()
	m, err := market.New(config)
	if err != nil {
		t.Fatal(err)
	}
	feed := tape.AggTrade
	if kind == market.Trades {
		feed = tape.RawTrade
	}
	dir, err := tape.Create(t.TempDir(), feed, config.Start)
	if err != nil {
		t.Fatal(err)
	}
	var trades []tape.Trade
	for _, symbol := range m.Symbols() {
		for from := int64(0); ; {
			rows := m.Rows(symbol.Name, kind, from, 10_000)
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
					LastTradeID: row.LastTradeID, TradedAt: row.Time, IsBuyerMaker: row.BuyerMaker})
			}
			from = rows[len(rows)-1].ID + 1
		}
	}
	if _, err := dir.Publish(t.Context(), trades, origin); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d trades", len(trades))
	return dir, m.Injected()
}

// TestSimulatedMarket: in a simulated market the detectors find what was put in for them, with few alarms besides, in either feed.
func TestSimulatedMarket(t *testing.T) {
	start := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	for seed := range uint64(2) {
		for _, kind := range []market.Kind{market.AggTrades, market.Trades} {
			if kind == market.Trades && seed > 0 || testing.Short() && seed > 0 {
				continue
			}
			t.Run(fmt.Sprintf("seed %d, kind %d", seed, kind), func(t *testing.T) {
				dir, events := simulated(t, market.Config{Seed: seed + 1, Start: start}, kind)
				alerts := mustRun(t, dir, Options{Now: start.Add(time.Hour), DryRun: true}).Alerts
				others := 0
				found := map[string]bool{}
				for _, alert := range alerts {
					at := time.UnixMicro(alert.At).UTC()
					expected := false
					for _, event := range events {
						if event.Symbol == alert.Symbol && at.After(event.At) && !at.After(event.To.Add(5*time.Minute)) {
							expected = true
							if event.Kind == alert.Detector && at.Sub(event.At) <= 10*time.Minute {
								found[event.Kind] = true
							}
						}
					}
					if !expected {
						others++
					}
					t.Logf("%v expected=%v %s %s %v %s: %s", at, expected, alert.Detector, alert.Symbol, alert.Score, alert.Severity, alert.Message)
				}
				for _, want := range []string{"pump_burst", "flash_crash", "whale_order"} {
					if !found[want] {
						t.Errorf("%s was not found; put in: %+v", want, events)
					}
				}
				if others > 2 {
					t.Errorf("%d alerts about what was not put in", others)
				}
			})
		}
	}
}
