package exchange

import (
	"slices"
	"strings"
	"sync"
)

// Altered is a row that was served with other content than the source has for its id.
type Altered struct {
	Symbol string
	Kind   Kind
	Row    Row // as it was served
}

// altered holds the rows that were served with other content, each once.
type altered struct {
	mu   sync.Mutex
	rows map[Altered]bool
}

// Conflicts lists the rows that were served with other content, each once, by symbol and id.
func (s *Server) Conflicts() []Altered {
	s.altered.mu.Lock()
	defer s.altered.mu.Unlock()
	rows := make([]Altered, 0, len(s.altered.rows))
	for row := range s.altered.rows {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b Altered) int {
		if order := strings.Compare(a.Symbol, b.Symbol); order != 0 {
			return order
		}
		return int(a.Row.ID - b.Row.ID)
	})
	return rows
}

func (s *Server) countConflicts() int64 {
	s.altered.mu.Lock()
	defer s.altered.mu.Unlock()
	return int64(len(s.altered.rows))
}

// alter returns a row with other content: the same for the same row, whichever interface serves it, so
// that it is one conflict. It counts the row.
func (s *Server) alter(symbol string, kind Kind, r Row) Row {
	switch Mix(uint64(r.ID)) % 4 {
	case 0:
		r.Price = more(r.Price)
	case 1:
		r.Qty = more(r.Qty)
	case 2:
		r.TradedAt += 2000 // visible in milliseconds
	default:
		r.BuyerMaker = !r.BuyerMaker
	}
	s.altered.mu.Lock()
	s.altered.rows[Altered{Symbol: symbol, Kind: kind, Row: r}] = true
	s.altered.mu.Unlock()
	return r
}

// more returns a decimal that is larger by a thousandth.
func more(decimal string) string {
	n := parseDecimal(decimal)
	return string(AppendDecimal(nil, n+max(1, n/1000)))
}

// alterRows alters one row of a page if RESTConflict happens to the request.
func (q *query) alterRows(symbol string, kind Kind, rows []Row) {
	if !q.alters || len(rows) == 0 {
		return
	}
	q.alters = false
	q.server.counters.fault(RESTConflict)
	i := len(rows) / 2
	rows[i] = q.server.alter(symbol, kind, rows[i])
}

// revisedRow is how many rows of a file there are for one that ArchiveRevised alters.
const revisedRow = 997

// revises reports whether ArchiveRevised alters the row of an id, in a file that begins with first: its
// second row, and few others.
func revises(id, first int64) bool { return (id-first)%revisedRow == 1 }
