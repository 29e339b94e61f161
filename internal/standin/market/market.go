// Package market simulates a spot market: taker orders that arrive in bursts, more by day than by
// night, on tick and step grids, with ids that continue from a large number, and incidents (a pump,
// a flash crash, a whale …) at known times. It has no clock, file or connection: its owner moves
// time forward with [Market.Extend] or [Market.Release].
//
// A Perpetual is the other kind of market: one in absolute time, which resumes after a restart.
//
// The guarantee: a Market is a function of its Config. The same Config gives the same trades to the
// last digit, however the calls to Extend are split (on one processor architecture, because
// compilers may fuse floating-point operations on another). Prices, sizes and times look like
// trading and predict nothing. A detector's score here is only as good as the incidents described
// in incidents.go.
package market

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"tapedeck/internal/standin/exchange"
)

// DefaultHistory is a day and two hours, so that a report on the last 24 hours has data before its
// window.
const DefaultHistory = 26 * time.Hour

// MaxSymbols bounds Config.Symbols. Binance lists fewer spot pairs than that.
const MaxSymbols = 2000

// maxRows bounds the size of the history; a row takes 32 bytes.
const maxRows = 100_000_000

// Config describes a market. Only Start is required.
type Config struct {
	// Seed chooses the market. Every number is valid, 0 too.
	Seed uint64
	// Start is the end of the history and the start of live time.
	Start time.Time
	// History is how far trades reach back before Start; 0 means DefaultHistory.
	History time.Duration
	// Symbols is the number of pairs; 0 means the named ones. Beyond those, names are made up.
	Symbols int
	// Rate multiplies how often orders arrive; 0 means 1: about 1.2 orders a second for the busiest
	// pair.
	Rate float64
	// Quiet omits all incidents, those in Incidents too.
	Quiet bool
	// Incidents are scheduled. nil means Standard() if History is 21 hours or more, otherwise none.
	Incidents []Incident
}

// Incident asks for one incident.
type Incident struct {
	// Kind is one of Kinds().
	Kind string
	// Symbol is the pair. If it is empty, the seed chooses among the pairs that suit the kind.
	Symbol string
	// At is the onset. If it is zero, the seed chooses one in the history, late enough for a baseline
	// of 14 hours and early enough to end before Start. It may lie after Start.
	At time.Time
	// Size multiplies what the seed draws for it (how far, how many, how long), to find the size from
	// which it is noticed; 0 means 1.
	Size float64
}

// Event is a scheduled incident.
type Event struct {
	// Kind is one of Kinds(), which is the name of the detector that should find it.
	Kind   string `json:"kind"`
	Symbol string `json:"symbol"`
	// At is the onset: the whale's order, the first minute of the pump, the last trade before the
	// silence.
	At time.Time `json:"at"`
	// From and To bound the trades that the incident changed, its aftermath included: half-open, UTC.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Note describes the incident in a sentence.
	Note string `json:"note"`
}

// Market is a simulated market and an [exchange.Source] that releases a row at its time of trading.
// Any number of goroutines may read it while others extend it.
type Market struct {
	config    Config
	begin     int64 // µs: start of the history, on a second
	pairs     []*pair
	byName    map[string]*pair
	symbols   []exchange.Symbol
	incidents []*incident

	extend sync.Mutex   // held during Extend; guards engine
	engine engine       // the state of the generation, which readers do not see
	mu     sync.RWMutex // guards the rows of pairs and horizon
	// horizon is the time before which rows are visible, µs. Generation works in whole seconds and may
	// be ahead of it.
	horizon int64
}

// New creates a market and generates its history. It fails if the Config is impossible: no Start,
// too many symbols, an unknown incident or one without room.
func New(config Config) (*Market, error) {
	config.History = cmp.Or(config.History, DefaultHistory)
	config.Rate = cmp.Or(config.Rate, 1)
	begin := config.Start.Add(-config.History).Truncate(time.Second).UnixMicro()
	m := &Market{config: config, begin: begin, horizon: begin, byName: map[string]*pair{}}
	if err := m.populate(); err != nil {
		return nil, fmt.Errorf("simulated market: %w", err)
	}
	m.Extend(config.Start)
	return m, nil
}

// populate checks the configuration, and creates the pairs and schedules the incidents.
func (m *Market) populate() error {
	config := m.config
	switch {
	case config.Start.IsZero():
		return fmt.Errorf("no start time")
	case config.History < 0:
		return fmt.Errorf("history of %s is negative", config.History)
	case config.Symbols < 0 || config.Symbols > MaxSymbols:
		return fmt.Errorf("%d symbols: the range is 1 to %d", config.Symbols, MaxSymbols)
	case !(config.Rate >= 0) || config.Rate > 1e5:
		return fmt.Errorf("rate %g must be above 0 and at most 100000", config.Rate)
	}
	m.engine = newEngine(m)
	m.addPairs()
	expected := 0.0
	for _, p := range m.pairs {
		expected += p.rate * config.Rate * config.History.Seconds() * 1.3
	}
	if expected > maxRows {
		return fmt.Errorf("a history of %s at rate %g would be about %.0f million trades, more than %d million: shorten it",
			config.History, config.Rate, expected/1e6, maxRows/1_000_000)
	}
	return m.scheduleIncidents()
}

// Extend makes the trades before until visible and generates those that do not exist yet. It does
// nothing if until has passed.
func (m *Market) Extend(until time.Time) {
	m.extend.Lock()
	defer m.extend.Unlock()
	end := until.UnixMicro()
	if end <= m.horizon {
		return
	}
	for m.engine.now < end {
		// One second at a time, so that a reader waits for one second's generation at most.
		m.mu.Lock()
		m.engine.second()
		m.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pairs {
		p.reveal(end)
	}
	m.horizon = end
}

// Horizon returns the time before which all trades are visible: the greatest argument of Extend so
// far.
func (m *Market) Horizon() time.Time {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return time.UnixMicro(m.horizon).UTC()
}

// Injected lists the incidents by onset, including those that have not begun.
func (m *Market) Injected() []Event {
	events := make([]Event, len(m.incidents))
	for i, in := range m.incidents {
		events[i] = in.event
	}
	slices.SortFunc(events, func(a, b Event) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Symbol, b.Symbol))
	})
	return events
}

// Symbols implements exchange.Source: the busiest named pairs come first.
func (m *Market) Symbols() []exchange.Symbol { return m.symbols }

// Release implements exchange.Source.
func (m *Market) Release(until int64) { m.Extend(time.UnixMicro(until + 1)) }

// Rows implements exchange.Source. It appends nothing for an unknown symbol.
func (m *Market) Rows(dst []exchange.Row, symbol string, kind exchange.Kind, fromID int64, limit int) []exchange.Row {
	p := m.byName[symbol]
	if p == nil {
		return dst
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return p.visibleRows(dst, kind, fromID, limit)
}

// FirstAt implements exchange.Source.
func (m *Market) FirstAt(symbol string, kind exchange.Kind, at int64) (id int64, ok bool) {
	id, i, visible := m.search(symbol, kind, at)
	return id, i < visible
}

// LastBefore implements exchange.Source.
func (m *Market) LastBefore(symbol string, kind exchange.Kind, at int64) (id int64, ok bool) {
	id, i, _ := m.search(symbol, kind, at)
	return id - 1, i > 0
}

// search returns the index of the first visible row at or after a time, the id that it begins with, and
// the number of visible rows.
func (m *Market) search(symbol string, kind exchange.Kind, at int64) (id int64, i, visible int) {
	p := m.byName[symbol]
	if p == nil {
		return 0, 0, 0
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	i = p.searchTime(at)
	return p.firstID(kind, i), i, p.visible
}

// LastReleased implements exchange.Source.
func (m *Market) LastReleased(symbol string, kind exchange.Kind, at int64) (id int64, ok bool) {
	return m.LastBefore(symbol, kind, at+1)
}

// Between implements exchange.Source.
func (m *Market) Between(dst []exchange.Event, kind exchange.Kind, after, until int64) []exchange.Event {
	from := len(dst)
	m.mu.RLock()
	var rows []exchange.Row
	for i, p := range m.pairs {
		from, end := p.searchTime(after+1), p.searchTime(until+1)
		if from == end {
			continue
		}
		first := p.firstID(kind, from)
		rows = p.visibleRows(rows[:0], kind, first, int(p.firstID(kind, end)-first))
		for _, row := range rows {
			dst = append(dst, exchange.Event{Symbol: i, Row: row})
		}
	}
	m.mu.RUnlock()
	slices.SortFunc(dst[from:], func(a, b exchange.Event) int {
		return cmp.Or(cmp.Compare(a.TradedAt, b.TradedAt), cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.ID, b.ID))
	})
	return dst
}

// Span implements exchange.Source. The market never ends.
func (m *Market) Span() (first, last int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	first = m.horizon
	for _, p := range m.pairs {
		if p.visible > 0 {
			first = min(first, p.row(0).time)
		}
	}
	return first, exchange.Endless
}
