package exchange

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Inject requests faults. Those of connections happen immediately, to open connections; it returns how
// many. Those of messages, handshakes, requests and files happen to the next ones.
func (s *Server) Inject(f Fault) (connections int, err error) {
	if !slices.Contains(FaultKinds(), f.Kind) {
		return 0, unknownFault(f.Kind)
	}
	if !slices.Contains(connectionFaults, f.Kind) {
		s.faults.add(f)
		return 0, nil
	}
	f.Count = cmp.Or(f.Count, 1)
	for _, c := range s.hub.all() {
		if connections == f.Count {
			break
		}
		if f.Match != "" && !strings.Contains(strings.Join(s.hub.streamsOf(c), "/"), f.Match) {
			continue
		}
		if s.breakConnection(c, f) {
			connections++
		}
	}
	return connections, nil
}

// breakConnection serves a fault. It returns false if the connection is already closing or muted.
func (s *Server) breakConnection(c *conn, f Fault) bool {
	if !s.hub.delivers(c) {
		return false
	}
	s.counters.fault(f.Kind)
	c.log("fault", "kind", string(f.Kind))
	switch f.Kind {
	case Cut:
		c.out.reset()
	case Close:
		c.close(cmp.Or(f.Code, websocket.CloseGoingAway), "")
	case Silence:
		s.hub.mute(c)
		c.silent.Store(true)
	case Mute:
		s.hub.mute(c)
	case Shutdown:
		s.hub.sendNow(c, func(combined bool) []byte { return shutdownEvent(s.Now(), combined, c.micro) })
		s.run(func() {
			select {
			case <-time.After(cmp.Or(f.For, time.Second)):
				c.close(websocket.CloseGoingAway, "server shutdown")
			case <-c.ended:
			case <-s.ctx.Done():
			}
		})
	}
	return true
}

// breakConnections serves the connection faults of the random schedule, each to one of the connections
// that receive events at its time. If there is none, the fault is skipped: faults kept for later
// would all hit the next client.
func (s *Server) breakConnections() {
	select {
	case <-s.clockStarted:
	case <-s.ctx.Done():
		return
	}
	begin := time.Now()
	for i, planned := range s.opt.Faults.Plan(24 * time.Hour) {
		select {
		case <-time.After(time.Until(begin.Add(planned.After))):
		case <-s.ctx.Done():
			return
		}
		if s.faults.ended.Load() {
			return
		}
		candidates := slices.DeleteFunc(s.hub.all(), func(c *conn) bool { return !s.hub.delivers(c) })
		if len(candidates) == 0 {
			continue
		}
		pick := int(uniform(s.opt.Faults.Seed, string(planned.Kind), uint64(i)) * float64(len(candidates)))
		s.breakConnection(candidates[pick], Fault{Kind: planned.Kind})
	}
}

// EndFaults ends the random schedule of faults, and withdraws the requested ones that have not happened
// yet. What a fault has changed stays: a connection that is silent, a file of the archive.
func (s *Server) EndFaults() {
	s.faults.ended.Store(true)
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.pending = nil
}

// turn returns how often a key was used before.
func (j *injector) turn(key string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.turns[key]++
	return int(j.turns[key] - 1)
}

// mute stops sending events to a connection.
func (h *hub) mute(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.muted = true
}

// delivers reports whether a connection receives events.
func (h *hub) delivers(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !c.muted
}

// sendNow sends a frame between two events.
func (h *hub) sendNow(c *conn, frame func(combined bool) []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.out.append(frame(c.combined))
	c.out.flush()
}

// flushHeld sends the frame that Reorder delayed.
func (h *hub) flushHeld(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !c.muted {
		c.out.append(c.held)
	}
	c.held = nil
	c.out.flush()
}

// sendFaulty queues a frame after the faults that happen to it, and returns the number of events sent.
// hub.mu is held.
func (c *conn) sendFaulty(stream *stream, r *Row, frame []byte) int {
	s := c.server
	key := strconv.Itoa(c.number) + stream.name + strconv.FormatInt(r.ID, 10)
	if c.impostor {
		frame = c.alteredFrame(stream, r)
	}
	fault, ok := s.faults.take(messageFaults, stream.name, key, false)
	if ok {
		s.counters.fault(fault.Kind)
	}
	switch fault.Kind {
	case Drop:
		return 0
	case Duplicate:
		frame = slices.Concat(frame, frame)
	case Reorder:
		if c.held == nil {
			c.held = bytes.Clone(frame)
			return 1
		}
	case Damage:
		frame = appendFrame(nil, damagedMessage(c.damageCount, stream, r, c.micro, c.combined))
		c.damageCount++
	case Conflict:
		frame = append(slices.Clip(frame), c.alteredFrame(stream, r)...)
	}
	c.out.append(frame)
	if c.held != nil {
		c.out.append(c.held)
		c.held = nil
	}
	return 1
}

// alteredFrame returns the frame of an event with other content.
func (c *conn) alteredFrame(stream *stream, r *Row) []byte {
	other := c.server.alter(stream.symbol, stream.kind, *r)
	return appendFrame(nil, appendCombinedIf(c.combined, stream.name, appendEvent(nil, stream.kind, stream.symbol, &other, c.micro)))
}

// damageKinds is the number of kinds of damage.
const damageKinds = 10

// damagedMessage returns a message that cannot be read as a trade of the stream.
func damagedMessage(turn int, stream *stream, r *Row, micro, combined bool) []byte {
	event := func(symbol string, r *Row) []byte { return appendEvent(nil, stream.kind, symbol, r, micro) }
	replace := func(event []byte, old, replacement string) []byte {
		return bytes.Replace(event, []byte(old), []byte(replacement), 1)
	}
	good := event(stream.symbol, r)
	id := strconv.FormatInt(r.ID, 10)
	var payload []byte
	switch turn % damageKinds {
	case 0: // truncated
		good = appendCombinedIf(combined, stream.name, good)
		return good[:len(good)/2]
	case 1: // the id as a string
		payload = replace(good, `:`+id+`,"p"`, `:"`+id+`","p"`)
	case 2: // the price as a word
		payload = replace(good, `"p":"`+r.Price+`"`, `"p":"NaN"`)
	case 3: // no quantity
		payload = replace(good, `,"q":"`+r.Qty+`"`, "")
	case 4: // another symbol's trade
		payload = event("FOREIGN"+stream.symbol, r)
	case 5: // another stream's event
		return appendCombinedIf(combined, lower(stream.symbol)+"@depth",
			fmt.Appendf(nil, `{"e":"depthUpdate","E":%d,"s":%q,"U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"]]}`, r.TradedAt/1000, stream.symbol))
	case 6: // an event of a future version of the API
		payload = fmt.Appendf(nil, `{"e":"tradeV9","E":%d,"s":%q,"x":[1,2,3]}`, r.TradedAt/1000, stream.symbol)
	case 7: // not JSON
		return []byte("<html>502 Bad Gateway</html>")
	case 8: // JSON, but not an object
		payload = []byte(`null`)
	case 9: // an impossible trade: price 0, quantity 0, ids -1
		void := Row{ID: -1, FirstTradeID: -1, LastTradeID: -1, Price: "0", Qty: "0", TradedAt: r.TradedAt}
		payload = event(stream.symbol, &void)
	}
	return appendCombinedIf(combined, stream.name, payload)
}

func appendCombinedIf(combined bool, stream string, payload []byte) []byte {
	if !combined {
		return payload
	}
	return appendCombined(nil, stream, payload)
}
