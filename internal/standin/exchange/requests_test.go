package exchange

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func TestAnswersToRequests(t *testing.T) {
	s := StartTest(t, NewMemory(nil, documented()), Options{Speed: Manual, FramesPerSecond: -1}, BadRequest)
	ws := dial(t, s, "/ws")
	for _, c := range []struct{ request, answer string }{
		{`{"method":"GET_PROPERTY","params":["combined"],"id":2}`, `{"result":false,"id":2}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":3}`, `{"result":[],"id":3}`},
		{`{"method":"SUBSCRIBE","params":["bnbbtc@trade","bnbbtc@depth"],"id":1}`, `{"result":null,"id":1}`},
		{`{"method":"SUBSCRIBE","params":["bnbbtc@trade"],"id":"again"}`, `{"result":null,"id":"again"}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":3}`, `{"result":["bnbbtc@trade","bnbbtc@depth"],"id":3}`},
		{`{"method":"UNSUBSCRIBE","params":["bnbbtc@depth"],"id":312}`, `{"result":null,"id":312}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":null}`, `{"result":["bnbbtc@trade"],"id":null}`},
		{`{"method":"SET_PROPERTY","params":["combined",true],"id":5}`, `{"result":null,"id":5}`},
		{`{"method":"GET_PROPERTY","params":["combined"],"id":-9223372036854775808}`, `{"result":true,"id":-9223372036854775808}`},
		{`{"method":"SUBSCRIBE","params":["币安人生usdt@trade"],"id":6}`, `{"result":null,"id":6}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":7}`, `{"result":["bnbbtc@trade","币安人生usdt@trade"],"id":7}`},

		{`{"method":"SET_PROPERTY","params":["compressed",true],"id":8}`, `{"code":0,"msg":"Unknown property","id":8}`},
		{`{"method":"SET_PROPERTY","params":["combined","yes"],"id":9}`, `{"code":1,"msg":"Invalid value type: expected Boolean","id":9}`},
		{`{"method":"GET_PROPERTY","params":[1],"id":10}`, `{"code":2,"msg":"Invalid request: property name must be a string","id":10}`},
		{`{"method":"GET_PROPERTY","id":10}`, `{"code":2,"msg":"Invalid request: property name must be a string","id":10}`},
		{`{"method":"GET_PROPERTY","params":["combined",1],"id":10}`, `{"code":2,"msg":"Invalid request: too many parameters","id":10}`},
		{`{"method":"LIST_SUBSCRIPTIONS","params":["x"],"id":10}`, `{"code":2,"msg":"Invalid request: too many parameters","id":10}`},
		{`{"method":"SUBSCRIBE","params":["bnbbtc@trade"],"id":1.5}`, `{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}`},
		{`{"method":"SUBSCRIBE","params":["bnbbtc@trade"]}`, `{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}`},
		{`{"method":"SUBSCRIBE","params":["bnb btc"],"id":11}`, `{"code":2,"msg":"Invalid request: invalid stream","id":11}`},
		{`{"params":["bnbbtc@trade"],"id":12}`, "{\"code\":2,\"msg\":\"Invalid request: missing field `method` at line 1 column 35\",\"id\":12}"},
		{`{"method":"SUBSCRIB","params":[],"id":13}`, "{\"code\":2,\"msg\":\"Invalid request: unknown variant `SUBSCRIB`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column 20\",\"id\":13}"},
		{`{"method":"SUBSCRIBE","id":14`, `{"code":3,"msg":"Invalid JSON: expected value at line 1 column 29"}`},
	} {
		if got := ask(t, ws, c.request); got != c.answer {
			t.Errorf("%s\n got %s\nwant %s", c.request, got, c.answer)
		}
	}
	// SET_PROPERTY applies to events.
	advance(t, s, time.UnixMilli(1672515782136))
	if got := receive(t, ws); !strings.HasPrefix(got, `{"stream":"bnbbtc@trade","data":{"e":"trade",`) {
		t.Errorf("after SET_PROPERTY combined: %s", got)
	}
}

func TestUnsubscribedStreamIsNotSent(t *testing.T) {
	s := StartTest(t, NewMemory(nil, documented()), Options{Speed: Manual})
	ws := dial(t, s, "/ws/bnbbtc@trade/bnbbtc@aggTrade")
	ask(t, ws, `{"method":"UNSUBSCRIBE","params":["bnbbtc@trade"],"id":1}`)
	advance(t, s, time.UnixMilli(1672515782136))
	if got := receive(t, ws); !strings.Contains(got, `"aggTrade"`) {
		t.Errorf("received %s, want only the aggTrade", got)
	}
	if got := ask(t, ws, `{"method":"LIST_SUBSCRIPTIONS","id":2}`); got != `{"result":["bnbbtc@aggTrade"],"id":2}` {
		t.Errorf("got %s", got)
	}
}

// checkOffence expects exactly one offence.
func checkOffence(t *testing.T, s *Server, want Offence) {
	t.Helper()
	if got := s.Offences(); len(got) != 1 || got[want] != 1 {
		t.Errorf("offences %v, want one %s", got, want)
	}
}

func closedWith(t *testing.T, ws *websocket.Conn, code int) {
	t.Helper()
	for {
		_, _, err := ws.ReadMessage()
		if err == nil {
			continue
		}
		if !websocket.IsCloseError(err, code) {
			t.Errorf("the connection ended with %v, want close code %d", err, code)
		}
		return
	}
}

func TestOffencesOfFrames(t *testing.T) {
	t.Run("six frames in a second", func(t *testing.T) {
		s := StartTest(t, NewMemory(nil, documented()), Options{Speed: Manual}, TooManyFrames)
		ws := dial(t, s, "/ws")
		for i := range 6 { // of any kind
			var err error
			switch i % 3 {
			case 0:
				err = ws.WriteMessage(websocket.TextMessage, []byte(`{"method":"LIST_SUBSCRIPTIONS","id":1}`))
			case 1:
				err = ws.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Second))
			case 2:
				err = ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Second))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		closedWith(t, ws, websocket.ClosePolicyViolation)
		checkOffence(t, s, TooManyFrames)
	})
	t.Run("wrong pong", func(t *testing.T) {
		s := StartTest(t, NewMemory(nil, documented()), Options{Speed: Manual}, WrongPong)
		ws := dial(t, s, "/ws")
		for _, payload := range []string{"", "made up"} { // the empty one is allowed
			if err := ws.WriteControl(websocket.PongMessage, []byte(payload), time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		ask(t, ws, `{"method":"LIST_SUBSCRIPTIONS","id":1}`)
		checkOffence(t, s, WrongPong)
	})
	t.Run("frame too large", func(t *testing.T) {
		s := StartTest(t, NewMemory(nil, documented()), Options{Speed: Manual}, FrameTooLarge, BadRequest)
		ws := dial(t, s, "/ws")
		request := func(size int) string { // on the wire
			head, tail := `{"method":"SUBSCRIBE","params":["`, `@trade"],"id":1}`
			return head + strings.Repeat("x", size-8-len(head)-len(tail)) + tail
		}
		// The name is too long for a stream, but the request is answered.
		if got := ask(t, ws, request(4096)); got != `{"code":2,"msg":"Invalid request: invalid stream","id":1}` {
			t.Errorf("4096 bytes: %.200s", got)
		}
		large := request(4097)
		if err := ws.WriteMessage(websocket.TextMessage, []byte(large)); err != nil {
			t.Fatal(err)
		}
		// It is ignored: the next answer is that of the next request.
		if got := ask(t, ws, `{"method":"LIST_SUBSCRIPTIONS","id":2}`); got != `{"result":[],"id":2}` {
			t.Errorf("got %.200s", got)
		}
		if got := s.Offences(); got[FrameTooLarge] != 1 || len(got) != 2 {
			t.Errorf("offences %v", got)
		}
	})
	t.Run("too many streams", func(t *testing.T) {
		s := StartTest(t, NewMemory(nil, documented()), Options{Speed: Manual, MaxStreams: 3}, TooManyStreams)
		ws := dial(t, s, "/ws/a@trade/b@trade")
		if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"method":"SUBSCRIBE","params":["b@trade","c@trade","d@trade"],"id":1}`)); err != nil {
			t.Fatal(err)
		}
		closedWith(t, ws, websocket.ClosePolicyViolation)
		checkOffence(t, s, TooManyStreams)
	})
}

func TestOffencesOfHandshakes(t *testing.T) {
	many := func(n int) string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("%dx@trade", i)
		}
		return "/stream?streams=" + strings.Join(names, "/")
	}
	for _, c := range []struct {
		name, path string
		status     int
		offence    Offence
	}{
		{"too many streams", many(501), http.StatusBadRequest, TooManyStreams},
		{"longest URL", "/stream?streams=" + strings.Repeat("x@trade/", 998), 0, ""},
		{"URL too long", "/stream?streams=" + strings.Repeat("x@trade/", 1001), http.StatusRequestURITooLong, URLTooLong},
		{"time unit", "/ws?timeUnit=HOUR", http.StatusBadRequest, BadRequest},
		{"space in a name", "/ws/btc%20usdt", http.StatusBadRequest, BadRequest},
		{"any name", "/ws/0", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := StartTest(t, NewMemory(nil, documented()), Options{Speed: Manual, MaxStreams: 500}, c.offence)
			ws, resp, err := websocket.DefaultDialer.Dial(s.StreamURL()+c.path, nil)
			if c.status == 0 {
				if err != nil {
					t.Fatal(err)
				}
				ws.Close()
				return
			}
			if err == nil || resp == nil || resp.StatusCode != c.status {
				t.Fatalf("handshake: %v, %v; want status %d", err, resp, c.status)
			}
			checkOffence(t, s, c.offence)
		})
	}
	t.Run("too many connects", func(t *testing.T) {
		s := StartTest(t, NewMemory(nil, documented()), Options{Speed: Manual, Connects: 2}, TooManyConnects)
		dial(t, s, "/ws")
		dial(t, s, "/ws")
		_, resp, err := websocket.DefaultDialer.Dial(s.StreamURL()+"/ws", nil)
		if err == nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "300" {
			t.Fatalf("third handshake: %v, %v; want 429 with Retry-After 300", err, resp)
		}
		checkOffence(t, s, TooManyConnects)
	})
	t.Run("plain request", func(t *testing.T) {
		s := StartTest(t, NewMemory(nil, documented()), Options{Speed: Manual})
		resp, err := http.Get(s.URL() + "/ws/bnbbtc@trade")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}
