package soak

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"tapedeck/internal/standin/exchange"
)

// comparison counts the differences between the tape and the exchange.
type comparison struct {
	expected, tape                   int64
	missing, twice, altered, unknown int64
	first                            string // the first difference
}

func (c *comparison) note(count *int64, format string, args ...any) {
	*count++
	if c.first == "" {
		c.first = fmt.Sprintf(format, args...)
	}
}

// compare compares each row of the tape, read by plain DuckDB, with the exchange's row.
func (s *soak) compare() comparison {
	var out comparison
	db, err := sql.Open("duckdb", "")
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	for _, symbol := range s.names {
		last, ok := s.source.LastBefore(symbol, exchange.AggTrade, s.end.UnixMicro())
		if !ok {
			s.t.Fatalf("%s never traded", symbol)
		}
		first, _ := s.source.FirstAt(symbol, exchange.AggTrade, s.begin.UnixMicro())
		expected := s.source.Rows(nil, symbol, exchange.AggTrade, first, int(last-first)+1)
		out.expected += int64(len(expected))
		if err := s.compareSymbol(db, symbol, expected, &out); err != nil {
			s.t.Fatalf("read the tape: %v", err)
		}
	}
	return out
}

func (s *soak) compareSymbol(db *sql.DB, symbol string, expected []exchange.Row, out *comparison) error {
	query := fmt.Sprintf(`SELECT id, price, qty, first_trade_id, last_trade_id, traded_at, is_buyer_maker, CAST(date AS VARCHAR)
FROM read_parquet('%s', hive_partitioning = true) WHERE symbol = ? ORDER BY id`, filepath.Join(s.data, "trades/*/*.parquet"))
	rows, err := db.Query(query, symbol)
	if err != nil {
		return err
	}
	defer rows.Close()
	last := int64(-1)
	for rows.Next() {
		var id, firstID, lastID int64
		var price, qty float64
		var at time.Time
		var maker bool
		var date string
		if err := rows.Scan(&id, &price, &qty, &firstID, &lastID, &at, &maker, &date); err != nil {
			return err
		}
		out.tape++
		if id == last {
			out.note(&out.twice, "%s %d is on the tape twice", symbol, id)
			continue
		}
		last = id
		for len(expected) > 0 && expected[0].ID < id {
			out.note(&out.missing, "%s %d is missing", symbol, expected[0].ID)
			expected = expected[1:]
		}
		if len(expected) == 0 || expected[0].ID != id {
			out.note(&out.unknown, "%s %d is unknown to the exchange", symbol, id)
			continue
		}
		want := expected[0]
		expected = expected[1:]
		wantPrice, _ := strconv.ParseFloat(want.Price, 64)
		wantQty, _ := strconv.ParseFloat(want.Qty, 64)
		// DuckDB returns traded_at, which has no time zone, in UTC.
		if price != wantPrice || qty != wantQty || firstID != want.FirstTradeID || lastID != want.LastTradeID || at.UnixMicro() != want.TradedAt ||
			maker != want.BuyerMaker || date != time.UnixMicro(want.TradedAt).UTC().Format(time.DateOnly) {
			out.note(&out.altered, "%s %d: %v %v %d %d %v %v in %s, the exchange had %+v", symbol, id, price, qty, firstID, lastID, at, maker, date, want)
		}
	}
	for _, row := range expected {
		out.note(&out.missing, "%s %d is missing", symbol, row.ID)
	}
	return rows.Err()
}
