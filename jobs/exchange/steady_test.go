package exchange

import (
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func TestSteadySource(t *testing.T) {
	url, stop, ended := run(t, Options{Simulate: true, Steady: 1000, Symbols: 2, Start: start, History: 24 * time.Hour, Speed: 10})
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/ws/b0001usdt@trade/b0002usdt@trade", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	for range 500 {
		if _, _, err := ws.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	var page []struct {
		A int64 `json:"a"`
		T int64 `json:"T"`
	}
	fetch(t, url+"/api/v3/aggTrades?symbol=B0001USDT&fromId=0&limit=2", &page)
	if begin := start.Add(-24 * time.Hour).UnixMilli(); len(page) != 2 || page[0].T != begin || page[1].T != begin+2 {
		t.Errorf("the first rows of the history are %+v", page)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
