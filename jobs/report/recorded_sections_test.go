package report_test

import (
	"database/sql"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/recorded"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/jobs/report"
)

// captureSQL creates the table raw from the JSON of the recorded streams, with decimals for the
// exchange's decimal strings. A line is the time of receipt, a space and the message.
const captureSQL = `
CREATE TABLE raw AS
SELECT
	message->>'$.data.s' AS symbol,
	(message->>'$.data.t')::BIGINT AS id,
	(message->>'$.data.p')::DECIMAL(38, 8) AS price,
	(message->>'$.data.q')::DECIMAL(38, 8) AS qty,
	make_timestamp((message->>'$.data.T')::BIGINT * 1000) AS traded_at,
	(message->>'$.data.m')::BOOLEAN AS taker_sold,
FROM (
	SELECT substr(line, instr(line, ' ') + 1)::JSON AS message
	FROM read_csv(%s, columns = {'line': 'VARCHAR'}, delim = '\x01', quote = '', escape = '', header = false, auto_detect = false)
	WHERE contains(line, '@trade"')
)`

// captureQueries compute the sections from the recorded streams, independently of the sections' own
// SQL. w holds the trades of the window. The columns have the names of the section's columns.
var captureQueries = map[string]string{
	"overview": `
		SELECT
			symbol, count(*) AS trades, count(*) AS rows, first(price ORDER BY id)::DOUBLE AS open, max(price)::DOUBLE AS high, min(price)::DOUBLE AS low,
			last(price ORDER BY id)::DOUBLE AS close, (last(price ORDER BY id)::DOUBLE - first(price ORDER BY id)::DOUBLE) / first(price ORDER BY id)::DOUBLE * 100 AS change,
			sum(qty)::DOUBLE AS volume, sum(price * qty)::DOUBLE AS quote_volume, sum(price * qty)::DOUBLE / sum(qty)::DOUBLE AS vwap,
			sum(CASE WHEN taker_sold THEN 0 ELSE price * qty END)::DOUBLE / sum(price * qty)::DOUBLE AS taker_buy_share,
			first(traded_at ORDER BY id) AS first_traded_at, last(traded_at ORDER BY id) AS last_traded_at
		FROM w GROUP BY symbol ORDER BY symbol`,
	"movers": `
		SELECT CASE WHEN close > open THEN 'gainer' ELSE 'loser' END AS side, row_number() OVER (PARTITION BY close > open ORDER BY abs(close / open - 1) DESC) AS rank,
			symbol, (close - open) / open * 100 AS change, open, close, high, low, trades, quote_volume
		FROM (
			SELECT symbol, first(price ORDER BY id)::DOUBLE AS open, last(price ORDER BY id)::DOUBLE AS close, max(price)::DOUBLE AS high, min(price)::DOUBLE AS low,
				count(*) AS trades, sum(price * qty)::DOUBLE AS quote_volume
			FROM w GROUP BY symbol
		) WHERE open <> close ORDER BY side, rank`,
	"hourly": `
		SELECT symbol, strptime(strftime(traded_at, '%Y-%m-%d %H'), '%Y-%m-%d %H') AS hour, count(*) AS trades, first(price ORDER BY id)::DOUBLE AS open,
			max(price)::DOUBLE AS high, min(price)::DOUBLE AS low, last(price ORDER BY id)::DOUBLE AS close, sum(qty)::DOUBLE AS volume, sum(price * qty)::DOUBLE AS quote_volume,
			sum(CASE WHEN taker_sold THEN 0 ELSE price * qty END)::DOUBLE / sum(price * qty)::DOUBLE AS taker_buy_share
		FROM w GROUP BY ALL ORDER BY symbol, hour`,
	"breadth": `
		SELECT hour, sum(n)::BIGINT AS trades, count(*) AS symbols, sum((close > open)::INT)::BIGINT AS rose, sum((close < open)::INT)::BIGINT AS fell
		FROM (SELECT extract('day' FROM traded_at) AS day, date_trunc('hour', traded_at) AS hour, count(*) AS n, first(price ORDER BY id) AS open, last(price ORDER BY id) AS close FROM w GROUP BY symbol, hour, day)
		GROUP BY hour ORDER BY hour`,
	"largest_trades": `
		SELECT symbol, rank, traded_at, CASE WHEN taker_sold THEN 'sell' ELSE 'buy' END AS taker_side, price::DOUBLE AS price, qty::DOUBLE AS qty, (price * qty)::DOUBLE AS quote_qty,
			(price * qty)::DOUBLE / (SELECT sum(all_of.price * all_of.qty)::DOUBLE FROM w AS all_of WHERE all_of.symbol = ranked.symbol) AS window_share, id
		FROM (SELECT *, row_number() OVER (PARTITION BY symbol ORDER BY price * qty DESC, id) AS rank FROM w) AS ranked
		WHERE rank <= 3 ORDER BY symbol, rank`,
	"taker_flow": `
		WITH flows AS (
			SELECT symbol, sum((NOT taker_sold)::INT)::BIGINT AS buys, sum(taker_sold::INT)::BIGINT AS sells,
				sum(CASE WHEN taker_sold THEN 0 ELSE price * qty END) AS bought, sum(CASE WHEN taker_sold THEN price * qty ELSE 0 END) AS sold,
				sum(CASE WHEN taker_sold THEN 0 ELSE qty END) AS bought_qty, sum(CASE WHEN taker_sold THEN qty ELSE 0 END) AS sold_qty
			FROM w GROUP BY symbol
		)
		SELECT symbol, buys AS buy_trades, sells AS sell_trades, bought::DOUBLE AS buy_quote_volume, sold::DOUBLE AS sell_quote_volume, (bought - sold)::DOUBLE AS net_quote_volume,
			(bought - sold)::DOUBLE / (bought + sold)::DOUBLE * 100 AS imbalance, bought::DOUBLE / bought_qty::DOUBLE AS buy_vwap, sold::DOUBLE / sold_qty::DOUBLE AS sell_vwap
		FROM flows ORDER BY symbol`,
	"volatility": `
		WITH minutes AS (
			SELECT symbol, date_trunc('minute', traded_at) AS minute, first(price ORDER BY id)::DOUBLE AS open, last(price ORDER BY id)::DOUBLE AS close FROM w GROUP BY ALL
		),
		moves AS (
			SELECT symbol, minute, close / coalesce((SELECT max_by(before.close, before.minute) FROM minutes AS before WHERE before.symbol = minutes.symbol AND before.minute < minutes.minute), open) - 1 AS move FROM minutes
		)
		SELECT symbol, count(*) AS traded_minutes, (SELECT (max(price)::DOUBLE - min(price)::DOUBLE) / min(price)::DOUBLE * 100 FROM w WHERE w.symbol = moves.symbol) AS range,
			sqrt(list_sum(list_transform(list(move), lambda m: ln(1 + m) ** 2))) * 100 AS realized_volatility, max(move) * 100 AS steepest_rise, max_by(minute, move) AS steepest_rise_at,
			min(move) * 100 AS steepest_fall, min_by(minute, move) AS steepest_fall_at
		FROM moves GROUP BY symbol ORDER BY symbol`,
	"illiquidity": `
		WITH minutes AS (
			SELECT symbol, row_number() OVER (PARTITION BY symbol ORDER BY minute) AS n, close, volume
			FROM (SELECT symbol, date_trunc('minute', traded_at) AS minute, last(price ORDER BY id)::DOUBLE AS close, sum(price * qty)::DOUBLE AS volume FROM w GROUP BY ALL)
		),
		moves AS (
			SELECT now.symbol, now.n, now.close / before.close - 1 AS move, now.volume FROM minutes AS now JOIN minutes AS before ON before.symbol = now.symbol AND before.n = now.n - 1
		),
		pairs AS (
			SELECT now.symbol, covar_samp(now.move, before.move) AS c FROM moves AS now JOIN moves AS before ON before.symbol = now.symbol AND before.n = now.n - 1 GROUP BY ALL
		)
		SELECT symbol, count(*) AS used_minutes, avg(abs(move) / volume) * 100 AS amihud, CASE WHEN any_value(c) < 0 THEN 2 * sqrt(-any_value(c)) * 100 END AS roll_spread, count(*) + 1 AS recorded_minutes, 0::BIGINT AS empty_minutes
		FROM moves JOIN pairs USING (symbol) GROUP BY symbol ORDER BY symbol`,
	"wash_signs": `
		WITH sizes AS (
			SELECT symbol, traded_at, price, qty, taker_sold, trim(replace(qty::VARCHAR, '.', ''), '0') AS digits,
				count(*) FILTER (WHERE taker_sold) OVER alike AS sells, count(*) FILTER (WHERE NOT taker_sold) OVER alike AS buys,
				min(price) OVER minute = max(price) OVER minute AS is_flat
			FROM w
			WINDOW alike AS (PARTITION BY symbol, qty, epoch_us(traded_at) // 1000000), minute AS (PARTITION BY symbol, date_trunc('minute', traded_at))
		),
		counts AS (SELECT symbol, left(digits, 1)::INT AS digit, count(*) AS n FROM sizes GROUP BY ALL),
		law AS (SELECT d::INT AS digit, log10(1 + 1 / d) AS share FROM range(1, 10) AS digits(d)),
		compared AS (
			SELECT symbol, sum((n - total * share) ** 2 / (total * share)) AS chi2, avg(abs(n / total - share)) * 100 AS deviation
			FROM (SELECT symbol, share, coalesce(n, 0) AS n, (SELECT count(*) FROM w WHERE w.symbol = symbols.symbol) AS total FROM (SELECT DISTINCT symbol FROM w) AS symbols CROSS JOIN law LEFT JOIN counts USING (symbol, digit))
			GROUP BY symbol
		)
		SELECT symbol, count(*) AS rows, any_value(chi2) AS benford_chi2, any_value(deviation) AS benford_deviation, count(*) FILTER (WHERE length(digits) <= 2) / count(*) AS round_share,
			sum(2 * least(sells, buys) / (sells + buys)) / count(*) AS matched_share, coalesce(sum(price * qty) FILTER (WHERE is_flat), 0)::DOUBLE / sum(price * qty)::DOUBLE AS flat_share
		FROM sizes JOIN compared USING (symbol) GROUP BY symbol ORDER BY symbol`,
	"candles": `
		SELECT symbol, make_timestamp(epoch_us(traded_at) // 10000000 * 10000000) AS bucket, first(price ORDER BY id)::DOUBLE AS open, max(price)::DOUBLE AS high, min(price)::DOUBLE AS low,
			last(price ORDER BY id)::DOUBLE AS close, sum(qty)::DOUBLE AS volume, sum(price * qty)::DOUBLE AS quote_volume, count(*) AS trades
		FROM w GROUP BY ALL ORDER BY symbol, bucket`,
	"completeness": `
		SELECT symbol, count(*) AS rows, max(id) - min(id) + 1 - count(DISTINCT id) AS missing, min(id) AS first_id, max(id) AS last_id,
			(SELECT min(traded_at) FROM raw WHERE raw.symbol = w.symbol) AS recorded_since, (SELECT max(traded_at) FROM raw WHERE raw.symbol = w.symbol) AS recorded_until
		FROM w GROUP BY symbol ORDER BY symbol`,
}

// floatSums are columns that sum doubles, whose last digits depend on the order of addition.
var floatSums = map[string]bool{"realized_volatility": true, "steepest_rise": true, "steepest_fall": true, "amihud": true, "roll_spread": true, "benford_chi2": true, "benford_deviation": true, "matched_share": true}

// TestReportEqualsCapture compares the reports of a whole recorded stream, and of a part of it,
// with its JSON.
func TestReportEqualsCapture(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: make test-all")
	}
	dir := recorded.Path(t, "")
	trades := readCaptures(t, dir)
	of := map[string]int{}
	for _, trade := range trades {
		of[trade.Symbol]++
	}
	if diff := cmp.Diff(map[string]int{"BTCUSDT": 19_904, "ETHUSDT": 14_515}, of); diff != "" {
		t.Fatalf("trades of the captures (-want +have):\n%s", diff)
	}
	recorded := newTape(t, tape.RawTrade, trades)
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	files := "'" + strings.ReplaceAll(filepath.Join(dir, "stream", "*usdt_2024080*.gz"), "'", "''") + "'"
	if _, err := db.ExecContext(t.Context(), fmt.Sprintf(captureSQL, files)); err != nil {
		t.Fatal(err)
	}
	midnight := time.Date(2024, 8, 9, 0, 0, 0, 0, time.UTC)
	for name, w := range map[string]window.Window{ // candles of both have a step of ten seconds
		"whole": {Start: midnight.Add(-9 * time.Minute), End: midnight.Add(6 * time.Minute)}, // --since 15m --now 2024-08-09T00:06:00Z
		"part":  {Start: midnight.Add(-5*time.Minute + 500*time.Millisecond), End: midnight.Add(4*time.Minute + 30250*time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			built, err := report.Build(t.Context(), recorded, report.Options{Window: w, Now: w.End,
				Params: map[string]map[string]any{"illiquidity": {"min_minutes": int64(2)}}})
			if err != nil {
				t.Fatal(err)
			}
			const layout = "2006-01-02 15:04:05.999999"
			view := fmt.Sprintf("CREATE OR REPLACE VIEW w AS FROM raw WHERE traded_at >= '%s' AND traded_at < '%s'", w.Start.Format(layout), w.End.Format(layout))
			if _, err := db.ExecContext(t.Context(), view); err != nil {
				t.Fatal(err)
			}
			for _, section := range built.Sections {
				name := section.Query.Name
				query, ok := captureQueries[name]
				switch {
				case section.Err != nil:
					t.Errorf("%s: %v", name, section.Err)
				case ok:
					t.Run(name, func(t *testing.T) { compare(t, db, query, section) })
				case name != "incidents" && name != "runs": // not about trades
					t.Errorf("no capture query for the section %s", name)
				}
			}
		})
	}
}

func compare(t *testing.T, db *sql.DB, query string, section report.Section) {
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string]int{}
	for i, column := range section.Result.Columns {
		columns[column.Name] = i
	}
	n := 0
	for ; rows.Next(); n++ {
		want := make([]any, len(names))
		targets := make([]any, len(names))
		for i := range want {
			targets[i] = &want[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		if n >= len(section.Result.Rows) {
			t.Fatalf("the report has %d rows, the captures have more", n)
		}
		for i, name := range names {
			at, ok := columns[name]
			if !ok {
				t.Fatalf("the section has no column %s", name)
			}
			have := section.Result.Rows[n][at]
			if !same(want[i], have, floatSums[name]) {
				t.Errorf("row %d, %s: the captures have %v, the report has %v", n+1, name, want[i], have)
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if n == 0 || n != len(section.Result.Rows) {
		t.Errorf("the captures have %d rows, the report has %d", n, len(section.Result.Rows))
	}
}

func same(want, have any, nearly bool) bool {
	switch w := want.(type) {
	case time.Time:
		h, ok := have.(time.Time)
		return ok && w.Equal(h)
	case float64:
		h, ok := have.(float64)
		if nearly {
			return ok && math.Abs(w-h) <= 1e-9*math.Abs(w)
		}
		return ok && w == h
	}
	return want == have
}
