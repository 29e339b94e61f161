package importer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

func TestColumnsAreMapped(t *testing.T) {
	want, lines := aggTrades("BTCUSDT", 0, 200)
	raw := make([]tape.Trade, len(want)) // without the raw trades of each
	for i, trade := range want {
		raw[i] = trade
		raw[i].FirstTradeID, raw[i].LastTradeID = trade.ID, trade.ID
	}
	// The fields of a line: id, price, qty, first, last, time in ms, maker, best match.
	file := func(header string, row func(fields []string) []string) []byte {
		var out []string
		if header != "" {
			out = append(out, header)
		}
		for _, line := range lines {
			out = append(out, strings.Join(row(strings.Split(line, ",")), ","))
		}
		return csvOf(out)
	}
	at := func(millis string) time.Time {
		var value int64
		fmt.Sscan(millis, &value)
		return time.UnixMilli(value).UTC()
	}
	names := map[string]string{"id": "trade_id", "price": "px", "qty": "size", "traded_at": "ts", "is_buyer_maker": "maker"}
	for _, tc := range []struct {
		name    string
		content []byte
		columns map[string]string
		want    []tape.Trade
	}{
		{"names, in another order", file("ts,maker,px,size,trade_id", func(f []string) []string { return []string{f[5], f[6], f[1], f[2], f[0]} }), names, raw},
		{"names in quotes, times as text", file(`"Trade_ID","Px","Size","TS","Maker"`, func(f []string) []string {
			return []string{f[0], f[1], `"` + f[2] + `"`, `"` + at(f[5]).Format(time.RFC3339Nano) + `"`, f[6]}
		}), names, raw},
		{"seconds, 1 and 0", file("trade_id,px,size,ts,maker", func(f []string) []string {
			maker := "0"
			if f[6] == "True" {
				maker = "1"
			}
			return []string{f[0], f[1], f[2], fmt.Sprint(at(f[5]).Unix()), maker}
		}), names, raw},
		{"numbers without a header", file("", func(f []string) []string { return []string{f[6], f[5], f[4], f[3], f[2], f[1], f[0]} }), map[string]string{
			"is_buyer_maker": "1", "traded_at": "2", "last_trade_id": "3", "first_trade_id": "4", "qty": "5", "price": "6", "id": "7",
		}, want},
		{"the tape's own columns", file("symbol,id,price,qty,first_trade_id,last_trade_id,traded_at,is_buyer_maker,date", func(f []string) []string {
			return []string{"BTCUSDT", f[0], f[1], f[2], f[3], f[4], at(f[5]).Format("2006-01-02 15:04:05.999999"), f[6], "2024-08-08"}
		}), nil, want},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := newTape(t, tape.AggTrade)
			mustImport(t, dir, writeFile(t, "rows.csv", tc.content), Options{Symbol: symbol.Must("BTCUSDT"), Feed: tape.AggTrade, Columns: tc.columns})
			checkTape(t, dir, tc.want)
		})
	}
	for _, tc := range []struct {
		name, content string
		columns       map[string]string
		want          string
	}{
		{"a name that the file lacks", "trade_id,px\n", names, "qty=size: the file has no such column; wanted are id, "},
		{"a number that the file lacks", "1,2,3\n", map[string]string{"id": "4"}, "id=4: the file has 3 columns; wanted are id, "},
		{"half of the raw trades", "id,price,qty,traded_at,is_buyer_maker,first_trade_id\n", nil, "first_trade_id and last_trade_id are only useful together"},
		{"another symbol", "symbol,id,price,qty,traded_at,is_buyer_maker\nETHUSDT,1,2,3,1723075200000,true\n", nil, `line 2: the symbol is "ETHUSDT", a CSV can only have rows of one, here "BTCUSDT"`},
		{"a time that is none", "id,price,qty,traded_at,is_buyer_maker\n1,2,3,noon,true\n", nil, "line 2: the time is neither a number since 1970 nor like 2026-01-15T12:00:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := newTape(t, tape.AggTrade)
			path := writeFile(t, "rows.csv", []byte(tc.content))
			summary, err := Run(t.Context(), dir, []string{path}, Options{Symbol: symbol.Must("BTCUSDT"), Feed: tape.AggTrade, Columns: tc.columns})
			if err != nil || len(summary.Problems()) != 1 || !strings.Contains(summary.Files[0].Problem.Error(), tc.want) {
				t.Errorf("%v, %+v, want %s", err, summary, tc.want)
			}
		})
	}
}

func TestColumnsOfParquetAreMapped(t *testing.T) {
	dir := newTape(t, tape.AggTrade)
	path := writeParquet(t, `SELECT id AS trade_id, 60000.5::DOUBLE AS px, 0.25::DOUBLE AS qty, id * 3 AS first_trade_id, id * 3 + 1 AS last_trade_id,
    TIMESTAMP '2024-08-08 00:00:00' + INTERVAL (id) SECOND AS ts, id % 2 = 0 AS is_buyer_maker, 'noise' AS price
FROM range(1, 101) AS numbers(id)`)
	columns := map[string]string{"id": "trade_id", "price": "px", "traded_at": "6"}
	got := mustImport(t, dir, path, Options{Symbol: symbol.Must("BTCUSDT"), Columns: columns})
	trades := readTape(t, dir)
	if got.Published != 100 || len(trades) != 100 || trades[99].Price != 60000.5 || trades[99].ID != 100 || trades[0].Symbol != "BTCUSDT" {
		t.Errorf("%+v, %v", got, trades[:min(len(trades), 1)])
	}
	columns["qty"] = "size"
	summary, err := Run(t.Context(), newTape(t, tape.AggTrade), []string{path}, Options{Symbol: symbol.Must("BTCUSDT"), Columns: columns})
	if err != nil || !strings.Contains(summary.Files[0].Problem.Error(), "qty=size: the file has no such column; it has trade_id, px, qty, ") {
		t.Errorf("%v, %+v", err, summary)
	}
}

// A trade that is on the tape with another content stays, and the other one is named.
func TestConflictsAreCounted(t *testing.T) {
	want, lines := aggTrades("BTCUSDT", 0, 100)
	dir := newTape(t, tape.AggTrade)
	mustImport(t, dir, writeFile(t, "BTCUSDT-aggTrades-2024-08-08.csv", csvOf(lines[:80])), Options{})
	changed := append([]string{}, lines...)
	for _, i := range []int{7, 50} {
		fields := strings.Split(changed[i], ",")
		fields[1] = "7.00000000"
		changed[i] = strings.Join(fields, ",")
	}
	found := day0.Add(time.Hour)
	got := mustImport(t, dir, writeFile(t, "BTCUSDT-aggTrades-2024-08-09.csv", csvOf(changed)), Options{Now: found})
	checkTape(t, dir, want)
	if got.Rows != 101 || got.Published != 21 || got.Conflicts != 2 || len(got.ConflictRows) != 2 || got.ConflictRows[0].OtherPrice != 7 {
		t.Errorf("%+v", got)
	}
	if text := got.String(); !strings.HasSuffix(text, ": 101 trades of BTCUSDT, 21 of them new, 2 in conflict with the tape") {
		t.Errorf("%q", text)
	}
	recorded, err := dir.ReadConflicts("", "")
	if err != nil || len(recorded) != 2 || recorded[0].FoundAt != found.UnixMicro() || recorded[0].OtherSource != tape.FromFile {
		t.Errorf("%v, %v", recorded, err)
	}
	// The same file adds nothing, and names the conflicts again.
	again := mustImport(t, dir, writeFile(t, "BTCUSDT-aggTrades-2024-08-10.csv", csvOf(changed)), Options{Now: found})
	if again.Published != 0 || again.Conflicts != 2 {
		t.Errorf("%+v", again)
	}
}

// A file of another market is refused as a whole, and the others are imported.
func TestFileOfAnotherMarketIsRefused(t *testing.T) {
	want, lines := aggTrades("BTCUSDT", 0, 100)
	dir := newTape(t, tape.AggTrade)
	mustImport(t, dir, writeFile(t, "BTCUSDT-aggTrades-2024-08-08.csv", csvOf(lines[:80])), Options{})
	other := make([]string, len(lines))
	for i, line := range lines {
		other[i] = strings.Replace(line, ".", ".5", 1)
	}
	good := writeFile(t, "BTCUSDT-aggTrades-2024-08-09.csv", csvOf(lines))
	summary, err := Run(t.Context(), dir, []string{writeFile(t, "BTCUSDT-aggTrades-2024-08-08.csv", csvOf(other)), good}, Options{})
	if err != nil || len(summary.Problems()) != 1 || !strings.Contains(summary.Files[0].Problem.Error(), "80 of 80 ids have another content on the tape") {
		t.Errorf("%v, %+v", err, summary)
	}
	if summary.Files[1].Published != 21 {
		t.Errorf("the other file: %+v", summary.Files[1])
	}
	checkTape(t, dir, want)
	checkStagingEmpty(t, dir)
}
