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
