package detect

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/tape"
)

// TestFirstOfEach: of the rows of an event the one that begins it and the one that says that it is over; each is told by the rows of the half hour
// before it, so that a run may begin anywhere before that.
func TestFirstOfEach(t *testing.T) {
	row := func(symbol string, minute int, extra string) tape.Alert {
		return tape.Alert{Symbol: symbol, At: (time.Duration(minute) * time.Minute).Microseconds(), Extra: extra}
	}
	const on, over = `{"recovered":false}`, `{"recovered":true}`
	rows := []tape.Alert{
		row("A", 1, on), row("A", 2, on), row("A", 4, over), row("A", 5, over), row("A", 33, on), row("A", 34, over), // twice: the half hour counts from 2
		row("A", 64, over), row("A", 65, over), // over from the beginning
		row("B", 65, `{}`), row("B", 94, `{"recovered":"yes"}`), row("B", 123, over), row("B", 153, `not JSON`),
	}
	want := []string{"A 1", "A 4", "A 33", "A 34", "A 64", "B 65", "B 123", "B 153"}
	names := func(rows []tape.Alert) (out []string) {
		for _, r := range rows {
			out = append(out, fmt.Sprint(r.Symbol, " ", r.At/time.Minute.Microseconds()))
		}
		return out
	}
	if diff := cmp.Diff(want, names(firstOfEach(rows, 30*time.Minute))); diff != "" {
		t.Error(diff)
	}
	for cut := 31; cut <= 160; cut++ { // minutes from cut on, found by a run that reads half an hour more
		var read []tape.Alert
		for _, r := range rows {
			if r.At >= (time.Duration(cut-30) * time.Minute).Microseconds() {
				read = append(read, r)
			}
		}
		var have, whole []string
		for _, r := range firstOfEach(read, 30*time.Minute) {
			if r.At >= (time.Duration(cut) * time.Minute).Microseconds() {
				have = append(have, names([]tape.Alert{r})...)
			}
		}
		for _, r := range firstOfEach(rows, 30*time.Minute) {
			if r.At >= (time.Duration(cut) * time.Minute).Microseconds() {
				whole = append(whole, names([]tape.Alert{r})...)
			}
		}
		if diff := cmp.Diff(whole, have); diff != "" {
			t.Errorf("from minute %d:\n%s", cut, diff)
		}
	}
}
