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
)

// alternatingTrades returns a source of trades of symbols in turn, spacing microseconds spacing.
func alternatingTrades(symbols, rows int, spacing int64) *Memory {
	list := make([]MemoryRow, rows)
	for i := range list {
		list[i] = MemoryRow{Symbol: fmt.Sprintf("S%03dUSDT", i%symbols), Kind: Trade, Row: Row{
			ID: int64(1000 + i/symbols), Price: "61837.63000000", Qty: "0.02000000",
			TradedAt: 1_700_000_000_000_000 + int64(i)*spacing, BuyerMaker: i%3 == 0,
		}}
	}
	return NewMemory(nil, list)
}

// BenchmarkOneConnection sends trades of ten symbols over one connection to a client that discards
// them.
func BenchmarkOneConnection(b *testing.B) {
	const rows = 500_000
	source := alternatingTrades(10, rows, 100)
	var names []string
	for _, symbol := range source.Symbols() {
		names = append(names, lower(symbol.Name)+"@trade")
	}
	for b.Loop() {
		s, err := Start(source, Options{Speed: MaxSpeed, CloseAtEnd: true})
		if err != nil {
			b.Fatal(err)
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /stream?streams=%s&timeUnit=MICROSECOND HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", strings.Join(names, "/"))
		in := bufio.NewReaderSize(conn, 1<<18)
		if _, err := http.ReadResponse(in, nil); err != nil {
			b.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, in) }()
		<-s.Done()
		if got := s.Served().Messages; got != rows {
			b.Fatalf("%d messages, want %d", got, rows)
		}
		_ = conn.Close()
		_ = s.Close()
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkRealTime sends 20,000 trades a second of 1,000 symbols in real time, for a second; its
// processor time is what matters.
func BenchmarkRealTime(b *testing.B) {
	source := alternatingTrades(1000, 20_000, 50)
	var names []string
	for _, symbol := range source.Symbols() {
		names = append(names, lower(symbol.Name)+"@trade")
	}
	for b.Loop() {
		s, err := Start(source, Options{WaitForStreams: 1000, MaxFrame: -1})
		if err != nil {
			b.Fatal(err)
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			b.Fatal(err)
		}
		// A URL of a thousand streams would be too long, so subscribe.
		fmt.Fprint(conn, "GET /stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		in := bufio.NewReaderSize(conn, 1<<18)
		if _, err := http.ReadResponse(in, nil); err != nil {
			b.Fatal(err)
		}
		request := `{"method":"SUBSCRIBE","params":["` + strings.Join(names, `","`) + `"],"id":1}`
		frame := []byte{0x81, 0x80 | 126, byte(len(request) >> 8), byte(len(request)), 0, 0, 0, 0} // a mask of 0
		if _, err := conn.Write(append(frame, request...)); err != nil {
			b.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, in) }()
		started := time.Now()
		<-s.Done()
		if took := time.Since(started); took > 1100*time.Millisecond {
			b.Logf("took %v", took)
		}
		_ = conn.Close()
		_ = s.Close()
	}
}
