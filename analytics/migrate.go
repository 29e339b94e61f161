package analytics

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/analytics/tape"
	text "tapedeck/sql"
)

// MarketName is the database of views and macros in the data directory.
const MarketName = "market.duckdb"

// Migrate makes market.duckdb in the data directory, or makes it anew: views trades, alerts, runs, coverage, gaps, bounds, minutes and incidents, and macros
// candles(step), vwap(step), tape(symbol, from, to) and gaps(), no data. It appears whole or not at all, and a reader of the old one is not disturbed.
//
// The views find the files by the data directory's absolute path as of now, for a database file cannot know where it lies. Whoever sees the directory
// elsewhere (moved, or mounted from a container) says so in his own session, SET VARIABLE tapedeck = '/where/it/is', or runs Migrate again.
func Migrate(ctx context.Context, dir *tape.Dir) (err error) {
	root, err := dataRoot(dir)
	if err != nil {
		return fmt.Errorf("make %s: %w", MarketName, err)
	}
	staging, err := os.MkdirTemp(dir.StagingPath(), scratchPrefix)
	if err != nil {
		return fmt.Errorf("make %s: %w", MarketName, err)
	}
	defer os.RemoveAll(staging)
	made := filepath.Join(staging, MarketName)
	if err := buildMarket(ctx, made, root); err != nil {
		return fmt.Errorf("make %s: %w", MarketName, err)
	}
	if err := place(made, filepath.Join(dir.Path(), MarketName)); err != nil {
		return fmt.Errorf("make %s: %w", MarketName, err)
	}
	return nil
}

func buildMarket(ctx context.Context, path, root string) (err error) {
	connector, err := duckdb.NewConnector(path+"?autoinstall_known_extensions=false&autoload_known_extensions=false", nil)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
	script, err := fs.ReadFile(text.Files, "market/relations.sql")
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The canonical relations are made only to know their columns, in a database in memory that goes with the connection.
	schema, err := Schema()
	if err != nil {
		return err
	}
	for _, statement := range []string{"ATTACH ':memory:' AS shape", "CREATE SCHEMA shape.canonical", "USE shape.canonical", schema, "USE market.main"} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	for _, table := range tables {
		columns, err := columnsOf(ctx, conn, string(table))
		if err != nil {
			return err
		}
		files := fmt.Sprintf("coalesce(getvariable('tapedeck'), %s) || '/%s/*/*.parquet'", quote(root), table)
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("CREATE VIEW %s AS %s", table, selectFiles(table, columns, files))); err != nil {
			return fmt.Errorf("view %s: %w", table, err)
		}
	}
	if _, err := conn.ExecContext(ctx, string(script)); err != nil {
		return err
	}
	if err := makeDerived(ctx, conn); err != nil {
		return err
	}
	for _, statement := range []string{"DETACH shape", "CHECKPOINT"} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// place gives a finished file its name, for good: its content is on disk before the name is, and the name before place returns.
func place(made, final string) error {
	file, err := os.OpenFile(made, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(made, final); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(final))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}
