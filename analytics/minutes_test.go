package analytics

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMinutesAreTheSameInBatches computes the minutes of one symbol after the other, as a session with
// little memory does, and requires those that a session with enough memory computes at once.
func TestMinutesAreTheSameInBatches(t *testing.T) {
	// Of each symbol so many ids are missing that their number is estimated as large.
	dir := newTape(t)
	for _, symbol := range []string{"A", "B", "币安人生USDT"} {
		trades := seconds(symbol, 1, 200)
		for i := range trades[100:] {
			trades[100+i].ID += 1_000_000
		}
		if _, err := dir.Publish(t.Context(), trades, testOrigin); err != nil {
			t.Fatal(err)
		}
	}
	from, to := noon.Add(-time.Minute), noon.Add(10*time.Minute)
	const all = "FROM minutes ORDER BY symbol, minute"
	whole := openSession(t, dir, Options{From: from, To: to, MinutesFrom: from, MemoryLimit: "16GB"})
	little := openSession(t, dir, Options{From: from, To: to, MinutesFrom: from, MemoryLimit: "10MB"})
	want := rowsOf(t, whole, all)
	if diff := cmp.Diff(want, rowsOf(t, little, all)); diff != "" || want == "" {
		t.Errorf("(-at once +in batches):\n%s", diff)
	}
	tasks := little.minuteTasks(&minuteCache{})
	if batches := little.minuteBatches(tasks); len(batches) != 3 {
		t.Errorf("batches of little memory: %q", batches)
	}
	if batches := little.minuteBatches(nil); len(batches) != 1 || len(batches[0]) != 0 {
		t.Errorf("batches without tasks: %q", batches)
	}
}
