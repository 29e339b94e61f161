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
	"tapedeck/internal/durable"
	"tapedeck/internal/idset"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
)

var every = flag.Bool("every", false, "let every operation go wrong in every way, not in one of them: minutes")

// world is a tape on a crashDisk, and what is known of what was asked of it.
type world struct {
	t    *testing.T
	disk *crashDisk
	// exchange is false on a file system that cannot exchange two names.
	exchange bool
	dir      *Dir
	// other is the same tape as another process has it open since before the fault.
	other *Dir
	// offered are the rows that were ever handed to the tape, and promised those that it said it has.
	offered, promised map[string]map[int64]Trade
}

func (w *world) use() durable.Disk {
	if w.exchange {
		return w.disk
	}
	return withoutExchange{w.disk}
}

func (w *world) create() error {
	d, err := create(w.disk.data(), AggTrade, day0, w.use())
	if err == nil {
		w.dir = d
	}
	return err
}

// reopen is a new process's view of the tape.
func (w *world) reopen() {
	w.t.Helper()
	d, err := open(w.disk.data(), w.use())
	if err != nil {
		w.t.Fatalf("open the tape: %v", err)
	}
	w.dir = d
}

func remember(in map[string]map[int64]Trade, rows []Trade) {
	for _, row := range rows {
		if in[row.Symbol] == nil {
			in[row.Symbol] = map[int64]Trade{}
		}
		in[row.Symbol][row.ID] = row
	}
}

// publish publishes and remembers what it was told.
func (w *world) publish(rows []Trade) error {
	remember(w.offered, rows)
	_, err := w.dir.Publish(context.Background(), slices.Clone(rows), Origin{Source: FromStream})
	if err == nil {
		remember(w.promised, rows)
	}
	return err
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// files reads all files that a reader could list, by path below the data directory.
func (w *world) files() map[string][]byte {
	w.t.Helper()
	out := map[string][]byte{}
	for _, table := range []Table{Trades, Alerts, Runs, Coverage} {
		root := filepath.Join(w.disk.data(), string(table))
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				out[path[len(w.disk.data())+1:]], err = os.ReadFile(path)
			}
			return err
		})
		w.must(err)
	}
	return out
}

// look holds what a reader can list to the guarantees. partial is true where rows may be missing: an exchange file by file is under way or was
// cut short.
func (w *world) look(when string, partial bool) {
	w.t.Helper()
	w.examine(when, w.files(), partial)
}

// lookDurable holds what a power cut now would leave to the guarantees.
func (w *world) lookDurable(when string) {
	w.t.Helper()
	w.examine(when+", and the power cut", w.disk.afterPowerCut(), false)
}

func (w *world) examine(when string, files map[string][]byte, partial bool) {
	w.t.Helper()
	got := map[string]map[int64]Trade{}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		table, rest, _ := strings.Cut(path, "/")
		if !strings.HasSuffix(path, ".parquet") || table == stagingDir {
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
					w.t.Fatalf("%s: %s %d stands twice", when, row.Symbol, row.ID)
				}
				if row != w.offered[row.Symbol][row.ID] {
					w.t.Fatalf("%s: %s %d is not what was published: %+v", when, row.Symbol, row.ID, row)
				}
				if partition != "date="+DateOf(row.TradedAt) {
					w.t.Fatalf("%s: %s %d lies in %s", when, row.Symbol, row.ID, path)
				}
				remember(got, []Trade{row})
			}
		case Alerts:
			_, err = decode[Alert](files[path])
		case Runs:
			_, err = decode[Run](files[path])
		case Coverage:
			_, err = decode[CoverageRow](files[path])
		default:
			w.t.Fatalf("%s: %s is in no table", when, path)
		}
		if err != nil {
			w.t.Fatalf("%s: %s: %v", when, path, err)
		}
	}
	if !partial {
		w.has(when, got, w.promised)
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
		return nil, fmt.Errorf("%d of %d rows: %w", n, len(rows), err)
	}
	return rows, nil
}

// rowsOf reads the rows of one table.
func rowsOf[T any](w *world, files map[string][]byte, table Table) []T {
	w.t.Helper()
	var out []T
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(path, string(table)+"/") {
			rows, err := decode[T](files[path])
			w.must(err)
			out = append(out, rows...)
		}
	}
	return out
}

func (w *world) has(when string, got, want map[string]map[int64]Trade) {
	w.t.Helper()
	for symbol, rows := range want {
		for id := range rows {
			if _, ok := got[symbol][id]; !ok {
				w.t.Fatalf("%s: %s %d is lost", when, symbol, id)
			}
		}
	}
}

// heal is what the next writer does first.
func (w *world) heal() {
	w.t.Helper()
	unlock, err := w.dir.publisher.lock()
	w.must(err)
	unlock()
}

// deed is something that changes a tape.
type deed struct {
	name string
	// before is what happened before, on a healthy disk.
	before func(*world)
	// act is done again after a fault, until it succeeds.
	act func(*world) error
	// check, if there is one, holds what act does beside the trades to its promise, given all files; done says that act has succeeded.
	check func(w *world, when string, files map[string][]byte, done bool)
	// oneByOne runs it where names cannot be exchanged.
	oneByOne bool
	// merges has everything merged at the end, to see whether what came before stands in the way.
	merges bool
}

func deeds() []deed {
	ctx := context.Background()
	someTrades := func(w *world) {
		w.must(w.create())
		w.must(w.publish(trades("ETHUSDT", 1, 30, day0)))
		w.must(w.publish(trades("BTCUSDT", 1, 10, day0.Add(time.Hour))))
		w.must(w.publish(trades("ETHUSDT", 31, 40, day0.Add(2*time.Hour))))
	}
	// The rows of the first half are on the tape already, and the second half is of the next day, which has no partition yet.
	overMidnight := slices.Concat(trades("ETHUSDT", 1, 30, day0)[20:], trades("ETHUSDT", 31, 60, day0.Add(2*time.Hour)), trades("ETHUSDT", 61, 80, day0.Add(26*time.Hour)))
	merge := func(w *world) error {
		segments, broken, err := w.dir.Segments(Trades, "2026-01-15", "2026-01-15")
		if err != nil || len(broken) > 0 {
			return errors.Join(err, fmt.Errorf("%d broken", len(broken)))
		}
		old := slices.DeleteFunc(segments, func(s Segment) bool { return s.IsCompacted() || s.Rows == 10 })
		if len(old) == 0 {
			return nil // it was done before the fault
		}
		_, err = w.dir.Merge(ctx, "2026-01-15", old, 25)
		return err
	}
	forMerge := func(w *world) {
		someTrades(w)
		w.must(w.publish(trades("ETHUSDT", 41, 60, day0.Add(3*time.Hour)))) // so that two are merged and two are kept
	}
	alerts := []Alert{{Detector: "pump_burst", Symbol: "AUSDT", At: day0.UnixMicro(), Severity: "high", Extra: "{}"}, {Detector: "pump_burst", Symbol: "AUSDT", At: day0.AddDate(0, 0, 1).UnixMicro(), Severity: "low", Extra: "{}"}}
	checkAlerts := func(w *world, when string, files map[string][]byte, done bool) {
		w.t.Helper()
		seen := map[int64]int{}
		for _, a := range rowsOf[Alert](w, files, Alerts) {
			seen[a.At]++
		}
		for _, a := range alerts {
			if seen[a.At] > 1 || done && seen[a.At] == 0 {
				w.t.Fatalf("%s: an alert stands %d times", when, seen[a.At])
			}
		}
	}
	certify := func(w *world) Certificate {
		c, err := w.dir.Certify(ctx, day0.AddDate(0, 0, 3), false, nil)
		w.must(err)
		return c
	}
	publishCoverage := func(w *world) error {
		c, err := w.dir.Certify(ctx, day0.AddDate(0, 0, 4), false, nil)
		if err != nil {
			return err
		}
		_, err = w.dir.PublishCoverage(ctx, c)
		return err
	}
	// The first two of four days have rows already, and those of the second are others now.
	manyDays := func(w *world) {
		w.must(w.create())
		w.must(w.publish(trades("ETHUSDT", 1, 10, day0)))
		w.must(w.publish(trades("ETHUSDT", 11, 20, day0.AddDate(0, 0, 1))))
		_, err := w.dir.PublishCoverage(ctx, certify(w))
		w.must(err)
		w.must(w.publish(trades("ETHUSDT", 23, 30, day0.AddDate(0, 0, 1).Add(time.Hour))))
		w.must(w.publish(trades("ETHUSDT", 31, 40, day0.AddDate(0, 0, 3))))
	}
	checkManyDays := func(w *world, when string, files map[string][]byte, done bool) {
		w.t.Helper()
		rows := map[string]int{}
		for path, content := range files {
			if table, rest, _ := strings.Cut(path, "/"); table != string(Coverage) || !strings.HasSuffix(path, ".parquet") {
				continue
			} else if found, err := decode[CoverageRow](content); err != nil {
				w.t.Fatalf("%s: %s: %v", when, path, err)
			} else {
				for _, r := range found {
					rows[r.Symbol+" "+filepath.Dir(rest)]++
				}
			}
		}
		for day := range 4 {
			n := rows["ETHUSDT date="+DateOf(day0.AddDate(0, 0, day).UnixMicro())]
			if n > 1 || n == 0 && (done || day < 2) {
				w.t.Fatalf("%s: day %d has %d rows: %v", when, day, n, rows)
			}
		}
	}
	type state struct{ N int }
	checkState := func(w *world, when string, files map[string][]byte, done bool) {
		w.t.Helper()
		var s state
		if err := json.Unmarshal(files[".state/x.json"], &s); err != nil || s.N != 2 && (done || s.N != 1) {
			w.t.Fatalf("%s: %+v, %v", when, s, err)
		}
	}
	return []deed{
		{name: "Create", before: func(*world) {}, act: (*world).create},
		{name: "Publish", before: someTrades, act: func(w *world) error { return w.publish(overMidnight) }},
		{name: "Load", before: someTrades, act: func(w *world) error {
			remember(w.offered, overMidnight)
			load := w.dir.NewLoader(Origin{Source: FromArchive})
			defer load.Discard()
			if err := load.Add(ctx, overMidnight, 0); err != nil {
				return err
			}
			_, err := load.Publish(ctx)
			if err == nil {
				remember(w.promised, overMidnight)
			}
			return err
		}},
		{name: "Merge", before: forMerge, act: merge, merges: true},
		{name: "Merge one by one", before: forMerge, act: merge, oneByOne: true, merges: true},
		{name: "PublishCoverage",
			before: func(w *world) {
				someTrades(w)
				_, err := w.dir.PublishCoverage(ctx, certify(w))
				w.must(err)
				w.must(w.publish(trades("ETHUSDT", 43, 50, day0.Add(3*time.Hour))))
			},
			act: publishCoverage,
			check: func(w *world, when string, files map[string][]byte, done bool) {
				w.t.Helper()
				seen := map[string]int{}
				for _, r := range rowsOf[CoverageRow](w, files, Coverage) {
					seen[r.Symbol]++
					if r.Symbol == "ETHUSDT" && (done || r.Missing > 0) && r.Missing != 2 {
						w.t.Fatalf("%s: %+v", when, r)
					}
				}
				if seen["ETHUSDT"] != 1 || seen["BTCUSDT"] != 1 || seen["OTHERUSDT"] > 1 {
					w.t.Fatalf("%s: rows by symbol: %v", when, seen)
				}
			}},
		{name: "PublishCoverage of many days", before: manyDays, act: publishCoverage, check: checkManyDays},
		{name: "PublishCoverage of many days one by one", before: manyDays, act: publishCoverage, check: checkManyDays, oneByOne: true},
		{name: "PublishAlerts", before: someTrades, check: checkAlerts, act: func(w *world) error {
			_, err := w.dir.PublishAlerts(ctx, alerts)
			return err
		}},
		{name: "MergeRecords", check: func(w *world, when string, files map[string][]byte, done bool) { checkAlerts(w, when, files, true) },
			before: func(w *world) {
				w.must(w.create())
				for _, a := range alerts {
					_, err := w.dir.PublishAlerts(ctx, []Alert{a})
					w.must(err)
				}
				other := alerts[0]
				other.Symbol, other.At = "BUSDT", other.At+1
				_, err := w.dir.PublishAlerts(ctx, []Alert{other})
				w.must(err)
			},
			act: func(w *world) error {
				_, _, err := w.dir.MergeRecords(ctx, Alerts, "2026-01-15", 1)
				return err
			}},
		{name: "PublishRuns", before: someTrades,
			act: func(w *world) error {
				_, err := w.dir.PublishRuns(ctx, []Run{{ID: "a", Job: "verify", FinishedAt: day0.UnixMicro()}})
				return err
			},
			check: func(w *world, when string, files map[string][]byte, done bool) {
				w.t.Helper()
				if runs := rowsOf[Run](w, files, Runs); done && len(runs) == 0 {
					w.t.Fatalf("%s: the run is lost", when)
				}
			}},
		{name: "WriteState", check: checkState,
			before: func(w *world) { w.must(w.create()); w.must(w.dir.State().Write("x.json", state{1})) },
			act:    func(w *world) error { return w.dir.State().Write("x.json", state{2}) }},
		{name: "RecordAbsent",
			before: func(w *world) {
				w.must(w.create())
				w.must(w.dir.RecordAbsent("ETHUSDT", idset.Set{{First: 5, Last: 6}}, day0))
			},
			act: func(w *world) error { return w.dir.RecordAbsent("ETHUSDT", idset.Set{{First: 8, Last: 9}}, day0) },
			check: func(w *world, when string, files map[string][]byte, done bool) {
				w.t.Helper()
				if text := string(files[".state/absent.json"]); !strings.Contains(text, `"first": 5`) || done && !strings.Contains(text, `"first": 8`) {
					w.t.Fatalf("%s: %s", when, text)
				}
			}},
		{name: "Sweep",
			before: func(w *world) {
				forMerge(w)
				w.must(merge(w))
				file, err := w.disk.Create(filepath.Join(w.disk.data(), stagingDir, "dead.tmp"))
				w.must(err)
				w.must(file.Close())
			},
			act: func(w *world) error {
				_, err := w.dir.Sweep(time.Now().Add(24 * time.Hour))
				return err
			}},
	}
}

// newWorld is a tape as it is before a deed.
func newWorld(t *testing.T, d deed) *world {
	w := &world{t: t, disk: newCrashDisk(t, t.TempDir()), exchange: !d.oneByOne, offered: map[string]map[int64]Trade{}, promised: map[string]map[int64]Trade{}}
	d.before(w)
	if d.name != "Create" {
		w.must(w.publish(trades("OTHERUSDT", 1, 2, day0)))
	}
	return w
}

// clone gives a world in the same state, with both processes as they are after a while.
func (w *world) clone(d deed) *world {
	w.t.Helper()
	out := *w
	out.disk = w.disk.clone()
	out.offered, out.promised = map[string]map[int64]Trade{}, map[string]map[int64]Trade{}
	for symbol := range w.offered {
		out.offered[symbol], out.promised[symbol] = maps.Clone(w.offered[symbol]), maps.Clone(w.promised[symbol])
	}
	if d.name != "Create" {
		out.reopen()
		w.must(out.dir.publisher.partitions.sync(Trades, "2026-01-15"))
		out.other = out.dir
		out.reopen()
	}
	out.disk.arm(-1, healthy)
	return &out
}

// TestEachOperationGoesWrong lets each operation on the disk fail, or be done and reported as failed, or be the last that a killed process did, and takes the
// power at that moment or not; whatever is found then holds the guarantees, nothing that was reported as published is lost, and what failed
// succeeds when it is done again.
func TestEachOperationGoesWrong(t *testing.T) {
	for number, d := range deeds() {
		t.Run(d.name, func(t *testing.T) {
			if testing.Short() && strings.HasPrefix(d.name, "PublishCoverage of many days") {
				t.Skip("it takes long with the race detector; make test-all runs it")
			}
			t.Parallel()
			template := newWorld(t, d)
			w := template.clone(d)
			if err := d.act(w); err != nil {
				t.Fatal(err)
			}
			operations := slices.Clone(w.disk.trace)
			if len(operations) < 3 {
				t.Fatalf("only %d operations: %q", len(operations), operations)
			}
			ways := waysOn()
			cases, step := 0, 1
			if raceDetector {
				step = 3
			}
			for at := range operations {
				for i, way := range ways {
					if *every || at%step == number%step && at/step%len(ways) == i {
						goWrong(template.clone(d), d, at, way.fault, way.on)
						cases++
					}
				}
			}
			t.Logf("%d operations, %d cases", len(operations), cases)
		})
	}
}

// way is what comes after a fault.
type way string

const (
	goesOn   way = "goes on"
	reopened way = "reopened"
	cut      way = "power cut"
	cutSome  way = "power cut, some came through"
)

type faultAndWay struct {
	fault fault
	on    way
}

func waysOn() []faultAndWay {
	return []faultAndWay{{lies, cutSome}, {fails, goesOn}, {dies, cut}, {lies, goesOn}, {dies, cutSome}, {dies, reopened}}
}

func goWrong(w *world, d deed, at int, f fault, on way) {
	w.t.Helper()
	first := w.disk
	var err error
	succeeded := false
	defer func() {
		if !succeeded {
			w.t.Logf("operation %d %s, %s; it was answered with %v; operations since:\n%s", at, f, on, err, strings.Join(first.trace, "\n"))
		}
	}()
	w.disk.arm(at, f)
	err = d.act(w)
	if len(w.disk.trace) <= at {
		w.t.Fatalf("operation %d did not come: %q", at, w.disk.trace)
	}
	rnd := rand.New(rand.NewPCG(uint64(at), uint64(f)))
	switch on {
	case cut:
		w.disk = w.disk.cutPower(0, rnd)
	case cutSome:
		w.disk = w.disk.cutPower(.5, rnd)
	}
	w.disk.revive()
	w.recover(d, on, err == nil)
	succeeded = true
	for _, disk := range []*crashDisk{first, w.disk} {
		w.must(os.RemoveAll(disk.root))
	}
}

// recover goes on after a fault, on a disk that works again.
func (w *world) recover(d deed, on way, done bool) {
	w.t.Helper()
	if d.name == "Create" {
		w.must(w.create())
	} else if on != goesOn {
		w.reopen()
	}
	check := func(when string, files map[string][]byte, done bool) {
		w.t.Helper()
		if d.check != nil {
			for _, name := range []string{"x.json", absentName} {
				if _, ok := files[filepath.Join(stateDir, name)]; !ok {
					files[filepath.Join(stateDir, name)], _ = os.ReadFile(w.dir.State().Path(name))
				}
			}
			d.check(w, when, files, done)
		}
	}
	if d.oneByOne {
		w.look("found", true)
		w.heal()
	}
	files := w.files()
	w.examine("found", files, false)
	check("found", files, done)
	if w.other != nil && (on == reopened || on == goesOn) {
		own := w.dir
		w.dir = w.other
		w.must(w.publish(trades("OTHERUSDT", 1, 20, day0)))
		w.dir = own
		w.look("another process published", false)
		w.lookDurable("another process published")
	}
	if err := d.act(w); err != nil {
		w.t.Fatalf("done again: %v", err)
	}
	w.look("done again", false)

	// What was reported as done is durable: nothing more was synced than that took.
	w.lookDurable("done again")
	check("done again, and the power cut", w.disk.afterPowerCut(), true)

	// What it left behind can be taken away, and does no harm if that is not durable.
	_, err := w.dir.Sweep(time.Now().Add(48 * time.Hour))
	w.must(err)
	w.look("swept", false)
	left, err := os.ReadDir(w.dir.StagingPath())
	if err != nil || len(left) > 0 {
		w.t.Fatalf("left in the staging directory: %v, %v", left, err)
	}
	if d.merges {
		w.mergeAll()
		w.look("merged", false)
		w.lookDurable("merged")
	}
}

// mergeAll merges all segments of the first day into one.
func (w *world) mergeAll() {
	w.t.Helper()
	segments, broken, err := w.dir.Segments(Trades, "2026-01-15", "2026-01-15")
	w.must(err)
	if len(broken) > 0 {
		w.t.Fatal(broken)
	}
	if len(segments) > 1 {
		_, err := w.dir.Merge(context.Background(), "2026-01-15", segments, 1<<20)
		w.must(err)
	}
}

// TestReadersBetweenOperations reads the whole tape after each operation of everything that changes it.
func TestReadersBetweenOperations(t *testing.T) {
	for _, d := range deeds() {
		if d.name == "Create" {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, d).clone(d)
			looks := 0
			before := maps.Clone(w.promised)
			w.disk.after = func() {
				w.promised, before = before, w.promised // what is being published now need not be there yet
				w.look(w.disk.trace[len(w.disk.trace)-1], d.oneByOne)
				w.promised, before = before, w.promised
				looks++
			}
			w.must(d.act(w))
			w.disk.after = nil
			w.look("at the end", false)
			if looks < 3 {
				t.Errorf("%d looks", looks)
			}
		})
	}
}
