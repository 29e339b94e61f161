package schedule

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"tapedeck/internal/tape"
)

// storedState is a state file of any content.
type storedState struct {
	StateStore
	content []byte
}

func (s storedState) Read(_ string, v any) error { return json.Unmarshal(s.content, v) }

// FuzzState takes over from a scheduler that left any state: marks that lie in the future are not believed,
// and what the ledger settles is settled.
func FuzzState(f *testing.F) {
	for _, seed := range []string{
		`{"done_until":{"a":"2026-01-15T00:00:00Z","b":"9999-01-01T00:00:00Z"},"disbelieved":{"r":"2026-01-15T00:00:00Z"},"beat_at":"9999-01-01T00:00:00Z"}`,
		`{"jobs":[{"name":"a","run":{"id":"x","scheduled_at":"0001-01-01T00:00:00Z"}},{"name":"","run":{}}],"beat_at":"-1"}`,
		`{"jobs":null,"done_until":{"a":"0000-01-01T00:00:00Z"}}`, "null", "[]", "{",
	} {
		f.Add([]byte(seed))
	}
	now := testNow
	jobs, err := Parse("c.yaml", []byte("jobs:\n- {name: a, schedule: '@hourly', run: backfill}\n"), now, validateWindows)
	if err != nil {
		f.Fatal(err)
	}
	settled := tape.Run{
		ID: "r", Job: "a", ScheduledAt: now.Add(-time.Hour).UnixMicro(), WindowStart: now.Add(-2 * time.Hour).UnixMicro(),
		WindowEnd: now.Add(-time.Hour).UnixMicro(), Outcome: "ok",
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		options := options(jobs, &memoryLedger{runs: []tape.Run{settled}}, nil)
		options.State = storedState{content: content}
		state, _, lost, err := restoreState(context.Background(), options, jobs, now)
		if err != nil {
			return
		}
		for name, until := range state.DoneUntil {
			if until.After(now.Add(startTolerance)) {
				t.Fatalf("%q is done until %v", name, until)
			}
		}
		_, disbelieved := state.Disbelieved["r"]
		if !disbelieved && state.DoneUntil["a"].Before(now.Add(-time.Hour)) {
			t.Fatalf("a is done until %v", state.DoneUntil["a"])
		}
		for _, row := range lost {
			if row.Outcome != "lost" {
				t.Fatalf("%+v", row)
			}
		}
	})
}

// FuzzReport reads any report of a child process: one that is damaged is empty.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"rows":5,"bytes":6,"message":"done"}`))
	f.Add([]byte(`{"rows":"x"}`))
	f.Add(bytes.Repeat([]byte("["), 70_000))
	f.Fuzz(func(t *testing.T, content []byte) {
		if report := readReport(bytes.NewReader(content)); !json.Valid(content) && report != (Report{}) {
			t.Fatalf("%q is the report %+v", content, report)
		}
	})
}
