// Package idset holds sets of trade ids. Binance numbers the trades of a symbol consecutively, so
// the ids on a tape are few long ranges, and what is missing is the difference of two sets.
//
// Its one guarantee: a Set that its functions return is in ascending order, and its ranges neither
// overlap nor touch.
package idset

import (
	"math"
	"slices"
	"sort"
)

// Range is a run of consecutive ids, both ends included.
type Range struct{ First, Last int64 }

// Count returns how many ids the range holds, at most math.MaxInt64.
func (r Range) Count() int64 {
	if n := r.Last - r.First; n >= 0 && n < math.MaxInt64 || r.Last < r.First {
		return n + 1
	}
	return math.MaxInt64
}

// Sum adds counts of ids, which are not negative. It is at most math.MaxInt64: the gaps of some symbols can
// have more ids together.
func Sum(counts ...int64) (sum int64) {
	for _, n := range counts {
		if sum > math.MaxInt64-n {
			return math.MaxInt64
		}
		sum += n
	}
	return sum
}

// Set is a set of ids as ranges in ascending order, disjoint and not adjacent. Its methods return
// new sets, except Append.
type Set []Range

// Count returns how many ids the set holds, at most math.MaxInt64.
func (s Set) Count() int64 {
	var n int64
	for _, r := range s {
		n = Sum(n, r.Count())
	}
	return n
}

// find returns the index of the first range that ends at or after id.
func (s Set) find(id int64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].Last >= id })
}

// Contains reports whether id is in the set.
func (s Set) Contains(id int64) bool {
	i := s.find(id)
	return i < len(s) && s[i].First <= id
}

// Overlaps reports whether any id of r is in the set.
func (s Set) Overlaps(r Range) bool {
	i := s.find(r.First)
	return i < len(s) && s[i].First <= r.Last
}

// Missing returns the ids of [first, last] that are not in the set.
func (s Set) Missing(first, last int64) Set {
	var out Set
	next := first
	for i := s.find(first); i < len(s) && s[i].First <= last; i++ {
		if s[i].First > next {
			out = append(out, Range{next, s[i].First - 1})
		}
		if s[i].Last == math.MaxInt64 {
			return out
		}
		next = s[i].Last + 1
	}
	if next <= last {
		out = append(out, Range{next, last})
	}
	return out
}

// Add returns the set with the ids of r added. An empty range adds nothing.
func (s Set) Add(r Range) Set {
	if r.Last < r.First {
		return s
	}
	if n := len(s); n == 0 || s[n-1].Last+1 < r.First {
		return append(slices.Clip(s), r)
	}
	return s.Union(Set{r})
}

// Append adds an id that is not below any in the set, in place and in amortized constant time.
func (s *Set) Append(id int64) {
	if n := len(*s); n > 0 && id <= (*s)[n-1].Last+1 {
		(*s)[n-1].Last = id
		return
	}
	*s = append(*s, Range{id, id})
}

// Union returns the ids that are in either set.
func (s Set) Union(other Set) Set {
	out := make(Set, 0, len(s)+len(other))
	for len(s) > 0 || len(other) > 0 {
		var next Range
		if len(other) == 0 || len(s) > 0 && s[0].First <= other[0].First {
			next, s = s[0], s[1:]
		} else {
			next, other = other[0], other[1:]
		}
		if n := len(out); n > 0 && next.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, next.Last)
		} else {
			out = append(out, next)
		}
	}
	return out
}

// Subtract returns the ids that are in s and not in other.
func (s Set) Subtract(other Set) Set {
	var out Set
	for _, r := range s {
		out = append(out, other.Missing(r.First, r.Last)...)
	}
	return out
}

// Intersect returns the ids that are in both sets.
func (s Set) Intersect(other Set) Set { return s.Subtract(s.Subtract(other)) }
