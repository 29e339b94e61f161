package stream

import (
	"context"
	"slices"
	"strings"
	"sync"

	"tapedeck/internal/binance"
	"tapedeck/internal/symbol"
)

// group is a set of symbols that share a connection, or several copies of one.
type group struct {
	feed    string
	stop    context.CancelFunc // stops its connectors
	running int                // connectors; belongs to the recorder's goroutine
	readers readers

	mu      sync.Mutex
	symbols []symbol.Name // sorted
	changed chan struct{}
}

func newGroup(feed string, stop context.CancelFunc, symbols []symbol.Name) *group {
	return &group{feed: feed, stop: stop, symbols: slices.Clone(symbols), changed: make(chan struct{})}
}

func (g *group) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.symbols)
}

// add adds symbols that are not in the group.
func (g *group) add(names []symbol.Name) {
	if len(names) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.symbols = append(g.symbols, names...)
	slices.SortFunc(g.symbols, symbol.Name.Compare)
	g.notifyChanged()
}

// remove removes symbols, and returns how many are left.
func (g *group) remove(names []symbol.Name) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := len(g.symbols)
	g.symbols = slices.DeleteFunc(g.symbols, func(name symbol.Name) bool { return slices.Contains(names, name) })
	if len(g.symbols) != before {
		g.notifyChanged()
	}
	return len(g.symbols)
}

func (g *group) notifyChanged() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// current returns the symbols, the names of their streams, and a channel that is closed when the
// symbols change.
func (g *group) current() (symbols, streams []string, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	streams = make([]string, len(g.symbols))
	for i, name := range g.symbols {
		streams[i] = binance.StreamName(name, g.feed)
	}
	return symbol.Strings(g.symbols), streams, g.changed
}

// without returns the names of a that are not in b, regardless of case.
func without(a, b []string) []string {
	inB := make(map[string]bool, len(b))
	for _, name := range b {
		inB[strings.ToLower(name)] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(name string) bool { return inB[strings.ToLower(name)] })
}
