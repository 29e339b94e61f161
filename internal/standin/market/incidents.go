package market

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// The kinds of incident, each named after the detector that should find it.
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

// Kinds lists the kinds of incident.
func Kinds() []string {
	return []string{
		PumpBurst, DumpBurst, VolumeSpike, PriceJump, FlashCrash, FlowImbalance, WhaleOrder, TradeRateBurst,
		VWAPDeviation, VolatilityRegime, SilentSymbol, CrossPair,
	}
}

// Standard lists the incidents of the default market: a pump and dump, a flash crash, a whale and a
// coin that falls silent.
func Standard() []Incident {
	return []Incident{{Kind: SilentSymbol}, {Kind: PumpBurst}, {Kind: FlashCrash}, {Kind: WhaleOrder}}
}

// suitableClasses lists the classes of pairs that a kind of incident happens to.
func suitableClasses(kind string) []class {
	switch kind {
	case PumpBurst, DumpBurst:
		return []class{thin}
	case FlashCrash, VWAPDeviation:
		return []class{middle}
	case TradeRateBurst:
		return []class{thin, steady}
	case SilentSymbol:
		return []class{steady}
	case CrossPair:
		return []class{cross}
	}
	return []class{middle, steady}
}

// builder shapes one incident. A builder's draws from random are part of the market's definition:
// their order must not change, or every seed gives other trades.
type builder struct {
	*incident
	random *rand.Rand
	p      *pair
	at     int64   // µs: the onset
	scale  float64 // Incident.Size
}

// newIncident shapes an incident of a kind for a pair with its onset at about a time. scale
// multiplies what is drawn; 0 means 1.
func newIncident(kind string, p *pair, onset time.Time, scale float64, random *rand.Rand) *incident {
	in := &incident{sizeFactor: 1, excitation: .25, event: Event{Kind: kind, Symbol: p.spec.name}}
	in.from, in.to = onset.UnixMicro(), onset.UnixMicro()
	b := &builder{incident: in, random: random, p: p, at: in.from, scale: cmp.Or(scale, 1)}
	switch kind {
	case PumpBurst:
		b.pumpBurst()
	case DumpBurst:
		b.dumpBurst()
	case VolumeSpike:
		b.volumeSpike()
	case PriceJump:
		b.priceJump()
	case FlashCrash:
		b.flashCrash()
	case FlowImbalance:
		b.flowImbalance()
	case WhaleOrder:
		b.whaleOrder()
	case TradeRateBurst:
		b.tradeRateBurst()
	case VWAPDeviation:
		b.vwapDeviation()
	case VolatilityRegime:
		b.volatilityRegime()
	case SilentSymbol:
		b.silentSymbol()
	case CrossPair:
		b.crossPair()
	}
	in.event.From, in.event.To = time.UnixMicro(in.from).UTC(), time.UnixMicro(in.to).UTC()
	in.event.At = time.UnixMicro(b.at).UTC()
	return in
}

func (b *builder) between(low, high float64) float64 { return low + (high-low)*b.random.Float64() }

// scaled draws like between and applies Incident.Size.
func (b *builder) scaled(low, high float64) float64 { return b.scale * b.between(low, high) }

// chance returns true with probability p.
func (b *builder) chance(p float64) bool { return b.random.Float64() < p }

// after returns the time so many minutes after the onset.
func (b *builder) after(minutes float64) int64 { return b.at + int64(minutes*60*second) }

func (b *builder) note(format string, args ...any) { b.event.Note = fmt.Sprintf(format, args...) }

// percent converts a log price movement.
func percent(log float64) float64 { return 100 * math.Expm1(log) }

func (b *builder) pumpBurst() {
	// Usually announced for a full minute. The crowd comes some seconds later, the dump after one to
	// three minutes.
	if b.chance(.7) {
		b.at += int64(b.between(0, 12) * second)
	} else {
		b.at += int64(b.between(0, 60) * second)
	}
	rise, up := b.scaled(.11, .33), b.between(1.2, 2.4)
	crowd := b.scaled(1.3, 2.6)
	down := up + b.between(2, 5)
	b.priceShift = curve{
		{b.after(-b.between(4, 9)), 0}, {b.at, b.between(.001, .006)}, {b.after(up * .35), rise * b.between(.5, .7)}, {b.after(up), rise},
		{b.after(down), rise * b.between(.3, .5)}, {b.after(down + 30), rise * b.between(.05, .2)}, {b.after(down + 120), rise * .02},
	}
	b.extraOrders = curve{{b.at, crowd * .8}, {b.after(.4), crowd}, {b.after(up), crowd}, {b.after(down), crowd * .35}, {b.after(down + 20), 0}}
	b.buyShare = curve{{b.at, .93}, {b.after(up * .9), .82}, {b.after(up + .3), .28}, {b.after(down), .38}, {b.after(down + 20), .48}}
	b.volatility = curve{{b.at, 3}, {b.after(up), 14}, {b.after(down), 9}, {b.after(down + 20), 3}, {b.after(down + 55), 0}}
	b.sweepShare, b.sizeFactor = b.between(.55, .75), b.between(1.1, 2.5)
	b.from, b.to = b.priceShift[0].at, b.after(down+60)
	b.note("a crowd buys %s up by %.0f %% within %.0f s, then the organisers sell", b.p.spec.base, percent(rise), up*60)
}

func (b *builder) dumpBurst() {
	fall, down := b.scaled(.09, .26), b.between(1.2, 2.5)
	crowd := b.scaled(1.3, 2.4)
	b.priceShift = curve{{b.at, 0}, {b.after(down * .4), -fall * .6}, {b.after(down), -fall}, {b.after(down + 40), -fall * b.between(.6, .9)}}
	b.extraOrders = curve{{b.at, crowd}, {b.after(down), crowd}, {b.after(down + 5), crowd * .2}, {b.after(down + 20), 0}}
	b.buyShare = curve{{b.at, .08}, {b.after(down), .2}, {b.after(down + 1), .5}}
	b.volatility = curve{{b.at, 3}, {b.after(down), 12}, {b.after(down + 10), 5}, {b.after(down + 55), 0}}
	b.sweepShare, b.sizeFactor = b.between(.55, .75), b.between(1, 2)
	b.to = b.after(down + 60)
	b.note("holders rush to sell %s, down %.0f %% within %.0f s", b.p.spec.base, -percent(-fall), down*60)
}

func (b *builder) volumeSpike() {
	minutes := b.between(5, 8)
	b.sizeFactor = b.scaled(18, 35)
	orders := 4*b.p.spec.rate + .5
	b.extraOrders = curve{{b.at, orders}, {b.after(minutes), orders}, {b.after(minutes + 2), 0}}
	b.buyShare = curve{{b.at, .5}}
	b.priceShift = curve{{b.at, 0}, {b.after(minutes), b.between(-.004, .004)}}
	b.to = b.after(minutes + 2)
	b.note("for %.0f minutes orders of %.0f times the usual size change hands in %s at a steady price", minutes, b.sizeFactor, b.p.spec.base)
}

func (b *builder) priceJump() {
	jump, minutes := b.scaled(.07, .13), b.between(1, 2.5)
	if b.chance(.5) {
		jump = -jump * .65 // from -4.5 %: too small for a crash
	}
	usual := b.p.spec.rate
	b.priceShift = curve{{b.at, 0}, {b.after(minutes), jump}, {b.after(minutes + 90), jump * b.between(.7, 1)}}
	b.extraOrders = curve{{b.at, 3*usual + .1}, {b.after(minutes + 6), 3 * usual}, {b.after(minutes + 15), 0}}
	b.buyShare = curve{{b.at, .5 + math.Copysign(.3, jump)}, {b.after(minutes + 1), .5}}
	b.volatility = curve{{b.at, 2}, {b.after(minutes), 4}, {b.after(minutes + 55), 0}}
	b.to = b.after(minutes + 60)
	b.note("news moves %s by %+.1f %% within %.0f s, and it stays there", b.p.spec.base, percent(jump), minutes*60)
}

func (b *builder) flashCrash() {
	fall, down, up := b.scaled(.15, .26), b.between(1.5, 3.5), b.between(4, 9)
	crowd := b.scaled(.8, 1.8)
	b.priceShift = curve{
		{b.at, 0}, {b.after(down * .5), -fall * b.between(.25, .4)}, {b.after(down), -fall}, {b.after(down + .5), -fall * .97},
		{b.after(down + up), -fall * b.between(.25, .45)}, {b.after(down + up + 60), -fall * b.between(.1, .2)},
	}
	b.extraOrders = curve{{b.at, crowd}, {b.after(down), crowd * 1.6}, {b.after(down + up), crowd * .5}, {b.after(down + up + 15), 0}}
	b.buyShare = curve{{b.at, .2}, {b.after(down), .08}, {b.after(down + .5), .7}, {b.after(down + up), .52}}
	b.volatility = curve{{b.at, 3}, {b.after(down), 14}, {b.after(down + up), 8}, {b.after(down + up + 40), 0}}
	b.sweepShare, b.sizeFactor = b.between(.4, .6), b.between(1.2, 3)
	b.to = b.after(down + up + 45)
	b.note("stop orders carry %s down by %.0f %% within %.0f s; most of it comes back in %.0f minutes", b.p.spec.base, -percent(-fall), down*60, up)
}

func (b *builder) flowImbalance() {
	minutes, buys := b.between(18, 26), .98
	verb := "buys"
	drift := b.between(.006, .012)
	if b.chance(.5) {
		buys, verb, drift = .02, "sells", -drift
	}
	orders := 5*b.p.spec.rate + .15
	b.extraOrders = curve{{b.at, orders}, {b.after(minutes), orders}, {b.after(minutes + .1), 0}}
	b.buyShare = curve{{b.at, buys}}
	b.priceShift = curve{{b.at, 0}, {b.after(minutes), drift}, {b.after(minutes + 60), drift * .5}}
	b.sizeFactor, b.excitation = b.scaled(3, 5), 0
	b.to = b.after(minutes + 5)
	b.note("somebody %s %s without a pause for %.0f minutes", verb, b.p.spec.base, minutes)
}

func (b *builder) whaleOrder() {
	b.at += int64(b.between(3, 57) * second)
	w := &whale{at: b.at, buy: b.chance(.5), multiple: b.scaled(4.5, 8), sweep: b.scaled(.022, .04), levels: 12 + b.random.IntN(20)}
	side, verb := 1.0, "buys"
	if !w.buy {
		side, verb = -1, "sells"
	}
	b.whale = w
	// The price recovers slowly, because makers do not return at once.
	b.priceShift = curve{
		{b.at, 0}, {b.at + 1, side * w.sweep * .85}, {b.after(12), side * w.sweep * .75}, {b.after(60), side * w.sweep * b.between(.2, .5)},
	}
	b.extraOrders = curve{{b.at + second, 3*b.p.spec.rate + .1}, {b.after(8), 0}}
	b.buyShare = curve{{b.at, .5 - .1*side}}
	b.to = b.after(30)
	b.note("one order %s %.1f times as much %s as any before it, through %d prices", verb, w.multiple, b.p.spec.base, w.levels)
}

func (b *builder) tradeRateBurst() {
	minutes := b.between(6, 9)
	orders := b.scale * (1.2 + 30*b.p.spec.rate)
	b.extraOrders = curve{{b.at, orders}, {b.after(minutes), orders}, {b.after(minutes + .5), 0}}
	b.buyShare = curve{{b.at, .5}}
	b.sizeFactor, b.excitation = .2, .1
	b.to = b.after(minutes + 3)
	b.note("a market maker's machine sends small orders in %s for %.0f minutes", b.p.spec.base, minutes)
}

func (b *builder) vwapDeviation() {
	drift, minutes := b.scaled(.10, .15), b.between(35, 45)
	if b.chance(.5) {
		drift = -drift
	}
	orders := 1.5 * b.p.spec.rate
	b.priceShift = curve{{b.at, 0}, {b.after(minutes), drift}, {b.after(minutes + 240), drift * .6}}
	b.extraOrders = curve{{b.at, orders}, {b.after(minutes), orders}, {b.after(minutes + 10), 0}}
	b.buyShare = curve{{b.at, .5 + math.Copysign(.15, drift)}}
	b.to = b.after(minutes + 60)
	b.note("%s moves steadily, by %+.0f %% in %.0f minutes", b.p.spec.base, percent(drift), minutes)
}

func (b *builder) volatilityRegime() {
	minutes := b.between(45, 70)
	factor := b.scaled(17, 24)
	orders := 3 * b.p.spec.rate
	b.volatility = curve{{b.at, factor - 1}, {b.after(minutes), factor - 1}, {b.after(minutes + 5), 0}}
	b.extraOrders = curve{{b.at, orders}, {b.after(minutes), orders}, {b.after(minutes + 10), 0}}
	b.buyShare = curve{{b.at, .5}}
	b.to = b.after(minutes + 10)
	b.note("the price of %s swings %.0f times as widely as usual for %.0f minutes", b.p.spec.base, factor, minutes)
}

func (b *builder) silentSymbol() {
	hours := b.scaled(2.4, 4.2)
	b.silent = true
	b.to = b.after(hours * 60)
	b.note("nobody trades %s for %.1f hours", b.p.spec.base, hours)
}

func (b *builder) crossPair() {
	off, minutes := b.scaled(.025, .055), b.between(14, 28)
	if b.chance(.5) {
		off = -off
	}
	orders := .15 + b.p.spec.rate
	b.pairOnly = true
	b.priceShift = curve{{b.at, 0}, {b.after(b.between(1, 3)), off}, {b.after(minutes), off * b.between(.7, 1)}, {b.after(minutes + 4), 0}}
	b.extraOrders = curve{{b.at, orders}, {b.after(minutes + 4), orders}, {b.after(minutes + 5), 0}}
	b.buyShare = curve{{b.at, .5 + math.Copysign(.2, off)}, {b.after(minutes), .5 - math.Copysign(.2, off)}}
	b.to = b.after(minutes + 10)
	b.note("%s trades %+.1f %% off its price over the other pairs for %.0f minutes", b.p.spec.name, percent(off), minutes)
}
