package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
)

// numberedTrades returns a source of trades 1 to n of a symbol, a millisecond apart.
func numberedTrades(n int) *Memory {
	rows := make([]MemoryRow, n)
	for i := range rows {
		rows[i] = MemoryRow{Symbol: "BTCUSDT", Kind: Trade, Row: Row{ID: int64(i + 1), Price: "1.50000000", Qty: "2.00000000", TradedAt: t0 + int64(i+1)*1000}}
	}
	return NewMemory(nil, rows)
}

// receiveIDs receives n messages and returns the ids of those that are trades of BTCUSDT.
func receiveIDs(t *testing.T, ws *websocket.Conn, n int) (ids []int64) {
	t.Helper()
	for range n {
		var e struct {
			ID     int64  `json:"t"`
			Time   int64  `json:"T"`
			Symbol string `json:"s"`
		}
		if err := json.Unmarshal([]byte(receive(t, ws)), &e); err == nil && e.Symbol == "BTCUSDT" {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func inject(t *testing.T, s *Server, f Fault, connections int) {
	t.Helper()
	n, err := s.Inject(f)
	if err != nil || n != connections {
		t.Fatalf("inject %s: %d connections, %v; want %d", f.Kind, n, err, connections)
	}
	if got := s.Served().Faults[f.Kind]; got != int64(connections) {
		t.Errorf("%s: served %d, want %d", f.Kind, got, connections)
	}
}

func at(millisecond int64) time.Time { return time.UnixMicro(t0 + millisecond*1000) }

func TestConnectionFaults(t *testing.T) {
	start := func(t *testing.T) (*Server, *websocket.Conn, *websocket.Conn) {
		s := StartTest(t, numberedTrades(100), Options{Speed: Manual})
		faulty, other := dial(t, s, "/ws/btcusdt@trade"), dial(t, s, "/ws/ethusdt@trade/btcusdt@trade")
		advance(t, s, at(10))
		receiveIDs(t, faulty, 10)
		receiveIDs(t, other, 10)
		return s, faulty, other
	}
	checkReceives := func(t *testing.T, s *Server, other *websocket.Conn) {
		t.Helper()
		advance(t, s, at(20))
		if got := receiveIDs(t, other, 10); got[0] != 11 || got[9] != 20 {
			t.Errorf("the other connection received %v", got)
		}
	}
	t.Run("cut", func(t *testing.T) {
		s, faulty, other := start(t)
		inject(t, s, Fault{Kind: Cut}, 1)
		_, _, err := faulty.ReadMessage()
		var closed *websocket.CloseError
		if err == nil || errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure {
			t.Errorf("cut: %v", err)
		}
		checkReceives(t, s, other)
	})
	t.Run("close", func(t *testing.T) {
		s, faulty, other := start(t)
		inject(t, s, Fault{Kind: Close, Code: 1011}, 1)
		closedWith(t, faulty, 1011)
		checkReceives(t, s, other)
	})
	t.Run("by stream", func(t *testing.T) {
		s, faulty, other := start(t)
		inject(t, s, Fault{Kind: Close, Match: "ethusdt@trade", Count: -1}, 1)
		closedWith(t, other, 1001)
		checkReceives(t, s, faulty)
	})
	t.Run("mute", func(t *testing.T) {
		s, faulty, other := start(t)
		inject(t, s, Fault{Kind: Mute}, 1)
		checkReceives(t, s, other)
		// It answers, and sends no event before.
		if got := ask(t, faulty, `{"method":"LIST_SUBSCRIPTIONS","id":1}`); got != `{"result":["btcusdt@trade"],"id":1}` {
			t.Errorf("got %s", got)
		}
	})
	t.Run("silence", func(t *testing.T) {
		s, faulty, other := start(t)
		inject(t, s, Fault{Kind: Silence}, 1)
		checkReceives(t, s, other)
		if err := faulty.WriteMessage(websocket.TextMessage, []byte(`{"method":"LIST_SUBSCRIPTIONS","id":1}`)); err != nil {
			t.Fatal(err)
		}
		if err := faulty.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		_ = faulty.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, message, err := faulty.ReadMessage(); err == nil {
			t.Errorf("got %s", message)
		}
	})
	t.Run("shutdown", func(t *testing.T) {
		s := StartTest(t, numberedTrades(100), Options{Speed: Manual})
		raw, combined := dial(t, s, "/ws/btcusdt@trade"), dial(t, s, "/stream?streams=btcusdt@trade&timeUnit=microsecond")
		advance(t, s, at(10))
		inject(t, s, Fault{Kind: Shutdown, Count: 2, For: 10 * time.Millisecond}, 2)
		receiveIDs(t, raw, 10)
		receiveIDs(t, combined, 10)
		if got := receive(t, raw); got != `{"e":"serverShutdown","E":1750000000010}` {
			t.Errorf("raw: %s", got)
		}
		if got := receive(t, combined); got != `{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1750000000010000}}` {
			t.Errorf("combined: %s", got)
		}
		closedWith(t, raw, websocket.CloseGoingAway)
		closedWith(t, combined, websocket.CloseGoingAway)
	})
}

func TestMessageFaults(t *testing.T) {
	for kind, want := range map[FaultKind][]int64{
		Drop:      {3, 4, 5, 6, 7, 8, 9, 10},
		Duplicate: {1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10},
		Reorder:   {2, 1, 3, 4, 5, 6, 7, 8, 9, 10},
	} {
		s := StartTest(t, numberedTrades(10), Options{Speed: Manual})
		ws := dial(t, s, "/ws/btcusdt@trade")
		inject(t, s, Fault{Kind: kind, Count: 2, Match: "btcusdt@"}, 0)
		advance(t, s, at(10))
		if diff := cmp.Diff(want, receiveIDs(t, ws, len(want))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
		if got := s.Served().Faults[kind]; got != 2 {
			t.Errorf("%s: served %d, want 2", kind, got)
		}
	}
}

// TestDamageIsNotATrade parses every kind of damage strictly: none may be read as a trade of the stream.
func TestDamageIsNotATrade(t *testing.T) {
	for _, path := range []string{"/ws/btcusdt@trade", "/stream?streams=btcusdt@trade"} {
		s := StartTest(t, numberedTrades(damageKinds+1), Options{Speed: Manual})
		ws := dial(t, s, path)
		inject(t, s, Fault{Kind: Damage, Count: damageKinds}, 0)
		advance(t, s, at(damageKinds+1))
		received := map[string]bool{}
		for i := range damageKinds {
			message := receive(t, ws)
			if received[message] {
				t.Errorf("damage %d is a repetition: %s", i, message)
			}
			received[message] = true
			payload := json.RawMessage(message)
			if path[1] == 's' {
				var envelope struct {
					Stream string          `json:"stream"`
					Data   json.RawMessage `json:"data"`
				}
				if json.Unmarshal([]byte(message), &envelope) != nil || envelope.Stream != "btcusdt@trade" {
					continue
				}
				payload = envelope.Data
			}
			var e map[string]any // encoding/json matches keys of a map by case
			if json.Unmarshal(payload, &e) != nil || e["e"] != "trade" || e["s"] != "BTCUSDT" {
				continue
			}
			id, isNumber := e["t"].(float64)
			qty, hasQty := e["q"].(string)
			if isNumber && id > 0 && hasQty && qty != "0" && e["p"] == "1.50000000" {
				t.Errorf("damage %d is a valid trade: %s", i, message)
			}
		}
		if got := receive(t, ws); !strings.Contains(got, fmt.Sprintf(`"t":%d,`, damageKinds+1)) {
			t.Errorf("after the damage: %s", got)
		}
	}
}

func TestRefusedHandshakes(t *testing.T) {
	s := StartTest(t, numberedTrades(1), Options{Speed: Manual})
	inject(t, s, Fault{Kind: Refuse, Count: 3}, 0)
	inject(t, s, Fault{Kind: Refuse, Code: 503, RetryAfter: 7 * time.Second}, 0)
	for _, want := range []struct {
		status     int
		retryAfter string
	}{{429, "1"}, {418, "2"}, {503, "1"}, {503, "7"}} {
		_, resp, err := websocket.DefaultDialer.Dial(s.StreamURL()+"/ws", nil)
		if err == nil || resp == nil || resp.StatusCode != want.status || resp.Header.Get("Retry-After") != want.retryAfter {
			t.Errorf("handshake: %v, %v; want %v", err, resp, want)
		}
	}
	dial(t, s, "/ws")
}

func TestRESTFaults(t *testing.T) {
	const good = `[{"a":101,"p":"61837.63000000","q":"0.02000000","f":201,"l":202,"T":1750000000000,"m":true,"M":true},` +
		`{"a":102,"p":"61837.63000000","q":"0.02000000","f":203,"l":204,"T":1750000001000,"m":false,"M":true}]`
	type answer struct {
		status     int
		retryAfter string
		body       string
		err        error
	}
	request := func(s *Server, path string) (a answer) {
		// Each request has a new connection, because net/http retries if a reused one is reset.
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(s.URL() + path)
		if err != nil {
			return answer{err: err}
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return answer{resp.StatusCode, resp.Header.Get("Retry-After"), string(body), err}
	}
	const path = "/api/v3/aggTrades?symbol=BTCUSDT&fromId=101&limit=2"
	for _, c := range []struct {
		fault    Fault
		expected func(a answer) bool
	}{
		{Fault{Kind: REST429, RetryAfter: 1}, func(a answer) bool {
			return a.status == 429 && a.retryAfter == "1" && strings.Contains(a.body, "-1003")
		}},
		{Fault{Kind: REST418, RetryAfter: 1}, func(a answer) bool {
			return a.status == 418 && a.retryAfter == "1" && strings.Contains(a.body, "banned until")
		}},
		{Fault{Kind: REST403}, func(a answer) bool { return a.status == 403 && strings.Contains(a.body, "<html>") }},
		{Fault{Kind: REST5xx}, func(a answer) bool { return a.status == 500 && strings.Contains(a.body, "-1000") }},
		{Fault{Kind: REST5xx, Code: 503}, func(a answer) bool { return a.status == 503 && strings.Contains(a.body, "-1008") }},
		{Fault{Kind: REST5xx, Code: 504}, func(a answer) bool { return a.status == 504 && strings.Contains(a.body, "-1007") }},
		{Fault{Kind: REST5xx, Code: 502}, func(a answer) bool { return a.status == 502 && strings.Contains(a.body, "<html>") }},
		{Fault{Kind: RESTReset}, func(a answer) bool { return a.err != nil }},
		{Fault{Kind: RESTTruncated}, func(a answer) bool {
			return a.err == nil && a.status == 200 && len(a.body) == len(good)/2 && strings.HasPrefix(good, a.body)
		}},
		{Fault{Kind: RESTLater}, func(a answer) bool { return a.body == `[`+good[strings.Index(good, `{"a":102`):] }},
		{Fault{Kind: RESTSlow, For: 1}, func(a answer) bool { return a.body == good }},
	} {
		t.Run(fmt.Sprint(c.fault.Kind, c.fault.Code), func(t *testing.T) {
			s := history(t, Options{})
			c.fault.Match = "/api/v3/aggTrades"
			inject(t, s, c.fault, 0)
			if a := request(s, "/api/v3/time"); a.status != 200 {
				t.Errorf("another endpoint: %+v", a)
			}
			if a := request(s, path); !c.expected(a) {
				t.Errorf("first request: %+v", a)
			}
			if got := s.Served().Faults[c.fault.Kind]; got != 1 {
				t.Errorf("served %d", got)
			}
			if a := request(s, path); a.body != good {
				t.Errorf("second request: %+v", a)
			}
		})
	}
}

// TestRequestedFaultWaitsForARequestThatItFits requests faults that cannot happen to the first answers.
func TestRequestedFaultWaitsForARequestThatItFits(t *testing.T) {
	s := history(t, Options{}, BadRequest)
	inject(t, s, Fault{Kind: RESTLater}, 0)
	for _, path := range []string{"time", "aggTrades?symbol=BTCUSDT", "aggTrades?symbol=BTCUSDT&fromId=110", "aggTrades?symbol=NOPE&fromId=1"} {
		get(t, s.URL()+"/api/v3/"+path)
		if got := s.Served().Faults[RESTLater]; got != 0 {
			t.Fatalf("%s was served %d", path, got)
		}
	}
	for i, want := range []int{4, 6} {
		_, body, _ := get(t, s.URL()+"/api/v3/aggTrades?symbol=BTCUSDT&fromId=101&limit=6")
		if got := strings.Count(body, `"a":`); got != want || s.Served().Faults[RESTLater] != 1 {
			t.Errorf("page %d has %d rows, want %d; served %d", i+1, got, want, s.Served().Faults[RESTLater])
		}
	}
}

// TestSlowReader checks that a client that does not read loses its connection in real time, and that
// the clock waits for it at maximum speed.
func TestSlowReader(t *testing.T) {
	const rows = 30_000 // about 30 MB, more than the buffers of sockets
	source := numberedTrades(rows)
	for i := range source.rows[Trade.index()][0].rows {
		source.rows[Trade.index()][0].rows[i].Qty = strings.Repeat("1", 1000)
	}
	t.Run("in real time", func(t *testing.T) {
		s := StartTest(t, source, Options{Speed: 1e6, WaitForStreams: 1, SendBuffer: 1 << 16}, SlowReader)
		dial(t, s, "/ws/btcusdt@trade")
		<-s.Done()
		checkOffence(t, s, SlowReader)
	})
	t.Run("at maximum speed", func(t *testing.T) {
		s := StartTest(t, source, Options{Speed: MaxSpeed, CloseAtEnd: true})
		ws := dial(t, s, "/ws/btcusdt@trade")
		for want := int64(1); ; want++ {
			_, message, err := ws.ReadMessage()
			if err != nil {
				if !websocket.IsCloseError(err, websocket.CloseNormalClosure) || want != rows+1 {
					t.Errorf("ended after %d with %v", want-1, err)
				}
				return
			}
			if want == 1 {
				// The buffers are full, so the clock must not be at the end.
				if s.Now().After(at(rows)) {
					t.Error("the clock did not wait")
				}
			}
			if !strings.Contains(string(message), fmt.Sprintf(`"t":%d,`, want)) {
				t.Fatalf("want %d, got %s", want, message)
			}
		}
	})
	t.Run("at maximum speed, never reading", func(t *testing.T) {
		s := StartTest(t, source, Options{Speed: MaxSpeed, StallLimit: 50 * time.Millisecond}, SlowReader)
		dial(t, s, "/ws/btcusdt@trade")
		good := dial(t, s, "/ws/btcusdt@trade")
		for s.Offences()[SlowReader] == 0 {
			if _, _, err := good.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestRandomFaultsAreTheSameForTheSameSeed(t *testing.T) {
	play := func(seed uint64) (got []string) {
		s := StartTest(t, numberedTrades(500), Options{Speed: Manual, Faults: &Faults{Seed: seed, Rates: map[FaultKind]float64{Drop: .1, Duplicate: .1, Reorder: .1, Damage: .1, Conflict: .1}}})
		ws := dial(t, s, "/ws/btcusdt@trade")
		advance(t, s, at(500))
		ask := `{"method":"LIST_SUBSCRIPTIONS","id":1}`
		if err := ws.WriteMessage(websocket.TextMessage, []byte(ask)); err != nil {
			t.Fatal(err)
		}
		for {
			message := receive(t, ws)
			if strings.HasPrefix(message, `{"result"`) {
				break
			}
			got = append(got, message)
		}
		for _, kind := range messageFaults {
			if n := s.Served().Faults[kind]; n < 25 || n > 80 {
				t.Errorf("%s: %d of 500 at a rate of 0.1", kind, n)
			}
		}
		return got
	}
	one, again, other := play(1), play(1), play(2)
	if !slices.Equal(one, again) {
		t.Error("the same seed produced different faults")
	}
	if slices.Equal(one, other) {
		t.Error("another seed produced the same faults")
	}
}

func TestPlan(t *testing.T) {
	f := &Faults{Seed: 7, Rates: map[FaultKind]float64{Cut: 2, Close: 1}}
	plan := f.Plan(time.Hour)
	if n := len(plan); n < 140 || n > 220 {
		t.Errorf("%d faults in an hour at 3 a minute", n)
	}
	if !slices.IsSortedFunc(plan, func(a, b PlannedFault) int { return int(a.After - b.After) }) {
		t.Error("not in order")
	}
	if diff := cmp.Diff(plan[:10], f.Plan(plan[10].After)); diff != "" {
		t.Errorf("a shorter plan is not a prefix (-want +got):\n%s", diff)
	}
	for _, bad := range []*Faults{{Rates: map[FaultKind]float64{"cutt": 1}}, {Rates: map[FaultKind]float64{Drop: 1.5}}, {Rates: map[FaultKind]float64{Cut: -1}}} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%v: no error", bad.Rates)
		}
	}
	if err := EveryFault(1).Validate(); err != nil {
		t.Error(err)
	}
}

// TestPlannedConnectionFaults runs a schedule in a synctest bubble.
func TestPlannedConnectionFaults(t *testing.T) {
	faults := &Faults{Seed: 3, Rates: map[FaultKind]float64{Cut: 1}}
	bubble(t, tradePerSecond(), Options{WaitForStreams: 1, Faults: faults}, func(t *testing.T, s *Server, dial func(string) *websocket.Conn) {
		started := time.Now()
		for _, planned := range faults.Plan(10 * time.Minute) {
			ws := dial("/ws/btcusdt@trade")
			for {
				if _, _, err := ws.ReadMessage(); err != nil {
					break
				}
			}
			if elapsed := time.Since(started); elapsed != planned.After {
				t.Errorf("cut after %v, want %v", elapsed, planned.After)
			}
		}
	})
}

func TestClient(t *testing.T) {
	s := history(t, Options{Injected: []string{"whale"}}, UnknownEndpoint)
	ws := dial(t, s, "/ws/btcusdt@trade")
	client := Client{URL: s.URL()}
	if n, err := client.Inject(t.Context(), Fault{Kind: Close, Code: 1012, For: time.Second}); n != 1 || err != nil {
		t.Errorf("Inject: %d connections, %v", n, err)
	}
	closedWith(t, ws, 1012)
	if _, err := client.Inject(t.Context(), Fault{Kind: "nope"}); err == nil || !strings.Contains(err.Error(), `fault "nope" is unknown`) {
		t.Errorf("Inject of an unknown fault: %v", err)
	}
	get(t, s.URL()+"/api/v3/nope")
	if offences, err := client.Offences(t.Context()); offences[UnknownEndpoint] != 1 || err != nil {
		t.Errorf("Offences: %v, %v", offences, err)
	}
	if served, err := client.Served(t.Context()); served.Faults[Close] != 1 || served.Connections != 1 || err != nil {
		t.Errorf("Served: %+v, %v", served, err)
	}
	var injected []string
	if err := client.Injected(t.Context(), &injected); len(injected) != 1 || err != nil {
		t.Errorf("Injected: %v, %v", injected, err)
	}
}

func TestControlInterface(t *testing.T) {
	s := history(t, Options{Injected: []string{"whale"}}, UnknownEndpoint)
	ws := dial(t, s, "/ws/btcusdt@trade")
	resp, err := http.Post(s.URL()+"/_tapedeck/fault?kind=close&code=1012", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	closedWith(t, ws, 1012)
	get(t, s.URL()+"/api/v3/nope")
	if _, body, _ := get(t, s.URL()+"/_tapedeck/offences"); body != `{"unknown_endpoint":1}`+"\n" {
		t.Errorf("offences %s", body)
	}
	if _, body, _ := get(t, s.URL()+"/_tapedeck/injected"); body != `["whale"]`+"\n" {
		t.Errorf("injected %s", body)
	}
	_, body, _ := get(t, s.URL()+"/_tapedeck/served")
	var served Served
	if err := json.Unmarshal([]byte(body), &served); err != nil || served.Faults[Close] != 1 || served.Connections != 1 || served.Endpoints["/api/v3/nope"].Requests != 1 {
		t.Errorf("served %s (%v)", body, err)
	}
	for path, want := range map[string]int{"/_tapedeck/fault?kind=nope": 400, "/_tapedeck/fault?kind=cut&count=x": 400, "/_tapedeck/nope": 404} {
		resp, err := http.Post(s.URL()+path, "", nil)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
	}
}
