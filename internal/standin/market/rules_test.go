package market

import (
	"math"
	"slices"
	"time"

	"tapedeck/internal/standin/exchange"
)

// The rules behind the detectors, in plain Go: on one-minute bars, against the 24 hours before the
// tested window and at least 12 of them. They test the market here, so they are deliberately
// independent of the SQL.

type bar struct {
	volume, bought, sold float64
	rows, orders         float64
	rushBuys, rushSells  float64
	high, low, close     float64
	largest              float64 // order
}

type alert struct {
	kind   string
	symbol string
	at     time.Time // end of the bar
}

// bars returns a symbol's minutes from the market's first whole minute to its last. They are computed
// from the numbers behind the rows' decimals; TestPricesAndQuantitiesAreOnTheGrid compares the two.
func bars(m *Market, symbol exchange.Symbol) (all []bar, first time.Time) {
	first = m.config.Start.Add(-m.config.History).Truncate(time.Minute)
	if symbol.ListedAt > first.UnixMicro() {
		first = time.UnixMicro(symbol.ListedAt).UTC().Truncate(time.Minute)
	}
	all = make([]bar, int(m.config.Start.Sub(first)/time.Minute))
	p := m.byName[symbol.Name]
	for i := 0; i < p.visible; {
		// Consecutive rows of one millisecond and side are one order.
		r := p.row(i)
		minute := int(time.UnixMicro(r.time).Sub(first) / time.Minute)
		if r.time < first.UnixMicro() || minute >= len(all) {
			i++
			continue
		}
		b := &all[minute]
		j, order, prices, last := i, 0.0, 0, int64(0)
		for ; j < p.visible; j++ {
			next := p.row(j)
			if next.time/1000 != r.time/1000 || next.sell != r.sell {
				break
			}
			price, qty := float64(next.price*p.tick)/1e8, float64(next.qty*p.step)/1e8
			order += price * qty
			if next.price != last {
				prices++
			}
			last = next.price
			b.high = max(b.high, price)
			if b.low == 0 || price < b.low {
				b.low = price
			}
			b.close = price
			b.rows++
		}
		b.volume += order
		b.orders++
		b.largest = max(b.largest, order)
		if r.sell {
			b.sold += order
			if prices > 1 {
				b.rushSells++
			}
		} else {
			b.bought += order
			if prices > 1 {
				b.rushBuys++
			}
		}
		i = j
	}
	for i := range all {
		if all[i].rows == 0 && i > 0 {
			last := all[i-1].close
			all[i].high, all[i].low, all[i].close = last, last, last
		}
	}
	return all, first
}

// alerts applies the rules to a symbol.
func alerts(m *Market, symbol exchange.Symbol) []alert {
	b, first := bars(m, symbol)
	var found []alert
	raise := func(kind string, i int) {
		found = append(found, alert{kind, symbol.Name, first.Add(time.Duration(i+1) * time.Minute)})
	}
	n := len(b)
	series := func(value func(i int) float64) []float64 {
		s := make([]float64, n)
		for i := range s {
			s[i] = value(i)
		}
		return s
	}
	sum := func(value func(b bar) float64, span int) []float64 {
		total := 0.0
		return series(func(i int) float64 {
			total += value(b[i])
			if i >= span {
				total -= value(b[i-span])
			}
			return total
		})
	}
	logReturn := func(span int) []float64 {
		return series(func(i int) float64 {
			if i < span || b[i-span].close == 0 {
				return 0
			}
			return math.Log(b[i].close / b[i-span].close)
		})
	}
	r5, r1 := logReturn(5), logReturn(1)
	volume := func(b bar) float64 { return b.volume }
	v5, n5, o5 := sum(volume, 5), sum(func(b bar) float64 { return b.rows }, 5), sum(func(b bar) float64 { return b.orders }, 5)
	v15, o15 := sum(volume, 15), sum(func(b bar) float64 { return b.orders }, 15)
	signed15 := sum(func(b bar) float64 { return b.bought - b.sold }, 15)
	n60, v60 := sum(func(b bar) float64 { return b.rows }, 60), sum(volume, 60)
	traded60 := sum(func(b bar) float64 {
		if b.rows == 0 {
			return 0
		}
		return b.volume / b.close
	}, 60)
	deviation := series(func(i int) float64 {
		if traded60[i] <= 0 || v60[i] <= 0 {
			return 0
		}
		return b[i].close/(v60[i]/traded60[i]) - 1
	})
	moments := func(s []float64) func(i, skip int) (mean, sd, rms float64) {
		sums, squares := make([]float64, n+1), make([]float64, n+1)
		for i, x := range s {
			sums[i+1], squares[i+1] = sums[i]+x, squares[i]+x*x
		}
		return func(i, skip int) (mean, sd, rms float64) {
			end := i + 1 - skip
			from := max(0, end-1440)
			count := float64(end - from)
			mean = (sums[end] - sums[from]) / count
			square := (squares[end] - squares[from]) / count
			return mean, math.Sqrt(max(0, square-mean*mean)), math.Sqrt(max(0, square))
		}
	}
	rushBuys := moments(series(func(i int) float64 { return b[i].rushBuys }))
	rushSells := moments(series(func(i int) float64 { return b[i].rushSells }))
	volumes, returns, rates, flows, deviations := moments(v5), moments(r5), moments(o5), moments(signed15), moments(deviation)

	for i := 725; i < n; i++ {
		before := b[i-1].close
		if mean, sd, _ := rushBuys(i, 1); b[i].rushBuys >= 12 && (b[i].rushBuys-mean)/max(sd, .3) >= 25 && b[i].high/before-1 >= .01 {
			raise(PumpBurst, i)
		}
		if mean, sd, _ := rushSells(i, 1); b[i].rushSells >= 12 && (b[i].rushSells-mean)/max(sd, .3) >= 20 && b[i].low/before-1 <= -.01 {
			raise(DumpBurst, i)
		}
		if mean, sd, _ := volumes(i, 5); n5[i] >= 10 && (v5[i]-mean)/sd >= 15 {
			window := slices.Sorted(slices.Values(v5[max(0, i-4-1440) : i-4]))
			if v5[i]/window[len(window)*99/100] >= 12 {
				raise(VolumeSpike, i)
			}
		}
		_, _, rms := returns(i, 5)
		if math.Abs(r5[i]) >= .03 && math.Abs(r5[i])/max(rms, .001) >= 15 && n5[i] >= 10 {
			raise(PriceJump, i)
		}
		low, count := math.Inf(1), 0.0
		for _, x := range b[i-9 : i+1] {
			low = min(low, x.low)
			count += x.rows
		}
		reference := b[i-5].close
		if fall := 1 - low/reference; fall >= .10 && fall/max(rms, .001) >= 8 && b[i].close < reference && count >= 20 {
			raise(FlashCrash, i)
		}
		if _, sd, _ := flows(i, 15); o15[i] >= 30 && math.Abs(signed15[i])/v15[i] >= .8 && math.Abs(signed15[i]) >= 15*sd {
			raise(FlowImbalance, i)
		}
		if math.Abs(r1[i]) >= .01 {
			largest := 0.0
			for _, x := range b[max(0, i-1440):i] {
				largest = max(largest, x.largest)
			}
			if b[i].largest >= 3*largest {
				raise(WhaleOrder, i)
			}
		}
		if mean, sd, _ := rates(i, 5); o5[i] >= 30 && (o5[i]-mean)/max(sd, 1) >= 40 {
			raise(TradeRateBurst, i)
		}
		if _, sd, _ := deviations(i, 60); n60[i] >= 60 && math.Abs(deviation[i]) >= .03 && math.Abs(deviation[i]) >= 10*sd {
			raise(VWAPDeviation, i)
		}
		square := 0.0
		for _, r := range r5[i-29 : i+1] {
			square += r * r
		}
		if _, _, rms := returns(i, 30); n60[i] >= 60 && square/30 >= .01*.01 && math.Sqrt(square/30) >= 6*rms {
			raise(VolatilityRegime, i)
		}
	}
	// Silence: compared with the longest pause so far, after at least twelve hours.
	t := m.byName[symbol.Name]
	longest := int64(0)
	for i := 1; i < t.visible; i++ {
		last := t.row(i - 1).time
		pause := t.row(i).time - last
		if limit := max(10*time.Minute.Microseconds(), 2*longest); pause >= limit && last-t.row(0).time > 12*time.Hour.Microseconds() {
			found = append(found, alert{SilentSymbol, symbol.Name, time.UnixMicro(last + limit)})
		}
		longest = max(longest, pause)
	}
	return found
}

// crossAlarms compares the price of direct with the price implied by two other pairs, in each minute
// in which all three traded.
func crossAlarms(m *Market, direct string, implied func(a, b float64) float64, one, two string) []alert {
	closes := func(name string) ([]bar, time.Time) {
		for _, s := range m.Symbols() {
			if s.Name == name {
				return bars(m, s)
			}
		}
		return nil, time.Time{}
	}
	a, first := closes(direct)
	b, _ := closes(one)
	c, _ := closes(two)
	var found []alert
	for i := range a {
		if a[i].rows > 0 && b[i].rows > 0 && c[i].rows > 0 && math.Abs(a[i].close/implied(b[i].close, c[i].close)-1) >= .01 {
			found = append(found, alert{CrossPair, direct, first.Add(time.Duration(i+1) * time.Minute)})
		}
	}
	return found
}

// explained returns the incident that an alert is about: one of the same base asset, during it or in
// the hour after it, because volatility and the mean price of an hour show it for that long.
func explained(m *Market, a alert) (Event, bool) {
	for _, e := range m.Injected() {
		p, q := m.byName[e.Symbol], m.byName[a.symbol]
		if (p == q || p.base == q.base) && !a.at.Before(e.From) && a.at.Before(e.To.Add(time.Hour)) {
			return e, true
		}
	}
	return Event{}, false
}
