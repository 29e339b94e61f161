package binance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// restTimeout bounds one request. The exchange itself gives up after 10 s (-1007).
	restTimeout = 15 * time.Second
	// maxInfoBody bounds exchangeInfo and the tickers of all symbols (about 10 MB in 2026), maxBody everything else: a
	// page of 1000 rows is under 200 kB.
	maxInfoBody = 128 << 20
	maxBody     = 4 << 20
	userAgent   = "tapedeck"

	defaultPause = time.Minute     // after a 429 without Retry-After: the length of a weight window
	defaultBan   = 2 * time.Minute // after a 418 without: the shortest ban

	// The firewall does not say for how long it refuses. Each refusal of the same request makes the pause longer, for all processes:
	// who asks on is refused for longer.
	firewallPause = 5 * time.Second
	firewallMost  = 5 * time.Minute
)

// newHTTPTransport is a transport with a limit on every wait. It keeps the connections of a backfill open.
func newHTTPTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: restTimeout,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
	}
}

// transport stands between go-binance and the network. go-binance loses the status, Retry-After and (without
// a lock) the used weight, and does not close every body: here they are seen, the budget is kept, and an answer goes on only when it
// is whole and has status 200. Everything else becomes one of this package's errors.
type transport struct {
	base   http.RoundTripper
	budget *Budget
}

// call is one request's record, carried in its context.
type call struct {
	requests, weight int64
	body             []byte // of the last answer with status 200
}

type callKey struct{}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	weight := weightOf(req.URL)
	held, err := t.budget.reserve(req.Context(), weight, restTimeout)
	if err != nil {
		return nil, err
	}
	record, _ := req.Context().Value(callKey{}).(*call)
	if record == nil {
		record = &call{}
	}
	record.requests++
	record.weight += weight

	res, body, err := t.send(req)
	got := answer{}
	if res != nil {
		got = t.readAnswer(res, body, record.requests)
	}
	if settled := t.budget.settle(held, got); settled != nil {
		return nil, settled
	}
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	if err := checkAnswer(res, body, got); err != nil {
		return nil, err
	}
	record.body = body
	// The headers stay behind: go-binance would write the used weight into the client without a lock.
	return &http.Response{
		Status: res.Status, StatusCode: res.StatusCode, Proto: res.Proto, ProtoMajor: res.ProtoMajor, ProtoMinor: res.ProtoMinor,
		Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}, nil
}

// send makes the request and reads the answer whole. The answer is given, without its body, also beside an error.
func (t *transport) send(req *http.Request) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(req.Context(), restTimeout)
	defer cancel()
	out := req.Clone(ctx)
	out.Header.Del("X-Mbx-Apikey") // empty here; nothing we ask needs one
	out.Header.Set("X-Mbx-Time-Unit", "MICROSECOND")
	out.Header.Set("User-Agent", userAgent)
	res, err := t.base.RoundTrip(out)
	if err != nil {
		return nil, nil, &networkError{err}
	}
	limit := int64(maxBody)
	if strings.HasSuffix(req.URL.Path, "/exchangeInfo") || strings.HasSuffix(req.URL.Path, "/ticker/24hr") {
		limit = maxInfoBody
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	closed := res.Body.Close()
	if err == nil {
		err = closed
	}
	if err != nil {
		return res, nil, &networkError{fmt.Errorf("read the answer: %w", err)}
	}
	if int64(len(body)) > limit {
		return res, nil, &DamagedError{Reason: fmt.Sprintf("over %d bytes long", limit), Body: cut(body[:csvMaxCut])}
	}
	return res, body, nil
}

var bannedUntil = regexp.MustCompile(`banned until (\d{13})`)

// readAnswer reads what an answer's headers say of the limits. attempt is how often the request has been made, this time included.
func (t *transport) readAnswer(res *http.Response, body []byte, attempt int64) answer {
	got := answer{used: map[string]int64{}}
	const prefix = "X-Mbx-Used-Weight-"
	for name, values := range res.Header {
		if window, ok := strings.CutPrefix(name, prefix); ok {
			if used, err := strconv.ParseInt(values[0], 10, 64); err == nil {
				got.used[strings.ToLower(window)] = used
			}
		}
	}
	wait := retryAfter(res.Header.Get("Retry-After"))
	now := t.budget.now()
	switch res.StatusCode {
	case http.StatusTooManyRequests:
		if wait == 0 {
			wait = defaultPause
		}
		got.blockedUntil = now.Add(wait)
	case http.StatusTeapot:
		if wait == 0 {
			wait = defaultBan
			if match := bannedUntil.FindSubmatch(body); match != nil {
				if millis, err := strconv.ParseInt(string(match[1]), 10, 64); err == nil {
					wait = time.UnixMilli(millis).Sub(now)
				}
			}
		}
		got.blockedUntil, got.banned = now.Add(wait), true
	case http.StatusForbidden:
		pause := firewallPause
		for ; attempt > 1 && pause < firewallMost; attempt-- {
			pause *= 3
		}
		got.blockedUntil = now.Add(max(min(pause, firewallMost), wait))
	}
	return got
}

// checkAnswer turns whatever is not a whole answer with status 200 into an error.
func checkAnswer(res *http.Response, body []byte, got answer) error {
	switch res.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusTooManyRequests:
		return &RateLimitedError{Until: got.blockedUntil}
	case http.StatusTeapot:
		return &BannedError{Until: got.blockedUntil}
	case http.StatusForbidden:
		return &FirewallError{Body: cut(body)}
	}
	var refusal struct {
		Code int64  `json:"code"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(body, &refusal) == nil && refusal.Msg != "" {
		return &StatusError{Status: res.StatusCode, Code: refusal.Code, Text: cut([]byte(refusal.Msg))}
	}
	return &StatusError{Status: res.StatusCode, Text: cut(body)}
}

// weightOf is what a request costs, from rest-api.md as of 2026-07. The header of the answer corrects it.
func weightOf(address *url.URL) int64 {
	query := address.Query()
	switch {
	case strings.HasSuffix(address.Path, "/aggTrades"):
		return weightAggTrades
	case strings.HasSuffix(address.Path, "/historicalTrades"):
		return weightHistorical
	case strings.HasSuffix(address.Path, "/exchangeInfo"):
		return 20
	case strings.HasSuffix(address.Path, "/ticker/24hr"):
		if query.Has("symbol") {
			return 2
		}
		return 80
	}
	return 1
}

// plainError takes off what net/http puts around a transport's error: the whole URL.
func plainError(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
