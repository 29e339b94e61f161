package binance

import (
	"fmt"
	"strconv"
	"strings"
)

// LeastVolume takes the condition off a word that names symbols, as in *USDT>1000000: the least volume of the last 24 hours in quote asset that a symbol
// must have. It is 0 where the word has no condition.
func LeastVolume(word string) (pattern string, least float64, err error) {
	pattern, amount, ok := strings.Cut(word, ">")
	if !ok {
		return word, 0, nil
	}
	least, err = strconv.ParseFloat(strings.ReplaceAll(strings.TrimPrefix(amount, "="), "_", ""), 64)
	if err != nil || !(least > 0) || pattern == "" || strings.HasPrefix(pattern, "!") {
		return "", 0, fmt.Errorf("symbols %q: after > stands the least volume of 24 hours in quote asset, as in *USDT>1000000", word)
	}
	return strings.TrimSpace(pattern), least, nil
}

// QuoteVolumes gives the tickers' volumes in quote asset by symbol.
func QuoteVolumes(tickers []Ticker) map[string]float64 {
	out := make(map[string]float64, len(tickers))
	for _, t := range tickers {
		out[t.Symbol] = t.QuoteVolume
	}
	return out
}
