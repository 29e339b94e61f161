package market

import (
	"math"
	"math/rand/v2"
)

// The model advances second by second.
//
// Prices: one common factor and one own movement for each asset, both with a volatility that
// wanders. A pair's fair price is its base asset's price over its quote asset's, so that crosses
// agree. Makers quote around a mid price that is pulled to the fair price and pushed by orders.
//
// Orders: a Hawkes process. Each order makes others more likely for seconds (fast) and for minutes
// (slow).
const (
	second = 1_000_000 // µs

	commonDaily = .021 // standard deviation of the common factor in a day, log price

	// How many orders one order triggers in each component, and how fast the component decays, 1/s.
	fastShare, fastDecay = .30, 1 / 1.5
	slowShare, slowDecay = .32, 1 / 180.

	pull = .12 // of the mid price to the fair price, 1/s

	roundSizes = .30 // share of orders for a round amount of one asset or the other
	sizeSpread = 1.35
	sizeLimit  = 3.0 // standard deviations: larger orders are split by the trader
	maxLevels  = 80  // price levels that one order takes at most
)

type engine struct {
	m             *Market
	now           int64 // µs: everything before it is generated
	count         int64 // seconds since begin
	random        *rand.Rand
	assets        []*asset // by first use, so that map order has no influence
	commonFactor  float64  // log price
	logVolatility float64  // log of the common volatility relative to the usual
	commonSigma   float64  // standard deviation of the common factor in this second
	impact        float64  // share of an order's sweep by which it moves the mid price
	levels        []level  // scratch
}

// level is the quantity that an order takes at one price.
type level struct{ price, qty int64 }

func newEngine(m *Market) engine {
	e := engine{m: m, now: m.begin, random: random(m.config.Seed, "market")}
	e.logVolatility = .3 * e.random.NormFloat64()
	e.impact = .45 / math.Sqrt(max(1, m.config.Rate))
	return e
}

// second generates the next second for all pairs.
func (e *engine) second() {
	if e.count%60 == 0 {
		e.minute()
	}
	e.commonFactor += e.commonSigma * e.random.NormFloat64()
	for _, p := range e.m.pairs {
		if p.listedAt <= e.now {
			e.orders(p)
		}
	}
	e.now += second
	e.count++
}

// minute moves volatilities and activities: their logs revert to the mean, so that calm and busy
// hours alternate.
func (e *engine) minute() {
	wander := func(log *float64, random *rand.Rand, spread, minutes float64) {
		*log += -*log/minutes + spread*math.Sqrt(2/minutes)*random.NormFloat64()
	}
	hour := math.Mod(float64(e.now)/3.6e9, 24)
	// Busiest at 15 UTC, when Europe and America are both awake; a smaller peak at 1 UTC, morning in Asia.
	day := .36*math.Cos((hour-15)*math.Pi/12) + .10*math.Cos((hour-1.5)*math.Pi/6)

	wander(&e.logVolatility, e.random, .32, 150)
	e.commonSigma = commonDaily / math.Sqrt(86400) * math.Exp(e.logVolatility-.05) * math.Sqrt(1+day*.8)
	for _, a := range e.assets {
		wander(&a.logVolatility, a.random, .28, 90)
		a.newsActivity *= .86
		if a.daily > 0 && a.random.Float64() < 1.5/1440 {
			// News, once or twice a day: a jump of a few usual minutes, and more activity.
			a.advance(e)
			a.logPrice += a.random.NormFloat64() * a.daily * .09
			a.newsActivity += 1.5 + a.random.Float64()
		}
	}
	for _, p := range e.m.pairs {
		wander(&p.logActivity, p.random, .25, 120)
		cycle := day
		if p.class == thin || p.class == steady {
			cycle *= .6
		}
		activity := math.Exp(.5*(e.logVolatility+p.base.logVolatility)+p.logActivity-.08) + p.base.newsActivity
		p.baseRate = e.m.config.Rate * p.rate * (1 - fastShare - slowShare) * (1 + cycle) * activity
	}
}

// advance moves an asset's price to this second.
func (a *asset) advance(e *engine) {
	seconds := e.count - a.updatedAt
	if seconds <= 0 {
		return
	}
	switch {
	case a.daily > 0:
		a.logPrice += a.beta*(e.commonFactor-a.commonFactor) +
			a.daily*a.volatility*math.Exp(a.logVolatility-.04)*math.Sqrt(float64(seconds)/86400)*a.random.NormFloat64()
	case a.usd != 1: // a dollar coin: within a few hundredths of a percent of a dollar
		keep := math.Exp(-float64(seconds) / 3600)
		a.logPrice = a.anchor + (a.logPrice-a.anchor)*keep + 1.5e-4*math.Sqrt(1-keep*keep)*a.random.NormFloat64()
	}
	a.commonFactor, a.updatedAt = e.commonFactor, e.count
}

// fair returns the log of a pair's fair price at a time in this second.
func (e *engine) fair(p *pair, at int64) float64 {
	p.base.advance(e)
	p.quote.advance(e)
	log := p.base.logPrice - p.quote.logPrice
	for _, shifts := range [...][]curve{p.base.priceShifts, p.priceShifts} {
		for _, c := range shifts {
			log += c.at(at)
		}
	}
	for _, c := range p.quote.priceShifts {
		log -= c.at(at)
	}
	return log
}

// orders generates a pair's taker orders of this second.
func (e *engine) orders(p *pair) {
	var in *incident
	var extra float64
	for _, other := range p.incidents {
		if e.now+second <= other.from || other.to <= e.now {
			continue
		}
		if other.volatility != nil {
			p.base.volatility = 1 + max(0, other.volatility.at(e.now)) // back to 1 before other.to, because the last point is 0
		}
		if other.silent {
			p.fastExcitation, p.slowExcitation = 0, 0
			return
		}
		if other.whale != nil && other.whale.at/second == e.now/second {
			e.whale(p, other.whale)
			return
		}
		if orders := other.extraOrders.at(e.now) * max(1, e.m.config.Rate); orders > 0 {
			in, extra = other, orders // the later of two that overlap
		}
	}

	left := 1.0 // of the second
	for {
		base := p.baseRate + extra
		// The fast excitation decays within the second, the slow one hardly.
		hazard := (base+p.slowExcitation)*left + p.fastExcitation*left/(1+.5*fastDecay*left)
		if p.hazardLeft > hazard {
			p.hazardLeft -= hazard
			p.decay(left)
			return
		}
		wait := left * p.hazardLeft / hazard
		left -= wait
		p.decay(wait)
		at := min(e.now+int64((1-left)*second), e.now+second-1)
		p.hazardLeft = p.random.ExpFloat64()
		excitation := 1.0
		if extra > 0 && p.random.Float64()*(base+p.slowExcitation+p.fastExcitation) < extra {
			e.incidentOrder(p, in, at)
			excitation = in.excitation
		} else {
			e.usualOrder(p, at)
		}
		p.fastExcitation += excitation * fastShare * fastDecay
		p.slowExcitation += excitation * slowShare * slowDecay
	}
}

// decay reduces the excitation over some seconds.
func (p *pair) decay(seconds float64) {
	if seconds == 1 {
		const fast, slow = .5134171190325920, .9944598480048967 // exp(-1/1.5), exp(-1/180)
		p.fastExcitation *= fast
		p.slowExcitation *= slow
		return
	}
	p.fastExcitation *= math.Exp(-seconds * fastDecay)
	p.slowExcitation *= math.Exp(-seconds * slowDecay)
}

// updateMid moves the mid price to a time and returns how far the fair price is above it.
func (e *engine) updateMid(p *pair, at int64) float64 {
	fair := e.fair(p, at)
	keep := math.Exp(-pull * float64(at-p.midAt) / second)
	p.logMid = fair + (p.logMid-fair)*keep
	p.midAt = at
	return fair - p.logMid
}

func (e *engine) usualOrder(p *pair, at int64) {
	above := e.updateMid(p, at)
	if p.random.Float64() >= .45 { // otherwise the same side again: part of a larger order
		scale := 2*p.halfSpread + p.levelGap
		p.lastBuy = p.random.Float64() < .5+.38*math.Tanh(above/scale)
	}
	e.trade(p, at, p.lastBuy, e.size(p, 1), 1, 0)
}

func (e *engine) incidentOrder(p *pair, in *incident, at int64) {
	e.updateMid(p, at)
	buy := p.random.Float64() < in.buyShare.at(at)
	sweep := 0
	if p.random.Float64() < in.sweepShare {
		sweep = 2 + int(p.random.ExpFloat64()*1.5)
	}
	e.trade(p, at, buy, e.size(p, in.sizeFactor), in.sizeFactor, sweep)
}

// size draws an order's size in steps: lognormal, often round, never below the minimum.
func (e *engine) size(p *pair, factor float64) int64 {
	z := min(p.random.NormFloat64(), sizeLimit)
	steps := p.medianSteps * factor * math.Exp(sizeSpread*z)
	price := math.Exp(p.logMid) * 1e8           // units of the quote asset for one of the base asset
	minimum := float64(p.minNotional) / price * // in the base asset
		1e8 / float64(p.step)
	steps = max(steps, minimum*1.02)
	if u := p.random.Float64(); u < roundSizes {
		value := 1.0 // of a step, in the asset whose amount is rounded
		if u < roundSizes/2 {
			value = price / 1e16 * float64(p.step) // in the quote asset
		}
		if round := roundTo(steps*value) / value; round > minimum {
			steps = round
		}
	}
	return max(int64(steps), int64(minimum)+1)
}

// roundTo returns the greatest number up to x of the form 1, 2, 2.5, 5 or 7.5 times a power of ten.
func roundTo(x float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(x)))
	for _, round := range [...]float64{7.5, 5, 2.5, 2} {
		if x >= round*unit {
			return round * unit
		}
	}
	return unit
}

// trade fills a taker order of some steps and moves the mid price. depth multiplies the quantity that
// makers offer at a price; sweep is the least number of price levels that the order takes.
func (e *engine) trade(p *pair, at int64, buy bool, steps int64, depth float64, sweep int) {
	price, away := e.bestPrice(p, buy)
	e.levels = e.levels[:0]
	gap := p.levelGap * p.firstPriceTicks // mean distance of price levels, in ticks
	for n := 0; steps > 0; n++ {
		var offered float64
		if n+1 < sweep {
			offered = float64(steps) / float64(sweep-n) * (.4 + 1.2*p.random.Float64())
		} else {
			offered = p.medianSteps * depth * (.6 + 3.2*p.random.ExpFloat64()) * (1 + .25*float64(n))
		}
		qty := max(1, min(int64(offered), steps))
		if n+1 == maxLevels {
			qty = steps
		}
		e.levels = append(e.levels, level{price, qty})
		steps -= qty
		price = max(1, price+away*(1+int64(p.random.ExpFloat64()*max(0, gap-.5))))
	}
	move := e.record(p, at, buy) + float64(away)*.1*p.halfSpread
	p.logMid += e.impact * move
}

// bestPrice returns the best price for a taker order, and the direction of the levels behind it.
func (e *engine) bestPrice(p *pair, buy bool) (price, away int64) {
	mid := math.Exp(p.logMid) * 1e8 / float64(p.tick)
	bid := max(1, int64(math.Floor(mid*(1-p.halfSpread))))
	if !buy {
		return bid, -1
	}
	return max(bid+1, int64(math.Ceil(mid*(1+p.halfSpread)))), 1
}

// record appends the levels of one order as rows, all at the same time. It returns how far the order
// moved through the prices, log price.
func (e *engine) record(p *pair, at int64, buy bool) float64 {
	var total int64
	for i := 0; i < len(e.levels); i++ {
		l := e.levels[i]
		if i > 0 && l.price == e.levels[i-1].price {
			continue
		}
		for i+1 < len(e.levels) && e.levels[i+1].price == l.price { // at a price of one tick
			i++
			l.qty += e.levels[i].qty
		}
		makers := 1 + int64(p.random.ExpFloat64()*(.35+.25*math.Log1p(float64(l.qty)/p.medianSteps)))
		makers = min(makers, l.qty, 200)
		p.append(row{time: at, price: l.price, qty: l.qty, firstTrade: uint32(p.trades), makers: uint16(makers), sell: !buy})
		p.trades += makers
		total += l.qty
	}
	p.largestOrder = max(p.largestOrder, total)
	return math.Log(float64(e.levels[len(e.levels)-1].price) / float64(e.levels[0].price))
}

// whale fills one order that is much larger than the others of the day and sweeps the book.
func (e *engine) whale(p *pair, w *whale) {
	e.updateMid(p, w.at)
	price, away := e.bestPrice(p, w.buy)
	e.levels = e.levels[:0]
	steps := int64(w.multiple * float64(max(p.largestOrder, int64(p.medianSteps))))
	gap := math.Log1p(w.sweep) * float64(price) / float64(w.levels)
	for n := range w.levels {
		qty := steps / int64(w.levels-n)
		if n+1 < w.levels {
			qty = int64(float64(qty) * (.3 + 1.4*p.random.Float64()))
		}
		qty = max(1, min(qty, steps))
		e.levels = append(e.levels, level{max(1, price), qty})
		steps -= qty
		price += away * max(1, int64(gap*(.4+1.2*p.random.Float64())))
		if steps == 0 {
			break
		}
	}
	p.logMid += .9 * e.record(p, w.at, w.buy)
	p.lastBuy = w.buy
}
