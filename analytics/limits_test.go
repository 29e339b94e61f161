package analytics

import (
	"fmt"
	"testing"
)

func TestLimitsOfParameters(t *testing.T) {
	for _, tc := range []struct {
		doc     string
		value   any
		wrong   string
		clamped float64 // -7
	}{
		{"how many steps of price, >= 1", int64(0), "0 is less than 1", 1},
		{"how many steps of price, >= 1", int64(1), "", 1},
		{"order over the largest of the 24 hours before, > 1", 1.0, "1 is not more than 1", 1.01},
		{"order over the largest of the 24 hours before, > 1", 1.5, "", 1.01},
		{"fraction of the price of 5 minutes ago, 0 to 1", 1.5, "1.5 is more than 1", 0},
		{"fraction of the price of 5 minutes ago, 0 to 1", -0.5, "-0.5 is less than 0", 0},
		{"fraction of the price of 5 minutes ago, 0 to 1", 0.5, "", 0},
		{"usual 5-minute moves", -3.0, "", -7},
		{"taker orders, of 1440", int64(-3), "", -7},
		{"UTC, inclusive, on a minute", "2026", "", -7},
	} {
		param := Param{Name: "p", Doc: tc.doc}
		if got := fmt.Sprint(param.checkLimits(tc.value)); got != tc.wrong && !(tc.wrong == "" && got == "<nil>") {
			t.Errorf("%q: checkLimits(%v) = %s, want %q", tc.doc, tc.value, got, tc.wrong)
		}
		if got := param.Clamp(-7); got != tc.clamped {
			t.Errorf("%q: Clamp(-7) = %v, want %v", tc.doc, got, tc.clamped)
		}
	}
}

func TestDefaultsAreWithinLimits(t *testing.T) {
	queries, problems := Load("")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	limited := 0
	for _, query := range queries {
		for _, param := range query.Params {
			if limits := param.limits(); limits != (Param{}).limits() {
				limited++
			}
			if err := param.checkLimits(param.Default); err != nil {
				t.Errorf("%s: %s: %v", query.Path, param.Name, err)
			}
		}
	}
	if limited < 20 {
		t.Errorf("only %d parameters have limits", limited)
	}
}
