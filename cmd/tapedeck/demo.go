package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"tapedeck/jobs/demo"
)

type demoCmd struct {
	Dir  string `placeholder:"DIR" default:"demo" help:"Directory of the demo's tape and workbook. The files of an earlier demo are deleted; a directory with other files is refused."`
	Seed uint64 `placeholder:"N" default:"1" help:"The simulated market's seed."`
	For  length `placeholder:"LENGTH" default:"8s" help:"How long live trades are streamed."`
}

func (c *demoCmd) Run(ctx context.Context, a *app) error {
	if !a.fixed.IsZero() {
		return misuse("--now stops the clock, but a demo records live")
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the path of this program: %w", err)
	}
	return demo.Run(ctx, demo.Options{
		Dir: c.Dir, Binary: binary, Env: a.environ, Seed: c.Seed, Live: time.Duration(c.For), Now: a.steadyClock,
		Stdout: a.stdout, Stderr: a.childStderr(), Terminal: isTerminal(a.stderr), Colour: isTerminal(a.stdout) && a.env["NO_COLOR"] == "",
	})
}
