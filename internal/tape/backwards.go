package tape

import (
	"cmp"
	"slices"
	"time"
)

const (
	// maxStep is how far back time may run from one id to the next without being counted. The query
	// check/backwards has the same default. The exchange's own steps back are milliseconds.
	maxStep = time.Second
	// keptSteps is how many steps back of a file or a symbol are named.
	keptSteps = 10
)

// BackwardStep is a trade that matched before the trade with the id before it, by more than a second.
type BackwardStep struct {
	Symbol string
	ID     int64
	// At is when it matched, Before when the trade with the id before it did, UTC.
	At, Before time.Time
}

// backwardSteps are steps back in time by symbol. nil has none.
type backwardSteps map[string]*symbolSteps

// symbolSteps counts a symbol's steps back in time, and has the first ones.
type symbolSteps struct {
	Steps int64        `json:"steps"`
	First []stepRecord `json:"first"`
}

// stepRecord is a BackwardStep with times in microseconds since the epoch.
type stepRecord struct {
	ID     int64 `json:"id"`
	At     int64 `json:"at"`
	Before int64 `json:"before"`
}

// check adds the step from one trade to the next one, if it is a step back.
func (b *backwardSteps) check(symbol string, id, at, before int64) {
	if before-at > int64(maxStep/time.Microsecond) {
		b.add(symbol, symbolSteps{1, []stepRecord{{id, at, before}}})
	}
}

func (b *backwardSteps) add(symbol string, more symbolSteps) {
	if *b == nil {
		*b = backwardSteps{}
	}
	steps := (*b)[symbol]
	if steps == nil {
		steps = &symbolSteps{}
		(*b)[symbol] = steps
	}
	steps.Steps += more.Steps
	steps.First = append(steps.First, more.First...)
	slices.SortFunc(steps.First, func(a, b stepRecord) int { return cmp.Compare(a.ID, b.ID) })
	steps.First = steps.First[:min(len(steps.First), keptSteps)]
}

// seams adds the steps back between runs of a symbol that are sorted by their first ids.
func (b *backwardSteps) seams(symbol string, runs []IDRun) {
	for i, last := 1, 0; i < len(runs); i++ {
		if runs[i].Last <= runs[last].Last {
			continue // its ids are repeated
		}
		if runs[i].First > runs[last].Last {
			b.check(symbol, runs[i].First, runs[i].FirstAt, runs[last].LastAt)
		}
		last = i
	}
}

// of returns how many steps a symbol has, and the first ones by id.
func (b backwardSteps) of(symbol string) (steps int64, first []BackwardStep) {
	if b[symbol] == nil {
		return 0, nil
	}
	for _, s := range b[symbol].First {
		first = append(first, BackwardStep{symbol, s.ID, timeOf(s.At), timeOf(s.Before)})
	}
	return b[symbol].Steps, first
}
