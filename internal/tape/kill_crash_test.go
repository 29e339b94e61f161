package tape

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writerEnv is the environment variable with the path of the tape that TestWriterProcess writes to.
const writerEnv = "TAPEDECK_TEST_WRITER"

// TestWriterProcess is the process that TestPublishSurvivesKill kills. It publishes, loads, merges
// and writes alerts and state until it is killed, and prints what was acknowledged.
func TestWriterProcess(t *testing.T) {
	path := os.Getenv(writerEnv)
	if path == "" {
		t.Skip("started by TestPublishSurvivesKill")
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
	if ids := index.IDs("ETHUSDT"); len(ids) > 0 {
		next = ids[0].Last + 1 // the killed process may have published a part of a batch above it
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
		alert := Alert{Detector: "d", Symbol: "ETHUSDT", At: day0.UnixMicro() + next, Extra: "{}"}
		if _, err := d.PublishAlerts(ctx, []Alert{alert}); err != nil {
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
			if _, err := d.Merge(ctx, date, segments, 1<<20, day0); err != nil {
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

// startTest runs a test of this program in a process of its own, with an additional environment variable.
func startTest(t *testing.T, name, variable string) (process *exec.Cmd, stdout io.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	process = exec.Command(self, "-test.run=^"+name+"$")
	process.Env = append(os.Environ(), variable)
	if stdout, err = process.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	return process, stdout
}

// writerRows returns rows with the ids from first to last on two dates, less than a second apart.
// Each depends on its id only.
func writerRows(first, last int64) []Trade {
	rows := trades("ETHUSDT", first, last, day0)
	for i := range rows {
		rows[i].TradedAt = day0.UnixMicro() + dayMicros - 500_000 + (rows[i].ID%2)*500_000 + rows[i].ID
	}
	return rows
}

// TestPublishSurvivesKill kills a writing process repeatedly at random moments. What it reported as
// published must be on the tape, once and unchanged, no file may be broken, and the next process
// must be able to continue.
func TestPublishSurvivesKill(t *testing.T) {
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
	path := filepath.Join(t.TempDir(), "data")
	acknowledged, merges := int64(0), 0
	for n := range kills {
		writer, out := startTest(t, "TestWriterProcess", writerEnv+"="+path)
		// It is killed at a random moment after its first line, the last time after a merge.
		var kill *time.Timer
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			merged := strings.HasPrefix(lines.Text(), "merged")
			if kill == nil && (n < kills-1 || merges > 0 || merged) {
				delay := time.Duration(rnd.Int64N(int64(250 * time.Millisecond)))
				kill = time.AfterFunc(delay, func() { _ = writer.Process.Kill() })
			}
			var id int64
			if _, err := fmt.Sscanf(lines.Text(), "published %d", &id); err == nil {
				acknowledged = id
			} else if merged {
				merges++
			} else {
				t.Error(lines.Text())
			}
		}
		err := writer.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("the writer exited by itself: %v", err)
		}
		d, err := Open(path)
		if errors.Is(err, ErrNoTape) && acknowledged == 0 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		acknowledged = checkTape(t, d, acknowledged)
	}
	if acknowledged == 0 || merges == 0 {
		t.Fatalf("%d published, %d merges", acknowledged, merges)
	}
	t.Logf("%d kills, %d rows, %d merges", kills, acknowledged, merges)
}

// checkTape checks that all ids up to acknowledged are on the tape, and at most one batch above,
// each once and unchanged. It returns the id up to which there is no gap.
func checkTape(t *testing.T, d *Dir, acknowledged int64) int64 {
	t.Helper()
	rows := all(t, d)["ETHUSDT"]
	complete, last := int64(0), int64(0)
	for id, row := range rows {
		last = max(last, id)
		if row != writerRows(id, id)[0] {
			t.Fatalf("%+v is not what was published", row)
		}
	}
	for rows[complete+1].ID == complete+1 {
		complete++
	}
	if complete < acknowledged || last > acknowledged+201 {
		t.Fatalf("complete up to %d, last id %d, %d were reported as published", complete, last, acknowledged)
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
	return complete
}
