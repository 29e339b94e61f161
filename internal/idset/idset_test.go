package idset

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSetAgainstAMap(t *testing.T) {
	// Against a plain set of ids.
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s Set
		set := map[int64]bool{}
		for range 12 {
			first := r.Int64N(60)
			added := Range{first, first + r.Int64N(8)}
			s = s.Add(added)
			for id := added.First; id <= added.Last; id++ {
				set[id] = true
			}
		}
		for id := int64(-1); id < 70; id++ {
			if s.Contains(id) != set[id] {
				t.Fatalf("%v: %d", s, id)
			}
		}
		for i := 1; i < len(s); i++ {
			if s[i].First <= s[i-1].Last+1 {
				t.Fatalf("%v is not in order", s)
			}
		}
		if s.Count() != int64(len(set)) || s.Missing(0, 69).Count() != 70-int64(len(set)) {
			t.Fatal(s)
		}
		if got := s.Intersect(s.Missing(0, 69)); got != nil {
			t.Fatal(got)
		}
	}
}

func TestAppendBuildsTheSetOfAscendingIDs(t *testing.T) {
	var s Set
	for _, id := range []int64{3, 4, 4, 6, 7, 7, 10} {
		s.Append(id)
	}
	if want := (Set{{3, 4}, {6, 7}, {10, 10}}); !slices.Equal(s, want) {
		t.Errorf("%v, want %v", s, want)
	}
}

// TestCountsDoNotOverflow of sets with more ids than an int64 holds.
func TestCountsDoNotOverflow(t *testing.T) {
	all := Range{0, math.MaxInt64}
	if got := all.Count(); got != math.MaxInt64 {
		t.Error(got)
	}
	if got := (Range{5, 4}).Count(); got != 0 {
		t.Error(got)
	}
	if got := (Set{{math.MinInt64, -2}, {0, math.MaxInt64}}).Count(); got != math.MaxInt64 {
		t.Error(got)
	}
	if got := Sum(math.MaxInt64-1, 1, 7); got != math.MaxInt64 {
		t.Error(got)
	}
	if got := (Set{{1, 1}, {math.MaxInt64, math.MaxInt64}}).Missing(0, math.MaxInt64); len(got) != 2 {
		t.Error(got)
	}
}
