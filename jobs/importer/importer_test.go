package importer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/recorded"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

var day0 = time.Date(2024, 8, 8, 0, 0, 0, 0, time.UTC)

func TestFormatsOfOneFileGiveTheSameTape(t *testing.T) {
	if testing.Short() {
		t.Skip("eleven files of two days")
	}
	want, lines := aggTrades("BTCUSDT", 0, 13_000) // two days
	const header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,is_best_match"
	mixed := slices.Clone(lines)
	for i, line := range mixed {
		switch i % 3 {
		case 0:
			mixed[i] = strings.ReplaceAll(line, "True", "TRUE")
		case 1:
			mixed[i] = strings.ReplaceAll(strings.ReplaceAll(line, "True", "true"), "False", "false")
		}
		if i%5 == 0 { // microseconds
			fields := strings.Split(mixed[i], ",")
			fields[5] += "000"
			mixed[i] = strings.Join(fields, ",")
		}
	}
	shuffled := slices.Clone(lines)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	repeated := append(slices.Clone(lines), lines[100:300]...)
	adjacent := slices.Insert(slices.Clone(lines), 500, lines[499], lines[499])
	voided := slices.Insert(slices.Clone(lines), 700, "999999,0,0,-1,-1,1723075200000,True,True", "999998,0.0,0.0,999,999,1723075200000,True,True")
	for _, tc := range []struct {
		name, file string
		content    []byte
		opt        Options
		want       FileSummary
	}{
		{name: "CSV", file: "BTCUSDT-aggTrades-2024-08-08.csv", content: csvOf(lines)},
		{name: "zip", file: "BTCUSDT-aggTrades-2024-08.zip", content: zipOf(t, "BTCUSDT-aggTrades-2024-08.csv", string(csvOf(lines)))},
		{name: "zip with another name", file: "a.zip", content: zipOf(t, "README.txt", "see below", "x/BTCUSDT-aggTrades-2024-08.csv", string(csvOf(lines)))},
		{name: "CSV with another name", file: "trades.txt", content: csvOf(lines), opt: Options{Symbol: symbol.Must("BTCUSDT")}},
		{name: "flag overrides the name", file: "OTHER-aggTrades-2024-08.csv", content: csvOf(lines), opt: Options{Symbol: symbol.Must("BTCUSDT"), Feed: tape.AggTrade}},
		{name: "header", file: "BTCUSDT-aggTrades-2024-08.csv", content: csvOf(slices.Insert(slices.Clone(lines), 0, header))},
		{name: "mixed spellings and units", file: "BTCUSDT-aggTrades-2024-08.csv", content: csvOf(mixed)},
		{name: "shuffled", file: "BTCUSDT-aggTrades-2024-08.csv", content: csvOf(shuffled)},
		{name: "repeated and unsorted", file: "BTCUSDT-aggTrades-2024-08.csv", content: csvOf(repeated), want: FileSummary{Repeated: 200}},
		{name: "repeated and sorted", file: "BTCUSDT-aggTrades-2024-08.csv", content: csvOf(adjacent), want: FileSummary{Repeated: 2}},
		{name: "voided rows", file: "BTCUSDT-aggTrades-2024-08.csv", content: csvOf(voided), want: FileSummary{Voided: 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := newTape(t, tape.AggTrade)
			path := writeFile(t, tc.file, tc.content)
			got := mustImport(t, dir, path, tc.opt)
			checkTape(t, dir, want)
			tc.want.Path, tc.want.Symbols, tc.want.Rows, tc.want.Published, tc.want.Segments = path, []string{"BTCUSDT"}, 13_001, 13_001, 2
			tc.want.Bytes = got.Bytes
			if diff := cmp.Diff(tc.want, got); diff != "" || got.Bytes == 0 {
				t.Errorf("summary (-want +got):\n%s", diff)
			}
			again := mustImport(t, dir, path, tc.opt)
			if again.Published != 0 || again.Rows != 13_001 || again.Segments != 0 {
				t.Errorf("the second import: %+v", again)
			}
		})
	}
}

func TestRawTrades(t *testing.T) {
	dir := newTape(t, tape.RawTrade)
	path := writeFile(t, "BTCUSDT-trades-2024-08-08.csv", []byte("28457,4.00000100,12.00000000,48.000012,1723075200000,True,True\n28458,4.1,12.5,48.1,1723075200001000,false,True\n"))
	if got := mustImport(t, dir, path, Options{}); got.Rows != 2 || got.Missing != 0 {
		t.Errorf("%+v", got)
	}
	checkTape(t, dir, []tape.Trade{
		{Symbol: "BTCUSDT", ID: 28457, Price: 4.000001, Qty: 12, FirstTradeID: 28457, LastTradeID: 28457, TradedAt: 1723075200000000, IsBuyerMaker: true},
		{Symbol: "BTCUSDT", ID: 28458, Price: 4.1, Qty: 12.5, FirstTradeID: 28458, LastTradeID: 28458, TradedAt: 1723075200001000},
	})
}

func TestOnlyMissingTradesAreWritten(t *testing.T) {
	for _, order := range []string{"sorted", "shuffled"} {
		t.Run(order, func(t *testing.T) {
			dir := newTape(t, tape.AggTrade)
			want, lines := aggTrades("BTCUSDT", 1000, 9000)
			for _, have := range [][]tape.Trade{want[100:200], want[201:1000], want[7000:8001]} {
				if _, err := dir.Publish(t.Context(), slices.Clone(have), tape.Origin{Source: tape.FromStream}); err != nil {
					t.Fatal(err)
				}
			}
			if order == "shuffled" {
				rand.New(rand.NewPCG(1, 2)).Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
			}
			got := mustImport(t, dir, writeFile(t, "BTCUSDT-aggTrades-2024-08.csv", csvOf(lines)), Options{})
			if got.Rows != 8001 || got.Published != 8001-100-799-1001 {
				t.Errorf("%+v", got)
			}
			checkTape(t, dir, want)
		})
	}
}

func TestMissingIDsOfAFileAreCounted(t *testing.T) {
	dir := newTape(t, tape.AggTrade)
	_, lines := aggTrades("BTCUSDT", 1000, 2000)
	lines = slices.Delete(lines, 500, 510)
	lines = slices.Delete(lines, 10, 11)
	if got := mustImport(t, dir, writeFile(t, "BTCUSDT-aggTrades-2024-08.csv", csvOf(lines)), Options{}); got.Missing != 11 {
		t.Errorf("%+v", got)
	}
}

func TestUnusableFileIsNamedAndNotImported(t *testing.T) {
	_, lines := aggTrades("BTCUSDT", 0, 30_000)
	good := csvOf(lines)
	whole := zipOf(t, "BTCUSDT-aggTrades-2024-08.csv", string(good))
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 0x55
	broken := func(at int, line string) []byte {
		return csvOf(slices.Insert(slices.Clone(lines), at, line))
	}
	unsorted := slices.Clone(lines)
	unsorted[3], unsorted[29_999] = unsorted[29_999], unsorted[3]
	const name = "BTCUSDT-aggTrades-2024-08.csv"
	other := strings.Replace(lines[100], ".", ".9", 1)
	for _, tc := range []struct {
		name, file string
		content    []byte
		want       string
	}{
		{"a damaged line", name, broken(25_000, "x"), `line 25001: aggTrades rows have 7 or 8 columns, this has 1: "x"`},
		{"a damaged line in an unsorted file", name, csvOf(append(unsorted, "x")), `line 30002: aggTrades rows have 7 or 8 columns, this has 1: "x"`},
		{"truncated in a line", name, good[:len(good)-20], "line 30001: "},
		{"only the price is zero", name, broken(5, "7,0,1,1,1,1723075200000,True,True"), "line 6: the price or the quantity is zero"},
		{"two rows with one id", name, csvOf(slices.Insert(slices.Clone(lines), 101, other)), "line 102: id 100 of BTCUSDT differs from the row with the same id in line 101"},
		{"two distant rows with one id", name, csvOf(append(slices.Clone(lines), other)), "line 30002: id 100 of BTCUSDT differs from the row with the same id in line 101"},
		{"a truncated zip", "BTCUSDT-aggTrades-2024-08.zip", whole[:len(whole)-100], "not a complete zip file"},
		{"a damaged zip", "BTCUSDT-aggTrades-2024-08.zip", flipped, ""},
		{"a CSV of another symbol", "BTCUSDT-aggTrades-2024-08.zip", zipOf(t, "ETHUSDT-aggTrades-2024-08.csv", string(good)),
			`the zip is named for "BTCUSDT" and the CSV in it for "ETHUSDT"; name the symbol`},
		{"two CSVs", "BTCUSDT-aggTrades-2024-08.zip", zipOf(t, "a.csv", "1", "b.csv", "2"), `several CSVs in the zip: "a.csv" and "b.csv"`},
		{"a zip in the zip", "BTCUSDT-aggTrades-2024-08.zip", zipOf(t, "a.csv", string(good), "b.ZIP", "2"), `a zip in the zip: "b.ZIP"; unpack it first`},
		{"no CSV", "BTCUSDT-aggTrades-2024-08.zip", zipOf(t, "a.txt", "1"), "no CSV in the zip"},
		{"an empty file", name, nil, "the file is empty"},
		{"an empty CSV in a zip", "BTCUSDT-aggTrades-2024-08.zip", zipOf(t, name, ""), "the file is empty"},
		{"klines", "BTCUSDT-1m-2024-08.csv", []byte("1723075200000,1,2,3,4,5,1723075259999,6,7,8,9,0\n"), "the file name does not say the symbol"},
		{"named for the other feed", "BTCUSDT-trades-2024-08.csv", good, "the file should have trades, but its rows are aggTrades"},
		{"gzip", name, []byte("\x1f\x8b\x08\x00\x00"), "the compression format is not supported; decompress the file first"},
		{"random bytes", "BTCUSDT-aggTrades-2024-08.zip", []byte("\x07\x00\xf3\x80 noise\xff"), "not a zip file"},
		{"random bytes without a name", "x.bin", []byte("\x07\x00\xf3\x80 noise\xff"), "not a zip, a Parquet file or text"},
		{"a name that is no symbol", "foo bar-aggTrades-2024-08.csv", good, `"foo bar" is not a symbol, such as BTCUSDT: `},
		{"unknown columns", name, []byte("trade_id,px,size,time,side\n1,2,3,4,buy\n"), "no column is named id or price or qty or traded_at or is_buyer_maker; " +
			"wanted are id, price, qty, traded_at, is_buyer_maker and, for aggregate trades, first_trade_id and last_trade_id; the file has trade_id, px, size, time, side"},
		{"truncated Parquet", "x.parquet", []byte("PAR1\x15\x04\x15"), "not a complete Parquet file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := newTape(t, tape.AggTrade)
			path := writeFile(t, tc.file, tc.content)
			_, more := aggTrades("ETHUSDT", 0, 10)
			next := writeFile(t, "ETHUSDT-aggTrades-2024-08.csv", csvOf(more))
			summary, err := Run(t.Context(), dir, []string{path, next}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			problems := summary.Problems()
			if len(problems) != 1 || len(summary.Files) != 2 {
				t.Fatalf("%+v", summary)
			}
			want := fmt.Sprintf("import %q: %s", path, tc.want)
			if got := problems[0].Problem.Error(); !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if got := readTape(t, dir); len(got) != 11 || got[0].Symbol != "ETHUSDT" {
				t.Errorf("%d trades are on the tape, want only the 11 of the good file", len(got))
			}
			checkStagingEmpty(t, dir)
		})
	}
}

func TestFileOfTheOtherFeedIsRejected(t *testing.T) {
	dir := newTape(t, tape.AggTrade)
	path := writeFile(t, "BTCUSDT-trades-2024-08-08.csv", []byte("28457,4.00000100,12.00000000,48.000012,1723075200000,True,True\n"))
	summary, err := Run(t.Context(), dir, []string{path}, Options{})
	var feed *tape.FeedError
	if err != nil || len(summary.Problems()) != 1 || !errors.As(summary.Files[0].Problem, &feed) || feed.Have != tape.AggTrade || feed.Want != tape.RawTrade {
		t.Errorf("%v, %+v", err, summary)
	}
	if got, err := FeedOf(path, Options{}); got != tape.RawTrade || err != nil {
		t.Errorf("FeedOf = %v, %v", got, err)
	}
}

func TestChecksumFileIsVerified(t *testing.T) {
	_, lines := aggTrades("BTCUSDT", 0, 10)
	dir := newTape(t, tape.AggTrade)
	path := writeFile(t, "BTCUSDT-aggTrades-2024-08.zip", zipOf(t, "BTCUSDT-aggTrades-2024-08.csv", string(csvOf(lines))))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	good := hex.EncodeToString(sum[:])
	for _, tc := range []struct{ name, checksum, want string }{
		{"wrong sum", strings.Repeat("0", 64) + "  BTCUSDT-aggTrades-2024-08.zip\n", "BTCUSDT-aggTrades-2024-08.zip has the SHA-256 " + good + ", but its checksum file says " + strings.Repeat("0", 64)},
		{"wrong name", good + "  x.zip\n", `read the checksum "BTCUSDT-aggTrades-2024-08.zip.CHECKSUM": no SHA-256 of`},
		{"match", good + "  BTCUSDT-aggTrades-2024-08.zip\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checksum := path + ".CHECKSUM"
			if err := os.WriteFile(checksum, []byte(tc.checksum), 0o644); err != nil {
				t.Fatal(err)
			}
			summary, err := Run(t.Context(), dir, []string{checksum, path}, Options{})
			if err != nil || len(summary.Files) != 1 {
				t.Fatal(err, summary)
			}
			got := summary.Files[0]
			if tc.want == "" {
				if got.Problem != nil || !got.Verified || got.Published != 11 {
					t.Errorf("%+v", got)
				}
				return
			}
			if got.Problem == nil || !strings.Contains(got.Problem.Error(), tc.want) || len(readTape(t, dir)) > 0 {
				t.Errorf("%v", got.Problem)
			}
		})
	}
}

// futuresColumns make a file of a futures market one like any other.
var futuresColumns = map[string]string{
	"id": "agg_trade_id", "qty": "quantity", "traded_at": "transact_time", // the others have the tape's names
}

// A futures file has the name of a spot file, and a column less.
func TestFuturesFileIsRefused(t *testing.T) {
	_, lines := aggTrades("BTCUSDT", 0, 10)
	var futures []string
	for _, line := range lines {
		futures = append(futures, strings.ToLower(strings.TrimSuffix(line, ",True")))
	}
	const header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
	files := map[string]string{
		"with a header":    writeFile(t, "BTCUSDT-aggTrades-2024-08-08.csv", csvOf(slices.Insert(slices.Clone(futures), 0, header))),
		"without a header": writeFile(t, "BTCUSDT-aggTrades-2024-08-08.csv", csvOf(futures)),
		"raw trades":       writeFile(t, "BTCUSD_PERP-trades-2024-08-08.csv", []byte("id,price,qty,base_qty,time,is_buyer_maker\n1,60000.1,5.0,0.01,1723075200000,true\n")),
	}
	if dir, err := recorded.Dir(); err != nil || dir == "" {
		t.Logf("no recordings: only made files are tried (%v)", err)
	} else {
		files["recorded"] = filepath.Join(dir, "archive/BTCUSD_PERP-aggTrades-2026-05-08.zip")
	}
	for name, path := range files {
		dir := newTape(t, tape.AggTrade)
		summary, err := Run(t.Context(), dir, []string{path}, Options{})
		if err != nil || len(summary.Files) != 1 || !errors.Is(summary.Files[0].Problem, ErrFutures) || len(readTape(t, dir)) > 0 {
			t.Errorf("%s: %v, %+v", name, err, summary)
		}
	}
	dir := newTape(t, tape.AggTrade)
	mustImport(t, dir, files["with a header"], Options{Columns: futuresColumns})
	if got := len(readTape(t, dir)); got != 11 {
		t.Errorf("%d trades with --columns", got)
	}
}

func TestRecordedArchiveFile(t *testing.T) {
	dir := newTape(t, tape.AggTrade)
	got := mustImport(t, dir, recorded.Path(t, "archive/BTCUSD_PERP-aggTrades-2026-05-08.zip"), Options{
		Run: "r1", Columns: futuresColumns,
	})
	if got.Rows != 105_280 || got.Published != 105_280 || got.Missing != 0 || !got.Verified || got.Inexact != 0 || got.Segments != 1 {
		t.Errorf("%+v", got)
	}
	index := dir.Index()
	if err := index.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if spans := index.IDs("BTCUSD_PERP"); len(spans) != 1 || spans.Count() != 105_280 {
		t.Errorf("ids on the tape: %v", spans)
	}
}

// FuzzFile imports arbitrary files: each is imported completely or not at all, nothing stays in the
// staging directory, and what is imported are valid trades.
func FuzzFile(f *testing.F) {
	_, lines := aggTrades("BTCUSDT", 1, 4)
	f.Add(csvOf(lines))
	f.Add([]byte("agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n9,1.0,2.0,1,1,1723075200000,true\n7,1,1,1,1,1723075200000000,TRUE\n"))
	f.Add([]byte("28457,4.00000100,12.00000000,48.000012,1723075200000,True,True\n28457,0,0,48,1723075200000,True,True"))
	f.Add(zipOf(f, "x.csv", string(csvOf(lines))))
	f.Add(zipOf(f, "x.csv", string(csvOf(lines)))[:90])
	f.Add([]byte("PAR1"))
	rows, _ := aggTrades("BTCUSDT", 1, 3)
	var table bytes.Buffer
	writer := parquet.NewGenericWriter[tape.Trade](&table)
	if _, err := writer.Write(rows); err != nil {
		f.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(table.Bytes())
	f.Fuzz(func(t *testing.T, content []byte) {
		path := writeFile(t, "BTCUSDT-2024-08.csv", content)
		dir := newTape(t, tape.AggTrade)
		summary, err := Run(t.Context(), dir, []string{path}, Options{Symbol: symbol.Must("BTCUSDT")})
		if err != nil || len(summary.Files) != 1 {
			t.Fatal(err, summary)
		}
		got := summary.Files[0]
		trades := readTape(t, dir)
		if int64(len(trades)) != got.Published || got.Published != got.Rows || got.Problem != nil && got.Rows != 0 {
			t.Fatalf("%d trades on the tape of %+v", len(trades), got)
		}
		for _, trade := range trades {
			if trade.ID < 0 || trade.LastTradeID < trade.FirstTradeID || !(trade.Price > 0) || !(trade.Qty > 0) || trade.TradedAt < 1230768000_000000 || trade.TradedAt >= 4102444800_000000 {
				t.Fatalf("invalid trade: %+v", trade)
			}
		}
		checkStagingEmpty(t, dir)
	})
}
