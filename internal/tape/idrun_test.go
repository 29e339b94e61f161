package tape

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"tapedeck/internal/idset"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func run(first, last, firstAt, lastAt int64) IDRun {
	return IDRun{idset.Range{First: first, Last: last}, firstAt, lastAt}
}

// byReflection is the plain way to read and write the same text.
func byReflection(spans symbolRuns) map[string][][4]int64 {
	out := map[string][][4]int64{}
	for symbol, runs := range spans {
		out[symbol] = [][4]int64{}
		for _, run := range runs {
			out[symbol] = append(out[symbol], [4]int64{run.First, run.Last, run.FirstAt, run.LastAt})
		}
	}
	return out
}

func TestSpansText(t *testing.T) {
	spans := func(runs ...IDRun) []IDRun { return runs }
	for name, want := range map[string]symbolRuns{
		"nothing":                  {},
		"one":                      {"BTCUSDT": spans(run(1, 90, 1754000000000000, 1754000060000000))},
		"several":                  {"A": spans(run(0, 0, 0, 0), run(2, 3, 4, 5)), "B": spans(run(7, 8, 9, 10))},
		"negative":                 {"A": spans(run(-5, -1, -3, -2))},
		"as great as an id can be": {"A": spans(run(math.MaxInt64-1, math.MaxInt64, math.MinInt64, 1))},
		"not ASCII":                {"币安人生USDT": spans(run(1, 2, 3, 4)), `"\<&>`: spans(run(5, 6, 7, 8))},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := want.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			plain, err := json.Marshal(byReflection(want))
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != string(plain) {
				t.Errorf("%s instead of %s", text, plain)
			}
			got, err := parseRuns(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(byReflection(want), byReflection(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is read by hand is what encoding/json reads, whatever the text; what it refuses is refused.
func FuzzSpansText(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"A":[[1,2,3,4]]}`, `{"A":[[1,2,3,4],[5,6,7,8]],"B":[[9,10,11,-12]]}`, ` { "A" : [ [1, 2, 3, 4] ] } `, `{"A":[]}`, `{"A":null}`, `null`, `[]`, ``, `{`, `{"A":[[1,2,3,4]]`,
		`{"A":[[1,2,3,4]]}x`, `{"A":[[1,2,3]]}`, `{"A":[[1,2,3,4,5]]}`, `{"A":[[01,2,3,4]]}`, `{"A":[[-0,2,3,4]]}`, `{"A":[[1.5,2,3,4]]}`, `{"A":[[1e3,2,3,4]]}`, `{"A":[[,2,3,4]]}`,
		`{"A":[[1,2,3,4]],}`, `{"A":[[1,2,3,4],]}`, `{"A":[[1,2,3,4]],"A":[[5,6,7,8]]}`, `{"A\u0042":[[1,2,3,4]]}`, `{"币":[[1,2,3,4]]}`, `{"A":[[99999999999999999999,2,3,4]]}`,
		`{"A":[[9223372036854775807,2,3,-9223372036854775808]]}`, "{\"A\n\":[[1,2,3,4]]}", `{"A":[[1,2,3,4]}`, `{"A":[[1,2,3,4]]]}`, `{"A"[[1,2,3,4]]}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want map[string][][4]int64
		wrong := json.Unmarshal([]byte(text), &want)
		got, err := parseRuns(text)
		if (err == nil) != (wrong == nil) {
			t.Fatalf("%q: %v instead of %v", text, err, wrong)
		}
		if err == nil {
			if diff := cmp.Diff(want, byReflection(got), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%q: %s", text, diff)
			}
		}
	})
}

// BenchmarkSpansText reads and writes what a segment of 300 symbols holds, as here and by reflection.
func BenchmarkSpansText(b *testing.B) {
	spans := symbolRuns{}
	for i := range int64(300) {
		spans[fmt.Sprintf("%03dUSDT", i)] = []IDRun{run(1e9+i, 1e9+2*i, 1754000000000000+i, 1754000060000000+i)}
	}
	text, err := spans.MarshalJSON()
	if err != nil {
		b.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"read":               func() error { _, err := parseRuns(string(text)); return err },
		"read by reflection": func() error { var to map[string][][4]int64; return json.Unmarshal(text, &to) },
		"write":              func() error { _, err := spans.MarshalJSON(); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
