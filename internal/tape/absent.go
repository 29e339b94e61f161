package tape

import (
	"slices"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/state"
)

// absentName is the state file of the ids that the exchange itself does not have. If it is lost,
// the exchange is asked for them again.
const absentName = "absent.json"

// absentRange is a range of ids that the exchange was asked for and does not have.
type absentRange struct {
	First   int64     `json:"first"`
	Last    int64     `json:"last"`
	AskedAt time.Time `json:"asked_at"`
}

// Absent returns, by symbol, the ids that the exchange was asked for and does not have.
func (d *Dir) Absent() (map[string]idset.Set, error) {
	recorded, err := d.readAbsent()
	if err != nil {
		return nil, err
	}
	out := map[string]idset.Set{}
	for symbol, ranges := range recorded {
		for _, r := range ranges {
			out[symbol] = out[symbol].Add(idset.Range{First: r.First, Last: r.Last})
		}
	}
	return out, nil
}

// RecordAbsent records that the exchange was asked for a symbol's ids and does not have them.
func (d *Dir) RecordAbsent(symbol string, ids idset.Set, askedAt time.Time) error {
	unlock, err := d.publisher.lock()
	if err != nil {
		return err
	}
	defer unlock()
	recorded, err := d.readAbsent()
	if err != nil {
		return err
	}
	for _, r := range ids {
		recorded[symbol] = append(recorded[symbol], absentRange{r.First, r.Last, askedAt.UTC()})
	}
	return d.state.Write(absentName, recorded)
}

// readAbsent returns the recorded ranges by symbol. Impossible ones are left out, as if they had
// been lost.
func (d *Dir) readAbsent() (map[string][]absentRange, error) {
	recorded, err := state.ReadCache[[]absentRange](d.state, absentName)
	if err != nil {
		return nil, err
	}
	for symbol, ranges := range recorded {
		recorded[symbol] = slices.DeleteFunc(ranges, func(r absentRange) bool { return r.First < 0 || r.Last < r.First })
	}
	return recorded, nil
}
