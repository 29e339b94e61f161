package exchange

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// hub holds the subscriptions and dispatches released rows to them.
type hub struct {
	server  *Server
	byName  map[string]Symbol
	streams [2][]*stream       // by kind and index in Source.Symbols
	known   map[string]*stream // the same by name
	lowered map[string]*Symbol // by the name that streams have

	mu            sync.Mutex
	conns         []*conn    // in the order of their handshakes
	subscriptions [2]int     // to known streams over all connections, by kind
	derived       []*derived // with subscribers, in the order of their first subscription
	byDerived     map[string]*derived
	subscribed    chan struct{} // closed and replaced at each subscription
	left          chan struct{} // closed and replaced when a connection ends
	connections   int           // so far
	messages      int64

	// scratch buffers of dispatch
	payload  [2][]byte // by time unit
	combined []byte
	frames   [4][]byte // by time unit and envelope
}

// stream is a stream of one kind and symbol; derived.go has the others. Unknown names can be subscribed to
// and stay silent, as at Binance.
type stream struct {
	name, symbol string
	kind         Kind
	conns        []*conn // guarded by hub.mu
}

func newHub(s *Server) *hub {
	h := &hub{
		server: s, byName: map[string]Symbol{}, known: map[string]*stream{}, lowered: map[string]*Symbol{},
		byDerived:  map[string]*derived{},
		subscribed: make(chan struct{}), left: make(chan struct{}),
	}
	for _, symbol := range s.source.Symbols() {
		h.byName[symbol.Name] = symbol
		h.lowered[lower(symbol.Name)] = &symbol
		for k, kind := range Kinds() {
			st := &stream{name: lower(symbol.Name) + "@" + string(kind), symbol: symbol.Name, kind: kind}
			h.streams[k], h.known[st.name] = append(h.streams[k], st), st
		}
	}
	return h
}

// lower returns a symbol as stream names spell it.
func lower(symbol string) string { return strings.ToLower(symbol) }

// isStreamName reports whether a name can be subscribed to. Binance accepts almost anything: a name of
// a user's stream has no form, and some clients open /ws/0.
func isStreamName(name string) bool {
	invalid := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar
	}
	return name != "" && len(name) <= 200 && !strings.ContainsFunc(name, invalid)
}

func (h *hub) add(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.connections++
	c.number = h.connections
	h.conns = append(h.conns, c)
}

func (h *hub) remove(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range c.streams {
		h.unroute(c, name)
	}
	c.streams = nil
	h.conns = slices.DeleteFunc(h.conns, func(o *conn) bool { return o == c })
	close(h.left)
	h.left = make(chan struct{})
}

// subscribe adds streams to a connection and ignores those that it already has. If there would be
// more than limit, it changes nothing and returns an error.
func (h *hub) subscribe(c *conn, names []string, limit int) error {
	prepared := h.prepare(names)
	h.mu.Lock()
	defer h.mu.Unlock()
	streams := slices.Clone(c.streams)
	for _, name := range names {
		if !slices.Contains(streams, name) {
			streams = append(streams, name)
		}
	}
	if len(streams) > limit {
		return fmt.Errorf("%d streams, at most %d", len(streams), limit)
	}
	for _, name := range streams[len(c.streams):] {
		if st := h.known[name]; st != nil {
			st.conns = append(st.conns, c)
			h.subscriptions[st.kind.index()]++
		} else if d := prepared[name]; d != nil {
			h.route(c, d)
		}
	}
	c.streams = streams
	close(h.subscribed)
	h.subscribed = make(chan struct{})
	return nil
}

func (h *hub) unsubscribe(c *conn, names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		if i := slices.Index(c.streams, name); i >= 0 {
			c.streams = slices.Delete(c.streams, i, i+1)
			h.unroute(c, name)
		}
	}
}

func (h *hub) unroute(c *conn, name string) {
	if st := h.known[name]; st != nil {
		st.conns = slices.DeleteFunc(st.conns, func(other *conn) bool { return other == c })
		h.subscriptions[st.kind.index()]--
	} else if d := h.byDerived[name]; d != nil {
		h.unrouteDerived(c, d)
	}
}

func (h *hub) streamsOf(c *conn) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(c.streams)
}

// subscribedStreams returns how many streams are subscribed to, and a channel that is closed when
// there are more.
func (h *hub) subscribedStreams() (streams int, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	streams = h.subscriptions[0] + h.subscriptions[1]
	for _, d := range h.derived {
		streams += len(d.conns)
	}
	return streams, h.subscribed
}

func (h *hub) hasListeners(kind Kind) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.subscriptions[kind.index()] > 0
}

func (h *hub) counts() (open, messages int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(len(h.conns)), h.messages
}

// WaitSubscribed blocks until clients have subscribed to so many streams, or ctx ends, whose error it then
// returns.
func (s *Server) WaitSubscribed(ctx context.Context, least int) error {
	for {
		streams, more := s.hub.subscribedStreams()
		if streams >= least {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitIdle blocks until no connection is open or ctx ends, whose error it then returns.
func (s *Server) WaitIdle(ctx context.Context) error {
	for {
		s.hub.mu.Lock()
		open, left := len(s.hub.conns), s.hub.left
		s.hub.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-left:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *hub) all() []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.conns)
}

// form returns which of the four forms of a frame a connection receives: by time unit and envelope.
func (c *conn) form() int {
	form := 0
	if c.micro {
		form = 1
	}
	if c.combined {
		form += 2
	}
	return form
}

// received appends a connection to receivers unless it is there. hub.mu is held.
func (c *conn) received(receivers []*conn) []*conn {
	if c.receiver {
		return receivers
	}
	c.receiver = true
	return append(receivers, c)
}

// dispatch queues rows for their subscribers, and appends to receivers the connections with new
// frames. Each frame is encoded once for all connections of the same time unit and envelope.
func (h *hub) dispatch(kind Kind, events []Event, receivers []*conn) []*conn {
	noFaults := h.server.faults.idle(messageFaults)
	h.mu.Lock()
	defer h.mu.Unlock()
	streams := h.streams[kind.index()]
	for i := range events {
		e := &events[i]
		stream := streams[e.Symbol]
		var framed [4]bool
		var encoded [2]bool
		for _, c := range stream.conns {
			if c.muted {
				continue
			}
			form := c.form()
			unit := form % 2
			if !framed[form] {
				if !encoded[unit] {
					h.payload[unit] = appendEvent(h.payload[unit][:0], kind, stream.symbol, &e.Row, c.micro)
					encoded[unit] = true
				}
				payload := h.payload[unit]
				if c.combined {
					h.combined = appendCombined(h.combined[:0], stream.name, payload)
					payload = h.combined
				}
				h.frames[form] = appendFrame(h.frames[form][:0], payload)
				framed[form] = true
			}
			if noFaults && !c.impostor {
				c.out.append(h.frames[form])
				h.messages++
			} else {
				h.messages += int64(c.sendFaulty(stream, &e.Row, h.frames[form]))
			}
			receivers = c.received(receivers)
		}
	}
	for _, c := range receivers {
		c.receiver = false
	}
	return receivers
}
