package tape

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// errorsAs reports whether err is both errors, which it sets.
func errorsAs(err error, first, second any) bool {
	return errors.As(err, first) && errors.As(err, second)
}

// TestCertifyCountsBackwardSteps spreads trades over files at random, with gaps and steps back in time,
// within files and between them, and compares what is counted with the definition: the trades that
// matched more than a second before the trade with the id before theirs.
func TestCertifyCountsBackwardSteps(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	tapes := 10
	if testing.Short() {
		tapes = 2
	}
	for range tapes {
		d := newTape(t)
		rows := trades("AUSDT", 1, 400, day0.AddDate(0, 0, 1).Add(-200*time.Second))
		rows = slices.DeleteFunc(rows, func(Trade) bool { return rnd.IntN(10) == 0 })
		for i := range rows {
			if rnd.IntN(20) == 0 {
				rows[i].TradedAt -= int64(rnd.IntN(8000)) * 1000 // up to 8 s
			}
		}
		var want []BackwardStep
		for i := 1; i < len(rows); i++ {
			if before := rows[i-1].TradedAt; rows[i].TradedAt < before-1_000_000 {
				want = append(want, BackwardStep{"AUSDT", rows[i].ID, timeOf(rows[i].TradedAt), timeOf(before)})
			}
		}
		for left := slices.Clone(rows); len(left) > 0; {
			var batch []Trade
			left = slices.DeleteFunc(left, func(row Trade) bool {
				taken := rnd.IntN(3) == 0 || len(left) < 10
				if taken {
					batch = append(batch, row)
				}
				return taken
			})
			publish(t, d, batch)
		}
		check := func(when string) {
			t.Helper()
			c := certify(t, d, day0.AddDate(0, 0, 2))
			s := c.Symbols[0]
			if diff := cmp.Diff(want[:min(len(want), keptSteps)], s.BackwardSteps); diff != "" || s.Backwards != int64(len(want)) {
				t.Fatalf("%s: %d steps, want %d: %s", when, s.Backwards, len(want), diff)
			}
		}
		check("in many files")
		check("from what was saved")
		mergeEverything(t, d)
		check("merged")
	}
}
