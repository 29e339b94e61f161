package exchange

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// documented returns one row of each kind with the values of Binance's documented payloads.
func documented() []MemoryRow {
	at := int64(1672515782136) * 1000
	return []MemoryRow{
		{Symbol: "BNBBTC", Kind: Trade, Row: Row{ID: 12345, Price: "0.001", Qty: "100", TradedAt: at, EventAt: at, BuyerMaker: true}},
		{Symbol: "BNBBTC", Kind: AggTrade, Row: Row{ID: 12345, Price: "0.001", Qty: "100", FirstTradeID: 100, LastTradeID: 105, TradedAt: at, EventAt: at, BuyerMaker: true}},
		{Symbol: "币安USDT", Kind: Trade, Row: Row{ID: 1, Price: "1", Qty: "1", TradedAt: at, EventAt: at}},
	}
}

func dial(t *testing.T, s *Server, path string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(s.StreamURL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	return ws
}

func receive(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	_, message, err := ws.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(message)
}

func get(t *testing.T, url string) (int, string, http.Header) {
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
	return resp.StatusCode, string(body), resp.Header
}

// ask sends a request and returns its answer.
func ask(t *testing.T, ws *websocket.Conn, request string) string {
	t.Helper()
	if err := ws.WriteMessage(websocket.TextMessage, []byte(request)); err != nil {
		t.Fatal(err)
	}
	return receive(t, ws)
}

func advance(t *testing.T, s *Server, until time.Time) {
	t.Helper()
	if err := s.Advance(context.Background(), until); err != nil {
		t.Fatal(err)
	}
}

func TestDocumentedPayloads(t *testing.T) {
	const (
		trade    = `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}`
		aggTrade = `{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,"m":true,"M":true}`
		micro    = `{"e":"trade","E":1672515782136000,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136000,"m":true,"M":true}`
	)
	tests := map[string]string{
		"/ws/%E5%B8%81%E5%AE%89usdt@trade":                        `{"e":"trade","E":1672515782136,"s":"币安USDT","t":1,"p":"1","q":"1","T":1672515782136,"m":false,"M":true}`,
		"/stream?streams=币安usdt@trade":                            `{"stream":"币安usdt@trade","data":{"e":"trade","E":1672515782136,"s":"币安USDT","t":1,"p":"1","q":"1","T":1672515782136,"m":false,"M":true}}`,
		"/ws/bnbbtc@trade":                                        trade,
		"/ws/bnbbtc@aggTrade":                                     aggTrade,
		"/ws/bnbbtc@trade?timeUnit=MICROSECOND":                   micro,
		"/stream?streams=bnbbtc@trade":                            `{"stream":"bnbbtc@trade","data":` + trade + `}`,
		"/stream?streams=bnbbtc%40trade&timeUnit=microsecond":     `{"stream":"bnbbtc@trade","data":` + micro + `}`,
		"/stream?streams=ethbtc@trade/bnbbtc@aggTrade/x@kline_1m": `{"stream":"bnbbtc@aggTrade","data":` + aggTrade + `}`,
	}
	for path, want := range tests {
		s := StartTest(t, NewMemory(nil, documented()), Options{Speed: Manual})
		ws := dial(t, s, path)
		advance(t, s, time.UnixMilli(1672515782136))
		if got := receive(t, ws); got != want {
			t.Errorf("%s\n got %s\nwant %s", path, got, want)
		}
	}
}
