// Package market simulates a spot market: taker orders that arrive in bursts by day and night, on tick and step
// grids, with ids that count on from a large number, and incidents (a pump, a flash crash, a whale …) put in at known
// times. It owns no clock, no file and no connection: a Market is a value that is asked for trades.
//
// The guarantee: a Market is a function of its Config. The same Config gives the same trades to the last digit,
// however the calls to Extend are cut (on one processor architecture; compilers may fuse floating point operations
// elsewhere). Prices, sizes and times are made to look like trading, not to predict it: what a detector scores here
// is only as telling as the incidents described in incident.go.
package market

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// DefaultHistory is a day and two hours: a report on the last 24 hours has data before its window.
const DefaultHistory = 26 * time.Hour

// MaxSymbols bounds Config.Symbols; Binance lists fewer spot pairs than that.
const MaxSymbols = 2000

// mostRows bounds what the history may hold: 32 bytes each.
const mostRows = 100_000_000

// Kind says which of the exchange's two sequences of one symbol is meant.
type Kind int

const (
	// AggTrades has one row for each price that a taker order traded at.
	AggTrades Kind = iota
	// Trades has one row for each maker order that a taker order met: an AggTrades row is one or several of these.
	Trades
)

// Config describes a market. Only Start is required.
type Config struct {
	// Seed chooses the market; every number is a market, 0 too.
	Seed uint64
	// Start is the end of the history and the start of live time.
	Start time.Time
	// History is how far trades reach back before Start; 0 means DefaultHistory.
	History time.Duration
	// Symbols is how many pairs trade; 0 means the named ones. Beyond those, names are made up.
	Symbols int
	// Rate multiplies how often orders arrive; 0 means 1: about 1.2 orders a second for the liveliest pair.
	Rate float64
	// Quiet leaves all incidents out, Incidents among them.
	Quiet bool
	// Incidents are put in; nil means Standard() where History is 21 hours or more, else none.
	Incidents []Incident
}

// Incident asks for one incident.
type Incident struct {
	// Kind is one of Kinds().
	Kind string
	// Symbol is where; "" lets the seed choose among the pairs where such a thing happens.
	Symbol string
	// At is the onset; the zero time lets the seed choose one in the history, late enough for a baseline of 14 hours
	// and early enough to be over by Start. It may lie after Start.
	At time.Time
	// Size multiplies what the seed draws for it (how far, how many, how long), to see from where on it is noticed;
	// 0 means 1.
	Size float64
}

// Event is an incident as it was put in.
type Event struct {
	// Kind is the name of the detector that should find it: one of Kinds().
	Kind   string
	Symbol string
	// From and To bound the trades that the incident changed, its aftermath included: half-open.
	From, To time.Time
	// At is the onset: the whale's order, the first minute of the pump, the last trade before the silence.
	At time.Time
	// Note says in a sentence what happens.
	Note string
}

// Symbol describes a pair as exchangeInfo does. TickSize, StepSize and MinNotional are decimals of eight places.
type Symbol struct {
	Name, Base, Quote               string
	TickSize, StepSize, MinNotional string
	Status                          string
	// ListedAt is when it first traded, where that is within the history; else zero.
	ListedAt time.Time
}

// Row is one trade, or one aggregated trade. Price and Qty are decimals of eight places, as Binance prints them; Time
// is in microseconds since 1970 UTC. In the sequence Trades, FirstTradeID and LastTradeID equal ID.
type Row struct {
	ID, FirstTradeID, LastTradeID int64
	Price, Qty                    string
	Time                          int64
	// BuyerMaker is true where the taker sold.
	BuyerMaker bool
}

// Market is a simulated market. Any number of goroutines may read while one or more extend it.
type Market struct {
	config    Config
	begin     int64 // µs: start of the history, on a second
	pairs     []*pair
	byName    map[string]*pair
	incidents []*incident

	extend sync.Mutex   // held through Extend; guards engine
	engine engine       // what generation needs and no reader sees
	mu     sync.RWMutex // guards the tapes of pairs and horizon
	// horizon is the time up to which rows are visible. Generation goes by whole seconds and may be ahead of it.
	horizon int64
}

// New makes a market and generates its history. It fails on a Config that cannot be: no Start, too many symbols, an
// incident that is unknown or has no room.
func New(config Config) (*Market, error) {
	switch {
	case config.Start.IsZero():
		return nil, fmt.Errorf("simulated market: no start time")
	case config.History < 0:
		return nil, fmt.Errorf("simulated market: history of %s", config.History)
	case config.Symbols < 0 || config.Symbols > MaxSymbols:
		return nil, fmt.Errorf("simulated market: %d symbols, want 1 to %d", config.Symbols, MaxSymbols)
	case !(config.Rate >= 0) || config.Rate > 1e5:
		return nil, fmt.Errorf("simulated market: rate %g, want more than 0 and at most 100000", config.Rate)
	}
	if config.History == 0 {
		config.History = DefaultHistory
	}
	if config.Rate == 0 {
		config.Rate = 1
	}
	begin := config.Start.Add(-config.History).Truncate(time.Second)
	m := &Market{config: config, begin: begin.UnixMicro(), horizon: begin.UnixMicro()}
	pairs, err := newPairs(config, m.begin)
	if err != nil {
		return nil, fmt.Errorf("simulated market: %w", err)
	}
	m.pairs = pairs
	expected := 0.0
	for _, p := range pairs {
		expected += p.spec.rate * config.Rate * config.History.Seconds() * 1.3
	}
	if expected > mostRows {
		return nil, fmt.Errorf("simulated market: a history of %s at rate %g would be about %.0f million trades, more than %d million: shorten it",
			config.History, config.Rate, expected/1e6, mostRows/1_000_000)
	}
	m.engine = newEngine(m)
	m.byName = make(map[string]*pair, len(m.pairs))
	for _, p := range m.pairs {
		m.byName[p.spec.name] = p
	}
	if err := m.plan(); err != nil {
		return nil, fmt.Errorf("simulated market: %w", err)
	}
	m.Extend(config.Start)
	return m, nil
}

// Extend makes the trades before until visible, generating what is not there yet. A time already passed does nothing.
func (m *Market) Extend(until time.Time) {
	m.extend.Lock()
	defer m.extend.Unlock()
	end := until.UnixMicro()
	if end <= m.horizon {
		return
	}
	for m.engine.now < end {
		// A second at a time, so that a reader never waits for longer than one takes.
		m.mu.Lock()
		m.engine.second()
		m.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pairs {
		p.tape.reveal(end)
	}
	m.horizon = end
}

// Horizon is the time before which all trades are visible: the greatest argument of Extend so far.
func (m *Market) Horizon() time.Time {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return time.UnixMicro(m.horizon).UTC()
}

// Symbols lists the pairs, the liveliest named ones first.
func (m *Market) Symbols() []Symbol {
	symbols := make([]Symbol, len(m.pairs))
	for i, p := range m.pairs {
		symbols[i] = Symbol{
			Name: p.spec.name, Base: p.spec.base, Quote: p.spec.quote,
			TickSize: decimal(p.spec.tick), StepSize: decimal(p.spec.step), MinNotional: decimal(p.spec.minNotional),
			Status: "TRADING",
		}
		if p.listedAt > m.begin {
			symbols[i].ListedAt = time.UnixMicro(p.listedAt).UTC()
		}
	}
	return symbols
}

// Rows returns up to limit visible rows of a symbol in the order of their ids, from fromID on; from the first there
// is where fromID lies before it. It returns nothing for an unknown symbol.
func (m *Market) Rows(symbol string, kind Kind, fromID int64, limit int) []Row {
	return m.AppendRows(nil, symbol, kind, fromID, limit)
}

// AppendRows is Rows into a slice that the caller reuses.
func (m *Market) AppendRows(rows []Row, symbol string, kind Kind, fromID int64, limit int) []Row {
	p := m.byName[symbol]
	if p == nil || limit <= 0 {
		return rows
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if kind == Trades {
		return p.appendTrades(rows, fromID, limit)
	}
	return p.appendAggs(rows, fromID, limit)
}

// FirstAt returns the id of the first visible row at or after a time.
func (m *Market) FirstAt(symbol string, kind Kind, at time.Time) (id int64, ok bool) {
	p := m.byName[symbol]
	if p == nil {
		return 0, false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	i := p.tape.searchTime(at.UnixMicro())
	if i >= p.tape.visible {
		return 0, false
	}
	if kind == Trades {
		return p.firstTrade + int64(p.tape.at(i).raw), true
	}
	return p.firstAgg + int64(i), true
}

// LastBefore returns the id of the last visible row before a time.
func (m *Market) LastBefore(symbol string, kind Kind, at time.Time) (id int64, ok bool) {
	p := m.byName[symbol]
	if p == nil {
		return 0, false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	i := p.tape.searchTime(at.UnixMicro()) - 1
	if i < 0 {
		return 0, false
	}
	if kind == Trades {
		r := p.tape.at(i)
		return p.firstTrade + int64(r.raw) + int64(r.makers) - 1, true
	}
	return p.firstAgg + int64(i), true
}

// Injected lists the incidents by onset, those that are still to come too.
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
