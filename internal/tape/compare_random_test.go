package tape

import (
	"cmp"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// conflictOracle knows what is on a tape and which conflicts are recorded.
type conflictOracle struct {
	rows      map[string]map[int64]Trade
	conflicts map[Conflict]bool // by conflictKey
}

// publish returns what a publication has to do, and does it. ok is false if it must be refused.
func (o *conflictOracle) publish(rows []Trade, agree func(a, b Trade) bool) (stored, conflicts int64, ok bool) {
	type count struct{ compared, differing int }
	counts := map[string]*count{}
	after := map[string]map[int64]Trade{}
	for symbol := range o.rows {
		after[symbol] = maps.Clone(o.rows[symbol])
	}
	found := map[Conflict]bool{}
	type id struct {
		symbol string
		id     int64
	}
	firsts := map[id]Trade{} // of the call
	differed := map[id]bool{}
	for _, row := range rows {
		if after[row.Symbol] == nil {
			after[row.Symbol] = map[int64]Trade{}
		}
		first, repeated := firsts[id{row.Symbol, row.ID}]
		if !repeated {
			firsts[id{row.Symbol, row.ID}] = row
		}
		kept, exists := after[row.Symbol][row.ID]
		if !exists {
			after[row.Symbol][row.ID] = row
			stored++
			continue
		}
		if counts[row.Symbol] == nil {
			counts[row.Symbol] = &count{}
		}
		// A row that is identical to the one that the call had first tells nothing new.
		if agree(kept, row) || repeated && row == first {
			counts[row.Symbol].compared++
		} else {
			// All other contents of an id count once: an exchange that repeats an id is not another market.
			if !differed[id{row.Symbol, row.ID}] {
				differed[id{row.Symbol, row.ID}] = true
				counts[row.Symbol].compared++
				counts[row.Symbol].differing++
			}
			conflicts++
			found[conflictKey(newConflict(&kept, Origin{}, &row, Origin{}))] = true
		}
	}
	for _, c := range counts {
		if c.compared >= 20 && 2*c.differing > c.compared {
			return 0, 0, false
		}
	}
	o.rows = after
	maps.Copy(o.conflicts, found)
	return stored, conflicts, true
}

// agreement by definition: the fields one by one, times cut off to milliseconds if either has no more.
func agreeByDefinition(a, b Trade) bool {
	at, bt := time.UnixMicro(a.TradedAt), time.UnixMicro(b.TradedAt)
	if at.Equal(at.Truncate(time.Millisecond)) || bt.Equal(bt.Truncate(time.Millisecond)) {
		at, bt = at.Truncate(time.Millisecond), bt.Truncate(time.Millisecond)
	}
	a.TradedAt, b.TradedAt = at.UnixMicro(), bt.UnixMicro()
	return a == b
}

// TestConflictsOfRandomPublications publishes random overlapping batches, in any order and by any way,
// by two processes, with compactions between them, and compares the tape and its conflicts with an
// oracle after each.
func TestConflictsOfRandomPublications(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector; make test-all runs it")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const histories = 40
	var refused, conflicts int
	for n := 0; n < histories || refused == 0 || conflicts == 0; n++ {
		if n == 400 {
			t.Fatalf("%d publications were refused, %d conflicts found in %d histories: they are too tame", refused, conflicts, n)
		}
		r, c := randomConflicts(t, rnd)
		refused, conflicts = refused+r, conflicts+c
	}
}

func randomConflicts(t *testing.T, rnd *rand.Rand) (refused, conflicts int) {
	d := newTape(t)
	other, err := Open(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	oracle := &conflictOracle{rows: map[string]map[int64]Trade{}, conflicts: map[Conflict]bool{}}
	for range 12 {
		rows := randomBatch(rnd)
		dir := []*Dir{d, other}[rnd.IntN(2)]
		way := publications()["Publish"]
		if rnd.IntN(3) == 0 {
			way = load
			slices.SortStableFunc(rows, compareTrades)
			rows = slices.CompactFunc(rows, sameTrade)
		}
		given := slices.Clone(rows)
		stored, differing, ok := oracle.publish(given, agreeByDefinition)
		out, err := way(dir, rows, Origin{Source: FromREST})
		var disagreement *DisagreementError
		switch {
		case !ok && !errors.As(err, &disagreement):
			t.Fatalf("%d rows: %+v, %v; want a disagreement", len(given), out, err)
		case !ok:
			refused++
		case err != nil || out.Rows != stored || out.Conflicts != differing || out.Dropped != int64(len(given))-stored || out.Unreadable != 0:
			t.Fatalf("%d rows: %+v, %v; want %d stored, %d conflicts", len(given), out, err, stored, differing)
		}
		if rnd.IntN(4) == 0 {
			mergeEverything(t, d)
		}
		onTape := all(t, d)
		if diff := gocmp.Diff(oracle.rows, onTape); diff != "" {
			t.Fatal(diff)
		}
		recorded := conflictsOf(t, d)
		conflicts += len(recorded)
		got := map[Conflict]bool{}
		for _, c := range recorded {
			got[conflictKey(c)] = true
		}
		if diff := gocmp.Diff(oracle.conflicts, got); diff != "" || len(got) != len(recorded) {
			t.Fatal(len(recorded), "rows in the table conflicts", diff)
		}
		open, err := d.OpenConflicts(t.Context())
		if err != nil || len(open) != len(recorded) {
			t.Fatalf("%d of %d conflicts are open, %v", len(open), len(recorded), err)
		}
	}
	return refused, conflicts
}

// randomBatch returns rows of some ids around midnight. Most ids have their usual content; others have
// another price, side or time, or times in milliseconds.
func randomBatch(rnd *rand.Rand) []Trade {
	var rows []Trade
	midnight := day0.AddDate(0, 0, 1)
	odd := []int{0, 5, 20, 70}[rnd.IntN(4)] // percent
	for range 1 + rnd.IntN(3) {
		symbol := []string{"AUSDT", "BUSDT", "币安人生USDT"}[rnd.IntN(3)]
		first := int64(rnd.IntN(150))
		for _, row := range trades(symbol, first, first+int64(rnd.IntN(60)), midnight.Add(time.Duration(first-100)*time.Second)) {
			row.TradedAt += row.ID * 37 % 1000 // microseconds
			if rnd.IntN(4) == 0 {
				row.TradedAt -= row.TradedAt % 1000
			}
			if rnd.IntN(100) < odd {
				switch rnd.IntN(4) {
				case 0:
					row.Price += float64(1 + rnd.IntN(2))
				case 1:
					row.IsBuyerMaker = !row.IsBuyerMaker
				case 2:
					row.TradedAt -= 1_500_000 // possibly on the day before
				case 3:
					row.FirstTradeID--
				}
			}
			rows = append(rows, row)
		}
	}
	rnd.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return rows
}

func mergeEverything(t *testing.T, d *Dir) {
	t.Helper()
	byDate := map[string][]Segment{}
	for _, s := range segmentsOf(t, d) {
		byDate[s.Date] = append(byDate[s.Date], s)
	}
	for _, date := range slices.SortedFunc(maps.Keys(byDate), cmp.Compare) {
		if _, err := d.Merge(t.Context(), date, byDate[date], 1<<20, day0); err != nil {
			t.Fatal(err)
		}
	}
}
