// Package analytics runs SQL over the tape: a DuckDB session whose relations are a frozen list of the tape's files, and
// the contract that every query file is held to.
//
// Its one guarantee: a query that runs has the parameters, the columns and the types that its header names, and sees the
// tape as of the session's opening, without the segments that cannot be read, which are named. The form of a query file is
// described in the project's README under "Queries".
package analytics

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/tape"
	text "tapedeck/sql"
)

// Options are a session's settings; the zero value is the default.
type Options struct {
	// Threads that a query may use; 0 is one a core.
	Threads int
	// MemoryLimit as DuckDB writes it, as in 1GB; empty is DuckDB's own, 80 % of the machine. It does not bound the rows
	// of a result.
	MemoryLimit string
	// From and To restrict trades and alerts to the partitions that hold the half-open window; zero leaves that end open.
	From, To time.Time
	// MinutesFrom makes the relation minutes one of the time from then to To, both on a minute and To given, at the session's opening, from what earlier
	// sessions kept and the trades since; KeepMinutes keeps it for the next one. Without it minutes is made of the trades at each use.
	MinutesFrom time.Time
	KeepMinutes bool
	// Tables are those of the tape that will be read, also by minutes and incidents; the others are empty. Nil is all.
	Tables []tape.Table
	// Variables are set in the session, for texts that ask for them by getvariable.
	Variables map[string]string
	// Before cuts the tape: what was traded, raised, finished or checked at or after it is not seen. It is on a minute; zero cuts nothing. With it To
	// is given and not after it.
	Before time.Time
	// Macros makes the macros of market.duckdb, too.
	Macros bool
	// Index is what is on the tape, freshly refreshed; nil makes one, which reads every footer.
	Index *tape.Index
	// Now is for the age of what dead sessions left behind; zero leaves it lying.
	Now time.Time
	// Logger gets what healed by itself; nil is silent.
	Logger *slog.Logger
}

// Session is an in-memory database with the relations trades, alerts, runs, coverage, gaps, bounds, minutes and incidents. It may be used from many goroutines.
// It reads nothing outside the tape, and nothing that it is given to run can change its settings.
type Session struct {
	db      *sql.DB
	dir     *tape.Dir // nil: the relations are empty
	opt     Options
	log     *slog.Logger
	scratch string

	mu     sync.Mutex // guards the rest, and the views while they are replaced
	broken map[string]error
	listed int // how often the views were made anew
}

// Open makes a session over what is on the tape now.
func Open(ctx context.Context, dir *tape.Dir, opt Options) (*Session, error) {
	s, err := open(ctx, dir, opt)
	if err != nil {
		return nil, fmt.Errorf("open a session over %q: %w", dir.Path(), err)
	}
	return s, nil
}

// OpenEmpty makes a session whose relations are there and hold nothing, to hold queries to their headers without a tape.
func OpenEmpty(ctx context.Context, opt Options) (*Session, error) {
	s, err := open(ctx, nil, opt)
	if err != nil {
		return nil, fmt.Errorf("open an empty session: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, dir *tape.Dir, opt Options) (_ *Session, err error) {
	s := &Session{dir: dir, opt: opt, log: opt.Logger, broken: map[string]error{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.scratch, err = makeScratch(dir, opt.Now); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	settings := url.Values{
		"temp_directory":               {s.scratch},
		"max_temp_directory_size":      {spillLimit},
		"autoinstall_known_extensions": {"false"},
		"autoload_known_extensions":    {"false"},
	}
	if opt.Threads > 0 {
		settings.Set("threads", fmt.Sprint(opt.Threads))
	}
	if opt.MemoryLimit != "" {
		settings.Set("memory_limit", opt.MemoryLimit)
	}
	variables, err := variableStatements(opt.Variables)
	if err != nil {
		return nil, err
	}
	connector, err := duckdb.NewConnector("?"+settings.Encode(), func(conn driver.ExecerContext) error {
		for _, statement := range variables {
			if _, err := conn.ExecContext(context.WithoutCancel(ctx), statement, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.db = sql.OpenDB(connector)
	if err := s.exec(ctx, "SET GLOBAL TimeZone = 'UTC'"); err != nil {
		return nil, err
	}
	if err := createEmpty(ctx, s.db); err != nil {
		return nil, err
	}
	allowed := []string{quote(s.scratch)}
	if dir != nil {
		root, err := dataRoot(dir)
		if err != nil {
			return nil, err
		}
		for _, table := range tables {
			allowed = append(allowed, quote(filepath.Join(root, string(table))))
		}
		if err := s.fillGaps(ctx); err != nil {
			return nil, err
		}
		if err := s.makeViews(ctx); err != nil {
			return nil, err
		}
		if err := s.cutRelations(ctx); err != nil {
			return nil, err
		}
		if opt.Macros {
			script, err := fs.ReadFile(text.Files, macrosName)
			if err != nil {
				return nil, err
			}
			if err := s.exec(ctx, string(script)); err != nil {
				return nil, err
			}
		}
		if !opt.MinutesFrom.IsZero() {
			if err := s.fillMinutes(ctx); err != nil {
				return nil, fmt.Errorf("make minutes of the trades: %w", err)
			}
		}
	}
	for _, statement := range []string{
		"SET allowed_directories = [" + strings.Join(allowed, ", ") + "]",
		"SET enable_external_access = false",
		"SET lock_configuration = true",
	} {
		if err := s.exec(ctx, statement); err != nil {
			return nil, err
		}
	}
	return s, nil
}

var tables = [...]tape.Table{tape.Trades, tape.Alerts, tape.Runs, tape.Coverage}

// dataRoot is the tape's absolute path, as DuckDB must spell it.
func dataRoot(dir *tape.Dir) (string, error) {
	root, err := filepath.Abs(dir.Path())
	if err != nil {
		return "", err
	}
	if strings.ContainsAny(root, "*?[") {
		return "", fmt.Errorf("the path %q holds one of the characters * ? [, which DuckDB takes for a pattern", root)
	}
	return root, nil
}

const (
	// spillLimit is what a session may put on the tape's disk when memory is not enough; a query that wants more is an error.
	spillLimit    = "16GB"
	scratchPrefix = "duckdb-"
	// scratchAge is after how long a scratch directory counts as left by a dead session; no query is allowed to run that long.
	scratchAge = 48 * time.Hour
)

// makeScratch makes a directory for what does not fit into memory, in the tape's staging directory where that can be written.
func makeScratch(dir *tape.Dir, now time.Time) (string, error) {
	if dir != nil {
		staging, err := filepath.Abs(dir.StagingPath())
		if err != nil {
			return "", err
		}
		if scratch, err := os.MkdirTemp(staging, scratchPrefix); err == nil {
			sweepScratch(staging, now)
			return scratch, nil
		}
	}
	return os.MkdirTemp("", "tapedeck-"+scratchPrefix)
}

func sweepScratch(staging string, now time.Time) {
	if now.IsZero() {
		return
	}
	entries, err := os.ReadDir(staging)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && info.IsDir() && strings.HasPrefix(entry.Name(), scratchPrefix) && now.Sub(info.ModTime()) > scratchAge {
			os.RemoveAll(filepath.Join(staging, entry.Name()))
		}
	}
}

// createEmpty makes the canonical relations as empty tables in the schema canonical, and views of them.
func createEmpty(ctx context.Context, db *sql.DB) error {
	script, err := Schema()
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, statement := range []string{"CREATE SCHEMA canonical", "USE memory.canonical", script, "USE memory.main"} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("make the relations: %w", err)
		}
	}
	for _, name := range relationNames {
		if !slices.Contains(derivedNames[:], name) {
			if _, err := conn.ExecContext(ctx, fmt.Sprintf("CREATE VIEW %s AS FROM canonical.%s", name, name)); err != nil {
				return fmt.Errorf("make the relations: %w", err)
			}
		}
	}
	return makeDerived(ctx, conn)
}

// derivedNames are the views over other relations, each after what it reads. traded_minutes is a step on the way to minutes.
var derivedNames = [...]string{"traded_minutes", "minutes", "incidents"}

// makeDerived makes the views over other relations, in the current schema.
func makeDerived(ctx context.Context, conn *sql.Conn) error {
	for _, name := range derivedNames {
		statement, err := derived(name)
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("CREATE VIEW %s AS %s", name, statement)); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
	}
	return nil
}

// derived gives the SELECT that makes a relation of others.
func derived(name string) (string, error) {
	content, err := fs.ReadFile(text.Files, "derived/"+name+".sql")
	return string(content), err
}

// Schema is the text that makes the canonical relations as empty tables.
func Schema() (string, error) {
	var script strings.Builder
	for _, name := range relationNames {
		part, err := fs.ReadFile(text.Files, "schema/"+name+".sql")
		if err != nil {
			return "", err
		}
		script.Write(part)
	}
	return script.String(), nil
}

// fillGaps fills gaps and bounds from the index.
func (s *Session) fillGaps(ctx context.Context) error {
	if s.opt.Index == nil {
		s.opt.Index = s.dir.Index()
		if err := s.opt.Index.Refresh(ctx); err != nil {
			return err
		}
	}
	index := s.opt.Index
	for _, broken := range index.Broken() {
		s.broken[broken.Path] = broken.Err
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(raw any) error {
		gaps, err := duckdb.NewAppender(raw.(driver.Conn), "memory", "canonical", "gaps")
		if err != nil {
			return err
		}
		bounds, err := duckdb.NewAppender(raw.(driver.Conn), "memory", "canonical", "bounds")
		if err != nil {
			return errors.Join(err, gaps.Close())
		}
		for _, symbol := range index.Symbols() {
			if b, ok := index.Bounds(symbol); ok && err == nil {
				err = bounds.AppendRow(symbol, b.FirstID, b.LastID, b.FirstAt, b.LastAt)
			}
			for _, gap := range index.Gaps(symbol) {
				if err == nil {
					err = gaps.AppendRow(symbol, gap.First, gap.Last, instant(gap.After), instant(gap.Before))
				}
			}
		}
		return errors.Join(err, gaps.Close(), bounds.Close())
	})
}

func instant(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.UTC()
}

// makeViews points the views at the files that are on the tape now, without the broken ones. DuckDB looks into them, and a compaction may have
// replaced one since it was listed: then it lists them again.
func (s *Session) makeViews(ctx context.Context) error {
	for try := 0; ; try++ {
		err := s.listViews(ctx)
		var known *duckdb.Error
		if err == nil || ctx.Err() != nil || try == maxRetries || !errors.As(err, &known) || !vanished(known) {
			return err
		}
	}
}

func (s *Session) listViews(ctx context.Context) error {
	for _, table := range tables {
		if s.opt.Tables != nil && !slices.Contains(s.opt.Tables, table) {
			continue
		}
		var from, to time.Time
		if table == tape.Trades || table == tape.Alerts {
			from, to = s.opt.From, s.opt.To
		}
		segments, err := s.segments(table, from, to)
		if err != nil {
			return err
		}
		if table == tape.Trades && !from.IsZero() && !to.IsZero() {
			// Of the files of these dates only those with trades of this time are opened.
			touching, known := s.opt.Index.SegmentsWhere(from, to, func(_ string, run tape.IDRun) bool { return run.Overlaps(from, to) })
			segments = slices.DeleteFunc(segments, func(path string) bool { return known[path] && !touching[path] })
		}
		if err := s.makeView(ctx, table, segments); err != nil {
			return err
		}
	}
	return nil
}

// segments lists the files of a table in the partitions that hold a half-open time, without the broken ones; a zero end is open.
func (s *Session) segments(table tape.Table, from, to time.Time) ([]string, error) {
	first, last := "", ""
	if !from.IsZero() {
		first = from.UTC().Format(time.DateOnly)
	}
	if !to.IsZero() {
		last = to.UTC().Add(-time.Microsecond).Format(time.DateOnly)
	}
	var paths []string
	var broken []tape.BrokenSegment
	var err error
	if table == tape.Trades {
		paths, broken, err = s.opt.Index.SegmentPaths(first, last)
	} else {
		var segments []tape.Segment
		segments, broken, err = s.dir.Segments(table, first, last)
		for _, segment := range segments {
			paths = append(paths, segment.Path)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, segment := range broken {
		s.broken[segment.Path] = segment.Err
	}
	return slices.DeleteFunc(paths, func(path string) bool { return s.broken[path] != nil }), nil
}

func (s *Session) makeView(ctx context.Context, table tape.Table, segments []string) error {
	if len(segments) == 0 {
		return s.exec(ctx, fmt.Sprintf("CREATE OR REPLACE VIEW %s AS FROM canonical.%s", table, table))
	}
	columns, err := columnsOf(ctx, s.db, "canonical."+string(table))
	if err != nil {
		return err
	}
	source, err := s.selectSegments(table, columns, segments)
	if err != nil {
		return err
	}
	if !s.opt.Before.IsZero() {
		source = fmt.Sprintf("SELECT * FROM (%s) WHERE %s < %s", source, cutBy[table], stamp(s.opt.Before))
		if table == tape.Alerts {
			source = strings.Replace(source, cutBy[table]+" <", cutBy[table]+" <=", 1)
		}
	}
	return s.exec(ctx, fmt.Sprintf("CREATE OR REPLACE VIEW %s AS %s", table, source))
}

// cutBy is the column that says from when on a row could be there. An alert could be at the instant that it names.
var cutBy = map[tape.Table]string{tape.Trades: "traded_at", tape.Alerts: `"at"`, tape.Runs: "finished_at", tape.Coverage: "checked_at"}

// cutRelations makes gaps and bounds those of a tape that ends at Before.
func (s *Session) cutRelations(ctx context.Context) error {
	if s.opt.Before.IsZero() {
		return nil
	}
	at := stamp(s.opt.Before)
	for _, statement := range []string{
		"DELETE FROM canonical.gaps WHERE before_at >= " + at,
		"DELETE FROM canonical.bounds WHERE first_at >= " + at,
		"UPDATE canonical.bounds SET last_id = ends.id, last_at = ends.at FROM (SELECT symbol, max(id) AS id, arg_max(traded_at, id) AS at FROM trades GROUP BY symbol) AS ends WHERE ends.symbol = bounds.symbol AND last_at >= " + at,
	} {
		if err := s.exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// selectSegments is the SELECT that makes a relation of some segments, given by path.
func (s *Session) selectSegments(table tape.Table, columns []Column, segments []string) (string, error) {
	root, err := dataRoot(s.dir)
	if err != nil {
		return "", err
	}
	list := make([]string, len(segments))
	for i, path := range segments {
		list[i] = quote(filepath.Join(root, path))
	}
	return selectFiles(table, columns, "["+strings.Join(list, ", ")+"]"), nil
}

// selectFiles is the SELECT that makes a relation of Parquet files. Its columns are qualified, for a macro over it may have a parameter named like one.
func selectFiles(table tape.Table, columns []Column, files string) string {
	names := make([]string, len(columns))
	for i, column := range columns {
		names[i] = fmt.Sprintf(`data."%s"`, column.Name)
		if column.Type == "JSON" {
			names[i] = fmt.Sprintf(`data."%s"::JSON AS "%s"`, column.Name, column.Name)
		}
	}
	statement := fmt.Sprintf("SELECT %s FROM read_parquet(%s, hive_partitioning = true, hive_types = {'date': DATE}) AS data", strings.Join(names, ", "), files)
	if table == tape.Coverage {
		statement += " QUALIFY row_number() OVER (PARTITION BY data.symbol, data.date ORDER BY data.checked_at DESC) = 1"
	}
	return statement
}

// querier is a database or one connection to it.
type querier interface {
	QueryContext(ctx context.Context, statement string, args ...any) (*sql.Rows, error)
}

// columnsOf gives the columns of a relation, which is named with its schema. The catalogue's own list of columns would bind every view first.
func columnsOf(ctx context.Context, db querier, relation string) ([]Column, error) {
	rows, err := db.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE "+relation+")")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Column
	for rows.Next() {
		var column Column
		if err := rows.Scan(&column.Name, &column.Type); err != nil {
			return nil, err
		}
		out = append(out, column)
	}
	return out, rows.Err()
}

func (s *Session) exec(ctx context.Context, statement string) error {
	_, err := s.db.ExecContext(ctx, statement)
	return err
}

// Broken lists the segments that are left out because they cannot be read, by path.
func (s *Session) Broken() []tape.BrokenSegment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []tape.BrokenSegment
	for path, err := range s.broken {
		out = append(out, tape.BrokenSegment{Path: path, Err: err})
	}
	slices.SortFunc(out, func(a, b tape.BrokenSegment) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// Close ends the session and deletes its scratch directory.
func (s *Session) Close() error {
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	return errors.Join(err, os.RemoveAll(s.scratch))
}

// quote makes a SQL string of text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
