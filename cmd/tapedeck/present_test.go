package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// TestPresentIsTheExchangesIfARecorderShowsIt requires the present to be the exchange's time if a live
// recorder shows that this machine's clock is wrong, and the machine's otherwise.
func TestPresentIsTheExchangesIfARecorderShowsIt(t *testing.T) {
	now := time.Now().UTC().Round(0)
	uptime := state.ReadUptime()
	if uptime.Boot == "" {
		t.Skip("the uptime is unknown on this system")
	}
	earlier := uptime
	earlier.Since -= 3 * time.Second
	for name, c := range map[string]struct {
		stream state.Stream
		ahead  time.Duration // of the machine's clock; 0: the machine's time is taken
	}{
		"agrees":                {state.Stream{ExchangeAt: now.Add(-4 * time.Second)}, 0},
		"clock an hour ahead":   {state.Stream{ExchangeAt: now.Add(-time.Hour)}, time.Hour},
		"clock a day behind":    {state.Stream{ExchangeAt: now.Add(24 * time.Hour)}, -24 * time.Hour},
		"the recorder ended":    {state.Stream{ExchangeAt: now.Add(-time.Hour), EndedAt: now}, 0},
		"no trade yet":          {state.Stream{}, 0},
		"state of another boot": {state.Stream{ExchangeAt: now.Add(-time.Hour), Beat: state.Beat{Uptime: state.Uptime{Boot: "other"}}}, 0},
	} {
		dir, err := tape.Create(t.TempDir(), "", now)
		if err != nil {
			t.Fatal(err)
		}
		if c.stream.Boot == "" {
			c.stream.Uptime = earlier
		}
		c.stream.UpdatedAt = c.stream.ExchangeAt
		if err := dir.State().Write(state.StreamFile, c.stream); err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		a := &app{started: now, log: slog.New(slog.DiscardHandler), stderr: &stderr}
		present, skew := a.present(dir)
		if (skew-c.ahead).Abs() > time.Minute || (now.Add(-skew).Sub(present)).Abs() > time.Millisecond {
			t.Errorf("%s: the present is %v with skew %v, want %v from %v", name, present, skew, c.ahead, now)
		}
		a.warnOfSkew(dir, windowFlags{})
		if warned := strings.Contains(stderr.String(), "this machine's clock is "); warned != (c.ahead != 0) {
			t.Errorf("%s: %q", name, stderr.String())
		}
		swept := now
		if c.ahead > 0 {
			swept = now.Add(-c.ahead)
		}
		if at := a.sweepTime(dir); at.Sub(swept).Abs() > time.Minute {
			t.Errorf("%s: sweeps by %v, want %v", name, at, swept)
		}
		a.fixed = now
		if present, skew := a.present(dir); !present.Equal(now) || skew != 0 {
			t.Errorf("%s: --now is not the present", name)
		}
		if at := a.exchangeTime(context.Background(), dir); c.stream.Boot != "other" && !c.stream.ExchangeAt.IsZero() && at.Sub(c.stream.ExchangeAt) < 3*time.Second {
			t.Errorf("%s: the exchange's time is %v, 3 s after %v", name, at, c.stream.ExchangeAt)
		}
	}
}
