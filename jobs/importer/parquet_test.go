package importer

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/recorded"
	"tapedeck/internal/tape"
)

// runDuckDB runs statements in a new database.
func runDuckDB(t testing.TB, statements ...string) {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// writeParquet writes the rows of a SELECT to a Parquet file and returns its path.
func writeParquet(t testing.TB, query string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "some [rows]*.parquet") // characters that DuckDB treats as a pattern
	runDuckDB(t, "SET TimeZone = 'UTC'", "COPY ("+query+") TO "+quote(path)+" (FORMAT parquet, ROW_GROUP_SIZE 4096)")
	return path
}

// generated is a SELECT of the trades that aggTrades returns, for two symbols.
const generated = `
    SELECT symbol, id, (6000000 + id % 997) / 100::DOUBLE AS price, (id % 89 + 1) / 100000::DOUBLE AS qty, 3 * id AS first_trade_id, 3 * id + 2 AS last_trade_id,
        TIMESTAMP '2024-08-08' + to_seconds(7 * id) AS traded_at, id % 2 = 0 AS is_buyer_maker,
    FROM range(13000) AS ids(id), (VALUES ('BTCUSDT'), ('币安人生USDT')) AS symbols(symbol)`

func generatedTrades() []tape.Trade {
	btc, _ := aggTrades("BTCUSDT", 0, 12_999)
	other, _ := aggTrades("币安人生USDT", 0, 12_999)
	return append(btc, other...)
}

func TestParquetWithTheColumnsOfTheTape(t *testing.T) {
	if testing.Short() {
		t.Skip("slow; make test-all runs it")
	}
	want := generatedTrades()
	for _, tc := range []struct {
		name, query string
		repeated    int64
		voided      int64
	}{
		{"unchanged", generated, 0, 0},
		{"unsorted", "SELECT * FROM (" + generated + ") ORDER BY hash(id), symbol", 0, 0},
		{"repeated rows", "SELECT * FROM (" + generated + ") UNION ALL SELECT * FROM (" + generated + ") WHERE id < 10", 20, 0},
		{"other types", "SELECT symbol::ENUM('BTCUSDT', '币安人生USDT') AS Symbol, id::INTEGER AS id, price::DECIMAL(18, 8) AS price, qty::DECIMAL(18, 8) AS qty," +
			" first_trade_id::UBIGINT AS first_trade_id, last_trade_id, traded_at::TIMESTAMP_NS AS traded_at, is_buyer_maker, 'x' AS more FROM (" + generated + ")", 0, 0},
		{"times with a time zone", "SELECT * REPLACE (traded_at AT TIME ZONE 'UTC' AS traded_at) FROM (" + generated + ")", 0, 0},
		{"voided rows", "SELECT * FROM (" + generated + ") UNION ALL SELECT 'BTCUSDT', 50000 + i, 0, 0, -1, -1, TIMESTAMP '2024-08-08', true FROM range(3) AS voided(i)", 0, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := newTape(t, tape.AggTrade)
			path := writeParquet(t, tc.query)
			have := slices.Clone(want[500:700])
			if _, err := dir.Publish(t.Context(), have, tape.Origin{Source: tape.FromStream}); err != nil {
				t.Fatal(err)
			}
			got := mustImport(t, dir, path, Options{})
			if got.Rows != 26_000 || got.Published != 26_000-200 || got.Repeated != tc.repeated || got.Voided != tc.voided || got.Missing != 0 || got.Inexact != 0 || len(got.Symbols) != 2 {
				t.Errorf("%+v", got)
			}
			checkTape(t, dir, want)
		})
	}
}

// A segment of one tape can be imported into another tape, unless that has the other feed.
func TestSegmentOfAnotherTape(t *testing.T) {
	from := newTape(t, tape.AggTrade)
	want, _ := aggTrades("BTCUSDT", 100, 900)
	published, err := from.Publish(t.Context(), slices.Clone(want), tape.Origin{Source: tape.FromStream})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(from.Path(), published.Segments[0])
	dir := newTape(t, tape.AggTrade)
	mustImport(t, dir, path, Options{})
	checkTape(t, dir, want)
	if feed, err := FeedOf(path, Options{}); feed != tape.AggTrade || err != nil {
		t.Errorf("FeedOf = %v, %v", feed, err)
	}
	summary, err := Run(t.Context(), newTape(t, tape.RawTrade), []string{path}, Options{})
	var feed *tape.FeedError
	if err != nil || !errors.As(summary.Files[0].Problem, &feed) {
		t.Errorf("%v, %+v", err, summary)
	}
}

func TestUnusableParquetIsRejected(t *testing.T) {
	for _, tc := range []struct {
		name, query, want string
		feed              tape.Feed
	}{
		{"a column is missing", "SELECT * EXCLUDE (qty) FROM (" + generated + ")", `no column "qty"; wanted are id, price`, ""},
		{"an imprecise price", "SELECT * REPLACE (price::FLOAT AS price) FROM (" + generated + ")", `column "price" is FLOAT, it must be DOUBLE`, ""},
		{"a time as a number", "SELECT * REPLACE (epoch_us(traded_at) AS traded_at) FROM (" + generated + ")", `column "traded_at" is BIGINT, it must be TIMESTAMP`, ""},
		{"NULL", "SELECT * REPLACE (if(symbol = 'BTCUSDT' AND id = 7, NULL, qty) AS qty) FROM (" + generated + ") WHERE symbol = 'BTCUSDT' ORDER BY id", "row 8: qty is NULL", ""},
		{"a negative price", "SELECT * REPLACE (if(id = 12999, -price, price) AS price) FROM (" + generated + ") WHERE symbol = 'BTCUSDT' ORDER BY id", "row 13000: the price is not above zero", ""},
		{"not a number", "SELECT * REPLACE ('nan'::DOUBLE AS price) FROM (" + generated + ") LIMIT 5", "row 1: the price is not above zero", ""},
		{"an impossible time", "SELECT * REPLACE (TIMESTAMP '1970-01-01' AS traded_at) FROM (" + generated + ") LIMIT 5", "row 1: the time is not between 2009 and 2100", ""},
		{"two different rows with one id", "SELECT * FROM (" + generated + ") WHERE symbol = 'BTCUSDT' UNION ALL SELECT * REPLACE (qty * 2 AS qty) FROM (" + generated + ") WHERE symbol = 'BTCUSDT' AND id = 7",
			"id 7 of BTCUSDT differs from the row with the same id in row", ""},
		{"an id with two dates", "SELECT * FROM (" + generated + ") WHERE symbol = 'BTCUSDT' UNION ALL SELECT * REPLACE (traded_at + INTERVAL 5 DAY AS traded_at) FROM (" + generated + ") WHERE symbol = 'BTCUSDT' AND id = 7",
			"id 7 of BTCUSDT is in the file with another date too", ""},
		{"aggregated rows on a tape of raw trades", generated, "row 1: first_trade_id and last_trade_id differ from id, which a tape of raw trades does not allow", tape.RawTrade},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.feed == "" {
				tc.feed = tape.AggTrade
			}
			dir := newTape(t, tc.feed)
			summary, err := Run(t.Context(), dir, []string{writeParquet(t, tc.query)}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			problem := summary.Files[0].Problem
			if problem == nil || !strings.Contains(problem.Error(), tc.want) || strings.Contains(problem.Error(), "\n") {
				t.Errorf("got %v, want %q", problem, tc.want)
			}
			if len(readTape(t, dir)) > 0 {
				t.Error("part of it is on the tape")
			}
			checkStagingEmpty(t, dir)
		})
	}
}

func TestTruncatedOrDamagedParquet(t *testing.T) {
	content, err := os.ReadFile(writeParquet(t, generated))
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(content)
	for i := range 64 {
		damaged[len(damaged)/3+i] ^= 0x5a
	}
	for name, text := range map[string][]byte{"truncated": content[:len(content)/2], "damaged pages": damaged} {
		dir := newTape(t, tape.AggTrade)
		summary, err := Run(t.Context(), dir, []string{writeFile(t, "x.parquet", text)}, Options{})
		if err != nil || summary.Files[0].Problem == nil || strings.Contains(summary.Files[0].Problem.Error(), "\n") {
			t.Errorf("%s: %v, %+v", name, err, summary)
		}
		if len(readTape(t, dir)) > 0 {
			t.Errorf("%s: part of it is on the tape", name)
		}
		checkStagingEmpty(t, dir)
	}
}

func TestRecordedParquet(t *testing.T) {
	path := recorded.Path(t, "pumps/trades.parquet")
	part := writeParquet(t, "FROM read_parquet("+quote(path)+") WHERE symbol < 'AP'")
	dir := newTape(t, tape.AggTrade)
	got := mustImport(t, dir, part, Options{})
	if got.Rows != 91_246 || got.Published != got.Rows || got.Missing != 0 || len(got.Symbols) != 2 {
		t.Errorf("%+v", got)
	}
	if trades := readTape(t, dir); int64(len(trades)) != got.Rows {
		t.Errorf("%d trades on the tape, %d in the file", len(trades), got.Rows)
	}
}

// TestParquetWithIDsOfMoreThan18Digits, which a CSV cannot have either.
func TestParquetWithIDsOfMoreThan18Digits(t *testing.T) {
	for column, reason := range map[string]string{"id": "row 2: the id has more", "last_trade_id": "row 2: the last trade id has more"} {
		path := writeParquet(t, `SELECT * REPLACE (if(n = 1, 9223372036854775807, 1) AS `+column+`) FROM (
    SELECT 'BTCUSDT' AS symbol, n AS id, 1::DOUBLE AS price, 1::DOUBLE AS qty, 1 AS first_trade_id, 1 AS last_trade_id,
        TIMESTAMP '2024-08-08' AS traded_at, true AS is_buyer_maker, n
    FROM range(2) AS ids(n))`)
		summary, err := Run(t.Context(), newTape(t, tape.AggTrade), []string{path}, Options{})
		if err != nil || len(summary.Problems()) != 1 || !strings.Contains(summary.Problems()[0].Problem.Error(), reason) {
			t.Errorf("%s: %+v, %v", column, summary, err)
		}
	}
}

// TestTwoColumnsOfOneNameAreRefused: DuckDB would read one of them.
func TestTwoColumnsOfOneNameAreRefused(t *testing.T) {
	type row struct {
		Symbol string `parquet:"symbol"`
		Other  string `parquet:"Symbol"`
		ID     int64  `parquet:"id"`
	}
	path := filepath.Join(t.TempDir(), "rows.parquet")
	if err := parquet.WriteFile(path, []row{{"BTCUSDT", "ETHUSDT", 1}}); err != nil {
		t.Fatal(err)
	}
	summary, err := Run(t.Context(), newTape(t, tape.AggTrade), []string{path}, Options{})
	if err != nil || len(summary.Problems()) != 1 || !strings.Contains(summary.Files[0].Problem.Error(), "two columns have the same name: ") {
		t.Errorf("%v, %+v", err, summary)
	}
}
