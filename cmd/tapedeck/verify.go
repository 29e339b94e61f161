package main

import (
	"context"
	"slices"

	"tapedeck/internal/tape"
	"tapedeck/jobs/schedule"
	"tapedeck/jobs/verify"
)

type verifyCmd struct {
	Full   bool   `help:"Read all files again and completely, including those that have not changed, and check the checksum of every page."`
	Format string `placeholder:"FORMAT" enum:"table,csv,json" default:"table" help:"table, csv (one row per symbol and day) or json."`
}

func (c *verifyCmd) Run(ctx context.Context, a *app) error {
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	running := a.newProgress()
	running.Begin("verify", 0)
	certificate, verifyErr := verify.Run(ctx, dir, verify.Options{Now: a.now(), Full: c.Full, Logger: a.log})
	running.end()
	if certificate == nil {
		return verifyErr
	}
	write := verify.WriteTable
	switch c.Format {
	case "csv":
		write = verify.WriteCSV
	case "json":
		write = verify.WriteJSON
	}
	if err := write(a.results(), *certificate); err != nil {
		return err
	}
	if verifyErr != nil {
		return verifyErr
	}
	if certificate.SaveErr != nil {
		a.say("the result was not saved, neither for the table coverage nor for the next run: %v", certificate.SaveErr)
	}
	a.reportToParent(schedule.Report{Message: verify.Verdict(*certificate)})
	if !certificate.Complete() {
		return withHint(partial("the tape is not complete"), cureOf(*certificate))
	}
	return nil
}

// cureOf says what to do about a tape that is not complete.
func cureOf(c tape.Certificate) string {
	switch {
	case len(c.Future()) > 0:
		return "if this clock is right, remove them: " + c.Future()[0].Drop(c.CheckedAt)
	case len(c.Strays) > 0:
		_, hint := tape.BrokenReason(c.Strays)
		return hint
	case len(c.Broken) > 0:
		return "move a file that cannot be read out of the data directory; tapedeck backfill then fetches its trades"
	case len(c.NotSymbols) > 0:
		return "tapedeck drop --not-symbols removes the rows of names that no symbol can have"
	case slices.ContainsFunc(c.Symbols, func(s tape.SymbolCertificate) bool { return s.Missing > 0 }):
		return "tapedeck backfill fetches what is missing"
	case len(c.Conflicts) > 0:
		return "find out which content is right; tapedeck drop removes a trade that is wrong, " +
			"tapedeck drop --conflicts the contents that were refused"
	case slices.ContainsFunc(c.Symbols, func(s tape.SymbolCertificate) bool { return s.Backwards > 0 }):
		return "the exchange's own ids and times rise together: most likely trades of another market are among these; " +
			"tapedeck check backwards lists where, tapedeck drop removes them, and tapedeck backfill --restore-dropped fetches the right ones"
	case slices.ContainsFunc(c.Symbols, func(s tape.SymbolCertificate) bool { return s.Dropped > 0 }):
		return "some ids were removed on purpose; import them again if they are needed"
	}
	return ""
}
