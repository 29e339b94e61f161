// Package history answers what happened to the recorder: when it was started, lost the exchange,
// came back, was stopped or killed, which ids were missing meanwhile, and which still are. It writes
// nothing to the tape.
//
// Its one guarantee: a gap is called closed only if its ids are on the tape now. docs/TAPE.md
// specifies the table recorder, from which the events come.
package history

import (
	"cmp"
	"context"
	"slices"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// Options select events.
type Options struct {
	Window window.Window
	// Symbols restricts gaps to these symbols; none means all.
	Symbols []string
	// Last is what the last recorder says about itself.
	Last Sign
}

// Sign is the last sign of life of the recorder that was started last.
type Sign struct {
	RunID string
	At    time.Time
	// Running is false if the recorder ended, even if nothing says so.
	Running bool
}

// Event is one event of a recorder. Times are UTC.
type Event struct {
	tape.RecorderEvent
	Time time.Time
	// Of a gap: how many of its ids are missing on the tape now, are not on the exchange either, or were
	// dropped on purpose.
	Open, Absent, Dropped int64
	// HealedAt is when the last of its ids were fetched, as far as events say so.
	HealedAt time.Time
}

// History is what happened in a window.
type History struct {
	Window window.Window
	// Events are ascending. They have no healings, which their gaps show, except of gaps before the
	// window.
	Events []Event
	// Recorded is how long a recorder ran in the window. Known is false if nothing says whether one ran.
	Recorded time.Duration
	Known    bool
	// RunningSince is when the recorder that runs at the end of the window was started; zero if none
	// runs.
	RunningSince time.Time
	// Open are the gaps that overlap with the window and are missing on the tape now.
	Open []tape.Gap
}

// Read returns the history of a window.
func Read(ctx context.Context, dir *tape.Dir, opt Options) (*History, error) {
	events, before, err := readEvents(dir, opt.Window)
	if err != nil {
		return nil, err
	}
	events, before = withKill(events, before, opt)
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return nil, err
	}
	absent, err := dir.Absent()
	if err != nil {
		return nil, err
	}
	h := &History{Window: opt.Window}
	g := gaps{index: index, absent: absent, healed: map[string][]tape.RecorderEvent{}}
	for _, e := range events {
		if e.Event == tape.EventHealed {
			g.healed[e.Symbol] = append(g.healed[e.Symbol], e)
		}
	}
	wanted := func(symbol string) bool { return len(opt.Symbols) == 0 || slices.Contains(opt.Symbols, symbol) }
	inWindow := func(e tape.RecorderEvent) bool {
		at := time.UnixMicro(e.At)
		return !at.Before(opt.Window.Start) && at.Before(opt.Window.End)
	}
	var shown []tape.RecorderEvent // gaps
	for _, e := range events {
		if e.Event == tape.EventGap && wanted(e.Symbol) && inWindow(e) {
			shown = append(shown, e)
		}
	}
	for _, e := range events {
		if !inWindow(e) || e.Symbol != "" && !wanted(e.Symbol) || e.Event == tape.EventHealed && overlapsAny(e, shown) {
			continue
		}
		h.Events = append(h.Events, g.describe(e))
	}
	h.runs(slices.Concat(before, events))
	for _, symbol := range index.Symbols() {
		if wanted(symbol) {
			h.Open = append(h.Open, g.open(symbol, opt.Window)...)
		}
	}
	return h, nil
}

// readEvents returns the events from the start of a window on, also those after its end, which may
// be healings, and those before it back to the last one that says whether a recorder ran.
func readEvents(dir *tape.Dir, w window.Window) (events, before []tape.RecorderEvent, err error) {
	dates, err := dir.Dates(tape.Recorder)
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(dates)
	start := w.Start.UnixMicro()
	for _, date := range slices.Backward(dates) {
		if date < tape.DateOf(start) && slices.ContainsFunc(before, isTurn) {
			break
		}
		rows, err := dir.ReadRecorderEvents(date, date)
		if err != nil {
			return nil, nil, err
		}
		for _, row := range rows {
			if row.At < start {
				before = append(before, row)
			} else {
				events = append(events, row)
			}
		}
	}
	sortEvents(events)
	sortEvents(before)
	return events, before, nil
}

func sortEvents(events []tape.RecorderEvent) {
	slices.SortStableFunc(events, func(a, b tape.RecorderEvent) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(order(a.Event), order(b.Event)),
			cmp.Compare(a.Connection, b.Connection), cmp.Compare(a.Symbol, b.Symbol))
	})
}

// withKill adds the end of the last recorder if it was killed and no recorder was started since,
// which would have written it down.
func withKill(events, before []tape.RecorderEvent, opt Options) (_, _ []tape.RecorderEvent) {
	at := opt.Last.At.UnixMicro()
	turns := slices.DeleteFunc(slices.Concat(before, events), func(e tape.RecorderEvent) bool {
		return e.RunID != opt.Last.RunID || !isTurn(e)
	})
	sortEvents(turns)
	if opt.Last.Running || len(turns) == 0 || turns[len(turns)-1].Event != tape.EventStarted {
		return events, before
	}
	kill := tape.RecorderEvent{
		At: at, Event: tape.EventKilled, RunID: opt.Last.RunID, Message: "this is its last sign of life; none was started since",
	}
	if at < opt.Window.Start.UnixMicro() {
		return events, append(before, kill)
	}
	events = append(events, kill)
	sortEvents(events)
	return events, before
}

// order returns the order of events at the same instant.
func order(event string) int {
	return slices.Index([]string{
		tape.EventKilled, tape.EventStarted, tape.EventLost, tape.EventConnected, tape.EventResumed, tape.EventGap,
		tape.EventHealed, tape.EventStopped,
	}, event)
}

// isTurn reports whether an event says that a recorder runs or does not run from then on.
func isTurn(e tape.RecorderEvent) bool {
	return e.Event == tape.EventStarted || e.Event == tape.EventStopped || e.Event == tape.EventKilled
}

// runs computes how long recorders ran, from the events that begin and end runs.
func (h *History) runs(events []tape.RecorderEvent) {
	active := map[string]time.Time{} // the start of each run, by its id
	var spans []window.Window
	for _, e := range events {
		at := time.UnixMicro(e.At).UTC()
		if !at.Before(h.Window.End) {
			break
		}
		h.Known = h.Known || isTurn(e)
		switch e.Event {
		case tape.EventStarted:
			active[e.RunID] = at
		case tape.EventStopped, tape.EventKilled:
			if since, ok := active[e.RunID]; ok {
				spans = append(spans, window.Window{Start: since, End: at})
				delete(active, e.RunID)
			}
		}
	}
	for _, since := range active {
		spans = append(spans, window.Window{Start: since, End: h.Window.End})
		if since.After(h.RunningSince) {
			h.RunningSince = since
		}
	}
	for _, span := range window.Merge(spans) {
		h.Recorded += span.Intersect(h.Window).Duration()
	}
}

// gaps says what became of gaps.
type gaps struct {
	index  *tape.Index
	absent map[string]idset.Set
	healed map[string][]tape.RecorderEvent // by symbol, ascending
}

// describe adds what became of a gap to its event.
func (g *gaps) describe(e tape.RecorderEvent) Event {
	out := Event{RecorderEvent: e, Time: time.UnixMicro(e.At).UTC()}
	if e.Event != tape.EventGap || e.FirstID == nil || e.LastID == nil {
		return out
	}
	missing := idset.Set{{First: *e.FirstID, Last: *e.LastID}}.Subtract(g.index.IDs(e.Symbol))
	left := missing.Subtract(g.dropped(e.Symbol))
	out.Dropped = missing.Count() - left.Count()
	out.Open = left.Subtract(g.absent[e.Symbol]).Count()
	out.Absent = left.Count() - out.Open
	rest := idset.Set{{First: *e.FirstID, Last: *e.LastID}}
	for _, healed := range g.healed[e.Symbol] {
		if !overlaps(healed, e) {
			continue
		}
		out.HealedAt = time.UnixMicro(healed.At).UTC()
		if rest = rest.Subtract(idset.Set{{First: *healed.FirstID, Last: *healed.LastID}}); len(rest) == 0 {
			break
		}
	}
	return out
}

func (g *gaps) dropped(symbol string) idset.Set {
	var out idset.Set
	for _, run := range g.index.Dropped(symbol) {
		out = append(out, run.Range)
	}
	return out
}

// open returns the gaps of a symbol that overlap with a window and are missing now.
func (g *gaps) open(symbol string, w window.Window) (out []tape.Gap) {
	known := g.absent[symbol].Union(g.dropped(symbol))
	for _, gap := range g.index.Gaps(symbol) {
		if !gap.After.Before(w.End) || gap.Before.Before(w.Start) {
			continue
		}
		for _, r := range known.Missing(gap.First, gap.Last) {
			out = append(out, tape.Gap{Symbol: symbol, First: r.First, Last: r.Last, After: gap.After, Before: gap.Before})
		}
	}
	return out
}

// overlaps reports whether two events are about some of the same ids.
func overlaps(a, b tape.RecorderEvent) bool {
	return a.Symbol == b.Symbol && a.FirstID != nil && a.LastID != nil && b.FirstID != nil && b.LastID != nil &&
		*a.FirstID <= *b.LastID && *b.FirstID <= *a.LastID
}

func overlapsAny(e tape.RecorderEvent, others []tape.RecorderEvent) bool {
	return slices.ContainsFunc(others, func(other tape.RecorderEvent) bool { return overlaps(e, other) })
}
