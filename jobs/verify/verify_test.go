package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

var start = time.Date(2026, 1, 15, 23, 59, 0, 0, time.UTC)

// newTape returns a tape with the ids 1000 to 1299 of two symbols, one per second over midnight,
// and the paths of its segments. A batch of 100 ids over midnight becomes two segments.
func newTape(t *testing.T) (*tape.Dir, []string) {
	t.Helper()
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data"), tape.AggTrade, start)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
		for first := int64(1000); first < 1300; first += 100 {
			var rows []tape.Trade
			for id := first; id < first+100; id++ {
				rows = append(rows, tape.Trade{Symbol: symbol, ID: id, Price: 1, Qty: 1, FirstTradeID: id, LastTradeID: id, TradedAt: start.Add(time.Duration(id-1000) * time.Second).UnixMicro()})
			}
			out, err := dir.Publish(context.Background(), rows, tape.Origin{Source: tape.FromStream})
			if err != nil {
				t.Fatal(err)
			}
			paths = append(paths, out.Segments...)
		}
	}
	return dir, paths
}

func verifyTape(t *testing.T, dir *tape.Dir) tape.Certificate {
	t.Helper()
	c, err := Run(context.Background(), dir, Options{Now: start.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return *c
}

func TestDeletedSegmentIsReportedAsAGap(t *testing.T) {
	_, paths := newTape(t)
	for i := range paths {
		dir, paths := newTape(t)
		if c := verifyTape(t, dir); !c.Complete() {
			t.Fatal(Verdict(c))
		}
		rows, err := dir.ReadTrades(paths[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir.Path(), paths[i])); err != nil {
			t.Fatal(err)
		}
		c := verifyTape(t, dir)
		var missing idset.Set
		for _, s := range c.Symbols {
			for _, g := range s.Gaps {
				if s.Symbol != rows[0].Symbol {
					t.Fatal(s.Symbol)
				}
				missing = missing.Add(idset.Range{First: g.First, Last: g.Last})
			}
		}
		want := idset.Range{First: rows[0].ID, Last: rows[len(rows)-1].ID}
		if c.Complete() || len(missing) != 1 || missing[0] != want {
			t.Fatalf("%s: missing %v, want %v", paths[i], missing, want)
		}
	}
}

func TestOutputFormats(t *testing.T) {
	dir, paths := newTape(t)
	// The first four segments are BTCUSDT's; this is the first day of ETHUSDT.
	if err := os.Remove(filepath.Join(dir.Path(), paths[4])); err != nil {
		t.Fatal(err)
	}
	c := verifyTape(t, dir)
	var table, csv, text bytes.Buffer
	for _, err := range []error{WriteTable(&table, c), WriteCSV(&csv, c), WriteJSON(&text, c)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := `  symbol       from (UTC)         to (UTC) rows missing absent twice   days
 BTCUSDT 2026-01-15 23:59 2026-01-16 00:03  300       0      0     0 2 open
 ETHUSDT 2026-01-15 23:59 2026-01-16 00:03  240      60      0     0  2 gap

ETHUSDT is missing 60 ids:
  1000 to 1059 (60), after 2026-01-15 23:59:00.000 and before 2026-01-16 00:00:00.000

Not complete: 540 rows, 60 missing in 1 gap, 0 twice, 0 files broken. ` + "`tapedeck backfill` fetches what is missing.\n"
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(csv.String(), "symbol,date,first_id,last_id,trades,missing,absent_at_source,state,checked_at\nBTCUSDT,2026-01-15,1000,1059,60,0,0,open,2026-01-16T00:59:00Z\n") {
		t.Errorf("csv:\n%s", csv.String())
	}
	var decoded struct {
		Complete bool
		Symbols  []struct {
			Symbol  string
			Missing int64
			Gaps    []struct {
				Count int64
			}
		}
	}
	if err := json.Unmarshal(text.Bytes(), &decoded); err != nil || decoded.Complete || decoded.Symbols[1].Missing != 60 || decoded.Symbols[1].Gaps[0].Count != 60 {
		t.Errorf("json: %v\n%s", err, text.String())
	}
}

func TestEmptyTapeIsComplete(t *testing.T) {
	dir, err := tape.Create(t.TempDir(), tape.RawTrade, start)
	if err != nil {
		t.Fatal(err)
	}
	if c := verifyTape(t, dir); !c.Complete() || Verdict(c) != "The tape is empty." {
		t.Fatal(Verdict(c))
	}
}

func TestTableNamesEveryProblem(t *testing.T) {
	bounds := tape.Bounds{FirstID: 1, LastID: 12_345, FirstAt: start, LastAt: start.Add(time.Hour)}
	symbol := tape.SymbolCertificate{
		Symbol: "BTCUSDT", Bounds: bounds, Trades: 12_000, Missing: 24, Absent: 1, Duplicates: 2,
		Days: []tape.Day{{CoverageRow: tape.CoverageRow{State: tape.StateGap}}, {CoverageRow: tape.CoverageRow{State: tape.StateOpen}}},
	}
	for id := range int64(12) {
		symbol.Gaps = append(symbol.Gaps, tape.Gap{Symbol: "BTCUSDT", First: 100 * id, Last: 100*id + 1, After: start, Before: start.Add(time.Millisecond)})
	}
	var table bytes.Buffer
	if err := WriteTable(&table, tape.Certificate{
		Symbols: []tape.SymbolCertificate{symbol}, Misplaced: 1,
		Broken: []tape.BrokenSegment{{Path: "trades/date=2026-01-15/x.parquet", Err: errors.New("damaged footer")}},
	}); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"  symbol       from (UTC)         to (UTC)   rows missing absent twice          days\n" +
		" BTCUSDT 2026-01-15 23:59 2026-01-16 00:59 12,000      24      1     2 1 open, 1 gap\n" +
		"\nBTCUSDT is missing 24 ids:\n"
	for id := range 10 {
		want += fmt.Sprintf("  %d to %d (2), after 2026-01-15 23:59:00.000 and before 2026-01-15 23:59:00.001\n", 100*id, 100*id+1)
	}
	want += "  and 2 more gaps (--format json lists all)\n" +
		"\nBTCUSDT has 2 ids more than once: another program put a file into the tape.\n" +
		"\ntrades/date=2026-01-15/x.parquet cannot be read: damaged footer.\n" +
		"  Its rows count as missing. Move it out of the data directory, then `tapedeck backfill` fetches them again.\n" +
		"\n1 row is in the partition of another date.\n" +
		"\nNot complete: 12,000 rows, 24 missing in 12 gaps, 2 twice, 1 file broken. The exchange itself does not have 1 id." +
		" `tapedeck backfill` fetches what is missing.\n"
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
