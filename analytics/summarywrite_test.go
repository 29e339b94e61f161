package analytics

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/durable"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// summaryRows returns the rows of every embedded summary, by its name.
func summaryRows(t *testing.T, s *Session) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, summary := range embeddedSummaries() {
		out[summary.Name] = rowsOf(t, s, fmt.Sprintf("FROM %s(NULL, NULL) ORDER BY %s", summary.Name, strings.Join(summary.Key, ", ")))
	}
	return out
}

// TestStoreSummaries checks that the days that are over are stored once, and that a file goes once nothing
// reads it any more: an hour after a newer one replaced it, or if its date is not on the tape.
func TestStoreSummaries(t *testing.T) {
	dir := newTape(t, seconds("BTCUSDT", 1, 10), seconds("BTCUSDT", 86400, 86410), seconds("BTCUSDT", 2*86400, 2*86400+10))
	now := time.Now()
	store := func(what string, at time.Time, want Written) {
		t.Helper()
		written, err := StoreSummaries(t.Context(), dir, Options{Threads: 1}, at)
		if err != nil || written != want {
			t.Errorf("%s: %+v, %v, want %+v", what, written, err, want)
		}
	}
	all := len(embeddedSummaryNames)
	store("new", now, Written{Files: 2 * all, Days: 2})
	store("again", now.Add(2*time.Hour), Written{})
	if _, err := dir.Publish(t.Context(), seconds("ETHUSDT", 1, 10), testOrigin); err != nil {
		t.Fatal(err)
	}
	store("another segment", now.Add(2*time.Hour), Written{Files: all, Days: 1, Swept: all}) // by that clock, the new files are old
	if _, err := dir.Publish(t.Context(), seconds("ETHUSDT", 11, 20), testOrigin); err != nil {
		t.Fatal(err)
	}
	store("a third segment", now, Written{Files: all, Days: 1})
	store("an hour later", now.Add(2*time.Hour), Written{Swept: all})
	if err := os.RemoveAll(filepath.Join(dir.Path(), "trades", "date="+noon.Format(time.DateOnly))); err != nil {
		t.Fatal(err)
	}
	store("a date is gone", now, Written{Files: 1, Days: 1}) // the gap before the next date changed, which one summary reads
	store("an hour after that", now.Add(2*time.Hour), Written{Swept: all + 1})

	other := filepath.Join(dir.State().Path(state.SummaryDir), "mine")
	file := filepath.Join(other, filepath.Base(storedSummaryFiles(t, dir)[0]))
	if err := errors.Join(os.Mkdir(other, 0o755), os.WriteFile(file, []byte("x"), 0o644), os.WriteFile(filepath.Join(other, "notes"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	store("a summary of another directory", now.Add(2*time.Hour), Written{})
	store("a week later", now.AddDate(0, 0, 8), Written{Swept: 1})
	if _, err := os.Stat(filepath.Join(other, "notes")); err != nil {
		t.Error(err)
	}
}

// TestSummariesWithLittleMemory stores a day in parts because its memory is short.
func TestSummariesWithLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("groups a million rows")
	}
	var trades []tape.Trade
	for _, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
		for i := range int64(500_000) {
			at := noon.Add(-12*time.Hour + time.Duration(i)*170*time.Millisecond).Truncate(time.Millisecond)
			trades = append(trades, tape.Trade{Symbol: symbol, ID: i, FirstTradeID: i, LastTradeID: i, Price: 1 + float64(i%1000)/100,
				Qty: float64(1+i%7919) / 1000, TradedAt: at.UnixMicro(), IsBuyerMaker: i%3 == 0})
		}
	}
	dir := newTape(t, trades, seconds("LATEUSDT", 86400*2, 86400*2+10))
	want := summaryRows(t, openSession(t, dir, Options{}))
	written, err := StoreSummaries(t.Context(), dir, Options{MemoryLimit: "10MB"}, time.Now()) // the least that a session gets
	if err != nil || written.Files != len(embeddedSummaryNames) {
		t.Fatalf("%+v, %v", written, err)
	}
	if diff := cmp.Diff(want, summaryRows(t, openSession(t, dir, Options{Stored: embeddedSummaryNames[:]}))); diff != "" {
		t.Errorf("from trades (-) and from summaries (+):\n%s", diff)
	}
}

// faultyDisk fails at one operation and at all after it, as a disk that is full or gone. It notes renames of
// files that were not synced.
type faultyDisk struct {
	durable.OS
	mu       sync.Mutex
	left     int // operations until it fails
	synced   map[string]bool
	unsynced []string // renamed
}

var errFault = errors.New("the disk fails")

func (d *faultyDisk) fail() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left--; d.left < 0 {
		return errFault
	}
	return nil
}

func (d *faultyDisk) SyncFile(path string) error {
	if err := d.fail(); err != nil {
		return err
	}
	d.mu.Lock()
	d.synced[path] = true
	d.mu.Unlock()
	return d.OS.SyncFile(path)
}

func (d *faultyDisk) Rename(from, to string) error {
	if err := d.fail(); err != nil {
		return err
	}
	d.mu.Lock()
	if !d.synced[from] {
		d.unsynced = append(d.unsynced, from)
	}
	delete(d.synced, from)
	d.mu.Unlock()
	return d.OS.Rename(from, to)
}

func (d *faultyDisk) SyncDir(path string) error {
	if err := d.fail(); err != nil {
		return err
	}
	return d.OS.SyncDir(path)
}

// TestStoringSummariesSurvivesDiskFaults fails at every operation while summaries are stored. Whoever reads them
// afterwards gets the numbers of the trades, and the next one stores what is missing.
func TestStoringSummariesSurvivesDiskFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("opens dozens of sessions; make test-all runs it")
	}
	dir := newTape(t, seconds("BTCUSDT", 1, 100), seconds("ETHUSDT", 86400, 86410), seconds("BTCUSDT", 2*86400, 2*86400+10))
	want := summaryRows(t, openSession(t, dir, Options{}))
	files := 2 * len(embeddedSummaryNames)
	for at := 0; ; at++ {
		if err := os.RemoveAll(dir.State().Path(state.SummaryDir)); err != nil {
			t.Fatal(err)
		}
		disk := &faultyDisk{left: at, synced: map[string]bool{}}
		written, err := StoreSummaries(t.Context(), dir, Options{Threads: 1, disk: disk}, time.Now())
		if len(disk.unsynced) > 0 {
			t.Fatalf("fault at operation %d: published without a sync: %v", at, disk.unsynced)
		}
		if (err == nil) != (disk.left >= 0) || err != nil && !errors.Is(err, errFault) {
			t.Fatalf("fault at operation %d: %v", at, err)
		}
		if stored := len(storedSummaryFiles(t, dir)); stored < written.Files {
			t.Errorf("fault at operation %d: %d files, but %+v", at, stored, written)
		}
		s := openSession(t, dir, Options{Threads: 1, Stored: embeddedSummaryNames[:]})
		if diff := cmp.Diff(want, summaryRows(t, s)); diff != "" {
			t.Fatalf("fault at operation %d: from trades (-) and from summaries (+):\n%s", at, diff)
		}
		if stored := len(storedSummaryFiles(t, dir)); stored != files {
			t.Fatalf("fault at operation %d: the next session leaves %d files, want %d", at, stored, files)
		}
		if err == nil {
			if at < 3*files {
				t.Errorf("%d operations store %d files", at, files)
			}
			return
		}
	}
}

const summaryWriterEnv = "TAPEDECK_TEST_SUMMARY_WRITER"

// TestSummaryWriterProcess is the process that TestStoringSummariesSurvivesKill kills. It stores summaries and
// deletes them until it is killed.
func TestSummaryWriterProcess(t *testing.T) {
	path := os.Getenv(summaryWriterEnv)
	if path == "" {
		t.Skip("started by TestStoringSummariesSurvivesKill")
	}
	dir, err := tape.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for {
		fmt.Println("begins")
		if _, err := StoreSummaries(t.Context(), dir, Options{Threads: 1}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir.State().Path(state.SummaryDir)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoringSummariesSurvivesKill kills a process that stores summaries, at random moments. What it leaves is
// what the trades add up to.
func TestStoringSummariesSurvivesKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes; make test-all runs it")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := newTape(t, randomTrades(rand.New(rand.NewPCG(7, 1))))
	want := summaryRows(t, openSession(t, dir, Options{}))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	left := map[int]bool{}
	for range 10 {
		writer := osexec.Command(self, "-test.run=^TestSummaryWriterProcess$")
		writer.Env = append(os.Environ(), summaryWriterEnv+"="+dir.Path())
		stdout, err := writer.StdoutPipe()
		if err == nil {
			err = writer.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		lines.Scan()
		kill := time.AfterFunc(time.Duration(random.Int64N(int64(time.Second))), func() { _ = writer.Process.Kill() })
		for lines.Scan() {
			if lines.Text() != "begins" {
				t.Error(lines.Text())
			}
		}
		err = writer.Wait()
		kill.Stop()
		var exit *osexec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("the writer exited by itself: %v", err)
		}
		left[len(storedSummaryFiles(t, dir))] = true
		for range 2 { // the second one reads what the first has stored
			if diff := cmp.Diff(want, summaryRows(t, openSession(t, dir, Options{Stored: embeddedSummaryNames[:]}))); diff != "" {
				t.Fatalf("from trades (-) and from summaries (+):\n%s", diff)
			}
		}
	}
	t.Logf("files that were left: %v", slices.Sorted(maps.Keys(left)))
}
