// Package window is the one type for a half-open window of time, [Start, End), and its set arithmetic.
//
// Every job is a function of such a window. A window whose End is not after its Start is empty; the
// zero Window is empty. Times are UTC.
package window

import (
	"slices"
	"time"
)

// Window is the half-open time [Start, End).
type Window struct{ Start, End time.Time }

// IsEmpty reports whether no instant lies in w.
func (w Window) IsEmpty() bool { return !w.Start.Before(w.End) }

// Duration returns the length of w, 0 if it is empty.
func (w Window) Duration() time.Duration { return max(0, w.End.Sub(w.Start)) }

// Overlaps reports whether an instant lies in both windows.
func (w Window) Overlaps(other Window) bool { return !w.Intersect(other).IsEmpty() }

// Intersect returns the part of w that lies in other. It may be empty.
func (w Window) Intersect(other Window) Window {
	if other.Start.After(w.Start) {
		w.Start = other.Start
	}
	if other.End.Before(w.End) {
		w.End = other.End
	}
	return w
}

// Hull returns the smallest window that covers both. An empty window does not contribute.
func (w Window) Hull(other Window) Window {
	switch {
	case other.IsEmpty():
		return w
	case w.IsEmpty():
		return other
	}
	if other.Start.Before(w.Start) {
		w.Start = other.Start
	}
	if other.End.After(w.End) {
		w.End = other.End
	}
	return w
}

// WholeMinutes returns the full minutes that lie in w. It may be empty.
func (w Window) WholeMinutes() Window {
	return Window{w.Start.UTC().Add(time.Minute - 1).Truncate(time.Minute), w.End.UTC().Truncate(time.Minute)}
}

// Minutes returns the window from the start of the minute of first to the end of the minute of last.
func Minutes(first, last time.Time) Window {
	return Window{first.UTC().Truncate(time.Minute), last.UTC().Truncate(time.Minute).Add(time.Minute)}
}

// Days splits w at UTC midnights and returns the parts in order.
func (w Window) Days() (days []Window) {
	for !w.IsEmpty() {
		midnight := w.Start.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
		day := w.Intersect(Window{w.Start, midnight})
		days = append(days, day)
		w.Start = day.End
	}
	return days
}

// Subtract returns the parts of w that lie in none of others, in order. others is as from Merge.
func (w Window) Subtract(others []Window) (rest []Window) {
	for _, other := range others {
		if !w.Overlaps(other) {
			continue
		}
		if before := (Window{w.Start, other.Start}); !before.IsEmpty() {
			rest = append(rest, before)
		}
		w.Start = other.End
	}
	if !w.IsEmpty() {
		rest = append(rest, w)
	}
	return rest
}

// Merge returns the union of windows as a new list: sorted, without empty windows, and with windows
// that overlap or touch joined into one.
func Merge(windows []Window) (merged []Window) {
	windows = slices.Clone(windows)
	slices.SortFunc(windows, func(a, b Window) int { return a.Start.Compare(b.Start) })
	for _, w := range windows {
		if w.IsEmpty() {
			continue
		}
		if last := len(merged) - 1; last >= 0 && !w.Start.After(merged[last].End) {
			merged[last] = merged[last].Hull(w)
		} else {
			merged = append(merged, w)
		}
	}
	return merged
}
