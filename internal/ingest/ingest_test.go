package ingest

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

func TestFromRowAndFromMessageAgree(t *testing.T) {
	for _, c := range []struct {
		price, qty, err string
		inexact         Inexact
	}{
		{price: "61837.63000000", qty: "0.00100000"},
		{price: "0.12345678901234567890", qty: "1", inexact: Inexact{Price: true}},
		{price: "1", qty: "92233720368.54775807", inexact: Inexact{Qty: true}},
		{price: "1e5", qty: "1", err: `price: "1e5" is not a decimal number`},
		{price: "1", qty: "", err: `quantity: "" is not a decimal number`},
		{price: "0." + strings.Repeat("0", 400) + "1", qty: "1", err: "is too small for a double"},
		{price: "1000000000000000.00000000", qty: "1"},
		{price: "1000000000000001", qty: "1", err: "larger than 10^15"},
		{price: "1000000000", qty: "1000001", err: "larger than 10^15"},
	} {
		row := binance.Row{ID: 7, Price: []byte(c.price), Qty: []byte(c.qty), FirstTradeID: 8, LastTradeID: 9, Time: 10, IsBuyerMaker: true}
		message := binance.Message{ID: 7, Price: row.Price, Qty: row.Qty, FirstTradeID: 8, LastTradeID: 9, Time: 10, BuyerMaker: true}
		fromRow, inexact, err := FromRow(symbol.Must("A"), &row)
		fromMessage, inexactToo, errToo := FromMessage(symbol.Must("A"), &message)
		if fromRow != fromMessage || inexact != inexactToo || fmt.Sprint(err) != fmt.Sprint(errToo) {
			t.Errorf("%+v: %+v and %+v, %v and %v", c, fromRow, fromMessage, err, errToo)
		}
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err != nil || inexact != c.inexact {
			t.Errorf("%+v: %+v, %v", c, inexact, err)
		}
		if want := (tape.Trade{Symbol: "A", ID: 7, Price: fromRow.Price, Qty: fromRow.Qty, FirstTradeID: 8, LastTradeID: 9, TradedAt: 10, IsBuyerMaker: true}); fromRow != want {
			t.Errorf("%+v, want %+v", fromRow, want)
		}
	}
}

func TestConversionDoesNotAllocate(t *testing.T) {
	message := binance.Message{ID: 7, Price: []byte("61837.63000000"), Qty: []byte("0.00100000"), Time: 10}
	name := symbol.Must("A")
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := FromMessage(name, &message); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// csvOf is a CSV of raw trades with the ids, in this order. The price tells a row's position.
func csvOf(ids ...int64) string {
	var text strings.Builder
	for i, id := range ids {
		fmt.Fprintf(&text, "%d,%d.5,0.1,0.1,1723075200000,True,True\n", id, i+1)
	}
	return text.String()
}

// readAll returns the ids and positions that ReadSorted passed after the last start.
func readAll(t *testing.T, csv CSV, text string) (ids, positions []int64, starts int, inexact int64, err error) {
	t.Helper()
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data"), tape.RawTrade, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	csv.Symbol, csv.Kind = symbol.Must("A"), binance.KindTrades
	csv.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	_, err = csv.ReadSorted(t.Context(), dir, func() {
		starts++
		ids, positions, inexact = nil, nil, 0
	}, func(b *Batch) error {
		for i, trade := range b.Trades {
			ids, positions = append(ids, trade.ID), append(positions, b.Positions[i])
			if trade.Price != float64(b.Positions[i])+0.5 {
				t.Errorf("position %d has the price %v", b.Positions[i], trade.Price)
			}
		}
		inexact += b.Inexact
		return nil
	})
	return ids, positions, starts, inexact, err
}

func TestReadSortedPassesIDsInOrder(t *testing.T) {
	for _, c := range []struct {
		text           string
		ids, positions []int64
		starts         int
	}{
		{csvOf(1, 2, 2, 5), []int64{1, 2, 2, 5}, []int64{1, 2, 3, 4}, 1},
		{csvOf(5, 2, 1, 2), []int64{1, 2, 2, 5}, []int64{3, 2, 4, 1}, 2},
		{"", nil, nil, 1},
	} {
		ids, positions, starts, _, err := readAll(t, CSV{}, c.text)
		if err != nil || starts != c.starts || !slices.Equal(ids, c.ids) || !slices.Equal(positions, c.positions) {
			t.Errorf("%q: %v at %v, %d starts, %v", c.text, ids, positions, starts, err)
		}
	}
}

func TestReadSortedCountsInexactValuesOnce(t *testing.T) {
	const inexactQty = "92233720368.54775807"
	for _, ids := range [][]int64{{1, 2, 3}, {3, 2, 1}} {
		text := strings.ReplaceAll(csvOf(ids...), ",0.1,0.1,", ","+inexactQty+",0.1,")
		if _, _, _, inexact, err := readAll(t, CSV{}, text); err != nil || inexact != 3 {
			t.Errorf("%v: %d inexact values, %v", ids, inexact, err)
		}
		counted := CSV{Counted: idset.Set{{First: 2, Last: 2}}}
		if _, _, _, inexact, err := readAll(t, counted, text); err != nil || inexact != 1 {
			t.Errorf("%v: %d inexact values of id 2, %v", ids, inexact, err)
		}
	}
}

func TestReadSortedReportsTheContentAsTheCause(t *testing.T) {
	refuse := CSV{Check: func(row *binance.Row) error {
		if row.ID == 3 {
			return errors.New("not this one")
		}
		return nil
	}}
	for _, c := range []struct {
		csv        CSV
		text, want string
	}{
		{CSV{}, csvOf(1, 2) + "x\n", `line 3: trades rows have 6 or 7 columns, this has 1: "x"`},
		{CSV{}, csvOf(2, 1) + "x\n", `line 3: trades rows have 6 or 7 columns, this has 1: "x"`},
		{refuse, csvOf(1, 3), "line 2: not this one"},
	} {
		_, _, _, _, err := readAll(t, c.csv, c.text)
		var unusable *FileError
		if !errors.As(err, &unusable) || err.Error() != c.want || unusable.Line == 0 {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}
