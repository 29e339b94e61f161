package analytics

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	mapping "github.com/duckdb/duckdb-go-bindings"
	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/tape"
	text "tapedeck/sql"
)

// MarketName is the database of views and macros in the data directory.
const MarketName = "market.duckdb"

// marketStateName is the state file that says of what market.duckdb was made.
const marketStateName = "market.json"

type marketState struct {
	Of   string `json:"made_of"` // a digest
	Root string `json:"root"`    // where its views look for the tape
}

// Migrate makes market.duckdb in the data directory, or makes it anew: views trades, alerts, runs, coverage, gaps, bounds, minutes and incidents, and macros
// candles(step), vwap(step), tape(symbol, from, to) and gaps(), no data. It appears whole or not at all, and a reader of the old one is not disturbed.
//
// The views find the files by the data directory's absolute path as of now, for a database file cannot know where it lies. Whoever sees the directory
// elsewhere (moved, or mounted from a container) says so in his own session, SET VARIABLE tapedeck = '/where/it/is', or runs Migrate again.
func Migrate(ctx context.Context, dir *tape.Dir) error {
	root, err := dataRoot(dir)
	if err != nil {
		return fmt.Errorf("make %s: %w", MarketName, err)
	}
	return migrate(ctx, dir, root)
}

// Upgrade is Migrate where market.duckdb is missing or was made by another version, and does nothing otherwise; made says which. One that another
// version made goes on finding the tape where it did.
func Upgrade(ctx context.Context, dir *tape.Dir) (made bool, err error) {
	root, err := dataRoot(dir)
	if err != nil {
		return false, fmt.Errorf("make %s: %w", MarketName, err)
	}
	var state marketState
	readErr := dir.ReadState(marketStateName, &state) // one that cannot be read is as good as none
	_, statErr := os.Stat(filepath.Join(dir.Path(), MarketName))
	if statErr == nil && readErr == nil {
		of, err := marketDigest()
		if err != nil {
			return false, fmt.Errorf("make %s: %w", MarketName, err)
		}
		if of == state.Of {
			return false, nil
		}
		root = cmp.Or(state.Root, root)
	}
	return true, migrate(ctx, dir, root)
}

func migrate(ctx context.Context, dir *tape.Dir, root string) error {
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
	of, err := marketDigest()
	if err != nil {
		return fmt.Errorf("make %s: %w", MarketName, err)
	}
	return dir.WriteState(marketStateName, marketState{Of: of, Root: root})
}

// marketDigest stands for all that a market.duckdb is made of but the tape's path: DuckDB's version, whose file it is, and the text of every relation.
func marketDigest() (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, mapping.LibraryVersion())
	for _, table := range tables {
		fmt.Fprintln(sum, selectFiles(table, []Column{{Name: "one", Type: "JSON"}, {Name: "other"}}, ""))
	}
	for _, pattern := range []string{"schema/*.sql", "derived/*.sql", "market/*.sql"} {
		names, err := fs.Glob(text.Files, pattern)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			content, err := fs.ReadFile(text.Files, name)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(sum, "%s %d\n%s", name, len(content), content)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// macrosName is the file of macros that both market.duckdb and a session can have.
const macrosName = "market/macros.sql"

func buildMarket(ctx context.Context, path, root string) (err error) {
	// Attached, and not opened by its name: that would have to be a part of a URL, which a path with % or ? is not.
	connector, err := duckdb.NewConnector("?autoinstall_known_extensions=false&autoload_known_extensions=false", nil)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
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
	for _, statement := range []string{"ATTACH " + quote(path) + " AS market", "ATTACH ':memory:' AS shape", "CREATE SCHEMA shape.canonical", "USE shape.canonical", schema, "USE market.main"} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	for _, table := range tables {
		columns, err := columnsOf(ctx, conn, "shape.canonical."+string(table))
		if err != nil {
			return err
		}
		files := fmt.Sprintf("coalesce(getvariable('tapedeck'), %s) || '/%s/*/*.parquet'", quote(root), table)
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("CREATE VIEW %s AS %s", table, selectFiles(table, columns, files))); err != nil {
			return fmt.Errorf("view %s: %w", table, err)
		}
	}
	for _, name := range []string{"market/relations.sql", macrosName} {
		script, err := fs.ReadFile(text.Files, name)
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, string(script)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := makeDerived(ctx, conn); err != nil {
		return err
	}
	for _, statement := range []string{"DETACH shape", "CHECKPOINT market", "USE memory.main", "DETACH market"} {
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
