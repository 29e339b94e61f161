package exchange

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// maxURL is the length of the longest websocket URL: measured by users, not documented.
const maxURL = 8004

// frameHeader is the size of the header of a client's frame with 126 bytes to 64 KiB of content.
const frameHeader = 8

// conn is one websocket connection.
type conn struct {
	server   *Server
	ws       *websocket.Conn
	out      *writeQueue
	number   int
	micro    bool
	ended    chan struct{} // closed when the reader has ended
	silent   atomic.Bool   // sends nothing, not even pings
	impostor bool          // sends another market's events

	closeSent atomic.Bool

	tooSlow bool // dropped, but may not be gone yet; guarded by Server.clockMu

	// guarded by hub.mu
	streams     []string
	combined    bool
	muted       bool   // receives no events
	receiver    bool   // has new frames in the current dispatch
	held        []byte // frame delayed by Reorder
	damageCount int

	pingMu sync.Mutex
	pings  map[string]time.Time // sent and not answered, by payload
	frames []time.Time          // receipt of the last frames
}

// hijacked makes gorilla write to a connection through a writeQueue.
type hijacked struct {
	http.ResponseWriter
	out *writeQueue
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.out = newWriteQueue(conn)
	return h.out, rw, nil
}

// serveStream handles /ws, /ws/<stream>… and /stream?streams=….
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request) {
	names, micro, err := parseStreamURL(r.URL)
	if err != nil {
		s.counters.offence(BadRequest)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	admitted, impostor := s.admit(w, r)
	if !admitted {
		return
	}
	if len(r.URL.RequestURI()) > maxURL {
		s.counters.offence(URLTooLong)
		http.Error(w, "URI too long", http.StatusRequestURITooLong)
		return
	}
	if len(names) > s.opt.MaxStreams {
		s.counters.offence(TooManyStreams)
		http.Error(w, fmt.Sprintf("%d streams, at most %d", len(names), s.opt.MaxStreams), http.StatusBadRequest)
		return
	}
	hijack := &hijacked{ResponseWriter: w}
	ws, err := s.upgrader.Upgrade(hijack, r, nil)
	if err != nil {
		if hijack.out != nil {
			_ = hijack.out.Close()
			hijack.out.start()
		}
		return // gorilla answered the request
	}
	c := &conn{
		server: s, ws: ws, out: hijack.out, micro: micro, ended: make(chan struct{}),
		combined: strings.HasPrefix(r.URL.Path, "/stream"), pings: map[string]time.Time{}, impostor: impostor,
	}
	s.hub.add(c)
	s.counters.mu.Lock()
	s.counters.served.Connections++
	s.counters.mu.Unlock()
	c.log("stream connected", "streams", len(names))
	_ = s.hub.subscribe(c, names, s.opt.MaxStreams)
	c.out.start()
	if s.ctx.Err() != nil { // Close may have listed the connections before this one was added
		_ = c.out.Close()
	}
	var pinger sync.WaitGroup
	pinger.Go(c.keepAlive)
	c.read()
	close(c.ended)
	s.hub.remove(c)
	_ = c.out.Close()
	pinger.Wait()
	<-c.out.done
	c.log("stream disconnected")
}

func (c *conn) log(message string, attrs ...any) {
	c.server.opt.Logger.Debug(message, append([]any{"connection", c.number}, attrs...)...)
}

// parseStreamURL returns the streams that a URL names and whether times are sent in microseconds.
func parseStreamURL(u *url.URL) (names []string, micro bool, err error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, false, errors.New("malformed query")
	}
	switch unit := query.Get("timeUnit"); strings.ToUpper(unit) {
	case "", "MILLISECOND":
	case "MICROSECOND":
		micro = true
	default:
		return nil, false, errors.New("invalid value for time unit; expected either MICROSECOND or MILLISECOND")
	}
	list := query.Get("streams")
	if u.Path != "/stream" {
		list = strings.TrimPrefix(strings.TrimPrefix(u.Path, "/ws"), "/")
	}
	for name := range strings.SplitSeq(list, "/") {
		if name == "" || slices.Contains(names, name) {
			continue
		}
		if !isStreamName(name) {
			return nil, false, fmt.Errorf("invalid stream %q", name)
		}
		names = append(names, name)
	}
	return names, micro, nil
}

// admit answers a handshake that exceeds a limit or meets a Refuse fault, and returns false. impostor
// means that it meets an Impostor fault.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (admitted, impostor bool) {
	if rejected := s.limits.connect(address(r)); rejected.status != 0 {
		rejected.write(w)
		return false, false
	}
	fault, ok := s.faults.take(handshakeFaults, r.URL.RequestURI(), "handshake", true)
	if !ok {
		return true, false
	}
	s.counters.fault(fault.Kind)
	if fault.Kind == Impostor {
		return true, true
	}
	status := fault.Code
	if status == 0 {
		status = []int{429, 418, 503}[s.faults.turn("refuse")%3]
	}
	wait := time.Second
	if status == http.StatusTeapot {
		wait = 2 * time.Second
	}
	wait = cmp.Or(fault.RetryAfter, wait)
	rejection{status: status, retryAfter: wait, message: "Too many requests."}.write(w)
	return false, false
}

// read handles the client's frames until the connection ends.
func (c *conn) read() {
	c.ws.SetReadLimit(1 << 20)
	c.ws.SetPingHandler(func(payload string) error {
		if err := c.countFrame(); err != nil || c.silent.Load() {
			return err
		}
		err := c.ws.WriteControl(websocket.PongMessage, []byte(payload), time.Time{})
		if errors.Is(err, websocket.ErrCloseSent) {
			return nil
		}
		return err
	})
	c.ws.SetPongHandler(func(payload string) error {
		c.handlePong(payload)
		return c.countFrame()
	})
	c.ws.SetCloseHandler(func(code int, _ string) error {
		if !c.silent.Load() {
			if code == websocket.CloseNoStatusReceived {
				code = websocket.CloseNormalClosure
			}
			c.close(code, "")
			c.out.waitBelow(0, time.Second)
		}
		return nil
	})
	for {
		kind, message, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		if c.countFrame() != nil {
			return
		}
		if size := len(message) + frameHeader; size > c.server.opt.MaxFrame {
			c.server.counters.offence(FrameTooLarge) // no answer: reported by users, not documented
			continue
		}
		if kind != websocket.TextMessage {
			c.server.counters.offence(BadRequest)
			continue
		}
		if c.answer(message) != nil {
			return
		}
	}
}

var errClosedForOffence = errors.New("closed for an offence")

// countFrame counts a frame from the client and closes the connection if there are too many.
func (c *conn) countFrame() error {
	now := time.Now()
	c.frames = append(slices.DeleteFunc(c.frames, func(at time.Time) bool { return now.Sub(at) >= time.Second }), now)
	if len(c.frames) <= c.server.opt.FramesPerSecond {
		return nil
	}
	return c.closeForOffence(TooManyFrames, "Too many requests")
}

// closeForOffence counts an offence and closes the connection. It returns errClosedForOffence.
func (c *conn) closeForOffence(o Offence, reason string) error {
	c.server.counters.offence(o)
	c.log("connection closed", "offence", string(o))
	c.close(websocket.ClosePolicyViolation, reason)
	c.out.waitBelow(0, time.Second)
	return errClosedForOffence
}

// keepAlive pings the client, and closes the connection when a pong is late or its lifetime ends.
func (c *conn) keepAlive() {
	opt := &c.server.opt
	ping := time.NewTicker(opt.PingEvery)
	defer ping.Stop()
	life := time.NewTimer(opt.Lifetime)
	defer life.Stop()
	var deadline <-chan time.Time // of the oldest unanswered ping
	for sent := 1; ; {
		select {
		case <-c.ended:
			return
		case <-c.server.ctx.Done():
			return
		case <-life.C:
			c.close(websocket.CloseGoingAway, "connection is 24 hours old")
		case <-deadline:
			deadline = nil
			if left, ok := c.pongTimeLeft(); ok {
				if left <= 0 {
					_ = c.closeForOffence(LatePong, "Pong timeout")
					_ = c.out.Close()
					return
				}
				deadline = time.After(left)
			}
		case <-ping.C:
			if c.silent.Load() {
				continue
			}
			payload := strconv.FormatInt(time.Now().UnixMilli(), 10) + strconv.Itoa(sent)
			sent++
			c.pingMu.Lock()
			c.pings[payload] = time.Now()
			c.pingMu.Unlock()
			_ = c.ws.WriteControl(websocket.PingMessage, []byte(payload), time.Time{})
			if deadline == nil {
				deadline = time.After(opt.PongWithin)
			}
		}
	}
}

// pongTimeLeft returns how long the pong of the oldest unanswered ping may still take. ok is false if
// every ping was answered.
func (c *conn) pongTimeLeft() (left time.Duration, ok bool) {
	c.pingMu.Lock()
	defer c.pingMu.Unlock()
	left = c.server.opt.PongWithin
	for _, sent := range c.pings {
		left = min(left, c.server.opt.PongWithin-time.Since(sent))
	}
	return left, len(c.pings) > 0
}

func (c *conn) handlePong(payload string) {
	c.pingMu.Lock()
	defer c.pingMu.Unlock()
	at, ok := c.pings[payload]
	if !ok {
		if payload != "" {
			c.server.counters.offence(WrongPong)
		}
		return
	}
	for p, sent := range c.pings { // RFC 6455 lets the newest pong answer all earlier pings
		if !sent.After(at) {
			delete(c.pings, p)
		}
	}
}

// close sends a close frame after the queued frames. If the client does not close the connection
// within 5 s, the reader does.
func (c *conn) close(code int, reason string) {
	c.server.hub.mute(c)
	if !c.closeSent.Swap(true) {
		_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Time{})
		_ = c.out.SetReadDeadline(time.Now().Add(5 * time.Second))
	}
}
