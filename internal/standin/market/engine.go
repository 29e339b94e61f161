package market

import (
	"math"
	"math/rand/v2"
)

// The model, second by second. Prices: one common factor and an own movement for each asset, both with a volatility
// that wanders; a pair's fair price is its base asset's over its quote asset's, so that crosses agree. Makers quote
// around a mid that is pulled to the fair price and pushed by orders. Orders: a Hawkes process, each order making
// others likelier for seconds (quick) and for minutes (slow).
const (
	second = 1_000_000 // µs

	commonDaily = .021 // standard deviation of the common factor's day, log price

	quickShare, quickDecay = .30, 1 / 1.5 // orders that an order sets off at once, and how fast (1/s)
	slowShare, slowDecay   = .32, 1 / 180.

	pull = .12 // of the mid to the fair price, 1/s

	roundSizes = .30 // share of orders for a round amount of one asset or the other
	sizeSpread = 1.35
	sizeLimit  = 3.0 // standard deviations: whoever has more to trade than that splits it up
	deepest    = 80  // price levels that one order takes at most
)

type engine struct {
	m      *Market
	rate   float64
	now    int64 // µs: all before it is generated
	count  int64 // seconds since begin
	random *rand.Rand
	assets []*asset // by first use, so that a map's order plays no part
	common float64  // the factor, log
	mood   float64  // log of the common volatility over its usual
	sway   float64  // standard deviation of this second's common movement
	push   float64  // how far an order moves the mid of what it swept
	levels []level  // scratch
}

// level is what an order takes at one price.
type level struct{ price, qty int64 }

func newEngine(m *Market) engine {
	e := engine{m: m, rate: m.config.Rate, now: m.begin, random: random(m.config.Seed, "market")}
	e.mood = .3 * e.random.NormFloat64()
	e.push = .45 / math.Sqrt(max(1, e.rate))
	known := make(map[*asset]bool)
	for _, p := range m.pairs {
		for _, a := range []*asset{p.base, p.quote} {
			if !known[a] {
				known[a] = true
				e.assets = append(e.assets, a)
			}
		}
	}
	return e
}

// second generates the next second of all pairs.
func (e *engine) second() {
	if e.count%60 == 0 {
		e.minute()
	}
	e.common += e.sway * e.random.NormFloat64()
	for _, p := range e.m.pairs {
		if p.listedAt > e.now {
			continue
		}
		e.orders(p)
	}
	e.now += second
	e.count++
}

// minute lets the moods wander: mean-reverting logs, so that calm and lively hours follow one another.
func (e *engine) minute() {
	wander := func(mood *float64, random *rand.Rand, spread, minutes float64) {
		*mood += -*mood/minutes + spread*math.Sqrt(2/minutes)*random.NormFloat64()
	}
	hour := math.Mod(float64(e.now)/3.6e9, 24)
	// Liveliest at 15 UTC, when Europe and America are both awake; a smaller crest at 1 UTC, morning in Asia.
	day := .36*math.Cos((hour-15)*math.Pi/12) + .10*math.Cos((hour-1.5)*math.Pi/6)

	wander(&e.mood, e.random, .32, 150)
	e.sway = commonDaily / math.Sqrt(86400) * math.Exp(e.mood-.05) * math.Sqrt(1+day*.8)
	for _, a := range e.assets {
		wander(&a.mood, a.random, .28, 90)
		a.news *= .86
		if a.daily > 0 && a.random.Float64() < 1.5/1440 {
			// News, once or twice a day: a jump of a few usual minutes, and people come to look.
			a.draw(e)
			a.log += a.random.NormFloat64() * a.daily * .09
			a.news += 1.5 + a.random.Float64()
		}
	}
	for _, p := range e.m.pairs {
		wander(&p.mood, p.random, .25, 120)
		tide := day
		if p.spec.class == thin || p.spec.class == steady {
			tide *= .6
		}
		lively := math.Exp(.5*(e.mood+p.base.mood)+p.mood-.08) + p.base.news
		p.calm = e.rate * p.spec.rate * (1 - quickShare - slowShare) * (1 + tide) * lively
	}
}

// draw brings an asset's own movement up to this second.
func (a *asset) draw(e *engine) {
	seconds := e.count - a.seen
	if seconds <= 0 {
		return
	}
	switch {
	case a.daily > 0:
		a.log += a.beta*(e.common-a.common) +
			a.daily*a.wild*math.Exp(a.mood-.04)*math.Sqrt(float64(seconds)/86400)*a.random.NormFloat64()
	case a.usd != 1: // a dollar coin: within a few hundredths of a percent of its dollar
		keep := math.Exp(-float64(seconds) / 3600)
		a.log = a.anchor + (a.log-a.anchor)*keep + 1.5*bp*math.Sqrt(1-keep*keep)*a.random.NormFloat64()
	}
	a.common, a.seen = e.common, e.count
}

// fair is the log of a pair's fair price at an instant of this second.
func (e *engine) fair(p *pair, at int64) float64 {
	p.base.draw(e)
	p.quote.draw(e)
	log := p.base.log - p.quote.log
	for _, shifts := range [...][]curve{p.base.shifts, p.shifts} {
		for _, c := range shifts {
			log += c.at(at)
		}
	}
	for _, c := range p.quote.shifts {
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
		if other.wild != nil {
			p.base.wild = 1 + max(0, other.wild.at(e.now)) // 1 again before to: the last point is 0
		}
		if other.silent {
			p.quick, p.slow = 0, 0
			return
		}
		if other.whale != nil && other.whale.at/second == e.now/second {
			e.whale(p, other.whale)
			return
		}
		if orders := other.orders.at(e.now) * max(1, e.rate); orders > 0 {
			in, extra = other, orders // of two at once, the later one's
		}
	}

	left := 1.0 // of the second
	for {
		calm := p.calm + extra
		// The quick excitement fades within the second; the slow one hardly.
		coming := (calm+p.slow)*left + p.quick*left/(1+.5*quickDecay*left)
		if p.need > coming {
			p.need -= coming
			p.fade(left)
			return
		}
		wait := left * p.need / coming
		left -= wait
		p.fade(wait)
		at := min(e.now+int64((1-left)*second), e.now+second-1)
		p.need = p.random.ExpFloat64()
		excite := 1.0
		if extra > 0 && p.random.Float64()*(calm+p.slow+p.quick) < extra {
			e.incidentOrder(p, in, at)
			excite = in.excite
		} else {
			e.usualOrder(p, at)
		}
		p.quick += excite * quickShare * quickDecay
		p.slow += excite * slowShare * slowDecay
	}
}

// fade lets the excitement die down over some seconds.
func (p *pair) fade(seconds float64) {
	if seconds == 1 {
		const quick, slow = .5134171190325920, .9944598480048967 // exp(-1/1.5), exp(-1/180)
		p.quick *= quick
		p.slow *= slow
		return
	}
	p.quick *= math.Exp(-seconds * quickDecay)
	p.slow *= math.Exp(-seconds * slowDecay)
}

// quote brings the mid up to an instant and returns how far the fair price is above it.
func (e *engine) quote(p *pair, at int64) float64 {
	fair := e.fair(p, at)
	keep := math.Exp(-pull * float64(at-p.at) / second)
	p.log = fair + (p.log-fair)*keep
	p.at = at
	return fair - p.log
}

func (e *engine) usualOrder(p *pair, at int64) {
	above := e.quote(p, at)
	if p.random.Float64() >= .45 { // else the same side again: a larger order being worked off
		scale := 2*p.spec.spread + p.spec.gap
		p.buying = p.random.Float64() < .5+.38*math.Tanh(above/scale)
	}
	e.trade(p, at, p.buying, e.size(p, 1), 1, 0)
}

func (e *engine) incidentOrder(p *pair, in *incident, at int64) {
	e.quote(p, at)
	buy := p.random.Float64() < in.buying.at(at)
	sweep := 0
	if p.random.Float64() < in.rush {
		sweep = 2 + int(p.random.ExpFloat64()*1.5)
	}
	e.trade(p, at, buy, e.size(p, in.size), in.size, sweep)
}

// size draws an order's size in steps: lognormal, often round, never under the minimum.
func (e *engine) size(p *pair, times float64) int64 {
	z := min(p.random.NormFloat64(), sizeLimit)
	steps := p.unit * times * math.Exp(sizeSpread*z)
	price := math.Exp(p.log) * 1e8                 // units of the quote asset for one of the base asset
	least := float64(p.spec.minNotional) / price * // in the base asset
		1e8 / float64(p.spec.step)
	steps = max(steps, least*1.02)
	if u := p.random.Float64(); u < roundSizes {
		value := 1.0 // in steps: what is made round
		if u < roundSizes/2 {
			value = price / 1e16 * float64(p.spec.step) // in the quote asset
		}
		if round := roundTo(steps*value) / value; round > least {
			steps = round
		}
	}
	return max(int64(steps), int64(least)+1)
}

// roundTo is the nearest number of the form 1, 2, 2.5, 5 or 7.5 times a power of ten, from below.
func roundTo(x float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(x)))
	for _, round := range [...]float64{7.5, 5, 2.5, 2} {
		if x >= round*unit {
			return round * unit
		}
	}
	return unit
}

// trade fills a taker order of some steps and moves the mid. depth multiplies what makers offer at a price; sweep is
// how many prices the order takes at least.
func (e *engine) trade(p *pair, at int64, buy bool, steps int64, depth float64, sweep int) {
	price, away := e.touch(p, buy)
	e.levels = e.levels[:0]
	gap := p.spec.gap * p.ticks // mean distance of price levels, in ticks
	for n := 0; steps > 0; n++ {
		var qty int64
		switch {
		case n+1 < sweep:
			share := float64(steps) / float64(sweep-n)
			qty = int64(share * (.4 + 1.2*p.random.Float64()))
		default:
			offered := p.unit * depth * (.6 + 3.2*p.random.ExpFloat64()) * (1 + .25*float64(n))
			qty = int64(offered)
		}
		qty = max(1, min(qty, steps))
		if n+1 == deepest {
			qty = steps
		}
		e.levels = append(e.levels, level{price, qty})
		steps -= qty
		price += away * (1 + int64(p.random.ExpFloat64()*max(0, gap-.5)))
		if price < 1 {
			price = 1
		}
	}
	e.print(p, at, buy)
	first, last := e.levels[0].price, e.levels[len(e.levels)-1].price
	move := math.Log(float64(last)/float64(first)) + float64(away)*.1*p.spec.spread
	p.log += e.push * move
}

// touch is the best price against a taker order, and the direction of the ones behind it.
func (e *engine) touch(p *pair, buy bool) (price, away int64) {
	mid := math.Exp(p.log) * 1e8 / float64(p.spec.tick)
	bid := max(1, int64(math.Floor(mid*(1-p.spec.spread))))
	if !buy {
		return bid, -1
	}
	return max(bid+1, int64(math.Ceil(mid*(1+p.spec.spread)))), 1
}

// print writes the levels of one order down, all at the same instant.
func (e *engine) print(p *pair, at int64, buy bool) {
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
		makers := 1 + int64(p.random.ExpFloat64()*(.35+.25*math.Log1p(float64(l.qty)/p.unit)))
		makers = min(makers, l.qty, 200)
		p.tape.append(row{time: at, price: l.price, qty: l.qty, raw: uint32(p.raw), makers: uint16(makers), sell: !buy})
		p.raw += makers
		total += l.qty
	}
	p.largest = max(p.largest, total)
}

// whale fills one order that dwarfs the day's and goes through the book.
func (e *engine) whale(p *pair, w *whale) {
	e.quote(p, w.at)
	price, away := e.touch(p, w.buy)
	e.levels = e.levels[:0]
	steps := int64(w.times * float64(max(p.largest, int64(p.unit))))
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
	e.print(p, w.at, w.buy)
	first, last := e.levels[0].price, e.levels[len(e.levels)-1].price
	p.log += .9 * math.Log(float64(last)/float64(first))
	p.buying = w.buy
}
