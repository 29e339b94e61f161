package analytics

import (
	"database/sql"
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

// openMarket opens market.duckdb as another tool would: read-only, with no settings, from another working
// directory.
func openMarket(t *testing.T, path string) *sql.DB {
	t.Helper()
	t.Chdir(t.TempDir())
	db, err := sql.Open("duckdb", path+"?access_mode=READ_ONLY")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func queryMarket(t *testing.T, db *sql.DB, statement string) string {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	result, err := fetch(t.Context(), conn, statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	_, rows, _ := strings.Cut(renderCSV(t, result), "\n")
	return strings.TrimSpace(rows)
}

func TestMarketDatabase(t *testing.T) {
	dir := newTape(t)
	if err := Migrate(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir.Path(), MarketName)
	db := openMarket(t, path)
	for _, name := range relationNames {
		if got := queryMarket(t, db, "SELECT count(*) FROM "+name); got != "0" {
			t.Errorf("%s of an empty tape has %s rows", name, got)
		}
	}
	noon := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	if err := dir.RecordDropped("BTCUSDT", tape.IDRun{Range: idset.Range{First: 1, Last: 3}, FirstAt: noon.UnixMicro(), LastAt: noon.UnixMicro() + 1}); err != nil {
		t.Fatal(err)
	}
	if got := queryMarket(t, db, "FROM dropped_ids"); got != "BTCUSDT,1,3,2026-01-15 12:00:00,2026-01-15 12:00:00.000001" {
		t.Errorf("dropped_ids: %s", got)
	}
	if err := dir.RestoreDropped("BTCUSDT", idset.Set{{First: 1, Last: 3}}); err != nil {
		t.Fatal(err)
	}
	for _, macro := range []string{"candles('1 hour')", "vwap(INTERVAL 1 HOUR)", "tape('A', '2026-01-15', '2026-01-16')", "gaps()"} {
		if got := queryMarket(t, db, "SELECT count(*) FROM "+macro); got != "0" {
			t.Errorf("%s of an empty tape has %s rows", macro, got)
		}
	}
	// An open connection sees what is published later.
	for _, trades := range [][2]int64{{1, 10}, {14, 20}} {
		if _, err := dir.Publish(t.Context(), seconds("BTCUSDT", trades[0], trades[1]), testOrigin); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dir.Publish(t.Context(), seconds("ETHUSDT", 3600, 3603), testOrigin); err != nil {
		t.Fatal(err)
	}
	const candles = "BTCUSDT,2026-01-15 12:00:00,101,106,100,106,8.5,874,17\nETHUSDT,2026-01-15 12:00:00,102,102,102,102,0.5,51,1\nETHUSDT,2026-01-15 13:00:00,103,105,103,105,1.5,156,3"
	want := map[string]string{
		"SELECT symbol, count(*), min(date) FROM trades GROUP BY symbol ORDER BY symbol": "BTCUSDT,17,2026-01-15\nETHUSDT,4,2026-01-15",
		"SELECT * FROM gaps()":                   "BTCUSDT,11,13,3,2026-01-15 12:00:09,2026-01-15 12:00:13",
		"SELECT * FROM gaps":                     "BTCUSDT,11,13,2026-01-15 12:00:09,2026-01-15 12:00:13",
		"SELECT * FROM candles('1 hour')":        candles,
		"SELECT * FROM candles(INTERVAL 1 HOUR)": candles,
		"SELECT * FROM candles('1 hour', since := '2026-01-15 13:00', until := '2026-01-15 13:00:01')":                              "ETHUSDT,2026-01-15 13:00:00,103,103,103,103,0.5,51.5,1",
		"SELECT symbol, bucket, vwap, volume, quote_volume, round(taker_buy_share, 6) FROM vwap('1 hour') WHERE symbol = 'ETHUSDT'": "ETHUSDT,2026-01-15 12:00:00,102,0.5,51,0\nETHUSDT,2026-01-15 13:00:00,104,1.5,156,0.663462",
		"SELECT id, price, quote_qty, traded_at, side FROM tape('BTCUSDT', '2026-01-15 12:00:08', '2026-01-15 12:00:14')":           "9,102,51,2026-01-15 12:00:08,sell\n10,103,51.5,2026-01-15 12:00:09,buy\n14,100,50,2026-01-15 12:00:13,buy",
		"SELECT * FROM bounds WHERE symbol = 'ETHUSDT'":                                                                             "ETHUSDT,3600,3603,2026-01-15 12:59:59,2026-01-15 13:00:02,2026-01-15 12:59:59,trade,2026-01-15 13:00:02,trade",
	}
	compare := func(t *testing.T, db *sql.DB) {
		t.Helper()
		for statement, want := range want {
			if diff := cmp.Diff(want, queryMarket(t, db, statement)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", statement, diff)
			}
		}
	}
	compare(t, db)

	t.Run("replaced while it is read", func(t *testing.T) {
		if err := Migrate(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		compare(t, db)
		compare(t, openMarket(t, path))
		entries, err := os.ReadDir(dir.StagingPath())
		if err != nil || len(entries) != 0 {
			t.Errorf("left in the staging directory: %v, %v", entries, err)
		}
	})
	t.Run("moved", func(t *testing.T) {
		moved := filepath.Join(t.TempDir(), "moved")
		if err := os.Rename(dir.Path(), moved); err != nil {
			t.Fatal(err)
		}
		db := openMarket(t, filepath.Join(moved, MarketName))
		if _, err := db.Exec(fmt.Sprintf("SET VARIABLE tapedeck = '%s'", moved)); err != nil {
			t.Fatal(err)
		}
		compare(t, db)
	})
}

// TestQueriesRunInTheShell runs the file of every query unchanged over market.duckdb.
func TestQueriesRunInTheShell(t *testing.T) {
	dir := newTape(t, seconds("BTCUSDT", 1, 10))
	if err := Migrate(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	db := openMarket(t, filepath.Join(dir.Path(), MarketName))
	queries, problems := Load("")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, q := range queries {
		if q.Kind == Cookbook { // people paste it into a shell
			if _, err := db.Exec(q.Text); err != nil {
				t.Errorf("%s: %v", q.Path, err)
			}
			continue
		}
		if _, err := db.Exec("PREPARE q AS " + q.Text); err != nil {
			t.Errorf("%s: %v", q.Path, err)
			continue
		}
		var values []string
		for _, param := range q.Params {
			if !param.HasDefault {
				values = append(values, fmt.Sprintf("%s := '2026-01-15'", param.Name))
			} else {
				values = append(values, fmt.Sprintf("%s := %s", param.Name, shellValue(param)))
			}
		}
		call := "EXECUTE q"
		if len(values) > 0 {
			call += "(" + strings.Join(values, ", ") + ")"
		}
		if _, err := db.Exec(call); err != nil {
			t.Errorf("%s: %s: %v", q.Path, call, err)
		}
	}
}

func shellValue(param Param) string {
	switch v := param.Default.(type) {
	case nil:
		return "NULL"
	case string:
		return Quote(v)
	case fmt.Stringer:
		return Quote(v.String())
	default:
		return fmt.Sprint(v)
	}
}

// TestUpgradeReplacesOnlyOldFiles checks that Upgrade creates market.duckdb if it is missing or from another
// version, and leaves it alone otherwise.
// A tape of an earlier version lacks tables. It is opened and not created again.
func TestUpgradeCreatesTheTablesOfAnOlderTape(t *testing.T) {
	path := newTape(t).Path()
	for _, table := range []string{"conflicts", "recorder", "drops"} {
		if err := os.RemoveAll(filepath.Join(path, table)); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := tape.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if created, err := Upgrade(t.Context(), dir); err != nil || !created {
		t.Fatal(created, err)
	}
	db := openMarket(t, filepath.Join(path, MarketName))
	for _, table := range tables {
		if got := queryMarket(t, db, "SELECT count(*) FROM "+string(table)); got != "0" {
			t.Errorf("%s has %s rows", table, got)
		}
	}
}

func TestUpgradeReplacesOnlyOldFiles(t *testing.T) {
	dir := newTape(t, seconds("BTCUSDT", 1, 10))
	path := filepath.Join(dir.Path(), MarketName)
	upgrade := func(want bool, when string) {
		t.Helper()
		if created, err := Upgrade(t.Context(), dir); created != want || err != nil {
			t.Fatalf("%s: Upgrade = %v, %v", when, created, err)
		}
	}
	rows := func() string {
		db := openMarket(t, path)
		defer db.Close() // DuckDB shares an open file between connections
		return queryMarket(t, db, "SELECT count(*) FROM trades")
	}
	upgrade(true, "no file")
	upgrade(false, "current file")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	upgrade(true, "file deleted")
	if got := rows(); got != "10" {
		t.Errorf("%s trades", got)
	}
	if err := os.Remove(dir.State().Path(marketStateFile)); err != nil {
		t.Fatal(err)
	}
	upgrade(true, "state file deleted")

	// Another version created the file with another path. Here it is the path of another tape, so that the
	// difference shows.
	elsewhere := newTape(t, seconds("BTCUSDT", 1, 3))
	if err := os.WriteFile(path, []byte("an older database"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := dir.State().Write(marketStateFile, marketState{Digest: "older text", Root: elsewhere.Path()}); err != nil {
		t.Fatal(err)
	}
	upgrade(true, "file from another version")
	if got := rows(); got != "3" {
		t.Errorf("the views read %s trades, want the 3 of the stored path", got)
	}
	upgrade(false, "file replaced")

	// Several processes upgrade at the same time.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	failures := make(chan error)
	for range 4 {
		go func() {
			_, err := Upgrade(t.Context(), dir)
			failures <- err
		}()
	}
	for range 4 {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	if got := rows(); got != "10" {
		t.Errorf("%s trades", got)
	}
}
