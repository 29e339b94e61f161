package analytics

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// tables are the tables of the tape that are relations.
var tables = [...]tape.Table{tape.Trades, tape.Alerts, tape.Runs, tape.Coverage, tape.Conflicts, tape.Recorder, tape.Drops}

// relationNames are all relations that a query may read.
var relationNames = [...]string{"trades", "alerts", "runs", "coverage", "conflicts", "recorder", "drops", "open_conflicts", "dropped_ids", "gaps", "bounds", "minutes", "incidents", "judged"}

// derivedRelations are views over other relations. Each comes after those that it reads; traded_minutes
// is an intermediate step of minutes.
var derivedRelations = [...]string{"traded_minutes", "minutes", "incidents", "judged"}

// dataRoot returns the absolute path of the tape. DuckDB would take some characters for a pattern; a
// path with one of them is an error.
func dataRoot(dir *tape.Dir) (string, error) {
	root, err := filepath.Abs(dir.Path())
	if err != nil {
		return "", err
	}
	if strings.ContainsAny(root, `*?[\`) {
		return "", fmt.Errorf("the path %q contains one of the characters * ? [ \\, which DuckDB takes for a pattern", root)
	}
	return root, nil
}

// Schema returns the script that creates the canonical relations as empty tables.
func Schema() (script string) {
	for _, name := range relationNames {
		script += embeddedSQL("schema/" + name + ".sql")
	}
	return script
}

// derivedSelect returns the SELECT that defines a derived relation.
func derivedSelect(name string) string { return embeddedSQL("derived/" + name + ".sql") }

// createRelations creates the canonical relations as empty tables in the schema canonical, views over
// them in the schema main, the macros of summaries, and the derived relations.
func createRelations(ctx context.Context, db *sql.DB, summaries []Query) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	statements := []string{"CREATE SCHEMA canonical", "USE memory.canonical", Schema(), "USE memory.main"}
	statements = append(statements, judgedFiles(""))
	for _, name := range relationNames {
		if !slices.Contains(derivedRelations[:], name) {
			statements = append(statements, fmt.Sprintf("CREATE VIEW %s AS FROM canonical.%s", name, name))
		}
	}
	if err := exec(ctx, conn, statements...); err != nil {
		return fmt.Errorf("create the relations: %w", err)
	}
	// The shared macros read embedded summaries, also in a session that has only some.
	if err := createSummaries(ctx, conn, slices.Concat(embeddedSummaries(), summaries)); err != nil {
		return err
	}
	return createDerived(ctx, conn)
}

// createDerived creates the views of the derived relations, and the macros that queries share, in the
// current schema. The macros of the embedded summaries must exist, because some read them.
func createDerived(ctx context.Context, conn *sql.Conn) error {
	for _, name := range derivedRelations {
		if err := exec(ctx, conn, fmt.Sprintf("CREATE VIEW %s AS %s", name, derivedSelect(name))); err != nil {
			return fmt.Errorf("create the view %s: %w", name, err)
		}
	}
	for _, name := range sharedMacros {
		if err := exec(ctx, conn, embeddedSQL("macro/"+name+".sql")); err != nil {
			return fmt.Errorf("create the macro %s: %w", name, err)
		}
	}
	return nil
}

// judgedFiles returns the statement that creates the view judged_files, which the relation judged reads:
// the content of the files that the pattern matches, an expression of SQL. It may match none.
func judgedFiles(pattern string) string {
	if pattern == "" {
		return "CREATE VIEW judged_files AS SELECT NULL::VARCHAR AS content WHERE false"
	}
	return "CREATE OR REPLACE VIEW judged_files AS SELECT content FROM read_text(" + pattern + ")"
}

// judgedDir returns the absolute path of the directory that the relation judged reads.
func (s *Session) judgedDir() string {
	return filepath.Join(s.root, filepath.Base(s.dir.State().Path("")), state.JudgedDir)
}

// loadJudged makes the relation judged read what detect has recorded.
func (s *Session) loadJudged(ctx context.Context) error {
	statements := []string{judgedFiles(Quote(filepath.Join(s.judgedDir(), "*.json")))}
	if len(s.opt.Symbols) > 0 {
		statements = append(statements, fmt.Sprintf("CREATE OR REPLACE VIEW judged AS SELECT * FROM (%s) WHERE symbol IN %s",
			derivedSelect("judged"), s.symbolList()))
	}
	return exec(ctx, s.db, statements...)
}

// loadIndex fills gaps, bounds and dropped_ids from the index, which it reads if the options have none.
func (s *Session) loadIndex(ctx context.Context) error {
	if s.opt.Index == nil {
		s.opt.Index = s.dir.Index()
		if err := s.opt.Index.Refresh(ctx); err != nil {
			return err
		}
	}
	index := s.opt.Index
	for _, broken := range index.Broken() {
		if broken.Touches(func(symbol string, run tape.IDRun) bool { return s.covers(symbol) && s.inWindow(run) }) {
			s.broken[broken.Path] = broken.Err
		}
	}
	if len(s.opt.Symbols) == 0 {
		s.notSymbols = index.NotSymbols()
	}
	var gaps, bounds, dropped [][]driver.Value
	for name, run := range index.AllDropped() {
		if s.covers(name) {
			dropped = append(dropped, []driver.Value{name, run.First, run.Last, time.UnixMicro(run.FirstAt).UTC(), time.UnixMicro(run.LastAt).UTC()})
		}
	}
	for symbol, b := range index.AllBounds() {
		if !s.covers(symbol) {
			continue
		}
		known, _ := index.Known(symbol)
		bounds = append(bounds, []driver.Value{
			symbol, b.FirstID, b.LastID, b.FirstAt, b.LastAt,
			known.Since, string(known.SinceBy), known.Until, string(known.UntilBy),
		})
		for _, gap := range index.Gaps(symbol) {
			gaps = append(gaps, []driver.Value{symbol, gap.First, gap.Last, nullableTime(gap.After), nullableTime(gap.Before)})
		}
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return errors.Join(appendRows(conn, "memory", "canonical", "gaps", gaps), appendRows(conn, "memory", "canonical", "bounds", bounds),
		appendRows(conn, "memory", "canonical", "dropped_ids", dropped))
}

// loadOpenConflicts fills open_conflicts. If it is not known which conflicts are resolved, because a file
// cannot be read, all of them are open.
func (s *Session) loadOpenConflicts(ctx context.Context) error {
	if s.opt.Tables != nil && !slices.Contains(s.opt.Tables, tape.Conflicts) {
		return nil
	}
	open, err := s.dir.OpenConflicts(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s.log.Warn("all conflicts count as open", "error", err)
		return exec(ctx, s.db, "INSERT INTO canonical.open_conflicts BY NAME FROM conflicts")
	}
	var rows [][]driver.Value
	for _, c := range open {
		if !s.covers(c.Symbol) || !s.opt.Cutoff.IsZero() && c.FoundAt >= s.opt.Cutoff.UnixMicro() {
			continue
		}
		at := time.UnixMicro(c.TradedAt).UTC()
		rows = append(rows, []driver.Value{
			c.Symbol, c.ID, c.Price, c.Qty, c.FirstTradeID, c.LastTradeID, at, c.IsBuyerMaker, string(c.Source), c.RunID,
			c.OtherPrice, c.OtherQty, c.OtherFirstTradeID, c.OtherLastTradeID, time.UnixMicro(c.OtherTradedAt).UTC(),
			c.OtherIsBuyerMaker, string(c.OtherSource), c.OtherRunID, time.UnixMicro(c.FoundAt).UTC(), at.Truncate(24 * time.Hour),
		})
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return appendRows(conn, "memory", "canonical", "open_conflicts", rows)
}

// inWindow reports whether a run has trades in the session's window.
func (s *Session) inWindow(run tape.IDRun) bool {
	return (s.opt.To.IsZero() || run.Overlaps(time.Time{}, s.opt.To)) && (s.opt.From.IsZero() || !time.UnixMicro(run.LastAt).Before(s.opt.From))
}

// appendRows appends rows to a table.
func appendRows(conn *sql.Conn, catalog, schema, table string, rows [][]driver.Value) error {
	return conn.Raw(func(raw any) error {
		appender, err := duckdb.NewAppender(raw.(driver.Conn), catalog, schema, table)
		for i := 0; err == nil && i < len(rows); i++ {
			err = appender.AppendRow(rows[i]...)
		}
		if appender != nil {
			err = errors.Join(err, appender.Close())
		}
		return err
	})
}

func nullableTime(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.UTC()
}

// createViews makes the views of the tables read the files that are on the tape now, except for the
// broken ones. DuckDB opens the files to create a view; if a compaction has replaced one since it was
// listed, createViews lists the files again.
func (s *Session) createViews(ctx context.Context) error {
	for try := 0; ; try++ {
		err := s.tryCreateViews(ctx)
		if ctx.Err() != nil || try == maxRetries || !isMissingFile(err) {
			return err
		}
	}
}

func (s *Session) tryCreateViews(ctx context.Context) error {
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
			// Of these dates, only the files with trades of this window are opened.
			overlaps := func(symbol string, run tape.IDRun) bool { return run.Overlaps(from, to) && s.covers(symbol) }
			segments = s.dropOthers(segments, from, to, overlaps)
		}
		if err := s.createView(ctx, table, segments); err != nil {
			return err
		}
	}
	return nil
}

// dropOthers removes the segments of trades that have no matching run.
func (s *Session) dropOthers(paths []string, from, to time.Time, matches func(symbol string, run tape.IDRun) bool) []string {
	matching, known := s.opt.Index.SegmentsWhere(from, to, matches)
	return slices.DeleteFunc(paths, func(path string) bool { return known[path] && !matching[path] })
}

// segments returns the paths of a table's files in the partitions that overlap [from, to), without the
// broken ones. A zero time leaves that end open.
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

func (s *Session) createView(ctx context.Context, table tape.Table, segments []string) error {
	if len(segments) == 0 {
		return exec(ctx, s.db, fmt.Sprintf("CREATE OR REPLACE VIEW %s AS FROM canonical.%s", table, table))
	}
	source, err := s.selectSegments(ctx, table, segments)
	if err != nil {
		return err
	}
	var conditions []string
	if table == tape.Trades && len(s.notSymbols) > 0 {
		conditions = append(conditions, `shown."symbol" IN `+listOf(s.opt.Index.Symbols()))
	}
	if !s.opt.Cutoff.IsZero() {
		conditions = append(conditions, cutoffCondition[table]+" "+Timestamp(s.opt.Cutoff))
	}
	if len(s.opt.Symbols) > 0 {
		columns, err := columnsOf(ctx, s.db, "canonical."+string(table))
		if err != nil {
			return err
		}
		if slices.ContainsFunc(columns, func(c Column) bool { return c.Name == "symbol" }) {
			conditions = append(conditions, `shown."symbol" IN `+s.symbolList())
		}
	}
	if len(conditions) > 0 {
		source = fmt.Sprintf("SELECT * FROM (%s) AS shown WHERE %s", source, strings.Join(conditions, " AND "))
	}
	return exec(ctx, s.db, fmt.Sprintf("CREATE OR REPLACE VIEW %s AS %s", table, source))
}

// covers reports whether the session shows a symbol. An empty one, of a row about no single symbol, is
// always shown.
func (s *Session) covers(symbol string) bool {
	return len(s.opt.Symbols) == 0 || symbol == "" || slices.Contains(s.opt.Symbols, symbol)
}

// symbolList returns the symbols that the session shows, and the empty one, as a list of SQL.
func (s *Session) symbolList() string { return listOf(s.opt.Symbols) }

// listOf returns texts, and the empty one, as a list of SQL.
func listOf(texts []string) string {
	quoted := []string{Quote("")}
	for _, text := range texts {
		quoted = append(quoted, Quote(text))
	}
	return "(" + strings.Join(quoted, ", ") + ")"
}

// cutoffCondition says which rows of a table could be on the tape at an instant. An alert can be there at
// the instant that it names.
var cutoffCondition = map[tape.Table]string{
	tape.Trades: "traded_at <", tape.Alerts: `"at" <=`, tape.Runs: "finished_at <", tape.Coverage: "checked_at <",
	tape.Conflicts: "found_at <", tape.Recorder: `"at" <`, tape.Drops: `"at" <`,
}

// applyCutoff makes gaps, bounds and dropped_ids those of a tape that ends at the cutoff.
func (s *Session) applyCutoff(ctx context.Context) error {
	if s.opt.Cutoff.IsZero() {
		return nil
	}
	at := Timestamp(s.opt.Cutoff)
	return exec(ctx, s.db,
		"DELETE FROM canonical.gaps WHERE before_at >= "+at,
		"DELETE FROM canonical.bounds WHERE first_at >= "+at,
		"DELETE FROM canonical.dropped_ids WHERE first_at >= "+at,
		"UPDATE canonical.bounds SET last_id = ends.id, last_at = ends.at "+
			"FROM (SELECT symbol, max(id) AS id, arg_max(traded_at, id) AS at FROM trades GROUP BY symbol) AS ends "+
			"WHERE ends.symbol = bounds.symbol AND last_at >= "+at,
		// What is known until later was known at the cutoff.
		"UPDATE canonical.bounds SET known_until = "+at+" WHERE known_until > "+at,
	)
}

// selectSegments returns the SELECT that reads a relation from segments, which are given by path.
func (s *Session) selectSegments(ctx context.Context, table tape.Table, segments []string) (string, error) {
	columns, err := columnsOf(ctx, s.db, "canonical."+string(table))
	if err != nil {
		return "", err
	}
	paths := make([]string, len(segments))
	for i, path := range segments {
		paths[i] = filepath.Join(s.root, path)
	}
	return selectFiles(table, columns, pathList(paths)), nil
}

// pathList returns paths as a list literal of SQL.
func pathList(paths []string) string {
	quoted := make([]string, len(paths))
	for i, path := range paths {
		quoted[i] = Quote(path)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// selectFiles returns the SELECT that reads a relation from Parquet files. files is an expression of SQL.
// The columns are qualified because a macro over the relation may have a parameter of the same name.
func selectFiles(table tape.Table, columns []Column, files string) string {
	names := make([]string, len(columns))
	for i, column := range columns {
		names[i] = fmt.Sprintf(`data."%s"`, column.Name)
		if column.Type == "JSON" {
			names[i] = fmt.Sprintf(`data."%s"::JSON AS "%s"`, column.Name, column.Name)
		}
		if table == tape.Coverage && column.Name == "conflicts" {
			names[i] = `coalesce(data."conflicts", 0) AS "conflicts"`
		}
	}
	rows := fmt.Sprintf("read_parquet(%s, hive_partitioning = true, hive_types = {'date': DATE})", files)
	if table == tape.Coverage {
		// Files of an earlier version, which may be all there are, have no column conflicts.
		rows = fmt.Sprintf("(FROM read_parquet(%s, hive_partitioning = true, hive_types = {'date': DATE}, union_by_name = true) "+
			"UNION ALL BY NAME SELECT NULL::BIGINT AS conflicts WHERE false)", files)
	}
	statement := fmt.Sprintf("SELECT %s FROM %s AS data", strings.Join(names, ", "), rows)
	if table == tape.Coverage {
		statement += " QUALIFY row_number() OVER (PARTITION BY data.symbol, data.date ORDER BY data.checked_at DESC) = 1"
	}
	return statement
}

// columnsOf returns the columns of a relation, which is named with its schema. DuckDB's own catalog of
// columns would bind every view first.
func columnsOf(ctx context.Context, db *sql.DB, relation string) ([]Column, error) {
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
