package detect

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/idset"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// everything has arguments for each detector with which it returns a row for nearly every minute that it
// judges and in which something traded.
var everything = map[string]map[string]any{
	"cross_pair":        {"min_deviation": 0.0, "min_sd": 0.0},
	"dump_burst":        {"min_rush_sells": 0, "min_z": -1e9, "min_fall": -1e9},
	"flash_crash":       {"min_drop": -1e9, "min_rms": -1e9, "bucket_orders": 0, "min_orders": 0, "min_recovery": 1e9},
	"flow_imbalance":    {"min_share": 0.0, "min_sd": 0.0, "min_orders": 0},
	"price_jump":        {"min_move": 0.0, "min_rms": 0.0, "min_orders": 0},
	"pump_burst":        {"min_rush_buys": 0, "min_z": -1e9, "min_rise": -1e9},
	"silent_symbol":     {"min_silence": 0.0, "min_ratio": 0.0},
	"trade_rate_burst":  {"min_orders": 0, "min_z": -1e9},
	"volatility_regime": {"min_ratio": 0.0, "min_rms": 0.0, "min_orders": 0},
	"volume_spike":      {"min_ratio": 0.0, "min_z": -1e9, "min_orders": 0},
	"vwap_deviation":    {"min_deviation": 0.0, "min_rms": 0.0, "min_orders": 0, "min_buckets": 1},
	"whale_order":       {"min_ratio": 0.0, "min_move": 0.0, "min_quote": 0.0, "min_quote_btc": 0.0},
}

// isolated are the detectors whose rows with these arguments depend on nothing but whether the minute is
// judged: a tape with less history returns the same minutes as far as it judges them. cross_pair compares
// with the mean of what is recorded.
func isolated(detector string) bool { return detector != "cross_pair" }

// cautious are the detectors that judge a few minutes more than they claim, at the edges of gaps: the trade
// after a gap within one minute ends no silence, and cross_pair compares with the minute before in which all
// three pairs traded, which is usually less than the six minutes that it may need.
func cautious(detector string) bool { return detector == "cross_pair" || detector == "silent_symbol" }

// judgedMinute is a minute of a symbol, by its start.
type judgedMinute struct {
	detector, symbol string
	minute           int64
}

// minutesFound returns the minutes for which each detector returns a row over w.
func minutesFound(t *testing.T, dir *tape.Dir, w window.Window) map[judgedMinute]bool {
	t.Helper()
	queries, _ := analytics.Load("", analytics.Detect)
	session, err := analytics.Open(t.Context(), dir, analytics.Options{
		From: w.Start.Add(-80 * time.Hour), To: w.End, MinutesFrom: w.Start.Add(-80 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	out := map[judgedMinute]bool{}
	for _, query := range queries {
		args := map[string]any{"window_start": w.Start, "window_end": w.End}
		for name, value := range everything[query.Name] {
			args[name] = value
		}
		result, err := session.Run(t.Context(), query, args)
		if err != nil {
			t.Fatal(err)
		}
		column := func(name string) int {
			return slices.IndexFunc(result.Columns, func(c analytics.Column) bool { return c.Name == name })
		}
		for _, row := range result.Rows {
			if i := column("recovered"); i >= 0 && row[i].(bool) {
				continue
			}
			minute := row[column("at")].(time.Time).Add(-time.Microsecond).Truncate(time.Minute)
			out[judgedMinute{query.Name, row[column("symbol")].(string), minute.Unix()}] = true
		}
	}
	return out
}

// ticking returns trades of five symbols, three of which form triangles, from at on. THINUSDT trades about
// every 50 minutes, the others every 40 s.
func ticking(random *rand.Rand, at time.Time, length time.Duration) map[string][]tape.Trade {
	out := map[string][]tape.Trade{}
	for i, symbol := range []string{"AAAUSDT", "AAABTC", "BTCUSDT", "ZZZBNB", "THINUSDT"} {
		every, price := 40*time.Second, 100.0
		if symbol == "THINUSDT" {
			every = 50 * time.Minute
		}
		id := int64(1_000_000 * (i + 1))
		for since := time.Duration(0); since < length; since += time.Duration(float64(every) * random.ExpFloat64()) {
			price *= 1 + 0.001*random.NormFloat64()
			for level := range 2 { // a rush order
				out[symbol] = append(out[symbol], tape.Trade{
					Symbol: symbol, ID: id, FirstTradeID: id, LastTradeID: id, Price: math.Round(price*1e4)/1e4 + float64(level)/100,
					Qty: float64(1+random.IntN(99)) / 10, TradedAt: at.Add(since).Truncate(time.Millisecond).UnixMicro(), IsBuyerMaker: random.IntN(2) == 0,
				})
				id++
			}
		}
	}
	return out
}

// TestJudgedIsWhatTheSQLJudges compares what detect says it judged with what the SQL of each detector
// returns, on tapes whose symbols begin at different times and have gaps that the exchange has too. A
// minute that a detector returns must count as judged, or as not yet known to be over, and a minute
// that counts as judged must be returned if it is returned over a tape without gaps and with a long
// history.
func TestJudgedIsWhatTheSQLJudges(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector; make test-all runs it")
	}
	seeds := []uint64{1, 2, 3}
	const before, judged = 78 * time.Hour, 18 * time.Hour
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			w := window.Window{Start: begin, End: begin.Add(judged)}
			rows := ticking(random, begin.Add(-before), before+judged+time.Hour)
			whole := newTape(t, rows)
			left, absent := damage(random, rows, w)
			dir := newTape(t, left)
			now := w.End.Add(time.Hour)
			for symbol, ids := range absent {
				if err := dir.RecordAbsent(symbol, ids, now); err != nil {
					t.Fatal(err)
				}
			}
			runDetect(t, dir, Options{From: w.Start, To: w.End, Now: now, Detectors: allDetectors(t)})
			claims := claimsOf(t, dir, w)
			compareJudged(t, claims, minutesFound(t, dir, w), minutesFound(t, whole, w), left)
		})
	}
}

// damage returns rows without what was traded before a symbol's record begins and without some runs of ids,
// which it returns as well.
func damage(random *rand.Rand, rows map[string][]tape.Trade, w window.Window) (map[string][]tape.Trade, map[string]idset.Set) {
	left, absent := map[string][]tape.Trade{}, map[string]idset.Set{}
	between := func(from, to time.Time) time.Time {
		return from.Add(time.Duration(random.Int64N(int64(to.Sub(from)))))
	}
	for _, symbol := range slices.Sorted(maps.Keys(rows)) {
		trades := rows[symbol]
		from := between(w.Start.Add(-20*time.Hour), w.Start.Add(8*time.Hour))
		if random.IntN(3) == 0 {
			from = time.UnixMicro(trades[0].TradedAt)
		}
		var gaps []window.Window
		for range 4 {
			at := between(w.Start.Add(-20*time.Hour), w.End)
			length := time.Duration(float64(10*time.Minute) * random.ExpFloat64())
			gaps = append(gaps, window.Window{Start: at, End: at.Add(length)})
		}
		var ids []int64
		for i, trade := range trades {
			at := time.UnixMicro(trade.TradedAt)
			inGap := slices.ContainsFunc(gaps, func(g window.Window) bool { return !at.Before(g.Start) && at.Before(g.End) })
			switch {
			case at.Before(from):
			case inGap && len(left[symbol]) > 0 && i < len(trades)-1:
				ids = append(ids, trade.ID)
			default:
				left[symbol] = append(left[symbol], trade)
			}
		}
		for _, id := range ids {
			absent[symbol] = absent[symbol].Add(idset.Range{First: id, Last: id})
		}
	}
	return left, absent
}

// claimsOf returns the reason of each minute, "" if it is judged.
func claimsOf(t *testing.T, dir *tape.Dir, w window.Window) map[judgedMinute]string {
	t.Helper()
	out := map[judgedMinute]string{}
	for _, day := range w.Days() {
		for _, outcome := range state.JudgedOf(dir.State(), day.Start) {
			for _, span := range outcome.Spans {
				for at := span.Start; at.Before(span.End); at = at.Add(time.Minute) {
					out[judgedMinute{outcome.Detector, outcome.Symbol, at.Unix()}] = span.Reason
				}
			}
		}
	}
	return out
}

func compareJudged(t *testing.T, claims map[judgedMinute]string, found, foundInWhole map[judgedMinute]bool, left map[string][]tape.Trade) {
	t.Helper()
	traded := map[judgedMinute]bool{} // without a detector
	for symbol, trades := range left {
		for _, trade := range trades {
			traded[judgedMinute{"", symbol, time.UnixMicro(trade.TradedAt).Truncate(time.Minute).Unix()}] = true
		}
	}
	judged, wrong, compared := map[string]int{}, map[string][]string{}, map[string]int{}
	fail := func(m judgedMinute, format string, args ...any) {
		text := time.Unix(m.minute, 0).UTC().Format("02 15:04 ") + m.symbol + ": " + fmt.Sprintf(format, args...)
		wrong[m.detector] = append(wrong[m.detector], text)
	}
	for m, reason := range claims {
		if reason == "" {
			judged[m.detector]++
		}
	}
	for m := range found {
		if reason, ok := claims[m]; !ok || reason != "" && reason != state.ReasonUnknown && !(cautious(m.detector) && reason == state.ReasonGap) {
			fail(m, "found a row, but it counts as %q (known: %v)", reason, ok)
		}
		compared[m.detector]++
	}
	for m := range foundInWhole {
		reason, ok := claims[m]
		if ok && reason == "" && !found[m] && isolated(m.detector) && traded[judgedMinute{"", m.symbol, m.minute}] {
			fail(m, "counts as judged, but only the whole tape returns a row")
		}
	}
	for _, name := range allDetectors(t) {
		slices.Sort(wrong[name])
		if n := len(wrong[name]); n > 0 {
			t.Errorf("%s: %d of %d minutes are wrong:\n%s", name, n, judged[name], strings.Join(wrong[name][:min(n, 12)], "\n"))
		}
		if judged[name] == 0 || compared[name] < 100 {
			t.Errorf("%s judged %d minutes and returned %d", name, judged[name], compared[name])
		}
	}
}
