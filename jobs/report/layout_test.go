package report

import "testing"

// A time outside of the window has a form less than one inside of it: both columns are shortened, each as far as it can be.
func TestColumnsOfOneKindMayHaveDifferentForms(t *testing.T) {
	g := &grid{
		heads: []string{"symbol", "since", "until"}, right: make([]bool, 3), wraps: make([]bool, 3), rank: []int{0, 1, 2}, keep: []bool{true, false, false},
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
