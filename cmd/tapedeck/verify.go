package main

import (
	"context"

	"tapedeck/internal/tape"
	"tapedeck/jobs/schedule"
	"tapedeck/jobs/verify"
)

type verifyCmd struct {
	Full   bool   `help:"Read every file again and all of it, also those that have not changed since they were last read, and hold each page to its checksum."`
	Format string `placeholder:"FORMAT" enum:"table,csv,json" default:"table" help:"table, csv (one line a symbol and day) or json."`
}

func (*verifyCmd) manual() manual {
	return manual{
		about: `The certificate of completeness. It reads the ids of every row on the tape: an exchange numbers the trades of a symbol one after
the other, so a number that is not there is a trade that is missing, and a quiet hour is not a gap. It says for each symbol what is there, what is
missing and can still be had, what the exchange itself does not have, and what stands twice, and keeps the answer for each day in the table
coverage. A file that cannot be read is named, and its rows count as missing.`,
		examples: []string{"tapedeck verify", "tapedeck verify --full --format json"},
		exits: []string{
			"0  complete: every id between the first and the last is there, once",
			"1  failed",
			"3  not complete: something is missing, stands twice or cannot be read",
		},
	}
}

func (c *verifyCmd) Run(ctx context.Context, a *app) error {
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	found, failed := verify.Run(ctx, dir, verify.Options{Now: a.now(), Full: c.Full, Logger: a.log})
	if found == nil {
		return failed
	}
	certificate := *found
	write := map[string]func() error{
		"table": func() error { return verify.WriteTable(a.stdout, certificate) },
		"csv":   func() error { return verify.WriteCSV(a.stdout, certificate) },
		"json":  func() error { return verify.WriteJSON(a.stdout, certificate) },
	}[c.Format]
	if err := write(); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if certificate.SaveErr != nil {
		a.say("what was found could not be written down, for the table coverage or for the next run: %v", certificate.SaveErr)
	}
	a.reportToParent(schedule.Report{Message: verify.Verdict(certificate)})
	if !certificate.Complete() {
		return withHint(partial("the tape is not complete"), "%s", cureOf(certificate))
	}
	return nil
}

// cureOf says what to do about a tape that is not complete.
func cureOf(c tape.Certificate) string {
	missing := false
	for _, s := range c.Symbols {
		missing = missing || s.Missing > 0
	}
	switch {
	case len(c.Broken) > 0:
		return "move a file that cannot be read out of the data directory; tapedeck backfill then fetches what it held"
	case missing:
		return "tapedeck backfill fetches what is missing"
	}
	return "move the file that another program put there out of the data directory"
}
