package exchange

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// randomTrades returns aggregated trades of BTCUSDT from t0 on, with pauses of up to two hours, some of
// them on the edges of minutes.
func randomTrades(seed uint64, n int) []MemoryRow {
	random := rand.New(rand.NewPCG(seed, 0))
	rows := make([]MemoryRow, n)
	at, trade, price := t0, int64(1000), 61_837_63
	for i := range rows {
		switch pause := random.IntN(20); {
		case pause == 0:
			at += random.Int64N(2 * 60 * minute)
		case pause == 1:
			at = (at/minute+1)*minute + random.Int64N(2) - 1
		default:
			at += random.Int64N(3_000_000)
		}
		makers := 1 + random.Int64N(3)
		price = max(100, price+random.IntN(201)-100)
		rows[i] = MemoryRow{Symbol: "BTCUSDT", Kind: AggTrade, Row: Row{
			ID: int64(100 + i), FirstTradeID: trade, LastTradeID: trade + makers - 1, TradedAt: at, BuyerMaker: random.IntN(2) == 0,
			Price: fmt.Sprintf("%d.%02d000000", price/100, price%100), Qty: fmt.Sprintf("0.%05d000", 1+random.IntN(99_999)),
		}}
		trade += makers
	}
	return rows
}

// exactly returns the sum of decimals or of products of two, with eight places.
func exactly(terms ...[]string) string {
	sum := new(big.Rat)
	for _, factors := range terms {
		term := big.NewRat(1, 1)
		for _, factor := range factors {
			f, _ := new(big.Rat).SetString(factor)
			term.Mul(term, f)
		}
		sum.Add(sum, term)
	}
	scaled := new(big.Int).Quo(new(big.Int).Mul(sum.Num(), big.NewInt(unit)), sum.Denom())
	return string(AppendDecimal(nil, scaled.Uint64()))
}

// expectedKline computes the kline of [open, end) from rows alone.
func expectedKline(rows []MemoryRow, open, end int64) string {
	price := func(r MemoryRow) float64 { v, _ := strconv.ParseFloat(r.Price, 64); return v }
	var first, high, low, last *MemoryRow
	var volume, quote, buy, buyQuote [][]string
	count := int64(0)
	before := ""
	for i := range rows {
		r := &rows[i]
		switch {
		case r.TradedAt < open:
			before = r.Price
			continue
		case r.TradedAt >= end:
			continue
		}
		if first == nil {
			first, high, low = r, r, r
		}
		if price(*r) > price(*high) {
			high = r
		}
		if price(*r) < price(*low) {
			low = r
		}
		last = r
		volume, quote = append(volume, []string{r.Qty}), append(quote, []string{r.Price, r.Qty})
		if !r.BuyerMaker {
			buy, buyQuote = append(buy, []string{r.Qty}), append(buyQuote, []string{r.Price, r.Qty})
		}
		count += r.LastTradeID - r.FirstTradeID + 1
	}
	if first == nil {
		flat := &MemoryRow{Row: Row{Price: before}}
		first, high, low, last = flat, flat, flat, flat
	}
	return fmt.Sprintf(`[%d,"%s","%s","%s","%s","%s",%d,"%s",%d,"%s","%s","0"]`, open/1000, first.Price, high.Price, low.Price, last.Price,
		exactly(volume...), end/1000-1, exactly(quote...), count, exactly(buy...), exactly(buyQuote...))
}

// TestKlinesAreTheSumsOfTrades compares klines of each interval and several time zones with the rows,
// asked for in windows of random width.
func TestKlinesAreTheSumsOfTrades(t *testing.T) {
	const seed = 7
	rows := randomTrades(seed, 400)
	end := rows[len(rows)-1].TradedAt
	s := StartTest(t, NewMemory(nil, rows), Options{Speed: Manual, Start: time.UnixMicro(end + 1), WeightLimit: 1 << 40})
	random := rand.New(rand.NewPCG(seed, 1))
	zones := []string{"-3:30", "05:45", "+14:00", "0:07"}
	for n, name := range []string{"1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"} {
		for _, zone := range []string{"", zones[n%len(zones)]} {
			i, ok := parseInterval(name)
			if !ok {
				t.Fatalf("interval %s", name)
			}
			query := "/api/v3/klines?symbol=BTCUSDT&limit=12&interval=" + name
			if zone != "" {
				query += "&timeZone=" + strings.ReplaceAll(zone, "+", "%2B")
				i.offset, _ = parseZone(zone)
			}
			from := t0 + random.Int64N(end-t0)/1000*1000
			if random.IntN(3) == 0 {
				from = 0
			}
			open := max(i.open(from, 0), i.open(t0, 0))
			if open < from {
				open = i.open(open, 1)
			}
			var want []string
			for ; open <= end && len(want) < 12; open = i.open(open, 1) {
				want = append(want, expectedKline(rows, open, i.open(open, 1)))
			}
			_, got, _ := get(t, s.URL()+query+"&startTime="+strconv.FormatInt(from/1000, 10))
			if diff := cmp.Diff("["+strings.Join(want, ",")+"]", got); diff != "" {
				t.Fatalf("%s %s from %d (-want +got):\n%s", name, zone, from, diff)
			}
		}
	}
}

func TestKlineWindows(t *testing.T) {
	rows := sampleRows() // from 15:06:40 on
	start := int64(1750000000000)
	s := StartTest(t, NewMemory(nil, rows), Options{Speed: Manual, Start: time.UnixMicro(t0).Add(time.Hour)})
	minuteOf := func(n int64) string { return strconv.FormatInt((start/60000+n)*60000, 10) }
	for _, c := range []struct {
		query       string
		first, last int64 // minutes
		n           int
	}{
		{"", 0, 60, 61},
		{"limit=3", 58, 60, 3},
		{"endTime=" + minuteOf(5) + "&limit=2", 4, 5, 2},
		{"startTime=" + minuteOf(5) + "&limit=2", 5, 6, 2},
		{"startTime=" + minuteOf(5) + "1&limit=2", 0, 0, 0}, // far in the future
		{"startTime=1&limit=2", 0, 1, 2},
		{"startTime=" + minuteOf(5) + "&endTime=" + minuteOf(7), 5, 7, 3},
		{"startTime=" + minuteOf(5) + "&endTime=" + minuteOf(4), 0, 0, 0},
		{"endTime=1", 0, 0, 0},
	} {
		_, body, _ := get(t, s.URL()+"/api/v3/klines?symbol=BTCUSDT&interval=1m&"+c.query)
		var got [][]any
		if err := json.Unmarshal([]byte(body), &got); err != nil || len(got) != c.n {
			t.Errorf("%s: %d klines, want %d (%v)", c.query, len(got), c.n, err)
			continue
		}
		if c.n > 0 && (fmt.Sprintf("%.0f", got[0][0]) != minuteOf(c.first) || fmt.Sprintf("%.0f", got[c.n-1][0]) != minuteOf(c.last)) {
			t.Errorf("%s: from %.0f to %.0f", c.query, got[0][0], got[c.n-1][0])
		}
	}
	// A symbol that has not traded has none.
	empty := StartTest(t, NewMemory([]Symbol{{Name: "NEWUSDT", Base: "NEW", Quote: "USDT"}}, rows), Options{Speed: Manual, Start: time.UnixMicro(t0)})
	for path, want := range map[string]string{
		"klines?interval=1d&symbol=NEWUSDT": `[]`, "depth?symbol=NEWUSDT": `{"lastUpdateId":0,"bids":[],"asks":[]}`,
		"ticker/price?symbol=NEWUSDT": `{"symbol":"NEWUSDT","price":"0.00000000"}`, "avgPrice?symbol=NEWUSDT": `{"mins":5,"price":"0.00000000","closeTime":0}`,
	} {
		if _, got, _ := get(t, empty.URL()+"/api/v3/"+path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestBarsSurviveForgetting computes klines again after their bars were forgotten.
func TestBarsSurviveForgetting(t *testing.T) {
	rows := randomTrades(3, 500)
	s := StartTest(t, NewMemory(nil, rows), Options{Speed: Manual, Start: time.UnixMicro(rows[len(rows)-1].TradedAt)})
	_, want, _ := get(t, s.URL()+"/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000")
	s.bars.mu.Lock()
	s.bars.forget()
	kept := len(s.bars.hours)
	s.bars.mu.Unlock()
	if _, got, _ := get(t, s.URL()+"/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000"); got != want || kept >= len(s.bars.hours) {
		t.Errorf("%d hours were kept of %d; equal: %t", kept, len(s.bars.hours), got == want)
	}
	held := 0
	for _, d := range s.bars.hours {
		held += len(d.bars)
	}
	if int64(held) != s.bars.held.Load() {
		t.Errorf("%d bars are held, %d were counted", held, s.bars.held.Load())
	}
}

// TestWindowsAreTheSumsOfTrades compares windows of random width, not on minutes at their end.
func TestWindowsAreTheSumsOfTrades(t *testing.T) {
	rows := randomTrades(5, 800)
	end := rows[len(rows)-1].TradedAt
	s := StartTest(t, NewMemory(nil, rows), Options{Speed: Manual, Start: time.UnixMicro(end)})
	random := rand.New(rand.NewPCG(5, 1))
	for range 200 {
		from := (t0 + random.Int64N(end-t0)) / minute * minute
		to := from + 1 + random.Int64N(1+[]int64{minute, quarter, day}[random.IntN(3)])
		var want bar
		for i := range rows {
			if r := &rows[i]; r.TradedAt >= from && r.TradedAt < to {
				want.add(&r.Row)
			}
		}
		want.start = from
		if got := s.sum(t.Context(), "BTCUSDT", from, min(to, end+1)); got != want {
			t.Fatalf("from %d to %d:\n got %+v\nwant %+v", from, to, got, want)
		}
	}
}
