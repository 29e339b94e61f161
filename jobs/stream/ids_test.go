package stream

import (
	"slices"
	"testing"
	"time"

	"tapedeck/internal/idset"
)

func TestReceivedIDsFindDuplicatesAndGaps(t *testing.T) {
	var s receivedIDs
	add := func(now int64, ids ...int64) (added []int64) {
		for _, id := range ids {
			if s.add(id, now) {
				added = append(added, id)
			}
		}
		return added
	}
	if got := add(0, 10, 11, 11, 10, 12, 9, 9); !slices.Equal(got, []int64{10, 11, 12, 9}) {
		t.Errorf("new ids %v", got)
	}
	if got := s.newGaps(1e18, 0); len(got) != 0 {
		t.Errorf("gaps %v", got)
	}
	add(int64(time.Second), 20, 15)
	if got := s.newGaps(int64(3*time.Second), 5*time.Second); len(got) != 0 {
		t.Errorf("reported too early: %v", got)
	}
	if got := s.newGaps(int64(6*time.Second), 5*time.Second); !slices.Equal(got, []idset.Range{{First: 13, Last: 14}, {First: 16, Last: 19}}) {
		t.Errorf("gaps %v", got)
	}
	if got := s.newGaps(int64(60*time.Second), 5*time.Second); len(got) != 0 {
		t.Errorf("reported twice: %v", got)
	}
	if got := add(0, 13, 14, 16, 17, 18, 19, 14, 16, 9, 20, 21); !slices.Equal(got, []int64{13, 14, 16, 17, 18, 19, 21}) {
		t.Errorf("new ids %v", got)
	}
	if len(s.runs) != 1 {
		t.Errorf("runs %+v", s.runs)
	}
	for id := int64(100); id < 100+4*maxRuns; id += 2 {
		s.add(id, 0)
		if len(s.runs) > maxRuns {
			t.Fatalf("%d runs", len(s.runs))
		}
	}
	if last := s.runs[len(s.runs)-1].last; s.add(last, 0) || !s.add(last-1, 0) || !s.add(1, 0) || len(s.runs) > maxRuns {
		t.Errorf("after the oldest runs were dropped: %+v", s.runs)
	}
}

// FuzzReceivedIDs compares receivedIDs with a map.
func FuzzReceivedIDs(f *testing.F) {
	f.Add([]byte{1, 2, 3, 9, 5, 4, 4, 200, 8, 7, 6})
	f.Fuzz(func(t *testing.T, ids []byte) {
		var s receivedIDs
		set := map[byte]bool{}
		for _, id := range ids {
			if s.add(int64(id), 0) == set[id] {
				t.Fatalf("id %d of %v", id, ids)
			}
			set[id] = true
		}
		total := int64(0)
		for i, r := range s.runs {
			total += r.last - r.first + 1
			if r.first > r.last || i > 0 && s.runs[i-1].last+1 >= r.first {
				t.Fatalf("runs %+v", s.runs)
			}
		}
		if total != int64(len(set)) {
			t.Fatalf("runs %+v of %v", s.runs, ids)
		}
	})
}
