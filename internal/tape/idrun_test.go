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

// plain returns runs as encoding/json reads and writes them.
func plain(bySymbol symbolRuns) map[string][][4]int64 {
	out := map[string][][4]int64{}
	for symbol, runs := range bySymbol {
		out[symbol] = [][4]int64{}
		for _, run := range runs {
			out[symbol] = append(out[symbol], [4]int64{run.First, run.Last, run.FirstAt, run.LastAt})
		}
	}
	return out
}

func TestSymbolRunsJSON(t *testing.T) {
	runs := func(list ...IDRun) []IDRun { return list }
	for name, want := range map[string]symbolRuns{
		"no symbol":      {},
		"one run":        {"BTCUSDT": runs(run(1, 90, 1754000000000000, 1754000060000000))},
		"several":        {"A": runs(run(0, 0, 0, 0), run(2, 3, 4, 5)), "B": runs(run(7, 8, 9, 10))},
		"negative":       {"A": runs(run(-5, -1, -3, -2))},
		"extreme values": {"A": runs(run(math.MaxInt64-1, math.MaxInt64, math.MinInt64, 1))},
		"not ASCII":      {"币安人生USDT": runs(run(1, 2, 3, 4)), `"\<&>`: runs(run(5, 6, 7, 8))},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := want.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			expected, err := json.Marshal(plain(want))
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != string(expected) {
				t.Errorf("got %s, want %s", text, expected)
			}
			got, err := parseRuns(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(plain(want), plain(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// parseRuns accepts the same texts as encoding/json, with the same result.
func FuzzParseRuns(f *testing.F) {
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
			t.Fatalf("%q: got %v, want %v", text, err, wrong)
		}
		if err == nil {
			if diff := cmp.Diff(want, plain(got), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%q: %s", text, diff)
			}
		}
	})
}

// BenchmarkParseRuns reads and writes the runs of a segment of 300 symbols.
func BenchmarkParseRuns(b *testing.B) {
	runs := symbolRuns{}
	for i := range int64(300) {
		runs[fmt.Sprintf("%03dUSDT", i)] = []IDRun{run(1e9+i, 1e9+2*i, 1754000000000000+i, 1754000060000000+i)}
	}
	text, err := runs.MarshalJSON()
	if err != nil {
		b.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"read":                  func() error { _, err := parseRuns(string(text)); return err },
		"read by encoding/json": func() error { var to map[string][][4]int64; return json.Unmarshal(text, &to) },
		"write":                 func() error { _, err := runs.MarshalJSON(); return err },
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
