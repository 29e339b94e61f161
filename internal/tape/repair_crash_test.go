package tape

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tapedeck/internal/idset"
)

// put publishes rows as a file that somebody copied into a partition, whatever is on the tape.
func (h *harness) put(date string, rows []Trade) {
	h.t.Helper()
	staged, _, err := h.dir.staging.write(stagedName("stream"), func(w io.Writer) error {
		return encodeTrades(new(encoder[Trade]), w, rows, runsOf(rows), identity{feed: AggTrade}, Origin{Source: FromStream})
	})
	h.must(err)
	unlock, err := h.dir.publisher.lock()
	h.must(err)
	defer unlock()
	_, err = h.dir.publisher.publish(staged, Trades, date)
	h.must(err)
}

// repairCase is a tape on which somebody has restored a backup over compacted files, moved a file into the
// partition of another date, copied that file, and copied a file with other contents of some ids and new ids.
func repairCase(t *testing.T, exchange bool) *harness {
	h := &harness{
		t: t, disk: newCrashDisk(t, t.TempDir()), exchange: exchange,
		submitted: map[string]map[int64]Trade{}, acknowledged: map[string]map[int64]Trade{},
	}
	h.must(h.create())
	backup := [][]Trade{trades("ETHUSDT", 1, 20, day0), trades("ETHUSDT", 21, 40, day0.Add(20*time.Second)), trades("BTCUSDT", 1, 10, day0)}
	for _, rows := range backup {
		h.must(h.publish(rows))
	}
	h.mergeAll()
	for _, rows := range backup {
		h.put(DateOf(day0.UnixMicro()), rows)
	}
	h.must(h.publish(trades("ETHUSDT", 41, 60, day0.AddDate(0, 0, 1))))
	moved := trades("ETHUSDT", 61, 80, day0.AddDate(0, 0, 2))
	h.put(DateOf(day0.AddDate(0, 0, 1).UnixMicro()), moved)
	h.put(DateOf(day0.AddDate(0, 0, 3).UnixMicro()), moved)
	other := trades("BTCUSDT", 6, 30, day0.Add(5*time.Second))
	other[0].Price++
	h.put(DateOf(day0.UnixMicro()), other)
	for _, rows := range [][]Trade{moved, other[5:]} {
		addRows(h.submitted, rows)
		addRows(h.acknowledged, rows)
	}
	return h
}

func (h *harness) repair() error {
	_, err := h.dir.Repair(context.Background(), day0.AddDate(0, 0, 9), nil)
	return err
}

// checkReadable checks that the segments that are not stray have each row at most once, and that each row is
// in some segment.
func (h *harness) checkReadable(when string) {
	h.t.Helper()
	index := h.dir.Index()
	h.must(index.Refresh(context.Background()))
	paths, broken, err := index.SegmentPaths("", "")
	h.must(err)
	read, any := map[string]map[int64]Trade{}, map[string]map[int64]Trade{}
	for _, path := range paths {
		rows, err := h.dir.ReadTrades(path)
		h.must(err)
		for _, row := range rows {
			if _, twice := read[row.Symbol][row.ID]; twice {
				h.t.Fatalf("%s: %s %d is read twice", when, row.Symbol, row.ID)
			}
			if row != h.submitted[row.Symbol][row.ID] {
				h.t.Fatalf("%s: %s %d is not what was recorded: %+v", when, row.Symbol, row.ID, row)
			}
			addRows(read, []Trade{row})
		}
		addRows(any, rows)
	}
	for _, stray := range broken {
		if !stray.IsStray() {
			h.t.Fatalf("%s: %v", when, stray)
		}
		rows, err := h.dir.ReadTrades(stray.Path)
		h.must(err)
		addRows(any, slices.DeleteFunc(rows, func(row Trade) bool { return row != h.submitted[row.Symbol][row.ID] }))
	}
	h.checkRows(when, any, h.acknowledged)
}

// checkRepaired checks a tape on which nothing is left to repair.
func (h *harness) checkRepaired(when string) {
	h.t.Helper()
	h.checkVisible(when, false)
	h.checkDurable(when)
	files := h.disk.afterPowerCut()
	if conflicts := rowsOf[Conflict](h, files, Conflicts); len(conflicts) != 1 || conflicts[0].ID != 6 || conflicts[0].OtherPrice != conflicts[0].Price+1 {
		h.t.Fatalf("%s: conflicts %+v", when, conflicts)
	}
	index := h.dir.Index()
	h.must(index.Refresh(context.Background()))
	want := map[string]idset.Set{"BTCUSDT": {{First: 1, Last: 30}}, "ETHUSDT": {{First: 1, Last: 80}}}
	for symbol, ids := range want {
		if got := index.IDs(symbol); !slices.Equal(got, ids) {
			h.t.Fatalf("%s: ids of %s are %v, want %v", when, symbol, got, ids)
		}
	}
	if strays := index.Strays(); len(strays) > 0 {
		h.t.Fatalf("%s: %v", when, strays)
	}
}

// TestRepairSurvivesDiskFaults lets a fault happen at each disk operation of a repair. Every row stays on the tape,
// what readers see has none twice, and the repeated repair completes it.
func TestRepairSurvivesDiskFaults(t *testing.T) {
	for _, exchange := range []bool{true, false} {
		t.Run(map[bool]string{true: "exchange", false: "file by file"}[exchange], func(t *testing.T) {
			t.Parallel()
			template := repairCase(t, exchange)
			h := template.clone(operation{})
			h.must(h.repair())
			h.checkRepaired("without a fault")
			trace := len(h.disk.trace)
			all, step := faultCases(), 1
			if testing.Short() {
				step = 19
			}
			cases := 0
			for at := 0; at < trace; at++ {
				for i, c := range all {
					if *every || at%step == 0 && at/step%len(all) == i {
						repairWithFault(template.clone(operation{}), at, c)
						cases++
					}
				}
			}
			t.Logf("%d disk operations, %d cases", trace, cases)
		})
	}
}

func repairWithFault(h *harness, at int, c faultCase) {
	h.t.Helper()
	first := h.disk
	h.disk.arm(at, c.fault)
	err := h.repair()
	operation := h.disk.trace[min(at, len(h.disk.trace)-1)]
	h.healDisk(at, c)
	if c.then != sameProcess {
		h.reopen()
	}
	when := func(what string) string {
		return what + " after operation " + operation + " " + c.fault.String() + ", " + string(c.then)
	}
	h.finishInterrupted()
	h.checkReadable(when("before repeating"))
	if err == nil {
		h.checkRepaired(when("it succeeded"))
	}
	if err := h.repair(); err != nil {
		h.t.Fatalf("%s: %v", when("repeated"), err)
	}
	h.checkRepaired(when("repeated"))
	_, err = h.dir.Sweep(time.Now().Add(AsideGrace + time.Hour))
	h.must(err)
	h.checkRepaired(when("swept"))
	for _, dir := range []string{stagingDir, asideDir} {
		if left, _ := os.ReadDir(filepath.Join(h.disk.data(), dir)); len(left) > 0 {
			h.t.Fatalf("%s: left in %s: %v", when("swept"), dir, left)
		}
	}
	for _, disk := range []*crashDisk{first, h.disk} {
		h.must(os.RemoveAll(disk.root))
	}
}
