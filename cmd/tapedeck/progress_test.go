package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rivo/uniseg"

	"tapedeck/internal/progress"
)

var _ progress.Display = (*progressDisplay)(nil)

func TestProgressWithoutATerminalPrintsOnlyLines(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: &out}
	p := a.newProgress()
	p.Begin("backfill", 100)
	p.Set("BTCUSDT", 50)
	p.Line("BTCUSDT: 50% of 100 trades")
	fmt.Fprint(p.output(&out), "result\n")
	p.end()
	if out.String() != "BTCUSDT: 50% of 100 trades\nresult\n" {
		t.Errorf("%q", out.String())
	}
}

// testProgress returns a display on a screen, whose time is set by the test.
func testProgress(width int) (p *progressDisplay, s *screen, pass func(time.Duration)) {
	c, s := newTestConsole(width)
	at := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	p = &progressDisplay{out: c, console: c, done: map[string]int64{}, now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return at
	}}
	return p, s, func(d time.Duration) {
		mu.Lock()
		at = at.Add(d)
		mu.Unlock()
		c.redraw()
	}
}

func TestProgressIsShownAfterASecond(t *testing.T) {
	p, s, pass := testProgress(80)
	show := func() string {
		p.console.mu.Lock() // the display draws from a goroutine of its own
		defer p.console.mu.Unlock()
		return s.text()
	}
	require := func(want string) {
		t.Helper()
		if diff := cmp.Diff(want, show()); diff != "" {
			t.Error(diff)
		}
	}
	p.Begin("backfill", 50_000)
	p.Set("A", 10_000)
	pass(900 * time.Millisecond)
	require("")
	pass(200 * time.Millisecond)
	require("backfill  ━━━━────────────────────  20 %  10,000 of 50,000")
	p.Set("B", 15_000)
	pass(8900 * time.Millisecond)
	require("backfill  ━━━━━━━━━━━━────────────  50 %  25,000 of 50,000  10 s left")
	p.Line("A: 10,000 trades")
	require("A: 10,000 trades\nbackfill  ━━━━━━━━━━━━────────────  50 %  25,000 of 50,000  10 s left")
	p.Set("B", 90_000) // a part may turn out to be larger
	pass(0)
	require("A: 10,000 trades\nbackfill  ━━━━━━━━━━━━━━━━━━━━━━━━  100 %  50,000 of 50,000")

	p.Begin("running the statement", 0)
	pass(500 * time.Millisecond)
	require("A: 10,000 trades\n")
	pass(65 * time.Second)
	require("A: 10,000 trades\nrunning the statement  1 min 5 s")

	fmt.Fprint(p.output(p.console), "the result\n")
	require("A: 10,000 trades\nthe result\n")
	pass(time.Hour)
	p.Set("A", 1) // has no effect after the end
	p.end()
	require("A: 10,000 trades\nthe result\n")
	p.Begin("again", 0)
	pass(2 * time.Second)
	require("A: 10,000 trades\nthe result\nagain  2 s")
	p.end()
	require("A: 10,000 trades\nthe result\n")
}

func TestProgressFitsTheWidth(t *testing.T) {
	p, _, pass := testProgress(80)
	p.bytes = true
	p.Begin("aggTrades.zip", 20_000_000)
	p.Set("", 7_000_000)
	pass(5 * time.Second)
	defer p.end()
	if got, want := p.text(60), "aggTrades.zip  35 %  7.0 MB of 20 MB  9 s left"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if n := uniseg.StringWidth(p.text(80)); n >= 80 {
		t.Errorf("%d columns", n)
	}
}

func TestProgressOfConcurrentParts(t *testing.T) {
	p, s, pass := testProgress(80)
	p.Begin("first", 10)
	p.Begin("second", 1200)
	var parts sync.WaitGroup
	for _, part := range []string{"A", "B"} {
		parts.Go(func() {
			for n := int64(0); n <= 600; n += 100 {
				p.Set(part, n)
				pass(100 * time.Millisecond)
			}
			p.Line(part + " done")
		})
	}
	parts.Wait()
	p.end()
	text := s.text()
	for _, want := range []string{"A done\n", "B done\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	if len(text) != len("A done\nB done\n") {
		t.Errorf("the screen shows %q", text)
	}
}
