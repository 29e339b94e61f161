package binance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"tapedeck/internal/symbol"
)

// wsServer is a websocket server in memory, for use in a synctest bubble.
type wsServer struct {
	conns   chan net.Conn
	done    chan struct{}
	urls    chan string
	serve   func(*websocket.Conn)
	refuse  func(http.ResponseWriter) bool
	server  http.Server
	stopped chan struct{}
}

func newWSServer(t *testing.T, serve func(*websocket.Conn)) *wsServer {
	v := &wsServer{
		conns: make(chan net.Conn), done: make(chan struct{}), urls: make(chan string, 10), serve: serve,
		stopped: make(chan struct{}),
	}
	v.server.Handler = v
	go func() {
		defer close(v.stopped)
		_ = v.server.Serve(v)
	}()
	t.Cleanup(func() {
		close(v.done)
		_ = v.server.Close()
		<-v.stopped
	})
	return v
}

func (v *wsServer) Accept() (net.Conn, error) {
	select {
	case conn := <-v.conns:
		return conn, nil
	case <-v.done:
		return nil, net.ErrClosed
	}
}
func (v *wsServer) Close() error   { return nil }
func (v *wsServer) Addr() net.Addr { return &net.TCPAddr{} }

func (v *wsServer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case v.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (v *wsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.urls <- r.URL.String()
	if v.refuse != nil && v.refuse(w) {
		return
	}
	upgrader := websocket.Upgrader{WriteBufferSize: 1024} // small, so that a long message is fragmented
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	v.serve(ws)
}

func (v *wsServer) connect(t *testing.T) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), "ws://exchange/stream", DialOptions{DialContext: v.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// frame is a request as received by the server.
type frame struct {
	at     time.Time
	size   int
	Method string   `json:"method"`
	Params []string `json:"params"`
	ID     int64    `json:"id"`
}

func receive(ws *websocket.Conn) (f frame, err error) {
	_, data, err := ws.ReadMessage()
	if err != nil {
		return f, err
	}
	f.at, f.size = time.Now(), len(data)
	return f, json.Unmarshal(data, &f)
}

// keepReading calls Read until it fails, and returns what it read.
func keepReading(c *Conn) (messages *[]Message, ended chan error) {
	messages, ended = &[]Message{}, make(chan error, 1)
	go func() {
		for {
			var m Message
			err := c.Read(&m)
			if errors.Is(err, ErrMalformed) {
				continue
			}
			if err != nil {
				ended <- err
				return
			}
			m.Symbol = slices.Clone(m.Symbol)
			*messages = append(*messages, m)
		}
	}()
	return messages, ended
}

// TestSubscribeKeepsTheLimits on the size of a frame and on frames per second.
func TestSubscribeKeepsTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var frames []frame
		subscribed := map[string]bool{}
		v := newWSServer(t, func(ws *websocket.Conn) {
			for {
				f, err := receive(ws)
				if err != nil {
					return
				}
				frames = append(frames, f)
				answer := `null`
				switch f.Method {
				case "SUBSCRIBE":
					for _, name := range f.Params {
						subscribed[name] = true
					}
				case "UNSUBSCRIBE":
					for _, name := range f.Params {
						delete(subscribed, name)
					}
				case "LIST_SUBSCRIPTIONS":
					var names []string
					for name := range subscribed {
						names = append(names, name)
					}
					list, _ := json.Marshal(names)
					answer = string(list)
				}
				_ = ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"result":%s,"id":%d}`, answer, f.ID))
			}
		})
		c := v.connect(t)
		keepReading(c)
		var names []string
		for i := range 900 {
			names = append(names, fmt.Sprintf("token%04d币安usdt@aggTrade", i))
		}
		if err := c.Subscribe(t.Context(), names); err != nil {
			t.Fatal(err)
		}
		if err := c.Unsubscribe(t.Context(), names[:300]); err != nil {
			t.Fatal(err)
		}
		got, err := c.Subscriptions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if !slices.Equal(got, names[300:]) {
			t.Errorf("%d subscriptions", len(got))
		}
		for i, f := range frames {
			if f.size >= 4096 {
				t.Errorf("frame of %d bytes", f.size)
			}
			if i >= 4 && f.at.Sub(frames[i-4].at) < time.Second {
				t.Errorf("5 frames within %v", f.at.Sub(frames[i-4].at))
			}
		}
		if len(frames) < 9 || len(frames) > 14 {
			t.Errorf("%d frames", len(frames))
		}
	})
}

func TestFailedRequests(t *testing.T) {
	for name, test := range map[string]struct {
		answer string // %d stands for the id; empty means none
		want   func(error) bool
	}{
		"refused":            {`{"code":2,"msg":"Invalid request","id":%d}`, isRequestError},
		"refused, nested":    {`{"error":{"code":2,"msg":"Invalid request"},"id":%d}`, isRequestError},
		"refused without id": {`{"code":2,"msg":"Invalid request"}`, isRequestError},
		"other id":           {`{"result":null,"id":999}`, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		"unanswered":         {``, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		"closed":             {`close`, func(err error) bool { return errors.Is(err, errUnanswered) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newWSServer(t, func(ws *websocket.Conn) {
					for {
						f, err := receive(ws)
						if err != nil || test.answer == "close" {
							return
						}
						if test.answer != "" {
							_ = ws.WriteMessage(websocket.TextMessage, []byte(strings.Replace(test.answer, "%d", fmt.Sprint(f.ID), 1)))
						}
					}
				})
				c := v.connect(t)
				keepReading(c)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := c.Subscribe(ctx, []string{"btcusdt@trade"}); !test.want(err) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func isRequestError(err error) bool {
	var refusal *RequestError
	return errors.As(err, &refusal) && refusal.Code == 2 && refusal.Method == "SUBSCRIBE" && refusal.Text == "Invalid request"
}

// TestRefusedDialReturnsStatusAndRetryAfter covers all forms of Retry-After.
func TestRefusedDialReturnsStatusAndRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for header, want := range map[string]time.Duration{
			"17": 17 * time.Second, "": 0, "soon": 0, "-5": 0,
			time.Now().Add(time.Minute).UTC().Format(http.TimeFormat):  time.Minute,
			time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat): 0,
		} {
			v := newWSServer(t, nil)
			v.refuse = func(w http.ResponseWriter) bool {
				if header != "" {
					w.Header().Set("Retry-After", header)
				}
				w.WriteHeader(http.StatusTeapot)
				_, _ = w.Write([]byte(`{"code":-1003,"msg":"banned"}`))
				return true
			}
			_, err := Dial(t.Context(), "ws://exchange/stream", DialOptions{DialContext: v.dial})
			var refusal *RefusedError
			if !errors.As(err, &refusal) || refusal.Status != 418 || refusal.RetryAfter != want || refusal.Bytes == 0 || strings.Contains(err.Error(), "banned") {
				t.Errorf("Retry-After %q: %v", header, err)
			}
		}
	})
}

func TestDialIsBoundedByItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		silent := func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { // reads the request and never answers
				buffer := make([]byte, 1024)
				for {
					if _, err := server.Read(buffer); err != nil {
						return
					}
				}
			}()
			return client, nil
		}
		if _, err := Dial(ctx, "ws://exchange/stream", DialOptions{DialContext: silent}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

// TestReadHandlesEveryKindOfFrame: pings are answered with their payload, fragmented and long
// messages are assembled, a malformed message does not end the connection, and a close frame does,
// with its code.
func TestReadHandlesEveryKindOfFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pong := make(chan string, 1)
		long := `{"e":"trade","E":1672515782136,"s":"LONG","t":7,"p":"1","q":"1","T":1672515782136,"m":true,"pad":"` + strings.Repeat("x", 100_000) + `"}`
		v := newWSServer(t, func(ws *websocket.Conn) {
			ws.SetPongHandler(func(payload string) error {
				pong <- payload
				return nil
			})
			go func() { // the loop below reads the pong
				_ = ws.WriteControl(websocket.PingMessage, []byte("1672515782136"), time.Time{})
				w, _ := ws.NextWriter(websocket.TextMessage)
				for _, part := range []string{`{"e":"trade","E":1672515782136,"s":"PAR`, `TS","t":6,"p":"1","q":"1",`, `"T":1672515782136,"m":true}`} {
					_, _ = w.Write([]byte(part))
				}
				_ = w.Close()
				_ = ws.WriteMessage(websocket.TextMessage, []byte(`{"e":`))
				_ = ws.WriteMessage(websocket.TextMessage, []byte(long))
				time.Sleep(time.Second)
				_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1008, "Pong timeout"), time.Time{})
			}()
			for {
				if _, _, err := ws.ReadMessage(); err != nil {
					return
				}
			}
		})
		c := v.connect(t)
		if c.LastPing() != 0 {
			t.Error("LastPing before the first ping")
		}
		messages, ended := keepReading(c)
		if payload := <-pong; payload != "1672515782136" {
			t.Errorf("pong %q", payload)
		}
		if err := <-ended; CloseCode(err) != 1008 {
			t.Errorf("ended with %v", err)
		}
		if len(*messages) != 2 || string((*messages)[0].Symbol) != "PARTS" || string((*messages)[1].Symbol) != "LONG" {
			t.Errorf("messages %+v", *messages)
		}
		if since := time.Since(time.Unix(0, c.LastPing())); since != time.Second {
			t.Errorf("the last ping was %v ago", since)
		}
	})
}

func TestReadRefusesATooLongMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newWSServer(t, func(ws *websocket.Conn) {
			go func() { _ = ws.WriteMessage(websocket.TextMessage, make([]byte, maxMessage+1000)) }()
			_, _, _ = ws.ReadMessage()
		})
		c := v.connect(t)
		var m Message
		if err := c.Read(&m); err == nil || errors.Is(err, ErrMalformed) {
			t.Errorf("error %v", err)
		}
	})
}

// TestCloseIsBounded requires Close to end a waiting Read, even if the server does not answer.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		v := newWSServer(t, func(*websocket.Conn) { <-release })
		c := v.connect(t)
		_, ended := keepReading(c)
		start := time.Now()
		c.Close()
		c.Close()
		if err := <-ended; err == nil || CloseCode(err) != 0 {
			t.Errorf("ended with %v", err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		close(release)
	})
}

func TestStreamURL(t *testing.T) {
	for _, test := range []struct {
		base    string
		streams []string
		want    string
	}{
		{"wss://data-stream.binance.vision", []string{"btcusdt@trade", "ethusdt@trade"}, "wss://data-stream.binance.vision/stream?streams=btcusdt@trade/ethusdt@trade&timeUnit=MICROSECOND"},
		{"ws://127.0.0.1:8080/", nil, "ws://127.0.0.1:8080/stream?timeUnit=MICROSECOND"},
		{"https://proxy.example/binance", []string{"币安人生usdt@aggTrade"}, "https://proxy.example/binance/stream?streams=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@aggTrade&timeUnit=MICROSECOND"},
	} {
		got, rest, err := StreamURL(test.base, test.streams)
		if err != nil || got != test.want || len(rest) != 0 {
			t.Errorf("%s: %q, %v, %v", test.base, got, rest, err)
		}
	}
	var many []string
	for i := range 1024 {
		many = append(many, StreamName(symbol.Must(fmt.Sprintf("TOKEN%dUSDT", i)), "aggTrade"))
	}
	got, rest, err := StreamURL("wss://x", many)
	if err != nil || len(got) > maxURL || len(got) < maxURL-40 || len(rest) == 0 || strings.Count(got, "@")+len(rest) != len(many) {
		t.Errorf("%d characters, %d left, %v", len(got), len(rest), err)
	}
	for _, base := range []string{"", "data-stream.binance.vision", "ftp://x", "ws://", "ws://x?streams=a", "ws://%zz"} {
		if _, _, err := StreamURL(base, nil); err == nil {
			t.Errorf("%q was accepted", base)
		}
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	stop := make(chan struct{})
	v := newWSServer(t, func(ws *websocket.Conn) {
		prepared, _ := websocket.NewPreparedMessage(websocket.TextMessage, benchTrade)
		for {
			select {
			case <-stop:
				return
			default:
				if ws.WritePreparedMessage(prepared) != nil {
					return
				}
			}
		}
	})
	defer close(stop)
	c := v.connect(t)
	var m Message
	read := func() {
		if err := c.Read(&m); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		read()
	}
	// The server in this process does not allocate for a prepared message either.
	if allocs := testing.AllocsPerRun(2000, read); allocs > 0 {
		t.Errorf("%v allocations per message", allocs)
	}
}
