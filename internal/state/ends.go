package state

import (
	"encoding/json"
	"errors"
	"time"
)

// Ends are the first and the last trade of a symbol that were on the tape when it was said what had been
// watched or answered. Such evidence is about a tape with these trades: if one is not there, it has been lost.
// Times are UTC. In a file they are a list: the ids, and the times in microseconds since the epoch.
type Ends struct {
	FirstID, LastID int64
	FirstAt, LastAt time.Time
}

// MarshalJSON implements json.Marshaler.
func (e Ends) MarshalJSON() ([]byte, error) {
	return json.Marshal([...]int64{e.FirstID, e.LastID, e.FirstAt.UnixMicro(), e.LastAt.UnixMicro()})
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Ends) UnmarshalJSON(text []byte) error {
	var numbers []int64
	if err := json.Unmarshal(text, &numbers); err != nil {
		return err
	}
	if len(numbers) != 4 || numbers[0] < 0 || numbers[1] < numbers[0] {
		return errors.New("no first and last trade")
	}
	*e = Ends{numbers[0], numbers[1], time.UnixMicro(numbers[2]).UTC(), time.UnixMicro(numbers[3]).UTC()}
	return nil
}

// Union returns the ends that span both.
func (e Ends) Union(other Ends) Ends {
	if other.FirstID < e.FirstID {
		e.FirstID, e.FirstAt = other.FirstID, other.FirstAt
	}
	if other.LastID > e.LastID {
		e.LastID, e.LastAt = other.LastID, other.LastAt
	}
	return e
}

// addEnds adds ends to those of other files.
func addEnds(to, added map[string]Ends) {
	for symbol, ends := range added {
		if have, ok := to[symbol]; ok {
			ends = have.Union(ends)
		}
		to[symbol] = ends
	}
}
