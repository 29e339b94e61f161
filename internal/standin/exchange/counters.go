package exchange

import (
	"maps"
	"sync"
	"time"
)

// Offence is a violation of the exchange's rules by a client.
type Offence string

const (
	// TooManyFrames is more than 5 frames in a second on one connection, which is then closed.
	TooManyFrames Offence = "too_many_frames"
	// WrongPong is a pong with a payload that was in no ping. An empty unsolicited pong is allowed.
	WrongPong Offence = "wrong_pong"
	// LatePong is a ping that was not answered in time; the connection is closed.
	LatePong Offence = "late_pong"
	// TooManyStreams is more than 1024 streams on one connection, which is closed or refused.
	TooManyStreams Offence = "too_many_streams"
	// FrameTooLarge is a request of more than 4096 bytes, which is ignored.
	FrameTooLarge Offence = "frame_too_large"
	// URLTooLong is a websocket URL of more than 8004 characters; the handshake is refused.
	URLTooLong Offence = "url_too_long"
	// TooManyConnects is more than 300 handshakes in 5 minutes; the handshake is refused.
	TooManyConnects Offence = "too_many_connects"
	// BudgetExceeded is a request that exceeded the weight limit of the minute.
	BudgetExceeded Offence = "budget_exceeded"
	// IgnoredRetryAfter is a request between a 429 and the end of its Retry-After.
	IgnoredRetryAfter Offence = "ignored_retry_after"
	// RequestWhileBanned is a request between a 418 and the end of its Retry-After.
	RequestWhileBanned Offence = "request_while_banned"
	// UnknownEndpoint is a request for a path that the exchange does not have.
	UnknownEndpoint Offence = "unknown_endpoint"
	// SlowReader is a connection dropped because the client did not read fast enough.
	SlowReader Offence = "slow_reader"
	// BadRequest is a frame or a REST request that was answered with an error because it is invalid.
	BadRequest Offence = "bad_request"
)

// Endpoint counts the requests for one path.
type Endpoint struct {
	Requests int64 `json:"requests"`
	Weight   int64 `json:"weight"`
}

// Served counts what the server has done so far.
type Served struct {
	// Faults counts the faults served.
	Faults map[FaultKind]int64 `json:"faults"`
	// Conflicts counts the rows that were served with other content than the source has for their id.
	// A row that was served several times with the same content counts once.
	Conflicts int64 `json:"conflicts"`
	// Endpoints counts requests and their weight by path; all archive files count as one path.
	Endpoints map[string]Endpoint `json:"endpoints"`
	// PeakWeight is the greatest weight that one address used in one minute.
	PeakWeight int64 `json:"peak_weight_1m"`
	// WeightLimit is the weight that it may use in a minute.
	WeightLimit int64 `json:"weight_limit"`
	// Connections counts successful websocket handshakes, OpenConnections those not closed yet.
	Connections     int64 `json:"connections"`
	OpenConnections int64 `json:"open_connections"`
	// Messages counts the events sent, after faults.
	Messages int64 `json:"messages"`
	// Now is the time of the source's clock. Ended is true once Done is closed.
	Now   time.Time `json:"now"`
	Ended bool      `json:"ended"`
}

type counters struct {
	mu       sync.Mutex
	offences map[Offence]int64
	served   Served // only what is not counted elsewhere
}

func newCounters() *counters {
	served := Served{Faults: map[FaultKind]int64{}, Endpoints: map[string]Endpoint{}}
	return &counters{offences: map[Offence]int64{}, served: served}
}

func (c *counters) offence(o Offence) {
	c.mu.Lock()
	c.offences[o]++
	c.mu.Unlock()
}

func (c *counters) fault(k FaultKind) {
	c.mu.Lock()
	c.served.Faults[k]++
	c.mu.Unlock()
}

func (c *counters) request(endpoint string, weight int64) {
	c.mu.Lock()
	e := c.served.Endpoints[endpoint]
	e.Requests++
	e.Weight += weight
	c.served.Endpoints[endpoint] = e
	c.mu.Unlock()
}

func (c *counters) observeWeight(weight int64) {
	c.mu.Lock()
	c.served.PeakWeight = max(c.served.PeakWeight, weight)
	c.mu.Unlock()
}

// Offences counts the violations by clients; it is empty if there were none.
func (s *Server) Offences() map[Offence]int64 {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	return maps.Clone(s.counters.offences)
}

// Served counts what the server has done.
func (s *Server) Served() Served {
	open, messages := s.hub.counts() // before the lock: dispatch counts faults while it holds hub.mu
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	served := s.counters.served
	served.OpenConnections, served.Messages = open, messages
	served.Conflicts = s.countConflicts()
	served.Faults, served.Endpoints = maps.Clone(served.Faults), maps.Clone(served.Endpoints)
	served.WeightLimit, served.Now = s.opt.WeightLimit, s.Now()
	select {
	case <-s.done:
		served.Ended = true
	default:
	}
	return served
}
