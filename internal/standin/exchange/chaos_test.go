package exchange

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestEveryKindOfFaultIsServed runs clients without error handling against a schedule of all kinds of
// fault, until each was served.
func TestEveryKindOfFaultIsServed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector; make test-all runs it")
	}
	faults := EveryFault(11)
	for _, kind := range connectionFaults {
		faults.Rates[kind] = 200
	}
	for _, kind := range messageFaults {
		faults.Rates[kind] = .01
	}
	for _, kind := range restFaults {
		faults.Rates[kind] = .1
	}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	source, err := NewSteady(4, .1, begin, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(source, Options{
		Speed: 1e5, Start: begin.Add(40 * 24 * time.Hour), Faults: faults, Connects: -1, WeightLimit: 1 << 40, StrikesToBan: 1 << 30, SpoolDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for ctx.Err() == nil {
				ws, _, err := websocket.DefaultDialer.DialContext(ctx, s.StreamURL()+"/stream?streams=b0001usdt@trade/b0002usdt@aggTrade", nil)
				if err != nil {
					continue
				}
				for {
					_ = ws.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
					if _, _, err := ws.ReadMessage(); err != nil {
						break
					}
				}
				ws.Close()
			}
		})
	}
	// One client alternates between REST and the archive, so that it stops after a 429.
	clients.Go(func() {
		client := http.Client{Timeout: 100 * time.Millisecond}
		fetch := func(path string) {
			resp, err := client.Get(s.URL() + path)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == 429 || resp.StatusCode == 418 {
				s.limits.forgive("127.0.0.1")
			}
		}
		for i := 0; ctx.Err() == nil; i++ {
			fetch("/api/v3/aggTrades?symbol=B0001USDT&limit=10&fromId=" + fmt.Sprint(steadyFirstAgg+i))
			date := begin.AddDate(0, 0, i/3%40).Format("2006-01-02")
			zip := fmt.Sprintf("/data/spot/daily/trades/B000%dUSDT/B000%dUSDT-trades-%s.zip", i/120%4+1, i/120%4+1, date)
			fetch(zip)
			fetch(zip + ".CHECKSUM")
		}
	})
	clients.Go(func() {
		for ctx.Err() == nil {
			served, missing := s.Served().Faults, []string(nil)
			for _, kind := range FaultKinds() {
				if faults.Rates[kind] > 0 && served[kind] == 0 {
					missing = append(missing, string(kind))
				}
			}
			if len(missing) == 0 {
				cancel()
				return
			}
			select {
			case <-ctx.Done():
				t.Errorf("not served: %s", strings.Join(missing, ", "))
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	clients.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// forgive lifts the block or ban of an address.
func (l *limiter) forgive(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.addresses, address)
}

func FuzzCaptureLine(f *testing.F) {
	for _, text := range []string{nanoseconds, seconds} {
		for line := range strings.Lines(text) {
			f.Add([]byte(strings.TrimSpace(line)), false)
		}
	}
	f.Fuzz(func(t *testing.T, line []byte, first bool) {
		row, ok, err := parseCaptureLine(line, first)
		if err != nil && ok {
			t.Error("a row and an error")
		}
		if ok && (row.ID <= 0 || row.Symbol == "" || row.Price == "" || row.Kind != Trade && row.Kind != AggTrade) {
			t.Errorf("%+v", row)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"method":"SUBSCRIBE","params":["bnbbtc@trade","bnbbtc@depth"],"id":1}`))
	f.Add([]byte(`{"method":"SET_PROPERTY","params":["combined",true],"id":"x"}`))
	f.Add([]byte(`{"method":"GET_PROPERTY","params":["combined"],"id":null}`))
	f.Add([]byte(`{"method":"NOPE","id":-1}`))
	f.Add([]byte(`{"id":`))
	s, err := New(NewMemory(nil, documented()), Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		c := &conn{server: s, out: newWriteQueue(nil)}
		_ = c.answer(message)
		reply := c.out.queue
		switch { // remove the header of the frame
		case reply[1] < 126:
			reply = reply[2:]
		case reply[1] == 126:
			reply = reply[4:]
		default:
			reply = reply[10:]
		}
		if !json.Valid(reply) {
			t.Errorf("%s was answered by %s, which is not JSON", message, reply)
		}
		s.hub.unsubscribe(c, s.hub.streamsOf(c))
	})
}
