package stream

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tapedeck/internal/standin/exchange"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// historyOf returns the recorder's history in the order of time, each event in one line.
func historyOf(t *testing.T, dir *tape.Dir) (lines []string) {
	t.Helper()
	freshDecoders()
	events, err := dir.ReadRecorderEvents("", "")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(events, func(a, b tape.RecorderEvent) int { return int(a.At - b.At) })
	for _, e := range events {
		line := strings.Join(strings.Fields(fmt.Sprint(e.RunID, " ", e.Event, " ", e.Connection, " ", e.Symbol)), " ")
		if e.FirstID != nil {
			line += fmt.Sprintf(" %d-%d (%d)", *e.FirstID, *e.LastID, e.IDs)
		}
		lines = append(lines, line+": "+e.Message)
	}
	return lines
}

// TestHistoryTellsWhatHappened also requires that a kill is noticed at the next start, and that a gap
// whose ids were fetched is healed, once.
func TestHistoryTellsWhatHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 3000, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT"), RunID: "a"})
		time.Sleep(30 * time.Second)
		r.wire.down.Store(true)
		inject(t, r.server, exchange.Fault{Kind: exchange.Close, Code: 1008})
		time.Sleep(10 * time.Second)
		r.wire.down.Store(false)
		time.Sleep(time.Minute)
		killed := t.TempDir()
		if err := os.CopyFS(killed, os.DirFS(r.dir.Path())); err != nil { // what kill -9 leaves
			t.Fatal(err)
		}
		r.stop()
		lines := historyOf(t, r.dir)
		for i, want := range []string{
			"a started: 1 symbol, aggTrade, from ws://exchange", "a connected 1.1: 1 stream", "a lost 1.1: ", "a resumed 1.1: down for ",
			"a gap BTCUSDT 1", "a stopped: ",
		} {
			if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
				t.Fatalf("history:\n%s\nwant %q in line %d", strings.Join(lines, "\n"), want, i)
			}
		}
		if len(lines) != 6 || !strings.Contains(lines[2], "1008") || !strings.Contains(lines[3], "failed attempts") {
			t.Errorf("history:\n%s", strings.Join(lines, "\n"))
		}

		r.dir = openTape(t, killed)
		last := readState(t, r.dir)
		r.opt.RunID = "b"
		r.start()
		time.Sleep(20 * time.Second)
		if got := readState(t, r.dir); got.RunID != "b" || !got.Locked || !r.dir.State().Held(state.StreamLock) {
			t.Errorf("state %+v", got)
		}
		r.stop()
		if r.dir.State().Held(state.StreamLock) {
			t.Error("the lock is held after the end")
		}
		lines = historyOf(t, r.dir)
		if i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "a killed: ") }); i < 0 || slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "a stopped") }) {
			t.Errorf("history:\n%s", strings.Join(lines, "\n"))
		}
		if i := slices.IndexFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, "b gap BTCUSDT ") && strings.HasSuffix(line, ": "+tape.GapBeforeStart)
		}); i < 0 {
			t.Errorf("nothing says what the kill lost:\n%s", strings.Join(lines, "\n"))
		}
		events, _ := r.dir.ReadRecorderEvents("", "")
		for _, e := range events {
			if e.Event == tape.EventKilled && e.At != last.UpdatedAt.UnixMicro() {
				t.Errorf("killed at %v, the last sign of life was at %v", time.UnixMicro(e.At), last.UpdatedAt)
			}
		}
		requireHealedOnce(t, r.dir, source)
	})
}

// requireHealedOnce fills the tape's gaps, and requires each gap of the history to be healed by it.
func requireHealedOnce(t *testing.T, dir *tape.Dir, source exchange.Source) {
	t.Helper()
	heal := func() int {
		index := dir.Index()
		if err := index.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		n, err := dir.RecordHealed(t.Context(), index, time.Now(), "heal")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := heal(); n != 0 {
		t.Errorf("%d gaps are healed before anything was fetched", n)
	}
	index := dir.Index()
	if err := index.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	var rows []tape.Trade
	for _, gap := range index.Gaps("BTCUSDT") {
		for _, row := range source.Rows(nil, "BTCUSDT", exchange.AggTrade, gap.First, int(gap.Count())) {
			rows = append(rows, tape.Trade{
				Symbol: "BTCUSDT", ID: row.ID, Price: 1, Qty: 1, FirstTradeID: row.FirstTradeID, LastTradeID: row.LastTradeID, TradedAt: row.TradedAt,
			})
		}
	}
	if _, err := dir.Publish(t.Context(), rows, tape.Origin{Source: tape.FromREST}); err != nil {
		t.Fatal(err)
	}
	if first, again := heal(), heal(); first == 0 || again != 0 {
		t.Errorf("%d gaps are healed, then %d", first, again)
	}
}

func openTape(t *testing.T, path string) *tape.Dir {
	t.Helper()
	dir, err := tape.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSecondRecorderDoesNotOwnTheState: it records, and takes over when the first one ends.
func TestSecondRecorderDoesNotOwnTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := exchange.NewMemory(nil, evenRows("BTCUSDT", 3000, 100*time.Millisecond))
		r := newRig(t, source, exchange.Options{WaitForStreams: 1}, Options{Symbols: fixedSymbols("BTCUSDT"), RunID: "first"})
		time.Sleep(10 * time.Second)
		opt := r.opt
		opt.RunID = "second"
		second, err := New(r.dir, opt)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- second.Run(ctx) }()
		time.Sleep(time.Minute)
		if got := readState(t, r.dir); got.RunID != "first" {
			t.Errorf("the state is that of %q", got.RunID)
		}
		r.stop()
		time.Sleep(2 * stateEvery)
		if got := readState(t, r.dir); got.RunID != "second" || !got.EndedAt.IsZero() {
			t.Errorf("the state is %+v", got)
		}
		cancel()
		if err := <-ended; err != nil || second.Summary().Trades == 0 {
			t.Errorf("%v, %+v", err, second.Summary())
		}
		if files, err := filepath.Glob(r.dir.State().Path("watched/*.json")); err != nil || len(files) != 2 {
			t.Errorf("files of watched spans: %v, %v", files, err)
		}
		for _, line := range historyOf(t, r.dir) {
			if strings.Contains(line, "killed") {
				t.Errorf("history has %q", line)
			}
		}
	})
}
