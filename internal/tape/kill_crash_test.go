package tape

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writerEnv names the tape that this test binary, run again, writes until it is killed.
const writerEnv = "TAPEDECK_TEST_WRITER"

// TestWriterProcess is not a test of its own: it is the process that TestKilledWriter kills. It publishes, loads, merges, and keeps alerts and state without end,
// and says on standard output what the tape told it is there.
func TestWriterProcess(t *testing.T) {
	path := os.Getenv(writerEnv)
	if path == "" {
		t.Skip("it is a process that TestKilledWriter starts")
	}
	ctx := context.Background()
	d, err := Create(path, AggTrade, day0)
	if err != nil {
		t.Fatal(err)
	}
	index := d.Index()
	if err := index.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	next := int64(1)
	if spans := index.IDs("ETHUSDT"); len(spans) > 0 {
		next = spans[0].Last + 1 // above it the killed process may have published some of a batch
	}
	for round := 0; ; round++ {
		rows := writerRows(next, next+int64(1+rand.IntN(200)))
		if round%5 == 4 {
			load := d.NewLoader(Origin{Source: FromArchive})
			if err := load.Add(ctx, rows, 0); err != nil {
				t.Fatal(err)
			}
			_, err = load.Publish(ctx)
		} else {
			_, err = d.Publish(ctx, rows, Origin{Source: FromStream})
		}
		if err != nil {
			t.Fatal(err)
		}
		next = rows[len(rows)-1].ID + 1
		fmt.Printf("published %d\n", next-1)
		if _, err := d.PublishAlerts(ctx, []Alert{{Detector: "d", Symbol: "ETHUSDT", At: day0.UnixMicro() + next, Extra: "{}"}}); err != nil {
			t.Fatal(err)
		}
		if err := d.State().Write("x.json", next); err != nil {
			t.Fatal(err)
		}
		if round%3 != 2 {
			continue
		}
		for _, date := range []string{"2026-01-15", "2026-01-16"} {
			segments, broken, err := d.Segments(Trades, date, date)
			if err != nil || len(broken) > 0 {
				t.Fatal(err, broken)
			}
			if len(segments) < 2 {
				continue
			}
			if _, err := d.Merge(ctx, date, segments, 1<<20); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("merged %s\n", date)
		}
		if _, _, err := d.MergeRecords(ctx, Alerts, "2026-01-15", 4); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Sweep(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

// writerRows are ids from first to last, each a function of its id alone, that go over midnight again and again.
func writerRows(first, last int64) []Trade {
	rows := trades("ETHUSDT", first, last, day0)
	for i := range rows {
		rows[i].TradedAt = day0.UnixMicro() + (rows[i].ID%2)*dayMicros + rows[i].ID
	}
	return rows
}

// TestKilledWriter kills a process that writes to a tape, again and again at random instants: what it reported as published is there, once and as it was,
// no file is broken, and the next process goes on.
func TestKilledWriter(t *testing.T) {
	kills := 8
	if testing.Short() {
		kills = 3
	}
	if *every {
		kills = 200
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "data")
	promised, merges := int64(0), 0
	for n := range kills {
		writer := exec.Command(self, "-test.run=^TestWriterProcess$")
		writer.Env = append(os.Environ(), writerEnv+"="+path)
		out, err := writer.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		// The first line says that it is writing; from then on any instant is as good as another, but for the last: by then it has merged.
		var kill *time.Timer
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if merged := strings.HasPrefix(lines.Text(), "merged"); kill == nil && (n < kills-1 || merges > 0 || merged) {
				kill = time.AfterFunc(time.Duration(rnd.Int64N(int64(250*time.Millisecond))), func() { _ = writer.Process.Kill() })
			}
			var id int64
			if _, err := fmt.Sscanf(lines.Text(), "published %d", &id); err == nil {
				promised = id
			} else if strings.HasPrefix(lines.Text(), "merged") {
				merges++
			} else {
				t.Error(lines.Text())
			}
		}
		err = writer.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("the writer ended by itself: %v", err)
		}
		d, err := Open(path)
		if errors.Is(err, ErrNoTape) && promised == 0 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		promised = wholeTape(t, d, promised)
	}
	if promised == 0 || merges == 0 {
		t.Fatalf("%d published, %d merges", promised, merges)
	}
	t.Logf("%d kills, %d rows, %d merges", kills, promised, merges)
}

// wholeTape holds the tape to the guarantees: all ids up to promised, and above them no more than a batch, each once and right. It gives the id up to
// which there is no hole.
func wholeTape(t *testing.T, d *Dir, promised int64) int64 {
	t.Helper()
	rows := all(t, d)["ETHUSDT"]
	whole, last := int64(0), int64(0)
	for id, row := range rows {
		last = max(last, id)
		if row != writerRows(id, id)[0] {
			t.Fatalf("%+v is not what was published", row)
		}
	}
	for rows[whole+1].ID == whole+1 {
		whole++
	}
	if whole < promised || last > promised+201 {
		t.Fatalf("whole up to %d and on up to %d, %d were reported as published", whole, last, promised)
	}
	err := filepath.WalkDir(d.Path(), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == stagingDir {
			return fs.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".json") {
			var text []byte
			if text, err = os.ReadFile(path); err == nil && len(text) == 0 {
				err = fmt.Errorf("%s is empty", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAlerts("", ""); err != nil {
		t.Fatal(err)
	}
	return whole
}
