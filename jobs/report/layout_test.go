package report

import "testing"

// A time outside the window has one form less than a time inside it. Both columns are shortened,
// each as far as it can be.
func TestFitShortensColumnsOfOneKindToTheirOwnLimit(t *testing.T) {
	g := &grid{
		heads: []string{"symbol", "since", "until"}, right: make([]bool, 3), truncates: make([]bool, 3), rank: []int{0, 1, 2}, keep: []bool{true, false, false},
		kinds: []kind{kindText, kindTime, kindTime},
		cells: [][][]string{
			{{"BTCUSDT"}},
			{{"2026-01-14 12:00:00"}, {"01-14 12:00:00"}},
			{{"2026-01-15 12:00:00"}, {"01-15 12:00:00"}, {"12:00:00"}},
		},
	}
	fitted := g.fit(33)
	if len(fitted.columns) != 3 || fitted.form[1] != 1 || fitted.form[2] != 2 {
		t.Errorf("%+v", fitted)
	}
}
