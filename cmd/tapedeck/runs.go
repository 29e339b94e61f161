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

func (*runsCmd) manual() manual {
	return manual{
		about: `Lists the last runs of the scheduler's jobs, newest last, and shows the output of the last one that did not get
done. The outcome of a run is one of
  ok          done
  incomplete  done, but something is missing or a check found something
  failed      ended with an error
  timeout     stopped because it exceeded its timeout
  killed      stopped because its next run replaced it or the scheduler
              was stopped; its work is still due
  lost        cut off because the scheduler was killed; its work is still
              due
  skipped     did not take place; the message says why
With tapedeck query, the same rows are the table runs.`,
		examples: []string{"tapedeck runs", "tapedeck runs --failed --since 7d", "tapedeck runs --job heal --format jsonl"},
		exits:    []string{"0  done, whatever the outcomes", "1  failed"},
	}
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
