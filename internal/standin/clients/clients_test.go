// Package clients runs other people's clients for Binance against the stand-in exchange, and compares what
// they got with what tapedeck recorded of the same market. `make clients-test` installs them, with the
// versions pinned beside this file, and runs it.
package clients

import (
	"encoding/json"
	"flag"
	"maps"
	"math"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

var installed = flag.String("clients", "", "directory where scripts/clients installed the clients; empty skips the test")

// seconds is how long each client receives streams.
const seconds = 20

// history is how far the market's history reaches back: short, because some clients begin with the oldest
// candle there is.
const history = 3 * time.Hour

// result is what a client got.
type result struct {
	Client  string
	Rows    []rows
	Klines  []klines
	Tickers map[string]ticker
	Books   map[string]book
	Seen    map[string]int // how many messages of other streams
	Refused *refusal
	began   int64 // ms; klines that ended before are final
}

type ticker struct {
	Last, High, Low float64
	At              int64 // ms
}

type book struct {
	ID       int64
	Bid, Ask float64
}

// refusal is an error of the exchange.
type refusal struct {
	Code    int
	Message string
}

type rows struct {
	From, Symbol, Kind string
	Rows               []row
}

// row is a trade or an aggregated trade as a client shows it.
type row struct {
	ID         int64
	Price, Qty json.Number
	At         int64 // ms
	Sell       bool  // the taker sold
}

type klines struct {
	From, Symbol, Interval string
	Rows                   [][6]float64 // open time in ms, open, high, low, close, volume
}

// truth is a row of the tape.
type truth struct {
	price, qty float64
	at         int64 // ms
	sell       bool
}

// tape is what tapedeck recorded, by symbol and id.
type tape map[string]map[int64]truth

func TestClientsGetTheTruth(t *testing.T) {
	if *installed == "" {
		t.Skip("needs clients from npm and PyPI: make clients-test")
	}
	w := newWorld(t)
	recorders := map[string]*exec.Cmd{}
	for _, kind := range []string{"aggTrade", "trade"} {
		recorders[kind] = w.record(kind)
	}
	var running sync.WaitGroup
	results := make([]*result, len(clients))
	errors := make([]error, len(clients))
	for i, c := range clients {
		running.Go(func() { results[i], errors[i] = c.run(w) })
	}
	running.Wait()
	offences := w.offences()
	tapes := map[string]tape{}
	for kind, recorder := range recorders {
		w.stop(recorder)
		w.tapedeck(kind, "backfill", "--since", map[string]string{"aggTrade": "180m", "trade": "10m"}[kind])
		tapes[kind] = w.read(kind)
	}
	for i, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			if errors[i] != nil {
				t.Fatal(errors[i])
			}
			results[i].check(t, tapes, c)
		})
	}
	// The clients ask once each for a symbol that does not exist.
	refused := int64(0)
	for _, r := range results {
		if r != nil && r.Refused != nil {
			refused++
		}
	}
	if delete(offences, "bad_request"); len(offences) > 0 || w.offences()["bad_request"] != refused {
		t.Errorf("the clients committed offences: %v, and %d bad requests of which %d were meant", offences, w.offences()["bad_request"], refused)
	}
}

// check compares what a client got with the tapes.
func (r *result) check(t *testing.T, tapes map[string]tape, c client) {
	count := 0
	for _, list := range r.Rows {
		list.check(t, tapes[list.Kind])
		count += len(list.Rows)
	}
	candles := 0
	for _, list := range r.Klines {
		candles += list.check(t, tapes["aggTrade"], r.began)
	}
	for symbol, ticker := range r.Tickers {
		last, high, low := tapes["aggTrade"].window(symbol, ticker.At)
		if !slices.Contains(last, ticker.Last) || !slices.Contains(high, ticker.High) || !slices.Contains(low, ticker.Low) {
			t.Errorf("ticker of %s: %+v, want last %v, high %v, low %v", symbol, ticker, last, high, low)
		}
	}
	for symbol, book := range r.Books {
		want, ok := tapes["aggTrade"][symbol][book.ID]
		if side := map[bool]float64{true: book.Bid, false: book.Ask}[want.sell]; !ok || side != want.price || book.Bid >= book.Ask {
			t.Errorf("book of %s: %+v, want %+v", symbol, book, want)
		}
	}
	for what, n := range r.Seen {
		if n == 0 {
			t.Errorf("%s: no message", what)
		}
	}
	if c.refuses && (r.Refused == nil || r.Refused.Code != -1121 || r.Refused.Message != "Invalid symbol.") {
		t.Errorf("a symbol that does not exist: %+v", r.Refused)
	}
	if count < 100 && candles < 20 {
		t.Errorf("only %d trades and %d klines", count, candles)
	}
	t.Logf("%s: %d trades, %d final klines, %d tickers, %d books, other streams %v", r.Client, count, candles, len(r.Tickers), len(r.Books), r.Seen)
}

// check compares rows with a tape and expects consecutive ids.
func (l rows) check(t *testing.T, recorded tape) {
	t.Helper()
	if len(l.Rows) == 0 {
		t.Errorf("%s of %s: no rows", l.From, l.Symbol)
	}
	for i, got := range l.Rows {
		want, ok := recorded[l.Symbol][got.ID]
		price, err1 := got.Price.Float64()
		qty, err2 := got.Qty.Float64()
		if err1 != nil || err2 != nil || !ok || (truth{price, qty, got.At, got.Sell}) != want {
			t.Errorf("%s of %s: %+v, want %+v, on the tape: %t", l.From, l.Symbol, got, want, ok)
			return
		}
		if i > 0 && got.ID != l.Rows[i-1].ID+1 {
			t.Errorf("%s of %s: after id %d comes %d", l.From, l.Symbol, l.Rows[i-1].ID, got.ID)
			return
		}
	}
}

// check compares the klines that ended before a time with sums of the tape, and returns how many there
// were.
func (l klines) check(t *testing.T, recorded tape, before int64) (final int) {
	t.Helper()
	length, ok := map[string]int64{"1m": 60_000, "5m": 300_000, "1h": 3_600_000}[l.Interval]
	if !ok {
		t.Fatalf("interval %q", l.Interval)
	}
	want := map[int64][6]float64{}
	symbol := recorded[l.Symbol]
	for _, id := range slices.Sorted(maps.Keys(symbol)) {
		r := symbol[id]
		open := r.at / length * length
		k, ok := want[open]
		if !ok {
			k = [6]float64{float64(open), r.price, r.price, r.price, r.price, 0}
		}
		k[2], k[3], k[4], k[5] = max(k[2], r.price), min(k[3], r.price), r.price, k[5]+r.qty
		want[open] = k
	}
	for i, got := range l.Rows {
		open := int64(got[0])
		if i > 0 && open != int64(l.Rows[i-1][0])+length {
			t.Errorf("%s of %s %s: a kline is missing before %d", l.From, l.Symbol, l.Interval, open)
		}
		if open+length > before {
			continue
		}
		final++
		expected := want[open]
		if math.Abs(got[5]-expected[5]) < 1e-9*expected[5] { // the tape's sum is of doubles
			got[5] = expected[5]
		}
		if got != expected {
			t.Errorf("%s of %s %s: %v, want %v", l.From, l.Symbol, l.Interval, got, expected)
			return final
		}
	}
	if len(l.Rows) == 0 {
		t.Errorf("%s of %s %s: no klines", l.From, l.Symbol, l.Interval)
	}
	return final
}

// window returns what the ticker of 24 hours up to a millisecond may say. The market is younger than that.
// The millisecond itself may be in the ticker, or a part of it.
func (recorded tape) window(symbol string, at int64) (last, high, low []float64) {
	rows := recorded[symbol]
	top, bottom, current := 0.0, math.Inf(1), 0.0
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		r := rows[id]
		if r.at > at {
			break
		}
		if r.at == at && len(last) == 0 {
			last, high, low = append(last, current), append(high, top), append(low, bottom)
		}
		top, bottom, current = max(top, r.price), min(bottom, r.price), r.price
		if r.at == at {
			last, high, low = append(last, current), append(high, top), append(low, bottom)
		}
	}
	return append(last, current), append(high, top), append(low, bottom)
}
