package state

import "time"

// StreamFile is the name of the file that holds a Stream. The recorder that writes it holds a lock on
// StreamLock; another one on the same tape does not write it.
const (
	StreamFile = "stream.json"
	StreamLock = "stream.lock"
)

// Stream is the content of stream.json. The recorder rewrites it every 5 s and when it ends. If
// EndedAt is zero and its last beat is older than that, the process hangs or was killed: the latter if
// Locked is true and the lock is free. Times are UTC. Those of the recorder are by the machine's clock
// as it was at UpdatedAt, even if it was set since the time in question: the recorder measures by a
// clock that nobody sets.
type Stream struct {
	Beat
	PID       int       `json:"pid"`
	RunID     string    `json:"run_id,omitempty"`
	Locked    bool      `json:"locked,omitempty"` // the recorder holds the lock
	StartedAt time.Time `json:"started_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// EndedAt is zero while the recorder runs. Error is empty after a normal stop.
	EndedAt time.Time `json:"ended_at,omitzero"`
	Error   string    `json:"error,omitempty"`

	Feed            string `json:"feed"`
	URL             string `json:"url"`
	FlushIntervalMS int64  `json:"flush_interval_ms"`
	// LastFlushAt is when trades were last published, zero if never. UnflushedTrades wait to be
	// published, the first of them since UnflushedSince.
	LastFlushAt     time.Time `json:"last_flush_at,omitzero"`
	UnflushedTrades int       `json:"unflushed_trades"`
	UnflushedSince  time.Time `json:"unflushed_since,omitzero"`

	// ExchangeAt is the time at the exchange at UpdatedAt, according to the latest trades: late by
	// as much as they were. It is zero before the first trade.
	ExchangeAt time.Time `json:"exchange_at,omitzero"`

	// DelayMS is how long after it was traded the latest trade was received, by the machine's clock as
	// it was at StartedAt, and LeastDelayMS the least of that since then. Their difference does not
	// depend on how well the clocks agree.
	DelayMS      int64 `json:"delay_ms"`
	LeastDelayMS int64 `json:"least_delay_ms"`

	Connections []StreamConnection `json:"connections"`
	// Symbols are the symbols to record, by name.
	Symbols  map[string]StreamSymbol `json:"symbols"`
	Counters StreamCounters          `json:"counters"`
}

// maxStreamAge is how old the state of a recorder without a lock may be. It is written every 5 s.
const maxStreamAge = 15 * time.Second

// WasKilled reports whether the recorder ended without writing so: it held its lock, and no process
// holds it now.
func (s Stream) WasKilled(machine Machine) bool {
	return s.EndedAt.IsZero() && s.Locked && !machine.Held(StreamLock)
}

// IsRunning reports whether the recorder runs at the time now, by its lock if it has one, and else by
// the age of its last beat. A beat in the future proves nothing.
func (s Stream) IsRunning(machine Machine, now time.Time) bool {
	if !s.EndedAt.IsZero() || s.WasKilled(machine) {
		return false
	}
	age, ok := s.Age(s.UpdatedAt, machine, now)
	return s.Locked || ok && age < maxStreamAge
}

// StreamConnection describes one connection that should be up. The recorder replaces a connection
// that ends, so that this is about a succession of them.
type StreamConnection struct {
	// Name is the number of the group of symbols and that of the copy, such as 2.1.
	Name    string `json:"link"`
	Up      bool   `json:"up"`
	Trouble string `json:"trouble,omitempty"` // the last error since a connection was up
	// DownSince is when the connection was lost, or should have been up; zero while it is up.
	DownSince time.Time `json:"down_since,omitzero"`
	Streams   int       `json:"streams"`
	// Connects counts the connections that were established.
	Connects       int64     `json:"connects"`
	OpenedAt       time.Time `json:"opened_at,omitzero"`
	LastReceivedAt time.Time `json:"last_received_at,omitzero"` // of a trade
	LastPingAt     time.Time `json:"last_ping_at,omitzero"`
	// UsualSilenceMS is the longest recent time between two trades; 0 if not enough is known yet.
	UsualSilenceMS int64 `json:"usual_silence_ms,omitempty"`
}

// StreamSymbol describes what the recorder received of one symbol since it started: zeros if
// nothing.
type StreamSymbol struct {
	Trades         int64     `json:"trades"`
	LastID         int64     `json:"last_id,omitempty"`
	LastTradedAt   time.Time `json:"last_traded_at,omitzero"`
	LastReceivedAt time.Time `json:"last_received_at,omitzero"`
	UsualSilenceMS int64     `json:"usual_silence_ms,omitempty"`
	// WrittenUntil is when the newest trade was traded that this recorder wrote to the tape. LastTradedAt
	// minus that is how far the tape is behind.
	WrittenUntil time.Time `json:"written_until,omitzero"`
	// WatchedUntil is the instant at the exchange up to which the stream proves the symbol's record on
	// the tape to be complete; see Watched.
	WatchedUntil time.Time `json:"watched_until,omitzero"`
}

// Lag returns how far the tape is behind what was received, and false if the recorder has not written
// a trade of the symbol yet.
func (s StreamSymbol) Lag() (lag time.Duration, ok bool) {
	if s.WrittenUntil.IsZero() {
		return 0, false
	}
	return max(0, s.LastTradedAt.Sub(s.WrittenUntil)), true
}

// StreamCounters count events since the recorder started.
type StreamCounters struct {
	// Messages counts all messages, Trades the trades that were received for the first time, and
	// Duplicates those that this or another connection had delivered before.
	Messages   int64 `json:"messages"`
	Trades     int64 `json:"trades"`
	Duplicates int64 `json:"duplicates"`
	// Malformed counts messages that cannot be decoded, Unknown messages of other streams, feeds or
	// symbols, and Damaged trades that the exchange voided. None of them is stored.
	Malformed int64 `json:"malformed"`
	Unknown   int64 `json:"unknown"`
	Damaged   int64 `json:"damaged"`
	// Inexact counts prices and quantities that a double does not represent exactly. They are
	// stored and marked.
	Inexact int64 `json:"inexact"`
	// Gaps counts ranges of ids that no connection delivered in time, Missing the ids in them.
	Gaps    int64 `json:"gaps"`
	Missing int64 `json:"missing"`
	// GapsBefore counts symbols of which ids are missing between the last one on the tape when the
	// recorder started and the first one that it received, MissingBefore the ids.
	GapsBefore    int64 `json:"gaps_before,omitempty"`
	MissingBefore int64 `json:"missing_before,omitempty"`
	// Connects counts established connections. Reconnects of them followed a lost connection, and
	// Replaced took over from a connection that was still up. Refused counts failed attempts.
	Connects   int64 `json:"connects"`
	Reconnects int64 `json:"reconnects"`
	Replaced   int64 `json:"replaced"`
	Refused    int64 `json:"refused"`
	// Conflicts counts trades that were refused because their ids have another content on the tape.
	Conflicts int64 `json:"conflicts"`
	// Flushes counts published batches, Rows and Bytes what they wrote, and Dropped the trades that
	// were on the tape already.
	Flushes int64 `json:"flushes"`
	Rows    int64 `json:"rows"`
	Dropped int64 `json:"dropped"`
	Bytes   int64 `json:"bytes"`
	// Stalls counts how often reading waited because two batches were full.
	Stalls int64 `json:"stalls"`
}
