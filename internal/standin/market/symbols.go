package market

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// class says what a pair is like, and so which incidents happen to it.
type class int

const (
	major  class = iota // several orders a second to a minute; nobody moves it alone
	middle              // an order every few seconds; a large order or a panic moves it
	thin                // an order a minute or so; pumps happen here
	steady              // thin but regular: a market maker trades it all day
	cross               // a pair whose price follows from two others
	stable              // a dollar against a dollar
)

// spec is what a pair is like. Money is in units of 1e-8 of the quote asset.
type spec struct {
	name, base, quote       string
	class                   class
	tick, step, minNotional int64
	rate                    float64 // taker orders a second at Rate 1, day and night together
	spread                  float64 // half of it, as a share of the price
	gap                     float64 // between price levels, as a share of the price
	median                  float64 // of an order, in dollars
	firstAgg, firstTrade    int64   // ids at the start of history
}

// coin is what an asset is like: its price in dollars, and how it moves.
type coin struct {
	usd   float64
	beta  float64 // share in the market's common movement
	daily float64 // standard deviation of a day's own movement, log price
}

func namedCoins() map[string]coin {
	return map[string]coin{
		"USDT": {usd: 1},
		"USDC": {usd: 1.0001},
		"BTC":  {94_250, 1, .006},
		"ETH":  {3_280, 1.15, .014},
		"SOL":  {187, 1.3, .022},
		"BNB":  {664, .8, .013},
		"XRP":  {2.31, 1.1, .024},
		"LINK": {21.4, 1.2, .027},
		"AVAX": {37.6, 1.25, .028},
		"LSK":  {.86, 1, .032},
		"VIB":  {.0815, .9, .034},
		"NKN":  {.092, 1, .032},
		"DATA": {.0467, .9, .026},
		"BEL":  {.784, 1, .030},
		"LUMA": {1.27, 1, .038},
	}
}

// bp is a hundredth of a percent.
const bp = 1e-4

// namedSpecs are the pairs of the default market. Ticks, steps and ids are of the size that Binance's are.
func namedSpecs() []spec {
	return []spec{
		{"BTCUSDT", "BTC", "USDT", major, 1e6, 1e3, 5e8, 1.20, .03 * bp, .12 * bp, 210, 3_512_480_117, 4_781_330_562},
		{"ETHUSDT", "ETH", "USDT", major, 1e6, 1e4, 5e8, .85, .04 * bp, .15 * bp, 190, 1_886_214_903, 2_312_077_418},
		{"SOLUSDT", "SOL", "USDT", major, 1e6, 1e5, 5e8, .50, .3 * bp, .6 * bp, 160, 921_733_408, 1_304_521_967},
		{"XRPUSDT", "XRP", "USDT", major, 1e4, 1e7, 5e8, .38, .3 * bp, .6 * bp, 150, 743_906_221, 1_018_447_305},
		{"BNBUSDT", "BNB", "USDT", major, 1e6, 1e5, 5e8, .30, .2 * bp, .5 * bp, 170, 798_115_642, 1_092_836_771},
		{"USDCUSDT", "USDC", "USDT", stable, 1e4, 1e8, 5e8, .10, .5 * bp, 1 * bp, 260, 214_660_938, 287_914_406},
		{"ETHBTC", "ETH", "BTC", cross, 1e3, 1e4, 1e4, .10, .6 * bp, 1.6 * bp, 180, 388_204_517, 501_662_389},
		{"BTCUSDC", "BTC", "USDC", cross, 1e6, 1e3, 5e8, .12, .2 * bp, .6 * bp, 200, 171_320_866, 236_008_154},
		{"LINKUSDT", "LINK", "USDT", middle, 1e6, 1e6, 5e8, .13, 1.5 * bp, 2.2 * bp, 130, 402_771_935, 561_904_283},
		{"AVAXUSDT", "AVAX", "USDT", middle, 1e6, 1e6, 5e8, .12, 1.6 * bp, 2.4 * bp, 130, 377_640_128, 529_117_640},
		{"BELUSDT", "BEL", "USDT", middle, 1e4, 1e7, 5e8, .06, 3 * bp, 4 * bp, 110, 96_218_430, 141_557_209},
		{"DATAUSDT", "DATA", "USDT", steady, 1e3, 1e8, 5e8, .035, 4 * bp, 5 * bp, 70, 31_884_206, 43_190_771},
		{"NKNUSDT", "NKN", "USDT", steady, 1e3, 1e8, 5e8, .028, 6 * bp, 8 * bp, 75, 48_027_113, 66_302_948},
		{"LSKBTC", "LSK", "BTC", thin, 1, 1e7, 1e4, .010, 9 * bp, 12 * bp, 60, 22_614_870, 30_771_512},
		{"VIBUSDT", "VIB", "USDT", thin, 1e3, 1e8, 5e8, .008, 8 * bp, 10 * bp, 65, 17_905_336, 24_660_190},
		{"LUMAUSDT", "LUMA", "USDT", middle, 1e4, 1e7, 5e8, .09, 3 * bp, 4 * bp, 110, 0, 0}, // listed within the history
	}
}

// listedBefore is how long before Start the last named pair begins to trade: less than the 12 hours that a baseline
// needs, so that there is one pair on which most detectors can't judge yet.
const listedBefore = 9*time.Hour + 20*time.Minute

// madeUp invents a pair: few are lively, most are thin, as on the exchange.
func madeUp(i int, random *rand.Rand) (spec, coin) {
	syllables := [...]string{"BA", "CO", "DE", "FI", "GU", "HO", "JA", "KE", "LO", "MI", "NU", "PO", "RA", "SE", "TO", "VE", "WA", "XE", "YO", "ZU"}
	// Counting in base 20 from a thousand on makes three syllables and never the same name twice; no named coin has six letters.
	base := syllables[i/400%20] + syllables[i/20%20] + syllables[i%20]
	price := math.Exp(random.NormFloat64()*2 - 1) // median 0.37 dollars
	c := coin{usd: price, beta: .7 + .7*random.Float64(), daily: .022 + .016*random.Float64()}
	s := spec{base: base, quote: "USDT", minNotional: 5e8}
	switch u := random.Float64(); {
	case u < .15:
		s.class, s.rate, s.spread, s.gap, s.median = middle, .06+.10*random.Float64(), 2*bp, 3*bp, 120
	case u < .30:
		s.class, s.rate, s.spread, s.gap, s.median = steady, .03+.015*random.Float64(), 4*bp, 5*bp, 75
	default:
		s.class, s.rate, s.spread, s.gap, s.median = thin, .006*math.Exp(1.2*random.Float64()), 7*bp, 9*bp, 65
	}
	if s.class == thin && random.Float64() < .2 && price > .3 {
		s.quote, s.minNotional = "BTC", 1e4
	}
	s.name = s.base + s.quote
	s.firstAgg = int64(math.Exp(16 + 2*random.Float64()))
	s.firstTrade = s.firstAgg + int64(float64(s.firstAgg)*(.2+.3*random.Float64()))
	quoted := price
	if s.quote == "BTC" {
		quoted /= namedCoins()["BTC"].usd
	}
	// Four to five significant digits a tick, half a dollar to five a step: what the exchange's filters come to.
	s.tick = int64(math.Pow10(max(0, int(math.Floor(math.Log10(quoted)))-4+8)))
	s.step = int64(math.Pow10(min(8, max(3, int(math.Floor(math.Log10(5/price)))+7))))
	return s, c
}

// asset is a coin under way: its log price in dollars, drawn only when somebody trades it.
type asset struct {
	coin
	random *rand.Rand
	log    float64 // log price in dollars, without shifts
	anchor float64 // where a stable coin is drawn back to
	seen   int64   // the second that log is of
	common float64 // the common factor at that second
	mood   float64 // log of the own volatility over its usual
	news   float64 // more activity after a jump, dying away
	wild   float64 // a multiplier of the own volatility while an incident lasts
	shifts []curve // log price, put there by incidents
}

// pair is a symbol under way.
type pair struct {
	spec       spec
	salt       uint64 // of the raw trades' split
	firstAgg   int64
	firstTrade int64
	listedAt   int64 // µs; 0: before the history
	tape       tape

	random      *rand.Rand
	base, quote *asset
	incidents   []*incident
	shifts      []curve // of this pair alone, against its assets: a de-peg

	need        float64 // Hawkes: integrated intensity left until the next order
	calm        float64 // intensity without excitement, orders a second
	quick, slow float64 // excitement, orders a second
	mood        float64 // log of the own activity over its usual
	log         float64 // log of the mid price that makers quote
	at          int64   // µs: when log was so
	buying      bool    // the last order's side
	raw         int64   // raw trades so far
	largest     int64   // the largest order so far, steps
	unit        float64 // steps in a median order at the first price
	ticks       float64 // the first price in ticks: scale of price gaps
}

// newPairs makes the pairs and their assets.
func newPairs(config Config, begin int64) ([]*pair, error) {
	specs, coins := namedSpecs(), namedCoins()
	if n := config.Symbols; n > 0 && n < len(specs) {
		specs = specs[:n]
	}
	// What a made-up pair is like depends on its number alone: the seed moves its price, not its nature.
	invent := rand.New(rand.NewPCG(0x7461706564656b, 1))
	for i := 0; len(specs) < config.Symbols; i++ {
		s, c := madeUp(i, invent)
		if _, taken := coins[s.base]; taken {
			return nil, fmt.Errorf("made-up name %q is taken", s.base)
		}
		specs, coins[s.base] = append(specs, s), c
	}

	assets := make(map[string]*asset, len(coins))
	find := func(name string) *asset {
		if a := assets[name]; a != nil {
			return a
		}
		a := &asset{coin: coins[name], random: random(config.Seed, "asset "+name), wild: 1, seen: -1}
		a.log = math.Log(a.usd)
		if a.daily > 0 {
			a.log += .12 * a.random.NormFloat64()
			a.mood = .3 * a.random.NormFloat64()
		}
		a.anchor = a.log
		assets[name] = a
		return a
	}
	pairs := make([]*pair, len(specs))
	for i, s := range specs {
		p := &pair{spec: s, random: random(config.Seed, "pair "+s.name), base: find(s.base), quote: find(s.quote)}
		p.salt = p.random.Uint64()
		if s.firstAgg > 0 {
			p.firstAgg = s.firstAgg + p.random.Int64N(1+s.firstAgg/100)
			p.firstTrade = s.firstTrade + (p.firstAgg-s.firstAgg)/2*3
		} else if at := config.Start.Add(-listedBefore).Truncate(time.Minute).UnixMicro(); at > begin {
			p.listedAt = at
		} else {
			p.firstAgg, p.firstTrade = 4_206_118, 5_833_025 // listed before the history begins
		}
		p.log = p.base.log - p.quote.log
		price := math.Exp(p.log) * 1e8
		p.ticks = price / float64(s.tick)
		p.unit = s.median / math.Exp(p.base.log) * 1e8 / float64(s.step)
		p.need = p.random.ExpFloat64()
		p.mood = .25 * p.random.NormFloat64()
		p.at = begin
		pairs[i] = p
	}
	return pairs, nil
}

// random is a generator of its own for each purpose, so that one more symbol does not change another's trades.
func random(seed uint64, purpose string) *rand.Rand {
	hash := uint64(14695981039346656037) // FNV-1a
	for i := range len(purpose) {
		hash = (hash ^ uint64(purpose[i])) * 1099511628211
	}
	return rand.New(rand.NewPCG(mix(seed), mix(hash)))
}
