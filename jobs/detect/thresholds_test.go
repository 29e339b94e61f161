package detect

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSymbolThresholds(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	with := func(symbols map[string]map[string]any) (out []string) {
		opt := Options{Now: begin.Add(length + time.Hour), DryRun: true, Detectors: []string{"pump_burst", "whale_order"}, SymbolThresholds: map[string]map[string]map[string]any{"pump_burst": symbols}}
		for _, alert := range runDetect(t, dir, opt).Alerts {
			out = append(out, alert.Detector+" "+alert.Symbol)
		}
		slices.Sort(out)
		return out
	}
	never := map[string]any{"min_rush_buys": 1000, "thin_rush_buys": 1000}
	for name, test := range map[string]struct {
		symbols map[string]map[string]any
		want    string
	}{
		"none":                    {nil, "pump_burst AGAINBTC, pump_burst PUMPBTC, whale_order THINUSDT, whale_order WHALEUSDT"},
		"one":                     {map[string]map[string]any{"PUMPBTC": never}, "pump_burst AGAINBTC, whale_order THINUSDT, whale_order WHALEUSDT"},
		"pattern":                 {map[string]map[string]any{"*BTC": never}, "whale_order THINUSDT, whale_order WHALEUSDT"},
		"a name beats a pattern":  {map[string]map[string]any{"*BTC": never, "PUMPBTC": {"min_rush_buys": 10}}, "pump_burst PUMPBTC, whale_order THINUSDT, whale_order WHALEUSDT"},
		"the longer pattern wins": {map[string]map[string]any{"*BTC": never, "PUMP*BTC": {"min_rush_buys": 10}}, "pump_burst PUMPBTC, whale_order THINUSDT, whale_order WHALEUSDT"},
		"no symbol of that name":  {map[string]map[string]any{"XBTC": never}, "pump_burst AGAINBTC, pump_burst PUMPBTC, whale_order THINUSDT, whale_order WHALEUSDT"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(with(test.symbols), ", "); got != test.want {
				t.Errorf("found %s, want %s", got, test.want)
			}
		})
	}
	for want, symbols := range map[string]map[string]map[string]map[string]any{
		`pump_burst has no parameter "min_zz"; did you mean "min_z"?`:                                                                                   {"pump_burst": {"*": {"min_zz": 3}}},
		`thresholds of pump_burst: "[" is neither a symbol nor a pattern, such as *USDT: besides * and ? it can have letters, digits, "_", "-" and "."`: {"pump_burst": {"[": {"min_z": 3}}},
	} {
		if _, err := Run(t.Context(), dir, Options{Now: begin.Add(length), SymbolThresholds: symbols}); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
