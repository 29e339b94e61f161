package binance

import (
	"strings"
	"testing"

	"tapedeck/internal/symbol"
)

func TestSymbolListChoosesByNamePatternAndVolume(t *testing.T) {
	var listed []Symbol
	for _, name := range []string{"AUSDT", "BUSDT", "CUSDT", "ABTC"} {
		listed = append(listed, Symbol{Name: symbol.Must(name), Status: "TRADING"})
	}
	listed = append(listed, Symbol{Name: symbol.Must("DUSDT"), Status: "BREAK"})
	volumes := map[symbol.Name]float64{}
	for text, volume := range map[string]float64{"AUSDT": 999_999, "BUSDT": 1e6, "CUSDT": 5e9, "DUSDT": 5e9, "ABTC": 20} {
		volumes[symbol.Must(text)] = volume
	}
	for words, want := range map[string]string{
		"*usdt>1000000":        "BUSDT CUSDT",
		"*USDT>=1_000_000":     "BUSDT CUSDT",
		"*USDT>1e6,AUSDT":      "AUSDT BUSDT CUSDT",
		"*USDT>1e6,*BTC>20":    "ABTC BUSDT CUSDT",
		"*>10,!C*":             "ABTC AUSDT BUSDT",
		"dusdt":                "DUSDT",
		"D*":                   `no trading symbol matches "D*"`,
		"*USDT>1e12":           `no trading symbol matches "*USDT>1e12"`,
		"*USDT>":               `">" needs the least volume`,
		"*USDT>-1":             `">" needs the least volume`,
		"*USDT>NaN":            `">" needs the least volume`,
		">1000":                `">" needs the least volume`,
		"*USDT>1000000>200000": `">" needs the least volume`,
		"[A":                   `"[A" is neither a symbol nor a pattern`,
		"*,![":                 `"[" is neither a symbol nor a pattern`,
		"AUSDT,!A*":            "no symbol is left",
		"*USDT,!B*>5":          `symbol pattern "!B*>5": ! excludes by name only`,
		"*USDT,!":              `symbol pattern "!": ! excludes by name only`,
		"A-USD":                `the exchange lists no symbol "A-USD"; did you mean "AUSDT"?`,
	} {
		list, err := ParseSymbolList(strings.Split(words, ","))
		var got []string
		if err == nil {
			var names []symbol.Name
			names, err = list.choose(listed, volumes, nil)
			got = symbol.Strings(names)
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if text := strings.Join(got, " "); text != want && !(err != nil && strings.Contains(text, want)) {
			t.Errorf("%s: %q, want %q", words, text, want)
		}
	}
}
