package schedule

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var testNow = time.Date(2026, 1, 15, 12, 0, 30, 0, time.UTC)

// validateKnown is a Validate that accepts two commands.
func validateKnown(args []string) (WindowMode, error) {
	if !slices.Contains([]string{"backfill", "detect"}, args[0]) {
		return 0, fmt.Errorf("unknown command %q", args[0])
	}
	if slices.Contains(args, "--sinse") {
		return 0, errors.New("unknown flag --sinse, did you mean \"--since\"?")
	}
	return NoWindow, nil
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
`), testNow, validateKnown)
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
		{"look", "@every 90s", "UTC", `detect --detector 'whale order' --out "a\"b"`, []string{"detect", "--detector", "whale order", "--out", `a"b`}, 6 * time.Hour, 7, "2026-01-15T12:01:30Z"},
		{"morning", "30 8 * * 1-5", "Europe/Berlin", "backfill", []string{"backfill"}, 6 * time.Hour, 10, "2026-01-16T07:30:00Z"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUpcoming(t *testing.T) {
	jobs, err := Parse("crontab.yaml", []byte("jobs:\n- {name: a, schedule: '0 * * * *', run: detect}\n- {name: b, schedule: '*/30 * * * *', run: detect}\n"), testNow, validateKnown)
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

// TestParseErrors checks that each wrong file gets one line, with the file and, if it is known, the
// line.
func TestParseErrors(t *testing.T) {
	const path = "testdata/wrong.txtar"
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for i := 0; i+1 < len(archive.Files); i += 2 {
		text, want := archive.Files[i], &archive.Files[i+1]
		name, isCase := strings.CutSuffix(text.Name, ".yaml")
		if !isCase || want.Name != name+".want" {
			t.Fatalf("%s and %s are not a pair", text.Name, want.Name)
		}
		cases++
		jobs, err := Parse("crontab.yaml", text.Data, testNow, validateKnown)
		if err == nil {
			t.Errorf("%s: parsed as %v, want an error", name, jobs)
			continue
		}
		got := err.Error() + "\n"
		if strings.Count(got, "\n") != 1 {
			t.Errorf("%s: more than one line:\n%s", name, got)
		}
		if strings.Contains(got, "secret") {
			t.Errorf("%s: the error contains a secret", name)
		}
		if *update {
			want.Data = []byte(got)
		} else if diff := cmp.Diff(string(want.Data), got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	if cases < 30 {
		t.Errorf("only %d cases", cases)
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestParseReportsAllProblems(t *testing.T) {
	_, err := Parse("c.yaml", []byte("jobs:\n  - {name: b b, schedule: x, run: detec}\n  - name: a\n    run: backfill --sinse 3h\n"), testNow, validateKnown)
	if err == nil {
		t.Fatal("no error")
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		lines = append(lines, strings.Join(strings.SplitN(line, ":", 4)[:3], ":"))
	}
	want := []string{"c.yaml:2: name", "c.yaml:2: run", "c.yaml:2: schedule", "c.yaml:3: the entry has no schedule\n", "c.yaml:4: run"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"jobs:\n- {name: a, schedule: '@daily', run: detect}\n", "jobs: [&a {name: *a}]", "jobs:\n- {name: a, schedule: 'TZ=', run: \"a\\\\\"}\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		jobs, err := Parse("c.yaml", []byte(text), testNow, validateKnown)
		if err != nil {
			return
		}
		for _, job := range jobs {
			if job.Name == "" || len(job.Args) == 0 || job.Next(testNow).IsZero() || strings.Contains(job.Name, " ") {
				t.Errorf("%q was parsed as %+v", text, job)
			}
		}
	})
}
