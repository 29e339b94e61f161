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
		about: `Creates the data directory if it does not exist, and creates or replaces market.duckdb in it.
market.duckdb is a database of views and macros for the duckdb shell and other tools. It contains no
data, and no command of tapedeck needs it. A data directory of a newer version of tapedeck is not
changed. stream, schedule and run do this when they start, if it is needed.

market.duckdb contains the current path of the data directory. If the directory was moved, or has
another path inside a container, run this again, or set the path in your session:
  SET VARIABLE tapedeck = '/path/to/it';`,
		examples: []string{
			"tapedeck db-migrate",
			"tapedeck db-migrate --feed trade --data-dir /srv/raw-trades",
		},
		exits: []string{"0  done", "1  failed; nothing was changed"},
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

// upgrade does what db-migrate does, if it is needed. A failure is only logged, because no job needs
// market.duckdb.
func (a *app) upgrade(ctx context.Context, dir *tape.Dir) {
	created, err := analytics.Upgrade(ctx, dir)
	switch {
	case err != nil:
		a.log.Warn("market.duckdb not created", "error", err)
	case created:
		a.log.Info("market.duckdb created", "path", filepath.Join(dir.Path(), analytics.MarketName))
	}
}
