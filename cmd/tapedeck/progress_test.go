package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

func TestProgressWithoutATerminalIsOnlyItsLines(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: &out}
	p := a.newProgress()
	p.begin("backfill", 100)
	p.set("BTCUSDT", 50)
	p.line("BTCUSDT: %s trades", grouped(1234567))
	p.end()
	if out.String() != "BTCUSDT: 1,234,567 trades\n" {
		t.Errorf("%q", out.String())
	}
}

func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out, terminal: true, done: map[string]int64{}}
	p.begin("backfill", 1000)
	var parts sync.WaitGroup
	for _, part := range []string{"A", "B"} {
		parts.Go(func() {
			for n := int64(0); n <= 600; n += 100 { // more than was planned must not hurt
				p.set(part, n)
			}
			p.line("%s done", part)
		})
	}
	parts.Wait()
	p.end()
	for _, want := range []string{"backfill", "A done\n", "B done\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
	p.set("A", 700) // what comes late is ignored
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234: "-1,234", -123: "-123", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
