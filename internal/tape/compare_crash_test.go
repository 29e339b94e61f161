package tape

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// conflictOperation publishes rows of which some have another content than those on the tape, and with
// Publish one that differs from another row of the call.
func conflictOperation(name string) operation {
	ctx := context.Background()
	rows := trades("ETHUSDT", 1, 60, day0)
	given := slices.Clone(rows)
	for _, i := range []int{4, 24} {
		given[i].Price++
	}
	conflicts := map[Conflict]int64{
		conflictKey(newConflict(&rows[4], Origin{}, &given[4], Origin{})):   0,
		conflictKey(newConflict(&rows[24], Origin{}, &given[24], Origin{})): 0,
	}
	publish := func(h *harness) error {
		_, err := load(h.dir, given, Origin{Source: FromFile})
		return err
	}
	if name == "Publish with conflicts" {
		repeated := rows[49]
		repeated.Qty++
		conflicts[conflictKey(newConflict(&rows[49], Origin{}, &repeated, Origin{}))] = 50
		all := append(slices.Clone(given), repeated)
		publish = func(h *harness) error {
			_, err := h.dir.Publish(ctx, slices.Clone(all), Origin{Source: FromREST})
			return err
		}
	}
	return operation{
		name: name,
		setup: func(h *harness) {
			h.must(h.create())
			h.must(h.publish(rows[:40]))
		},
		run: func(h *harness) error {
			addRows(h.submitted, rows[40:])
			err := publish(h)
			if err == nil {
				addRows(h.acknowledged, rows[40:])
			}
			return err
		},
		check: func(h *harness, when string, files map[string][]byte, done bool) {
			h.t.Helper()
			onTape := map[int64]bool{}
			for _, row := range rowsOf[Trade](h, files, Trades) {
				onTape[row.ID] = row.Symbol == "ETHUSDT" || onTape[row.ID]
			}
			found := map[Conflict]int{}
			for _, c := range rowsOf[Conflict](h, files, Conflicts) {
				if !onTape[c.ID] {
					h.t.Fatalf("%s: the trade of a conflict is not on the tape: %v", when, c)
				}
				found[conflictKey(c)]++
			}
			for want, id := range conflicts {
				// A new row is a promise that the conflicts with older rows are recorded.
				promised := done || id == 0 && onTape[60]
				if found[want] > 1 || promised && found[want] == 0 {
					h.t.Fatalf("%s: recorded %d times: %v", when, found[want], want)
				}
				delete(found, want)
			}
			if len(found) > 0 {
				h.t.Fatalf("%s: recorded too: %v", when, found)
			}
		},
	}
}

// foreignFile puts a file into a partition as another program does.
func foreignFile(t *testing.T, d *Dir, date, name string, rows []Trade) string {
	t.Helper()
	path := filepath.Join(d.Path(), "trades", "date="+date, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	writeRows(t, path, rows)
	return path
}

// TestMergeRecordsConflicts merges with a file of another program that repeats ids, some with another
// content: tapedeck's rows stay, whatever the names of the files.
func TestMergeRecordsConflicts(t *testing.T) {
	for _, name := range []string{"a-foreign.parquet", "z-foreign.parquet"} {
		d := newTape(t)
		rows := append(trades("AUSDT", 1, 300, day0), trades("BUSDT", 1, 300, day0)...)
		publish(t, d, slices.Clone(rows[:450]))
		publish(t, d, slices.Clone(rows[450:]))
		others := slices.Clone(rows[100:500])
		changed := []int{0, 17, 399}
		for _, i := range changed {
			others[i].Qty++
		}
		foreignFile(t, d, "2026-01-15", name, others)
		out, err := d.Merge(t.Context(), "2026-01-15", segmentsOf(t, d), 1<<20, day0.Add(time.Hour))
		if err != nil || out.Conflicts != 3 || out.After != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		if got := readAll(t, d, segmentsOf(t, d)); !slices.Equal(got, rows) {
			t.Error("the rows that stay are not tapedeck's")
		}
		conflicts := conflictsOf(t, d)
		if len(conflicts) != 3 {
			t.Fatal(conflicts)
		}
		for _, c := range conflicts {
			if c.OtherQty != c.Qty+1 || c.Source != FromStream || c.OtherSource != "" || c.FoundAt != day0.Add(time.Hour).UnixMicro() {
				t.Errorf("%+v", c)
			}
		}
	}
}

// A file of another market is not merged, and stays where it is.
func TestMergeRefusesAnotherMarket(t *testing.T) {
	d := newTape(t)
	publish(t, d, trades("AUSDT", 1, 100, day0))
	others := trades("AUSDT", 50, 120, day0.Add(49*time.Second))
	for i := range others {
		others[i].Price += 7
	}
	path := foreignFile(t, d, "2026-01-15", "foreign.parquet", others)
	_, err := d.Merge(t.Context(), "2026-01-15", segmentsOf(t, d), 1<<20, day0)
	var broken BrokenSegment
	var disagreement *DisagreementError
	if !errorsAs(err, &broken, &disagreement) || filepath.Join(d.Path(), broken.Path) != path || disagreement.Compared != 51 {
		t.Fatal(err)
	}
	if len(segmentsOf(t, d)) != 2 || len(conflictsOf(t, d)) != 0 {
		t.Error("something was merged or recorded")
	}
	checkStagingEmpty(t, d)
}

// TestMergeWithConflictsSurvivesDiskFaults lets a fault happen at disk operations of a merge that finds
// a conflict, and merges again: the conflict is recorded once.
func TestMergeWithConflictsSurvivesDiskFaults(t *testing.T) {
	rows := trades("AUSDT", 1, 60, day0)
	op := operation{name: "Merge", setup: func(h *harness) {
		h.must(h.create())
		h.must(h.publish(rows[:30]))
		h.must(h.publish(rows[30:]))
		other := rows[:3:3]
		other = append([]Trade(nil), other...)
		other[1].Price++
		file, err := h.disk.Create(filepath.Join(h.disk.data(), "trades", "date=2026-01-15", "foreign.parquet"))
		h.must(err)
		h.must(encodeRows(file, other))
		h.must(file.Sync())
		h.must(file.Close())
		h.must(h.disk.SyncDir(filepath.Join(h.disk.data(), "trades", "date=2026-01-15")))
	}}
	template := &harness{t: t, disk: newCrashDisk(t, t.TempDir()), exchange: true, submitted: map[string]map[int64]Trade{}, acknowledged: map[string]map[int64]Trade{}}
	op.setup(template)
	merge := func(h *harness) error {
		segments, _, err := h.dir.Segments(Trades, "2026-01-15", "2026-01-15")
		if err != nil || len(segments) == 1 {
			return err
		}
		_, err = h.dir.Merge(t.Context(), "2026-01-15", segments, 1<<20, day0)
		return err
	}
	healthyRun := template.clone(op)
	if err := merge(healthyRun); err != nil {
		t.Fatal(err)
	}
	operations, step := len(healthyRun.disk.trace), 1
	if testing.Short() && !*every {
		step = 5
	}
	for at := rand.IntN(step); at < operations; at += step {
		h := template.clone(op)
		h.disk.arm(at, []fault{fails, kills, failsLate}[at%3])
		err := merge(h)
		if at%2 == 0 {
			h.disk = h.disk.cutPower(0, rand.New(rand.NewPCG(uint64(at), 1)))
		}
		h.disk.revive()
		h.reopen()
		if again := merge(h); again != nil {
			t.Fatalf("operation %d: %v, then %v", at, err, again)
		}
		if got := readAll(t, h.dir, segmentsOf(t, h.dir)); !slices.Equal(got, rows) {
			t.Fatalf("operation %d: %d rows, or others", at, len(got))
		}
		if conflicts := conflictsOf(t, h.dir); len(conflicts) != 1 || conflicts[0].OtherPrice != rows[1].Price+1 {
			t.Fatalf("operation %d: %v", at, conflicts)
		}
	}
}
