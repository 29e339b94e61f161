package importer

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
	"github.com/parquet-go/parquet-go"

	"tapedeck/internal/binance"
	"tapedeck/internal/ingest"
	"tapedeck/internal/tape"
)

// parquetMemory limits DuckDB while it sorts a file; it spills to the staging directory.
const parquetMemory = "400MB"

// rowsPerBatch are read from the sorted file at a time.
const rowsPerBatch = 8192

// parquetRow is a row of the sorted file: a trade and the number of its row in the imported file,
// from 0.
type parquetRow struct {
	tape.Trade
	Row int64 `parquet:"file_row_number"`
}

// stageParquet stages the rows of a Parquet file. DuckDB reads and sorts it, so that any writer's
// file will do.
func stageParquet(ctx context.Context, dir *tape.Dir, s *source, out *staging) error {
	feed, err := feedOfParquet(s)
	if err != nil {
		return fileError(err)
	}
	if err := checkFeed(dir, cmp.Or(feed, dir.Feed())); err != nil {
		return err
	}
	scratch, err := newScratch(dir, s.path)
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	out.restart()
	sorted := filepath.Join(scratch, "sorted.tmp")
	if err := s.sortParquet(ctx, scratch, filepath.Join(scratch, "in"), sorted, dir.Feed(), out); err != nil {
		return err
	}
	if err := readSorted(sorted, func(b *ingest.Batch) error { return out.add(ctx, b) }); err != nil {
		return err
	}
	s.onRead(s.size)
	return nil
}

// newScratch creates a directory with a link "in" to the file, because DuckDB treats some
// characters of a path as a pattern. It has the name of a DuckDB session's scratch directory, so
// the same sweep removes it after a crash.
func newScratch(dir *tape.Dir, path string) (string, error) {
	staging, err := filepath.Abs(dir.StagingPath())
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	scratch, err := os.MkdirTemp(staging, "duckdb-import-")
	if err != nil {
		return "", err
	}
	if err := os.Symlink(path, filepath.Join(scratch, "in")); err != nil {
		os.RemoveAll(scratch)
		return "", err
	}
	return scratch, nil
}

// sortParquet writes the trades of the file in to the file sorted, by (date, symbol, id), and
// counts in out those that it leaves out.
func (s *source) sortParquet(ctx context.Context, scratch, in, sorted string, feed tape.Feed, out *staging) error {
	if strings.ContainsAny(scratch, "*?[") {
		return fmt.Errorf("the path %q contains *, ? or [, which DuckDB treats as a pattern", scratch)
	}
	connector, err := duckdb.NewConnector("?"+url.Values{
		"memory_limit": {parquetMemory}, "temp_directory": {scratch}, "preserve_insertion_order": {"false"},
		"autoinstall_known_extensions": {"false"}, "autoload_known_extensions": {"false"},
	}.Encode(), nil)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "SET TimeZone = 'UTC'"); err != nil {
		return err
	}
	rows := fmt.Sprintf("read_parquet(%s, file_row_number = true, hive_partitioning = false)", quote(in))
	if err := checkNames(ctx, db, in); err != nil {
		return err
	}
	rows, err = s.mapParquet(ctx, db, rows)
	if err != nil {
		return err
	}
	decimals, err := checkColumns(ctx, db, rows)
	if err != nil {
		return err
	}
	inexact := "0"
	for _, name := range decimals {
		inexact += fmt.Sprintf(" + count(*) FILTER (%s::DOUBLE::VARCHAR::DECIMAL(38, 12) <> %s)", name, name)
	}
	if err := checkRows(ctx, db, rows, feed); err != nil {
		return err
	}
	counts := fmt.Sprintf("SELECT count(*) FILTER (%s), %s FROM %s", voidedParquet, inexact, rows)
	if err := db.QueryRowContext(ctx, counts).Scan(&out.voided, &out.inexact); err != nil {
		return unreadable(ctx, err)
	}
	copied := fmt.Sprintf(`COPY (
    SELECT symbol::VARCHAR AS symbol, id::BIGINT AS id, price::DOUBLE AS price, qty::DOUBLE AS qty,
        first_trade_id::BIGINT AS first_trade_id, last_trade_id::BIGINT AS last_trade_id,
        traded_at::TIMESTAMP AS traded_at, is_buyer_maker::BOOLEAN AS is_buyer_maker, file_row_number,
    FROM %s
    WHERE NOT (%s)
    ORDER BY traded_at::TIMESTAMP::DATE, symbol, id, file_row_number
) TO %s (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 65536)`, rows, voidedParquet, quote(sorted))
	_, err = db.ExecContext(ctx, copied)
	return unreadable(ctx, err)
}

// voidedParquet is true for rows that the exchange itself has voided.
const voidedParquet = "price = 0 AND qty = 0 OR first_trade_id = -1 AND last_trade_id = -1"

// parquetTypes are the types that each column may have. FLOAT is too imprecise for a price, and
// text would have to be guessed at.
var parquetTypes = []struct {
	name  string
	types []string
}{
	{"symbol", []string{"VARCHAR", "ENUM"}},
	{"id", integers},
	{"price", []string{"DOUBLE", "DECIMAL"}},
	{"qty", []string{"DOUBLE", "DECIMAL"}},
	{"first_trade_id", integers},
	{"last_trade_id", integers},
	{"traded_at", []string{"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"}},
	{"is_buyer_maker", []string{"BOOLEAN"}},
}

var integers = []string{"BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT"}

// mapParquet returns rows with the columns that the options map under the tape's names, and with the
// symbol if the file has no column for it.
func (s *source) mapParquet(ctx context.Context, db *sql.DB, rows string) (string, error) {
	names, _, err := describeColumns(ctx, db, rows)
	if err != nil {
		return "", err
	}
	has := func(column string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, column) })
	}
	var replaced, added []string
	add := func(expression, name string) {
		as := expression + " AS " + identifier(name)
		if has(name) {
			replaced = append(replaced, as)
		} else {
			added = append(added, as)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.columns)) {
		theirs := s.columns[name]
		if n, err := strconv.Atoi(theirs); err == nil && n >= 1 && n <= len(names) {
			theirs = names[n-1]
		}
		if !has(theirs) {
			return "", fileErrorf("%s=%s: the file has no such column; it has %s", name, s.columns[name], strings.Join(names, ", "))
		}
		if theirs != name {
			add(identifier(theirs), name)
		}
	}
	if !s.symbol.IsZero() && !has("symbol") && s.columns["symbol"] == "" {
		add(quote(s.symbol.String()), "symbol")
	}
	if len(replaced)+len(added) == 0 {
		return rows, nil
	}
	list := "*"
	if len(replaced) > 0 {
		list += " REPLACE (" + strings.Join(replaced, ", ") + ")"
	}
	return fmt.Sprintf("(SELECT %s FROM %s)", strings.Join(append([]string{list}, added...), ", "), rows), nil
}

// checkNames returns an error for two columns that have the same name but for upper and lower case: which
// one is meant is unknown, and DuckDB takes the first.
func checkNames(ctx context.Context, db *sql.DB, path string) error {
	const twice = "SELECT string_agg(name, ' and ') FROM parquet_schema(%s) WHERE num_children IS NULL GROUP BY lower(name) HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
	var names string
	err := db.QueryRowContext(ctx, fmt.Sprintf(twice, quote(path))).Scan(&names)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return unreadable(ctx, err)
	}
	return fileErrorf("two columns have the same name: %s; rename one", names)
}

func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// describeColumns returns the names of the columns in their order, and their types by name in lower
// case.
func describeColumns(ctx context.Context, db *sql.DB, rows string) (names []string, types map[string]string, err error) {
	described, err := db.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE FROM "+rows+")")
	if err != nil {
		return nil, nil, unreadable(ctx, err)
	}
	defer described.Close()
	types = map[string]string{}
	for described.Next() {
		var name, kind string
		if err := described.Scan(&name, &kind); err != nil {
			return nil, nil, err
		}
		if name != "file_row_number" {
			names = append(names, name)
		}
		types[strings.ToLower(name)] = kind
	}
	return names, types, unreadable(ctx, described.Err())
}

// checkColumns checks that the file has the tape's columns, and returns those that are DECIMAL.
func checkColumns(ctx context.Context, db *sql.DB, rows string) (decimals []string, err error) {
	names, have, err := describeColumns(ctx, db, rows)
	if err != nil {
		return nil, err
	}
	for _, column := range parquetTypes {
		full, ok := have[column.name]
		if !ok {
			reason := fmt.Sprintf("no column %q", column.name)
			if column.name == "symbol" {
				reason += " (--symbol names the symbol of all rows)"
			}
			return nil, fileError(&binance.ColumnsError{Reason: reason, Have: names})
		}
		kind, _, _ := strings.Cut(full, "(")
		if !slices.Contains(column.types, kind) {
			return nil, fileErrorf("column %q is %s, it must be %s", column.name, full, column.types[0])
		}
		if kind == "DECIMAL" {
			decimals = append(decimals, column.name)
		}
	}
	return decimals, nil
}

// checkRows returns an error for the first row that is not a trade of the feed.
func checkRows(ctx context.Context, db *sql.DB, rows string, feed tape.Feed) error {
	type rule struct{ broken, reason string }
	var rules []rule
	for _, column := range parquetTypes {
		rules = append(rules, rule{column.name + " IS NULL", column.name + " is NULL"})
	}
	rules = append(rules,
		rule{"symbol = ''", "the symbol is empty"},
		rule{"id < 0", "the id is negative"},
		rule{fmt.Sprintf("id > %d", int64(tape.MaxID)), "the id has more than 18 digits"},
		rule{"NOT price > 0 OR isnan(price)", "the price is not above zero"},
		rule{"NOT qty > 0 OR isnan(qty)", "the quantity is not above zero"},
		rule{
			fmt.Sprintf("price > %[1]v OR qty > %[1]v OR price * qty > %[1]v", float64(tape.MaxValue)),
			ingest.ErrTooLarge.Error(),
		},
		rule{"last_trade_id < first_trade_id", "the last trade id is before the first"},
		rule{"first_trade_id < 0", "the first trade id is negative"},
		rule{fmt.Sprintf("last_trade_id > %d", int64(tape.MaxID)), "the last trade id has more than 18 digits"},
		rule{
			"traded_at::TIMESTAMP NOT BETWEEN TIMESTAMP '2009-01-01' AND TIMESTAMP '2100-01-01'",
			"the time is not between 2009 and 2100",
		},
	)
	if feed == tape.RawTrade {
		rules = append(rules, rule{
			"first_trade_id <> id OR last_trade_id <> id",
			"first_trade_id and last_trade_id differ from id, which a tape of raw trades does not allow",
		})
	}
	reason := "CASE"
	for _, r := range rules {
		reason += fmt.Sprintf(" WHEN %s THEN %s", r.broken, quote(r.reason))
	}
	reason += " END"
	query := fmt.Sprintf(`SELECT file_row_number, %s AS reason
FROM %s
WHERE reason IS NOT NULL AND (%s) IS NOT TRUE
ORDER BY file_row_number
LIMIT 1`, reason, rows, voidedParquet)
	var row int64
	var text string
	err := db.QueryRowContext(ctx, query).Scan(&row, &text)
	switch {
	case err == nil:
		return fileErrorf("row %d: %s", row+1, text)
	case errors.Is(err, sql.ErrNoRows):
		return nil
	}
	return unreadable(ctx, err)
}

// unreadable turns an error of DuckDB into one of the file, unless the disk, the memory or the
// context caused it.
func unreadable(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	if strings.Contains(line, "No space left") || strings.Contains(line, "Out of Memory") {
		return errors.New(line)
	}
	return fileError(errors.New(line))
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// readSorted passes the rows that sortParquet wrote to use. A batch is valid until use returns.
func readSorted(path string, use func(*ingest.Batch) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := parquet.NewGenericReader[parquetRow](file)
	defer reader.Close()
	rows := make([]parquetRow, rowsPerBatch)
	b := &ingest.Batch{}
	for {
		n, err := reader.Read(rows)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the sorted rows: %w", err)
		}
		b.Trades, b.Positions = b.Trades[:0], b.Positions[:0]
		for _, r := range rows[:n] {
			b.Trades, b.Positions = append(b.Trades, r.Trade), append(b.Positions, r.Row+1)
		}
		if err := use(b); err != nil {
			return err
		}
		if err != nil {
			return nil
		}
	}
}

// feedOfParquet reads the feed from a file's metadata. It is empty if tapedeck did not write the
// file.
func feedOfParquet(s *source) (feed tape.Feed, err error) {
	defer func() {
		if p := recover(); p != nil { // the library panics on a damaged footer
			feed, err = "", fmt.Errorf("damaged footer: %v", p)
		}
	}()
	file, err := parquet.OpenFile(s.file, s.size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return "", fmt.Errorf("not a complete Parquet file: %w", err)
	}
	name, ok := file.Lookup("tapedeck.feed")
	if !ok {
		return "", nil
	}
	return tape.ParseFeed(name)
}
