package exchange

import (
	"cmp"
	"slices"
	"sort"
)

// Memory is a source of rows held in memory.
type Memory struct {
	symbols []Symbol
	byName  map[string]int
	rows    [2][]series   // by kind, by symbol
	order   [2][]released // by kind, in order of release
	first   int64
	last    int64
}

type series struct {
	rows     []Row
	released []int64 // of each row, never falling
}

type released struct {
	at     int64
	symbol int32
	row    int32
	seq    int // index in NewMemory's rows, which orders equal times
}

// MemoryRow is a row with its sequence and its time of release.
type MemoryRow struct {
	Symbol string
	Kind   Kind
	Row
	// ReleasedAt is when the row is streamed and REST begins to show it; 0 means the later of EventAt
	// and TradedAt.
	ReleasedAt int64
}

// NewMemory creates a source of rows, which may be in any order. If rows have the same symbol, kind
// and id, the first is kept. A row with a symbol that is not in symbols adds it, with Base and Quote
// guessed from the name.
func NewMemory(symbols []Symbol, rows []MemoryRow) *Memory {
	m := &Memory{symbols: slices.Clone(symbols), byName: map[string]int{}}
	for i, s := range m.symbols {
		m.byName[s.Name] = i
	}
	for _, r := range rows {
		if _, ok := m.byName[r.Symbol]; !ok {
			m.byName[r.Symbol] = len(m.symbols)
			m.symbols = append(m.symbols, guessSymbol(r.Symbol))
		}
	}
	for k := range m.rows {
		m.rows[k] = make([]series, len(m.symbols))
	}
	index := make([]int, len(rows))
	for i := range rows {
		index[i] = i
	}
	// By id; equal rows stay in the given order.
	slices.SortStableFunc(index, func(a, b int) int { return cmp.Compare(rows[a].ID, rows[b].ID) })
	for _, i := range index {
		m.add(rows[i], i)
	}
	for k := range m.order {
		slices.SortFunc(m.order[k], func(a, b released) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq))
		})
	}
	return m
}

func (m *Memory) add(r MemoryRow, seq int) {
	symbol, kind := m.byName[r.Symbol], r.Kind.index()
	s := &m.rows[kind][symbol]
	at := cmp.Or(r.ReleasedAt, max(r.EventAt, r.TradedAt))
	if n := len(s.rows); n > 0 {
		if s.rows[n-1].ID == r.ID {
			return
		}
		at = max(at, s.released[n-1])
	}
	if r.Kind == Trade {
		r.FirstTradeID, r.LastTradeID = r.ID, r.ID
	}
	m.order[kind] = append(m.order[kind], released{at: at, symbol: int32(symbol), row: int32(len(s.rows)), seq: seq})
	s.rows, s.released = append(s.rows, r.Row), append(s.released, at)
	if m.first == 0 || at < m.first {
		m.first = at
	}
	m.last = max(m.last, at)
}

// guessSymbol splits a pair's name at one of Binance's quote assets.
func guessSymbol(name string) Symbol {
	quotes := []string{"FDUSD", "USDT", "USDC", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY"}
	for _, quote := range quotes {
		if base := len(name) - len(quote); base > 0 && name[base:] == quote {
			return Symbol{Name: name, Base: name[:base], Quote: quote}
		}
	}
	return Symbol{Name: name, Base: name, Quote: "USDT"}
}

// Symbols implements Source.
func (m *Memory) Symbols() []Symbol { return m.symbols }

// Release implements Source. All rows exist from the start.
func (m *Memory) Release(int64) {}

func (m *Memory) series(symbol string, kind Kind) *series {
	i, ok := m.byName[symbol]
	if !ok {
		return &series{}
	}
	return &m.rows[kind.index()][i]
}

// id returns the id of row i, if there is one.
func (s *series) id(i int) (id int64, ok bool) {
	if i < 0 || i >= len(s.rows) {
		return 0, false
	}
	return s.rows[i].ID, true
}

// firstAt returns the index of the first row with TradedAt at or after a time.
func (s *series) firstAt(at int64) int {
	return sort.Search(len(s.rows), func(i int) bool { return s.rows[i].TradedAt >= at })
}

// Rows implements Source.
func (m *Memory) Rows(dst []Row, symbol string, kind Kind, fromID int64, limit int) []Row {
	rows := m.series(symbol, kind).rows
	from := sort.Search(len(rows), func(i int) bool { return rows[i].ID >= fromID })
	return append(dst, rows[from:min(len(rows), from+limit)]...)
}

// FirstAt implements Source.
func (m *Memory) FirstAt(symbol string, kind Kind, at int64) (int64, bool) {
	s := m.series(symbol, kind)
	return s.id(s.firstAt(at))
}

// LastBefore implements Source.
func (m *Memory) LastBefore(symbol string, kind Kind, at int64) (int64, bool) {
	s := m.series(symbol, kind)
	return s.id(s.firstAt(at) - 1)
}

// LastReleased implements Source.
func (m *Memory) LastReleased(symbol string, kind Kind, at int64) (int64, bool) {
	s := m.series(symbol, kind)
	return s.id(sort.Search(len(s.released), func(i int) bool { return s.released[i] > at }) - 1)
}

// Between implements Source.
func (m *Memory) Between(dst []Event, kind Kind, after, until int64) []Event {
	order := m.order[kind.index()]
	from := sort.Search(len(order), func(i int) bool { return order[i].at > after })
	for _, r := range order[from:] {
		if r.at > until {
			break
		}
		dst = append(dst, Event{Symbol: int(r.symbol), Row: m.rows[kind.index()][r.symbol].rows[r.row]})
	}
	return dst
}

// Span implements Source.
func (m *Memory) Span() (first, last int64) { return m.first, m.last }
