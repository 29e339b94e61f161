package binance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"tapedeck/internal/outbound"
	"tapedeck/internal/state"
)

const (
	// restTimeout bounds one request. The exchange's own timeout is 10 s (-1007).
	restTimeout = 15 * time.Second
	// maxInfoBody bounds exchangeInfo and the tickers of all symbols, about 10 MB in 2026. maxBody
	// bounds other responses; a page of 1000 rows is less than 200 kB.
	maxInfoBody = 64 << 20
	maxBody     = 4 << 20
	userAgent   = "tapedeck"

	// connectWithin is the time without any response of the exchange after which a client with
	// ClientOptions.FailFast gives up.
	connectWithin = 12 * time.Second

	defaultPause = time.Minute     // after a 429 without Retry-After: the window of the weight limit
	defaultBan   = 2 * time.Minute // after a 418 without Retry-After: the shortest ban

	// The firewall does not say how long to wait. The pause, which holds for all processes, triples
	// with each refusal of the same request, because further requests prolong the refusal.
	firewallPause = 5 * time.Second
	firewallMost  = 5 * time.Minute
)

// ClientOptions are optional settings of NewREST and NewArchive.
type ClientOptions struct {
	// Transport sends the requests; nil means one with timeouts that uses the environment's proxy.
	Transport http.RoundTripper
	// Sleep waits between attempts; nil means a timer.
	Sleep func(context.Context, time.Duration) error
	// Logger receives retries; nil means none.
	Logger *slog.Logger
	// FailFast makes a call of a REST client fail with an *UnreachableError after 12 s in which the
	// exchange sent no response at all, unless the client has received one before.
	FailFast bool
	// Free returns how many bytes can be written below a directory; nil means what the system says.
	Free func(dir string) (int64, error)
}

func (opt ClientOptions) withDefaults() ClientOptions {
	if opt.Transport == nil {
		opt.Transport = outbound.NewTransport()
	}
	if opt.Sleep == nil {
		opt.Sleep = Sleep
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return opt
}

// transport sends go-binance's requests. go-binance discards the status and Retry-After, stores the
// used weight without a lock, and does not close every body. So transport reads the response
// itself, keeps the budget, and passes on only complete responses with status 200. Everything else
// becomes one of this package's errors.
type transport struct {
	base     http.RoundTripper
	budget   *Budget
	failFast bool
	reached  atomic.Bool // the exchange has sent a response
}

// reaching reports whether calls give up soon because the exchange has not sent a response yet.
func (t *transport) reaching() bool { return t.failFast && !t.reached.Load() }

// CloseIdleConnections implements what http.Client.CloseIdleConnections looks for.
func (t *transport) CloseIdleConnections() {
	(&http.Client{Transport: t.base}).CloseIdleConnections()
}

// call records what one call of a REST method cost. The request's context carries it.
type call struct {
	requests, weight int64
	body             []byte        // of the last response with status 200
	unreached        time.Duration // in which the exchange sent no response, the pauses included
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

	res, body, err := t.send(req, record)
	var limits reportedLimits
	if res != nil {
		limits = t.readLimits(res, body, record.requests)
	}
	if err := t.budget.complete(held, limits); err != nil {
		return nil, err
	}
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	if err := checkResponse(res, body, limits); err != nil {
		return nil, err
	}
	record.body = body
	// Without headers, because go-binance would store the used weight without a lock.
	return &http.Response{
		Status: res.Status, StatusCode: res.StatusCode,
		Proto: res.Proto, ProtoMajor: res.ProtoMajor, ProtoMinor: res.ProtoMinor,
		Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}, nil
}

// send sends the request and reads the whole response. If reading fails, it returns the response
// with the error.
func (t *transport) send(req *http.Request, record *call) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(req.Context(), restTimeout)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	began := t.budget.now()
	if t.reaching() {
		timer := time.AfterFunc(connectWithin-record.unreached, func() {
			if t.reaching() {
				giveUp(fmt.Errorf("no response for %s", connectWithin))
			}
		})
		defer timer.Stop()
	}
	out := req.Clone(ctx)
	out.Header.Del("X-Mbx-Apikey") // public data needs none, and it is empty
	out.Header.Set("X-Mbx-Time-Unit", "MICROSECOND")
	out.Header.Set("User-Agent", userAgent)
	res, err := t.base.RoundTrip(out)
	if err != nil {
		record.unreached += t.budget.now().Sub(began)
		if errors.Is(err, context.Canceled) && context.Cause(ctx) != nil {
			err = context.Cause(ctx)
		}
		if redirect := new(*outbound.RedirectError); errors.As(err, redirect) {
			t.reached.Store(true)
			return nil, nil, *redirect
		}
		return nil, nil, &networkError{err}
	}
	t.reached.Store(true)
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
		return res, nil, &networkError{fmt.Errorf("read the response: %w", err)}
	}
	if int64(len(body)) > limit {
		return res, nil, &DamagedError{Reason: fmt.Sprintf("longer than %d bytes", limit), Bytes: len(body)}
	}
	return res, body, nil
}

var bannedUntil = regexp.MustCompile(`banned until (\d{13})`)

// readLimits reads what a response says about the limits. attempt is 1 for the first response to a
// request.
func (t *transport) readLimits(res *http.Response, body []byte, attempt int64) reportedLimits {
	got := reportedLimits{used: map[string]int64{}}
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
					wait = min(time.UnixMilli(millis).Sub(now), state.LongestBan)
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

// checkResponse returns an error unless the status is 200.
func checkResponse(res *http.Response, body []byte, limits reportedLimits) error {
	switch res.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusTooManyRequests:
		return &RateLimitedError{Until: limits.blockedUntil}
	case http.StatusTeapot:
		return &BannedError{Until: limits.blockedUntil}
	case http.StatusForbidden:
		return &FirewallError{Bytes: len(body)}
	}
	var refusal struct {
		Code int64  `json:"code"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(body, &refusal) == nil && refusal.Code != 0 && refusal.Msg != "" {
		return &StatusError{Status: res.StatusCode, Code: refusal.Code, Text: excerpt([]byte(refusal.Msg)), Bytes: int64(len(body))}
	}
	return &StatusError{Status: res.StatusCode, Bytes: int64(len(body))}
}

// weightOf returns the weight of a request, from rest-api.md as of 2026-07. The response's header
// corrects it.
func weightOf(address *url.URL) int64 {
	query := address.Query()
	switch {
	case strings.HasSuffix(address.Path, "/aggTrades"):
		return AggTradesWeight
	case strings.HasSuffix(address.Path, "/historicalTrades"):
		return HistoricalTradesWeight
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
