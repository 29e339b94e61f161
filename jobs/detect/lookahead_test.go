package detect

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// futurePrice uses the header of ownDetector. It raises an alert in the middle of each two hours, with the highest
// price of both.
var futurePrice = ownDetector[:strings.Index(ownDetector, "SELECT")] + `WITH hours AS (
    SELECT
        symbol,
        time_bucket(INTERVAL 2 HOURS, traded_at) AS hour,
        max(price) AS high,
        min(id) AS first_id,
        max(id) AS last_id,
    FROM trades
    WHERE
        traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY
        symbol,
        hour,
)

SELECT
    symbol,
    hour + INTERVAL 1 HOUR AS at,
    high AS score,
    'low' AS severity,
    'high' AS message,
    first_id,
    last_id,
FROM hours
WHERE
    hour + INTERVAL 1 HOUR > $window_start::TIMESTAMP
    AND hour + INTERVAL 1 HOUR <= $window_end::TIMESTAMP
ORDER BY
    symbol,
    hour
`

func TestCheckLookAhead(t *testing.T) {
	rows := smallMarket(3)
	dir := newTape(t, rows)
	opt := Options{From: begin.Add(14 * time.Hour), To: begin.Add(28 * time.Hour), Now: begin.Add(length + time.Hour)}
	t.Run("embedded detectors", func(t *testing.T) {
		if testing.Short() {
			t.Skip("takes long: make test-all")
		}
		opt := opt
		opt.Detectors = injectedDetectors
		checked, err := CheckLookAhead(t.Context(), dir, opt)
		if err != nil || len(checked.Problems) > 0 {
			t.Fatal(err, checked.Problems)
		}
		insideMinute := slices.ContainsFunc(checked.Cutoffs, func(cutoff time.Time) bool { return !cutoff.Equal(cutoff.Truncate(time.Minute)) })
		if len(checked.Found) > 0 || len(checked.Cutoffs) < 12 || !insideMinute || len(checked.Detectors) != len(injectedDetectors) || checked.Alerts < len(events)-1 {
			t.Errorf("cutoffs %v, %d alerts of %v, differences: %v", checked.Cutoffs, checked.Alerts, checked.Detectors, checked.Found)
		}
	})
	t.Run("detector that looks ahead", func(t *testing.T) {
		opt := opt
		opt.QueriesDir, opt.Detectors = queriesDir(t, "future_price", futurePrice), []string{"future_price"}
		checked, err := CheckLookAhead(t.Context(), dir, opt)
		if err != nil || len(checked.Problems) > 0 {
			t.Fatal(err, checked.Problems)
		}
		if len(checked.Found) == 0 || checked.Found[0].Detector != "future_price" {
			t.Errorf("differences: %v", checked.Found)
		}
	})
}
