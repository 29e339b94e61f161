package report

import (
	"testing"
	"time"
)

// TestMarksOfManyAlertsHaveNoNumbers checks what marks say: the numbers of the detectors of their candle, in
// the order of the first alerts, unless there are too many marks.
func TestMarksOfManyAlertsHaveNoNumbers(t *testing.T) {
	start := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	alertsAt := func(minutes int) (alerts []alert) {
		for i := range minutes {
			alerts = append(alerts, alert{at: start.Add(time.Duration(i+1) * time.Minute), detector: "flash_crash", severity: "low"})
		}
		return append(alerts, alert{at: start.Add(time.Minute), detector: "whale_order", severity: "high", message: "m"})
	}
	minuteOf := func(at time.Time) int { return int(at.Sub(start) / time.Minute) }
	marks, notes := markAlerts(alertsAt(3), 60, minuteOf)
	if len(marks) != 3 || marks[0].Label != "1,2" || marks[0].Candle != 0 || marks[2].Label != "1" || notes != "Alerts: 1 flash_crash (3), 2 whale_order" {
		t.Errorf("the marks are %+v under %q", marks, notes)
	}
	marks, notes = markAlerts(alertsAt(40), 60, minuteOf)
	if len(marks) != 40 || marks[0].Label != "" || marks[0].Title == "" || notes != "Alerts: flash_crash (40), whale_order" {
		t.Errorf("%d marks, the first is %+v, under %q", len(marks), marks[0], notes)
	}
	if marks, notes = markAlerts(alertsAt(3), 0, minuteOf); marks != nil || notes != "" {
		t.Errorf("alerts outside the chart are marked: %+v, %q", marks, notes)
	}
}
