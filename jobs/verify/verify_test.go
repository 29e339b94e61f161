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
	"github.com/parquet-go/parquet-go"

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
	want := `  symbol       from (UTC)      known until trades missing   days
 BTCUSDT 2026-01-15 23:59 2026-01-16 00:03    300       0 2 open
 ETHUSDT 2026-01-15 23:59 2026-01-16 00:03    240      60  2 gap

ETHUSDT is missing 60 ids:
  1000 to 1059 (60), after 2026-01-15 23:59:00.000 and before 2026-01-16 00:00:00.000

Not complete: 540 trades, 60 missing in 1 gap, 0 twice, 0 files broken. ` + "`tapedeck backfill` fetches what is missing.\n"
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(csv.String(), "symbol,date,first_id,last_id,trades,missing,absent_at_source,conflicts,state,checked_at\nBTCUSDT,2026-01-15,1000,1059,60,0,0,0,open,2026-01-16T00:59:00Z\n") {
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
	conflict := tape.Conflict{
		Symbol: "BTCUSDT", ID: 7, Price: 1.5, Qty: 2, FirstTradeID: 9, LastTradeID: 10, TradedAt: start.UnixMicro(), Source: tape.FromStream,
		OtherPrice: 1.25, OtherQty: 2, OtherFirstTradeID: 9, OtherLastTradeID: 10, OtherTradedAt: start.UnixMicro(), OtherIsBuyerMaker: true,
		OtherSource: tape.FromREST,
	}
	symbol := tape.SymbolCertificate{
		Symbol: "BTCUSDT", Bounds: bounds, Trades: 12_000, Missing: 24, Absent: 1, Dropped: 3, Duplicates: 2, Conflicts: 6, Backwards: 11,
		BackwardSteps: []tape.BackwardStep{{Symbol: "BTCUSDT", ID: 8, At: start, Before: start.Add(90 * time.Second)}},
		Known:         tape.Known{Until: start.Add(2 * time.Hour), UntilBy: tape.ByStream},
		Days:          []tape.Day{{CoverageRow: tape.CoverageRow{State: tape.StateGap}}, {CoverageRow: tape.CoverageRow{State: tape.StateOpen}}},
	}
	for id := range int64(12) {
		symbol.Gaps = append(symbol.Gaps, tape.Gap{Symbol: "BTCUSDT", First: 100 * id, Last: 100*id + 1, After: start, Before: start.Add(time.Millisecond)})
	}
	var table bytes.Buffer
	if err := WriteTable(&table, tape.Certificate{
		Symbols: []tape.SymbolCertificate{symbol}, Misplaced: 1, Strays: []tape.BrokenSegment{{Path: "trades/date=2026-01-16/y.parquet", Err: &tape.StrayError{
			Symbol: "BTCUSDT", IDs: idset.Range{First: 5, Last: 5}, Rows: 1, Date: "2026-01-15",
		}}},
		Conflicts: []tape.Conflict{conflict, conflict, conflict, conflict, conflict, conflict},
		Broken:    []tape.BrokenSegment{{Path: "trades/date=2026-01-15/x.parquet", Err: errors.New("damaged footer")}},
	}); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"  symbol       from (UTC)      known until trades missing absent dropped twice conflicts          days\n" +
		" BTCUSDT 2026-01-15 23:59 2026-01-16 01:59 12,000      24      1       3     2         6 1 open, 1 gap\n" +
		"\nBTCUSDT is missing 24 ids:\n"
	for id := range 10 {
		want += fmt.Sprintf("  %d to %d (2), after 2026-01-15 23:59:00.000 and before 2026-01-15 23:59:00.001\n", 100*id, 100*id+1)
	}
	want += "  and 2 more gaps (--format json lists all)\n" +
		"\nBTCUSDT has 2 ids more than once.\n" +
		"\nBTCUSDT: time runs back by more than a second at 11 trades:\n" +
		"  id 8 at 2026-01-15 23:59:00.000, 1m30s before the trade with the id before it\n" +
		"  and 10 more trades (`tapedeck check backwards` lists all)\n" +
		"\nBTCUSDT has 6 conflicts: another content was refused for an id that is on the tape:\n" +
		strings.Repeat("  id 7\n    on the tape (stream): price 1.5, qty 2, taker bought, 2026-01-15 23:59:00, raw trades 9 to 10\n"+
			"    refused (rest): price 1.25, qty 2, taker sold, 2026-01-15 23:59:00, raw trades 9 to 10\n", 5) +
		"  and 1 more conflict (--format json lists all)\n" +
		"\ntrades/date=2026-01-15/x.parquet cannot be read: damaged footer.\n" +
		"  Its rows count as missing. Move it out of the data directory, then `tapedeck backfill` fetches them again.\n" +
		"\n1 file of the tape does not belong where it is:\n" +
		"  trades/date=2026-01-16/y.parquet: 1 row belongs to another date, such as BTCUSDT 5 to 5, of 2026-01-15\n" +
		"\nNot complete: 12,000 trades, 24 missing in 12 gaps, 2 twice, 6 conflicts, time runs back at 11 trades, 3 dropped on purpose, 1 file misplaced or doubled, 1 file broken." +
		" The exchange itself does not have 1 id." +
		" `tapedeck backfill` fetches what is missing.\n"
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

// TestConflictsAreCountedUntilResolved: a conflict is counted by symbol and day until the row on the
// tape has the other content or its id was dropped.
func TestConflictsAreCountedUntilResolved(t *testing.T) {
	dir, _ := newTape(t)
	other := tape.Trade{
		Symbol: "ETHUSDT", ID: 1070, Price: 2, Qty: 1, FirstTradeID: 1070, LastTradeID: 1070, TradedAt: start.Add(70 * time.Second).UnixMicro(),
	}
	third := other
	third.ID, third.FirstTradeID, third.LastTradeID, third.TradedAt = 1010, 1010, 1010, start.Add(10*time.Second).UnixMicro()
	if out, err := dir.Publish(t.Context(), []tape.Trade{third, other}, tape.Origin{Source: tape.FromREST}); err != nil || out.Conflicts != 2 {
		t.Fatal(out, err)
	}
	counts := func(c tape.Certificate) (out []int64) {
		for _, s := range c.Symbols {
			for _, d := range s.Days {
				out = append(out, d.Conflicts)
			}
		}
		return out
	}
	c := verifyTape(t, dir)
	if diff := cmp.Diff([]int64{0, 0, 1, 1}, counts(c)); diff != "" || c.Complete() || len(c.Conflicts) != 2 || !strings.Contains(Verdict(c), ", 2 conflicts,") {
		t.Fatal(Verdict(c), diff)
	}
	var table, text bytes.Buffer
	if err := errors.Join(WriteTable(&table, c), WriteJSON(&text, c)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"id 1070", "price 1,", "price 2,", "stream", "rest"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is not in\n%s", want, table.String())
		}
	}
	for _, want := range []string{`"conflicts": 2`, `"refused": {`, `"price": 2`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
	rows := readCoverage(t, dir)
	if len(rows) != 4 || rows["ETHUSDT 2026-01-16"].Conflicts != 1 || rows["BTCUSDT 2026-01-16"].Conflicts != 0 {
		t.Errorf("%+v", rows)
	}

	// The first is resolved by taking the other content, the second by doing without the id.
	dropTrade(t, dir, "ETHUSDT", 1070)
	if c := verifyTape(t, dir); len(c.Conflicts) != 1 || c.Symbols[1].Dropped != 1 || c.Complete() {
		t.Error(Verdict(c))
	}
	if _, err := dir.Publish(t.Context(), []tape.Trade{other}, tape.Origin{Source: tape.FromREST, Restores: true}); err != nil {
		t.Fatal(err)
	}
	if c := verifyTape(t, dir); len(c.Conflicts) != 1 || c.Symbols[1].Dropped != 0 {
		t.Error(Verdict(c))
	}
	dropTrade(t, dir, "ETHUSDT", 1010)
	if c := verifyTape(t, dir); len(c.Conflicts) != 0 || !strings.Contains(Verdict(c), "1 dropped on purpose") {
		t.Error(Verdict(c))
	}
}

// readCoverage returns the rows of the table coverage by symbol and date.
func readCoverage(t *testing.T, dir *tape.Dir) map[string]tape.CoverageRow {
	t.Helper()
	segments, broken, err := dir.Segments(tape.Coverage, "", "")
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	out := map[string]tape.CoverageRow{}
	for _, segment := range segments {
		rows, err := parquet.ReadFile[tape.CoverageRow](filepath.Join(dir.Path(), segment.Path))
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			out[row.Symbol+" "+segment.Date] = row
		}
	}
	return out
}

func dropTrade(t *testing.T, dir *tape.Dir, symbol string, id int64) {
	t.Helper()
	plan, err := dir.PlanDrop(t.Context(), tape.DropQuery{
		What: tape.DropsTrades, Symbols: []string{symbol}, IDs: idset.Set{{First: id, Last: id}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Drop(t.Context(), plan, tape.DropRecord{At: start.UnixMicro()}, nil); err != nil {
		t.Fatal(err)
	}
}

// TestVerdictDoesNotWrap if the symbols lack more ids together than an int64 holds.
func TestVerdictDoesNotWrap(t *testing.T) {
	var c tape.Certificate
	for range 16 {
		c.Symbols = append(c.Symbols, tape.SymbolCertificate{Symbol: "A", Missing: tape.MaxID})
	}
	if text := Verdict(c); !strings.Contains(text, " 9,223,372,036,854,775,807 missing") {
		t.Error(text)
	}
}
