package importer

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/tape"
)

func newTape(t testing.TB, feed tape.Feed) *tape.Dir {
	t.Helper()
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data"), feed, day0)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// aggTrades returns the trades with ids from first to last, seven seconds apart, and their lines in
// the archive's form.
func aggTrades(symbol string, first, last int64) (trades []tape.Trade, lines []string) {
	for id := first; id <= last; id++ {
		cents, units := 6_000_000+id%997, id%89+1
		at := day0.Add(time.Duration(id) * 7 * time.Second)
		trade := tape.Trade{
			Symbol: symbol, ID: id, Price: float64(cents) / 100, Qty: float64(units) / 100000, FirstTradeID: 3 * id, LastTradeID: 3*id + 2,
			TradedAt: at.UnixMicro(), IsBuyerMaker: id%2 == 0,
		}
		maker := "False"
		if trade.IsBuyerMaker {
			maker = "True"
		}
		trades = append(trades, trade)
		lines = append(lines, fmt.Sprintf("%d,%d.%02d000000,0.%05d000,%d,%d,%d,%s,True", id, cents/100, cents%100, units, 3*id, 3*id+2, at.UnixMilli(), maker))
	}
	return trades, lines
}

func csvOf(lines []string) []byte { return []byte(strings.Join(lines, "\n") + "\n") }

// zipOf returns a zip of files, which are given as alternating names and contents.
func zipOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	packed := zip.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		w, err := packed.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// readTape returns all trades sorted by symbol and id. It fails if a trade is there twice or has
// the wrong date.
func readTape(t testing.TB, dir *tape.Dir) []tape.Trade {
	t.Helper()
	segments, broken, err := dir.Segments(tape.Trades, "", "")
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	var out []tape.Trade
	for _, segment := range segments {
		trades, err := dir.ReadTrades(segment.Path)
		if err != nil {
			t.Fatal(err)
		}
		for _, trade := range trades {
			if tape.DateOf(trade.TradedAt) != segment.Date {
				t.Errorf("%s has a trade of %s", segment.Path, tape.DateOf(trade.TradedAt))
			}
		}
		out = append(out, trades...)
	}
	slices.SortFunc(out, func(a, b tape.Trade) int {
		if c := strings.Compare(a.Symbol, b.Symbol); c != 0 {
			return c
		}
		return int(a.ID - b.ID)
	})
	for i := 1; i < len(out); i++ {
		if out[i].ID == out[i-1].ID && out[i].Symbol == out[i-1].Symbol {
			t.Errorf("%s %d is on the tape twice", out[i].Symbol, out[i].ID)
		}
	}
	return out
}

// checkStagingEmpty fails if anything was left in the staging directory.
func checkStagingEmpty(t testing.TB, dir *tape.Dir) {
	t.Helper()
	entries, err := os.ReadDir(dir.StagingPath())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("still in the staging directory: %s", entry.Name())
	}
}

// mustImport imports one file and fails if it was not imported.
func mustImport(t testing.TB, dir *tape.Dir, path string, opt Options) FileSummary {
	t.Helper()
	summary, err := Run(t.Context(), dir, []string{path}, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(summary.Files) != 1 || summary.Files[0].Problem != nil {
		t.Fatalf("%+v", summary)
	}
	checkStagingEmpty(t, dir)
	return summary.Files[0]
}

func checkTape(t testing.TB, dir *tape.Dir, want []tape.Trade) {
	t.Helper()
	if diff := cmp.Diff(want, readTape(t, dir)); diff != "" {
		t.Errorf("the tape (-want +got):\n%.3000s", diff)
	}
}
