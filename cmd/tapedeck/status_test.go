package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rivo/uniseg"

	"tapedeck/internal/idset"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/jobs/stream"
)

// statusAt returns a status line for a recorder and jobs, as of now, with a rate of 12.5 trades a
// second.
func statusAt(now time.Time, recorder *stream.Status, jobs []state.Job) *statusLine {
	board := &jobBoard{}
	board.observe(jobs)
	s := &statusLine{sources: statusSources{jobs: board}, now: func() time.Time { return now }, stopping: func() bool { return false }}
	if recorder == nil {
		return s
	}
	s.sources.recorder = func() stream.Status { return *recorder }
	s.recorder = *recorder
	for i := range 11 {
		s.samples = append(s.samples, rateSample{now.Add(time.Duration(i-10) * time.Second), int64(float64(i) * 12.5)})
	}
	return s
}

func TestStatusLineTellsTheMostImportant(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	up := stream.Status{
		StartedAt: now.Add(-90 * time.Minute), Symbols: 6, Trades: 67500, NewestTradedAt: now.Add(-400 * time.Millisecond),
		Connections: 1, Up: 1, LastFlushAt: now.Add(-4 * time.Second), Unflushed: 50,
	}
	down := up
	down.Up, down.NewestTradedAt = 0, now.Add(-13*time.Second)
	gaps := up
	gaps.Gaps, gaps.Missing, gaps.Connections, gaps.Up = 2, 503, 2, 1
	early := stream.Status{StartedAt: now, Symbols: 6, Connections: 1}
	jobs := []state.Job{
		{Name: "heal", NextAt: now.Add(72 * time.Second)}, {Name: "detect", NextAt: now.Add(12 * time.Second)},
		{Name: "compact", NextAt: now.Add(3 * time.Hour)}, {Name: "off"},
	}
	running := append([]state.Job{{Name: "verify", NextAt: now.Add(time.Hour), Run: &state.ActiveRun{StartedAt: now.Add(-65 * time.Second)}}}, jobs...)

	for name, c := range map[string]struct {
		recorder *stream.Status
		jobs     []state.Job
		change   func(*statusLine)
		narrow   string // 80 columns
		wide     string // 160 columns
	}{
		"up": {
			recorder: &up, jobs: jobs,
			narrow: "13 trades/s · lag 0.4 s · no gaps · written 4 s ago · detect in 0:12",
			wide:   "13 trades/s  ·  lag 0.4 s  ·  no gaps  ·  written 4 s ago  ·  detect in 0:12  ·  heal in 1:12  ·  compact in 3 h  ·  connected  ·  6 symbols",
		},
		"a job runs": {
			recorder: &up, jobs: running,
			narrow: "13 trades/s · lag 0.4 s · no gaps · written 4 s ago · verify runs, 1:05",
			wide:   "13 trades/s  ·  lag 0.4 s  ·  no gaps  ·  written 4 s ago  ·  verify runs, 1:05  ·  detect in 0:12  ·  heal in 1:12  ·  compact in 3 h  ·  connected",
		},
		"down": {
			recorder: &down, jobs: jobs,
			change: func(s *statusLine) { s.downSince = now.Add(-12 * time.Second) },
			narrow: "NOT CONNECTED for 12 s · lag 13 s · written 4 s ago · detect in 0:12",
			wide:   "NOT CONNECTED for 12 s  ·  lag 13 s  ·  written 4 s ago  ·  detect in 0:12  ·  heal in 1:12  ·  compact in 3 h  ·  6 symbols  ·  67,500 trades in 1 h 30 min",
		},
		"gaps, not yet looked for on the tape": {
			recorder: &gaps,
			narrow:   "1 of 2 CONNECTED · 13 trades/s · lag 0.4 s · 2 gaps · written 4 s ago",
			wide:     "1 of 2 CONNECTED  ·  13 trades/s  ·  lag 0.4 s  ·  2 gaps  ·  written 4 s ago  ·  6 symbols  ·  67,500 trades in 1 h 30 min",
		},
		"gaps, open": {
			recorder: &gaps,
			change:   func(s *statusLine) { s.gaps.checked, s.gaps.gaps, s.gaps.missing = true, 2, 1503 },
			narrow:   "1 of 2 CONNECTED · 13 trades/s · lag 0.4 s · 2 gaps, 1,503 missing",
		},
		"gaps, filled": {
			recorder: &gaps,
			change:   func(s *statusLine) { s.gaps.checked, s.gaps.gaps = true, 2 },
			narrow:   "1 of 2 CONNECTED · 13 trades/s · lag 0.4 s · 2 gaps, filled · written 4 s ago",
		},
		"a new gap after those that were filled": {
			recorder: &gaps,
			change:   func(s *statusLine) { s.gaps.checked, s.gaps.gaps = true, 1 },
			narrow:   "1 of 2 CONNECTED · 13 trades/s · lag 0.4 s · 2 gaps · written 4 s ago",
		},
		"at the start": {
			recorder: &early,
			change:   func(s *statusLine) { s.samples = nil },
			narrow:   "NOT CONNECTED · 0 trades · no trade yet · not written yet · 6 symbols",
		},
		"before the symbols are known": {
			recorder: &stream.Status{}, jobs: jobs,
			narrow: "asking the exchange for its symbols · detect in 0:12 · heal in 1:12",
		},
		"the clock is behind": {
			recorder: &stream.Status{StartedAt: now, NewestTradedAt: now.Add(75 * time.Second), Connections: 1, Up: 1, LastFlushAt: now},
			narrow:   "13 trades/s · this clock is 1 min 15 s behind · no gaps · written 0 s ago",
		},
		"stopping": {
			recorder: &up, jobs: running,
			change: func(s *statusLine) { s.stopping = func() bool { return true } },
			narrow: "stopping: writing 50 trades",
		},
		"only jobs": {jobs: running, narrow: "verify runs, 1:05 · detect in 0:12 · heal in 1:12 · compact in 3 h"},
		"no jobs":   {narrow: "no jobs"},
	} {
		t.Run(name, func(t *testing.T) {
			s := statusAt(now, c.recorder, c.jobs)
			if c.change != nil {
				c.change(s)
			}
			if diff := cmp.Diff(c.narrow, s.text(80)); diff != "" {
				t.Errorf("at 80 columns:\n%s", diff)
			}
			if got := s.text(160); c.wide != "" && got != c.wide {
				t.Errorf("at 160 columns:\n%s", cmp.Diff(c.wide, got))
			}
			whole := s.text(1000)
			for width := 1; width < 200; width++ {
				got := s.text(width)
				// Only the first part may be too long; the console shortens it.
				if uniseg.StringWidth(got) >= width && strings.Contains(got, " · ") {
					t.Errorf("%d columns: %q", width, got)
				}
				if !strings.HasPrefix(strings.ReplaceAll(whole, statusSeparator, " · "), strings.ReplaceAll(got, statusSeparator, " · ")) {
					t.Errorf("%d columns: %q leaves out something more important", width, got)
				}
			}
		})
	}
}

func TestRateIsThatOfTheLastSeconds(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	var status stream.Status
	s := statusAt(now, nil, nil)
	s.now = func() time.Time { return now }
	s.sources.recorder = func() stream.Status { return status }
	for range 60 { // a minute without trades, except that each second has ten in the last ten
		now = now.Add(time.Second)
		if now.Second() > 49 {
			status.Trades += 10
		}
		s.sample()
	}
	if rate, ok := s.rate(); !ok || rate < 8.9 || rate > 10 {
		t.Errorf("rate %v, %v", rate, ok)
	}
	if len(s.samples) > 11 {
		t.Errorf("%d samples are kept", len(s.samples))
	}
}

// TestMissingOnTheTape requires the gaps on the tape to be counted, without what the exchange does not
// have.
func TestMissingOnTheTape(t *testing.T) {
	dir, err := tape.Create(t.TempDir(), "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	publish := func(ids ...int64) {
		t.Helper()
		var rows []tape.Trade
		for _, id := range ids {
			rows = append(rows, tape.Trade{Symbol: "BTCUSDT", ID: id, Price: 1, Qty: 1, FirstTradeID: id, LastTradeID: id, TradedAt: at.UnixMicro() + id})
		}
		if _, err := dir.Publish(t.Context(), rows, tape.Origin{Source: tape.FromStream}); err != nil {
			t.Fatal(err)
		}
	}
	require := func(want int64) {
		t.Helper()
		if got, err := missingOn(t.Context(), dir); err != nil || got != want {
			t.Errorf("%d missing, %v; want %d", got, err, want)
		}
	}
	require(0)
	publish(1, 2, 6, 9)
	require(5)
	if err := dir.RecordAbsent("BTCUSDT", idset.Set{{First: 7, Last: 8}}, at); err != nil {
		t.Fatal(err)
	}
	require(3)
	publish(3, 4, 5)
	require(0)
}
