package analytics

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/state"
)

func TestJudgedShowsWhatDetectRecorded(t *testing.T) {
	dir := newTape(t)
	at := func(hour float64) time.Time { return noon.Add(time.Duration(hour * float64(time.Hour))) }
	outcomes := []state.Judged{
		{Detector: "price_jump", Symbol: "币安人生USDT", Spans: []state.JudgedSpan{
			{Start: at(0), End: at(1.5), Reason: state.ReasonHistory}, {Start: at(1.5), End: at(13)},
		}},
		{Detector: "price_jump", Symbol: "O'BRIENUSDT", Spans: []state.JudgedSpan{{Start: at(0), End: at(1)}}},
	}
	if err := state.RecordJudged(dir.State(), outcomes, false); err != nil {
		t.Fatal(err)
	}
	// A damaged file costs its claims and nothing else.
	if err := os.WriteFile(filepath.Join(dir.State().Path(state.JudgedDir), "2026-01-01.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	const all = "SELECT * FROM judged ORDER BY ALL"
	want := "price_jump,O'BRIENUSDT,2026-01-15 12:00:00,2026-01-15 13:00:00,\n" +
		"price_jump,币安人生USDT,2026-01-15 12:00:00,2026-01-15 13:30:00,history\n" +
		"price_jump,币安人生USDT,2026-01-15 13:30:00,2026-01-16 00:00:00,\n" +
		"price_jump,币安人生USDT,2026-01-16 00:00:00,2026-01-16 01:00:00,"
	if diff := cmp.Diff(want, rowsOf(t, openSession(t, dir, Options{}), all)); diff != "" {
		t.Errorf("judged (-want +got):\n%s", diff)
	}
	one := openSession(t, dir, Options{Symbols: []string{"O'BRIENUSDT"}})
	if got := rowsOf(t, one, "SELECT DISTINCT symbol FROM judged"); got != "O'BRIENUSDT" {
		t.Errorf("judged of one symbol: %s", got)
	}
	if err := Migrate(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	market := openMarket(t, filepath.Join(dir.Path(), MarketName))
	if diff := cmp.Diff(want, queryMarket(t, market, all)); diff != "" {
		t.Errorf("judged of %s (-want +got):\n%s", MarketName, diff)
	}
}
