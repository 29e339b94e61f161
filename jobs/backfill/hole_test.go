package backfill

import (
	"slices"
	"testing"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

// Between the ids of an exchange and of the one that took its place lie millions that neither has. That is seen from some answers, not page by page.
func TestAHoleOfMillionsIsNotPaged(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long with the race detector; make test-all runs it")
	}
	const hole = 20_000_000
	w := newWorld(t, tape.AggTrade, slices.Concat(
		market("BTCUSDT", 0, 1_500, now.Add(-2*time.Hour), now.Add(-time.Hour)),
		market("BTCUSDT", hole, 1_500, now.Add(-time.Hour), now),
	))
	w.seed("BTCUSDT", idset.Range{First: 0, Last: 500}, idset.Range{First: hole + 1_000, Last: hole + 1_400})
	summary := w.mustRun(func(o *Options) { o.Source = RESTOnly })
	total := summary.Total()
	if total.Fetched != 2_000-1 || total.StillMissing.Count() != hole-1_500-total.Absent {
		t.Errorf("fetched %d, %d still missing, %d absent", total.Fetched, total.StillMissing.Count(), total.Absent)
	}
	if asked := w.requests(aggTradesPath); asked > pagesPerPiece+20 {
		t.Errorf("%d requests", asked)
	}
	t.Logf("%+v", total.Cost)
}
