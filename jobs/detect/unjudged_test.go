package detect

import (
	"testing"
	"time"
)

func TestMinutesWithoutHistoryAreUnjudged(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	summary := runDetect(t, dir, Options{Now: begin.Add(length + time.Hour), DryRun: true})
	if len(summary.Unjudged) != 6 {
		t.Fatalf("unjudged: %+v", summary.Unjudged)
	}
	for _, u := range summary.Unjudged {
		// The record begins minutes after 18:00, and THINUSDT up to 40 minutes later. At 07:00 there are 720 minutes
		// before the full hour.
		if u.Gap != 0 || u.History < 12*60 || u.History > 14*60 {
			t.Errorf("unjudged: %+v", u)
		}
	}
	late := runDetect(t, dir, Options{From: begin.Add(20 * time.Hour), To: begin.Add(22 * time.Hour), Now: begin.Add(length + time.Hour), DryRun: true})
	if len(late.Unjudged) != 0 {
		t.Errorf("unjudged: %+v", late.Unjudged)
	}
}
