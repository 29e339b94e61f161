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
	fitted := g.fit(33)
	if len(fitted.columns) != 3 || fitted.form[1] != 1 || fitted.form[2] != 2 {
		t.Errorf("%+v", fitted)
	}
}
