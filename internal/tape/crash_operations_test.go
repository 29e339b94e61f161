package tape

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tapedeck/internal/idset"
)

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
