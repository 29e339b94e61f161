package market

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"

	"tapedeck/internal/standin/exchange"
)

// class is the character of a pair, which decides which incidents happen to it.
type class int

const (
	major  class = iota // several orders a second to a minute; no single trader moves it
	middle              // an order every few seconds; a large order or a panic moves it
	thin                // an order a minute or so; pumps happen here
	steady              // thin but regular: a market maker trades it all day
	cross               // its price follows from two other pairs
	stable              // a dollar against a dollar
)

// spec describes a pair. Money is in units of 1e-8 of the quote asset.
type spec struct {
	baseName, quoteName     string
	class                   class
	tick, step, minNotional int64
	rate                    float64 // taker orders a second at Rate 1, the mean of day and night
	halfSpread              float64 // share of the price
	levelGap                float64 // distance of price levels, share of the price
	medianOrder             float64 // dollars
	firstAgg, firstTrade    int64   // ids at the start of the history
}

// coin describes an asset: its price in dollars, and how it moves.
type coin struct {
	usd   float64
	beta  float64 // share of the market's common movement
	daily float64 // standard deviation of its own movement in a day, log price
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

// namedSpecs lists the pairs of the default market. Ticks, steps and ids have the magnitude of
// Binance's; spreads and gaps are written in hundredths of a percent.
func namedSpecs() []spec {
	return []spec{
		{"BTC", "USDT", major, 1e6, 1e3, 5e8, 1.20, .03e-4, .12e-4, 210, 3_512_480_117, 4_781_330_562},
		{"ETH", "USDT", major, 1e6, 1e4, 5e8, .85, .04e-4, .15e-4, 190, 1_886_214_903, 2_312_077_418},
		{"SOL", "USDT", major, 1e6, 1e5, 5e8, .50, .3e-4, .6e-4, 160, 921_733_408, 1_304_521_967},
		{"XRP", "USDT", major, 1e4, 1e7, 5e8, .38, .3e-4, .6e-4, 150, 743_906_221, 1_018_447_305},
		{"BNB", "USDT", major, 1e6, 1e5, 5e8, .30, .2e-4, .5e-4, 170, 798_115_642, 1_092_836_771},
		{"USDC", "USDT", stable, 1e4, 1e8, 5e8, .10, .5e-4, 1e-4, 260, 214_660_938, 287_914_406},
		{"ETH", "BTC", cross, 1e3, 1e4, 1e4, .10, .6e-4, 1.6e-4, 180, 388_204_517, 501_662_389},
		{"BTC", "USDC", cross, 1e6, 1e3, 5e8, .12, .2e-4, .6e-4, 200, 171_320_866, 236_008_154},
		{"LINK", "USDT", middle, 1e6, 1e6, 5e8, .13, 1.5e-4, 2.2e-4, 130, 402_771_935, 561_904_283},
		{"AVAX", "USDT", middle, 1e6, 1e6, 5e8, .12, 1.6e-4, 2.4e-4, 130, 377_640_128, 529_117_640},
		{"BEL", "USDT", middle, 1e4, 1e7, 5e8, .06, 3e-4, 4e-4, 110, 96_218_430, 141_557_209},
		{"DATA", "USDT", steady, 1e3, 1e8, 5e8, .035, 4e-4, 5e-4, 70, 31_884_206, 43_190_771},
		{"NKN", "USDT", steady, 1e3, 1e8, 5e8, .028, 6e-4, 8e-4, 75, 48_027_113, 66_302_948},
		{"LSK", "BTC", thin, 1, 1e7, 1e4, .010, 9e-4, 12e-4, 60, 22_614_870, 30_771_512},
		{"VIB", "USDT", thin, 1e3, 1e8, 5e8, .008, 8e-4, 10e-4, 65, 17_905_336, 24_660_190},
		{"LUMA", "USDT", middle, 1e4, 1e7, 5e8, .09, 3e-4, 4e-4, 110, 0, 0}, // listed within the history
	}
}

// listedBefore is how long before Start the last named pair begins to trade: less than the 12 hours
// of a baseline, so that there is one pair that most detectors cannot judge yet.
const listedBefore = 9*time.Hour + 20*time.Minute

// inventPair makes up a pair. A few are busy and most are thin, as on the exchange.
func inventPair(i int, random *rand.Rand) (spec, coin) {
	syllables := [...]string{
		"BA", "CO", "DE", "FI", "GU", "HO", "JA", "KE", "LO", "MI", "NU", "PO", "RA", "SE", "TO", "VE", "WA", "XE", "YO", "ZU",
	}
	// The digits of i in base 20 are three syllables, so no name repeats. No named coin has six letters.
	base := syllables[i/400%20] + syllables[i/20%20] + syllables[i%20]
	price := math.Exp(random.NormFloat64()*2 - 1) // median 0.37 dollars
	c := coin{usd: price, beta: .7 + .7*random.Float64(), daily: .022 + .016*random.Float64()}
	var s spec
	switch u := random.Float64(); {
	case u < .15:
		s = spec{class: middle, rate: .06 + .10*random.Float64(), halfSpread: 2e-4, levelGap: 3e-4, medianOrder: 120}
	case u < .30:
		s = spec{class: steady, rate: .03 + .015*random.Float64(), halfSpread: 4e-4, levelGap: 5e-4, medianOrder: 75}
	default:
		s = spec{class: thin, rate: .006 * math.Exp(1.2*random.Float64()), halfSpread: 7e-4, levelGap: 9e-4, medianOrder: 65}
	}
	s.baseName, s.quoteName, s.minNotional = base, "USDT", 5e8
	quoted := price
	if s.class == thin && random.Float64() < .2 && price > .3 {
		s.quoteName, s.minNotional = "BTC", 1e4
		quoted /= namedCoins()["BTC"].usd
	}
	s.firstAgg = int64(math.Exp(16 + 2*random.Float64()))
	s.firstTrade = s.firstAgg + int64(float64(s.firstAgg)*(.2+.3*random.Float64()))
	// As the exchange's filters: prices have four to five significant digits, and a step is worth 0.50
	// to 5 dollars.
	s.tick = int64(math.Pow10(max(0, int(math.Floor(math.Log10(quoted)))-4+8)))
	s.step = int64(math.Pow10(min(8, max(3, int(math.Floor(math.Log10(5/price)))+7))))
	return s, c
}

// asset is the state of a coin. Its price moves only when somebody trades it.
type asset struct {
	coin
	key           uint64 // of its draws in a Perpetual
	random        *rand.Rand
	logPrice      float64 // dollars, without priceShifts
	anchor        float64 // log price that a stable coin returns to
	updatedAt     int64   // the second of logPrice
	commonFactor  float64 // the market's common factor at that second
	logVolatility float64 // log of its own volatility relative to the usual
	newsActivity  float64 // additional activity after a jump, decays
	volatility    float64 // multiplies its own volatility during an incident
	priceShifts   []curve // of the log price, by incidents
}

// pair is the state of a symbol.
type pair struct {
	spec
	rowList
	name     string
	salt     uint64 // for the split into trades
	listedAt int64  // µs; 0 means before the history

	random      *rand.Rand
	base, quote *asset
	incidents   []*incident
	priceShifts []curve // of this pair's log price against its assets: a de-peg

	// The Hawkes process: hazardLeft is the integrated intensity until the next order; the rest is
	// orders a second.
	hazardLeft                     float64
	baseRate                       float64
	fastExcitation, slowExcitation float64

	logActivity     float64 // log of its own activity relative to the usual
	logMid          float64 // log of the mid price that makers quote
	midAt           int64   // µs: the time of logMid
	lastBuy         bool    // the last order bought
	trades          int64   // so far
	largestOrder    int64   // so far, steps
	medianSteps     float64 // steps in a median order at the first price
	firstPriceTicks float64 // scale of the distance of price levels
}

// addPairs creates the pairs and, in the order of their first use, the assets.
func (m *Market) addPairs() {
	specs, coins := namedSpecs(), namedCoins()
	if n := m.config.Symbols; n > 0 && n < len(specs) {
		specs = specs[:n]
	}
	// A made-up pair depends only on its number: the seed changes its price, not its character.
	invention := rand.New(rand.NewPCG(0x7461706564656b, 1))
	for i := 0; len(specs) < m.config.Symbols; i++ {
		s, c := inventPair(i, invention)
		specs, coins[s.baseName] = append(specs, s), c
	}

	assets := map[string]*asset{}
	assetOf := func(name string) *asset {
		if assets[name] == nil {
			assets[name] = newAsset(coins[name], random(m.config.Seed, "asset "+name))
			assets[name].key = hashOf("asset " + name)
			m.engine.assets = append(m.engine.assets, assets[name])
		}
		return assets[name]
	}
	for _, s := range specs {
		name := s.baseName + s.quoteName
		p := &pair{spec: s, name: name, random: random(m.config.Seed, "pair "+name), base: assetOf(s.baseName), quote: assetOf(s.quoteName)}
		p.salt = p.random.Uint64()
		if s.firstAgg > 0 {
			p.firstAgg += p.random.Int64N(1 + s.firstAgg/100)
			p.firstTrade += (p.firstAgg - s.firstAgg) / 2 * 3
		} else if at := m.config.Start.Add(-listedBefore).Truncate(time.Minute).UnixMicro(); at > m.begin {
			p.listedAt = at
		} else {
			p.firstAgg, p.firstTrade = 4_206_118, 5_833_025 // listed before the history begins
		}
		p.logMid = p.base.logPrice - p.quote.logPrice
		p.firstPriceTicks = math.Exp(p.logMid) * 1e8 / float64(s.tick)
		p.medianSteps = s.medianOrder / math.Exp(p.base.logPrice) * 1e8 / float64(s.step)
		p.hazardLeft = p.random.ExpFloat64()
		p.logActivity = .25 * p.random.NormFloat64()
		p.midAt = m.begin
		m.pairs = append(m.pairs, p)
		m.byName[name] = p
		m.symbols = append(m.symbols, exchange.Symbol{
			Name: name, Base: s.baseName, Quote: s.quoteName,
			TickSize: decimal(s.tick), StepSize: decimal(s.step), MinNotional: decimal(s.minNotional),
			ListedAt: p.listedAt,
		})
	}
}

func newAsset(c coin, random *rand.Rand) *asset {
	a := &asset{coin: c, random: random, volatility: 1, updatedAt: -1, logPrice: math.Log(c.usd)}
	if a.daily > 0 {
		a.logPrice += .12 * a.random.NormFloat64()
		a.logVolatility = .3 * a.random.NormFloat64()
	}
	a.anchor = a.logPrice
	return a
}

// random returns a generator for one purpose, so that an additional symbol does not change the
// trades of the others.
func random(seed uint64, purpose string) *rand.Rand {
	hash := fnv.New64a()
	hash.Write([]byte(purpose))
	return rand.New(rand.NewPCG(mix(seed), mix(hash.Sum64())))
}
