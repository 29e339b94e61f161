package window

import (
	"slices"
	"testing"
	"time"
)

func hour(h float64) time.Time {
	return time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC).Add(time.Duration(h * float64(time.Hour)))
}

func hours(start, end float64) Window { return Window{hour(start), hour(end)} }

func TestWindowIsHalfOpen(t *testing.T) {
	w := hours(1, 3)
	for _, c := range []struct {
		other           Window
		overlaps        bool
		intersect, hull Window
	}{
		{hours(3, 4), false, hours(3, 3), hours(1, 4)},
		{hours(0, 1), false, hours(1, 1), hours(0, 3)},
		{hours(2, 4), true, hours(2, 3), hours(1, 4)},
		{hours(1, 3), true, hours(1, 3), hours(1, 3)},
		{hours(1.5, 2), true, hours(1.5, 2), hours(1, 3)},
		{hours(2, 2), false, hours(2, 2), hours(1, 3)},
	} {
		if got := w.Overlaps(c.other); got != c.overlaps {
			t.Errorf("Overlaps(%v) = %v", c.other, got)
		}
		if got := w.Intersect(c.other); got != c.intersect {
			t.Errorf("Intersect(%v) = %v", c.other, got)
		}
		if got := w.Hull(c.other); got != c.hull {
			t.Errorf("Hull(%v) = %v", c.other, got)
		}
		if got := c.other.Hull(w); got != c.hull {
			t.Errorf("%v.Hull = %v", c.other, got)
		}
	}
	var zero Window
	if !zero.IsEmpty() || zero.Duration() != 0 || zero.Hull(w) != w || hours(3, 1).Duration() != 0 {
		t.Error("the zero window is not empty")
	}
}

func TestMergeJoinsWhatOverlapsOrTouches(t *testing.T) {
	windows := []Window{hours(5, 6), hours(1, 2), hours(2, 3), hours(9, 9), hours(1.5, 1.7), hours(5.5, 7)}
	if got, want := Merge(windows), []Window{hours(1, 3), hours(5, 7)}; !slices.Equal(got, want) {
		t.Errorf("Merge = %v, want %v", got, want)
	}
	if windows[0] != hours(5, 6) {
		t.Error("Merge changed its argument")
	}
}

func TestSubtract(t *testing.T) {
	others := []Window{hours(1, 2), hours(3, 4), hours(8, 9)}
	for _, c := range []struct {
		of   Window
		want []Window
	}{
		{hours(0, 5), []Window{hours(0, 1), hours(2, 3), hours(4, 5)}},
		{hours(1.5, 3.5), []Window{hours(2, 3)}},
		{hours(1, 2), nil},
		{hours(5, 6), []Window{hours(5, 6)}},
		{hours(8.5, 10), []Window{hours(9, 10)}},
	} {
		if got := c.of.Subtract(others); !slices.Equal(got, c.want) {
			t.Errorf("%v.Subtract = %v, want %v", c.of, got, c.want)
		}
	}
}

func TestDaysSplitAtMidnight(t *testing.T) {
	if got, want := hours(-1, 25).Days(), []Window{hours(-1, 0), hours(0, 24), hours(24, 25)}; !slices.Equal(got, want) {
		t.Errorf("Days = %v, want %v", got, want)
	}
	if got := hours(2, 1).Days(); got != nil {
		t.Errorf("Days of an empty window = %v", got)
	}
}

func TestMinutes(t *testing.T) {
	minute := 1.0 / 60
	if got, want := hours(0.5*minute, 2.5*minute).WholeMinutes(), hours(minute, 2*minute); got != want {
		t.Errorf("WholeMinutes = %v, want %v", got, want)
	}
	if got, want := Minutes(hour(0.5*minute), hour(2*minute)), hours(0, 3*minute); got != want {
		t.Errorf("Minutes = %v, want %v", got, want)
	}
}
