package market

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"tapedeck/internal/standin/exchange"
)

// Perpetual is a market in absolute time, an [exchange.Source]. Each row is a function of the seed, the
// symbols, the rate and its id. Any two processes with the same settings show the same rows,
// whenever they were started, so that an exchange which is restarted resumes its market. Nothing is
// simulated step by step: the number of rows before an instant follows from a schedule (schedule.go),
// and the rows of one symbol and minute are made when they are read (minute.go).
//
// Four incidents happen on each UTC day, those of [Standard], each to another coin. Their effects end
// with the day. A [Market] looks more like trading, because its orders trigger others and move the
// price, but exists only from its own start.
type Perpetual struct {
	seed      uint64
	key       uint64 // of the movement that all assets share
	rate      float64
	quiet     bool
	scheduled *Market // only its pairs, their assets and its helpers; it has no rows
	pairs     []*perpetualPair
	byName    map[string]*perpetualPair
	from      int64        // µs: rows before are not shown
	horizon   atomic.Int64 // µs: rows from then on are not shown yet

	mu    sync.Mutex
	plans []*plan // by day since the epoch
}

// perpetualEpoch is when a Perpetual begins: Binance's archive has had files of all these pairs' kind
// since before.
var perpetualEpoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// PerpetualConfig describes a Perpetual. The zero value, with Now, is a market.
type PerpetualConfig struct {
	// Seed, Symbols, Rate and Quiet are as in Config.
	Seed    uint64
	Symbols int
	Rate    float64
	Quiet   bool
	// Now is where the exchange's clock starts. The market does not depend on it.
	Now time.Time
	// History is how far before Now rows are shown; 0 means from the market's beginning, 2024-01-01.
	History time.Duration
}

// perpetualPair is a pair and what was computed for it.
type perpetualPair struct {
	*pair
	key   uint64   // of its random draws
	first [2]int64 // the ids that its visible rows begin with, by kind

	mu      sync.Mutex
	extra   []int64           // rows of incidents before each day since the epoch
	tables  map[int64][]int64 // by day: the rows before each minute
	recent  [recentMinutes]minuteRows
	replace int // the next one of recent to replace
}

// recentMinutes is how many minutes of a pair are kept: the present one, and some for those who page
// through the past.
const recentMinutes = 4

// maxTables bounds how many days of a pair are kept.
const maxTables = 4

// NewPerpetual creates a market. It fails if the config is impossible.
func NewPerpetual(config PerpetualConfig) (*Perpetual, error) {
	config.Rate = cmp.Or(config.Rate, 1)
	switch {
	case config.Now.Before(perpetualEpoch):
		return nil, fmt.Errorf("simulated market: it begins on %s, after %s",
			perpetualEpoch.Format(time.DateOnly), config.Now.UTC().Format(time.RFC3339))
	case config.History < 0:
		return nil, fmt.Errorf("simulated market: history of %s is negative", config.History)
	case config.Symbols < 0 || config.Symbols > MaxSymbols:
		return nil, fmt.Errorf("simulated market: %d symbols: the range is 1 to %d", config.Symbols, MaxSymbols)
	case !(config.Rate > 0) || config.Rate > 1e5:
		return nil, fmt.Errorf("simulated market: rate %g must be above 0 and at most 100000", config.Rate)
	}
	m := &Market{
		config: Config{Seed: config.Seed, Start: perpetualEpoch, Symbols: config.Symbols, Rate: config.Rate},
		begin:  perpetualEpoch.UnixMicro(), byName: map[string]*pair{},
	}
	m.engine = newEngine(m)
	m.addPairs()
	v := &Perpetual{
		seed: config.Seed, key: config.Seed ^ hashOf("common movement"), rate: config.Rate, quiet: config.Quiet, scheduled: m,
		byName: map[string]*perpetualPair{}, from: m.begin,
	}
	if config.History > 0 {
		v.from = max(v.from, config.Now.Add(-config.History).UnixMicro())
	}
	v.horizon.Store(config.Now.UnixMicro())
	for _, p := range m.pairs {
		pp := &perpetualPair{pair: p, key: hashOf("perpetual " + p.name), tables: map[int64][]int64{}}
		v.pairs = append(v.pairs, pp)
		v.byName[p.name] = pp
	}
	for _, p := range v.pairs {
		for i, kind := range exchange.Kinds() {
			p.first[i] = p.idAt(kind, v.before(p, v.from))
		}
	}
	return v, nil
}

// Symbols implements exchange.Source: the busiest named pairs come first.
func (v *Perpetual) Symbols() []exchange.Symbol { return v.scheduled.symbols }

// Release implements exchange.Source.
func (v *Perpetual) Release(until int64) {
	for {
		horizon := v.horizon.Load()
		if until < horizon || v.horizon.CompareAndSwap(horizon, until+1) {
			return
		}
	}
}

// Rows implements exchange.Source. It appends nothing for an unknown symbol.
func (v *Perpetual) Rows(dst []exchange.Row, symbol string, kind exchange.Kind, fromID int64, limit int) []exchange.Row {
	p := v.byName[symbol]
	if p == nil {
		return dst
	}
	fromID = max(fromID, p.first[kindIndex(kind)])
	horizon, end := v.horizon.Load(), len(dst)+limit
	for minute := v.minuteOf(p, p.aggOf(kind, fromID)); minute*minuteMicros < horizon && len(dst) < end; minute++ {
		block := v.minute(p, minute)
		for i := range block.rows {
			if block.rows[i].time >= horizon || len(dst) >= end {
				return dst
			}
			dst = p.appendRow(dst, kind, block.first+int64(i), &block.rows[i], fromID, end)
		}
	}
	return dst
}

// appendRow appends what a sequence shows of one row, from fromID on, as long as dst is shorter than end.
func (p *perpetualPair) appendRow(dst []exchange.Row, kind exchange.Kind, agg int64, r *row, fromID int64, end int) []exchange.Row {
	first, next := p.rawOf(agg), p.rawOf(agg+1)
	out := exchange.Row{TradedAt: r.time, BuyerMaker: r.sell}
	if kind == exchange.AggTrade {
		if agg >= fromID {
			out.ID, out.FirstTradeID, out.LastTradeID = agg, first, next-1
			out.Price, out.Qty = p.decimals(r.price, r.qty)
			dst = append(dst, out)
		}
		return dst
	}
	s := splitter{state: p.salt ^ uint64(agg)*0x9e3779b97f4a7c15, steps: r.qty, makers: next - first}
	for id := first; id < next && len(dst) < end; id++ {
		if steps := s.next(); id >= fromID {
			out.ID, out.FirstTradeID, out.LastTradeID = id, id, id
			out.Price, out.Qty = p.decimals(r.price, steps)
			dst = append(dst, out)
		}
	}
	return dst
}

// FirstAt implements exchange.Source.
func (v *Perpetual) FirstAt(symbol string, kind exchange.Kind, at int64) (id int64, ok bool) {
	p := v.byName[symbol]
	horizon := v.horizon.Load()
	if p == nil || at >= horizon {
		return 0, false
	}
	id = p.idAt(kind, v.before(p, max(at, v.from)))
	return id, id < p.idAt(kind, v.before(p, horizon))
}

// LastBefore implements exchange.Source.
func (v *Perpetual) LastBefore(symbol string, kind exchange.Kind, at int64) (id int64, ok bool) {
	p := v.byName[symbol]
	if p == nil {
		return 0, false
	}
	id = p.idAt(kind, v.before(p, min(at, v.horizon.Load()))) - 1
	return id, id >= p.first[kindIndex(kind)]
}

// LastReleased implements exchange.Source.
func (v *Perpetual) LastReleased(symbol string, kind exchange.Kind, at int64) (id int64, ok bool) {
	return v.LastBefore(symbol, kind, at+1)
}

// Between implements exchange.Source.
func (v *Perpetual) Between(dst []exchange.Event, kind exchange.Kind, after, until int64) []exchange.Event {
	from := len(dst)
	after, until = max(after, v.from-1), min(until, v.horizon.Load()-1)
	var rows []exchange.Row
	for i, p := range v.pairs {
		for minute := (after + 1) / minuteMicros; minute*minuteMicros <= until; minute++ {
			block := v.minute(p, minute)
			n := sort.Search(len(block.rows), func(i int) bool { return block.rows[i].time > after })
			for ; n < len(block.rows) && block.rows[n].time <= until; n++ {
				rows = p.appendRow(rows[:0], kind, block.first+int64(n), &block.rows[n], 0, 1<<30)
				for _, row := range rows {
					dst = append(dst, exchange.Event{Symbol: i, Row: row})
				}
			}
		}
	}
	slices.SortFunc(dst[from:], func(a, b exchange.Event) int {
		return cmp.Or(cmp.Compare(a.TradedAt, b.TradedAt), cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.ID, b.ID))
	})
	return dst
}

// Span implements exchange.Source. The market never ends.
func (v *Perpetual) Span() (first, last int64) { return v.from, exchange.Endless }

// Injected lists the incidents with an onset in [from, until), by onset.
func (v *Perpetual) Injected(from, until time.Time) []Event {
	var events []Event
	for day := v.dayOf(from.UnixMicro()); day <= v.dayOf(until.UnixMicro()); day++ {
		for _, in := range v.plan(day).incidents {
			if !in.event.At.Before(from) && in.event.At.Before(until) {
				events = append(events, in.event)
			}
		}
	}
	slices.SortFunc(events, func(a, b Event) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Symbol, b.Symbol)) })
	return events
}

// before returns the id of a pair's first aggregated trade at or after a time.
func (v *Perpetual) before(p *perpetualPair, at int64) int64 {
	if at < v.scheduled.begin {
		return p.firstAgg
	}
	block := v.minute(p, at/minuteMicros)
	return block.first + int64(sort.Search(len(block.rows), func(i int) bool { return block.rows[i].time >= at }))
}

func kindIndex(kind exchange.Kind) int { return slices.Index(exchange.Kinds(), kind) }

// The trades in an aggregated one follow from its id, so that neither sequence depends on how the rows
// are read: groupRows rows hold groupTrades trades.
const (
	groupRows   = 8
	groupTrades = 12
	maxMakers   = groupTrades - groupRows + 1 // in one row
)

// rawOf returns the first trade of an aggregated one.
func (p *perpetualPair) rawOf(agg int64) int64 {
	n := agg - p.firstAgg
	group, place := n/groupRows, n%groupRows
	raw := p.firstTrade + group*groupTrades + place
	for extra := range int64(groupTrades - groupRows) { // each goes to one row of the group
		if int64(draw(p.key^0x7261, uint64(group*groupRows+extra))%groupRows) < place {
			raw++
		}
	}
	return raw
}

// aggOf returns the aggregated trade that holds an id of a sequence.
func (p *perpetualPair) aggOf(kind exchange.Kind, id int64) int64 {
	if kind == exchange.AggTrade {
		return id
	}
	group := max(0, id-p.firstTrade) / groupTrades
	agg := p.firstAgg + group*groupRows
	for p.rawOf(agg+1) <= id {
		agg++
	}
	return agg
}

// idAt returns the id that an aggregated trade begins with in a sequence.
func (p *perpetualPair) idAt(kind exchange.Kind, agg int64) int64 {
	if kind == exchange.AggTrade {
		return agg
	}
	return p.rawOf(agg)
}
