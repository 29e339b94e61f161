package exchange

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/standin/market"
)

var start = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// run runs an exchange in the background. It returns its address, a function that stops it, and a
// channel with the error of Run.
func run(t *testing.T, opt Options) (url string, stop func(), ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan string, 1), make(chan error, 1)
	opt.Listen, opt.Ready = "127.0.0.1:0", func(url string) { ready <- url }
	go func() { done <- newAndRun(ctx, opt) }()
	t.Cleanup(cancel)
	select {
	case url = <-ready:
	case err := <-done:
		t.Fatalf("Run: %v", err)
	}
	return url, cancel, done
}

func newAndRun(ctx context.Context, opt Options) error {
	e, err := New(opt, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return e.Run(ctx)
}

func fetch(t *testing.T, url string, v any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %d %s", url, resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("%s: %v in %s", url, err, body)
	}
}

// TestStreamRESTAndArchiveAgree streams some minutes of a simulated market and requests the same rows
// by REST.
func TestStreamRESTAndArchiveAgree(t *testing.T) {
	var out bytes.Buffer
	url, stop, ended := run(t, Options{
		Simulate: true, Seed: 5, Start: start, History: 47 * time.Hour, Speed: exchange.MaxSpeed, WaitForStreams: 2, Out: &out, ArchiveDelay: -1,
	})
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/stream?streams=btcusdt@aggTrade/ethusdt@trade&timeUnit=MICROSECOND", nil)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		A, F, L int64
		P, Q    string
		T       int64
		M       bool
	}
	type message struct {
		Event  string `json:"e"`
		EventT int64  `json:"E"`
		Symbol string `json:"s"`
		Trade  int64  `json:"t"`
		A      int64  `json:"a"`
		P      string `json:"p"`
		Q      string `json:"q"`
		F      int64  `json:"f"`
		L      int64  `json:"l"`
		T      int64  `json:"T"`
		M      bool   `json:"m"`
		Best   bool   `json:"M"`
	}
	var aggs, trades []row
	for len(aggs) < 900 || len(trades) < 100 {
		var m struct{ Data message }
		_, text, err := ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		d := m.Data
		if d.T < start.UnixMicro() {
			t.Fatalf("a trade before the start: %s", text)
		}
		switch d.Event + d.Symbol {
		case "aggTradeBTCUSDT":
			aggs = append(aggs, row{d.A, d.F, d.L, d.P, d.Q, d.T, d.M})
		case "tradeETHUSDT":
			trades = append(trades, row{d.Trade, d.Trade, d.Trade, d.P, d.Q, d.T, d.M})
		default:
			t.Fatalf("%s", text)
		}
	}
	_ = ws.Close()
	aggs, trades = aggs[:900], trades[:100]
	for i := range aggs[1:] {
		if aggs[i+1].A != aggs[i].A+1 || aggs[i+1].F != aggs[i].L+1 || aggs[i+1].T < aggs[i].T {
			t.Fatalf("%+v after %+v", aggs[i+1], aggs[i])
		}
	}
	var page []message
	fetchMicro(t, fmt.Sprintf("%s/api/v3/aggTrades?symbol=BTCUSDT&fromId=%d&limit=900", url, aggs[0].A), &page)
	var got []row
	for _, m := range page {
		got = append(got, row{m.A, m.F, m.L, m.P, m.Q, m.T, m.M})
	}
	if diff := cmp.Diff(aggs, got); diff != "" {
		t.Errorf("REST and stream have different aggTrades (-stream +REST):\n%.1000s", diff)
	}
	var old []struct {
		ID           int64
		Price, Qty   string
		Time         int64
		IsBuyerMaker bool
	}
	fetchMicro(t, fmt.Sprintf("%s/api/v3/historicalTrades?symbol=ETHUSDT&fromId=%d&limit=100", url, trades[0].A), &old)
	got = nil
	for _, m := range old {
		got = append(got, row{m.ID, m.ID, m.ID, m.Price, m.Qty, m.Time, m.IsBuyerMaker})
	}
	if diff := cmp.Diff(trades, got); diff != "" {
		t.Errorf("REST and stream have different trades (-stream +REST):\n%.1000s", diff)
	}
	resp, err := http.Get(url + "/data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2026-01-14.zip")
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("archive: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	var injected []market.Event
	fetch(t, url+"/_tapedeck/injected", &injected)
	kinds := map[string]bool{}
	for _, i := range injected {
		kinds[i.Kind] = true
		if !strings.Contains(out.String(), i.Symbol) || !strings.Contains(out.String(), i.At.Format("2006-01-02 15:04:05")) {
			t.Errorf("%+v is not in the output:\n%s", i, out.String())
		}
	}
	if !kinds["pump_burst"] || !kinds["flash_crash"] || !kinds["whale_order"] {
		t.Errorf("injected %v", injected)
	}
	for _, line := range []string{
		"export TAPEDECK_STREAM_URL=ws" + strings.TrimPrefix(url, "http") + "\n", "export TAPEDECK_REST_URL=" + url + "\n", "export TAPEDECK_ARCHIVE_URL=" + url + "\n",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q is not in the output:\n%s", line, out.String())
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func fetchMicro(t *testing.T, url string, v any) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-MBX-TIME-UNIT", "MICROSECOND")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatalf("%s: %d, %v", url, resp.StatusCode, err)
	}
}

const capture = `1723161254087896568 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":7,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}
1723161254296652067 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255543,"s":"BTCUSDT","t":8,"p":"61837.63","q":"0.01","T":1723161255542,"m":true,"M":true}}
`

func writeCapture(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture.txt")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunEndsWithTheRecording(t *testing.T) {
	url, _, ended := run(t, Options{Play: []string{writeCapture(t, capture)}, Speed: exchange.MaxSpeed, AtEnd: Exit})
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/ws/btcusdt@trade", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := ws.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("after the last message: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRESTRemainsAfterTheRecording(t *testing.T) {
	url, stop, ended := run(t, Options{Play: []string{writeCapture(t, capture)}, Speed: exchange.MaxSpeed, AtEnd: CloseConnections})
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/ws/btcusdt@trade", nil)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = ws.ReadMessage()
	}
	var rows []json.RawMessage
	fetch(t, url+"/api/v3/historicalTrades?symbol=BTCUSDT&fromId=7", &rows)
	if len(rows) != 2 {
		t.Errorf("REST has %d rows after the end", len(rows))
	}
	var clock struct{ ServerTime int64 }
	fetch(t, url+"/api/v3/time", &clock)
	if clock.ServerTime < 1723161255543 || clock.ServerTime > 1723161255600 {
		t.Errorf("the clock is at %d, want the end of the recording", clock.ServerTime)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	used := ln.Addr().String()
	path := writeCapture(t, capture[:len(capture)-30])
	for _, c := range []struct {
		opt  Options
		want string
	}{
		{Options{}, "exchange: needs either captures to play or a market to simulate"},
		{Options{Simulate: true, Play: []string{"x"}}, "exchange: needs either captures to play or a market to simulate"},
		{Options{Simulate: true, Start: start, History: time.Minute, Listen: used}, "listen on " + used + ": address already in use"},
		{Options{Play: []string{path}}, "read capture: " + path + `:2: half a message in "1723161254296652067 {\"stream\":\"btcusdt@trade\",\"data\":{`},
		{Options{Play: []string{"nowhere"}}, "read capture: open nowhere: no such file or directory"},
		{Options{Play: []string{path}, AtEnd: "explode"}, `exchange: at the end "explode": want stay, close or exit`},
		{Options{Simulate: true, Start: start, History: time.Minute, Faults: map[string]float64{"cutt": 1}}, `fault "cutt" is unknown; the kinds are `},
	} {
		err := newAndRun(t.Context(), c.opt)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
		if strings.Contains(c.want, "already in use") && !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%v is not EADDRINUSE", err)
		}
	}
}

func TestParseSpeed(t *testing.T) {
	for text, want := range map[string]float64{"max": exchange.MaxSpeed, "1": 1, "0.5": .5, "100x": 100} {
		if got, err := ParseSpeed(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "NaN", "Inf", "fast", "1e9"} {
		if got, err := ParseSpeed(text); err == nil {
			t.Errorf("%q: %v, no error", text, got)
		}
	}
}

// TestClockOffset serves a market two hours behind this machine's clock, beside one that is not: the same
// trades, of which it does not show those of the last two hours.
func TestClockOffset(t *testing.T) {
	now := func() time.Time { return start }
	type trade struct {
		A int64  `json:"a"`
		P string `json:"p"`
		T int64
	}
	newest := func(opt Options) (trade, int64) {
		opt.Simulate, opt.Seed, opt.Now, opt.Speed = true, 5, now, .001
		url, stop, ended := run(t, opt)
		var clock struct{ ServerTime int64 }
		fetch(t, url+"/api/v3/time", &clock)
		var rows []trade
		fetch(t, url+"/api/v3/aggTrades?symbol=BTCUSDT&limit=1", &rows)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return rows[0], clock.ServerTime
	}
	behind := start.Add(-2 * time.Hour).UnixMilli()
	late, clock := newest(Options{ClockOffset: -2 * time.Hour})
	if clock < behind || clock > behind+1000 || late.T > clock || late.T < clock-600_000 {
		t.Errorf("clock %d, newest trade at %d, want them at %d", clock, late.T, behind)
	}
	if present, clock := newest(Options{}); clock < start.UnixMilli() || present.A <= late.A {
		t.Errorf("clock %d, newest trade %+v, two hours before %+v", clock, present, late)
	}
}

// TestTelegramListens serves Telegram at a fixed address.
func TestTelegramListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	var out bytes.Buffer
	_, stop, ended := run(t, Options{Simulate: true, Start: start, Telegram: true, TelegramListen: address, Out: &out})
	var reply struct{ OK bool }
	fetch(t, "http://"+address+"/bot"+telegramToken+"/getMe", &reply)
	if !reply.OK || !strings.Contains(out.String(), "export TAPEDECK_TELEGRAM_URL=http://"+address+"\n") {
		t.Errorf("reply %+v, output:\n%s", reply, out.String())
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
