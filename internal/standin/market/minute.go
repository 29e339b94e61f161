package market

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// minuteRows holds the rows of one pair and minute.
type minuteRows struct {
	minute int64 // since 1970
	first  int64 // the id of the first one, or that of the next row if there is none
	rows   []row
}

// takerOrder is an order of a minute before it is filled.
type takerOrder struct {
	at    int64 // µs
	rows  int   // how many rows it becomes
	crowd *incident
	whale *whale
}

// minute returns the rows of a pair in a minute since 1970, which begins at or after the epoch.
func (v *Perpetual) minute(p *perpetualPair, minute int64) minuteRows {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.recent {
		if p.recent[i].minute == minute {
			return p.recent[i]
		}
	}
	since := minute - v.scheduled.begin/minuteMicros
	day, place := since/dayMinutes, since%dayMinutes
	table := v.table(p, day)
	block := minuteRows{minute: minute, first: v.dayFirst(p, day) + table[place]}
	if n := int(table[place+1] - table[place]); n > 0 {
		block.rows = v.fill(p, v.plan(day), minute*minuteMicros, n)
	}
	p.recent[p.replace] = block
	p.replace = (p.replace + 1) % recentMinutes
	return block
}

// fill makes the n rows of a minute.
func (v *Perpetual) fill(p *perpetualPair, plan *plan, start int64, n int) []row {
	random := rand.New(rand.NewPCG(mix(v.seed), draw(p.key, uint64(start/minuteMicros))))
	orders := v.orders(p, plan, start, n, random)
	// The engine's ways to draw a size and a price work on a pair; this one is theirs alone.
	scratch := *p.pair
	scratch.random = random
	rows := make([]row, 0, n)
	for _, order := range orders {
		scratch.logMid = v.fair(plan, p.pair, order.at)
		buy, factor := random.Float64() < v.buyShare(plan, p.pair, order, scratch.logMid), 1.0
		if order.crowd != nil {
			factor = order.crowd.sizeFactor
		}
		steps, gap := float64(v.scheduled.engine.size(&scratch, factor)), p.levelGap*p.firstPriceTicks
		if w := order.whale; w != nil {
			buy, steps = w.buy, w.multiple*usualLargest*p.medianSteps
			gap = math.Log1p(w.sweep) * math.Exp(scratch.logMid) * 1e8 / float64(p.tick) / float64(w.levels)
		}
		price, away := v.scheduled.engine.bestPrice(&scratch, buy)
		for left := order.rows; left > 0; left-- {
			qty := int64(steps / float64(left))
			if left > 1 {
				qty = int64(float64(qty) * (.4 + 1.2*random.Float64()))
			}
			steps -= float64(qty)
			rows = append(rows, row{time: order.at, price: max(1, price), qty: max(qty, maxMakers), sell: !buy})
			price += away * (1 + int64(random.ExpFloat64()*max(0, gap-.5)))
		}
	}
	return rows
}

// usualLargest is the size of a day's largest order in median orders: sizeLimit standard deviations.
const usualLargest = 60

// orders draws when the orders of a minute arrive, in order. Together they have n rows.
func (v *Perpetual) orders(p *perpetualPair, plan *plan, start int64, n int, random *rand.Rand) []takerOrder {
	var orders []takerOrder
	add := func(rows int, mean float64, crowd *incident, at func() int64) {
		for rows > 0 {
			order := takerOrder{at: at(), rows: min(rows, 1+int(random.ExpFloat64()*mean)), crowd: crowd}
			orders, rows = append(orders, order), rows-order.rows
		}
	}
	for _, in := range plan.incidents {
		if in.pair != p.pair {
			continue
		}
		crowd := int(v.crowd(in, start+minuteMicros) - v.crowd(in, start))
		if w := in.whale; w != nil && start <= w.at && w.at < start+minuteMicros {
			orders = append(orders, takerOrder{at: w.at, rows: w.levels, crowd: in, whale: w})
			crowd -= w.levels
			n -= w.levels
		}
		n -= crowd
		add(crowd, crowdRows-.5, in, func() int64 {
			from := max(start, int64(in.extraOrders[0].at))
			return from + random.Int64N(start+minuteMicros-from)
		})
	}
	at := start + random.Int64N(minuteMicros)
	add(n, .5, nil, func() int64 {
		at += int64(random.ExpFloat64() * 1.5 * second) // an order triggers others
		if random.Float64() < .4 || at >= start+minuteMicros {
			at = start + random.Int64N(minuteMicros)
		}
		return at
	})
	slices.SortStableFunc(orders, func(a, b takerOrder) int { return cmp.Compare(a.at, b.at) })
	return orders
}

// buyShare returns the probability that an order buys; mid is the log of the price at its time.
func (v *Perpetual) buyShare(plan *plan, p *pair, order takerOrder, mid float64) float64 {
	if order.crowd != nil {
		return order.crowd.buyShare.at(order.at)
	}
	// Prices rise because more is bought.
	rise := mid - v.fair(plan, p, order.at-4*second)
	return .5 + .3*math.Tanh(rise/(8*(p.halfSpread+p.levelGap)))
}

// fair returns the log of a pair's fair price at a time of the plan's day.
func (v *Perpetual) fair(plan *plan, p *pair, at int64) float64 {
	log := v.logPrice(plan, p.base, at) - v.logPrice(plan, p.quote, at)
	for _, in := range plan.incidents {
		switch {
		case in.priceShift == nil || in.pairOnly && in.pair != p:
		case in.pair.base == p.base:
			log += in.priceShift.at(at)
		case in.pair.base == p.quote:
			log -= in.priceShift.at(at)
		}
	}
	return log
}

// logPrice returns the log of an asset's price in dollars, without the shifts of incidents.
func (v *Perpetual) logPrice(plan *plan, a *asset, at int64) float64 {
	switch {
	case a.daily > 0:
		loud := 1.0
		for _, in := range plan.incidents {
			if in.pair.base == a && in.volatility != nil && in.from <= at && at < in.to {
				loud += max(0, in.volatility.at(at))
			}
		}
		return a.anchor + a.beta*commonDaily*wander(v.key, at, 1) + a.daily*wander(a.key^v.seed, at, loud)
	case a.usd != 1: // a dollar coin
		return a.anchor + 1.5e-4*smooth(a.key^v.seed, at, 3600*second)
	}
	return a.anchor
}

// wander is a random walk in absolute time with a standard deviation of about 1 in a day: a sum of
// movements over 1 second to 12 days, each with a variance in proportion to its length. The short ones,
// up to some minutes, are louder in some hours than in others, and loud multiplies them.
func wander(key uint64, at int64, loud float64) (sum float64) {
	loud *= math.Exp(.35 * smooth(key^0x766f6c, at, 2*3600*second))
	length := int64(second)
	for range 11 {
		amplitude := math.Sqrt(float64(length) / second / 86400 / 3)
		if length <= 1024*second {
			amplitude *= loud
		}
		sum += amplitude * smooth(key, at, length)
		length *= 4
	}
	return sum
}

// smooth is linear between standard normal values at multiples of a length.
func smooth(key uint64, at, length int64) float64 {
	n, part := at/length, float64(at%length)/float64(length)
	key ^= uint64(length)
	return bell(draw(key, uint64(n)))*(1-part) + bell(draw(key, uint64(n)+1))*part
}
