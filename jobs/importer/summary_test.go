package importer

import "testing"

func TestSummaryOfAFileWithoutTrades(t *testing.T) {
	if got := (FileSummary{Path: "empty.csv"}).String(); got != "empty.csv: no trades" {
		t.Error(got)
	}
	if got := (FileSummary{Path: "a.csv", Rows: 1, Published: 1, Symbols: []string{"BTCUSDT"}}).String(); got != "a.csv: 1 trade of BTCUSDT, 1 of them new" {
		t.Error(got)
	}
}
