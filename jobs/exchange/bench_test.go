package exchange

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
	"tapedeck/internal/standin/market"
)

// BenchmarkMarket streams ten seconds of a simulated market of 1,000 symbols as fast as it goes to a client that throws
// it away.
func BenchmarkMarket(b *testing.B) {
	messages := int64(0)
	for b.Loop() {
		b.StopTimer()
		m, err := market.New(market.Config{Seed: 1, Start: start, History: time.Minute, Symbols: 1000, Rate: 300, Quiet: true})
		if err != nil {
			b.Fatal(err)
		}
		source := newMarketSource(m)
		s, err := exchange.Start(source, exchange.Options{Speed: exchange.ByHand, Start: start})
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
		if err := s.Advance(b.Context(), start.Add(10*time.Second)); err != nil {
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
