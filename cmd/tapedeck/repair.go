package main

import (
	"context"
	"errors"
	"fmt"

	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/repair"
	"tapedeck/jobs/schedule"
)

type repairCmd struct {
	Yes    bool `help:"Do not ask."`
	DryRun bool `help:"Print which files would be removed, and remove nothing."`
}

func (c *repairCmd) Run(ctx context.Context, a *app) error {
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	plan, err := repair.Plan(ctx, dir)
	if err != nil {
		return err
	}
	if err := repair.Write(a.stdout, plan); err != nil {
		return err
	}
	switch {
	case len(plan) == 0:
		a.reportToParent(schedule.Report{Message: "nothing to repair"})
		return nil
	case c.DryRun:
		return withHint(partial("nothing was removed"), "tapedeck repair --yes repairs the tape")
	}
	if !c.Yes {
		if err := a.confirm("repair "+wording.Count(len(plan), "file"), "nothing was repaired"); err != nil {
			return err
		}
	}
	bar := a.newProgress()
	done, err := repair.Run(ctx, dir, a.clock(), bar)
	bar.end()
	message := repair.Message(done)
	a.say("%s", message)
	a.reportToParent(schedule.Report{Rows: done.Moved, Message: message})
	if done.Aside != "" {
		a.say("what was removed is in %s of the data directory; tapedeck compact deletes it after %s", done.Aside,
			wording.Count(int(tape.AsideGrace.Hours()/24), "day"))
	}
	if err != nil {
		return withHint(fmt.Errorf("repair the tape: %w", err), "run tapedeck repair again: it completes what was begun")
	}
	a.sayConflicts(done.Conflicts, done.ConflictRows)
	return errors.Join(a.notRepaired(done.Left), foundConflicts(done.Conflicts))
}

// notRepaired prints the files that were left as they are. If there are any, it returns an error.
func (a *app) notRepaired(left []tape.BrokenSegment) error {
	for _, segment := range left {
		a.say("%s is left as it is: %v", segment.Path, segment.Err)
	}
	if len(left) == 0 {
		return nil
	}
	return withHint(partial("%s could not be repaired", wording.Count(len(left), "file")),
		"move what is of another feed or market, or damaged, out of the data directory")
}

// checkJob checks what a job of crontab.yaml would fail with each time.
func (c *repairCmd) checkJob(*app) error {
	if !c.Yes && !c.DryRun {
		return errors.New("repair asks before it removes anything, and a job has no terminal: add --yes")
	}
	return nil
}
