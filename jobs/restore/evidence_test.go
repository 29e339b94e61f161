package restore

import (
	"testing"
	"time"

	"tapedeck/internal/lake"
	"tapedeck/internal/tape"
)

func TestEvidenceOfCoverage(t *testing.T) {
	row := func(date, state string, first, last int64, absent string) dayOf {
		r := lake.CoverageRow{State: state, AbsentIDs: absent}
		if first > 0 {
			r.FirstID, r.LastID = &first, &last
		}
		return dayOf{date, r}
	}
	at := func(date string) time.Time {
		day, err := time.Parse(time.DateOnly, date)
		if err != nil {
			t.Fatal(err)
		}
		return day
	}
	for _, c := range []struct {
		name        string
		days        []dayOf
		absent      string
		from, until string // what is known; empty is nothing
		fromID      int64
	}{
		{"proven days", []dayOf{row("2026-01-15", tape.StateProven, 10, 20, ""), row("2026-01-16", tape.StateProven, 21, 30, "")},
			"", "2026-01-15", "2026-01-17", 10},
		{"ids absent within a day and between two", []dayOf{row("2026-01-15", tape.StateAbsent, 10, 20, "12-13"), row("2026-01-16", tape.StateAbsent, 23, 30, "")},
			"12-13,21-22", "2026-01-15", "2026-01-17", 10},
		{"between two, with a day without trades", []dayOf{row("2026-01-15", tape.StateAbsent, 10, 20, ""), row("2026-01-16", tape.StateAbsent, 0, 0, ""), row("2026-01-17", tape.StateAbsent, 23, 30, "")},
			"21-22", "2026-01-15", "2026-01-18", 10},
		{"a day that the lake does not have proves nothing about the ids between", []dayOf{row("2026-01-15", tape.StateProven, 10, 20, ""), row("2026-01-17", tape.StateProven, 31, 40, "")},
			"", "2026-01-15", "2026-01-18", 10},
		{"the record begins on the first day", []dayOf{row("2026-01-15", tape.StateOpen, 10, 20, ""), row("2026-01-16", tape.StateProven, 21, 30, "")},
			"", "2026-01-16", "2026-01-17", 21},
		{"what was dropped is not absent", []dayOf{row("2026-01-15", tape.StateDropped, 10, 20, "12-13")}, "", "", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			absent, answer, err := evidenceOf(c.days)
			if err != nil || lake.FormatIDs(absent) != c.absent {
				t.Errorf("absent %s (%v), want %s", lake.FormatIDs(absent), err, c.absent)
			}
			if c.from == "" {
				if len(answer.FirstFrom)+len(answer.LastBefore) > 0 {
					t.Errorf("%+v", answer)
				}
				return
			}
			if first := answer.FirstFrom[0]; !first.At.Equal(at(c.from)) || first.ID != c.fromID {
				t.Errorf("first %+v", first)
			}
			if last := answer.LastBefore[0]; !last.At.Equal(at(c.until)) {
				t.Errorf("last %+v", last)
			}
		})
	}
}
