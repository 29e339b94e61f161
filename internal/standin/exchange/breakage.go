package exchange

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Inject makes something go wrong: with open connections at once, with messages, handshakes, requests and files when
// the next of them come. It says how many connections it met.
func (s *Server) Inject(f Fault) (connections int, err error) {
	if !slices.Contains(FaultKinds(), f.Kind) {
		return 0, fmt.Errorf("fault %q is not known; there are %s", f.Kind, joinKinds(FaultKinds()))
	}
	if !slices.Contains(connectionFaults, f.Kind) {
		s.faults.add(f)
		return 0, nil
	}
	if f.Count == 0 {
		f.Count = 1
	}
	for _, c := range s.hub.all() {
		if connections == f.Count {
			break
		}
		if f.Match != "" && !strings.Contains(strings.Join(s.hub.subscriptions(c), "/"), f.Match) {
			continue
		}
		if s.breakConnection(c, f) {
			connections++
		}
	}
	return connections, nil
}

// breakConnection says false where the connection is on its way out already.
func (s *Server) breakConnection(c *conn, f Fault) bool {
	if c.dead.Load() || !s.hub.sound(c) {
		return false
	}
	s.ledger.fault(f.Kind)
	c.log("fault", "kind", string(f.Kind))
	switch f.Kind {
	case Cut:
		c.out.cut()
	case Close:
		code := f.Code
		if code == 0 {
			code = websocket.CloseGoingAway
		}
		c.close(code, "")
	case Silence:
		s.hub.silence(c)
		c.dead.Store(true)
	case Mute:
		s.hub.silence(c)
	case Shutdown:
		wait := f.For
		if wait == 0 {
			wait = time.Second
		}
		s.hub.sendNow(c, func(combined bool) []byte { return shutdownEvent(s.Now(), combined, c.micro) })
		if !s.enter() {
			break
		}
		go func() {
			defer s.work.Done()
			select {
			case <-time.After(wait):
				c.close(websocket.CloseGoingAway, "server shutdown")
			case <-c.ended:
			case <-s.ctx.Done():
			}
		}()
	}
	return true
}

// breakConnections serves the connection faults of the random schedule, each to one of the connections that are open
// and sound at its time; one that finds none is left out.
func (s *Server) breakConnections() {
	select {
	case <-s.begun:
	case <-s.ctx.Done():
		return
	}
	const ahead = 24 * time.Hour
	begin := time.Now()
	for i, planned := range s.opt.Faults.Plan(ahead) {
		timer := time.NewTimer(time.Until(begin.Add(planned.After)))
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		sound := slices.DeleteFunc(s.hub.all(), func(c *conn) bool { return c.dead.Load() || !s.hub.sound(c) })
		if len(sound) == 0 {
			continue // kept for later, faults would pile up on whoever connects next
		}
		pick := int(uniform(s.opt.Faults.Seed, string(planned.Kind), uint64(i)) * float64(len(sound)))
		s.breakConnection(sound[pick], Fault{Kind: planned.Kind})
	}
}

// turn counts how often something was asked, from 0.
func (b *faultBox) turn(key string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turns[key]++
	return int(b.turns[key] - 1)
}

// silence sends a connection no more events.
func (h *hub) silence(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.mute = true
}

// sound says whether a connection gets events.
func (h *hub) sound(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !c.mute
}

// sendNow sends a frame in its place among the events.
func (h *hub) sendNow(c *conn, frame func(combined bool) []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.out.append(frame(c.combined))
	c.out.flush()
}

// flushHeld sends what Reorder kept back.
func (h *hub) flushHeld(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !c.mute {
		c.out.append(c.held)
	}
	c.held = nil
	c.out.flush()
}

// sendFaulty queues a frame, or what becomes of it, and says how many frames that were. The caller holds hub.mu.
func (c *conn) sendFaulty(kind Kind, stream, symbol string, r *Row, frame []byte) int {
	s := c.server
	key := strconv.Itoa(c.number) + stream + strconv.FormatInt(r.ID, 10)
	fault, ok := s.faults.take(messageFaults, stream, key, false)
	if ok {
		s.ledger.fault(fault.Kind)
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
		frame = appendFrame(nil, damaged(c.damaged, kind, stream, symbol, r, c.micro, c.combined))
		c.damaged++
	}
	c.out.append(frame)
	if c.held != nil {
		c.out.append(c.held)
		c.held = nil
	}
	return 1
}

// damages is how many ways damaged knows.
const damages = 10

// damaged is a message as it should never come. None of them can be read as a trade of the stream.
func damaged(turn int, kind Kind, stream, symbol string, r *Row, micro, combined bool) []byte {
	good := appendEvent(nil, kind, symbol, r, micro)
	id := strconv.FormatInt(r.ID, 10)
	var payload []byte
	switch turn % damages {
	case 0: // cut short
		if combined {
			good = appendCombined(nil, stream, good)
		}
		return good[:len(good)/2]
	case 1: // the id as a string
		payload = bytes.Replace(good, []byte(`:`+id+`,"p"`), []byte(`:"`+id+`","p"`), 1)
	case 2: // the price as a word
		payload = bytes.Replace(good, []byte(`"p":"`+r.Price+`"`), []byte(`"p":"NaN"`), 1)
	case 3: // no quantity
		payload = bytes.Replace(good, []byte(`,"q":"`+r.Qty+`"`), nil, 1)
	case 4: // another symbol's trade
		payload = appendEvent(nil, kind, "FOREIGN"+symbol, r, micro)
	case 5: // another stream's event
		return appendCombinedIf(combined, lower(symbol)+"@depth",
			fmt.Appendf(nil, `{"e":"depthUpdate","E":%d,"s":%q,"U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"]]}`, r.TradedAt/1000, symbol))
	case 6: // an event from the future of the API
		payload = fmt.Appendf(nil, `{"e":"tradeV9","E":%d,"s":%q,"x":[1,2,3]}`, r.TradedAt/1000, symbol)
	case 7: // not JSON
		return []byte("<html>502 Bad Gateway</html>")
	case 8: // JSON, but not an object
		payload = []byte(`null`)
	case 9: // a row that is no trade: price 0, quantity 0, ids -1
		void := Row{ID: -1, FirstTradeID: -1, LastTradeID: -1, Price: "0", Qty: "0", TradedAt: r.TradedAt}
		payload = appendEvent(nil, kind, symbol, &void, micro)
	}
	return appendCombinedIf(combined, stream, payload)
}

func appendCombinedIf(combined bool, stream string, payload []byte) []byte {
	if !combined {
		return payload
	}
	return appendCombined(nil, stream, payload)
}
