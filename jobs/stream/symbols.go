package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/symbol"
)

// firstSymbols looks the symbols up, and like a connection it retries: an exchange that limits or
// refuses this address, or is unreachable, is no reason to stop, unless the recording is bounded.
func (r *Recorder) firstSymbols(ctx context.Context) ([]symbol.Name, error) {
	startedAt := time.Now()
	for attempt := 1; ; attempt++ {
		names, err := r.lookUpSymbols(ctx)
		if err == nil || ctx.Err() != nil || r.bounded() || !binance.Temporary(err) ||
			r.opt.GiveUpAfter > 0 && time.Since(startedAt) >= r.opt.GiveUpAfter {
			return names, err
		}
		wait := backoff(attempt, nil)
		r.log.Warn("symbols not known yet", "error", err, "attempt", attempt, "retry_in_ms", wait.Milliseconds())
		if err := binance.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// lookUpSymbols returns the symbols sorted, each once.
func (r *Recorder) lookUpSymbols(ctx context.Context) ([]symbol.Name, error) {
	names, err := r.opt.Symbols(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up the symbols to record: %w", err)
	}
	names = symbol.Sort(slices.DeleteFunc(slices.Clone(names), symbol.Name.IsZero))
	if len(names) == 0 {
		return nil, errors.New("look up the symbols to record: there are none")
	}
	return names, nil
}

// assign assigns new symbols to groups, and removes the symbols that are not in names from theirs.
func (r *Recorder) assign(ctx context.Context, names []symbol.Name) {
	symbols := make(map[symbol.Name]bool, len(names))
	var added, removed []symbol.Name
	for _, name := range names {
		symbols[name] = true
		if !r.symbols[name] {
			added = append(added, name)
		}
	}
	for name := range r.symbols {
		if !symbols[name] {
			removed = append(removed, name)
		}
	}
	if len(added) == 0 && len(removed) == 0 {
		return
	}
	if len(r.symbols) > 0 {
		slices.SortFunc(removed, symbol.Name.Compare)
		r.log.Info("symbols changed", "added", symbol.Strings(added), "removed", symbol.Strings(removed), "symbols", len(names))
	}
	r.symbols = symbols
	r.tracker.request(names)

	r.groups = slices.DeleteFunc(r.groups, func(g *group) bool {
		if g.remove(removed) > 0 {
			return false
		}
		g.stop()
		r.running -= g.running // connectors that are stopped do not report their end
		return true
	})
	for _, g := range r.groups {
		room := min(r.opt.StreamsPerConnection-g.size(), len(added))
		g.add(added[:room])
		added = added[room:]
	}
	// The rest is spread evenly over as few new groups as possible.
	for groups := (len(added) + r.opt.StreamsPerConnection - 1) / r.opt.StreamsPerConnection; groups > 0; groups-- {
		n := (len(added) + groups - 1) / groups
		r.startGroup(ctx, added[:n])
		added = added[n:]
	}
}

// startGroup starts the connectors of a new group.
func (r *Recorder) startGroup(ctx context.Context, names []symbol.Name) {
	ctx, cancel := context.WithCancel(ctx)
	g := newGroup(string(r.feed), cancel, names)
	r.groupsStarted++
	r.groups = append(r.groups, g)
	for i := range r.opt.Connections {
		name := fmt.Sprintf("%d.%d", r.groupsStarted, i+1)
		c := &connector{
			name: name, group: g, tracked: r.tracker.addConnector(name, g.size, &g.readers),
			tracker: r.tracker, watcher: r.watcher, clock: r.tracker.clock, receiver: &r.receiver,
			full: r.batcher.full, observe: r.observe, history: r.history, dials: r.dials, opt: r.opt, log: r.log.With("connection", name),
		}
		g.running++
		r.running++
		r.connectors.Go(func() {
			err := c.run(ctx)
			r.tracker.removeConnector(c.tracked)
			if ctx.Err() != nil {
				return
			}
			select {
			case r.ends <- connectorEnd{g, err}:
			case <-ctx.Done():
			}
		})
	}
}
