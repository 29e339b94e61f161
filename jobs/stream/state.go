package stream

import (
	"context"
	"os"
	"sync"
	"time"

	"tapedeck/internal/tape"
)

// StateName is the state file that Run keeps, for health and for people.
const StateName = "stream.json"

// State is the content of the state file. It is rewritten every 5 s and when the run ends; an older
// updated_at without ended_at means that the process hangs or was killed. Times are UTC.
type State struct {
	PID       int       `json:"pid"`
	RunID     string    `json:"run_id,omitempty"`
	StartedAt time.Time `json:"started_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// EndedAt and, where it failed, Error are set when the run has ended.
	EndedAt *time.Time `json:"ended_at,omitempty"`
	Error   string     `json:"error,omitempty"`

	Feed            tape.Feed `json:"feed"`
	URL             string    `json:"url"`
	FlushIntervalMS int64     `json:"flush_interval_ms"`
	// LastFlushAt is when trades were last published; UnflushedTrades wait, the first since UnflushedSince.
	LastFlushAt     *time.Time `json:"last_flush_at,omitempty"`
	UnflushedTrades int        `json:"unflushed_trades"`
	UnflushedSince  *time.Time `json:"unflushed_since,omitempty"`

	Connections []ConnectionState `json:"connections"`
	// Symbols are those asked for, by name.
	Symbols  map[string]SymbolState `json:"symbols"`
	Counters Counters               `json:"counters"`
}

// ConnectionState is a place at which there should be a connection.
type ConnectionState struct {
	Link    string `json:"link"`
	Up      bool   `json:"up"`
	Trouble string `json:"trouble,omitempty"` // why it is not up
	Streams int    `json:"streams"`
	// Connects is how many connections there have been here.
	Connects int64      `json:"connects"`
	OpenedAt *time.Time `json:"opened_at,omitempty"`
	// LastReceivedAt is when the last trade came, LastPingAt when the exchange last pinged.
	LastReceivedAt *time.Time `json:"last_received_at,omitempty"`
	LastPingAt     *time.Time `json:"last_ping_at,omitempty"`
	// UsualSilenceMS is the longest silence of the last minutes; 0 where it is not known yet.
	UsualSilenceMS int64 `json:"usual_silence_ms,omitempty"`
}

// SymbolState is what is known of a symbol. A symbol that has not traded since the start has zeros.
type SymbolState struct {
	Trades         int64      `json:"trades"`
	LastID         int64      `json:"last_id,omitempty"`
	LastTradedAt   *time.Time `json:"last_traded_at,omitempty"`
	LastReceivedAt *time.Time `json:"last_received_at,omitempty"`
	UsualSilenceMS int64      `json:"usual_silence_ms,omitempty"`
}

// stateFile writes the state.
type stateFile struct {
	dir *tape.Dir
	r   *recorder

	mu     sync.Mutex // one writer at a time
	base   State
	failed bool
}

func newStateFile(dir *tape.Dir, r *recorder) *stateFile {
	return &stateFile{dir: dir, r: r, base: State{
		PID: os.Getpid(), RunID: r.opt.RunID, StartedAt: time.Now().UTC(),
		Feed: dir.Feed(), URL: r.opt.URL, FlushIntervalMS: r.opt.FlushInterval.Milliseconds(),
	}}
}

// keep writes the state again and again until the context ends.
func (f *stateFile) keep(ctx context.Context) {
	ticker := time.NewTicker(stateEvery)
	defer ticker.Stop()
	for {
		f.write()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (f *stateFile) end(err error) {
	f.mu.Lock()
	now := time.Now().UTC()
	f.base.EndedAt = &now
	if err != nil {
		f.base.Error = err.Error()
	}
	f.mu.Unlock()
	f.write()
}

// write puts the state down. A failure is logged once and does not disturb the recording.
func (f *stateFile) write() {
	f.mu.Lock()
	defer f.mu.Unlock()
	state := f.base
	f.r.deck.describe(&state)
	err := f.dir.WriteState(StateName, &state)
	if err != nil && !f.failed {
		f.r.log.Warn("state not written", "error", err)
	}
	f.failed = err != nil
}

// describe fills in what changes.
func (d *deck) describe(state *State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	state.UpdatedAt = time.Now().UTC()
	state.Counters = d.count
	state.LastFlushAt = moment(d.flushedAt)
	if state.UnflushedTrades = len(d.batch.rows); state.UnflushedTrades > 0 {
		state.UnflushedSince = moment(d.begunAt)
	}
	state.Connections = make([]ConnectionState, len(d.links))
	for i, l := range d.links {
		one := ConnectionState{
			Link: l.name, Up: l.live.reading(), Trouble: l.trouble, Streams: l.group.size(), Connects: l.connects,
			LastReceivedAt: d.wall(l.lastHeard),
		}
		if quiet, ok := l.cadence.expected(); ok {
			one.UsualSilenceMS = max(quiet.Milliseconds(), 1)
		}
		if l.live != nil {
			one.OpenedAt, one.LastPingAt = moment(l.live.openedAt), d.wall(l.live.conn.LastPing())
		}
		state.Connections[i] = one
	}
	state.Symbols = make(map[string]SymbolState, len(d.known))
	for _, s := range d.known {
		if !s.wanted {
			continue
		}
		one := SymbolState{Trades: s.trades, LastID: s.lastID, LastReceivedAt: d.wall(s.lastHeard)}
		if s.trades > 0 {
			one.LastTradedAt = moment(time.UnixMicro(s.lastTradedAt))
		}
		if quiet, ok := s.cadence.expected(); ok {
			one.UsualSilenceMS = max(quiet.Milliseconds(), 1)
		}
		state.Symbols[s.name] = one
	}
}

// moment gives nil for no time at all.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
