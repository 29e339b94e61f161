package symbols

import (
	"strings"
	"testing"

	"tapedeck/internal/binance"
)

func TestWordsWithAVolume(t *testing.T) {
	var listed []binance.Symbol
	for _, name := range []string{"AUSDT", "BUSDT", "CUSDT", "ABTC"} {
		listed = append(listed, binance.Symbol{Name: name, Status: "TRADING"})
	}
	listed = append(listed, binance.Symbol{Name: "DUSDT", Status: "BREAK"})
	volumes := map[string]float64{"AUSDT": 999_999, "BUSDT": 1e6, "CUSDT": 5e9, "DUSDT": 5e9, "ABTC": 20}
	for words, want := range map[string]string{
		"*usdt>1000000":        "BUSDT CUSDT",
		"*USDT>=1_000_000":     "BUSDT CUSDT",
		"*USDT>1e6,AUSDT":      "AUSDT BUSDT CUSDT",
		"*USDT>1e6,*BTC>20":    "ABTC BUSDT CUSDT",
		"*>10,!C*":             "ABTC AUSDT BUSDT",
		"*USDT>1e12":           `no symbol that trades matches "*USDT>1e12"`,
		"*USDT>":               "after > stands the least volume",
		"*USDT>-1":             "after > stands the least volume",
		"*USDT>NaN":            "after > stands the least volume",
		">1000":                "after > stands the least volume",
		"*USDT>1000000>200000": "after > stands the least volume",
	} {
		got, err := choose(strings.Split(words, ","), listed, volumes)
		if err != nil {
			got = []string{err.Error()}
		}
		if text := strings.Join(got, " "); text != want && !strings.Contains(text, want) {
			t.Errorf("%s: %q, not %q", words, text, want)
		}
	}
}
