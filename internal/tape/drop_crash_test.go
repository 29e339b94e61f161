package tape

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/idset"
	"tapedeck/internal/window"
)

// dropOperation drops ETHUSDT from 00:00:10 of the first day to 00:00:20 of the third: a part of
// a day, which is compacted, a whole day with a second symbol, and a day of which nothing is left;
// with a conflict and the coverage of those days.
func dropOperation(name string, noExchange bool) operation {
	ctx := context.Background()
	query := DropQuery{What: DropsTrades, Symbols: []string{"ETHUSDT"}, Window: window.Window{
		Start: day0.Add(10 * time.Second), End: day0.AddDate(0, 0, 3).Add(20 * time.Second),
	}}
	day := func(n int) time.Time { return day0.AddDate(0, 0, n) }
	rows := [][]Trade{
		trades("ETHUSDT", 1, 20, day(0)), trades("ETHUSDT", 21, 40, day(0).Add(20*time.Second)), trades("BTCUSDT", 1, 10, day(0)),
		trades("BTCUSDT", 11, 20, day(1)), trades("ETHUSDT", 41, 60, day(1)),
		trades("ETHUSDT", 63, 70, day(2)),
		trades("ETHUSDT", 71, 110, day(3)),
	}
	drops := func(t Trade) bool { return t.Symbol == "ETHUSDT" && t.ID >= 11 && t.ID <= 90 }
	conflict := Conflict{Symbol: "ETHUSDT", ID: 45, Price: 1, OtherPrice: 2, TradedAt: day(1).UnixMicro(), OtherTradedAt: day(1).UnixMicro()}
	return operation{
		name: name, noExchange: noExchange,
		setup: func(h *harness) {
			h.must(h.create())
			for _, rows := range rows {
				h.must(h.publish(rows))
			}
			h.mergeAll()
			h.must(h.publish([]Trade{{
				Symbol: "ETHUSDT", ID: 111, Price: 1, Qty: 1, FirstTradeID: 1, LastTradeID: 1, TradedAt: day(3).Add(time.Hour).UnixMicro(),
			}}))
			_, err := h.dir.PublishConflicts(ctx, []Conflict{conflict})
			h.must(err)
			c, err := h.dir.Certify(ctx, day(10), false)
			h.must(err)
			_, err = h.dir.PublishCoverage(ctx, c)
			h.must(err)
			for _, rows := range h.acknowledged {
				maps.DeleteFunc(rows, func(_ int64, t Trade) bool { return drops(t) })
			}
		},
		run: func(h *harness) error {
			if _, err := h.dir.FinishDrop(ctx); err != nil {
				return err
			}
			plan, err := h.dir.PlanDrop(ctx, query)
			if err != nil || plan.Rows() == 0 {
				return err
			}
			return h.dir.Drop(ctx, plan, DropRecord{At: day(10).UnixMicro(), RunID: "r", Reason: "drop"}, nil)
		},
		check: func(h *harness, when string, files map[string][]byte, done bool) {
			h.t.Helper()
			left := 0
			for _, row := range rowsOf[Trade](h, files, Trades) {
				if drops(row) {
					left++
				}
			}
			var state droppedState
			if text := files[filepath.Join(stateDir, droppedName)]; text != nil {
				h.must(json.Unmarshal(text, &state))
			}
			decided := len(state.Symbols["ETHUSDT"]) > 0
			if !decided && left < 78 && !noExchange {
				h.t.Fatalf("%s: %d rows are gone, and nothing says that they were dropped", when, 78-left)
			}
			if !done {
				return
			}
			// 61 and 62 were never published.
			if got := idsOf(state.Symbols["ETHUSDT"]); left > 0 || !slices.Equal(got, idset.Set{{First: 11, Last: 90}}) || state.Pending != nil {
				h.t.Fatalf("%s: %d dropped rows are left, dropped are %v, pending %v", when, left, got, state.Pending)
			}
			total := int64(0)
			for _, row := range rowsOf[Drop](h, files, Drops) {
				if row.What == DropsTrades { // another row is about their conflict
					total += row.Rows
				}
			}
			if total != 78 {
				h.t.Fatalf("%s: the table drops has %d rows, not 78", when, total)
			}
			if rows := rowsOf[Conflict](h, files, Conflicts); len(rows) > 0 {
				h.t.Fatalf("%s: %d conflicts are left", when, len(rows))
			}
			for _, row := range rowsOf[CoverageRow](h, files, Coverage) {
				if row.Symbol == "ETHUSDT" {
					h.t.Fatalf("%s: coverage of a dropped day is left: %+v", when, row)
				}
			}
		},
	}
}

// TestRandomDrops lets publications, loads, compactions, drops and kills happen at random, and
// compares the tape with an oracle in memory: it has exactly the rows that were published and not
// dropped since, each once; what was dropped stays dropped until it is restored.
func TestRandomDrops(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector; make test-all runs it")
	}
	for range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			o := &dropOracle{
				t: t, rnd: rand.New(rand.NewPCG(seed, 1)), on: map[string]map[int64]Trade{}, dropped: map[string]map[int64]bool{},
				h: &harness{
					t: t, disk: newCrashDisk(t, t.TempDir()), exchange: seed%4 > 0,
					submitted: map[string]map[int64]Trade{}, acknowledged: map[string]map[int64]Trade{},
				},
			}
			o.h.must(o.h.create())
			for o.steps < 60 || o.drops < 5 || o.kills < 5 || o.restores < 2 {
				o.step()
			}
			t.Logf("%d steps, %d drops, %d kills, %d restores", o.steps, o.drops, o.kills, o.restores)
		})
	}
}

type dropOracle struct {
	t   *testing.T
	rnd *rand.Rand
	h   *harness

	on      map[string]map[int64]Trade // the rows on the tape
	dropped map[string]map[int64]bool
	rows    int64 // dropped in total

	steps, drops, kills, restores int
}

// row returns the trade with an id: 40 a day, the same whoever publishes it.
func (o *dropOracle) row(symbol string, id int64) Trade {
	return Trade{
		Symbol: symbol, ID: id, Price: float64(id + 1), Qty: 1, FirstTradeID: id, LastTradeID: id,
		TradedAt: day0.Add(time.Duration(id) * 36 * time.Minute).UnixMicro(),
	}
}

func (o *dropOracle) someRows() (out []Trade) {
	for range 1 + o.rnd.IntN(4) {
		symbol := []string{"AUSDT", "BUSDT", "CUSDT"}[o.rnd.IntN(3)]
		first := int64(o.rnd.IntN(150))
		for id := first; id < first+int64(o.rnd.IntN(30)); id++ {
			out = append(out, o.row(symbol, id))
		}
	}
	slices.SortFunc(out, compareTrades)
	return slices.CompactFunc(out, sameTrade)
}

func (o *dropOracle) step() {
	o.steps++
	switch o.rnd.IntN(6) {
	case 0, 1:
		rows := o.someRows()
		o.do(func() error {
			_, err := o.h.dir.Publish(context.Background(), slices.Clone(rows), Origin{Source: FromStream, Run: "s"})
			return err
		})
		o.published(rows, false)
	case 2:
		rows, restores := o.someRows(), o.rnd.IntN(3) == 0
		o.do(func() error {
			l := o.h.dir.NewLoader(Origin{Source: FromFile, Run: fmt.Sprint("import", o.steps%3), Restores: restores})
			defer l.Discard()
			if err := l.Add(context.Background(), rows, 0); err != nil {
				return err
			}
			_, err := l.Publish(context.Background())
			return err
		})
		o.published(rows, restores)
	case 3:
		dates, err := o.h.dir.Dates(Trades)
		o.h.must(err)
		if len(dates) == 0 {
			return
		}
		date := dates[o.rnd.IntN(len(dates))]
		o.do(func() error {
			segments, _, err := o.h.dir.Segments(Trades, date, date)
			if err != nil || len(segments) < 2 {
				return err
			}
			_, err = o.h.dir.Merge(context.Background(), date, segments, 1<<20, day0)
			return err
		})
	default:
		o.drop()
	}
	o.check()
}

// do runs an operation, sometimes with a fault or a kill at one of its disk operations. It is then
// repeated by a new process.
func (o *dropOracle) do(run func() error) {
	if o.rnd.IntN(2) == 0 {
		o.h.disk.arm(o.rnd.IntN(25), []fault{kills, fails, failsLate}[o.rnd.IntN(3)])
		if run() == nil {
			o.h.disk.arm(-1, healthy)
			return
		}
		o.kills++
		if o.rnd.IntN(2) == 0 {
			o.h.disk = o.h.disk.cutPower(.5, o.rnd)
		}
		o.h.disk.revive()
		o.h.disk.arm(-1, healthy)
		o.h.reopen()
		o.h.finishInterrupted()
		if _, err := o.h.dir.FinishDrop(context.Background()); err != nil {
			o.t.Fatal(err)
		}
	}
	o.h.must(run())
}

func (o *dropOracle) published(rows []Trade, restores bool) {
	for _, row := range rows {
		if o.dropped[row.Symbol][row.ID] {
			if !restores {
				continue
			}
			o.restores++
			delete(o.dropped[row.Symbol], row.ID)
		}
		addRows(o.on, []Trade{row})
	}
}

// drop drops rows by symbol, window, ids or origin. What the plan lists is what the oracle expects,
// except for an origin, which only the files know.
func (o *dropOracle) drop() {
	q := DropQuery{What: DropsTrades}
	byOrigin := false
	if o.rnd.IntN(2) == 0 {
		q.Symbols = []string{"AUSDT"}
	}
	switch o.rnd.IntN(4) {
	case 0:
		q.IDs = idset.Set{{First: int64(o.rnd.IntN(100)), Last: int64(100 + o.rnd.IntN(50))}}
	case 1:
		byOrigin = true
		q.Origin = func(origin Origin) bool { return origin.Run == "import1" }
	default:
		q.Window.Start = day0.Add(time.Duration(o.rnd.IntN(80)) * time.Hour)
		q.Window.End = q.Window.Start.Add(time.Duration(o.rnd.IntN(20)) * time.Hour)
	}
	ctx := context.Background()
	plan, err := o.h.dir.PlanDrop(ctx, q)
	o.h.must(err)
	want := map[string]idset.Set{}
	for symbol, rows := range o.on {
		for id, row := range rows {
			if !byOrigin && q.selectsSymbol(symbol) && q.selectsTime(row.TradedAt) && (q.IDs == nil || q.IDs.Contains(id)) {
				want[symbol] = want[symbol].Add(idset.Range{First: id, Last: id})
			}
		}
	}
	removed := pendingDrop{Trades: plan.pending.Trades}
	if diff := cmp.Diff(want, removed.ids()); diff != "" && !byOrigin {
		o.t.Fatalf("the plan of %+v (-want +got):\n%s", q, diff)
	}
	if plan.Rows() == 0 {
		return
	}
	o.drops++
	record := DropRecord{At: day0.UnixMicro(), RunID: fmt.Sprint("drop", o.steps)}
	total := plan.Rows()
	o.do(func() error {
		plan, err := o.h.dir.PlanDrop(ctx, q) // empty if it was decided before the process was killed
		if err != nil || plan.Rows() == 0 {
			return err
		}
		return o.h.dir.Drop(ctx, plan, record, nil)
	})
	o.rows += total
	for symbol, set := range plan.pending.ids() { // with what is given up
		for id := range o.on[symbol] {
			if set.Contains(id) {
				delete(o.on[symbol], id)
			}
		}
		for _, r := range set {
			for id := r.First; id <= r.Last; id++ {
				if o.dropped[symbol] == nil {
					o.dropped[symbol] = map[int64]bool{}
				}
				o.dropped[symbol][id] = true
			}
		}
	}
}

func (o *dropOracle) check() {
	o.t.Helper()
	got := all(o.t, o.h.dir) // which fails on a row that occurs twice
	for symbol := range o.on {
		if diff := cmp.Diff(o.on[symbol], got[symbol]); diff != "" && len(o.on[symbol])+len(got[symbol]) > 0 {
			o.t.Fatalf("step %d, %s (-want +got):\n%s", o.steps, symbol, diff)
		}
	}
	dropped, err := o.h.dir.Dropped()
	o.h.must(err)
	for symbol, ids := range o.dropped {
		for id := range ids {
			if !dropped[symbol].Contains(id) {
				o.t.Fatalf("step %d: %s %d is dropped no longer", o.steps, symbol, id)
			}
		}
		if n := dropped[symbol].Count(); n != int64(len(ids)) {
			o.t.Fatalf("step %d: %d ids of %s are dropped, not %d", o.steps, n, symbol, len(ids))
		}
	}
	drops, err := o.h.dir.ReadDrops("", "")
	o.h.must(err)
	total := int64(0)
	for _, row := range drops {
		total += row.Rows
	}
	if total != o.rows {
		o.t.Fatalf("step %d: the table drops has %d rows, not %d", o.steps, total, o.rows)
	}
}
