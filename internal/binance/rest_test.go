package binance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/recorded"
	"tapedeck/internal/symbol"

	"github.com/google/go-cmp/cmp"
)

// testClock is a clock that only sleep advances.
type testClock struct {
	mu    sync.Mutex
	at    time.Time
	slept []time.Duration
}

func newTestClock() *testClock {
	return &testClock{at: time.Date(2026, 1, 15, 12, 0, 30, 0, time.UTC)}
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

// newTestREST returns a client of a server that gives the answers in turn, and the last one again
// and again. requests returns what the server received.
func newTestREST(t *testing.T, clock *testClock, answers ...http.HandlerFunc) (*REST, func() []*http.Request) {
	t.Helper()
	var mu sync.Mutex
	var received []*http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		received = append(received, r)
		answer := answers[min(len(received), len(answers))-1]
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	budget := OpenBudget(filepath.Join(t.TempDir(), "budget.json"), BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	client := NewREST(server.URL+"/", budget, ClientOptions{Sleep: clock.sleep})
	t.Cleanup(client.Close)
	return client, func() []*http.Request {
		mu.Lock()
		defer mu.Unlock()
		return received
	}
}

func respond(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

const aggPage = `[{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true},
{"a":26130,"p":"0","q":"0","f":-1,"l":-1,"T":1498793709153,"m":true,"M":true},
{"a":26131,"p":"0.01633103","q":"1.00000000","f":27782,"l":27784,"T":1498793709154001,"m":false,"M":true}]`

func plainPage(page Page) (rows []plainRow) {
	for _, row := range page.Rows {
		rows = append(rows, plainRow{row.ID, row.FirstTradeID, row.LastTradeID, row.Time, string(row.Price), string(row.Qty), row.IsBuyerMaker})
	}
	return rows
}

func TestAggTradesRequestsMicrosecondsAndSeparatesVoidedRows(t *testing.T) {
	client, requests := newTestREST(t, newTestClock(), respond(200, aggPage, "X-MBX-USED-WEIGHT-1M", "4"))
	page, err := client.AggTrades(t.Context(), symbol.Must("BNBBTC"), 26129, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []plainRow{
		{26129, 27781, 27781, 1498793709153000, "0.01633102", "4.70443515", true},
		{26131, 27782, 27784, 1498793709154001, "0.01633103", "1.00000000", false},
	}
	if diff := cmp.Diff(want, plainPage(page)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int64{26130}, page.Voided); diff != "" {
		t.Errorf("voided (-want +got):\n%s", diff)
	}
	if page.Cost != (Cost{1, 4}) {
		t.Errorf("cost = %+v", page.Cost)
	}
	request := requests()[0]
	if got := request.URL.String(); got != "/api/v3/aggTrades?fromId=26129&limit=3&symbol=BNBBTC" {
		t.Errorf("requested %s", got)
	}
	if request.Header.Get("X-MBX-TIME-UNIT") != "MICROSECOND" || request.Header.Values("X-Mbx-Apikey") != nil || request.Header.Get("User-Agent") != "tapedeck" {
		t.Errorf("headers: %v", request.Header)
	}
}

func TestHistoricalTradesFirstAndLastAggTrade(t *testing.T) {
	client, requests := newTestREST(t, newTestClock(),
		respond(200, `[{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}]`),
		respond(200, `[]`))
	page, err := client.HistoricalTrades(t.Context(), symbol.Must("BNBBTC"), 28457, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := []plainRow{{28457, 28457, 28457, 1499865549590000, "4.00000100", "12.00000000", true}}
	if diff := cmp.Diff(want, plainPage(page)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if page.Cost != (Cost{1, 25}) {
		t.Errorf("cost = %+v", page.Cost)
	}
	at := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	if page, err := client.FirstAggTrade(t.Context(), symbol.Must("BNBBTC"), at); err != nil || len(page.Rows) != 0 {
		t.Errorf("FirstAggTrade = %v, %v", page, err)
	}
	if _, err := client.LastAggTrade(t.Context(), symbol.Must("BNBBTC"), at); err != nil {
		t.Error(err)
	}
	for i, want := range []string{
		"/api/v3/historicalTrades?fromId=28457&limit=1000&symbol=BNBBTC",
		"/api/v3/aggTrades?limit=1&startTime=1768435200000000&symbol=BNBBTC",
		"/api/v3/aggTrades?endTime=1768435199999999&limit=1&symbol=BNBBTC",
	} {
		if got := requests()[i].URL.String(); got != want {
			t.Errorf("request %d: %s, want %s", i, got, want)
		}
	}
}

func TestTemporaryFaultsAreRetried(t *testing.T) {
	reset := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	short := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, aggPage[:100])
	}
	for name, fault := range map[string]http.HandlerFunc{
		"503":                 respond(503, `{"code":-1008,"msg":"Request throttled by system-level protection."}`),
		"500 in HTML":         respond(500, `<html>oops</html>`),
		"reset":               reset,
		"truncated body":      short,
		"truncated JSON":      respond(200, aggPage[:100]),
		"an object":           respond(200, `{"code":0,"msg":"later"}`),
		"null":                respond(200, `null`),
		"null row":            respond(200, `[null]`),
		"empty":               respond(200, ``),
		"HTML":                respond(200, `<html>maintenance</html>`),
		"unordered ids":       respond(200, `[{"a":26131,"p":"1","q":"1","f":1,"l":1,"T":1498793709153,"m":true},{"a":26130,"p":"1","q":"1","f":1,"l":1,"T":1498793709153,"m":true}]`),
		"ids before the page": respond(200, `[{"a":7,"p":"1","q":"1","f":1,"l":1,"T":1498793709153,"m":true}]`),
		"too many rows":       respond(200, `[`+strings.Repeat(`{"a":7,"p":"1","q":"1","f":1,"l":1,"T":1498793709153,"m":true},`, 3)+aggPage[1:]),
		"price is NaN":        respond(200, `[{"a":26129,"p":"NaN","q":"1","f":1,"l":1,"T":1498793709153,"m":true}]`),
		"no time":             respond(200, `[{"a":26129,"p":"1","q":"1","f":1,"l":1,"m":true}]`),
		"keys of a trade":     respond(200, `[{"id":26129,"price":"1"}]`),
	} {
		t.Run(name, func(t *testing.T) {
			clock := newTestClock()
			client, requests := newTestREST(t, clock, fault, fault, respond(200, aggPage))
			page, err := client.AggTrades(t.Context(), symbol.Must("BNBBTC"), 26129, 3)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Rows) != 2 || page.Cost.Requests != int64(len(requests())) {
				t.Errorf("page = %+v after %d requests", page, len(requests()))
			}
			if diff := cmp.Diff([]time.Duration{250 * time.Millisecond, 500 * time.Millisecond}, clock.slept); diff != "" {
				t.Errorf("waits (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPermanentFaultsReturnTheirError(t *testing.T) {
	for _, tc := range []struct {
		name      string
		answer    http.HandlerFunc
		requests  int
		check     func(error) bool
		text      string
		temporary bool
	}{
		{"unknown symbol", respond(400, `{"code":-1121,"msg":"Invalid symbol."}`), 1,
			func(err error) bool { return errors.Is(err, ErrUnknownSymbol) }, `get the aggTrades of "NOPE" from id 5: the exchange answered 400 Bad Request: code -1121, "Invalid symbol."`, false},
		{"bad parameter", respond(400, `{"code":-1100,"msg":"Illegal characters"}`), 1,
			func(err error) bool { return !errors.Is(err, ErrUnknownSymbol) }, "code -1100", false},
		{"moved", respond(302, ``, "Location", "/elsewhere"), 1, func(error) bool { return true }, `a redirect (302) to the host "127.0.0.1"`, false},
		{"not found", respond(404, `<html>`), 1, func(error) bool { return true }, `404 Not Found with 6 bytes`, false},
		{"server", respond(502, strings.Repeat("x", 5000)), 10,
			func(err error) bool { var s *StatusError; return errors.As(err, &s) && s.Status == 502 }, "502 Bad Gateway", true},
		{"firewall", respond(403, `<html>Request blocked`), 6,
			func(err error) bool { var f *FirewallError; return errors.As(err, &f) }, "firewall refused", true},
		{"damage", respond(200, `[{`), 10, func(err error) bool { var d *DamagedError; return errors.As(err, &d) }, `damaged`, true},
		{"a ban of an hour", respond(418, `{"code":-1003,"msg":"banned"}`, "Retry-After", "3600"), 1,
			func(err error) bool { var b *BannedError; return errors.As(err, &b) }, "banned this address (418) until 2026-01-15T13:00:30Z", true},
		{"a limit of an hour", respond(429, `{"code":-1003,"msg":"Too many"}`, "Retry-After", "3600"), 1,
			func(err error) bool { var b *RateLimitedError; return errors.As(err, &b) }, "(429) until 2026-01-15T13:00:30Z", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, requests := newTestREST(t, newTestClock(), tc.answer)
			page, err := client.AggTrades(t.Context(), symbol.Must("NOPE"), 5, 10)
			if err == nil || !tc.check(err) || !strings.Contains(err.Error(), tc.text) || len(err.Error()) > 300 {
				t.Errorf("err = %v", err)
			}
			if len(requests()) != tc.requests || page.Cost.Requests != int64(tc.requests) {
				t.Errorf("%d requests received, %d counted, want %d", len(requests()), page.Cost.Requests, tc.requests)
			}
			if Temporary(err) != tc.temporary {
				t.Errorf("Temporary = %v", !tc.temporary)
			}
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	for _, status := range []int{429, 418} {
		clock := newTestClock()
		client, _ := newTestREST(t, clock, respond(status, `{"code":-1003,"msg":"x"}`, "Retry-After", "17"), respond(200, `[]`))
		if _, err := client.AggTrades(t.Context(), symbol.Must("BNBBTC"), 5, 10); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]time.Duration{17 * time.Second}, clock.slept); diff != "" {
			t.Errorf("%d: waits (-want +got):\n%s", status, diff)
		}
	}
}

// TestFirewallPausesGrow: the firewall answers in HTML and without Retry-After.
func TestFirewallPausesGrow(t *testing.T) {
	clock := newTestClock()
	refused := respond(403, "<html>\r\n<head><title>403 Forbidden</title></head>\r\n</html>")
	client, requests := newTestREST(t, clock, refused, refused, refused, respond(200, aggPage))
	page, err := client.AggTrades(t.Context(), symbol.Must("BNBBTC"), 26129, 3)
	if err != nil || len(page.Rows) != 2 || len(requests()) != 4 {
		t.Fatalf("%+v, %v after %d requests", page, err, len(requests()))
	}
	if diff := cmp.Diff([]time.Duration{5 * time.Second, 15 * time.Second, 45 * time.Second}, clock.slept); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

func TestBanIsKeptAcrossRestarts(t *testing.T) {
	clock := newTestClock()
	until := clock.now().Add(3 * time.Hour)
	message := fmt.Sprintf(`{"code":-1003,"msg":"Way too much request weight used; IP banned until %d. Please use WebSocket Streams."}`, until.UnixMilli())
	client, requests := newTestREST(t, clock, respond(418, message), respond(200, `[]`))
	for range 2 {
		_, err := client.AggTrades(t.Context(), symbol.Must("BNBBTC"), 5, 10)
		var banned *BannedError
		if !errors.As(err, &banned) || !banned.Until.Equal(until) {
			t.Fatalf("err = %v, want a ban until %v", err, until)
		}
	}
	if len(requests()) != 1 {
		t.Errorf("%d requests, some of them during the ban", len(requests()))
	}
	// As another process would, with the same file.
	other := OpenBudget(client.Budget().path, BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	state, err := other.State()
	if err != nil || !state.Banned || !state.BlockedUntil.Equal(until) {
		t.Errorf("state = %+v, %v", state, err)
	}
	clock.sleep(t.Context(), 3*time.Hour)
	if _, err := client.AggTrades(t.Context(), symbol.Must("BNBBTC"), 5, 10); err != nil {
		t.Errorf("after the ban: %v", err)
	}
}

func TestExchangeInfoReadsARealResponse(t *testing.T) {
	packed := recorded.Path(t, "rest/exchangeInfo_20240908.json.gz")
	clock := newTestClock()
	client, _ := newTestREST(t, clock, func(w http.ResponseWriter, _ *http.Request) {
		content, err := os.ReadFile(packed)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(content)
	})
	info, cost, err := client.ExchangeInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Symbols) != 1248 || info.Symbols[0] != (Symbol{symbol.Must("ETHBTC"), "TRADING", "ETH", "BTC"}) || cost != (Cost{1, 20}) {
		t.Errorf("%d symbols, first %+v, cost %+v", len(info.Symbols), info.Symbols[0], cost)
	}
	state, err := client.Budget().State()
	want := []RateLimit{{"REQUEST_WEIGHT", "MINUTE", 1, 6000}, {"RAW_REQUESTS", "MINUTE", 5, 61000}}
	if err != nil || !state.LimitsAt.Equal(clock.now()) {
		t.Errorf("state = %+v, %v", state, err)
	}
	if diff := cmp.Diff(want, state.Limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
}

func TestTickers(t *testing.T) {
	client, _ := newTestREST(t, newTestClock(),
		respond(200, `[{"symbol":"BNBBTC","volume":"8913.30000000","quoteVolume":"15.30000000","count":76}]`))
	tickers, err := client.Tickers(t.Context())
	if want := []Ticker{{symbol.Must("BNBBTC"), 8913.3, 15.3, 76}}; err != nil || !slices.Equal(tickers, want) {
		t.Errorf("%v, %v", tickers, err)
	}
}

func TestCancelledRequestReturns(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client, _ := newTestREST(t, newTestClock(), func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := client.AggTrades(ctx, symbol.Must("BNBBTC"), 1, 1)
	if !errors.Is(err, context.Canceled) || Temporary(err) {
		t.Errorf("err = %v", err)
	}
}

func TestUnreachableExchangeFailsFast(t *testing.T) {
	clock := newTestClock()
	budget := OpenBudget(filepath.Join(t.TempDir(), "budget.json"), BudgetOptions{Now: clock.now, Sleep: clock.sleep})
	server := httptest.NewServer(respond(200, aggPage))
	transport := &refusing{}
	client := NewREST(server.URL, budget, ClientOptions{Sleep: clock.sleep, FailFast: true, Transport: transport})
	patient := NewREST(server.URL, budget, ClientOptions{Sleep: clock.sleep, Transport: transport})
	t.Cleanup(server.Close)

	began := clock.now()
	_, err := client.AggTrades(t.Context(), symbol.Must("BNBBTC"), 26129, 3)
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !Temporary(err) || !strings.Contains(err.Error(), server.URL+" cannot be reached: connection refused") {
		t.Errorf("error = %v", err)
	}
	if took := clock.now().Sub(began); took > connectWithin || took < connectWithin/2 {
		t.Errorf("it failed after %s", took)
	}
	if _, err := patient.AggTrades(t.Context(), symbol.Must("BNBBTC"), 26129, 3); errors.As(err, &unreachable) || transport.refused < 10 {
		t.Errorf("a client without FailFast: %v after %d attempts", err, transport.refused)
	}

	// After a response, a failure of the network is temporary.
	transport.up = true
	if _, err := client.AggTrades(t.Context(), symbol.Must("BNBBTC"), 26129, 3); err != nil {
		t.Fatal(err)
	}
	transport.up, transport.refused = false, 0
	if _, err := client.AggTrades(t.Context(), symbol.Must("BNBBTC"), 26129, 3); errors.As(err, &unreachable) || transport.refused != attempts {
		t.Errorf("after a response: %v after %d attempts", err, transport.refused)
	}
}

// refusing is a transport without a network while it is not up.
type refusing struct {
	up      bool
	refused int
}

func (r *refusing) RoundTrip(request *http.Request) (*http.Response, error) {
	if r.up {
		return http.DefaultTransport.RoundTrip(request)
	}
	r.refused++
	return nil, errors.New("connection refused")
}

// An exchange that accepts a connection and never responds is unreachable too.
func TestSilentExchangeFailsFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := OpenBudget(filepath.Join(t.TempDir(), "budget.json"), BudgetOptions{})
		client := NewREST("http://exchange", budget, ClientOptions{FailFast: true, Transport: silent{}})
		began := time.Now()
		_, _, _, err := client.ServerTime(t.Context())
		var unreachable *UnreachableError
		if !errors.As(err, &unreachable) || !strings.HasSuffix(err.Error(), "no response for 12s") {
			t.Errorf("error = %v", err)
		}
		if took := time.Since(began); took != connectWithin {
			t.Errorf("it failed after %s", took)
		}
	})
}

type silent struct{}

func (silent) RoundTrip(request *http.Request) (*http.Response, error) {
	<-request.Context().Done()
	return nil, request.Context().Err()
}

func TestServerTime(t *testing.T) {
	client, requests := newTestREST(t, newTestClock(), respond(503, "busy"), respond(200, `{"serverTime":1768478431000001}`))
	at, took, cost, err := client.ServerTime(t.Context())
	if err != nil || !at.Equal(time.UnixMicro(1768478431000001)) || took != backoffFirst || cost != (Cost{2, 2}) {
		t.Errorf("%s, took %s, %+v, %v", at, took, cost, err)
	}
	if got := requests()[0].URL.String(); got != "/api/v3/time" {
		t.Errorf("requested %s", got)
	}
}
