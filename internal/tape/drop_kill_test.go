package tape

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tapedeck/internal/idset"
)

// dropperEnv is the environment variable with the path of the tape that TestDropperProcess drops
// from, and dropsEach how many ids it drops at a time: every second such range.
const (
	dropperEnv = "TAPEDECK_TEST_DROPPER"
	dropsEach  = 40
)

// dropRange returns a range that the process drops.
func dropRange(n int64) idset.Range {
	return idset.Range{First: 1 + 2*n*dropsEach, Last: (2*n + 1) * dropsEach}
}

// TestDropperProcess is the process that TestDropSurvivesKill kills. It drops one range of ids after
// another, and prints what was acknowledged.
func TestDropperProcess(t *testing.T) {
	path := os.Getenv(dropperEnv)
	if path == "" {
		t.Skip("started by TestDropSurvivesKill")
	}
	ctx := context.Background()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(0); ; {
		if _, err := d.FinishDrop(ctx); err != nil {
			t.Fatal(err)
		}
		plan, err := d.PlanDrop(ctx, DropQuery{What: DropsTrades, Symbols: []string{"ETHUSDT"}, IDs: idset.Set{dropRange(n)}})
		if err != nil {
			t.Fatal(err)
		}
		dropped, err := d.Dropped()
		if err != nil {
			t.Fatal(err)
		}
		missing := idset.Set{dropRange(n)}.Subtract(dropped["ETHUSDT"])
		if plan.Rows() < missing.Count() { // not published yet
			time.Sleep(time.Millisecond)
			continue
		}
		if plan.Rows() > 0 {
			record := DropRecord{At: day0.UnixMicro(), RunID: fmt.Sprintf("%d-%d", os.Getpid(), n)}
			if err := d.Drop(ctx, plan, record, nil); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Printf("dropped %d\n", n)
		n++
	}
}

// TestDropSurvivesKill kills a dropping process repeatedly at random moments, while this one
// publishes and merges. In the end the tape has what was published and not dropped, once and
// unchanged, and what was dropped does not come back.
func TestDropSurvivesKill(t *testing.T) {
	kills := 6
	if testing.Short() {
		kills = 2
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	ctx := context.Background()
	d, err := Create(filepath.Join(t.TempDir(), "data"), AggTrade, day0)
	if err != nil {
		t.Fatal(err)
	}
	published, acknowledged, merges := int64(0), int64(-1), 0
	for n := range kills {
		dropper, out := startTest(t, "TestDropperProcess", dropperEnv+"="+d.Path())
		done := make(chan int64, 1)
		delay := time.Duration(rnd.Int64N(int64(150 * time.Millisecond)))
		go func() {
			last := int64(-1)
			var kill *time.Timer
			for lines := bufio.NewScanner(out); lines.Scan(); {
				var id int64
				if _, err := fmt.Sscanf(lines.Text(), "dropped %d", &id); err != nil {
					t.Error(lines.Text())
				}
				last = max(last, id)
				if kill == nil && id > acknowledged { // at a random moment after it has dropped something new
					kill = time.AfterFunc(delay, func() { _ = dropper.Process.Kill() })
				}
			}
			done <- last
		}()
		for running := true; running; {
			rows := writerRows(published+1, published+1+rnd.Int64N(60))
			if _, err := d.Publish(ctx, rows, Origin{Source: FromStream}); err != nil {
				t.Fatal(err)
			}
			published += int64(len(rows))
			for _, date := range []string{"2026-01-15", "2026-01-16"} {
				segments, _, err := d.Segments(Trades, date, date)
				if err != nil {
					t.Fatal(err)
				}
				if len(segments) > 5 {
					_, err := d.Merge(ctx, date, segments, 1<<20, day0)
					if err != nil && !errors.Is(err, ErrChanged) {
						t.Fatal(err)
					}
					merges++
				}
			}
			select {
			case last := <-done:
				acknowledged, running = max(acknowledged, last), false
			default:
			}
		}
		err = dropper.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("kill %d: the dropper exited by itself: %v", n, err)
		}
	}
	if _, err := d.FinishDrop(ctx); err != nil || d.DropPending() {
		t.Fatal(err, d.DropPending())
	}
	for range 2 { // the second time after all of it was published again
		checkDropped(t, d, published, acknowledged)
		if out, err := d.Publish(ctx, writerRows(1, published), Origin{Source: FromREST}); err != nil || out.Rows != 0 {
			t.Fatalf("%d rows came back, %v", out.Rows, err)
		}
	}
	t.Logf("%d kills, %d rows, dropped up to range %d, %d merges", kills, published, acknowledged, merges)
}

// checkDropped checks the rows of a tape on which the ids up to published were, and the ranges up to
// acknowledged were dropped.
func checkDropped(t *testing.T, d *Dir, published, acknowledged int64) {
	t.Helper()
	dropped, err := d.Dropped()
	if err != nil {
		t.Fatal(err)
	}
	for n := range acknowledged + 1 {
		if missing := (idset.Set{dropRange(n)}).Subtract(dropped["ETHUSDT"]); len(missing) > 0 {
			t.Fatalf("%v were dropped and are not recorded as such", missing)
		}
	}
	rows := all(t, d)["ETHUSDT"]
	for id := int64(1); id <= published; id++ {
		row, ok := rows[id]
		if ok == dropped["ETHUSDT"].Contains(id) {
			t.Fatalf("id %d: on the tape %v, dropped %v", id, ok, !ok)
		}
		if ok && row != writerRows(id, id)[0] {
			t.Fatalf("%+v is not what was published", row)
		}
	}
	drops, err := d.ReadDrops("", "")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, row := range drops {
		total += row.Rows
	}
	if want := dropped["ETHUSDT"].Count(); total != want || int64(len(rows)) != published-want {
		t.Fatalf("the table drops has %d rows, %d ids are dropped, %d of %d are on the tape", total, want, len(rows), published)
	}
}
