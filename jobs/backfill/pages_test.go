package backfill

import (
	"slices"
	"testing"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

// Between the ids of an exchange and those of its replacement there may be millions that neither
// has. A few answers show that, without a request for every page.
func TestGapOfMillionsIsNotRequestedPageByPage(t *testing.T) {
	if testing.Short() {
		t.Skip("slow with the race detector; make test-all runs it")
	}
	const gap = 20_000_000
	h := newHarness(t, tape.AggTrade, slices.Concat(
		market("BTCUSDT", 0, 1_500, now.Add(-2*time.Hour), now.Add(-time.Hour)),
		market("BTCUSDT", gap, 1_500, now.Add(-time.Hour), now),
	))
	h.publish("BTCUSDT", idset.Range{First: 0, Last: 500}, idset.Range{First: gap + 1_000, Last: gap + 1_400})
	summary := h.mustBackfill(func(o *Options) { o.Source = RESTOnly })
	total := summary.Total()
	if total.Fetched != 2_000-1 || total.StillMissing.Count() != gap-1_500-total.Absent {
		t.Errorf("fetched %d, %d still missing, %d absent", total.Fetched, total.StillMissing.Count(), total.Absent)
	}
	if asked := h.requests(aggTradesPath); asked > pagesPerPiece+20 {
		t.Errorf("%d requests", asked)
	}
	t.Logf("%+v", total.Cost)
}
