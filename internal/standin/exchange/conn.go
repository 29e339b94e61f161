package exchange

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// maxURL is the longest websocket URL, in characters: measured by users, not documented.
const maxURL = 8004

// frameHead is what a client's frame of 126 bytes to 64 KiB has on the wire besides its content.
const frameHead = 8

// conn is one websocket connection.
type conn struct {
	server *Server
	ws     *websocket.Conn
	out    *outbox
	number int
	micro  bool
	ended  chan struct{} // the reader has ended
	dead   atomic.Bool   // sends nothing any more, not even pings
	parted sync.Once
	leaves atomic.Bool // a close frame was sent

	tooSlow bool // was cut off for it, and may take a while to be gone; guarded by Server.playing

	// guarded by hub.mu
	streams  []string
	combined bool
	mute     bool
	touched  bool
	held     []byte // frames kept back by Reorder
	damaged  int

	pingMu sync.Mutex
	pings  map[string]time.Time // sent and not answered
	frames []time.Time          // of the last frames received
}

// hijacked lets gorilla take a connection over with its writes going through an outbox.
type hijacked struct {
	http.ResponseWriter
	out *outbox
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.out = newOutbox(conn)
	return h.out, rw, nil
}

// serveStream is /ws, /ws/<stream>… and /stream?streams=….
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		return
	}
	defer s.work.Done()
	names, micro, err := parseStreamURL(r.URL)
	if err != nil {
		s.ledger.offence(BadRequest)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !s.admit(w, r) {
		return
	}
	if len(r.URL.RequestURI()) > maxURL {
		s.ledger.offence(URLTooLong)
		http.Error(w, "URI too long", http.StatusRequestURITooLong)
		return
	}
	if len(names) > s.opt.MaxStreams {
		s.ledger.offence(TooManyStreams)
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
		return // gorilla has answered
	}
	c := &conn{
		server: s, ws: ws, out: hijack.out, micro: micro, ended: make(chan struct{}),
		combined: strings.HasPrefix(r.URL.Path, "/stream"), pings: map[string]time.Time{},
	}
	s.hub.add(c)
	s.ledger.mu.Lock()
	s.ledger.connected++
	s.ledger.mu.Unlock()
	c.log("stream connected", "streams", len(names))
	_ = s.hub.subscribe(c, names, s.opt.MaxStreams)
	c.out.start()
	if s.ctx.Err() != nil { // Close may have missed it
		_ = c.out.Close()
	}
	var keeper sync.WaitGroup
	keeper.Go(c.keep)
	c.read()
	close(c.ended)
	s.hub.remove(c)
	_ = c.out.Close()
	keeper.Wait()
	<-c.out.done
	c.log("stream disconnected")
}

func (c *conn) log(message string, attrs ...any) {
	c.server.opt.Logger.Log(context.Background(), slog.LevelDebug, message, append([]any{"connection", c.number}, attrs...)...)
}

// parseStreamURL reads which streams a URL names and in which unit it wants times.
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
	seen := map[string]bool{}
	for name := range strings.SplitSeq(list, "/") {
		if name == "" || seen[name] {
			continue
		}
		if !wellFormed(name) {
			return nil, false, fmt.Errorf("invalid stream %q", name)
		}
		seen[name] = true
		names = append(names, name)
	}
	return names, micro, nil
}

// admit refuses a handshake that is banned, too many, or to fail.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) bool {
	if verdict := s.limits.connect(address(r)); verdict.status != 0 {
		verdict.write(w)
		return false
	}
	fault, ok := s.faults.take(handshakeFaults, r.URL.RequestURI(), "handshake", true)
	if !ok {
		return true
	}
	s.ledger.fault(Refuse)
	status := fault.Code
	if status == 0 {
		status = []int{429, 418, 503}[s.faults.turn("refuse")%3]
	}
	wait := fault.RetryAfter
	if wait == 0 {
		wait = time.Second
		if status == http.StatusTeapot {
			wait = 2 * time.Second
		}
	}
	verdict{status: status, retryAfter: wait, code: -1003, message: "Too many requests."}.write(w)
	return false
}

// read handles what the client sends until the connection ends.
func (c *conn) read() {
	c.ws.SetReadLimit(1 << 20)
	c.ws.SetPingHandler(func(payload string) error {
		if err := c.count(); err != nil || c.dead.Load() {
			return err
		}
		if err := c.ws.WriteControl(websocket.PongMessage, []byte(payload), time.Time{}); !errors.Is(err, websocket.ErrCloseSent) {
			return err
		}
		return nil
	})
	c.ws.SetPongHandler(func(payload string) error {
		c.ponged(payload)
		return c.count()
	})
	c.ws.SetCloseHandler(func(code int, _ string) error {
		if !c.dead.Load() {
			if code == websocket.CloseNoStatusReceived {
				code = websocket.CloseNormalClosure
			}
			c.close(code, "")
			c.out.await(0, time.Second)
		}
		return nil
	})
	for {
		kind, message, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		if c.count() != nil {
			return
		}
		if size := len(message) + frameHead; size > c.server.opt.MaxFrame {
			c.server.ledger.offence(FrameTooLarge) // not answered: reported by users, not documented
			continue
		}
		if kind != websocket.TextMessage {
			c.server.ledger.offence(BadRequest)
			continue
		}
		if c.answer(message) != nil {
			return
		}
	}
}

var errPoliced = errors.New("the client broke the rules")

// count notes a frame from the client and ends the connection where there are too many.
func (c *conn) count() error {
	now := time.Now()
	limit := c.server.opt.FramesPerSecond
	recent := c.frames[:0]
	for _, at := range c.frames {
		if now.Sub(at) < time.Second {
			recent = append(recent, at)
		}
	}
	c.frames = append(recent, now)
	if len(c.frames) <= limit {
		return nil
	}
	return c.punish(TooManyFrames, "Too many requests")
}

// punish notes an offence and ends the connection.
func (c *conn) punish(o Offence, reason string) error {
	c.server.ledger.offence(o)
	c.log("connection closed", "offence", string(o))
	c.close(websocket.ClosePolicyViolation, reason)
	c.out.await(0, time.Second)
	return errPoliced
}

// keep pings the client, and ends the connection when its time is over.
func (c *conn) keep() {
	opt := &c.server.opt
	ping := time.NewTicker(opt.PingEvery)
	defer ping.Stop()
	life := time.NewTimer(opt.Lifetime)
	defer life.Stop()
	var late *time.Timer
	defer func() {
		if late != nil {
			late.Stop()
		}
	}()
	var overdue <-chan time.Time
	for sent := 1; ; {
		select {
		case <-c.ended:
			return
		case <-c.server.ctx.Done():
			return
		case <-life.C:
			c.close(websocket.CloseGoingAway, "connection is 24 hours old")
		case <-overdue:
			late, overdue = nil, nil
			if wait, ok := c.oldestPing(); ok {
				if wait <= 0 {
					_ = c.punish(LatePong, "Pong timeout")
					_ = c.out.Close()
					return
				}
				late = time.NewTimer(wait)
				overdue = late.C
			}
		case <-ping.C:
			if c.dead.Load() {
				continue
			}
			payload := strconv.FormatInt(time.Now().UnixMilli(), 10) + strconv.Itoa(sent)
			sent++
			c.pingMu.Lock()
			c.pings[payload] = time.Now()
			c.pingMu.Unlock()
			_ = c.ws.WriteControl(websocket.PingMessage, []byte(payload), time.Time{})
			if late == nil {
				late = time.NewTimer(opt.PongWithin)
				overdue = late.C
			}
		}
	}
}

// oldestPing is how long the ping that was sent first may still wait for its pong.
func (c *conn) oldestPing() (wait time.Duration, ok bool) {
	c.pingMu.Lock()
	defer c.pingMu.Unlock()
	for _, at := range c.pings {
		left := c.server.opt.PongWithin - time.Since(at)
		if !ok || left < wait {
			wait, ok = left, true
		}
	}
	return wait, ok
}

func (c *conn) ponged(payload string) {
	c.pingMu.Lock()
	defer c.pingMu.Unlock()
	at, ok := c.pings[payload]
	if !ok {
		if payload != "" {
			c.server.ledger.offence(WrongPong)
		}
		return
	}
	for p, sent := range c.pings { // RFC 6455 lets the newest answer for all
		if !sent.After(at) {
			delete(c.pings, p)
		}
	}
}

// close sends a close frame after what is queued, and cuts the connection if the client does not end it within 5 s.
func (c *conn) close(code int, reason string) {
	c.parted.Do(func() {
		c.server.hub.silence(c)
		c.leaves.Store(true)
		_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Time{})
		_ = c.out.SetReadDeadline(time.Now().Add(5 * time.Second))
	})
}
