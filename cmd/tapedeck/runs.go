package main

import (
	"time"

	"tapedeck/jobs/runs"
)

type runsCmd struct {
	Job    string `placeholder:"NAME" help:"Only runs of the job NAME."`
	Failed bool   `help:"Only runs that failed, timed out, were killed or were lost."`
	Since  length `placeholder:"LENGTH" help:"Only runs that finished in the last LENGTH: 90m, 24h, 7d."`
	Last   int    `short:"n" placeholder:"N" default:"20" help:"The last N runs at most; 0 for all."`
	Format string `placeholder:"FORMAT" enum:"table,jsonl" default:"table" help:"table, or jsonl: one line of JSON per run, newest first."`
}

func (c *runsCmd) Run(a *app) error {
	if c.Last < 0 {
		return misuse("--last: %d is less than 0", c.Last)
	}
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	options := runs.Options{Job: c.Job, FailedOnly: c.Failed, Most: c.Last}
	if c.Since != 0 {
		options.Since = a.now().Add(-time.Duration(c.Since))
	}
	rows, err := runs.Last(dir, options)
	switch {
	case err != nil:
		return err
	case c.Format == "jsonl":
		return runs.WriteLines(a.stdout, rows)
	case len(rows) == 0:
		if c.Job != "" {
			a.say("no runs of a job named %q", c.Job)
			return nil
		}
		a.say("no runs")
		return nil
	}
	if err := runs.WriteTable(a.stdout, rows, terminalWidth(a.stdout)); err != nil {
		return err
	}
	for _, row := range rows {
		if row.Outcome.Unfinished() {
			if err := runs.WriteOutput(a.stdout, row); err != nil {
				return err
			}
			break
		}
	}
	a.say("%s", runs.Summary(rows))
	return nil
}
