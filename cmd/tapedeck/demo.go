package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"tapedeck/jobs/demo"
)

type demoCmd struct {
	Dir  string `placeholder:"DIR" default:"demo" help:"Where the demo's tape and workbook go; what an earlier demo left there is deleted, anything else is refused."`
	Seed uint64 `placeholder:"N" default:"1" help:"The simulated market's seed."`
	For  length `placeholder:"LENGTH" default:"8s" help:"How long trades are streamed live."`
}

func (*demoCmd) manual() manual {
	return manual{
		about: `All of tapedeck in under a minute, on nothing but this machine: no network, no account, no settings. It starts a stand-in for Binance with a
simulated market, backfills a day, streams live while the connection is cut once, heals what was missed, detects, proves the tape
complete, compacts it and reports. It prints each command that it runs as you would type it, and leaves the tape and the workbook for you to look at.`,
		examples: []string{"tapedeck demo", "tapedeck demo --seed 7 --dir /tmp/demo"},
		exits: []string{
			"0  done: nothing missing, nothing twice, every incident found, two other alerts at most",
			"1  failed, or one of these did not hold; it says which",
		},
	}
}

func (c *demoCmd) Run(ctx context.Context, a *app) error {
	if !a.fixed.IsZero() {
		return misuse("--now stops the clock, and a demo records while it runs")
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's own file: %w", err)
	}
	return demo.Run(ctx, demo.Options{
		Dir: c.Dir, Binary: binary, Env: a.environ, Seed: c.Seed, Live: time.Duration(c.For), Now: a.clock,
		Stdout: a.stdout, Stderr: a.stderr, Terminal: isTerminal(a.stderr), Colour: isTerminal(a.stdout) && a.env["NO_COLOR"] == "",
	})
}
