package binance

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	gobinance "github.com/adshao/go-binance/v2"
	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/symbol"
)

// rowOf returns an object of fields, each a pair of a name and JSON, without one of them or with
// another value for it.
func rowOf(fields [][2]string, name, value string) string {
	var parts []string
	for _, field := range fields {
		if field[0] == name && value == "" {
			continue
		}
		if field[0] == name {
			field[1] = value
		}
		parts = append(parts, fmt.Sprintf("%q:%s", field[0], field[1]))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// A row that lacks a field gives no row of the page, not one with an invented value. Names count as
// they are spelled: M is not m, and t is not T.
func TestRowsWithoutAFieldAreDamage(t *testing.T) {
	get := map[string]func(*REST) (Page, error){
		"aggTrades": func(c *REST) (Page, error) { return c.AggTrades(t.Context(), symbol.Must("BNBBTC"), 0, 2) },
		"historicalTrades": func(c *REST) (Page, error) {
			return c.HistoricalTrades(t.Context(), symbol.Must("BNBBTC"), 0, 2)
		},
	}
	for kind, fields := range map[string][][2]string{
		"aggTrades": {{"a", "26129"}, {"p", `"0.5"`}, {"q", `"4"`}, {"f", "7"}, {"l", "8"}, {"T", "1498793709153"}, {"m", "true"}, {"M", "true"}, {"t", "1498793709000"}},
		"historicalTrades": {{"id", "26129"}, {"price", `"0.5"`}, {"qty", `"4"`}, {"quoteQty", `"2"`}, {"time", "1498793709153"},
			{"isBuyerMaker", "true"}, {"isBestMatch", "true"}},
	} {
		good := rowOf(fields, "", "")
		for _, field := range fields {
			name, optional := field[0], slices.Contains([]string{"M", "t", "quoteQty", "isBestMatch"}, field[0])
			for _, value := range []string{"", "null"} {
				second := strings.Replace(rowOf(fields, name, value), "26129", "26130", 1)
				client, _ := newTestREST(t, newTestClock(), respond(200, "["+good+","+second+"]"))
				page, err := get[kind](client)
				switch {
				case optional && (err != nil || len(page.Rows) != 2 || page.Rows[1].Time != 1498793709153000 || !page.Rows[1].IsBuyerMaker):
					t.Errorf("%s without %s: %v, %v", kind, name, plainPage(page), err)
				case !optional && (err == nil || len(page.Rows) != 0 || !strings.Contains(err.Error(), "row 2 of the page: field "+name+": ")):
					t.Errorf("%s, %s is %q: %v, %v", kind, name, value, plainPage(page), err)
				}
			}
		}
	}
}

// The scanner and encoding/json read the same rows.
func TestReadPageReadsAnyForm(t *testing.T) {
	const row = `{"a":5,"p":"1.5","q":"2","f":7,"l":9,"T":1768478400000000,"m":true,"M":true}`
	want := []Row{{ID: 5, Price: []byte("1.5"), Qty: []byte("2"), FirstTradeID: 7, LastTradeID: 9, Time: 1768478400000000, IsBuyerMaker: true}}
	for name, body := range map[string]string{
		"common": "[" + row + "]", "white space": " [ " + strings.ReplaceAll(row, ",", " ,\n") + " ] ", "escape": "[" + strings.Replace(row, "1.5", `\u0031.5`, 1) + "]",
		"nested": "[" + strings.Replace(row, `"M":true`, `"x":[{"a":6}]`, 1) + "]", "order": `[{"m":true,"T":1768478400000000,"l":9,"f":7,"q":"2","p":"1.5","a":5}]`,
	} {
		got, err := readPage([]byte(body), aggRowFields, 1)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		if _, scanned := scanRows([]byte(body), aggRowFields, nil); scanned != (name == "common" || name == "order") {
			t.Errorf("%s: scanned %v", name, scanned)
		}
	}
	for body, want := range map[string]int{"[]": 0, "[ ]": 0, "null": 0} {
		if got, err := readPage([]byte(body), aggRowFields, 1); err != nil || len(got) != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
}

// A page has no id with which a count of ids would overflow.
func TestIDsOfAPageHave18DigitsAtMost(t *testing.T) {
	const row = `[{"a":%d,"p":"1.5","q":"2","f":%d,"l":%d,"T":1768478400000,"m":true,"M":true}]`
	const most = 999_999_999_999_999_999
	if rows, err := readPage(fmt.Appendf(nil, row, int64(most), int64(most), int64(most)), aggRowFields, 1); err != nil || len(rows) != 1 {
		t.Errorf("18 digits: %v, %v", rows, err)
	}
	for _, ids := range [][3]int64{{most + 1, 7, 8}, {math.MaxInt64, 7, 8}, {math.MinInt64, 7, 8}, {5, 0, 1 << 62}, {5, most + 1, most + 2}} {
		rows, err := readPage(fmt.Appendf(nil, row, ids[0], ids[1], ids[2]), aggRowFields, 1)
		if err == nil || !strings.Contains(err.Error(), "more than 18 digits") {
			t.Errorf("%v: %v, %v", ids, rows, err)
		}
	}
}

// BenchmarkReadPage reads a page of 1000 rows; go-binance's way to the same rows is for comparison.
func BenchmarkReadPage(b *testing.B) {
	var rows []string
	for id := range PageLimit {
		rows = append(rows, fmt.Sprintf(`{"a":%d,"p":"61837.%02d000000","q":"0.02%03d000","f":%d,"l":%d,"T":17500000%08d,"m":%t,"M":true}`,
			3_000_000_000+id, id%100, id, 4_000_000_000+id, 4_000_000_000+id, id, id%3 == 0))
	}
	body := []byte("[" + strings.Join(rows, ",") + "]")
	b.Run("go-binance", func(b *testing.B) {
		for b.Loop() {
			var trades []*gobinance.AggTrade
			if err := json.Unmarshal(body, &trades); err != nil {
				b.Fatal(err)
			}
			rows := make([]Row, 0, len(trades))
			for _, t := range trades {
				rows = append(rows, Row{
					ID: t.AggTradeID, Price: []byte(t.Price), Qty: []byte(t.Quantity), FirstTradeID: t.FirstTradeID,
					LastTradeID: t.LastTradeID, Time: t.Timestamp, IsBuyerMaker: t.IsBuyerMaker,
				})
			}
			if len(rows) != PageLimit {
				b.Fatal(len(rows))
			}
		}
	})
	b.Run("rows", func(b *testing.B) {
		for b.Loop() {
			if rows, err := readPage(body, aggRowFields, PageLimit); err != nil || len(rows) != PageLimit {
				b.Fatal(len(rows), err)
			}
		}
	})
}
