package state

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/window"
)

// machine has nothing running.
type machine struct{}

func (machine) Held(string) bool { return false }
func (machine) Uptime() Uptime   { return Uptime{Boot: "a", Since: time.Hour} }

// FuzzFiles reads and changes state files of any content: nothing panics, a recorder is not said to run
// that left a lock behind, and what was judged are disjoint windows of the file's date.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"pid":1,"locked":true,"started_at":"2026-01-15T00:00:00Z","updated_at":"9999-01-01T00:00:00Z","symbols":{"A":{"last_traded_at":"2026-01-15T00:00:00Z"}}}`))
	f.Add([]byte(`{"jobs":[{"name":"a","run":{"id":"x"},"totals":{"within":[1]}},{"name":"a"}],"done_until":{"a":"9999-01-01T00:00:00Z"},"disbelieved":{"x":"0001-01-01T00:00:00Z"}}`))
	f.Add([]byte(`{"groups":[{"detectors":["d","d"],"symbols":["A"],"windows":[{"start":"2026-01-15T00:00:00Z","end":"2026-01-15T01:00:00Z"},{"start":"2026-01-15T00:30:00Z","end":"2026-01-14T01:00:00Z","reason":"gap"}]}]}`))
	f.Add([]byte(`{"d":"hash"}`))
	f.Add([]byte("null"))
	day := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, content []byte) {
		data := t.TempDir()
		dir := Open(data, durable.OS{})
		for _, name := range []string{StreamFile, SchedulerFile, JudgedDir + "/2026-01-15.json", judgedDefinitions, flushFile} {
			path := dir.Path(name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(filepath.Join(data, ".staging"), 0o755); err != nil {
			t.Fatal(err)
		}
		var stream Stream
		if dir.Read(StreamFile, &stream) == nil {
			if stream.Locked && stream.IsRunning(machine{}, day) {
				t.Fatalf("%+v runs", stream)
			}
			for _, s := range stream.Symbols {
				if lag, _ := s.Lag(); lag < 0 {
					t.Fatalf("a lag of %v", lag)
				}
			}
		}
		var scheduler Scheduler
		if dir.Read(SchedulerFile, &scheduler) == nil {
			scheduler.Disbelieve("run", day)
			scheduler.Job("a").Totals.Add(OK, time.Second, 1, 1)
			if err := dir.Write(SchedulerFile, scheduler); err != nil {
				t.Fatal(err)
			}
		}
		FlushRequest(dir)
		checkJudged(t, dir, day)
		if _, err := RecordDefinitions(dir, map[string]string{"d": "other"}); err != nil {
			t.Fatal(err)
		}
		span := JudgedSpan{Start: day, End: day.Add(time.Hour)}
		if err := RecordJudged(dir, []Judged{{"d", "A", []JudgedSpan{span}}}, false); err != nil {
			t.Fatal(err)
		}
		if !checkJudged(t, dir, day)[judgedKey{"d", "A"}] {
			t.Fatal("what was recorded is not there")
		}
	})
}

// checkJudged returns what is recorded of a day.
func checkJudged(t *testing.T, dir *Dir, day time.Time) map[judgedKey]bool {
	found := map[judgedKey]bool{}
	for _, judged := range JudgedOf(dir, day) {
		found[judgedKey{judged.Detector, judged.Symbol}] = true
		last := window.Window{Start: day, End: day}
		for _, span := range judged.Spans {
			if !span.Start.Before(span.End) || span.Start.Before(last.End) || span.End.After(day.AddDate(0, 0, 1)) {
				t.Fatalf("%s of %s: %+v", judged.Detector, judged.Symbol, judged.Spans)
			}
			last = span.Window()
		}
	}
	return found
}
