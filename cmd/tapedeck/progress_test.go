package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"tapedeck/internal/progress"
)

var _ progress.Display = (*progressBar)(nil)

func TestProgressWithoutATerminalPrintsOnlyLines(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: &out}
	p := a.newProgress()
	p.Begin("backfill", 100)
	p.Set("BTCUSDT", 50)
	p.Line("BTCUSDT: 50% of 100 trades")
	p.end()
	if out.String() != "BTCUSDT: 50% of 100 trades\n" {
		t.Errorf("%q", out.String())
	}
}

func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := &progressBar{out: &out, terminal: true, done: map[string]int64{}}
	p.Begin("first", 10)
	p.Begin("second", 1000)
	var parts sync.WaitGroup
	for _, part := range []string{"A", "B"} {
		parts.Go(func() {
			for n := int64(0); n <= 600; n += 100 { // the sum may exceed the total
				p.Set(part, n)
			}
			p.Line(part + " done")
		})
	}
	parts.Wait()
	p.end()
	for _, want := range []string{"first", "second", "A done\n", "B done\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
	p.Set("A", 700) // has no effect after the end
}
