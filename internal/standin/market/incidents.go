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
	*pair
	random *rand.Rand
	at     int64   // µs: the onset
	scale  float64 // Incident.Size
	text   string  // Event.Note
}

// newIncident shapes an incident of a kind for a pair with its onset at about a time. scale
// multiplies what is drawn; 0 means 1.
func newIncident(kind string, p *pair, onset time.Time, scale float64, random *rand.Rand) *incident {
	at := onset.UnixMicro()
	in := &incident{sizeFactor: 1, excitation: .25, pair: p, from: at, to: at}
	b := &builder{incident: in, pair: p, random: random, at: at, scale: cmp.Or(scale, 1)}
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
	for _, c := range []curve{in.priceShift, in.extraOrders, in.buyShare, in.volatility} {
		for i := range c {
			c[i].at = float64(b.after(c[i].at))
		}
	}
	in.event = Event{
		Kind: kind, Symbol: p.name, Note: b.text,
		At: time.UnixMicro(b.at).UTC(), From: time.UnixMicro(in.from).UTC(), To: time.UnixMicro(in.to).UTC(),
	}
	return in
}

func (b *builder) between(low, high float64) float64 { return low + (high-low)*b.random.Float64() }

// scaled draws like between and applies Incident.Size.
func (b *builder) scaled(low, high float64) float64 { return b.scale * b.between(low, high) }

// chance returns true with probability p.
func (b *builder) chance(p float64) bool { return b.random.Float64() < p }

// after returns the time so many minutes after the onset.
func (b *builder) after(minutes float64) int64 { return b.at + int64(minutes*60*second) }

func (b *builder) note(format string, args ...any) { b.text = fmt.Sprintf(format, args...) }

// percent converts a log price movement.
func percent(log float64) float64 { return 100 * math.Expm1(log) }

// steadyOrders adds orders at a constant rate, which then fades.
func (b *builder) steadyOrders(rate, minutes, fade float64) {
	b.extraOrders = curve{{0, rate}, {minutes, rate}, {minutes + fade, 0}}
}

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
	lead := b.between(4, 9)
	b.priceShift = curve{
		{-lead, 0}, {0, b.between(.001, .006)}, {up * .35, rise * b.between(.5, .7)}, {up, rise},
		{down, rise * b.between(.3, .5)}, {down + 30, rise * b.between(.05, .2)}, {down + 120, rise * .02},
	}
	b.extraOrders = curve{{0, crowd * .8}, {.4, crowd}, {up, crowd}, {down, crowd * .35}, {down + 20, 0}}
	b.buyShare = curve{{0, .93}, {up * .9, .82}, {up + .3, .28}, {down, .38}, {down + 20, .48}}
	b.volatility = curve{{0, 3}, {up, 14}, {down, 9}, {down + 20, 3}, {down + 55, 0}}
	b.sweepShare, b.sizeFactor = b.between(.55, .75), b.between(1.1, 2.5)
	b.from, b.to = b.after(-lead), b.after(down+60)
	b.note("a crowd buys %s up by %.0f %% within %.0f s, then the organisers sell", b.baseName, percent(rise), up*60)
}

func (b *builder) dumpBurst() {
	fall, down := b.scaled(.09, .26), b.between(1.2, 2.5)
	crowd := b.scaled(1.3, 2.4)
	b.priceShift = curve{{0, 0}, {down * .4, -fall * .6}, {down, -fall}, {down + 40, -fall * b.between(.6, .9)}}
	b.extraOrders = curve{{0, crowd}, {down, crowd}, {down + 5, crowd * .2}, {down + 20, 0}}
	b.buyShare = curve{{0, .08}, {down, .2}, {down + 1, .5}}
	b.volatility = curve{{0, 3}, {down, 12}, {down + 10, 5}, {down + 55, 0}}
	b.sweepShare, b.sizeFactor = b.between(.55, .75), b.between(1, 2)
	b.to = b.after(down + 60)
	b.note("holders rush to sell %s, down %.0f %% within %.0f s", b.baseName, -percent(-fall), down*60)
}

func (b *builder) volumeSpike() {
	minutes := b.between(5, 8)
	b.sizeFactor = b.scaled(18, 35)
	orders := 4*b.rate + .5
	b.steadyOrders(orders, minutes, 2)
	b.buyShare = curve{{0, .5}}
	b.priceShift = curve{{0, 0}, {minutes, b.between(-.004, .004)}}
	b.to = b.after(minutes + 2)
	b.note("for %.0f minutes orders of %.0f times the usual size change hands in %s at a steady price", minutes, b.sizeFactor, b.baseName)
}

func (b *builder) priceJump() {
	jump, minutes := b.scaled(.07, .13), b.between(1, 2.5)
	if b.chance(.5) {
		jump = -jump * .65 // from -4.5 %: too small for a crash
	}
	usual := b.rate
	b.priceShift = curve{{0, 0}, {minutes, jump}, {minutes + 90, jump * b.between(.7, 1)}}
	b.extraOrders = curve{{0, 3*usual + .1}, {minutes + 6, 3 * usual}, {minutes + 15, 0}}
	b.buyShare = curve{{0, .5 + math.Copysign(.3, jump)}, {minutes + 1, .5}}
	b.volatility = curve{{0, 2}, {minutes, 4}, {minutes + 55, 0}}
	b.to = b.after(minutes + 60)
	b.note("news moves %s by %+.1f %% within %.0f s, and it stays there", b.baseName, percent(jump), minutes*60)
}

func (b *builder) flashCrash() {
	fall, down, up := b.scaled(.15, .26), b.between(1.5, 3.5), b.between(4, 9)
	crowd := b.scaled(.8, 1.8)
	b.priceShift = curve{
		{0, 0}, {down * .5, -fall * b.between(.25, .4)}, {down, -fall}, {down + .5, -fall * .97},
		{down + up, -fall * b.between(.25, .45)}, {down + up + 60, -fall * b.between(.1, .2)},
	}
	b.extraOrders = curve{{0, crowd}, {down, crowd * 1.6}, {down + up, crowd * .5}, {down + up + 15, 0}}
	b.buyShare = curve{{0, .2}, {down, .08}, {down + .5, .7}, {down + up, .52}}
	b.volatility = curve{{0, 3}, {down, 14}, {down + up, 8}, {down + up + 40, 0}}
	b.sweepShare, b.sizeFactor = b.between(.4, .6), b.between(1.2, 3)
	b.to = b.after(down + up + 45)
	b.note("stop orders carry %s down by %.0f %% within %.0f s; most of it comes back in %.0f minutes", b.baseName, -percent(-fall), down*60, up)
}

func (b *builder) flowImbalance() {
	minutes, buys := b.between(18, 26), .98
	verb := "buys"
	drift := b.between(.006, .012)
	if b.chance(.5) {
		buys, verb, drift = .02, "sells", -drift
	}
	orders := 5*b.rate + .15
	b.steadyOrders(orders, minutes, .1)
	b.buyShare = curve{{0, buys}}
	b.priceShift = curve{{0, 0}, {minutes, drift}, {minutes + 60, drift * .5}}
	b.sizeFactor, b.excitation = b.scaled(3, 5), 0
	b.to = b.after(minutes + 5)
	b.note("somebody %s %s without a pause for %.0f minutes", verb, b.baseName, minutes)
}

func (b *builder) whaleOrder() {
	b.at += int64(b.between(3, 57) * second)
	w := &whale{at: b.at, buy: b.chance(.5), multiple: b.scaled(4.5, 8), sweep: b.scaled(.022, .04), levels: 12 + b.random.IntN(20)}
	side, verb := 1.0, "buys"
	if !w.buy {
		side, verb = -1, "sells"
	}
	b.whale = w
	// The price recovers slowly, because makers do not return at once. The points at 1/60e6 and 1/60 are
	// a microsecond and a second after the order.
	b.priceShift = curve{
		{0, 0}, {1. / 60e6, side * w.sweep * .85}, {12, side * w.sweep * .75}, {60, side * w.sweep * b.between(.2, .5)},
	}
	b.extraOrders = curve{{1. / 60, 3*b.rate + .1}, {8, 0}}
	b.buyShare = curve{{0, .5 - .1*side}}
	b.to = b.after(30)
	b.note("one order %s %.1f times as much %s as any before it, through %d prices", verb, w.multiple, b.baseName, w.levels)
}

func (b *builder) tradeRateBurst() {
	minutes := b.between(6, 9)
	orders := b.scale * (1.2 + 30*b.rate)
	b.steadyOrders(orders, minutes, .5)
	b.buyShare = curve{{0, .5}}
	b.sizeFactor, b.excitation = .2, .1
	b.to = b.after(minutes + 3)
	b.note("a market maker's machine sends small orders in %s for %.0f minutes", b.baseName, minutes)
}

func (b *builder) vwapDeviation() {
	drift, minutes := b.scaled(.10, .15), b.between(35, 45)
	if b.chance(.5) {
		drift = -drift
	}
	orders := 1.5 * b.rate
	b.priceShift = curve{{0, 0}, {minutes, drift}, {minutes + 240, drift * .6}}
	b.steadyOrders(orders, minutes, 10)
	b.buyShare = curve{{0, .5 + math.Copysign(.15, drift)}}
	b.to = b.after(minutes + 60)
	b.note("%s moves steadily, by %+.0f %% in %.0f minutes", b.baseName, percent(drift), minutes)
}

func (b *builder) volatilityRegime() {
	minutes := b.between(45, 70)
	factor := b.scaled(17, 24)
	orders := 3 * b.rate
	b.volatility = curve{{0, factor - 1}, {minutes, factor - 1}, {minutes + 5, 0}}
	b.steadyOrders(orders, minutes, 10)
	b.buyShare = curve{{0, .5}}
	b.to = b.after(minutes + 10)
	b.note("the price of %s swings %.0f times as widely as usual for %.0f minutes", b.baseName, factor, minutes)
}

func (b *builder) silentSymbol() {
	hours := b.scaled(2.4, 4.2)
	b.silent = true
	b.to = b.after(hours * 60)
	b.note("nobody trades %s for %.1f hours", b.baseName, hours)
}

func (b *builder) crossPair() {
	off, minutes := b.scaled(.025, .055), b.between(14, 28)
	if b.chance(.5) {
		off = -off
	}
	orders := .15 + b.rate
	b.pairOnly = true
	b.priceShift = curve{{0, 0}, {b.between(1, 3), off}, {minutes, off * b.between(.7, 1)}, {minutes + 4, 0}}
	b.extraOrders = curve{{0, orders}, {minutes + 4, orders}, {minutes + 5, 0}}
	b.buyShare = curve{{0, .5 + math.Copysign(.2, off)}, {minutes, .5 - math.Copysign(.2, off)}}
	b.to = b.after(minutes + 10)
	b.note("%s trades %+.1f %% off its price over the other pairs for %.0f minutes", b.name, percent(off), minutes)
}
