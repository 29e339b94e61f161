package exchange

import (
	"maps"
	"sync"
	"time"
)

// Offence is a way in which a client broke the exchange's rules.
type Offence string

const (
	// TooManyFrames is more than 5 frames in a second on one connection, which is then closed.
	TooManyFrames Offence = "too_many_frames"
	// WrongPong is a pong whose payload was in no ping; an empty one that nobody asked for is allowed.
	WrongPong Offence = "wrong_pong"
	// LatePong is a ping that was not answered in time; the connection is closed.
	LatePong Offence = "late_pong"
	// TooManyStreams is more than 1024 streams on one connection, which is closed or refused.
	TooManyStreams Offence = "too_many_streams"
	// FrameTooLarge is a request of more than 4096 bytes: it is not answered and does nothing.
	FrameTooLarge Offence = "frame_too_large"
	// URLTooLong is a websocket URL of more than 8004 characters; the handshake is refused.
	URLTooLong Offence = "url_too_long"
	// TooManyConnects is more than 300 handshakes in 5 minutes; the handshake is refused.
	TooManyConnects Offence = "too_many_connects"
	// BudgetExceeded is a request whose weight went over the limit of the minute.
	BudgetExceeded Offence = "budget_exceeded"
	// IgnoredRetryAfter is a request after a 429 and before the end of its Retry-After.
	IgnoredRetryAfter Offence = "ignored_retry_after"
	// RequestWhileBanned is a request after a 418 and before the end of its Retry-After.
	RequestWhileBanned Offence = "request_while_banned"
	// UnknownEndpoint is a request for a path that the exchange does not have.
	UnknownEndpoint Offence = "unknown_endpoint"
	// SlowReader is a connection closed because the client did not take what it was sent.
	SlowReader Offence = "slow_reader"
	// BadRequest is a frame or a REST request that was answered with an error of its own making.
	BadRequest Offence = "bad_request"
)

// Endpoint is what was asked of one path.
type Endpoint struct {
	Requests int64 `json:"requests"`
	Weight   int64 `json:"weight"`
}

// Served is what the server has done so far.
type Served struct {
	// Faults counts the faults served.
	Faults map[FaultKind]int64 `json:"faults"`
	// Endpoints counts requests and their weight by path; archive files count together.
	Endpoints map[string]Endpoint `json:"endpoints"`
	// PeakWeight is the greatest weight that one address used in one minute.
	PeakWeight int64 `json:"peak_weight_1m"`
	// WeightLimit is what it may use.
	WeightLimit int64 `json:"weight_limit"`
	// Connections counts websocket handshakes that succeeded, OpenConnections those still there.
	Connections     int64 `json:"connections"`
	OpenConnections int64 `json:"open_connections"`
	// Messages counts the events sent, with what faults made of them.
	Messages int64 `json:"messages"`
	// Now is the source's clock. Ended is true once Done is closed.
	Now   time.Time `json:"now"`
	Ended bool      `json:"ended"`
}

type ledger struct {
	mu        sync.Mutex
	offences  map[Offence]int64
	faults    map[FaultKind]int64
	endpoints map[string]Endpoint
	peak      int64
	connected int64
}

func newLedger() *ledger {
	return &ledger{offences: map[Offence]int64{}, faults: map[FaultKind]int64{}, endpoints: map[string]Endpoint{}}
}

func (l *ledger) offence(o Offence) {
	l.mu.Lock()
	l.offences[o]++
	l.mu.Unlock()
}

func (l *ledger) fault(k FaultKind) {
	l.mu.Lock()
	l.faults[k]++
	l.mu.Unlock()
}

func (l *ledger) request(endpoint string, weight int64) {
	l.mu.Lock()
	e := l.endpoints[endpoint]
	e.Requests++
	e.Weight += weight
	l.endpoints[endpoint] = e
	l.mu.Unlock()
}

func (l *ledger) used(weight int64) {
	l.mu.Lock()
	l.peak = max(l.peak, weight)
	l.mu.Unlock()
}

// Offences counts what clients did against the rules; empty means that they kept them.
func (s *Server) Offences() map[Offence]int64 {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	return maps.Clone(s.ledger.offences)
}

// Served counts what the server has done.
func (s *Server) Served() Served {
	open, messages := s.hub.counts()
	ended := false
	select {
	case <-s.done:
		ended = true
	default:
	}
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	return Served{
		Faults:          maps.Clone(s.ledger.faults),
		Endpoints:       maps.Clone(s.ledger.endpoints),
		PeakWeight:      s.ledger.peak,
		WeightLimit:     s.opt.WeightLimit,
		Connections:     s.ledger.connected,
		OpenConnections: open,
		Messages:        messages,
		Now:             s.Now(),
		Ended:           ended,
	}
}
