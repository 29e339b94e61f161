package stream

import (
	"context"
	"slices"
	"strings"
	"sync"

	"tapedeck/internal/binance"
)

// group is symbols that share connections: one, or several copies of the same.
type group struct {
	feed string
	stop context.CancelFunc // ends its links
	live int                // links that run; belongs to the recorder's goroutine

	mu      sync.Mutex
	symbols []string // sorted
	changed chan struct{}
}

func newGroup(feed string, stop context.CancelFunc) *group {
	return &group{feed: feed, stop: stop, changed: make(chan struct{})}
}

func (g *group) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.symbols)
}

func (g *group) add(names []string) {
	if len(names) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.symbols = append(g.symbols, names...)
	slices.Sort(g.symbols)
	g.tell()
}

// remove returns how many symbols are left.
func (g *group) remove(names []string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(g.symbols), func(name string) bool { return slices.Contains(names, name) })
	if len(left) != len(g.symbols) {
		g.symbols = left
		g.tell()
	}
	return len(left)
}

func (g *group) tell() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// now gives the symbols, their streams' names, and a channel that is closed when they are others.
func (g *group) now() (symbols, streams []string, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	streams = make([]string, len(g.symbols))
	for i, name := range g.symbols {
		streams[i] = binance.StreamName(name, g.feed)
	}
	return slices.Clone(g.symbols), streams, g.changed
}

// without gives the names of a that are not in b, whatever their case.
func without(a, b []string) []string {
	have := make(map[string]bool, len(b))
	for _, name := range b {
		have[strings.ToLower(name)] = true
	}
	var out []string
	for _, name := range a {
		if !have[strings.ToLower(name)] {
			out = append(out, name)
		}
	}
	return out
}
