package report

import "testing"

// A time outside the window has one form less than a time inside it. Both columns are shortened,
// each as far as it can be.
func TestFitShortensColumnsOfOneKindToTheirOwnLimit(t *testing.T) {
	g := grid{
		{head: "symbol", rank: 0, keep: true, kind: kindText, cells: [][]string{{"BTCUSDT"}}},
		{head: "since", rank: 1, kind: kindTime, cells: [][]string{{"2026-01-14 12:00:00"}, {"01-14 12:00:00"}}},
		{head: "until", rank: 2, kind: kindTime, cells: [][]string{{"2026-01-15 12:00:00"}, {"01-15 12:00:00"}, {"12:00:00"}}},
	}
	g.fit(33)
	if len(g.visible()) != 3 || g[1].form != 1 || g[2].form != 2 {
		t.Errorf("%d columns, forms %d and %d", len(g.visible()), g[1].form, g[2].form)
	}
}
