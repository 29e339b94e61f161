package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var testNow = time.Date(2026, 1, 15, 12, 0, 30, 0, time.UTC)

// onlyKnown is a Validate that knows two commands.
func onlyKnown(args []string) error {
	if !slices.Contains([]string{"backfill", "detect"}, args[0]) {
		return fmt.Errorf("unknown command %q", args[0])
	}
	if slices.Contains(args, "--sinse") {
		return errors.New("unknown flag --sinse, did you mean \"--since\"?")
	}
	return nil
}

func TestParse(t *testing.T) {
	jobs, err := Parse("crontab.yaml", []byte(`
jobs:
  - name: heal
    schedule: "*/10 * * * *"
    run: tapedeck backfill --since 26h
    timeout: 9m
  - name: look
    schedule: "@every 90s"
    run: detect --detector 'whale order' --out "a\"b"
  - name: morning
    schedule: 30 8 * * 1-5
    timezone: Europe/Berlin
    run: backfill
`), testNow, onlyKnown)
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Name, Spec, Zone, Command string
		Args                      []string
		Timeout                   time.Duration
		Line                      int
		Next                      string
	}
	var got []entry
	for _, job := range jobs {
		got = append(got, entry{job.Name, job.Spec, job.Location.String(), job.Command, job.Args, job.Timeout, job.Line, job.Next(testNow).Format(time.RFC3339)})
	}
	want := []entry{
		{"heal", "*/10 * * * *", "UTC", "tapedeck backfill --since 26h", []string{"backfill", "--since", "26h"}, 9 * time.Minute, 3, "2026-01-15T12:10:00Z"},
		{"look", "@every 90s", "UTC", `detect --detector 'whale order' --out "a\"b"`, []string{"detect", "--detector", "whale order", "--out", `a"b`}, 6 * time.Hour, 7, "2026-01-15T12:02:00Z"},
		{"morning", "30 8 * * 1-5", "Europe/Berlin", "backfill", []string{"backfill"}, 6 * time.Hour, 10, "2026-01-16T07:30:00Z"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUpcoming(t *testing.T) {
	jobs, err := Parse("crontab.yaml", []byte("jobs:\n- {name: a, schedule: '0 * * * *', run: detect}\n- {name: b, schedule: '*/30 * * * *', run: detect}\n"), testNow, onlyKnown)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, due := range Upcoming(jobs, testNow, 5) {
		got = append(got, due.At.Format("15:04")+due.Job.Name)
	}
	if diff := cmp.Diff([]string{"12:30b", "13:00a", "13:00b", "13:30b", "14:00a"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWrongFiles(t *testing.T) {
	entry := func(lines string) string { return "jobs:\n  - name: a\n    " + lines + "\n" }
	for _, c := range []struct{ text, want string }{
		{"", "c.yaml: there are no jobs in it"},
		{"# nothing\n", "c.yaml: there are no jobs in it"},
		{"{}\n", "c.yaml: there are no jobs in it"},
		{"jobs:\n", `c.yaml:1: jobs wants a list of entries, each beginning with "- name:"`},
		{"jobs: []\n", `c.yaml:1: jobs wants a list of entries, each beginning with "- name:"`},
		{"jobs:\n  a:\n    run: detect\n", `c.yaml:1: jobs wants a list of entries, each beginning with "- name:"`},
		{"job:\n  - name: a\n", `c.yaml:1: unknown key "job"; did you mean "jobs"?`},
		{"- name: a\n", `c.yaml:1: the file wants lines of the form "key: value"`},
		{"jobs:\n  - detect\n", `c.yaml:2: an entry wants lines of the form "key: value"`},
		{"jobs:\n  - name: a\n", "c.yaml:2: the entry has no schedule\nc.yaml:2: the entry has no run"},
		{"jobs:\n  - schedule: '@daily'\n    run: detect\n", "c.yaml:2: the entry has no name"},
		{entry("schedule: '@daily'\n    run: detect\n    cammand: x"), `c.yaml:5: unknown key "cammand"; known are name, schedule, timezone, run, timeout`},
		{entry("schedule: '@daily'\n    run: detect\n    timeouts: 3m"), `c.yaml:5: unknown key "timeouts"; did you mean "timeout"?`},
		{entry("schedule: '@daily'\n    run: detect\n    run: detect"), `c.yaml:5: "run" stands here for the second time; the first is on line 4`},
		{entry("schedule: 61 * * * *\n    run: detect"), `c.yaml:3: schedule: "61 * * * *": end of range (61) above maximum (59): 61; write five fields (minute hour day month weekday), @every 90s or @daily`},
		{entry("schedule: '* * * *'\n    run: detect"), `c.yaml:3: schedule: "* * * *": expected exactly 5 fields, found 4: [* * * *]; write five fields (minute hour day month weekday), @every 90s or @daily`},
		{entry("schedule: '0 * * * * *'\n    run: detect"), `c.yaml:3: schedule: "0 * * * * *": expected exactly 5 fields, found 6: [0 * * * * *]; write five fields (minute hour day month weekday), @every 90s or @daily`},
		{entry("schedule: '0 0 31 2 *'\n    run: detect"), `c.yaml:3: schedule: "0 0 31 2 *" never comes: no such day within five years`},
		{entry("schedule: '@every 1ms'\n    run: detect"), `c.yaml:3: schedule: "@every 1ms": @every wants a length of time of a second or more, such as 90s or 1h30m`},
		{entry("schedule: '@every -1h'\n    run: detect"), `c.yaml:3: schedule: "@every -1h": @every wants a length of time of a second or more, such as 90s or 1h30m`},
		{entry("schedule: '@sometimes'\n    run: detect"), `c.yaml:3: schedule: "@sometimes": unrecognized descriptor: @sometimes; write five fields (minute hour day month weekday), @every 90s or @daily`},
		{entry("schedule: TZ=0\n    run: detect"), `c.yaml:3: schedule: "TZ=0": name the zone under the key timezone instead`},
		{entry("schedule: CRON_TZ=UTC 0 * * * *\n    run: detect"), `c.yaml:3: schedule: "CRON_TZ=UTC 0 * * * *": name the zone under the key timezone instead`},
		{entry("schedule: 12\n    run: detect"), `c.yaml:3: schedule: "12": expected exactly 5 fields, found 1: [12]; write five fields (minute hour day month weekday), @every 90s or @daily`},
		{entry("schedule: ['@daily']\n    run: detect"), "c.yaml:3: schedule: one value is wanted here, not a list or a mapping"},
		{entry("schedule: '@daily'\n    run: detec"), `c.yaml:4: run: unknown command "detec"`},
		{entry("schedule: '@daily'\n    run: detect --sinse 3h"), `c.yaml:4: run: unknown flag --sinse, did you mean "--since"?`},
		{entry("schedule: '@daily'\n    run: detect | tee x"), `c.yaml:4: run: "|" is for a shell, and there is none here; one tapedeck command is wanted, special characters in quotes`},
		{entry("schedule: '@daily'\n    run: detect 'x"), "c.yaml:4: run: the quote ' is not closed"},
		{entry("schedule: '@daily'\n    run: tapedeck"), "c.yaml:4: run: there is no command in it"},
		{entry("schedule: '@daily'\n    run:"), "c.yaml:4: run: the value is empty"},
		{entry("schedule: '@daily'\n    timezone: Berlin\n    run: detect"), `c.yaml:4: timezone: "Berlin" is not a zone of the IANA database; write for example UTC or Europe/Berlin`},
		{entry("schedule: '@daily'\n    timezone: Local\n    run: detect"), `c.yaml:4: timezone: "Local" is not a zone of the IANA database; write for example UTC or Europe/Berlin`},
		{entry("schedule: '@daily'\n    run: detect\n    timeout: 10"), `c.yaml:5: timeout: "10" is not a length of time of a second or more; write for example 90s, 10m or 1h30m`},
		{"jobs:\n  - {name: a b, schedule: '@daily', run: detect}\n", `c.yaml:2: name: "a b" may hold letters, digits, dashes, dots and underscores only`},
		{"jobs:\n  - {name: a, schedule: '@daily', run: detect}\n  - {name: a, schedule: '@daily', run: detect}\n", `c.yaml:3: a second job named "a"; the first is on line 2`},
	} {
		jobs, err := Parse("c.yaml", []byte(c.text), testNow, onlyKnown)
		if err == nil {
			t.Errorf("%q: accepted as %v", c.text, jobs)
		} else if got := err.Error(); got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"jobs:\n- {name: a, schedule: '@daily', run: detect}\n", "jobs: [&a {name: *a}]", "jobs:\n- {name: a, schedule: 'TZ=', run: \"a\\\\\"}\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		jobs, err := Parse("c.yaml", []byte(text), testNow, onlyKnown)
		if err != nil {
			return
		}
		for _, job := range jobs {
			if job.Name == "" || len(job.Args) == 0 || job.Next(testNow).IsZero() || strings.Contains(job.Name, " ") {
				t.Errorf("accepted %q as %+v", text, job)
			}
		}
	})
}
