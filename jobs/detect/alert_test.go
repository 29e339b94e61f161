package detect

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/tape"
)

// TestDropRepeats checks that the rows that begin and end an event are kept, and that this depends only on the
// rows of the cooldown before them, so that a run can begin anywhere before that.
func TestDropRepeats(t *testing.T) {
	row := func(symbol string, minute int, extra string) tape.Alert {
		return tape.Alert{Symbol: symbol, At: (time.Duration(minute) * time.Minute).Microseconds(), Extra: extra}
	}
	const active, recovered = `{"recovered":false}`, `{"recovered":true}`
	rows := []tape.Alert{
		row("A", 1, active), row("A", 2, active), row("A", 4, recovered), row("A", 5, recovered), row("A", 33, active), row("A", 34, recovered), // two events: the half hour counts from minute 2
		row("A", 64, recovered), row("A", 65, recovered), // recovered from the beginning
		row("B", 65, `{}`), row("B", 94, `{"recovered":"yes"}`), row("B", 123, recovered), row("B", 153, `not JSON`),
	}
	want := []string{"A 1", "A 4", "A 33", "A 34", "A 64", "B 65", "B 123", "B 153"}
	names := func(rows []tape.Alert) (out []string) {
		for _, r := range rows {
			out = append(out, fmt.Sprint(r.Symbol, " ", r.At/time.Minute.Microseconds()))
		}
		return out
	}
	if diff := cmp.Diff(want, names(dropRepeats(rows, 30*time.Minute))); diff != "" {
		t.Error(diff)
	}
	for cut := 31; cut <= 160; cut++ { // a run from minute cut on reads half an hour more
		var read []tape.Alert
		for _, r := range rows {
			if r.At >= (time.Duration(cut-30) * time.Minute).Microseconds() {
				read = append(read, r)
			}
		}
		var got, whole []string
		for _, r := range dropRepeats(read, 30*time.Minute) {
			if r.At >= (time.Duration(cut) * time.Minute).Microseconds() {
				got = append(got, names([]tape.Alert{r})...)
			}
		}
		for _, r := range dropRepeats(rows, 30*time.Minute) {
			if r.At >= (time.Duration(cut) * time.Minute).Microseconds() {
				whole = append(whole, names([]tape.Alert{r})...)
			}
		}
		if diff := cmp.Diff(whole, got); diff != "" {
			t.Errorf("from minute %d:\n%s", cut, diff)
		}
	}
}
