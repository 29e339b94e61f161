package tape

import (
	"slices"
	"sort"
)

// Span is a run of consecutive ids, both ends included.
type Span struct{ First, Last int64 }

// Count gives how many ids it holds.
func (s Span) Count() int64 { return s.Last - s.First + 1 }

// Spans is a set of ids as spans in ascending order, disjoint and not adjacent. Its methods return new sets.
type Spans []Span

// Count gives how many ids the set holds.
func (s Spans) Count() int64 {
	var n int64
	for _, span := range s {
		n += span.Count()
	}
	return n
}

// find gives the index of the first span that ends at or after id.
func (s Spans) find(id int64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].Last >= id })
}

// Contains says whether id is in the set.
func (s Spans) Contains(id int64) bool {
	i := s.find(id)
	return i < len(s) && s[i].First <= id
}

// Overlaps says whether any id of span is in the set.
func (s Spans) Overlaps(span Span) bool {
	i := s.find(span.First)
	return i < len(s) && s[i].First <= span.Last
}

// Missing gives the ids of [first, last] that are not in the set.
func (s Spans) Missing(first, last int64) Spans {
	var out Spans
	next := first
	for i := s.find(first); i < len(s) && s[i].First <= last; i++ {
		if s[i].First > next {
			out = append(out, Span{next, s[i].First - 1})
		}
		next = s[i].Last + 1
	}
	if next <= last {
		out = append(out, Span{next, last})
	}
	return out
}

// Add gives the set with span's ids in it.
func (s Spans) Add(span Span) Spans {
	if span.Last < span.First {
		return s
	}
	if n := len(s); n == 0 || s[n-1].Last+1 < span.First {
		return append(slices.Clip(s), span)
	}
	return s.Union(Spans{span})
}

// Union gives the ids that are in either set.
func (s Spans) Union(other Spans) Spans {
	out := make(Spans, 0, len(s)+len(other))
	for len(s) > 0 || len(other) > 0 {
		var next Span
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

// Subtract gives the ids that are in s and not in other.
func (s Spans) Subtract(other Spans) Spans {
	var out Spans
	for _, span := range s {
		out = append(out, other.Missing(span.First, span.Last)...)
	}
	return out
}

// Intersect gives the ids that are in both sets.
func (s Spans) Intersect(other Spans) Spans { return s.Subtract(s.Subtract(other)) }
