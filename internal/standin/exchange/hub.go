package exchange

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// hub knows who listens to what, and hands the rows released to those.
type hub struct {
	server *Server
	byName map[string]int // lower-case symbol → place in Source.Symbols
	listed []Symbol
	names  [2][]string // streams' names, by kind and symbol

	mu          sync.Mutex
	conns       []*conn // in the order in which they came
	routes      [2][][]*conn
	listeners   [2]int
	streams     int           // subscriptions that can be served, over all connections
	subscribed  chan struct{} // closed and replaced when streams grows
	left        chan struct{} // closed and replaced when a connection has gone
	connections int           // so far
	messages    int64

	// what one dispatch uses, kept for the next
	payload  [2][]byte // by unit
	combined []byte
	frames   [4][]byte // by unit and envelope
}

func newHub(s *Server) *hub {
	h := &hub{server: s, byName: map[string]int{}, listed: s.source.Symbols(), subscribed: make(chan struct{}), left: make(chan struct{})}
	for i, symbol := range h.listed {
		h.byName[lower(symbol.Name)] = i
		for _, kind := range Kinds() {
			h.names[kind.index()] = append(h.names[kind.index()], lower(symbol.Name)+"@"+string(kind))
		}
	}
	for k := range h.routes {
		h.routes[k] = make([][]*conn, len(h.listed))
	}
	return h
}

// lower is how a symbol is spelt in a stream's name.
func lower(symbol string) string { return strings.ToLower(symbol) }

// parseStream finds the rows behind a stream's name. Streams that this exchange does not play, and those of symbols
// that it does not have, can be subscribed to and stay empty, as Binance does it.
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

// wellFormed says whether a stream's name could be one.
func wellFormed(name string) bool {
	return name != "" && len(name) <= 200 && strings.ContainsRune(name, '@') && !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar
	})
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

// subscribe adds streams to a connection; those it has already stay as they are. It fails, and does nothing, where
// there would be more than limit.
func (h *hub) subscribe(c *conn, names []string, limit int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	streams := slices.Clone(c.streams)
	have := make(map[string]bool, len(streams)+len(names))
	for _, name := range streams {
		have[name] = true
	}
	for _, name := range names {
		if !have[name] {
			have[name] = true
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
		h.listeners[k]++
		h.streams++
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
		h.listeners[k]--
		h.streams--
	}
}

func (h *hub) subscriptions(c *conn) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(c.streams)
}

// waiting says how many streams are subscribed to, and gives a channel that is closed when there are more.
func (h *hub) waiting() (streams int, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams, h.subscribed
}

func (h *hub) listening(kind Kind) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listeners[kind.index()] > 0
}

func (h *hub) counts() (open, messages int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(len(h.conns)), h.messages
}

// WaitIdle waits until no connection is open.
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

// dispatch queues rows for those who listen, and appends to touched the connections that got any.
func (h *hub) dispatch(kind Kind, events []Event, touched []*conn) []*conn {
	faults := h.server.faults
	calm := faults.idle(messageFaults)
	h.mu.Lock()
	defer h.mu.Unlock()
	routes := h.routes[kind.index()]
	for i := range events {
		e := &events[i]
		var made [4]bool
		var made2 [2]bool
		for _, c := range routes[e.Symbol] {
			if c.mute {
				continue
			}
			v, unit := 0, 0
			if c.micro {
				v, unit = 1, 1
			}
			if c.combined {
				v += 2
			}
			if !made[v] {
				if !made2[unit] {
					h.payload[unit] = appendEvent(h.payload[unit][:0], kind, h.listed[e.Symbol].Name, &e.Row, c.micro)
					made2[unit] = true
				}
				if c.combined {
					h.combined = appendCombined(h.combined[:0], h.streamName(kind, e.Symbol), h.payload[unit])
					h.frames[v] = appendFrame(h.frames[v][:0], h.combined)
				} else {
					h.frames[v] = appendFrame(h.frames[v][:0], h.payload[unit])
				}
				made[v] = true
			}
			if calm {
				c.out.append(h.frames[v])
				h.messages++
			} else {
				h.messages += int64(c.sendFaulty(kind, h.streamName(kind, e.Symbol), h.listed[e.Symbol].Name, &e.Row, h.frames[v]))
			}
			if !c.touched {
				c.touched = true
				touched = append(touched, c)
			}
		}
	}
	for _, c := range touched {
		c.touched = false
	}
	return touched
}

func (h *hub) streamName(kind Kind, symbol int) string {
	return h.names[kind.index()][symbol]
}
