package market

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The kinds of incident, named for the detector that should find each.
const (
	PumpBurst        = "pump_burst"
	DumpBurst        = "dump_burst"
	VolumeSpike      = "volume_spike"
	PriceJump        = "price_jump"
	FlashCrash       = "flash_crash"
	FlowImbalance    = "flow_imbalance"
	WhaleOrder       = "whale_order"
	TradeRateBurst   = "trade_rate_burst"
	VWAPDeviation    = "vwap_deviation"
	VolatilityRegime = "volatility_regime"
	SilentSymbol     = "silent_symbol"
	CrossPair        = "cross_pair"
)

// Kinds lists the kinds of incident there are.
func Kinds() []string {
	return []string{
		PumpBurst, DumpBurst, VolumeSpike, PriceJump, FlashCrash, FlowImbalance, WhaleOrder, TradeRateBurst,
		VWAPDeviation, VolatilityRegime, SilentSymbol, CrossPair,
	}
}

// Standard is what the default market holds: a pump and dump, a flash crash, a whale and a coin that falls silent.
func Standard() []Incident {
	return []Incident{{Kind: SilentSymbol}, {Kind: PumpBurst}, {Kind: FlashCrash}, {Kind: WhaleOrder}}
}

const (
	// baseline is how much history lies before an incident whose time the seed chooses: detectors want 12 hours, and
	// a reader who fetches the last 24 of 26 hours shall have them too.
	baseline = 14 * time.Hour
	// leastHistory has room for the standard incidents after their baseline.
	leastHistory = 21 * time.Hour
	// apart is how far from another incident of the same pair the seed chooses a time.
	apart = 2 * time.Hour
)

// curve is a value over time: straight between its points, 0 before the first, and the last value ever after.
type curve []point

type point struct {
	at    int64 // µs
	value float64
}

func (c curve) at(at int64) float64 {
	if len(c) == 0 || at < c[0].at {
		return 0
	}
	for i := 1; i < len(c); i++ {
		if at < c[i].at {
			a, b := c[i-1], c[i]
			return a.value + (b.value-a.value)*float64(at-a.at)/float64(b.at-a.at)
		}
	}
	return c[len(c)-1].value
}

// incident is what happens to a pair in [from, to), besides the shift of the price that is with the asset or the pair.
type incident struct {
	event    Event
	from, to int64
	shift    curve
	onPair   bool    // the shift moves this pair against its assets
	orders   curve   // more orders a second
	buying   curve   // the share of them that buys
	rush     float64 // the share of them that takes two prices or more
	size     float64 // a multiplier of their size, and of what makers offer them
	excite   float64 // how much they set off, against usual orders
	wild     curve   // what is added to 1 to multiply the base asset's volatility
	silent   bool
	whale    *whale
}

// whale is one order.
type whale struct {
	at     int64
	buy    bool
	times  float64 // the largest order so far
	sweep  float64 // of the price
	levels int
}

// plan places the incidents that the configuration asks for.
func (m *Market) plan() error {
	wanted := m.config.Incidents
	if wanted == nil && m.config.History >= leastHistory {
		wanted = Standard()
	}
	if m.config.Quiet {
		wanted = nil
	}
	random := random(m.config.Seed, "incidents")
	// Those with a given time or place first, so that what the seed chooses keeps clear of them.
	wanted = slices.Clone(wanted)
	slices.SortStableFunc(wanted, func(a, b Incident) int {
		return cmp.Compare(loose(a), loose(b))
	})
	for _, want := range wanted {
		if err := m.place(want, random); err != nil {
			return fmt.Errorf("%s: %w", want.Kind, err)
		}
	}
	for _, in := range m.incidents {
		p := m.byName[in.event.Symbol]
		p.incidents = append(p.incidents, in)
		switch {
		case in.shift == nil:
		case in.onPair:
			p.shifts = append(p.shifts, in.shift)
		default:
			p.base.shifts = append(p.base.shifts, in.shift)
		}
	}
	return nil
}

// loose counts what the seed has to choose.
func loose(in Incident) (n int) {
	if in.Symbol == "" {
		n++
	}
	if in.At.IsZero() {
		n++
	}
	return n
}

func (m *Market) place(want Incident, random *rand.Rand) error {
	if !slices.Contains(Kinds(), want.Kind) {
		return fmt.Errorf("no such incident: want one of %s", strings.Join(Kinds(), ", "))
	}
	if !(want.Size >= 0) || want.Size > 3 {
		return fmt.Errorf("size %g, want 0 (as drawn) to 3 times that", want.Size)
	}
	var pairs []*pair
	if want.Symbol != "" {
		p := m.byName[want.Symbol]
		if p == nil {
			return fmt.Errorf("no symbol %q in this market", want.Symbol)
		}
		pairs = []*pair{p}
	} else if pairs = m.suited(want.Kind); len(pairs) == 0 {
		return fmt.Errorf("none of the %d symbols suits it: name one", len(m.pairs))
	}
	// Drawn again until it is clear of the pair's other incidents; with many on few pairs, of less and less of them.
	for try := range 200 {
		p := pairs[random.IntN(len(pairs))]
		draft := m.draft(want.Kind, p, want.At, want.Size, random)
		if want.At.IsZero() {
			room := draft.to - draft.event.From.UnixMicro()
			first := max(m.begin, p.listedAt) + baseline.Microseconds()
			last := m.config.Start.UnixMicro() - room - (10 * time.Minute).Microseconds()
			if last < first {
				return fmt.Errorf("a history of %s has no room for it after a baseline of %s: give it a time", m.config.History, baseline)
			}
			at := time.UnixMicro(first + random.Int64N(last-first+1)).UTC()
			draft = m.draft(want.Kind, p, at.Truncate(time.Minute), want.Size, random)
		}
		if want.At.IsZero() && (draft.to > m.config.Start.UnixMicro() || m.clash(draft, apart*time.Duration(200-try)/200)) {
			continue
		}
		if draft.from < max(m.begin, p.listedAt) {
			return fmt.Errorf("at %s %s did not trade yet", want.At.Format(time.RFC3339), p.spec.name)
		}
		m.incidents = append(m.incidents, draft)
		return nil
	}
	return fmt.Errorf("no room for it beside the other %d incidents", len(m.incidents))
}

// clash tells whether another incident has to do with the same base asset at about that time. While there are
// untouched pairs the seed prefers those, because an incident spoils the baseline for a day.
func (m *Market) clash(draft *incident, margin time.Duration) bool {
	p := m.byName[draft.event.Symbol]
	for _, other := range m.incidents {
		q := m.byName[other.event.Symbol]
		if p.base != q.base && p.base != q.quote && p.quote != q.base {
			continue
		}
		if margin > apart/2 { // the first hundred tries: not the same asset at all
			return true
		}
		if draft.from-margin.Microseconds() < other.to && other.from < draft.to+margin.Microseconds() {
			return true
		}
	}
	return false
}

// suited lists the pairs where a kind of incident happens.
func (m *Market) suited(kind string) []*pair {
	classes := map[string][]class{
		PumpBurst:        {thin},
		DumpBurst:        {thin},
		VolumeSpike:      {middle, steady},
		PriceJump:        {middle, steady},
		FlashCrash:       {middle},
		FlowImbalance:    {middle, steady},
		WhaleOrder:       {middle, steady},
		TradeRateBurst:   {thin, steady},
		VWAPDeviation:    {middle},
		VolatilityRegime: {middle, steady},
		SilentSymbol:     {steady},
		CrossPair:        {cross},
	}[kind]
	var pairs []*pair
	for _, p := range m.pairs {
		listed := max(p.listedAt, m.begin) + baseline.Microseconds()
		if slices.Contains(classes, p.spec.class) && (p.listedAt == 0 || listed < m.config.Start.UnixMicro()) {
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// draft works an incident out for a pair with its onset at about a time, its size drawn and then multiplied.
func (m *Market) draft(kind string, p *pair, onset time.Time, times float64, random *rand.Rand) *incident {
	if times == 0 {
		times = 1
	}
	at := onset.UnixMicro()
	between := func(low, high float64) float64 { return low + (high-low)*random.Float64() }
	strong := func(low, high float64) float64 { return times * between(low, high) }
	after := func(minutes float64) int64 { return at + int64(minutes*60*second) }
	in := &incident{size: 1, excite: .25, event: Event{Kind: kind, Symbol: p.spec.name}}
	usual := p.spec.rate
	from, to := at, at
	name := p.spec.base

	switch kind {
	case PumpBurst:
		// Announced for a full minute, mostly; the crowd comes some seconds later, the dump after a minute or three.
		if random.Float64() < .7 {
			at += int64(between(0, 12) * second)
		} else {
			at += int64(between(0, 60) * second)
		}
		rise, up := strong(.11, .33), between(1.2, 2.4)
		crowd := strong(1.3, 2.6)
		down := up + between(2, 5)
		in.shift = curve{
			{after(-between(4, 9)), 0}, {at, between(.001, .006)}, {after(up * .35), rise * between(.5, .7)}, {after(up), rise},
			{after(down), rise * between(.3, .5)}, {after(down + 30), rise * between(.05, .2)}, {after(down + 120), rise * .02},
		}
		in.orders = curve{{at, crowd * .8}, {after(.4), crowd}, {after(up), crowd}, {after(down), crowd * .35}, {after(down + 20), 0}}
		in.buying = curve{{at, .93}, {after(up * .9), .82}, {after(up + .3), .28}, {after(down), .38}, {after(down + 20), .48}}
		in.wild = curve{{at, 3}, {after(up), 14}, {after(down), 9}, {after(down + 20), 3}, {after(down + 55), 0}}
		in.rush, in.size = between(.55, .75), between(1.1, 2.5)
		from, to = in.shift[0].at, after(down+60)
		in.event.Note = fmt.Sprintf("a crowd buys %s up by %.0f %% within %.0f s, then the organisers sell",
			name, 100*math.Expm1(rise), up*60)

	case DumpBurst:
		fall, down := strong(.09, .26), between(1.2, 2.5)
		crowd := strong(1.3, 2.4)
		in.shift = curve{{at, 0}, {after(down * .4), -fall * .6}, {after(down), -fall}, {after(down + 40), -fall * between(.6, .9)}}
		in.orders = curve{{at, crowd}, {after(down), crowd}, {after(down + 5), crowd * .2}, {after(down + 20), 0}}
		in.buying = curve{{at, .08}, {after(down), .2}, {after(down + 1), .5}}
		in.wild = curve{{at, 3}, {after(down), 12}, {after(down + 10), 5}, {after(down + 55), 0}}
		in.rush, in.size = between(.55, .75), between(1, 2)
		to = after(down + 60)
		in.event.Note = fmt.Sprintf("holders rush to sell %s, down %.0f %% within %.0f s", name, -100*math.Expm1(-fall), down*60)

	case VolumeSpike:
		minutes := between(5, 8)
		in.size = strong(18, 35)
		in.orders = curve{{at, 4*usual + .5}, {after(minutes), 4*usual + .5}, {after(minutes + 2), 0}}
		in.buying = curve{{at, .5}}
		in.shift = curve{{at, 0}, {after(minutes), between(-.004, .004)}}
		to = after(minutes + 2)
		in.event.Note = fmt.Sprintf("for %.0f minutes orders of %.0f times the usual size change hands in %s at a steady price", minutes, in.size, name)

	case PriceJump:
		jump, minutes := strong(.07, .13), between(1, 2.5)
		if random.Float64() < .5 {
			jump = -jump * .65 // from -4.5 %: short of a crash
		}
		side := .5 + math.Copysign(.3, jump)
		in.shift = curve{{at, 0}, {after(minutes), jump}, {after(minutes + 90), jump * between(.7, 1)}}
		in.orders = curve{{at, 3*usual + .1}, {after(minutes + 6), 3 * usual}, {after(minutes + 15), 0}}
		in.buying = curve{{at, side}, {after(minutes + 1), .5}}
		in.wild = curve{{at, 2}, {after(minutes), 4}, {after(minutes + 55), 0}}
		to = after(minutes + 60)
		in.event.Note = fmt.Sprintf("news moves %s by %+.1f %% within %.0f s, and it stays there", name, 100*math.Expm1(jump), minutes*60)

	case FlashCrash:
		fall, down, up := strong(.15, .26), between(1.5, 3.5), between(4, 9)
		crowd := strong(.8, 1.8)
		in.shift = curve{
			{at, 0}, {after(down * .5), -fall * between(.25, .4)}, {after(down), -fall}, {after(down + .5), -fall * .97},
			{after(down + up), -fall * between(.25, .45)}, {after(down + up + 60), -fall * between(.1, .2)},
		}
		in.orders = curve{{at, crowd}, {after(down), crowd * 1.6}, {after(down + up), crowd * .5}, {after(down + up + 15), 0}}
		in.buying = curve{{at, .2}, {after(down), .08}, {after(down + .5), .7}, {after(down + up), .52}}
		in.wild = curve{{at, 3}, {after(down), 14}, {after(down + up), 8}, {after(down + up + 40), 0}}
		in.rush, in.size = between(.4, .6), between(1.2, 3)
		to = after(down + up + 45)
		in.event.Note = fmt.Sprintf("stop orders carry %s down by %.0f %% within %.0f s; most of it comes back in %.0f minutes",
			name, -100*math.Expm1(-fall), down*60, up)

	case FlowImbalance:
		minutes, side := between(18, 26), .98
		word := "buys"
		drift := between(.006, .012)
		if random.Float64() < .5 {
			side, word, drift = .02, "sells", -drift
		}
		in.orders = curve{{at, 5*usual + .15}, {after(minutes), 5*usual + .15}, {after(minutes + .1), 0}}
		in.buying = curve{{at, side}}
		in.shift = curve{{at, 0}, {after(minutes), drift}, {after(minutes + 60), drift * .5}}
		in.size, in.excite = strong(3, 5), 0
		to = after(minutes + 5)
		in.event.Note = fmt.Sprintf("somebody %s %s without a pause for %.0f minutes", word, name, minutes)

	case WhaleOrder:
		at += int64(between(3, 57) * second)
		w := &whale{at: at, buy: random.Float64() < .5, times: strong(4.5, 8), sweep: strong(.022, .04), levels: 12 + random.IntN(20)}
		side, word := 1.0, "buys"
		if !w.buy {
			side, word = -1, "sells"
		}
		in.whale = w
		// What it took stays taken for a while: makers don't come back at once.
		in.shift = curve{{at, 0}, {at + 1, side * w.sweep * .85}, {after(12), side * w.sweep * .75}, {after(60), side * w.sweep * between(.2, .5)}}
		in.orders = curve{{at + second, 3*usual + .1}, {after(8), 0}}
		in.buying = curve{{at, .5 - .1*side}}
		to = after(30)
		in.event.Note = fmt.Sprintf("one order %s %.1f times as much %s as any before it, through %d prices", word, w.times, name, w.levels)

	case TradeRateBurst:
		minutes := between(6, 9)
		machine := times * (1.2 + 30*usual)
		in.orders = curve{{at, machine}, {after(minutes), machine}, {after(minutes + .5), 0}}
		in.buying = curve{{at, .5}}
		in.size, in.excite = .2, .1
		to = after(minutes + 3)
		in.event.Note = fmt.Sprintf("a market maker's machine sends small orders in %s for %.0f minutes", name, minutes)

	case VWAPDeviation:
		drift, minutes := strong(.10, .15), between(35, 45)
		if random.Float64() < .5 {
			drift = -drift
		}
		in.shift = curve{{at, 0}, {after(minutes), drift}, {after(minutes + 240), drift * .6}}
		in.orders = curve{{at, 1.5 * usual}, {after(minutes), 1.5 * usual}, {after(minutes + 10), 0}}
		in.buying = curve{{at, .5 + math.Copysign(.15, drift)}}
		to = after(minutes + 60)
		in.event.Note = fmt.Sprintf("%s moves steadily, by %+.0f %% in %.0f minutes", name, 100*math.Expm1(drift), minutes)

	case VolatilityRegime:
		minutes := between(45, 70)
		wild := strong(17, 24)
		in.wild = curve{{at, wild - 1}, {after(minutes), wild - 1}, {after(minutes + 5), 0}}
		in.orders = curve{{at, 3 * usual}, {after(minutes), 3 * usual}, {after(minutes + 10), 0}}
		in.buying = curve{{at, .5}}
		to = after(minutes + 10)
		in.event.Note = fmt.Sprintf("the price of %s swings %.0f times as widely as usual for %.0f minutes", name, wild, minutes)

	case SilentSymbol:
		hours := strong(2.4, 4.2)
		in.silent = true
		to = after(hours * 60)
		in.event.Note = fmt.Sprintf("nobody trades %s for %.1f hours", name, hours)

	case CrossPair:
		off, minutes := strong(.025, .055), between(14, 28)
		if random.Float64() < .5 {
			off = -off
		}
		in.onPair = true
		in.shift = curve{{at, 0}, {after(between(1, 3)), off}, {after(minutes), off * between(.7, 1)}, {after(minutes + 4), 0}}
		in.orders = curve{{at, .15 + usual}, {after(minutes + 4), .15 + usual}, {after(minutes + 5), 0}}
		in.buying = curve{{at, .5 + math.Copysign(.2, off)}, {after(minutes), .5 - math.Copysign(.2, off)}}
		to = after(minutes + 10)
		in.event.Note = fmt.Sprintf("%s trades %+.1f %% off its price over the other pairs for %.0f minutes", p.spec.name, 100*math.Expm1(off), minutes)
	}
	in.from, in.to = from, to
	in.event.From, in.event.To, in.event.At = time.UnixMicro(from).UTC(), time.UnixMicro(to).UTC(), time.UnixMicro(at).UTC()
	return in
}
