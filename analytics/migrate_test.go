package analytics

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plainShell opens market.duckdb as an analyst's tool does: read-only, with nothing set, from some other working directory.
func plainShell(t *testing.T, path string) *sql.DB {
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

func shell(t *testing.T, db *sql.DB, statement string) string {
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
	db := plainShell(t, path)
	for _, name := range relationNames {
		if have := shell(t, db, "SELECT count(*) FROM "+name); have != "0" {
			t.Errorf("%s of an empty tape has %s rows", name, have)
		}
	}
	for _, macro := range []string{"candles('1 hour')", "vwap(INTERVAL 1 HOUR)", "tape('A', '2026-01-15', '2026-01-16')", "gaps()"} {
		if have := shell(t, db, "SELECT count(*) FROM "+macro); have != "0" {
			t.Errorf("%s of an empty tape has %s rows", macro, have)
		}
	}
	// The same connection sees what is published meanwhile.
	for _, trades := range [][2]int64{{1, 10}, {14, 20}} {
		if _, err := dir.Publish(t.Context(), seconds("BTCUSDT", trades[0], trades[1]), originOfTests); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dir.Publish(t.Context(), seconds("ETHUSDT", 3600, 3603), originOfTests); err != nil {
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
		"SELECT * FROM bounds WHERE symbol = 'ETHUSDT'":                                                                             "ETHUSDT,3600,3603,2026-01-15 12:59:59,2026-01-15 13:00:02",
	}
	compare := func(t *testing.T, db *sql.DB) {
		t.Helper()
		for statement, want := range want {
			if diff := cmp.Diff(want, shell(t, db, statement)); diff != "" {
				t.Errorf("%s (-want +have):\n%s", statement, diff)
			}
		}
	}
	compare(t, db)

	t.Run("made anew under a reader", func(t *testing.T) {
		if err := Migrate(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		compare(t, db)
		compare(t, plainShell(t, path))
		entries, err := os.ReadDir(dir.StagingPath())
		if err != nil || len(entries) != 0 {
			t.Errorf("left in the staging directory: %v, %v", entries, err)
		}
	})
	t.Run("seen elsewhere", func(t *testing.T) {
		moved := filepath.Join(t.TempDir(), "moved")
		if err := os.Rename(dir.Path(), moved); err != nil {
			t.Fatal(err)
		}
		db := plainShell(t, filepath.Join(moved, MarketName))
		if _, err := db.Exec(fmt.Sprintf("SET VARIABLE tapedeck = '%s'", moved)); err != nil {
			t.Fatal(err)
		}
		compare(t, db)
	})
}

// TestQueriesRunInTheShell: a query's file runs as it stands over market.duckdb.
func TestQueriesRunInTheShell(t *testing.T) {
	dir := newTape(t, seconds("BTCUSDT", 1, 10))
	if err := Migrate(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	db := plainShell(t, filepath.Join(dir.Path(), MarketName))
	queries, problems := Load("")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, q := range queries {
		if q.Kind == Cookbook { // it is pasted as it stands
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
		return quote(v)
	case fmt.Stringer:
		return quote(v.String())
	default:
		return fmt.Sprint(v)
	}
}

// TestUpgrade: market.duckdb is made where there is none or where another version made it, and left alone otherwise.
func TestUpgrade(t *testing.T) {
	dir := newTape(t, seconds("BTCUSDT", 1, 10))
	path := filepath.Join(dir.Path(), MarketName)
	upgrade := func(want bool, when string) {
		t.Helper()
		if made, err := Upgrade(t.Context(), dir); made != want || err != nil {
			t.Fatalf("%s: %v, %v", when, made, err)
		}
	}
	rows := func() string {
		db := plainShell(t, path)
		defer db.Close() // or the next to open this path would share what this one read
		return shell(t, db, "SELECT count(*) FROM trades")
	}
	upgrade(true, "there is none")
	upgrade(false, "it is there")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	upgrade(true, "it is lost")
	if have := rows(); have != "10" {
		t.Errorf("%s trades", have)
	}
	if err := os.Remove(dir.StatePath(marketStateName)); err != nil {
		t.Fatal(err)
	}
	upgrade(true, "nobody knows of what it was made")

	// Another version made it, for where somebody else sees the tape; here it is another tape, so that the difference shows.
	elsewhere := newTape(t, seconds("BTCUSDT", 1, 3))
	if err := os.WriteFile(path, []byte("an older database"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := dir.WriteState(marketStateName, marketState{Of: "older text", Root: elsewhere.Path()}); err != nil {
		t.Fatal(err)
	}
	upgrade(true, "another version made it")
	if have := rows(); have != "3" {
		t.Errorf("its views find %s trades, those before them found 3", have)
	}
	upgrade(false, "it is there again")

	// Two come at once.
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
	if have := rows(); have != "10" {
		t.Errorf("%s trades", have)
	}
}
