package exchange

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// t0 is the time of the first row of sampleRows without its 7 µs, in microseconds.
const t0 = int64(1_750_000_000_000_000)

// sampleRows returns 10 aggregated trades with ids 101 to 110, a second apart and 7 µs after a full
// second, and their 20 trades with ids 201 to 220.
func sampleRows() []MemoryRow {
	var rows []MemoryRow
	for i := range int64(10) {
		at := t0 + i*1_000_000 + 7
		rows = append(rows, MemoryRow{Symbol: "BTCUSDT", Kind: AggTrade, Row: Row{
			ID: 101 + i, FirstTradeID: 201 + 2*i, LastTradeID: 202 + 2*i, Price: "61837.63000000", Qty: "0.02000000", TradedAt: at, BuyerMaker: i%2 == 0,
		}})
		for j := range int64(2) {
			rows = append(rows, MemoryRow{Symbol: "BTCUSDT", Kind: Trade, Row: Row{
				ID: 201 + 2*i + j, Price: "61837.63000000", Qty: "0.01000000", TradedAt: at, BuyerMaker: i%2 == 0,
			}})
		}
	}
	return rows
}

// history starts a server whose rows are all in the past.
func history(t *testing.T, opt Options, allowed ...Offence) *Server {
	t.Helper()
	opt.Speed, opt.Start = Manual, time.UnixMicro(t0).Add(time.Hour)
	return StartTest(t, NewMemory(nil, sampleRows()), opt, allowed...)
}

func TestRESTRows(t *testing.T) {
	s := history(t, Options{})
	for _, c := range []struct{ path, unit, want string }{
		{"/api/v3/aggTrades?symbol=BTCUSDT&fromId=101&limit=1", "",
			`[{"a":101,"p":"61837.63000000","q":"0.02000000","f":201,"l":202,"T":1750000000000,"m":true,"M":true}]`},
		{"/api/v3/aggTrades?symbol=BTCUSDT&fromId=101&limit=1", "MICROSECOND",
			`[{"a":101,"p":"61837.63000000","q":"0.02000000","f":201,"l":202,"T":1750000000000007,"m":true,"M":true}]`},
		{"/api/v3/historicalTrades?symbol=BTCUSDT&fromId=203&limit=1", "",
			`[{"id":203,"price":"61837.63000000","qty":"0.01000000","quoteQty":"618.37630000","time":1750000001000,"isBuyerMaker":false,"isBestMatch":true}]`},
		{"/api/v3/trades?symbol=BTCUSDT&limit=1", "microsecond",
			`[{"id":220,"price":"61837.63000000","qty":"0.01000000","quoteQty":"618.37630000","time":1750000009000007,"isBuyerMaker":false,"isBestMatch":true}]`},
		{"/api/v3/aggTrades?symbol=BTCUSDT&fromId=111", "", `[]`},
		{"/api/v3/time", "", `{"serverTime":1750003600000}`},
		{"/api/v3/time", "MICROSECOND", `{"serverTime":1750003600000000}`},
		{"/api/v3/ping", "", `{}`},
	} {
		req, err := http.NewRequest("GET", s.URL()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.unit != "" {
			req.Header.Set("X-MBX-TIME-UNIT", c.unit)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		if err := resp.Write(&body); err != nil {
			t.Fatal(err)
		}
		if _, got, _ := strings.Cut(body.String(), "\r\n\r\n"); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.path, got, c.want)
		}
	}
}

func TestRESTWindows(t *testing.T) {
	s := history(t, Options{})
	ms := func(second int64) string { return strconv.FormatInt(t0/1000+second*1000, 10) }
	us := func(second, plus int64) string { return strconv.FormatInt(t0+second*1_000_000+plus, 10) }
	for _, c := range []struct {
		query, want string
	}{
		{"", "101-110"},
		{"limit=3", "108-110"},
		{"fromId=0&limit=2", "101-102"},
		{"fromId=105", "105-110"},
		{"fromId=105&limit=2", "105-106"},
		{"startTime=" + ms(2), "103-110"},
		{"startTime=" + ms(2) + "&limit=2", "103-104"},
		{"endTime=" + ms(2), "101-103"}, // includes the whole millisecond
		{"endTime=" + ms(2) + "&limit=2", "102-103"},
		{"startTime=" + ms(2) + "&endTime=" + ms(4), "103-105"},
		{"startTime=" + ms(2) + "&endTime=" + ms(4) + "&limit=1", "103-103"},
		{"startTime=" + ms(2) + "&endTime=" + ms(2), "103-103"},
		{"startTime=" + us(2, 7), "103-110"},
		{"startTime=" + us(2, 8), "104-110"},
		{"endTime=" + us(2, 6), "101-102"},
		{"endTime=" + us(2, 7), "101-103"},
		{"startTime=" + ms(100), ""},
		{"endTime=" + ms(-1), ""},
		{"fromId=105&limit=5000", "105-110"},
	} {
		status, body, _ := get(t, s.URL()+"/api/v3/aggTrades?symbol=BTCUSDT&"+c.query)
		var rows []struct {
			A     int64  `json:"a"`
			Maker bool   `json:"M"`
			T     int64  `json:"T"`
			P     string `json:"p"`
		}
		if err := json.Unmarshal([]byte(body), &rows); err != nil || status != 200 {
			t.Fatalf("%s: %d %s", c.query, status, body)
		}
		got := ""
		if len(rows) > 0 {
			got = fmt.Sprintf("%d-%d", rows[0].A, rows[len(rows)-1].A)
			if want := rows[0].A + int64(len(rows)) - 1; want != rows[len(rows)-1].A {
				t.Errorf("%s: %d rows for %s", c.query, len(rows), got)
			}
		}
		if got != c.want {
			t.Errorf("%s: ids %s, want %s", c.query, got, c.want)
		}
	}
}

func TestRESTShowsOnlyReleasedRows(t *testing.T) {
	s := StartTest(t, NewMemory(nil, sampleRows()), Options{Speed: Manual})
	advance(t, s, time.UnixMicro(t0+3_000_006))
	for query, want := range map[string]int64{"": 103, "&fromId=102": 103, "&startTime=" + strconv.FormatInt(t0, 10): 103, "&endTime=" + strconv.FormatInt(2*t0, 10): 103} {
		_, body, _ := get(t, s.URL()+"/api/v3/aggTrades?symbol=BTCUSDT"+query)
		if !strings.HasSuffix(body, fmt.Sprintf(`"T":%d,"m":true,"M":true}]`, t0/1000+2000)) || !strings.Contains(body, fmt.Sprintf(`{"a":%d,`, want)) {
			t.Errorf("%s: %s", query, body)
		}
	}
}

func TestRESTErrors(t *testing.T) {
	s := history(t, Options{}, BadRequest, UnknownEndpoint)
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/api/v3/aggTrades", 400, `{"code":-1102,"msg":"Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."}`},
		{"/api/v3/aggTrades?symbol=NOPE", 400, `{"code":-1121,"msg":"Invalid symbol."}`},
		{"/api/v3/aggTrades?symbol=btcusdt", 400, `{"code":-1100,"msg":"Illegal characters found in parameter 'symbol'; legal range is '^[\\w\\-._&&[^a-z]]{1,50}$'."}`},
		{"/api/v3/aggTrades?symbol=BTCUSDT&fromId=x", 400, `{"code":-1100,"msg":"Illegal characters found in parameter 'fromId'; legal range is '^[0-9]{1,20}$'."}`},
		{"/api/v3/aggTrades?symbol=BTCUSDT&fromId=99999999999999999999", 400, `{"code":-1108,"msg":"Parameter 'fromId' overflowed."}`},
		{"/api/v3/aggTrades?symbol=BTCUSDT&fromId=", 400, `{"code":-1105,"msg":"Parameter 'fromId' was empty."}`},
		{"/api/v3/aggTrades?symbol=BTCUSDT&limit=0", 400, `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`},
		{"/api/v3/aggTrades?symbol=BTCUSDT&fromId=1&startTime=1", 400, `{"code":-1128,"msg":"Combination of optional parameters invalid."}`},
		{"/api/v3/aggTrades?symbol=BTCUSDT&startTime=2&endTime=1", 400, `{"code":-1023,"msg":"Start time is greater than end time."}`},
		{"/api/v3/aggTrades?symbol=BTCUSDT&symbol=BTCUSDT", 400, `{"code":-1101,"msg":"Duplicate values for parameter 'symbol'."}`},
		{"/api/v3/historicalTrades?symbol=BTCUSDT&startTime=1", 400, `{"code":-1104,"msg":"Not all sent parameters were read; read '1' parameter(s) but was sent '2'."}`},
		{"/api/v3/exchangeInfo?symbol=BTCUSDT&symbolStatus=TRADING", 400, `{"code":-1128,"msg":"Combination of optional parameters invalid."}`},
		{"/api/v3/exchangeInfo?symbolStatus=OPEN", 400, `{"code":-1122,"msg":"Invalid symbolStatus."}`},
		{`/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22BTCUSDT%22%5D`, 400, `{"code":-1151,"msg":"Symbol is present multiple times in the list."}`},
		{`/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22NOPE%22%5D`, 400, `{"code":-1121,"msg":"Invalid symbol."}`},
		{"/api/v3/ticker/24hr?type=HALF", 400, `{"code":-1139,"msg":"Invalid ticker type."}`},
		{"/api/v1/aggTrades?symbol=BTCUSDT", 404, `<html><body><h2>404 Not found</h2></body></html>`},
		{"/api/v3/account", 404, `<html><body><h2>404 Not found</h2></body></html>`},
		{"/api/v3/klines?symbol=BTCUSDT", 400, `{"code":-1102,"msg":"Mandatory parameter 'interval' was not sent, was empty/null, or malformed."}`},
		{"/api/v3/klines?symbol=BTCUSDT&interval=1H", 400, `{"code":-1120,"msg":"Invalid interval."}`},
		{"/api/v3/uiKlines?symbol=NOPE&interval=1h", 400, `{"code":-1121,"msg":"Invalid symbol."}`},
		{"/api/v3/klines?symbol=BTCUSDT&interval=1h&timeZone=15", 400, `{"code":-1100,"msg":"Illegal characters found in parameter 'timeZone'; legal range is '-12:00 to +14:00'."}`},
		{"/api/v3/ticker", 400, `{"code":-1102,"msg":"Param 'symbol' or 'symbols' must be sent, but both were empty/null!"}`},
		{"/api/v3/ticker?symbol=BTCUSDT&windowSize=1d2h", 400, `{"code":-1130,"msg":"Data sent for parameter 'windowSize' is not valid."}`},
		{"/api/v3/ticker/price?symbol=BTCUSDT&symbols=%5B%22BTCUSDT%22%5D", 400, `{"code":-1128,"msg":"Combination of optional parameters invalid."}`},
		{"/api/v3/ticker/bookTicker?symbol=BTCUSDT&symbolStatus=HALT", 400, `{"code":-1220,"msg":"The symbol's status does not match the requested symbolStatus."}`},
		{"/api/v3/referencePrice?symbol=BTCUSDT", 400, `{"code":-2043,"msg":"This symbol doesn't have a reference price."}`},
		{"/api/v3/historicalBlockTrades?symbol=BTCUSDT", 400, `{"code":-1102,"msg":"Mandatory parameter 'fromId' was not sent, was empty/null, or malformed."}`},
	} {
		status, body, _ := get(t, s.URL()+c.path)
		if status != c.status || body != c.body {
			t.Errorf("%s\n got %d %s\nwant %d %s", c.path, status, body, c.status, c.body)
		}
	}
	want := map[Offence]int64{BadRequest: 26, UnknownEndpoint: 2}
	if diff := cmp.Diff(want, s.Offences()); diff != "" {
		t.Errorf("offences (-want +got):\n%s", diff)
	}
}

func TestExchangeInfo(t *testing.T) {
	later := time.UnixMicro(t0).Add(2 * time.Hour).UnixMicro()
	source := NewMemory([]Symbol{
		{Name: "BTCUSDT", Base: "BTC", Quote: "USDT", TickSize: "0.01000000", StepSize: "0.00001000"},
		{Name: "OLDUSDT", Base: "OLD", Quote: "USDT", DelistedAt: 1},
		{Name: "NEWUSDT", Base: "NEW", Quote: "USDT", ListedAt: later},
		{Name: "币安人生USDT", Base: "币安人生", Quote: "USDT"},
	}, sampleRows())
	s := StartTest(t, source, Options{Speed: Manual, Start: time.UnixMicro(t0).Add(time.Hour), WeightLimit: 1234}, BadRequest)
	type info struct {
		ServerTime int64 `json:"serverTime"`
		RateLimits []struct {
			Type  string `json:"rateLimitType"`
			Limit int64  `json:"limit"`
		} `json:"rateLimits"`
		Symbols []struct {
			Symbol, Status, BaseAsset, QuoteAsset string
			Filters                               []map[string]any
		} `json:"symbols"`
	}
	ask := func(query string) (i info) {
		t.Helper()
		status, body, _ := get(t, s.URL()+"/api/v3/exchangeInfo"+query)
		if err := json.Unmarshal([]byte(body), &i); err != nil || status != 200 {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		return i
	}
	names := func(i info) (names []string) {
		for _, s := range i.Symbols {
			names = append(names, s.Symbol+" "+s.Status)
		}
		return names
	}
	all := ask("")
	if diff := cmp.Diff([]string{"BTCUSDT TRADING", "OLDUSDT BREAK", "币安人生USDT TRADING"}, names(all)); diff != "" {
		t.Errorf("symbols (-want +got):\n%s", diff)
	}
	if all.RateLimits[0].Type != "REQUEST_WEIGHT" || all.RateLimits[0].Limit != 1234 || all.ServerTime != t0/1000+3600_000 {
		t.Errorf("head: %+v", all)
	}
	btc := all.Symbols[0]
	if btc.BaseAsset != "BTC" || btc.QuoteAsset != "USDT" || btc.Filters[0]["tickSize"] != "0.01000000" || btc.Filters[1]["stepSize"] != "0.00001000" {
		t.Errorf("BTCUSDT: %+v", btc)
	}
	if diff := cmp.Diff([]string{"OLDUSDT BREAK"}, names(ask("?symbolStatus=BREAK"))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"币安人生USDT TRADING", "BTCUSDT TRADING"}, names(ask("?symbols=%5B%22%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT%22,%22BTCUSDT%22%5D"))); diff != "" {
		t.Error(diff)
	}
	if status, _, _ := get(t, s.URL()+"/api/v3/exchangeInfo?symbol=NEWUSDT"); status != 400 {
		t.Errorf("a symbol that is not listed yet: status %d", status)
	}
	advance(t, s, time.UnixMicro(later))
	if diff := cmp.Diff([]string{"NEWUSDT TRADING"}, names(ask("?symbol=NEWUSDT"))); diff != "" {
		t.Error(diff)
	}
}

func TestTicker(t *testing.T) {
	rows := sampleRows()
	rows[0].Price, rows[3].Price, rows[len(rows)-3].Price = "1.00000000", "3.50000000", "2.00000000" // of ids 101, 102, 110
	s := StartTest(t, NewMemory(nil, rows), Options{Speed: Manual, Start: time.UnixMicro(t0).Add(time.Hour)})
	status, body, header := get(t, s.URL()+"/api/v3/ticker/24hr?symbol=BTCUSDT")
	if status != 200 || header.Get("X-MBX-USED-WEIGHT-1M") != "2" {
		t.Fatalf("%d %s, weight %s", status, body, header.Get("X-MBX-USED-WEIGHT-1M"))
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"openPrice": "1.00000000", "highPrice": "61837.63000000", "lowPrice": "1.00000000", "lastPrice": "2.00000000",
		"volume": "0.20000000", "quoteVolume": "8657.39820000", "firstId": 201., "lastId": 220., "count": 20., "priceChangePercent": "100.000",
	} {
		if got[key] != want {
			t.Errorf("%s: %v, want %v", key, got[key], want)
		}
	}
	if status, body, header = get(t, s.URL()+"/api/v3/ticker/24hr?type=MINI"); status != 200 || !strings.HasPrefix(body, `[{"symbol":"BTCUSDT","openPrice":`) || header.Get("X-MBX-USED-WEIGHT-1M") != "82" {
		t.Errorf("all: %d %s, weight %s", status, body, header.Get("X-MBX-USED-WEIGHT-1M"))
	}
	// A day later the window is empty.
	advance(t, s, time.UnixMicro(t0).Add(25*time.Hour))
	if _, body, _ = get(t, s.URL()+"/api/v3/ticker/24hr?symbol=BTCUSDT"); !strings.Contains(body, `"count":0`) {
		t.Errorf("a day later: %s", body)
	}
}

func TestWeights(t *testing.T) {
	s := history(t, Options{WeightWindow: 10000 * time.Hour})
	total := 0
	for _, c := range []struct {
		path   string
		weight int
	}{
		{"/api/v3/aggTrades?symbol=BTCUSDT", 4}, {"/api/v3/historicalTrades?symbol=BTCUSDT", 25}, {"/api/v3/trades?symbol=BTCUSDT", 25},
		{"/api/v3/exchangeInfo", 20}, {"/api/v3/ping", 1}, {"/api/v3/time", 1}, {"/api/v3/ticker/24hr", 80}, {"/api/v3/ticker/24hr?symbol=BTCUSDT", 2},
		{"/api/v3/klines?symbol=BTCUSDT&interval=1m", 2}, {"/api/v3/uiKlines?symbol=BTCUSDT&interval=1m", 2}, {"/api/v3/avgPrice?symbol=BTCUSDT", 2},
		{"/api/v3/depth?symbol=BTCUSDT", 5}, {"/api/v3/depth?symbol=BTCUSDT&limit=101", 25}, {"/api/v3/depth?symbol=BTCUSDT&limit=1000", 50},
		{"/api/v3/depth?symbol=BTCUSDT&limit=5000", 250}, {"/api/v3/ticker/price?symbol=BTCUSDT", 2}, {"/api/v3/ticker/price", 4},
		{"/api/v3/ticker/bookTicker?symbols=%5B%22BTCUSDT%22%5D", 4}, {"/api/v3/ticker?symbol=BTCUSDT", 4}, {"/api/v3/ticker/tradingDay?symbols=%5B%22BTCUSDT%22%5D", 4},
	} {
		total += c.weight
		if _, _, header := get(t, s.URL()+c.path); header.Get("X-MBX-USED-WEIGHT-1M") != strconv.Itoa(total) {
			t.Errorf("%s: used %s, want %d", c.path, header.Get("X-MBX-USED-WEIGHT-1M"), total)
		}
	}
	served := s.Served()
	if served.PeakWeight != int64(total) || served.Endpoints["/api/v3/ticker/24hr"] != (Endpoint{Requests: 2, Weight: 82}) {
		t.Errorf("served %+v", served)
	}
}

// TestWeightLimitAndBans exceeds the weight of a minute, continues until it is banned, and repeats that for a
// longer ban.
func TestWeightLimitAndBans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := newCounters()
		limits := newLimiter(Options{WeightLimit: 100}.withDefaults(), counters)
		spend := func(weight int64, wantStatus int, wantWait time.Duration) {
			t.Helper()
			_, v := limits.spend("1.2.3.4", weight)
			if v.status != wantStatus || v.retryAfter != wantWait {
				t.Errorf("at %v: status %d, wait %v; want %d, %v", time.Now().UTC().Format("15:04:05"), v.status, v.retryAfter, wantStatus, wantWait)
			}
		}
		time.Sleep(10 * time.Second) // the bubble's clock begins on a minute
		spend(100, 0, 0)
		if used, v := limits.spend("5.6.7.8", 99); used != 99 || v.status != 0 {
			t.Errorf("another address has used %d, status %d", used, v.status)
		}
		spend(1, 429, 50*time.Second)
		time.Sleep(time.Second)
		for range 4 {
			spend(1, 429, 49*time.Second)
		}
		spend(1, 418, 2*time.Minute)
		time.Sleep(time.Minute)
		spend(1, 418, time.Minute) // a new minute does not end the ban
		time.Sleep(time.Minute)
		spend(100, 0, 0)
		spend(1, 429, 49*time.Second)
		time.Sleep(time.Second)
		for range 4 {
			spend(1, 429, 48*time.Second)
		}
		spend(1, 418, 4*time.Minute)
		time.Sleep(4 * time.Minute)
		spend(1, 0, 0)
		want := map[Offence]int64{BudgetExceeded: 2, IgnoredRetryAfter: 10, RequestWhileBanned: 1}
		if diff := cmp.Diff(want, counters.offences); diff != "" {
			t.Errorf("offences (-want +got):\n%s", diff)
		}
		if counters.served.PeakWeight != 106 {
			t.Errorf("peak %d, want 106", counters.served.PeakWeight)
		}
	})
}

func TestHeadersAndBodiesOfRejections(t *testing.T) {
	s := history(t, Options{WeightLimit: 5, WeightWindow: 10000 * time.Hour, StrikesToBan: 1}, BudgetExceeded, IgnoredRetryAfter, RequestWhileBanned)
	statuses := ""
	for range 4 {
		status, body, header := get(t, s.URL()+"/api/v3/aggTrades?symbol=BTCUSDT")
		statuses += strconv.Itoa(status) + " "
		switch status {
		case 429:
			// The next request must not count as sent before the answer.
			s.limits.mu.Lock()
			s.limits.addresses["127.0.0.1"].rejectedAt = time.Now().Add(-time.Second)
			s.limits.mu.Unlock()
			if header.Get("Retry-After") == "" || !strings.HasPrefix(body, `{"code":-1003,"msg":"Too much request weight used; current limit is 5 request weight per 1 MINUTE.`) {
				t.Errorf("429: Retry-After %q, %s", header.Get("Retry-After"), body)
			}
		case 418:
			if header.Get("Retry-After") != "120" || !strings.HasPrefix(body, `{"code":-1003,"msg":"Way too much request weight used; IP banned until `) {
				t.Errorf("418: Retry-After %q, %s", header.Get("Retry-After"), body)
			}
		}
		if header.Get("X-MBX-USED-WEIGHT-1M") == "" {
			t.Errorf("%d: no weight header", status)
		}
	}
	if statuses != "200 429 418 418 " {
		t.Errorf("statuses %s", statuses)
	}
}
