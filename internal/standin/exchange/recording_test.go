package exchange

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"tapedeck/internal/recorded"
)

// recordings returns the paths of recordings of real traffic.
func recordings(t *testing.T, names ...string) (paths []string) {
	t.Helper()
	for _, name := range names {
		paths = append(paths, recorded.Path(t, name))
	}
	return paths
}

// play plays a recording at maximum speed and returns its messages.
func play(t *testing.T, r *Recording, path string) (messages []string) {
	t.Helper()
	s := StartTest(t, r, Options{Speed: MaxSpeed, CloseAtEnd: true})
	ws := dial(t, s, path)
	for {
		_, message, err := ws.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			<-s.Done()
			return messages
		}
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, string(message))
	}
}

// captureLines returns a capture's messages of the streams with a suffix, by stream.
func captureLines(t *testing.T, paths []string, suffix string) map[string][]string {
	t.Helper()
	lines := map[string][]string{}
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		unzip, err := gzip.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if _, err := text.ReadFrom(unzip); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			brace := strings.Index(line, "{")
			if brace < 0 {
				continue
			}
			name, _, _ := strings.Cut(strings.TrimPrefix(line[brace:], `{"stream":"`), `"`)
			if strings.HasSuffix(name, suffix) {
				lines[name] = append(lines[name], strings.TrimSpace(line[brace:]))
			}
		}
	}
	return lines
}

// compareMessages compares messages by stream.
func compareMessages(t *testing.T, want, got map[string][]string) {
	t.Helper()
	if maps.EqualFunc(want, got, slices.Equal) {
		return
	}
	t.Errorf("the played messages differ from the captured ones (-want +got):\n%.2000s", cmp.Diff(want, got))
}

func TestRecordedTradesArePlayedUnchanged(t *testing.T) {
	paths := recordings(t, "stream/btcusdt_20240808.gz", "stream/btcusdt_20240809.gz", "stream/ethusdt_20240808.gz", "stream/ethusdt_20240809.gz")
	r, err := OpenRecording(paths[1], paths[3], paths[2], paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"BTCUSDT": 19904, "ETHUSDT": 14515}, r.Messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	got := map[string][]string{}
	for _, message := range play(t, r, "/stream?streams=btcusdt@trade/ethusdt@trade") {
		name, _, _ := strings.Cut(strings.TrimPrefix(message, `{"stream":"`), `"`)
		got[name] = append(got[name], message)
	}
	compareMessages(t, captureLines(t, paths, "@trade"), got)
	checkAggregates(t, r, "BTCUSDT")
	checkAggregates(t, r, "ETHUSDT")
	// The recorder's clock was slow. After the correction no message is received before its event time.
	for _, kind := range Kinds() {
		for i := range r.symbols {
			for j, row := range r.rows[kind.index()][i].rows {
				if r.rows[kind.index()][i].released[j] < row.EventAt {
					t.Fatalf("%s %s %d is released before its event time", r.symbols[i].Name, kind, row.ID)
				}
			}
		}
	}
}

func TestRecordedAggTradesArePlayedUnchanged(t *testing.T) {
	paths := recordings(t, "stream/aggtrade_3symbols_20210404.txt.gz")
	r, err := OpenRecording(paths...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"BTCUSDT": 1227, "ETHUSDT": 506, "DOTUSDT": 177}, r.Messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	got := map[string][]string{}
	for _, message := range play(t, r, "/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade/dotusdt@aggTrade/dotusdt@trade") {
		name, _, _ := strings.Cut(strings.TrimPrefix(message, `{"stream":"`), `"`)
		got[name] = append(got[name], message)
	}
	compareMessages(t, captureLines(t, paths, "@aggTrade"), got)
}

// checkAggregates compares the derived aggregated trades with the trades.
func checkAggregates(t *testing.T, r *Recording, symbol string) {
	t.Helper()
	trades := r.series(symbol, Trade).rows
	i := 0
	for j, agg := range r.series(symbol, AggTrade).rows {
		if agg.ID != int64(j+1) || agg.FirstTradeID != trades[i].ID {
			t.Fatalf("%s: aggregated trade %d is %+v", symbol, j+1, agg)
		}
		qty := uint64(0)
		for ; i < len(trades) && trades[i].ID <= agg.LastTradeID; i++ {
			qty += parseDecimal(trades[i].Qty)
			if trades[i].Price != agg.Price || trades[i].BuyerMaker != agg.BuyerMaker || trades[i].TradedAt != agg.TradedAt {
				t.Fatalf("%s: aggregated trade %+v has trade %+v", symbol, agg, trades[i])
			}
		}
		if parseDecimal(agg.Qty) != qty {
			t.Fatalf("%s: aggregated trade %+v, the quantity of its trades is %d", symbol, agg, qty)
		}
	}
	if i != len(trades) {
		t.Errorf("%s: %d of %d trades are in an aggregated one", symbol, i, len(trades))
	}
}

const nanoseconds = `1723161254087891268 {"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"1","A":"1"}}
1723161254087896568 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":7,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}
1723161254206652067 {"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"]],"asks":[]}
1723161254296652067 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255543,"s":"BTCUSDT","t":8,"p":"61837.63","q":"0.01","b":5,"a":6,"T":1723161255342,"m":true,"M":true}}
`

const seconds = `wss://stream.binance.com:9443/stream?streams=ethusdt@aggTrade/ethusdt@kline_1m <-> 1723161254.0
https://www.binance.com/api/v1/depth?symbol=ETHUSDT&limit=1000 -> 1723161254.1: {"lastUpdateId":1,"bids":[],"asks":[]}
1723161254.2: {"stream":"ethusdt@aggTrade","data":{"e":"aggTrade","E":1723161254100,"s":"ETHUSDT","a":3,"p":"2683.8","q":"1","f":30,"l":32,"T":1723161254099,"m":false,"M":true}}
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCapturesAreMergedByReceipt(t *testing.T) {
	r, err := OpenRecording(write(t, "a.gz", zipped(t, nanoseconds)), write(t, "b.txt", seconds))
	if err != nil {
		t.Fatal(err)
	}
	if r.Skipped != 4 {
		t.Errorf("skipped %d lines, want 4", r.Skipped)
	}
	var got []string
	for _, message := range play(t, r, "/stream?streams=btcusdt@trade/ethusdt@aggTrade") {
		var m struct {
			Data struct {
				P string `json:"p"`
				Q string `json:"q"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(message), &m); err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Data.P+" "+m.Data.Q)
	}
	// The aggregated trade was received between the two trades; decimals are unchanged.
	want := []string{"61837.63000000 0.02000000", "2683.8 1", "61837.63 0.01"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("played (-want +got):\n%s", diff)
	}
	if _, ok := r.LastReleased("BTCUSDT", Trade, time.Date(2024, 8, 8, 23, 54, 15, 500_000_000, time.UTC).UnixMicro()); !ok {
		t.Error("the clock was not corrected")
	}
}

func TestAggregatesAreDerivedFromTrades(t *testing.T) {
	r, err := OpenRecording(write(t, "a", strings.ReplaceAll(nanoseconds, `"61837.63"`, `"61837.63000000"`)))
	if err != nil {
		t.Fatal(err)
	}
	rows := r.Rows(nil, "BTCUSDT", AggTrade, 0, 10)
	want := []Row{{ID: 1, FirstTradeID: 7, LastTradeID: 8, Price: "61837.63000000", Qty: "0.03000000", TradedAt: 1723161255342000, EventAt: 1723161255543000, BuyerMaker: true}}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("aggregated (-want +got):\n%s", diff)
	}
}

func TestDamagedCaptures(t *testing.T) {
	whole := zipped(t, strings.Repeat(nanoseconds, 50))
	for _, c := range []struct {
		name, text, want string
		line             int
	}{
		{"half a line", nanoseconds[:len(nanoseconds)-40], "half a message in", 4},
		{"half a line in the middle", nanoseconds[:200] + "\n" + nanoseconds, "half a message in", 2},
		{"truncated gzip", whole[:len(whole)/2], "the compressed data is truncated: unexpected EOF", 0},
		{"no time", "x {\"stream\":\"btcusdt@trade\"}\n", "no time of receipt in", 1},
		{"no message", nanoseconds + "1723161254\n", "no message in", 5},
		{"not a trade", strings.Replace(nanoseconds, `"t":7,`, "", 1), "not a whole trade in", 2},
		{"id as text", strings.Replace(nanoseconds, `"t":7,`, `"t":"7",`, 1), "cannot unmarshal", 2},
	} {
		path := write(t, "capture", c.text)
		_, err := OpenRecording(path)
		var captureErr *CaptureError
		if !errors.As(err, &captureErr) || captureErr.Path != path || c.line != 0 && captureErr.Line != c.line || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s in line %d", c.name, err, c.want, c.line)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %v", c.name, err)
		}
	}
	if _, err := OpenRecording(write(t, "empty", "")); err == nil || !strings.Contains(err.Error(), "no trades") {
		t.Errorf("empty: %v", err)
	}
	if _, err := OpenRecording(filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}
