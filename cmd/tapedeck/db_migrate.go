package main

import (
	"context"
	"fmt"
	"path/filepath"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
)

type dbMigrateCmd struct {
	feedFlags
}

func (*dbMigrateCmd) manual() manual {
	return manual{
		about: `Makes the data directory, if there is none, and market.duckdb in it, or makes that file anew for this version of tapedeck. It is a database of views
and macros for the duckdb shell and other tools, and holds no data; no command of tapedeck needs it. A data directory that was made by a newer version is left
as it is. stream, schedule and run do this by themselves when they start, where it is needed.

market.duckdb finds the tape where it is now. If the directory was moved, or is seen elsewhere from inside a container, run this again, or say in your own session
  SET VARIABLE tapedeck = '/where/it/is';`,
		examples: []string{
			"tapedeck db-migrate",
			"tapedeck db-migrate --feed trade --data-dir /srv/raw-trades",
		},
		exits: []string{"0  done, whether anything had to be made or not", "1  failed; what was there is as it was"},
	}
}

func (c *dbMigrateCmd) Run(ctx context.Context, a *app) error {
	dir, err := a.createTape(c.Feed)
	if err != nil {
		return err
	}
	if err := analytics.Migrate(ctx, dir); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "tape      %s: format %d, feed %s, made %s\nviews     %s\n",
		dir.Path(), tape.Format, dir.Feed(), dir.CreatedAt().UTC().Format("2006-01-02 15:04 UTC"), filepath.Join(dir.Path(), analytics.MarketName))
	return err
}

// upgrade does what db-migrate does where it is needed. Nothing that records or is scheduled needs market.duckdb, so a failure is no reason to end.
func (a *app) upgrade(ctx context.Context, dir *tape.Dir) {
	made, err := analytics.Upgrade(ctx, dir)
	switch {
	case err != nil:
		a.log.Warn("the views for other tools are not there", "error", err)
	case made:
		a.log.Info("views for other tools made", "path", filepath.Join(dir.Path(), analytics.MarketName))
	}
}
