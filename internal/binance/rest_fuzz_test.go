package binance

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/symbol"
)

// answering is an exchange that gives the same answer to each request.
type answering struct {
	status int
	header http.Header
	body   string
}

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body)), Request: r, ContentLength: -1,
	}, nil
}

var errEnoughSleep = errors.New("slept enough")

// FuzzREST gives arbitrary answers to requests: no call panics or waits for longer than the longest ban, and
// rows are in order and those that were asked for.
func FuzzREST(f *testing.F) {
	const row = `{"a":5,"p":"1.5","q":"2","f":7,"l":9,"T":1768478400000000,"m":true,"M":true}`
	f.Add(200, "", "["+row+"]")
	f.Add(200, "", "["+row+","+row+"]")
	f.Add(200, "", `[{"a":5,"p":"0","q":"0","f":-1,"l":-1,"T":1768478400000000,"m":true}]`)
	f.Add(200, "", `{"symbols":[{"symbol":"BTCUSDT","status":"TRADING"}],"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":-6000}]}`)
	f.Add(429, "999999999", `{"code":-1003,"msg":"too much"}`)
	f.Add(418, "-5", "")
	f.Add(302, "", "")
	f.Add(200, "", `{"serverTime":99999999999999999999}`)
	f.Fuzz(func(t *testing.T, status int, retryAfter, body string) {
		if status < 200 || status > 599 {
			return
		}
		header := http.Header{"Content-Type": {"application/json"}}
		if retryAfter != "" {
			header.Set("Retry-After", retryAfter)
		}
		slept := time.Duration(0)
		sleep := func(_ context.Context, d time.Duration) error {
			if slept += d; slept > 100*24*time.Hour || d > 3*24*time.Hour+time.Minute {
				t.Errorf("waits for %v", d)
			}
			if slept > time.Hour {
				return errEnoughSleep
			}
			return nil
		}
		clock := newTestClock()
		budget := OpenBudget(filepath.Join(t.TempDir(), "budget.json"), BudgetOptions{Now: clock.now, Sleep: sleep})
		client := NewREST("http://exchange", budget, ClientOptions{Sleep: sleep, FailFast: true, Transport: answering{status, header, body}})
		page, err := client.AggTrades(t.Context(), symbol.Must("BTCUSDT"), 5, 1000)
		if err == nil {
			for i, r := range page.Rows {
				if r.ID < 5 || i > 0 && r.ID <= page.Rows[i-1].ID || r.LastTradeID < r.FirstTradeID || r.Time < 0 {
					t.Fatalf("row %+v", r)
				}
			}
		}
		_, _, _ = client.ExchangeInfo(t.Context())
		_, _, _, _ = client.ServerTime(t.Context())
		state, err := budget.State()
		if err != nil {
			t.Fatal(err)
		}
		if state.BlockedUntil.Sub(clock.now()) > 3*24*time.Hour+time.Minute {
			t.Fatalf("blocked until %v, it is %v", state.BlockedUntil, clock.now())
		}
		for _, limit := range state.Limits {
			if limit.impossible() {
				t.Fatalf("limit %+v", limit)
			}
		}
	})
}
