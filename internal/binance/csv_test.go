package binance

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"tapedeck/internal/recorded"

	"github.com/google/go-cmp/cmp"
)

type plainRow struct {
	ID, First, Last, Time int64
	Price, Qty            string
	Maker                 bool
}

func readRows(t *testing.T, text string, kind ArchiveKind) ([]plainRow, *CSVReader, error) {
	t.Helper()
	reader := NewCSVReader(strings.NewReader(text), kind, nil)
	var rows []plainRow
	for {
		var row Row
		if err := reader.Next(&row); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return rows, reader, err
		}
		rows = append(rows, plainRow{row.ID, row.FirstTradeID, row.LastTradeID, row.Time,
			string(row.Price), string(row.Qty), row.IsBuyerMaker})
	}
}

func TestCSVReaderReadsEveryForm(t *testing.T) {
	agg := plainRow{ID: 26129, First: 27781, Last: 27782, Time: 1498793709153000, Price: "0.01633102", Qty: "4.70443515", Maker: true}
	raw := plainRow{ID: 28457, First: 28457, Last: 28457, Time: 1499865549590000, Price: "4.00000100", Qty: "12.00000000", Maker: true}
	for _, tc := range []struct {
		name, text string
		kind       ArchiveKind
		want       []plainRow
		damaged    int64
	}{
		{"spot aggTrades", "26129,0.01633102,4.70443515,27781,27782,1498793709153,True,True\n", KindAggTrades, []plainRow{agg}, 0},
		{"microseconds", "26129,0.01633102,4.70443515,27781,27782,1498793709153000,TRUE,TRUE\n", KindAggTrades, []plainRow{agg}, 0},
		{"a header, no best match", "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n26129,0.01633102,4.70443515,27781,27782,1498793709153,true\n", KindAggTrades, []plainRow{agg}, 0},
		{"byte order mark, CRLF, no final newline", "\xef\xbb\xbf26129,0.01633102,4.70443515,27781,27782,1498793709153,true\r\n\r\n26129,0.01633102,4.70443515,27781,27782,1498793709153,true", KindAggTrades, []plainRow{agg, agg}, 0},
		{"spot trades", "28457,4.00000100,12.00000000,48.000012,1499865549590,True,True\n", KindTrades, []plainRow{raw}, 0},
		{"futures trades", "id,price,qty,quote_qty,time,is_buyer_maker\n28457,4.00000100,12.00000000,48.000012,1499865549590,true\n", KindTrades, []plainRow{raw}, 0},
		{"mixed units", "28457,4.00000100,12.00000000,48.000012,1499865549590,True,True\n28457,4.00000100,12.00000000,48.000012,1499865549590000,True,True\n", KindTrades, []plainRow{raw, raw}, 0},
		{"voided rows", "1,0,0,-1,-1,1498793709153,True,True\n26129,0.01633102,4.70443515,27781,27782,1498793709153,True,True\n2,0.00000000,0.00000000,-1,-1,1498793709153,True,True\n", KindAggTrades, []plainRow{agg}, 2},
		{"empty", "", KindTrades, nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rows, reader, err := readRows(t, tc.text, tc.kind)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if reader.Damaged() != tc.damaged {
				t.Errorf("damaged = %d, want %d", reader.Damaged(), tc.damaged)
			}
			if len(tc.want) > 0 {
				if got := SniffKind([]byte(tc.text)); got != tc.kind {
					t.Errorf("SniffKind = %q, want %q", got, tc.kind)
				}
			}
		})
	}
}

func TestCSVErrorsNameTheLineAndItsText(t *testing.T) {
	good := "28457,4.00000100,12.00000000,48.000012,1499865549590,True,True\n"
	for _, tc := range []struct {
		name, text string
		kind       ArchiveKind
		want       string
	}{
		{"id", good + "x8457,4.0,12.0,48.0,1499865549590,True,True\n", KindTrades, `line 2: the id is not a whole number: "x8457,4.0,12.0,48.0,1499865549590,True,True"`},
		{"price", "1,4.0.0,12.0,48.0,1499865549590,True,True\n", KindTrades, "line 1: the price is not a decimal"},
		{"negative price", "1,-4.0,12.0,48.0,1499865549590,True,True\n", KindTrades, "line 1: the price is not a decimal"},
		{"qty", "1,4.0,,48.0,1499865549590,True,True\n", KindTrades, "line 1: the quantity is not a decimal"},
		{"zero price", "1,0.0,1,48.0,1499865549590,True,True\n", KindTrades, "line 1: the price or the quantity is zero"},
		{"seconds", "1,4.0,12.0,48.0,1499865549,True,True\n", KindTrades, "line 1: the time is not in milliseconds"},
		{"nanoseconds", "1,4.0,12.0,48.0,1499865549590000000,True,True\n", KindTrades, "line 1: the time is not in milliseconds"},
		{"bool", "1,4.0,12.0,48.0,1499865549590,yes,True\n", KindTrades, "line 1: is_buyer_maker is neither"},
		{"few columns", good + good + "1,4.0,12.0\n", KindTrades, "line 3: trades rows have 6 or 7 columns, this has 3"},
		{"many columns", "1,4.0,12.0,48.0,1499865549590,True,True,True,1,2\n", KindTrades, "line 1: trades rows have 6 or 7 columns, this has 10"},
		{"truncated last line", good + "28458,4.00000100,12.000", KindTrades, "line 2: trades rows have"},
		{"truncated at a comma", good + "28458,4.00000100,12.00000000,48.000012,1499865549590,True", KindTrades, "line 2: it has 6 columns, previous rows have 7"},
		{"truncated last word", good + "28458,4.00000100,12.00000000,48.000012,1499865549590,True,Tr", KindTrades, "line 2: is_best_match is neither true nor false"},
		{"last before first", "26129,0.0163,4.70,27782,27781,1498793709153,True,True\n", KindAggTrades, "line 1: the last trade id is before the first"},
		{"wrong kind", good, KindAggTrades, "line 1: the first trade id is not a whole number"},
		{"header of klines", "open_time,open,high,low,close,volume,close_time\n", KindTrades, "line 1: column 1 of the header is not one of trades"},
		{"not text", strings.Repeat("\x00", 5000), KindTrades, "line 1: not a line of text"},
		{"very long line", strings.Repeat("1", csvBuffer+10), KindTrades, "line 1: not a line of text"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := readRows(t, tc.text, tc.kind)
			var rowErr *CSVError
			if !errors.As(err, &rowErr) {
				t.Fatalf("err = %v, want a *CSVError", err)
			}
			if !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("err = %q, want the prefix %q", err, tc.want)
			}
			if len(err.Error()) > 420 {
				t.Errorf("the offending text is not shortened: %d bytes", len(err.Error()))
			}
		})
	}
}

func TestCSVReaderReadsARealArchiveFile(t *testing.T) {
	packed, err := zip.OpenReader(recorded.Path(t, "archive/BTCUSD_PERP-aggTrades-2026-05-08.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	file, err := packed.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader := NewCSVReader(file, KindAggTrades, nil)
	var row, before Row
	count := 0
	for {
		err := reader.Next(&row)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if count > 0 && (row.ID != before.ID+1 || row.FirstTradeID != before.LastTradeID+1 || row.Time < before.Time) {
			t.Fatalf("line %d: %+v after %+v", reader.Line(), row, before)
		}
		before = row
		count++
	}
	if count != 105280 || reader.Line() != 105281 {
		t.Errorf("read %d rows in %d lines, want 105280 in 105281", count, reader.Line())
	}
}

func FuzzCSVReader(f *testing.F) {
	f.Add([]byte("26129,0.01633102,4.70443515,27781,27782,1498793709153,True,True\n"), true)
	f.Add([]byte("28457,4.00000100,12.00000000,48.000012,1499865549590,True,True\n"), false)
	f.Add([]byte("agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n1,0,0,-1,-1,1498793709153,true\r\n"), true)
	f.Fuzz(func(t *testing.T, text []byte, agg bool) {
		kind := KindTrades
		if agg {
			kind = KindAggTrades
		}
		SniffKind(text)
		reader := NewCSVReader(bytes.NewReader(text), kind, nil)
		var row Row
		for {
			err := reader.Next(&row)
			if errors.Is(err, io.EOF) {
				return
			}
			var rowErr *CSVError
			if errors.As(err, &rowErr) {
				if rowErr.Line < 1 || rowErr.Line > int64(bytes.Count(text, []byte("\n"))+1) {
					t.Fatalf("line %d of %q", rowErr.Line, text)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v", err)
			}
			if row.ID < 0 || row.LastTradeID < row.FirstTradeID || row.Time < timeMin || row.Time >= timeMax ||
				isZero(row.Price) || isZero(row.Qty) {
				t.Fatalf("invalid row %+v of %q", row, text)
			}
		}
	})
}

func BenchmarkCSV(b *testing.B) {
	var text bytes.Buffer
	const rows = 100_000
	for i := range rows {
		fmt.Fprintf(&text, "%d,61837.%02d000000,0.1%05d00,%d,%d,%d,True,True\n", 3000000000+i, i%100, i%100000, 3700000000+2*i, 3700000001+2*i, 1735689600000000+i*1000)
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		reader := NewCSVReader(bytes.NewReader(text.Bytes()), KindAggTrades, nil)
		var row Row
		for reader.Next(&row) == nil {
		}
		if reader.Line() != rows {
			b.Fatal(reader.Line())
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
