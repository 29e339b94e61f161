package market

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkDay(b *testing.B) {
	rows := 0
	for b.Loop() {
		for _, p := range market(b, Config{Seed: 1}).pairs {
			rows += p.tape.visible
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "trades/s")
}

// BenchmarkLive is a second of market time of many symbols at 20,000 aggregated trades a second.
func BenchmarkLive(b *testing.B) {
	for _, symbols := range []int{300, 1000} {
		b.Run(fmt.Sprint(symbols), func(b *testing.B) {
			rate := 20000 / 1.25 / orders(symbols)
			m := market(b, Config{Seed: 1, Symbols: symbols, Rate: rate, History: 10 * time.Second})
			at, before := noon, 0
			for _, p := range m.pairs {
				before -= p.tape.visible
			}
			for b.Loop() {
				at = at.Add(time.Second)
				m.Extend(at)
			}
			for _, p := range m.pairs {
				before += p.tape.visible
			}
			b.ReportMetric(float64(before)/float64(b.N), "trades/op")
		})
	}
}

// orders is how many orders a second a market has at rate 1.
func orders(symbols int) (rate float64) {
	pairs, _ := newPairs(Config{Start: noon, Symbols: symbols}, 0)
	for _, p := range pairs {
		rate += p.spec.rate
	}
	return rate
}
