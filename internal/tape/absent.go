package tape

import (
	"slices"
	"tapedeck/internal/idset"
	"tapedeck/internal/state"
	"time"
)

// absentName is the state file of the ids that the exchange itself does not have. Losing it costs asking for them again.
const absentName = "absent.json"

// AbsentSpan is a run of ids that the exchange was asked for and does not have.
type AbsentSpan struct {
	First   int64     `json:"first"`
	Last    int64     `json:"last"`
	AskedAt time.Time `json:"asked_at"`
}

// Absent gives, by symbol, the ids that the exchange does not have, as found by asking.
func (d *Dir) Absent() (map[string]idset.Set, error) {
	recorded, err := d.readAbsent()
	if err != nil {
		return nil, err
	}
	out := map[string]idset.Set{}
	for symbol, spans := range recorded {
		for _, s := range spans {
			out[symbol] = out[symbol].Add(idset.Range{First: s.First, Last: s.Last})
		}
	}
	return out, nil
}

// RecordAbsent remembers that the exchange was asked for a symbol's ids and does not have them.
func (d *Dir) RecordAbsent(symbol string, spans idset.Set, askedAt time.Time) error {
	unlock, err := d.lock(writersLock)
	if err != nil {
		return err
	}
	defer unlock()
	recorded, err := d.readAbsent()
	if err != nil {
		return err
	}
	for _, s := range spans {
		recorded[symbol] = append(recorded[symbol], AbsentSpan{s.First, s.Last, askedAt.UTC()})
	}
	return d.WriteState(absentName, recorded)
}

// readAbsent gives the recorded spans that can be: a file that is damaged or something else is as good as lost.
func (d *Dir) readAbsent() (map[string][]AbsentSpan, error) {
	recorded, err := state.ReadCache[[]AbsentSpan](d.state, absentName)
	if err != nil {
		return nil, err
	}
	for symbol, spans := range recorded {
		recorded[symbol] = slices.DeleteFunc(spans, func(s AbsentSpan) bool { return s.First < 0 || s.Last < s.First })
	}
	return recorded, nil
}
