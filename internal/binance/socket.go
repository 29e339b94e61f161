package binance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"tapedeck/internal/outbound"
	"tapedeck/internal/state"
	"tapedeck/internal/symbol"
	"tapedeck/internal/wording"
)

// Limits of one connection.
const (
	// MaxStreams is the documented number of streams on a connection.
	MaxStreams = 1024
	// maxFrame is below the 4096 bytes above which the exchange does not answer a request.
	maxFrame = 4000
	// maxURL is below the 8,004 characters above which the exchange has refused a URL.
	maxURL = 6000
	// frameEvery spaces requests: 3 a second leave room for a pong and a close frame below the
	// documented limit of 5.
	frameEvery = 350 * time.Millisecond
	// maxMessage bounds one message from the exchange. A trade has about 200 bytes, a list of 1,024
	// subscriptions about 25,000.
	maxMessage = 1 << 20
	// closeGrace is how long Close waits for the exchange to answer the close frame.
	closeGrace = time.Second
)

// StreamName returns the name of a symbol's stream, for example btcusdt@aggTrade.
func StreamName(name symbol.Name, feed string) string {
	return strings.ToLower(name.String()) + "@" + feed
}

// StreamURL returns the address of a combined stream with times in microseconds. It contains as
// many of the streams as fit, in their order; the caller subscribes to the rest. The base has a
// scheme (ws, wss, http, https), a host and, behind a proxy, a path.
func StreamURL(base string, streams []string) (address string, rest []string, err error) {
	parsed, err := url.Parse(base)
	if err != nil {
		return "", nil, fmt.Errorf("read the stream URL: %w", err)
	}
	switch {
	case parsed.Scheme != "ws" && parsed.Scheme != "wss" && parsed.Scheme != "http" && parsed.Scheme != "https":
		return "", nil, fmt.Errorf("stream URL %q: the scheme is not ws or wss", base)
	case parsed.Host == "":
		return "", nil, fmt.Errorf("stream URL %q: no host", base)
	case parsed.RawQuery != "" || parsed.Fragment != "":
		return "", nil, fmt.Errorf("stream URL %q: a query or fragment is not allowed", base)
	}
	const unit = "timeUnit=MICROSECOND"
	var b strings.Builder
	b.WriteString(strings.TrimRight(base, "/"))
	b.WriteString("/stream?")
	n := 0
	for ; n < len(streams); n++ {
		// The exchange accepts percent-encoded names; '@' stays as in its documentation.
		name := strings.ReplaceAll(url.QueryEscape(streams[n]), "%40", "@")
		if b.Len()+len("streams=/&")+len(name)+len(unit) > maxURL {
			break
		}
		if n == 0 {
			b.WriteString("streams=")
		} else {
			b.WriteByte('/')
		}
		b.WriteString(name)
	}
	if n > 0 {
		b.WriteByte('&')
	}
	b.WriteString(unit)
	return b.String(), streams[n:], nil
}

// DialOptions are optional settings of Dial.
type DialOptions struct {
	// DialContext opens the network connection; nil means net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// UserAgent is sent with the handshake; empty means none.
	UserAgent string
	// Clock returns the present in nanoseconds, for ReceivedAt and LastPing. nil means nanoseconds
	// since the epoch, which jump when the system's clock is set.
	Clock func() int64
}

func unixNanos() int64 { return time.Now().UnixNano() }

// RefusedError is a handshake that the exchange did not answer with an upgrade.
type RefusedError struct {
	Status     int
	RetryAfter time.Duration // at most state.LongestBan; 0 if there was none
	Bytes      int           // of the response, of which 1,024 are read at most

	at time.Time // when it was refused
}

func (e *RefusedError) Error() string {
	message := fmt.Sprintf("the exchange refused the connection: %d %s", e.Status, http.StatusText(e.Status))
	if e.RetryAfter > 0 {
		message += fmt.Sprintf(" until %s", e.at.Add(e.RetryAfter).UTC().Format(time.RFC3339))
	}
	if e.Bytes > 0 {
		message += fmt.Sprintf(" (%s)", wording.Count(e.Bytes, "byte"))
	}
	return message
}

// Conn is a websocket connection for market streams. One goroutine must call Read until it fails;
// Read also answers pings and completes requests. The other methods are safe for concurrent use.
// The caller closes the connection.
type Conn struct {
	ws       *websocket.Conn
	raw      *bufferedConn
	readCtx  context.Context // has no Done channel, so that reading a message does not allocate
	buffer   []byte
	pace     *rate.Limiter
	clock    func() int64
	lastPing atomic.Int64 // by the options' clock, 0 before the first
	ended    chan struct{}
	endOnce  sync.Once

	mu      sync.Mutex
	lastID  int64
	waiting map[int64]chan reply
}

// Dial connects to an address of StreamURL. The context bounds only the handshake. The error is a
// *RefusedError if the exchange refuses.
func Dial(ctx context.Context, address string, options DialOptions) (*Conn, error) {
	clock := options.Clock
	if clock == nil {
		clock = unixNanos
	}
	dial := options.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	c := &Conn{
		readCtx: context.WithoutCancel(ctx),
		buffer:  make([]byte, 4096),
		pace:    rate.NewLimiter(rate.Every(frameEvery), 1),
		clock:   clock,
		ended:   make(chan struct{}),
		waiting: map[int64]chan reply{},
	}
	transport := outbound.NewTransport()
	transport.ForceAttemptHTTP2 = false // which has no upgrade to a websocket
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c.raw = newBufferedConn(conn, clock)
		return c.raw, nil
	}
	header := http.Header{}
	if options.UserAgent != "" {
		header.Set("User-Agent", options.UserAgent)
	}
	ws, response, err := websocket.Dial(ctx, address, &websocket.DialOptions{
		HTTPClient: outbound.NewClient(transport),
		HTTPHeader: header,
		OnPingReceived: func(context.Context, []byte) bool {
			c.lastPing.Store(clock())
			return true
		},
	})
	if err != nil {
		transport.CloseIdleConnections()
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			return nil, refused(response)
		}
		return nil, fmt.Errorf("connect to the stream: %w", handshakeError(response, err))
	}
	ws.SetReadLimit(maxMessage)
	c.ws = ws
	return c, nil
}

func refused(response *http.Response) error {
	refusal := &RefusedError{Status: response.StatusCode, RetryAfter: retryAfter(response.Header.Get("Retry-After")), at: time.Now()}
	if response.Body != nil {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1024)) // the library reads no more
		refusal.Bytes = len(body)
	}
	return refusal
}

// handshakeError returns the error of a handshake without the URL and what the other side sent.
func handshakeError(response *http.Response, err error) error {
	if response != nil { // the library quotes the headers of an upgrade that is none
		return errors.New("the server's upgrade to a websocket is invalid")
	}
	return outbound.WithoutURL(err)
}

// closedError is the end of a connection that the exchange closed. It leaves out the reason that the
// exchange sent.
type closedError struct {
	code int
	err  error
}

func (e *closedError) Error() string {
	return fmt.Sprintf("the exchange closed the connection with code %d", e.code)
}
func (e *closedError) Unwrap() error { return e.err }

// retryAfter parses a Retry-After header in seconds or as a date. It returns 0 if it is invalid or
// over, and state.LongestBan at most.
func retryAfter(value string) time.Duration {
	const longest = int64(state.LongestBan / time.Second)
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil && seconds > 0 {
		return time.Duration(min(seconds, longest)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(time.Until(at), 0), state.LongestBan)
	}
	return 0
}

// Read waits for the next message and decodes it into m, whose slices are valid until the next
// Read. An error that wraps ErrMalformed concerns only that message; after any other error the
// connection has ended. Close makes Read return.
func (c *Conn) Read(m *Message) error {
	data, err := c.next()
	if err != nil {
		c.end()
		return err
	}
	if err := Decode(data, m); err != nil {
		return err
	}
	if m.Kind == KindAnswer || m.Kind == KindError {
		c.deliver(m)
	}
	return nil
}

// next reads one message into the buffer, which grows as needed.
func (c *Conn) next() ([]byte, error) {
	_, r, err := c.ws.Reader(c.readCtx)
	if err != nil {
		return nil, endOf(err)
	}
	n := 0
	for {
		if n == len(c.buffer) {
			c.buffer = append(c.buffer, make([]byte, len(c.buffer))...)
		}
		k, err := r.Read(c.buffer[n:])
		n += k
		if err == io.EOF {
			return c.buffer[:n], nil
		}
		if err != nil {
			return nil, endOf(err)
		}
	}
}

// endOf returns the error of a connection that ended.
func endOf(err error) error {
	if code := CloseCode(err); code > 0 {
		return &closedError{code, err}
	}
	return err
}

// ReceivedAt returns when the message that Read returned last arrived, by the clock of DialOptions.
// Messages that arrived in one piece have the same time.
func (c *Conn) ReceivedAt() int64 { return c.raw.receivedAt.Load() }

// LastPing returns when the exchange last pinged, by the clock of DialOptions, or 0.
func (c *Conn) LastPing() int64 { return c.lastPing.Load() }

// CloseCode returns the code of the exchange's close frame from an error of Read, or 0.
func CloseCode(err error) int {
	if status := websocket.CloseStatus(err); status > 0 {
		return int(status)
	}
	return 0
}

// Ping sends a ping and waits for the answer. sentAt is by the clock of DialOptions: when Ping returns
// without an error, Read has returned whatever the exchange sent before sentAt, and was called
// again. Another goroutine must be in Read.
func (c *Conn) Ping(ctx context.Context) (sentAt int64, err error) {
	if err := c.pace.Wait(ctx); err != nil {
		return 0, fmt.Errorf("ping: %w", err)
	}
	sentAt = c.clock()
	if err := c.ws.Ping(ctx); err != nil {
		return 0, fmt.Errorf("ping: %w", err)
	}
	return sentAt, nil
}

func (c *Conn) end() {
	c.endOnce.Do(func() { close(c.ended) })
}

// Close closes the connection, within a second even if the exchange does not answer the close
// frame. Messages that arrive meanwhile are dropped. It may be called more than once.
func (c *Conn) Close() {
	// The library waits up to 10 s for the peer, unless the network connection is closed.
	timer := time.AfterFunc(closeGrace, func() { c.raw.Close() })
	defer timer.Stop()
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
	c.end()
}
