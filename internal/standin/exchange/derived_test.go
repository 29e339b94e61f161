package exchange

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDerivedPayloads compares one message of each derived stream with the form that Binance documents.
func TestDerivedPayloads(t *testing.T) {
	rows := []MemoryRow{
		{Symbol: "BNBBTC", Kind: AggTrade, Row: Row{ID: 7, FirstTradeID: 100, LastTradeID: 101, Price: "0.50000000", Qty: "4.00000000", TradedAt: t0 + 100_000, BuyerMaker: true}},
		{Symbol: "BNBBTC", Kind: AggTrade, Row: Row{ID: 8, FirstTradeID: 102, LastTradeID: 104, Price: "0.75000000", Qty: "2.00000000", TradedAt: t0 + 200_000}},
		{Symbol: "BNBBTC", Kind: AggTrade, Row: Row{ID: 9, FirstTradeID: 105, LastTradeID: 105, Price: "0.25000000", Qty: "1.00000000", TradedAt: t0 + 60_000_000}},
	}
	symbols := []Symbol{{Name: "BNBBTC", Base: "BNB", Quote: "BTC", TickSize: "0.01000000"}, {Name: "ETHBTC", Base: "ETH", Quote: "BTC"}}
	kline := func(end string) string {
		return `{"e":"kline","E":1750000002000,"s":"BNBBTC","k":{` + end
	}
	const sums = `"o":"0.50000000","c":"0.75000000","h":"0.75000000","l":"0.50000000","v":"6.00000000","n":5,"x":false,"q":"3.50000000","V":"2.00000000","Q":"1.50000000","B":"0"}}`
	const tail = `,"F":100,"L":104,"n":5}`
	const second = `"E":1750000001000,"s":"BNBBTC"`
	for name, want := range map[string]string{
		"bnbbtc@depth":           `{"e":"depthUpdate",` + second + `,"U":1,"u":8,"b":[["0.74000000","2.00000000"],["0.50000000","0.00000000"]],"a":[["0.75000000","2.00000000"],["0.51000000","0.00000000"]]}`,
		"bnbbtc@depth@100ms":     `{"e":"depthUpdate","E":1750000000100,"s":"BNBBTC","U":1,"u":7,"b":[["0.50000000","4.00000000"]],"a":[["0.51000000","4.00000000"]]}`,
		"bnbbtc@depth5":          `{"lastUpdateId":8,"bids":[["0.74000000","2.00000000"]],"asks":[["0.75000000","2.00000000"]]}`,
		"bnbbtc@depth20@100ms":   `{"lastUpdateId":7,"bids":[["0.50000000","4.00000000"]],"asks":[["0.51000000","4.00000000"]]}`,
		"bnbbtc@bookTicker":      `{"u":7,"s":"BNBBTC","b":"0.50000000","B":"4.00000000","a":"0.51000000","A":"4.00000000"}`,
		"bnbbtc@avgPrice":        `{"e":"avgPrice",` + second + `,"i":"5m","w":"0.58333333","T":1750000000200}`,
		"bnbbtc@miniTicker":      `{"e":"24hrMiniTicker",` + second + `,"c":"0.75000000","o":"0.50000000","h":"0.75000000","l":"0.50000000","v":"6.00000000","q":"3.50000000"}`,
		"!miniTicker@arr":        `[{"e":"24hrMiniTicker",` + second + `,"c":"0.75000000","o":"0.50000000","h":"0.75000000","l":"0.50000000","v":"6.00000000","q":"3.50000000"}]`,
		"bnbbtc@ticker":          `{"e":"24hrTicker",` + second + `,"p":"0.25000000","P":"50.000","w":"0.58333333","x":"0.50000000","c":"0.75000000","Q":"2.00000000","b":"0.74000000","B":"2.00000000","a":"0.75000000","A":"2.00000000","o":"0.50000000","h":"0.75000000","l":"0.50000000","v":"6.00000000","q":"3.50000000","O":1749913601000,"C":1750000001000` + tail,
		"bnbbtc@ticker_1h":       `{"e":"1hTicker",` + second + `,"p":"0.25000000","P":"50.000","w":"0.58333333","o":"0.50000000","h":"0.75000000","l":"0.50000000","c":"0.75000000","v":"6.00000000","q":"3.50000000","O":1749996360000,"C":1750000001000` + tail,
		"!ticker_4h@arr":         `[{"e":"4hTicker",` + second + `,"p":"0.25000000","P":"50.000","w":"0.58333333","o":"0.50000000","h":"0.75000000","l":"0.50000000","c":"0.75000000","v":"6.00000000","q":"3.50000000","O":1749985560000,"C":1750000001000` + tail + `]`,
		"bnbbtc@kline_1m":        kline(`"t":1749999960000,"T":1750000019999,"s":"BNBBTC","i":"1m","f":100,"L":104,` + sums),
		"bnbbtc@kline_1d@+08:00": kline(`"t":1749916800000,"T":1750003199999,"s":"BNBBTC","i":"1d","f":100,"L":104,` + sums),
		"bnbbtc@kline_1s":        `{"e":"kline",` + second + `,"k":{"t":1750000000000,"T":1750000000999,"s":"BNBBTC","i":"1s","f":100,"L":104,` + strings.Replace(sums, "false", "true", 1),
	} {
		s := StartTest(t, NewMemory(symbols, rows), Options{Speed: Manual, Start: time.UnixMicro(t0)})
		ws := dial(t, s, "/ws/"+name)
		advance(t, s, time.UnixMicro(t0).Add(3*time.Second))
		if got := receive(t, ws); got != want {
			t.Errorf("%s\n got %s\nwant %s", name, got, want)
		}
	}
}

// TestSilentStreams subscribes to what Binance accepts and never sends.
func TestSilentStreams(t *testing.T) {
	s := StartTest(t, NewMemory(nil, sampleRows()), Options{Speed: Manual, Start: time.UnixMicro(t0)})
	ws := dial(t, s, "/stream?streams=btcusdt@blockTrade/btcusdt@referencePrice/!ticker@arr/btcusdt@kline_7m/btcusdt@depth7/0/BTCUSDT@ticker")
	advance(t, s, time.UnixMicro(t0).Add(5*time.Second))
	if got := ask(t, ws, `{"method":"GET_PROPERTY","params":["combined"],"id":1}`); got != `{"result":true,"id":1}` {
		t.Errorf("received %s", got)
	}
}

// TestKlineStreamEndsEachKline plays five minutes: the last message of each kline is final and equals REST.
func TestKlineStreamEndsEachKline(t *testing.T) {
	s := StartTest(t, NewMemory(nil, sampleRows()), Options{Speed: Manual, Start: time.UnixMicro(t0)})
	ws := dial(t, s, "/ws/btcusdt@kline_1m")
	advance(t, s, time.UnixMicro(t0).Add(5*time.Minute))
	var final []string
	for len(final) < 4 {
		var m struct {
			K struct {
				Start  int64  `json:"t"` // each key that differs from another by case must be here
				End    int64  `json:"T"`
				Close  string `json:"c"`
				Volume string `json:"v"`
				Buys   string `json:"V"`
				Count  int64  `json:"n"`
				Final  bool   `json:"x"`
			} `json:"k"`
		}
		if err := json.Unmarshal([]byte(receive(t, ws)), &m); err != nil {
			t.Fatal(err)
		}
		if m.K.Final {
			final = append(final, fmt.Sprint(m.K.Start, " ", m.K.Close, " ", m.K.Volume, " ", m.K.Count))
		}
	}
	_, body, _ := get(t, s.URL()+"/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=4&startTime=1")
	var rows [][]any
	if err := json.Unmarshal([]byte(body), &rows); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, r := range rows {
		want = append(want, fmt.Sprintf("%.0f %s %s %.0f", r[0], r[4], r[5], r[8]))
	}
	if diff := cmp.Diff(want, final); diff != "" {
		t.Error(diff)
	}
}

// TestLocalOrderBook keeps a book as "How to manage a local order book correctly" says, from a snapshot
// taken while updates arrive, and compares it with the exchange's after each update.
func TestLocalOrderBook(t *testing.T) {
	rows := randomTrades(11, 400)
	for i := range rows { // some at the same time, some more than an update apart
		rows[i].TradedAt = t0 + int64(i/3)*37_000 + int64(i/20)*250_000
	}
	s := StartTest(t, NewMemory([]Symbol{{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", TickSize: "0.01000000"}}, rows), Options{Speed: Manual, WeightLimit: 1 << 40})
	ws := dial(t, s, "/ws/btcusdt@depth@100ms")
	type levels map[string]string
	var snapshot struct {
		LastUpdateID int64 `json:"lastUpdateId"`
		Bids, Asks   [][2]string
	}
	take := func() {
		_, body, _ := get(t, s.URL()+"/api/v3/depth?symbol=BTCUSDT")
		if err := json.Unmarshal([]byte(body), &snapshot); err != nil {
			t.Fatal(err)
		}
	}
	local := map[string]levels{"bids": {}, "asks": {}}
	set := func(side string, list [][2]string) {
		for _, level := range list {
			if delete(local[side], level[0]); level[1] != "0.00000000" {
				local[side][level[0]] = level[1]
			}
		}
	}
	at := int64(0)
	for i, r := range rows {
		advance(t, s, time.UnixMicro(r.TradedAt)) // usually between two updates
		if i == 5 {
			take()
			set("bids", snapshot.Bids)
			set("asks", snapshot.Asks)
			at = snapshot.LastUpdateID
		}
	}
	advance(t, s, time.UnixMicro(rows[399].TradedAt+secondMicros))
	for applied := 0; at < rows[399].ID; applied++ {
		var update struct {
			First int64       `json:"U"`
			Last  int64       `json:"u"`
			Bids  [][2]string `json:"b"`
			Asks  [][2]string `json:"a"`
		}
		if err := json.Unmarshal([]byte(receive(t, ws)), &update); err != nil {
			t.Fatal(err)
		}
		if update.Last <= at {
			continue
		}
		if update.First > at+1 {
			t.Fatalf("after update %d comes %d to %d", at, update.First, update.Last)
		}
		set("bids", update.Bids)
		set("asks", update.Asks)
		at = update.Last
		if len(local["bids"]) != 1 || len(local["asks"]) != 1 {
			t.Fatalf("after update %d: %v", at, local)
		}
	}
	take()
	want := map[string]levels{"bids": {snapshot.Bids[0][0]: snapshot.Bids[0][1]}, "asks": {snapshot.Asks[0][0]: snapshot.Asks[0][1]}}
	if diff := cmp.Diff(want, local); diff != "" || at != snapshot.LastUpdateID {
		t.Errorf("at update %d of %d (-exchange +local):\n%s", at, snapshot.LastUpdateID, diff)
	}
}

// TestUnsubscribedDerivedStreamIsNotComputed subscribes twice and leaves.
func TestUnsubscribedDerivedStreamIsNotComputed(t *testing.T) {
	s := StartTest(t, NewMemory(nil, sampleRows()), Options{Speed: Manual, Start: time.UnixMicro(t0)})
	one, two := dial(t, s, "/ws/btcusdt@miniTicker"), dial(t, s, "/stream?streams=btcusdt@miniTicker&timeUnit=MICROSECOND")
	ask(t, one, `{"method":"LIST_SUBSCRIPTIONS","id":1}`)
	ask(t, two, `{"method":"LIST_SUBSCRIPTIONS","id":1}`)
	advance(t, s, time.UnixMicro(t0).Add(time.Second))
	if got := receive(t, one); !strings.HasPrefix(got, `{"e":"24hrMiniTicker","E":1750000001000,`) {
		t.Errorf("received %s", got)
	}
	if got := receive(t, two); !strings.HasPrefix(got, `{"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","E":1750000001000000,`) {
		t.Errorf("received %s", got)
	}
	ask(t, one, `{"method":"UNSUBSCRIBE","params":["btcusdt@miniTicker"],"id":2}`)
	ask(t, two, `{"method":"UNSUBSCRIBE","params":["btcusdt@miniTicker"],"id":2}`)
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if len(s.hub.derived) > 0 || len(s.hub.byDerived) > 0 {
		t.Errorf("%d streams are left", len(s.hub.derived))
	}
}
