package market

import (
	"hash/fnv"
	"io"
	"math"
	"sort"
	"time"

	"tapedeck/internal/standin/exchange"
)

// The schedule of a Perpetual gives the number of rows of a pair before any minute. The usual rows
// before a day are a multiple of the days since the epoch, plus a bounded deviation, so no other day
// has to be known. The rows of incidents are added up from the epoch on, four incidents a day. Within
// a day, each minute has a weight: of the hour of the day, and of chance over an hour, ten minutes and
// the minute.

const (
	minuteMicros = 60 * second
	dayMinutes   = 24 * 60
	dayMicros    = dayMinutes * minuteMicros

	// rowsPerOrder is the mean number of rows of an order, crowdRows that of an order of an incident.
	rowsPerOrder = 1.3
	crowdRows    = 2.2
	// daySpread bounds by how much the numbers of rows of two days differ, as a share.
	daySpread = .4
)

// plan holds the incidents of one UTC day.
type plan struct {
	start     int64 // µs
	incidents []*incident
}

// hashOf returns the key of a purpose's draws.
func hashOf(purpose string) uint64 {
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, purpose)
	return hash.Sum64()
}

// draw returns 64 random bits that are a function of its arguments.
func draw(key, n uint64) uint64 { return exchange.Mix(key ^ exchange.Mix(n+0x9e3779b97f4a7c15)) }

// share returns a number in [0, 1) from random bits.
func share(bits uint64) float64 { return float64(bits>>11) / (1 << 53) }

// bell returns a number from random bits that is distributed nearly like a standard normal one: the sum
// of four uniform numbers. None is beyond 3.5.
func bell(bits uint64) float64 {
	sum := bits&0xffff + bits>>16&0xffff + bits>>32&0xffff + bits>>48
	return (float64(sum)/65536 - 2) * 1.7320508
}

// dayOf returns the number of days between the epoch and the day of a time.
func (v *Perpetual) dayOf(at int64) int64 { return max(0, at-v.scheduled.begin) / dayMicros }

// plan returns the plan of a day.
func (v *Perpetual) plan(day int64) *plan {
	v.mu.Lock()
	defer v.mu.Unlock()
	for int64(len(v.plans)) <= day {
		v.plans = append(v.plans, v.newPlan(int64(len(v.plans))))
	}
	return v.plans[day]
}

func (v *Perpetual) newPlan(day int64) *plan {
	out := &plan{start: v.scheduled.begin + day*dayMicros}
	if v.quiet {
		return out
	}
	random := random(v.seed, "incidents of day "+time.UnixMicro(out.start).UTC().Format(time.DateOnly))
	for i, request := range Standard() {
		pairs, err := v.scheduled.candidates(request)
		if err != nil {
			continue // a market of few symbols has none that suits
		}
		// Another pair each day, because an incident spoils a detector's baseline for a day.
		choice := day + int64(i) + int64(v.seed%7)
		for range pairs {
			p := pairs[choice%int64(len(pairs))]
			choice++
			// An hour for what leads up to it, and six hours for what follows.
			onset := out.start + dayMicros/24 + random.Int64N(dayMicros*17/24)
			in := newIncident(request.Kind, p, time.UnixMicro(onset).UTC().Truncate(time.Minute), 0, random)
			if out.overlaps(in) || in.to > out.start+dayMicros {
				continue
			}
			if n := len(in.priceShift); n > 0 && in.priceShift[n-1].value != 0 {
				in.priceShift = append(in.priceShift, point{float64(out.start + dayMicros), 0})
			}
			out.incidents = append(out.incidents, in)
			break
		}
	}
	return out
}

// overlaps reports whether an incident concerns an asset that another one of the day concerns.
func (d *plan) overlaps(in *incident) bool {
	for _, other := range d.incidents {
		p, q := in.pair, other.pair
		if p.base == q.base || p.base == q.quote || p.quote == q.base {
			return true
		}
	}
	return false
}

// area returns the integral of a curve up to a time, in units of a second.
func (c curve) area(until int64) (sum float64) {
	for i := 1; i < len(c); i++ {
		from, to := c[i-1].at, min(c[i].at, float64(until))
		if to <= from {
			break
		}
		sum += (to - from) / second * (c[i-1].value + c.at(int64(to)-1)) / 2
	}
	return sum
}

// crowd returns how many rows an incident has added before a time.
func (v *Perpetual) crowd(in *incident, until int64) (rows int64) {
	rows = int64(in.extraOrders.area(until) * max(1, v.rate) * crowdRows)
	if in.whale != nil && in.whale.at < until {
		rows += int64(in.whale.levels)
	}
	return rows
}

// dayFirst returns the id of a pair's first aggregated trade of a day. p.mu is held.
func (v *Perpetual) dayFirst(p *perpetualPair, day int64) int64 {
	if len(p.extra) == 0 {
		p.extra = append(p.extra, 0)
	}
	for n := int64(len(p.extra)); n <= day; n++ {
		extra, plan := p.extra[n-1], v.plan(n-1)
		for _, in := range plan.incidents {
			if in.pair == p.pair {
				extra += v.crowd(in, plan.start+dayMicros)
			}
		}
		p.extra = append(p.extra, extra)
	}
	return p.firstAgg + v.usual(p, day) - v.usual(p, 0) + p.extra[day]
}

// usual returns the number of usual rows before a day, from an arbitrary zero.
func (v *Perpetual) usual(p *perpetualPair, day int64) int64 {
	deviation := daySpread * share(draw(v.seed^p.key, uint64(day)))
	return int64(p.pair.rate * v.rate * rowsPerOrder * 86400 * (float64(day) + deviation))
}

// table returns the number of a pair's rows of a day before each of its minutes, and at its end. p.mu is
// held.
func (v *Perpetual) table(p *perpetualPair, day int64) []int64 {
	if table := p.tables[day]; table != nil {
		return table
	}
	if len(p.tables) >= maxTables {
		clear(p.tables)
	}
	plan := v.plan(day)
	key := v.seed ^ p.key
	chance := func(length int, purpose uint64, minute int, spread float64) float64 {
		return spread * bell(draw(key^purpose, uint64(day)*dayMinutes+uint64(minute/length)))
	}
	weights, sum := make([]float64, dayMinutes+1), 0.0
	for minute := range dayMinutes {
		hour := float64(minute) / 60
		cycle := .36*math.Cos((hour-15)*math.Pi/12) + .10*math.Cos((hour-1.5)*math.Pi/6) // as in engine.minute
		if p.class == thin || p.class == steady {
			cycle *= .6
		}
		weights[minute] = sum
		if at := plan.start + int64(minute)*minuteMicros; !plan.silent(p.pair, at) {
			sum += (1 + cycle) * math.Exp(chance(60, 60, minute, .25)+chance(10, 10, minute, .25)+chance(1, 1, minute, .3))
		}
	}
	weights[dayMinutes] = sum
	usual := float64(v.usual(p, day+1) - v.usual(p, day))
	table := make([]int64, dayMinutes+1)
	for minute := range table {
		rows := int64(usual * (weights[minute] / sum)) // all of them at the end
		for _, in := range plan.incidents {
			if in.pair == p.pair {
				rows += v.crowd(in, plan.start+int64(minute)*minuteMicros)
			}
		}
		table[minute] = rows
	}
	p.tables[day] = table
	return table
}

// silent reports whether an incident silences a pair in the minute that begins at a time.
func (d *plan) silent(p *pair, at int64) bool {
	for _, in := range d.incidents {
		if in.silent && in.pair == p && in.from < at+minuteMicros && at < in.to {
			return true
		}
	}
	return false
}

// minuteOf returns the minute of a pair's aggregated trade, counted from 1970.
func (v *Perpetual) minuteOf(p *perpetualPair, agg int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	// An id beyond the horizon's day is not looked for: nobody sees it.
	last := v.dayOf(v.horizon.Load()) + 1
	day := int64(sort.Search(int(last), func(day int) bool { return v.dayFirst(p, int64(day)+1) > agg }))
	table, n := v.table(p, day), agg-v.dayFirst(p, day)
	minute := sort.Search(dayMinutes-1, func(i int) bool { return table[i+1] > n })
	return v.scheduled.begin/minuteMicros + day*dayMinutes + int64(minute)
}
