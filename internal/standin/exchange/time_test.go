package exchange

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// pipes is a listener without a network, so that a server can run in a synctest bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bubble runs a server and a client in a synctest bubble.
func bubble(t *testing.T, source Source, opt Options, f func(t *testing.T, s *Server, dial func(path string) *websocket.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(source, opt)
		if err != nil {
			t.Fatal(err)
		}
		ln := newPipes()
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		f(t, s, func(path string) *websocket.Conn {
			dialer := websocket.Dialer{NetDialContext: ln.DialContext}
			ws, _, err := dialer.Dial("ws://x"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ws.Close() })
			return ws
		})
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestConnectionLastsADay(t *testing.T) {
	bubble(t, NewMemory(nil, documented()), Options{Speed: Manual}, func(t *testing.T, s *Server, dial func(string) *websocket.Conn) {
		started := time.Now()
		ws := dial("/ws/bnbbtc@trade")
		pings := 0
		answer := ws.PingHandler() // echoes the payload
		ws.SetPingHandler(func(payload string) error {
			pings++
			if elapsed := time.Since(started); elapsed != time.Duration(pings)*20*time.Second || payload == "" {
				t.Errorf("ping %d %q after %v", pings, payload, elapsed)
			}
			return answer(payload)
		})
		closedWith(t, ws, websocket.CloseGoingAway)
		if elapsed := time.Since(started); elapsed != 24*time.Hour {
			t.Errorf("closed after %v, want 24h", elapsed)
		}
		if want := 24*60*3 - 1; pings != want && pings != want+1 {
			t.Errorf("%d pings, want one every 20 s", pings)
		}
		if got := s.Offences(); len(got) != 0 {
			t.Errorf("offences %v", got)
		}
	})
}

func TestLatePongClosesTheConnection(t *testing.T) {
	bubble(t, NewMemory(nil, documented()), Options{Speed: Manual}, func(t *testing.T, s *Server, dial func(string) *websocket.Conn) {
		started := time.Now()
		ws := dial("/ws/bnbbtc@trade")
		answered := 0
		ws.SetPingHandler(func(payload string) error {
			if answered++; answered > 1 {
				return nil // only the first ping is answered
			}
			return ws.WriteControl(websocket.PongMessage, []byte(payload), time.Now().Add(time.Second))
		})
		closedWith(t, ws, websocket.ClosePolicyViolation)
		if elapsed := time.Since(started); elapsed != 100*time.Second {
			t.Errorf("closed after %v, want a minute after the second ping at 40 s", elapsed)
		}
		checkOffence(t, s, LatePong)
	})
}

// tradePerSecond returns a source of one trade a second for a minute.
func tradePerSecond() *Memory {
	var rows []MemoryRow
	for i := range 60 {
		rows = append(rows, MemoryRow{Symbol: "BTCUSDT", Kind: Trade, Row: Row{
			ID: int64(i + 1), Price: "1", Qty: "1", TradedAt: int64(i+1) * 1_000_000,
		}})
	}
	return NewMemory(nil, rows)
}

func TestSpeedIsAFactorOfRealTime(t *testing.T) {
	bubble(t, tradePerSecond(), Options{Speed: 4, WaitForStreams: 1, CloseAtEnd: true}, func(t *testing.T, s *Server, dial func(string) *websocket.Conn) {
		time.Sleep(time.Hour) // the clock waits for a subscription
		started := time.Now()
		ws := dial("/ws/btcusdt@trade")
		for i := range 60 {
			if _, _, err := ws.ReadMessage(); err != nil {
				t.Fatal(err)
			}
			want := time.Duration(i) * time.Second / 4
			if elapsed := time.Since(started); elapsed < want || elapsed > want+2*tick {
				t.Fatalf("trade %d after %v, want %v", i+1, elapsed, want)
			}
		}
		closedWith(t, ws, websocket.CloseNormalClosure)
		<-s.Done()
	})
}

func TestMaxSpeedWaitsForASubscription(t *testing.T) {
	bubble(t, tradePerSecond(), Options{Speed: MaxSpeed}, func(t *testing.T, s *Server, dial func(string) *websocket.Conn) {
		time.Sleep(time.Hour)
		if now := s.Now(); !now.Equal(time.UnixMicro(999_999)) {
			t.Errorf("the clock is at %v", now)
		}
		started := time.Now()
		ws := dial("/ws/btcusdt@trade")
		for range 60 {
			if _, _, err := ws.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
		<-s.Done()
		if elapsed := time.Since(started); elapsed != 0 {
			t.Errorf("took %v", elapsed)
		}
	})
}
