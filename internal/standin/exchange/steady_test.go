package exchange

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSteadyEqualsMemory compares every method of a Steady with a Memory of the same rows.
func TestSteadyEqualsMemory(t *testing.T) {
	for _, perSecond := range []float64{7, 1000, 3_000_000} {
		length := time.Duration(700 / perSecond * float64(time.Second))
		m, err := NewSteady(3, perSecond, time.UnixMicro(t0), length)
		if err != nil {
			t.Fatal(err)
		}
		first, last := m.Span()
		var rows []MemoryRow
		for _, kind := range Kinds() {
			for _, e := range m.Between(nil, kind, first-1, last) {
				rows = append(rows, MemoryRow{Symbol: m.symbols[e.Symbol].Name, Kind: kind, Row: e.Row})
			}
		}
		if len(rows) < 1390 || len(rows) > 1402 {
			t.Fatalf("%g: %d rows", perSecond, len(rows))
		}
		want := NewMemory(m.symbols, rows)
		if f, l := want.Span(); f != first || l != last {
			t.Errorf("%g: span %d %d, want %d %d", perSecond, first, last, f, l)
		}
		for _, kind := range Kinds() {
			var sliced []Event
			for at := first - 5; at < last; at += 13 + (last-first)/100 {
				sliced = append(sliced, m.Between(nil, kind, at, at+13+(last-first)/100)...)
			}
			if diff := cmp.Diff(want.Between(nil, kind, first-1, last), sliced); diff != "" {
				t.Fatalf("%g %s: slices (-want +got):\n%.1000s", perSecond, kind, diff)
			}
			for _, symbol := range []string{"B0001USDT", "B0003USDT", "NOPE"} {
				for at := first - 3; at <= last+3; at += 1 + (last-first)/997 {
					for name, call := range map[string]func(Source) (int64, bool){
						"FirstAt":      func(s Source) (int64, bool) { return s.FirstAt(symbol, kind, at) },
						"LastBefore":   func(s Source) (int64, bool) { return s.LastBefore(symbol, kind, at) },
						"LastReleased": func(s Source) (int64, bool) { return s.LastReleased(symbol, kind, at) },
					} {
						a, aok := call(want)
						b, bok := call(m)
						if a != b || aok != bok {
							t.Fatalf("%g %s %s %s(first+%d): %d %v, want %d %v", perSecond, symbol, kind, name, at-first, b, bok, a, aok)
						}
					}
				}
				from := firstID(kind)
				for _, id := range []int64{0, from, from + 100, from + 230, from + 240} {
					if a, b := want.Rows(nil, symbol, kind, id, 10), m.Rows(nil, symbol, kind, id, 10); !slices.Equal(a, b) {
						t.Errorf("%g %s %s Rows(%d): %v, want %v", perSecond, symbol, kind, id, b, a)
					}
				}
			}
		}
	}
}
