package tape

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/durable"
	"tapedeck/internal/idset"
)

var every = flag.Bool("every", false, "test every fault at every disk operation, not one of them: takes minutes")

// harness is a tape on a crashDisk, and the rows that were published to it.
type harness struct {
	t    *testing.T
	disk *crashDisk
	// exchange is false for a file system that cannot exchange two names.
	exchange bool
	// links is false for a file system without hard links.
	links bool
	dir   *Dir
	// other is the same tape, opened by another process before the fault.
	other *Dir
	// submitted are the rows of all calls, acknowledged those of calls that returned without an error.
	// By symbol and id.
	submitted, acknowledged map[string]map[int64]Trade
}

// durableDisk returns the disk for the tape to use.
func (h *harness) durableDisk() durable.Disk {
	if h.exchange {
		return h.disk
	}
	if !h.links {
		return withoutLinks{withoutExchange{h.disk}}
	}
	return withoutExchange{h.disk}
}

func (h *harness) create() error {
	d, err := create(h.disk.data(), AggTrade, day0, h.durableDisk())
	if err == nil {
		h.dir = d
	}
	return err
}

// reopen opens the tape as a new process does.
func (h *harness) reopen() {
	h.t.Helper()
	d, err := open(h.disk.data(), h.durableDisk())
	if err != nil {
		h.t.Fatalf("open the tape: %v", err)
	}
	h.dir = d
}

func addRows(in map[string]map[int64]Trade, rows []Trade) {
	for _, row := range rows {
		if in[row.Symbol] == nil {
			in[row.Symbol] = map[int64]Trade{}
		}
		in[row.Symbol][row.ID] = row
	}
}

// publish publishes rows, and records them as submitted and acknowledged.
func (h *harness) publish(rows []Trade) error {
	addRows(h.submitted, rows)
	_, err := h.dir.Publish(context.Background(), slices.Clone(rows), Origin{Source: FromStream})
	if err == nil {
		addRows(h.acknowledged, rows)
	}
	return err
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// files reads all files that a reader can list, by path below the data directory.
func (h *harness) files() map[string][]byte {
	h.t.Helper()
	out := map[string][]byte{}
	for _, table := range allTables() {
		root := filepath.Join(h.disk.data(), string(table))
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				out[path[len(h.disk.data())+1:]], err = os.ReadFile(path)
			}
			return err
		})
		h.must(err)
	}
	return out
}

// checkVisible checks the guarantees on what a reader can list. partial is true if rows may be
// missing because a replacement file by file is not finished.
func (h *harness) checkVisible(when string, partial bool) {
	h.t.Helper()
	h.checkFiles(when, h.files(), partial)
}

// checkDurable checks the guarantees on what a power cut at this moment would leave.
func (h *harness) checkDurable(when string) {
	h.t.Helper()
	h.checkFiles(when+", and a power cut", h.disk.afterPowerCut(), false)
}

// checkFiles checks that files are readable and hold each row once, unchanged and on its date, and
// unless partial, that they hold all acknowledged rows.
func (h *harness) checkFiles(when string, files map[string][]byte, partial bool) {
	h.t.Helper()
	got := map[string]map[int64]Trade{}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		table, rest, _ := strings.Cut(path, "/")
		if !strings.HasSuffix(path, ".parquet") || table == stagingDir || table == asideDir {
			continue
		}
		partition, _, _ := strings.Cut(rest, "/")
		var err error
		switch Table(table) {
		case Trades:
			var rows []Trade
			rows, err = decode[Trade](files[path])
			for _, row := range rows {
				if _, ok := got[row.Symbol][row.ID]; ok {
					h.t.Fatalf("%s: %s %d is repeated", when, row.Symbol, row.ID)
				}
				if row != h.submitted[row.Symbol][row.ID] {
					h.t.Fatalf("%s: %s %d is not what was published: %+v", when, row.Symbol, row.ID, row)
				}
				if partition != "date="+DateOf(row.TradedAt) {
					h.t.Fatalf("%s: %s %d is in %s", when, row.Symbol, row.ID, path)
				}
				addRows(got, []Trade{row})
			}
		case Alerts:
			_, err = decode[Alert](files[path])
		case Runs:
			_, err = decode[Run](files[path])
		case Coverage:
			_, err = decode[CoverageRow](files[path])
		case Conflicts:
			_, err = decode[Conflict](files[path])
		case Recorder:
			_, err = decode[RecorderEvent](files[path])
		case Drops:
			_, err = decode[Drop](files[path])
		default:
			h.t.Fatalf("%s: %s is in no table", when, path)
		}
		if err != nil {
			h.t.Fatalf("%s: %s: %v", when, path, err)
		}
	}
	if !partial {
		h.checkRows(when, got, h.acknowledged)
	}
}

// decode reads the rows of a segment.
func decode[T any](content []byte) ([]T, error) {
	file, err := readFooter(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, err
	}
	reader := parquet.NewGenericReader[T](file)
	defer reader.Close()
	rows := make([]T, file.NumRows())
	if n, err := reader.Read(rows); n < len(rows) {
		return nil, fmt.Errorf("%d of %d rows: %h", n, len(rows), err)
	}
	return rows, nil
}

// rowsOf reads the rows of one table.
func rowsOf[T any](h *harness, files map[string][]byte, table Table) []T {
	h.t.Helper()
	var out []T
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(path, string(table)+"/") {
			rows, err := decode[T](files[path])
			h.must(err)
			out = append(out, rows...)
		}
	}
	return out
}

// checkRows checks that got has all rows of want.
func (h *harness) checkRows(when string, got, want map[string]map[int64]Trade) {
	h.t.Helper()
	for symbol, rows := range want {
		for id := range rows {
			if _, ok := got[symbol][id]; !ok {
				h.t.Fatalf("%s: %s %d is lost", when, symbol, id)
			}
		}
	}
}

// finishInterrupted does what the next writer does first.
func (h *harness) finishInterrupted() {
	h.t.Helper()
	unlock, err := h.dir.publisher.lock()
	h.must(err)
	unlock()
}

// operation is a call that changes a tape.
type operation struct {
	name string
	// setup prepares the tape on a healthy disk.
	setup func(*harness)
	// run is repeated after a fault and then succeeds.
	run func(*harness) error
	// check, unless nil, checks what run does besides publishing trades, given all files. done is true
	// if run has succeeded.
	check func(h *harness, when string, files map[string][]byte, done bool)
	// noExchange uses a file system that cannot exchange names.
	noExchange bool
	// noLinks, with noExchange, uses one that has no hard links, either.
	noLinks bool
	// mergeAfter merges everything at the end, which must be possible after the operation.
	mergeAfter bool
}

// takesLong reports whether the operation has so many steps that trying them takes seconds.
func (op operation) takesLong() bool {
	return op.noExchange || strings.HasPrefix(op.name, "Drop") || strings.HasPrefix(op.name, "PublishCoverage of many days")
}

func operations() []operation {
	ctx := context.Background()
	publishSome := func(h *harness) {
		h.must(h.create())
		h.must(h.publish(trades("ETHUSDT", 1, 30, day0)))
		h.must(h.publish(trades("BTCUSDT", 1, 10, day0.Add(time.Hour))))
		h.must(h.publish(trades("ETHUSDT", 31, 40, day0.Add(2*time.Hour))))
	}
	// The first half is on the tape already. The second half is of the next day, which has no
	// partition yet.
	overMidnight := slices.Concat(trades("ETHUSDT", 1, 30, day0)[20:],
		trades("ETHUSDT", 31, 60, day0.Add(2*time.Hour)), trades("ETHUSDT", 61, 80, day0.Add(26*time.Hour)))
	merge := func(h *harness) error {
		segments, broken, err := h.dir.Segments(Trades, "2026-01-15", "2026-01-15")
		if err != nil || len(broken) > 0 {
			return errors.Join(err, fmt.Errorf("%d broken", len(broken)))
		}
		old := slices.DeleteFunc(segments, func(s Segment) bool { return s.IsCompacted() || s.Rows == 10 })
		if len(old) == 0 {
			return nil // done before the fault
		}
		_, err = h.dir.Merge(ctx, "2026-01-15", old, 25, day0)
		return err
	}
	publishForMerge := func(h *harness) {
		publishSome(h)
		h.must(h.publish(trades("ETHUSDT", 41, 60, day0.Add(3*time.Hour)))) // two segments are merged, two are kept
	}
	nextDay := day0.AddDate(0, 0, 1)
	alerts := []Alert{
		{Detector: "pump_burst", Symbol: "AUSDT", At: day0.UnixMicro(), Severity: "high", Extra: "{}"},
		{Detector: "pump_burst", Symbol: "AUSDT", At: nextDay.UnixMicro(), Severity: "low", Extra: "{}"},
	}
	checkAlerts := func(h *harness, when string, files map[string][]byte, done bool) {
		h.t.Helper()
		count := map[int64]int{}
		for _, a := range rowsOf[Alert](h, files, Alerts) {
			count[a.At]++
		}
		for _, a := range alerts {
			if count[a.At] > 1 || done && count[a.At] == 0 {
				h.t.Fatalf("%s: an alert occurs %d times", when, count[a.At])
			}
		}
	}
	certify := func(h *harness) Certificate {
		c, err := h.dir.Certify(ctx, day0.AddDate(0, 0, 3), false)
		h.must(err)
		return c
	}
	publishCoverage := func(h *harness) error {
		c, err := h.dir.Certify(ctx, day0.AddDate(0, 0, 4), false)
		if err != nil {
			return err
		}
		_, err = h.dir.PublishCoverage(ctx, c)
		return err
	}
	// The first two of four days have coverage rows already. Those of the second change.
	manyDays := func(h *harness) {
		h.must(h.create())
		h.must(h.publish(trades("ETHUSDT", 1, 10, day0)))
		h.must(h.publish(trades("ETHUSDT", 11, 20, day0.AddDate(0, 0, 1))))
		_, err := h.dir.PublishCoverage(ctx, certify(h))
		h.must(err)
		h.must(h.publish(trades("ETHUSDT", 23, 30, day0.AddDate(0, 0, 1).Add(time.Hour))))
		h.must(h.publish(trades("ETHUSDT", 31, 40, day0.AddDate(0, 0, 3))))
	}
	checkManyDays := func(h *harness, when string, files map[string][]byte, done bool) {
		h.t.Helper()
		rows := map[string]int{}
		for path, content := range files {
			if table, rest, _ := strings.Cut(path, "/"); table != string(Coverage) || !strings.HasSuffix(path, ".parquet") {
				continue
			} else if found, err := decode[CoverageRow](content); err != nil {
				h.t.Fatalf("%s: %s: %v", when, path, err)
			} else {
				for _, r := range found {
					rows[r.Symbol+" "+filepath.Dir(rest)]++
				}
			}
		}
		for day := range 4 {
			n := rows["ETHUSDT date="+DateOf(day0.AddDate(0, 0, day).UnixMicro())]
			if n > 1 || n == 0 && (done || day < 2) {
				h.t.Fatalf("%s: day %d has %d rows: %v", when, day, n, rows)
			}
		}
	}
	type state struct{ N int }
	checkState := func(h *harness, when string, files map[string][]byte, done bool) {
		h.t.Helper()
		var s state
		if err := json.Unmarshal(files[".state/x.json"], &s); err != nil || s.N != 2 && (done || s.N != 1) {
			h.t.Fatalf("%s: %+v, %v", when, s, err)
		}
	}
	return []operation{
		{name: "Create", setup: func(*harness) {}, run: (*harness).create},
		{name: "Publish", setup: publishSome, run: func(h *harness) error { return h.publish(overMidnight) }},
		{name: "Load", setup: publishSome, run: func(h *harness) error {
			addRows(h.submitted, overMidnight)
			load := h.dir.NewLoader(Origin{Source: FromArchive})
			defer load.Discard()
			if err := load.Add(ctx, overMidnight, 0); err != nil {
				return err
			}
			_, err := load.Publish(ctx)
			if err == nil {
				addRows(h.acknowledged, overMidnight)
			}
			return err
		}},
		{name: "Merge", setup: publishForMerge, run: merge, mergeAfter: true},
		{name: "Merge without exchange", setup: publishForMerge, run: merge, noExchange: true, mergeAfter: true},
		{name: "PublishCoverage",
			setup: func(h *harness) {
				publishSome(h)
				_, err := h.dir.PublishCoverage(ctx, certify(h))
				h.must(err)
				h.must(h.publish(trades("ETHUSDT", 43, 50, day0.Add(3*time.Hour))))
			},
			run: publishCoverage,
			check: func(h *harness, when string, files map[string][]byte, done bool) {
				h.t.Helper()
				count := map[string]int{}
				for _, r := range rowsOf[CoverageRow](h, files, Coverage) {
					count[r.Symbol]++
					if r.Symbol == "ETHUSDT" && (done || r.Missing > 0) && r.Missing != 2 {
						h.t.Fatalf("%s: %+v", when, r)
					}
				}
				if count["ETHUSDT"] != 1 || count["BTCUSDT"] != 1 || count["OTHERUSDT"] > 1 {
					h.t.Fatalf("%s: rows by symbol: %v", when, count)
				}
			}},
		{name: "PublishCoverage of many days", setup: manyDays, run: publishCoverage, check: checkManyDays},
		{name: "Merge without links", setup: publishForMerge, run: merge, noExchange: true, noLinks: true, mergeAfter: true},
		{name: "PublishCoverage of many days without exchange", setup: manyDays, run: publishCoverage, check: checkManyDays, noExchange: true},
		{name: "PublishAlerts", setup: publishSome, check: checkAlerts, run: func(h *harness) error {
			_, err := h.dir.PublishAlerts(ctx, alerts)
			return err
		}},
		{name: "MergeRecords",
			check: func(h *harness, when string, files map[string][]byte, done bool) { checkAlerts(h, when, files, true) },
			setup: func(h *harness) {
				h.must(h.create())
				for _, a := range alerts {
					_, err := h.dir.PublishAlerts(ctx, []Alert{a})
					h.must(err)
				}
				other := alerts[0]
				other.Symbol, other.At = "BUSDT", other.At+1
				_, err := h.dir.PublishAlerts(ctx, []Alert{other})
				h.must(err)
			},
			run: func(h *harness) error {
				_, _, err := h.dir.MergeRecords(ctx, Alerts, "2026-01-15", 1)
				return err
			}},
		{name: "PublishRuns", setup: publishSome,
			run: func(h *harness) error {
				_, err := h.dir.PublishRuns(ctx, []Run{{ID: "a", Job: "verify", FinishedAt: day0.UnixMicro()}})
				return err
			},
			check: func(h *harness, when string, files map[string][]byte, done bool) {
				h.t.Helper()
				if runs := rowsOf[Run](h, files, Runs); done && len(runs) == 0 {
					h.t.Fatalf("%s: the run is lost", when)
				}
			}},
		{name: "State.Write", check: checkState,
			setup: func(h *harness) { h.must(h.create()); h.must(h.dir.State().Write("x.json", state{1})) },
			run:   func(h *harness) error { return h.dir.State().Write("x.json", state{2}) }},
		{name: "RecordAbsent",
			setup: func(h *harness) {
				h.must(h.create())
				h.must(h.dir.RecordAbsent("ETHUSDT", idset.Set{{First: 5, Last: 6}}, day0))
			},
			run: func(h *harness) error { return h.dir.RecordAbsent("ETHUSDT", idset.Set{{First: 8, Last: 9}}, day0) },
			check: func(h *harness, when string, files map[string][]byte, done bool) {
				h.t.Helper()
				text := string(files[".state/absent.json"])
				if !strings.Contains(text, `"first": 5`) || done && !strings.Contains(text, `"first": 8`) {
					h.t.Fatalf("%s: %s", when, text)
				}
			}},
		conflictOperation("Publish with conflicts"), conflictOperation("Load with conflicts"),
		dropOperation("Drop", false), dropOperation("Drop, file by file", true),
		{name: "Sweep",
			setup: func(h *harness) {
				publishForMerge(h)
				h.must(merge(h))
				file, err := h.disk.Create(filepath.Join(h.disk.data(), stagingDir, stagedName("dead")))
				h.must(err)
				h.must(file.Close())
			},
			run: func(h *harness) error {
				_, err := h.dir.Sweep(time.Now().Add(24 * time.Hour))
				return err
			}},
	}
}

// newHarness returns a tape that is set up for an operation.
func newHarness(t *testing.T, op operation) *harness {
	h := &harness{
		t: t, disk: newCrashDisk(t, t.TempDir()), exchange: !op.noExchange, links: !op.noLinks,
		submitted: map[string]map[int64]Trade{}, acknowledged: map[string]map[int64]Trade{},
	}
	op.setup(h)
	if op.name != "Create" {
		h.must(h.publish(trades("OTHERUSDT", 1, 2, day0)))
	}
	return h
}

// clone returns a harness in the same state, in which both processes have used the tape for a
// while.
func (h *harness) clone(op operation) *harness {
	h.t.Helper()
	out := *h
	out.disk = h.disk.clone()
	out.submitted, out.acknowledged = map[string]map[int64]Trade{}, map[string]map[int64]Trade{}
	for symbol := range h.submitted {
		out.submitted[symbol], out.acknowledged[symbol] = maps.Clone(h.submitted[symbol]), maps.Clone(h.acknowledged[symbol])
	}
	if op.name != "Create" {
		out.reopen()
		h.must(out.dir.publisher.sync(Trades, "2026-01-15"))
		out.other = out.dir
		out.reopen()
	}
	out.disk.arm(-1, healthy)
	return &out
}

// TestOperationsSurviveDiskFaults lets a fault happen at each disk operation of each call, and then
// continues in several ways, with or without a power cut. What is found must hold the guarantees,
// and nothing acknowledged may be lost. The call must succeed when it is repeated.
func TestOperationsSurviveDiskFaults(t *testing.T) {
	for number, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			if testing.Short() && op.takesLong() {
				t.Skip("takes long with the race detector; make test-all runs it")
			}
			t.Parallel()
			template := newHarness(t, op)
			h := template.clone(op)
			if err := op.run(h); err != nil {
				t.Fatal(err)
			}
			trace := slices.Clone(h.disk.trace)
			if len(trace) < 3 {
				t.Fatalf("only %d disk operations: %q", len(trace), trace)
			}
			cases, step := 0, 1
			if raceDetector {
				step = 3
			}
			if strings.HasPrefix(op.name, "Drop") { // which has hundreds of disk operations
				step = 3 * step
			}
			all := faultCases()
			for at := range trace {
				for i, c := range all {
					if *every || at%step == number%step && at/step%len(all) == i {
						runWithFault(template.clone(op), op, at, c)
						cases++
					}
				}
			}
			t.Logf("%d disk operations, %d cases", len(trace), cases)
		})
	}
}

// faultCase is a fault and what happens after it.
type faultCase struct {
	fault fault
	then  aftermath
}

type aftermath string

const (
	sameProcess     aftermath = "the process continues"
	newProcess      aftermath = "a new process continues"
	powerCut        aftermath = "power cut, all that is not durable is lost"
	partialPowerCut aftermath = "power cut, some of what is not durable is lost"
)

func faultCases() []faultCase {
	return []faultCase{
		{failsLate, partialPowerCut}, {fails, sameProcess}, {kills, powerCut}, {failsLate, sameProcess},
		{kills, partialPowerCut}, {kills, newProcess},
	}
}

// runWithFault runs an operation with a fault at the disk operation number at, and then checks the
// tape.
func runWithFault(h *harness, op operation, at int, c faultCase) {
	h.t.Helper()
	first := h.disk
	var err error
	succeeded := false
	defer func() {
		if !succeeded {
			h.t.Logf("disk operation %d %s, then %s; the call returned %v; disk operations:\n%s",
				at, c.fault, c.then, err, strings.Join(first.trace, "\n"))
		}
	}()
	h.disk.arm(at, c.fault)
	err = op.run(h)
	if len(h.disk.trace) <= at {
		h.t.Fatalf("disk operation %d did not happen: %q", at, h.disk.trace)
	}
	h.healDisk(at, c)
	h.recover(op, c.then, err == nil)
	succeeded = true
	for _, disk := range []*crashDisk{first, h.disk} {
		h.must(os.RemoveAll(disk.root))
	}
}

// healDisk gives the harness a healthy disk after a fault at a disk operation: the same one, or what a
// power cut left of it.
func (h *harness) healDisk(at int, c faultCase) {
	rnd := rand.New(rand.NewPCG(uint64(at), uint64(c.fault)))
	switch c.then {
	case powerCut:
		h.disk = h.disk.cutPower(0, rnd)
	case partialPowerCut:
		h.disk = h.disk.cutPower(.5, rnd)
	}
	h.disk.revive()
}

// recover continues after a fault on a healthy disk, repeats the operation and checks the tape
// after each step.
func (h *harness) recover(op operation, then aftermath, done bool) {
	h.t.Helper()
	if op.name == "Create" {
		h.must(h.create())
	} else if then != sameProcess {
		h.reopen()
	}
	check := func(when string, files map[string][]byte, done bool) {
		h.t.Helper()
		if op.check != nil {
			for _, name := range []string{"x.json", absentName, droppedName} {
				if _, ok := files[filepath.Join(stateDir, name)]; !ok {
					files[filepath.Join(stateDir, name)], _ = os.ReadFile(h.dir.State().Path(name))
				}
			}
			op.check(h, when, files, done)
		}
	}
	if op.noExchange {
		h.checkVisible("after the fault", true)
		h.finishInterrupted()
	}
	files := h.files()
	h.checkFiles("after the fault", files, false)
	check("after the fault", files, done)
	if h.other != nil && (then == newProcess || then == sameProcess) {
		own := h.dir
		h.dir = h.other
		h.must(h.publish(trades("OTHERUSDT", 1, 20, day0)))
		h.dir = own
		h.checkVisible("after another process published", false)
		h.checkDurable("after another process published")
	}
	if err := op.run(h); err != nil {
		h.t.Fatalf("repeated: %v", err)
	}
	h.checkVisible("after repeating", false)

	// The repeated call succeeded, so its result must be durable.
	h.checkDurable("after repeating")
	check("after repeating and a power cut", h.disk.afterPowerCut(), true)

	// What the fault left behind can be swept.
	_, err := h.dir.Sweep(time.Now().Add(48 * time.Hour))
	h.must(err)
	h.checkVisible("after Sweep", false)
	left, err := os.ReadDir(h.dir.StagingPath())
	if err != nil || len(left) > 0 {
		h.t.Fatalf("left in the staging directory: %v, %v", left, err)
	}
	if op.mergeAfter {
		h.mergeAll()
		h.checkVisible("after merging", false)
		h.checkDurable("after merging")
	}
}

// mergeAll merges all segments of the first day into one.
func (h *harness) mergeAll() {
	h.t.Helper()
	segments, broken, err := h.dir.Segments(Trades, "2026-01-15", "2026-01-15")
	h.must(err)
	if len(broken) > 0 {
		h.t.Fatal(broken)
	}
	if len(segments) > 1 {
		_, err := h.dir.Merge(context.Background(), "2026-01-15", segments, 1<<20, day0)
		h.must(err)
	}
}

// TestReadersBetweenDiskOperations reads the whole tape after each disk operation of each call.
func TestReadersBetweenDiskOperations(t *testing.T) {
	for _, op := range operations() {
		if op.name == "Create" {
			continue
		}
		t.Run(op.name, func(t *testing.T) {
			if testing.Short() && op.takesLong() {
				t.Skip("takes long with the race detector; make test-all runs it")
			}
			t.Parallel()
			h := newHarness(t, op).clone(op)
			checks := 0
			before := maps.Clone(h.acknowledged)
			h.disk.after = func() {
				h.acknowledged, before = before, h.acknowledged // rows being published may be missing
				h.checkVisible(h.disk.trace[len(h.disk.trace)-1], op.noExchange)
				h.acknowledged, before = before, h.acknowledged
				checks++
			}
			h.must(op.run(h))
			h.disk.after = nil
			h.checkVisible("at the end", false)
			if checks < 3 {
				t.Errorf("only %d checks", checks)
			}
		})
	}
}
