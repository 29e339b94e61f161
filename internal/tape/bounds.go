package tape

import (
	"maps"
	"time"

	"tapedeck/internal/state"
)

// Bounds are the first and the last id of a symbol that were ever published, even if a segment has
// been lost since. Times are UTC. They are stored in the extent, and again in every file of evidence.
type Bounds struct {
	FirstID int64     `json:"first_id"`
	LastID  int64     `json:"last_id"`
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// extend returns b with run included. known is false if b is not set yet. The times of ids that are
// on the tape are those of their trades.
func (b Bounds) extend(run IDRun, known bool) Bounds {
	if !known || run.First <= b.FirstID {
		b.FirstID, b.FirstAt = run.First, timeOf(run.FirstAt)
	}
	if !known || run.Last > b.LastID {
		b.LastID, b.LastAt = run.Last, timeOf(run.LastAt)
	}
	return b
}

// Gap is a run of ids inside a symbol's bounds that are not on the tape.
type Gap struct {
	Symbol      string
	First, Last int64
	// After and Before are the traded_at of the rows before and after the gap, UTC. If rows are
	// missing at an end of the bounds, it is the traded_at of the lost row there. Those of an Index are
	// closer if the exchange's answers say so: no missing id traded before After or after Before.
	After, Before time.Time
}

// Count returns the number of missing ids.
func (g Gap) Count() int64 { return g.Last - g.First + 1 }

// gapsBetween returns the gaps of a symbol inside bounds, in ascending order. runs are in order of
// their first ids and may overlap.
func gapsBetween(symbol string, runs []IDRun, bounds Bounds) []Gap {
	var out []Gap
	next, after := bounds.FirstID, bounds.FirstAt
	for _, run := range runs {
		if run.First > next {
			out = append(out, Gap{symbol, next, run.First - 1, after, timeOf(run.FirstAt)})
		}
		if run.Last >= next {
			next, after = run.Last+1, timeOf(run.LastAt)
		}
	}
	if next <= bounds.LastID {
		out = append(out, Gap{symbol, next, bounds.LastID, after, bounds.LastAt})
	}
	return out
}

// narrow moves After and Before to what the exchange answered about the ids of the gap. An id that is
// missing after the last id before an instant traded from then on.
func (g *Gap) narrow(answers state.SymbolAnswers) {
	after, before := g.After, g.Before
	for _, a := range answers.LastBefore {
		if a.ID < g.First && a.At.After(after) {
			after = a.At
		}
	}
	for _, a := range answers.FirstFrom {
		if last := a.At.Add(-time.Microsecond); a.ID > g.Last && last.Before(before) {
			before = last
		}
	}
	if !before.Before(after) { // otherwise the answers and the tape disagree
		g.After, g.Before = after, before
	}
}

// extentName is the state file of all symbols' bounds. If it is lost, they are those that the evidence names:
// what recorders watched and the exchange answered. If that is lost too, the loss of a whole end of a
// symbol's record is no longer noticed, and nothing but trades proves anything.
const extentName = "extent.json"

// extent keeps each symbol's bounds in a state file.
type extent struct {
	state   *state.Dir
	dropped *droppedIDs
}

// read returns the bounds by symbol, without dropped ids at their beginning. vouched are those that the
// evidence names. A symbol of which everything was dropped has none.
func (e extent) read(vouched map[string]state.Ends) (map[string]Bounds, error) {
	bounds, err := e.readAll(vouched)
	if err != nil {
		return nil, err
	}
	dropped, err := e.dropped.read()
	if err != nil {
		return nil, err
	}
	for symbol, runs := range dropped.Symbols {
		b, ok := bounds[symbol]
		if !ok {
			continue
		}
		if b = b.withoutDropped(runs); b.FirstID > b.LastID {
			delete(bounds, symbol)
		} else {
			bounds[symbol] = b
		}
	}
	return bounds, nil
}

// withoutDropped returns b without the dropped ids at its beginning. FirstAt becomes the time of
// the last of them. If none is left, FirstID is greater than LastID.
func (b Bounds) withoutDropped(dropped []IDRun) Bounds {
	for _, run := range dropped {
		if run.First <= b.FirstID && run.Last >= b.FirstID {
			b.FirstID, b.FirstAt = run.Last+1, timeOf(run.LastAt)
		}
	}
	return b
}

// ends returns the first and the last trade of each symbol that were ever published, without those
// that were dropped on purpose.
func (e extent) ends() (map[string][]tradeTime, error) {
	bounds, err := e.readStored()
	if err != nil {
		return nil, err
	}
	dropped, err := e.dropped.read()
	if err != nil {
		return nil, err
	}
	out := make(map[string][]tradeTime, len(bounds))
	for symbol, b := range bounds {
		ids := idsOf(dropped.Symbols[symbol])
		for _, end := range [...]tradeTime{{b.FirstID, b.FirstAt.UnixMicro()}, {b.LastID, b.LastAt.UnixMicro()}} {
			if !ids.Contains(end.id) {
				out[symbol] = append(out[symbol], end)
			}
		}
	}
	return out, nil
}

// onDayOf returns b so that ids that are missing between dropped ids and the first row count on the
// day of that row, if the dropped ones are of an earlier day. runs are ascending.
func (b Bounds) onDayOf(runs []IDRun, dropped []IDRun) Bounds {
	if len(runs) == 0 || b.FirstID >= runs[0].First {
		return b
	}
	day := timeOf(runs[0].FirstAt).Truncate(24 * time.Hour)
	for _, run := range dropped {
		if run.Last+1 == b.FirstID && b.FirstAt.Before(day) {
			b.FirstAt = day
		}
	}
	return b
}

// readStored returns the stored bounds. Impossible ones are left out, as if they had been lost.
func (e extent) readStored() (map[string]Bounds, error) {
	bounds, err := state.ReadCache[Bounds](e.state, extentName)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(bounds, func(symbol string, b Bounds) bool { return symbol == "" || !b.valid() })
	return bounds, nil
}

// valid reports whether b can be a symbol's bounds.
func (b Bounds) valid() bool {
	return b.FirstID >= 0 && b.LastID >= b.FirstID && b.LastID <= MaxID && validTime(b.FirstAt.UnixMicro()) && validTime(b.LastAt.UnixMicro())
}

// readAll is readStored with what the evidence names.
func (e extent) readAll(vouched map[string]state.Ends) (map[string]Bounds, error) {
	bounds, err := e.readStored()
	if err != nil {
		return nil, err
	}
	for symbol, ends := range vouched {
		if symbol == "" || !Bounds(ends).valid() {
			continue
		}
		if b, ok := bounds[symbol]; ok {
			ends = state.Ends(b).Union(ends)
		}
		bounds[symbol] = Bounds(ends)
	}
	return bounds, nil
}

// LastIDs returns the highest id of each symbol that was ever published.
func (d *Dir) LastIDs() (map[string]int64, error) {
	evidence, err := d.readEvidence()
	if err != nil {
		return nil, err
	}
	bounds, err := d.extent.readAll(evidence.published)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64, len(bounds))
	for symbol, b := range bounds {
		out[symbol] = b.LastID
	}
	return out, nil
}

// extend adds published runs to the bounds. The caller holds the writers' lock.
func (e extent) extend(published []symbolRuns) error {
	bounds, err := e.readStored()
	if err != nil {
		return err
	}
	changed := false
	for _, bySymbol := range published {
		for symbol, runs := range bySymbol {
			for _, run := range runs {
				old, ok := bounds[symbol]
				if extended := old.extend(run, ok); !ok || extended != old {
					bounds[symbol] = extended
					changed = true
				}
			}
		}
	}
	if !changed {
		return nil
	}
	return e.state.Write(extentName, bounds)
}
