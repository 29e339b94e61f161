package tape

import (
	"context"
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var every = flag.Bool("every", false, "test every fault at every disk operation, not one of them: takes minutes")

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
