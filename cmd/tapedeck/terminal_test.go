package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/tape"
)

// TestStreamOnATerminal records a short stream with a real terminal as standard error: short lines,
// a status line while it runs, and nothing of it at the end. With TERM=dumb there is no status line.
func TestStreamOnATerminal(t *testing.T) {
	for term, wantsStatus := range map[string]bool{"xterm-256color": true, "dumb": false} {
		t.Run(term, func(t *testing.T) {
			var rows []exchange.MemoryRow
			for i := range int64(1500) {
				rows = append(rows, exchange.MemoryRow{Symbol: "BTCUSDT", Kind: exchange.AggTrade, Row: exchange.Row{
					ID: i + 1, FirstTradeID: i + 1, LastTradeID: i + 1, Price: "97000.5", Qty: "0.25", TradedAt: 1_700_000_000_000_000 + i*1000,
				}})
			}
			server, err := exchange.New(exchange.NewMemory(nil, rows), exchange.Options{Speed: exchange.MaxSpeed, WaitForStreams: 1, CloseAtEnd: true})
			if err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()

			terminal, printed := openTerminal(t, 80)
			var stdout bytes.Buffer
			address := listener.Addr().String()
			status := run([]string{
				"stream", "--once", "--symbols", "BTCUSDT", "--data-dir", filepath.Join(t.TempDir(), "data"),
				"--stream-url", "ws://" + address, "--rest-url", "http://" + address,
			}, []string{"TERM=" + term, "GOGC=100", "GOMAXPROCS=2"}, strings.NewReader(""), &stdout, terminal)
			terminal.Close()
			raw := printed()
			if err := server.Close(); err != nil {
				t.Error(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
			s := &screen{width: 80}
			if _, err := fmt.Fprint(s, raw); err != nil {
				t.Fatalf("%v in %q", err, raw)
			}
			if status != exitDone || stdout.Len() > 0 {
				t.Errorf("status %d, standard output %q", status, stdout.String())
			}
			stamp := regexp.MustCompile(`(?m)^[0-9]{2}:[0-9]{2}:[0-9]{2}  `)
			text := stamp.ReplaceAllString(s.text(), "")
			for _, want := range []string{
				"recording 1 symbol (feed aggTrade) from ws://" + address, "\nconnected, 1 stream\n",
				"\n1,500 trades of 1 symbol received, 1,500 of them new on the tape; 0 gaps in\n  the stream\n",
			} {
				if !strings.Contains("\n"+text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			for _, line := range strings.Split(text, "\n") {
				if strings.Contains(line, " · ") || strings.Contains(line, "asking the exchange") || strings.Contains(line, "{") {
					t.Errorf("left on the screen: %q", line)
				}
			}
			if hasStatus := strings.Contains(raw, clearStatus); hasStatus != wantsStatus {
				t.Errorf("status line: %v, want %v\n%q", hasStatus, wantsStatus, raw)
			}
			if strings.Contains(text, " trades written") == wantsStatus {
				t.Errorf("lines about writing beside a status line, or none without:\n%s", text)
			}
		})
	}
}

// TestQueryOnATerminal shows the first 40 rows of a table, and how many there are.
func TestQueryOnATerminal(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if _, err := tape.Create(data, tape.AggTrade, benchDay); err != nil {
		t.Fatal(err)
	}
	for rows, want := range map[string]string{"41": "(the first 40 of 41 rows; --rows all shows all, --format csv or parquet writes a file)", "40": "(40 rows)"} {
		terminal, printed := openTerminal(t, 80)
		status := run([]string{"query", "SELECT 'row ' || i AS name FROM range(" + rows + ") AS r(i)", "--data-dir", data},
			[]string{"TERM=dumb"}, strings.NewReader(""), terminal, io.Discard)
		terminal.Close()
		if text := printed(); status != exitDone || !strings.Contains(text, want) || strings.Count(text, "row ") != 40 {
			t.Errorf("%s rows: status %d\n%s", rows, status, text)
		}
	}
}
