package schedule

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/state"
)

// TestDaylightSavingDays runs the scheduler over days on which the clock changes, from an hour
// before local midnight. A daily job runs once, and an hourly job once for each different local
// hour; the run of a skipped hour coincides with the next one.
func TestDaylightSavingDays(t *testing.T) {
	for _, c := range []struct {
		zone, day string
		daily     [3]string // when 00:00, 01:30 and 02:30 of that day run, in UTC
		hourly    int       // runs of the hourly job for hours of that day
	}{
		{"America/New_York", "2026-03-08", [3]string{"2026-03-08 05:00", "2026-03-08 06:30", "2026-03-08 07:00"}, 23},
		{"America/New_York", "2026-11-01", [3]string{"2026-11-01 04:00", "2026-11-01 05:30", "2026-11-01 07:30"}, 24},
		{"America/Sao_Paulo", "2018-02-17", [3]string{"2018-02-17 02:00", "2018-02-17 03:30", "2018-02-17 04:30"}, 24},
		{"America/Sao_Paulo", "2018-02-18", [3]string{"2018-02-18 03:00", "2018-02-18 04:30", "2018-02-18 05:30"}, 24},
		{"America/Sao_Paulo", "2018-11-04", [3]string{"2018-11-04 03:00", "2018-11-04 03:30", "2018-11-04 04:30"}, 23},
		{"America/Sao_Paulo", "2026-02-21", [3]string{"2026-02-21 03:00", "2026-02-21 04:30", "2026-02-21 05:30"}, 24}, // no longer observed
		{"Asia/Beirut", "2026-03-29", [3]string{"2026-03-28 22:00", "2026-03-28 22:30", "2026-03-28 23:30"}, 23},
		{"Asia/Beirut", "2026-10-24", [3]string{"2026-10-23 21:00", "2026-10-23 22:30", "2026-10-23 23:30"}, 24},
		{"Asia/Beirut", "2026-10-25", [3]string{"2026-10-24 22:00", "2026-10-24 23:30", "2026-10-25 00:30"}, 24},
		{"Europe/London", "2026-03-29", [3]string{"2026-03-29 00:00", "2026-03-29 01:00", "2026-03-29 01:30"}, 23},
		{"Europe/London", "2026-10-25", [3]string{"2026-10-24 23:00", "2026-10-25 00:30", "2026-10-25 02:30"}, 24},
		{"UTC", "2026-03-29", [3]string{"2026-03-29 00:00", "2026-03-29 01:30", "2026-03-29 02:30"}, 24},
		{"UTC", "2026-10-25", [3]string{"2026-10-25 00:00", "2026-10-25 01:30", "2026-10-25 02:30"}, 24},
	} {
		t.Run(strings.ReplaceAll(c.zone, "/", "_")+" "+c.day, func(t *testing.T) {
			location, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			day, err := time.Parse(time.DateOnly, c.day)
			if err != nil {
				t.Fatal(err)
			}
			// The first and the last minute of the local day.
			onDay := func(at time.Time) bool { return at.In(location).Format(time.DateOnly) == c.day }
			first := time.Date(day.Year(), day.Month(), day.Day(), 12, 0, 0, 0, location)
			last := first
			for onDay(first.Add(-time.Minute)) {
				first = first.Add(-time.Minute)
			}
			for onDay(last) {
				last = last.Add(time.Minute)
			}
			runs := map[string][]string{}
			synctest.Test(t, func(t *testing.T) {
				ledger := &memoryLedger{}
				jobs := parseJobs(t, strings.ReplaceAll(`
jobs:
  - {name: midnight, schedule: "0 0 * * *", timezone: ZONE, run: detect}
  - {name: half-one, schedule: "30 1 * * *", timezone: ZONE, run: detect}
  - {name: half-two, schedule: "30 2 * * *", timezone: ZONE, run: detect}
  - {name: hourly, schedule: "0 * * * *", timezone: ZONE, run: detect}
`, "ZONE", c.zone))
				opt := options(jobs, ledger, func(context.Context, []string, string, func(string)) Exit { return Exit{} })
				shift := time.Until(first.Add(-time.Hour))
				opt.Now, opt.Heartbeat = func() time.Time { return time.Now().Add(shift) }, time.Hour
				ctx, cancel := context.WithTimeout(t.Context(), last.Sub(first)+90*time.Minute)
				defer cancel()
				if err := Run(ctx, opt); err != nil {
					t.Fatal(err)
				}
				for _, row := range ledger.runs {
					at := time.UnixMicro(row.ScheduledAt).UTC()
					if row.StartedAt != row.ScheduledAt || row.Outcome != state.OK {
						t.Errorf("%s was due at %v: %+v", row.Job, at, row)
					}
					if !at.Before(first) && at.Before(last) {
						runs[row.Job] = append(runs[row.Job], at.Format("2006-01-02 15:04"))
					}
				}
			})
			for i, name := range []string{"midnight", "half-one", "half-two"} {
				if diff := cmp.Diff([]string{c.daily[i]}, runs[name]); diff != "" {
					t.Errorf("%s:\n%s", name, diff)
				}
			}
			if len(runs["hourly"]) != c.hourly || len(slices.Compact(runs["hourly"])) != c.hourly {
				t.Errorf("hourly ran %d times: %v", len(runs["hourly"]), runs["hourly"])
			}
		})
	}
}

// TestSchedulesMatchOracle compares 200 random schedules with an implementation without cron or
// zone transitions, which goes through the local times minute by minute.
func TestSchedulesMatchOracle(t *testing.T) {
	cases := []struct{ zone, from string }{
		{"UTC", "2026-02-26"}, {"America/New_York", "2026-03-06"}, {"America/New_York", "2026-10-30"}, {"America/Sao_Paulo", "2018-02-16"},
		{"America/Sao_Paulo", "2018-11-02"}, {"Asia/Beirut", "2026-03-27"}, {"Asia/Beirut", "2026-10-23"}, {"Europe/London", "2026-03-27"},
		{"Europe/London", "2026-10-23"}, {"Australia/Lord_Howe", "2026-04-03"}, {"Australia/Lord_Howe", "2026-10-02"}, // half an hour
		{"Pacific/Apia", "2011-12-28"},                                       // skips a whole day
		{"Asia/Kathmandu", "2026-05-30"}, {"Antarctica/Troll", "2026-03-27"}, // two hours
		{"Africa/Casablanca", "2026-02-13"},
	}
	random := rand.New(rand.NewPCG(7, 200))
	minutes := make([][]localMinute, len(cases))
	total := 0
	schedules, least := 200, 1000
	if testing.Short() {
		schedules, least = 45, 200
	}
	for i := range schedules {
		place := cases[i%len(cases)]
		location, err := time.LoadLocation(place.zone)
		if err != nil {
			t.Fatal(err)
		}
		from, err := time.Parse(time.DateOnly, place.from)
		if err != nil {
			t.Fatal(err)
		}
		to := from.AddDate(0, 0, 5)
		spec, matches := randomSpec(random)
		parsed, err := parseSpec(spec, location)
		if err != nil {
			t.Fatalf("%q: %v", spec, err)
		}
		var got []time.Time
		for at := parsed.next(from.Add(-time.Nanosecond)); !at.IsZero() && at.Before(to); at = parsed.next(at) {
			got = append(got, at)
		}
		if minutes[i%len(cases)] == nil {
			minutes[i%len(cases)] = localMinutes(location, from.AddDate(0, 0, -3), to.AddDate(0, 0, 3))
		}
		want := oracle(matches, minutes[i%len(cases)], from, to)
		if !slices.EqualFunc(want, got, time.Time.Equal) {
			t.Errorf("%q in %s from %s:\n%s", spec, place.zone, place.from, cmp.Diff(want, got))
		}
		total += len(got)
		for range 4 { // last is the inverse of next
			at := from.Add(time.Duration(random.Int64N(int64(5 * 24 * time.Hour))))
			n, found := slices.BinarySearchFunc(want, at, time.Time.Compare)
			if !found {
				n--
			}
			if n < 0 {
				continue // before from
			}
			if last := parsed.last(at); !last.Equal(want[n]) {
				t.Errorf("%q in %s: last(%v) = %v, want %v", spec, place.zone, at, last, want[n])
			}
		}
	}
	if total < least {
		t.Errorf("only %d instants were compared", total)
	}
}

// localMinute is an instant and its local time as if it were UTC.
type localMinute struct{ at, local time.Time }

// localMinutes returns the minutes in [from, to) whose local time is later than any before.
func localMinutes(location *time.Location, from, to time.Time) []localMinute {
	var out []localMinute
	for at := from; at.Before(to); at = at.Add(time.Minute) {
		zoned := at.In(location)
		local := time.Date(zoned.Year(), zoned.Month(), zoned.Day(), zoned.Hour(), zoned.Minute(), 0, 0, time.UTC)
		if len(out) == 0 || local.After(out[len(out)-1].local) {
			out = append(out, localMinute{at, local})
		}
	}
	return out
}

// oracle returns the due instants in [from, to): each local minute that matches is due when it, or
// a later one, first occurs.
func oracle(matches func(time.Time) bool, first []localMinute, from, to time.Time) []time.Time {
	var out []time.Time
	i := 0
	for local := first[0].local; i < len(first); local = local.Add(time.Minute) {
		for i < len(first) && first[i].local.Before(local) {
			i++
		}
		if i == len(first) {
			break
		}
		if at := first[i].at; matches(local) && !at.Before(from) && at.Before(to) && (len(out) == 0 || !out[len(out)-1].Equal(at)) {
			out = append(out, at)
		}
	}
	return out
}

// randomSpec returns five fields, and a function that reports whether they match a local time.
func randomSpec(random *rand.Rand) (string, func(local time.Time) bool) {
	var text []string
	field := func(low, high int, dense bool) (set map[int]bool, star bool) {
		set = map[int]bool{}
		fill := func(from, to, step int) {
			for v := from; v <= to; v += step {
				set[v] = true
			}
		}
		kind := random.IntN(6)
		if dense {
			kind = min(kind, 3)
		}
		switch kind {
		case 0, 1:
			fill(low, high, 1)
			text = append(text, "*")
			return set, true
		case 2:
			step := 2 + random.IntN(max((high-low)/2, 1))
			fill(low, high, step)
			text = append(text, fmt.Sprintf("*/%d", step))
		case 3:
			from := low + random.IntN(high-low)
			to := from + random.IntN(high-from+1)
			step := 1 + random.IntN(3)
			fill(from, to, step)
			text = append(text, fmt.Sprintf("%d-%d/%d", from, to, step))
		case 4:
			var words []string
			for range 1 + random.IntN(4) {
				v := low + random.IntN(high-low+1)
				set[v] = true
				words = append(words, strconv.Itoa(v))
			}
			text = append(text, strings.Join(words, ","))
		case 5:
			v := low + random.IntN(high-low+1)
			set[v] = true
			text = append(text, strconv.Itoa(v))
		}
		return set, false
	}
	minutes, _ := field(0, 59, false)
	hours, _ := field(0, 23, false)
	days, anyDay := field(1, 31, true)
	text = append(text, "*") // months: five days see one or two of them
	weekdays, anyWeekday := field(0, 6, true)
	return strings.Join(text, " "), func(local time.Time) bool {
		day, weekday := days[local.Day()], weekdays[int(local.Weekday())]
		matches := day && weekday
		if !anyDay && !anyWeekday {
			matches = day || weekday // as in cron
		}
		return minutes[local.Minute()] && hours[local.Hour()] && matches
	}
}

// TestDailyJobRunsEveryDay checks in several zones that a daily job has one run on each day of a
// year.
func TestDailyJobRunsEveryDay(t *testing.T) {
	for _, zone := range []string{"UTC", "America/New_York", "America/Sao_Paulo", "Asia/Beirut", "Europe/London", "Australia/Lord_Howe"} {
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range []string{"0 0 * * *", "30 1 * * *", "30 2 * * *", "59 23 * * *"} {
			parsed, err := parseSpec(spec, location)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Date(2018, 1, 1, 0, 0, 0, 0, location).Add(-time.Second)
			for day := time.Date(2018, 1, 1, 12, 0, 0, 0, location); day.Year() == 2018; day = day.AddDate(0, 0, 1) {
				at = parsed.next(at)
				if got := at.In(location).Format(time.DateOnly); got != day.Format(time.DateOnly) {
					t.Fatalf("%s in %s: the run of %s is at %v", spec, zone, day.Format(time.DateOnly), at.In(location))
				}
			}
		}
	}
}

func TestClockChangeNote(t *testing.T) {
	location, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ spec, at, want string }{
		{"30 2 * * *", "2026-03-08T07:00:00Z", "the clock skips 02:30 on this day; it runs right after"},
		{"0 * * * *", "2026-03-08T07:00:00Z", "the clock skips 02:00 on this day; it runs right after"},
		{"0 3 * * *", "2026-03-08T07:00:00Z", ""},
		{"30 2 * * *", "2026-03-09T06:30:00Z", ""},
		{"30 1 * * *", "2026-11-01T05:30:00Z", "01:30 occurs twice on this day; it runs the first time"},
		{"0 1 * * *", "2026-11-01T05:00:00Z", "01:00 occurs twice on this day; it runs the first time"},
		{"0 2 * * *", "2026-11-01T07:00:00Z", ""},
		{"59 0 * * *", "2026-11-01T04:59:00Z", ""},
		{"@every 1h", "2026-11-01T05:00:00Z", ""},
	} {
		parsed, err := parseSpec(c.spec, location)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := parsed.next(at.Add(-time.Second)); !got.Equal(at) {
			t.Errorf("%s is due at %v, want %v", c.spec, got, at)
		}
		if got := parsed.clockChange(at); got != c.want {
			t.Errorf("%s at %v: %q, want %q", c.spec, at, got, c.want)
		}
	}
}

func TestIntervalsAreAnchored(t *testing.T) {
	every, err := parseSpec("@every 7m", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		at := time.Unix(random.Int64N(4e9)-1e9, random.Int64N(1e9))
		next, last := every.next(at), every.last(at)
		if next.Unix()%420 != 0 || last.Unix()%420 != 0 || next.Sub(last) != 7*time.Minute || last.After(at) || !next.After(at) {
			t.Fatalf("at %v: last %v, next %v", at, last, next)
		}
	}
}
