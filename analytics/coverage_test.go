package analytics

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/tape"
)

// coverageOfBefore is a row of coverage as earlier versions wrote it.
type coverageOfBefore struct {
	Symbol         string `parquet:"symbol,dict"`
	FirstID        *int64 `parquet:"first_id,optional"`
	LastID         *int64 `parquet:"last_id,optional"`
	Trades         int64  `parquet:"trades"`
	Missing        int64  `parquet:"missing"`
	AbsentAtSource int64  `parquet:"absent_at_source"`
	State          string `parquet:"state,dict"`
	CheckedAt      int64  `parquet:"checked_at,timestamp(microsecond:local)"`
}

// TestCoverageOfAnEarlierVersion reads coverage whose files have no column conflicts, alone and beside
// one that has it: in a session, in market.duckdb, and when verify compares what it wrote last.
func TestCoverageOfAnEarlierVersion(t *testing.T) {
	dir := newTape(t, seconds("BTCUSDT", 1, 10), seconds("ETHUSDT", 1, 10))
	write := func(date, name string, rows ...coverageOfBefore) {
		t.Helper()
		path := filepath.Join(dir.Path(), "coverage", "date="+date)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := parquet.WriteFile(filepath.Join(path, name), rows); err != nil {
			t.Fatal(err)
		}
	}
	write("1970-01-01", "empty.parquet")
	write("2026-01-14", "old.parquet", coverageOfBefore{Symbol: "BTCUSDT", Trades: 7, State: "gap", CheckedAt: noon.UnixMicro() - 1})
	write("2026-01-15", "old.parquet", coverageOfBefore{Symbol: "BTCUSDT", Trades: 8, State: "open", CheckedAt: noon.UnixMicro() - 1})
	check := func(when, want string) {
		t.Helper()
		const statement = "SELECT symbol, date, trades, conflicts FROM coverage ORDER BY symbol, date"
		s := openSession(t, dir, Options{})
		if got := rowsOf(t, s, statement); got != want || len(s.Broken()) > 0 {
			t.Errorf("%s: %s, broken %v", when, got, s.Broken())
		}
		if err := Migrate(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		db := openMarket(t, filepath.Join(dir.Path(), MarketName))
		if got := queryMarket(t, db, statement); got != want {
			t.Errorf("%s, market.duckdb: %s", when, got)
		}
	}
	check("old files", "BTCUSDT,2026-01-14,7,0\nBTCUSDT,2026-01-15,8,0")

	rows := seconds("ETHUSDT", 4, 4)
	rows[0].Price++
	if out, err := dir.Publish(t.Context(), rows, tape.Origin{Source: tape.FromREST}); err != nil || out.Conflicts != 1 {
		t.Fatal(out, err)
	}
	certificate, err := dir.Certify(t.Context(), noon, false)
	if err != nil {
		t.Fatal(err)
	}
	out, err := dir.PublishCoverage(t.Context(), certificate)
	if err != nil || out.Rows != 2 {
		t.Fatal(out, err)
	}
	check("old and new files", "BTCUSDT,2026-01-14,7,0\nBTCUSDT,2026-01-15,10,0\nETHUSDT,2026-01-15,10,1")
}
