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

	"tapedeck/internal/durable"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	embedded "tapedeck/sql"
)

// MarketName is the name of the database of views and macros in the data directory.
const MarketName = "market.duckdb"

// marketStateFile describes the market.duckdb in the data directory.
const marketStateFile = "market.json"

// marketState is the content of marketStateFile.
type marketState struct {
	Digest string `json:"made_of"` // of marketDigest
	Root   string `json:"root"`    // where its views look for the tape
}

// Migrate creates market.duckdb in the data directory, or replaces it. It has the views trades, alerts,
// runs, coverage, conflicts, recorder, drops, open_conflicts, dropped_ids, gaps, bounds, minutes, incidents and judged, the macros candles(step), vwap(step),
// tape(symbol, from, to) and gaps(), and no data. The file is replaced atomically; a reader of the old
// one is not disturbed.
//
// The views find the files by the absolute path of the data directory, because a database file does not
// know where it is. If the directory is moved, or mounted elsewhere, run Migrate again or set the path
// in the own session: SET VARIABLE tapedeck = '/path/to/it'.
func Migrate(ctx context.Context, dir *tape.Dir) error {
	_, err := migrate(ctx, dir, true)
	return err
}

// Upgrade is Migrate if market.duckdb is missing or was created by another version. Otherwise it does
// nothing and returns false. A replaced file continues to look for the tape in the same place.
func Upgrade(ctx context.Context, dir *tape.Dir) (created bool, err error) {
	return migrate(ctx, dir, false)
}

func migrate(ctx context.Context, dir *tape.Dir, always bool) (created bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("create %s: %w", MarketName, err)
		}
	}()
	root, err := dataRoot(dir)
	if err != nil {
		return false, err
	}
	path, digest := filepath.Join(dir.Path(), MarketName), marketDigest()
	var made marketState
	readErr := dir.State().Read(marketStateFile, &made) // an unreadable file counts as missing
	if _, statErr := os.Stat(path); !always && statErr == nil && readErr == nil {
		if digest == made.Digest {
			return false, nil
		}
		root = cmp.Or(made.Root, root)
	}
	if err := dir.CreateMissing(); err != nil { // a view needs a file of its table
		return false, err
	}
	scratch, err := createScratchIn(dir.StagingPath(), scratchPrefix)
	if err != nil {
		return false, err
	}
	defer scratch.remove()
	temporary := filepath.Join(scratch.path, MarketName)
	if err := buildMarket(ctx, temporary, root, dir.State().Path("")); err != nil {
		return false, err
	}
	disk := durable.OS{}
	if err := disk.SyncFile(temporary); err != nil {
		return false, err
	}
	if err := durable.Publish(disk, temporary, path); err != nil {
		return false, err
	}
	return true, dir.State().Write(marketStateFile, marketState{Digest: digest, Root: root})
}

// marketDigest hashes everything that determines a market.duckdb except for the path of the tape:
// DuckDB's version, which determines the file format, and the text of every relation.
func marketDigest() string {
	sum := sha256.New()
	fmt.Fprintln(sum, mapping.LibraryVersion())
	for _, table := range tables {
		fmt.Fprintln(sum, selectFiles(table, []Column{{Name: "one", Type: "JSON"}, {Name: "other"}}, ""))
	}
	for _, pattern := range []string{"schema/*.sql", "derived/*.sql", "macro/*.sql", "summary/*.sql", "market/*.sql"} {
		names, _ := fs.Glob(embedded.Files, pattern) // fails for a wrong pattern only
		for _, name := range names {
			content := embeddedSQL(name)
			fmt.Fprintf(sum, "%s %d\n%s", name, len(content), content)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// macrosName is the file of the macros that market.duckdb and a session share.
const macrosName = "market/macros.sql"

// buildMarket creates the database at path. statePath is the path of the state directory.
func buildMarket(ctx context.Context, path, root, statePath string) (err error) {
	// The file is attached and not opened by name, because a name is parsed as a URL, in which % and ?
	// have a meaning.
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
	// The canonical relations are only created to list their columns, in a database in memory.
	if err := exec(ctx, conn, "ATTACH "+Quote(path)+" AS market", "ATTACH ':memory:' AS shape",
		"CREATE SCHEMA shape.canonical", "USE shape.canonical", Schema(), "USE market.main"); err != nil {
		return err
	}
	for _, table := range tables {
		columns, err := columnsOf(ctx, db, "shape.canonical."+string(table))
		if err != nil {
			return err
		}
		files := fmt.Sprintf("coalesce(getvariable('tapedeck'), %s) || '/%s/*/*.parquet'", Quote(root), table)
		if err := exec(ctx, conn, fmt.Sprintf("CREATE VIEW %s AS %s", table, selectFiles(table, columns, files))); err != nil {
			return fmt.Errorf("view %s: %w", table, err)
		}
	}
	judged := fmt.Sprintf("coalesce(getvariable('tapedeck'), %s) || '/%s/%s/*.json'", Quote(root), filepath.Base(statePath), state.JudgedDir)
	if err := exec(ctx, conn, judgedFiles(judged)); err != nil {
		return fmt.Errorf("view judged_files: %w", err)
	}
	dropped := fmt.Sprintf("coalesce(getvariable('tapedeck'), %s) || '/%s'", Quote(root), filepath.Join(filepath.Base(statePath), tape.DroppedPattern))
	if err := exec(ctx, conn, fmt.Sprintf(embeddedSQL("market/dropped_ids.sql"), dropped)); err != nil {
		return fmt.Errorf("view dropped_ids: %w", err)
	}
	if err := exec(ctx, conn, embeddedSQL("market/relations.sql")); err != nil {
		return fmt.Errorf("market/relations.sql: %w", err)
	}
	if err := createSummaries(ctx, conn, embeddedSummaries()); err != nil {
		return err
	}
	if err := exec(ctx, conn, embeddedSQL(macrosName)); err != nil {
		return fmt.Errorf("%s: %w", macrosName, err)
	}
	if err := createDerived(ctx, conn); err != nil {
		return err
	}
	return exec(ctx, conn, "DETACH shape", "CHECKPOINT market", "USE memory.main", "DETACH market")
}
