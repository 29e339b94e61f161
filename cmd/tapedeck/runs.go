package main

import (
	"time"

	"tapedeck/jobs/runs"
)

type runsCmd struct {
	Job    string `placeholder:"NAME" help:"Only the runs of the job NAME."`
	Failed bool   `help:"Only runs that failed, timed out, were killed or lost."`
	Since  length `placeholder:"LENGTH" help:"Only runs of the last LENGTH: 90m, 24h, 7d."`
	Last   int    `short:"n" placeholder:"N" default:"20" help:"At most the last N; 0 is all."`
	Format string `placeholder:"FORMAT" enum:"table,jsonl" default:"table" help:"table or jsonl, one line of JSON a run, the newest first."`
}

func (*runsCmd) manual() manual {
	return manual{
		about: `Shows the last runs of the scheduler's jobs, the newest at the end, and below them the output of the last one that failed. An outcome is
  ok          done
  incomplete  done, but not all could be had or a check found something
  failed      it ended with an error
  timeout     it was ended, for it ran longer than its timeout
  killed      it was ended, for its next run replaced it or the scheduler
              was told to stop
  lost        the scheduler itself was killed while it ran
  skipped     it did not take place; the message says why
The same rows are the table runs of tapedeck query.`,
		examples: []string{"tapedeck runs", "tapedeck runs --failed --since 7d", "tapedeck runs --job heal --format jsonl"},
		exits:    []string{"0  done, whatever the runs did", "1  failed"},
	}
}

func (c *runsCmd) Run(a *app) error {
	if c.Last < 0 {
		return misuse("--last: %d is not a number from 0 on", c.Last)
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
