package market

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/standin/exchange"
)

func BenchmarkDay(b *testing.B) {
	rows := 0
	for b.Loop() {
		for _, p := range market(b, Config{Seed: 1}).pairs {
			rows += p.visible
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "trades/s")
}

// BenchmarkLive generates a second of market time of many symbols at 20,000 aggregated trades a second.
func BenchmarkLive(b *testing.B) {
	for _, symbols := range []int{300, 1000} {
		b.Run(fmt.Sprint(symbols), func(b *testing.B) {
			rate := 20000 / 1.25 / ordersPerSecond(symbols)
			m := market(b, Config{Seed: 1, Symbols: symbols, Rate: rate, History: 10 * time.Second})
			at, trades := noon, 0
			for _, p := range m.pairs {
				trades -= p.visible
			}
			for b.Loop() {
				at = at.Add(time.Second)
				m.Extend(at)
			}
			for _, p := range m.pairs {
				trades += p.visible
			}
			b.ReportMetric(float64(trades)/float64(b.N), "trades/op")
		})
	}
}

// ordersPerSecond returns the number of orders a second at rate 1.
func ordersPerSecond(symbols int) (rate float64) {
	m := &Market{config: Config{Start: noon, Symbols: symbols}, byName: map[string]*pair{}}
	m.addPairs()
	for _, p := range m.pairs {
		rate += p.rate
	}
	return rate
}

// BenchmarkStream streams ten seconds of a market of 1,000 symbols as fast as possible to a client that
// discards it.
func BenchmarkStream(b *testing.B) {
	messages := int64(0)
	for b.Loop() {
		b.StopTimer()
		source := market(b, Config{Seed: 1, History: time.Minute, Symbols: 1000, Rate: 300, Quiet: true})
		s, err := exchange.Start(source, exchange.Options{Speed: exchange.Manual, Start: noon})
		if err != nil {
			b.Fatal(err)
		}
		var names []string
		for _, symbol := range source.Symbols() {
			names = append(names, strings.ToLower(symbol.Name)+"@trade")
		}
		for len(names) > 0 {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
			if err != nil {
				b.Fatal(err)
			}
			fmt.Fprintf(conn, "GET /stream?streams=%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", strings.Join(names[:250], "/"))
			names = names[250:]
			in := bufio.NewReaderSize(conn, 1<<18)
			if _, err := http.ReadResponse(in, nil); err != nil {
				b.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, in) }()
		}
		b.StartTimer()
		if err := s.Advance(b.Context(), noon.Add(10*time.Second)); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		messages += s.Served().Messages
		_ = s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(messages)/float64(b.N)/10, "trades/market-second")
}
