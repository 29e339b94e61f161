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
	byName  map[string]int // lower-case symbol → index in Source.Symbols
	symbols []Symbol
	names   [2][]string // of streams, by kind and symbol

	mu          sync.Mutex
	conns       []*conn       // in the order of their handshakes
	routes      [2][][]*conn  // by kind and symbol
	streams     [2]int        // subscriptions to known symbols over all connections, by kind
	subscribed  chan struct{} // closed and replaced when streams grows
	left        chan struct{} // closed and replaced when a connection ends
	connections int           // so far
	messages    int64

	// scratch buffers of dispatch
	payload  [2][]byte // by time unit
	combined []byte
	frames   [4][]byte // by time unit and envelope
}

func newHub(s *Server) *hub {
	h := &hub{
		server: s, byName: map[string]int{}, symbols: s.source.Symbols(),
		subscribed: make(chan struct{}), left: make(chan struct{}),
	}
	for i, symbol := range h.symbols {
		h.byName[lower(symbol.Name)] = i
		for _, kind := range Kinds() {
			h.names[kind.index()] = append(h.names[kind.index()], lower(symbol.Name)+"@"+string(kind))
		}
	}
	for k := range h.routes {
		h.routes[k] = make([][]*conn, len(h.symbols))
	}
	return h
}

// lower returns a symbol as stream names spell it.
func lower(symbol string) string { return strings.ToLower(symbol) }

// parseStream returns the kind and the symbol of a stream. ok is false for streams of other kinds or
// unknown symbols: as at Binance they can be subscribed to and stay empty.
func (h *hub) parseStream(name string) (kind Kind, symbol int, ok bool) {
	at := strings.LastIndexByte(name, '@')
	if at < 0 {
		return "", 0, false
	}
	kind = Kind(name[at+1:])
	if kind != Trade && kind != AggTrade {
		return "", 0, false
	}
	symbol, ok = h.byName[name[:at]]
	return kind, symbol, ok
}

// isStreamName reports whether a name has the form of a stream's name.
func isStreamName(name string) bool {
	invalid := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar
	}
	return len(name) <= 200 && strings.ContainsRune(name, '@') && !strings.ContainsFunc(name, invalid)
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
	h.mu.Lock()
	defer h.mu.Unlock()
	streams := slices.Clone(c.streams)
	present := make(map[string]bool, len(streams)+len(names))
	for _, name := range streams {
		present[name] = true
	}
	for _, name := range names {
		if !present[name] {
			present[name] = true
			streams = append(streams, name)
		}
	}
	if len(streams) > limit {
		return fmt.Errorf("%d streams, at most %d", len(streams), limit)
	}
	grown := false
	for _, name := range streams[len(c.streams):] {
		kind, symbol, ok := h.parseStream(name)
		if !ok {
			continue
		}
		k := kind.index()
		h.routes[k][symbol] = append(h.routes[k][symbol], c)
		h.streams[k]++
		grown = true
	}
	c.streams = streams
	if grown {
		close(h.subscribed)
		h.subscribed = make(chan struct{})
	}
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
	kind, symbol, ok := h.parseStream(name)
	if !ok {
		return
	}
	k := kind.index()
	if i := slices.Index(h.routes[k][symbol], c); i >= 0 {
		h.routes[k][symbol] = slices.Delete(h.routes[k][symbol], i, i+1)
		h.streams[k]--
	}
}

func (h *hub) subscriptions(c *conn) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(c.streams)
}

// subscribedStreams returns how many streams are subscribed to, and a channel that is closed when
// there are more.
func (h *hub) subscribedStreams() (streams int, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams[0] + h.streams[1], h.subscribed
}

func (h *hub) hasListeners(kind Kind) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams[kind.index()] > 0
}

func (h *hub) counts() (open, messages int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(len(h.conns)), h.messages
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

// dispatch queues rows for their subscribers, and appends to receivers the connections with new
// frames. Each frame is encoded once for all connections of the same time unit and envelope.
func (h *hub) dispatch(kind Kind, events []Event, receivers []*conn) []*conn {
	noFaults := h.server.faults.idle(messageFaults)
	h.mu.Lock()
	defer h.mu.Unlock()
	routes := h.routes[kind.index()]
	for i := range events {
		e := &events[i]
		stream, symbol := h.names[kind.index()][e.Symbol], h.symbols[e.Symbol].Name
		var framed [4]bool
		var encoded [2]bool
		for _, c := range routes[e.Symbol] {
			if c.muted {
				continue
			}
			form, unit := 0, 0
			if c.micro {
				form, unit = 1, 1
			}
			if c.combined {
				form += 2
			}
			if !framed[form] {
				if !encoded[unit] {
					h.payload[unit] = appendEvent(h.payload[unit][:0], kind, symbol, &e.Row, c.micro)
					encoded[unit] = true
				}
				payload := h.payload[unit]
				if c.combined {
					h.combined = appendCombined(h.combined[:0], stream, payload)
					payload = h.combined
				}
				h.frames[form] = appendFrame(h.frames[form][:0], payload)
				framed[form] = true
			}
			if noFaults {
				c.out.append(h.frames[form])
				h.messages++
			} else {
				h.messages += int64(c.sendFaulty(kind, stream, symbol, &e.Row, h.frames[form]))
			}
			if !c.receiver {
				c.receiver = true
				receivers = append(receivers, c)
			}
		}
	}
	for _, c := range receivers {
		c.receiver = false
	}
	return receivers
}
