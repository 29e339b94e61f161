package tape

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
)

// Table is one of the directories of segments.
type Table string

// The tables.
const (
	Trades    Table = "trades"
	Alerts    Table = "alerts"
	Runs      Table = "runs"
	Coverage  Table = "coverage"
	Conflicts Table = "conflicts"
	Recorder  Table = "recorder"
	Drops     Table = "drops"
)

func allTables() []Table {
	return append([]Table{Trades, Alerts, Runs, Coverage}, laterTables()...)
}

// laterTables are the tables that a tape of an earlier version lacks until something is written to
// it.
func laterTables() []Table { return []Table{Conflicts, Recorder, Drops} }

// schemaOf returns a table's columns.
func schemaOf(table Table) *parquet.Schema {
	switch table {
	case Alerts:
		return parquet.SchemaOf(Alert{})
	case Runs:
		return parquet.SchemaOf(Run{})
	case Coverage:
		return parquet.SchemaOf(CoverageRow{})
	case Conflicts:
		return parquet.SchemaOf(Conflict{})
	case Recorder:
		return parquet.SchemaOf(RecorderEvent{})
	case Drops:
		return parquet.SchemaOf(Drop{})
	}
	return parquet.SchemaOf(Trade{})
}

// Segment is one published file.
type Segment struct {
	Table Table
	// Path is relative to the data directory: trades/date=2026-01-15/….parquet.
	Path string
	// Date is its partition, as in 2026-01-15.
	Date string
	// Rows is the number of rows in the file, Bytes its size.
	Rows, Bytes int64
}

func (s Segment) name() string { return filepath.Base(s.Path) }

// IsCompacted reports whether a compaction wrote the segment.
func (s Segment) IsCompacted() bool {
	return strings.HasPrefix(filepath.Base(s.Path), string(FromCompact)+"-")
}

// BrokenSegment is a published file that is left out: it cannot be read, or it is stray.
type BrokenSegment struct {
	// Path is relative to the data directory.
	Path string
	// Err is a *StrayError if the segment is stray.
	Err error
}

func (b BrokenSegment) Error() string {
	if b.IsStray() {
		return fmt.Sprintf("%s is left out: %v", b.Path, b.Err)
	}
	return fmt.Sprintf("%s cannot be read: %v", b.Path, b.Err)
}
func (b BrokenSegment) Unwrap() error { return b.Err }

// emptyDate is the partition of each table's segment without rows. It exists from the start, so
// that a glob always finds a file and a query on an empty tape returns no rows instead of an error.
const emptyDate = "1970-01-01"

// emptyPath returns the path of a table's segment without rows, relative to the data directory.
func emptyPath(table Table) string { return segmentPath(table, emptyDate, "empty.parquet") }

// catalog lists and reads the published segments. It writes nothing.
type catalog struct{ layout }

// dates lists the partitions of a table from one date to another, both included, in ascending
// order. An empty date leaves that end open.
func (c catalog) dates(table Table, from, to string) ([]string, error) {
	if from != "" && from == to && from != emptyDate {
		// A compaction asks for one date after another. To list thousands each time would be slow.
		if _, err := os.Stat(c.partition(table, from)); err == nil {
			return []string{from}, nil
		}
	}
	entries, err := os.ReadDir(c.table(table))
	if errors.Is(err, fs.ErrNotExist) && slices.Contains(laterTables(), table) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the tape: %w", err)
	}
	var out []string
	for _, entry := range entries {
		date, ok := strings.CutPrefix(entry.Name(), "date=")
		if !ok || date == emptyDate || from != "" && date < from || to != "" && date > to {
			continue
		}
		out = append(out, date)
	}
	slices.Sort(out)
	return out, nil
}

// files lists the names of one partition's segments in ascending order. A partition that does not
// exist has none.
func (c catalog) files(table Table, date string) ([]string, error) {
	entries, err := os.ReadDir(c.partition(table, date))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the tape: %w", err)
	}
	var out []string
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".parquet") {
			out = append(out, name)
		}
	}
	return out, nil
}

// Dates lists the partitions of a table, in ascending order.
func (d *Dir) Dates(table Table) ([]string, error) { return d.catalog.dates(table, "", "") }

// Segments lists the published files of a table in the partitions from fromDate to toDate, both
// included, in the order of their paths. An empty date leaves that end open. Files whose footer
// cannot be read are returned separately. The segments without rows that every table has are left
// out.
func (d *Dir) Segments(table Table, fromDate, toDate string) ([]Segment, []BrokenSegment, error) {
	return readSegments(d.catalog, table, fromDate, toDate, func(date, name string) (Segment, error) {
		return d.catalog.stat(table, date, name)
	})
}

// readSegments calls read for the files of a table in the partitions from fromDate to toDate, both
// included, in the order of their paths, and returns its results. Files for which it returns an
// error are returned as broken.
func readSegments[T any](
	c catalog, table Table, fromDate, toDate string, read func(date, name string) (T, error),
) (out []T, broken []BrokenSegment, err error) {
	dates, err := c.dates(table, fromDate, toDate)
	if err != nil {
		return nil, nil, err
	}
	for _, date := range dates {
		good, bad, err := readPartition(c, table, date, func(name string) (T, error) { return read(date, name) })
		if err != nil {
			return nil, nil, err
		}
		out, broken = append(out, good...), append(broken, bad...)
	}
	return out, broken, nil
}

// readPartition is readSegments for one partition. If a file vanishes because a compaction replaced
// it, readPartition starts again: the rows of that file are in one that was not listed.
func readPartition[T any](
	c catalog, table Table, date string, read func(name string) (T, error),
) (out []T, broken []BrokenSegment, err error) {
	missing := map[string]bool{}
	for {
		names, err := c.files(table, date)
		if err != nil {
			return nil, nil, err
		}
		out, broken = nil, nil
		vanished := ""
		for _, name := range names {
			found, err := read(name)
			switch {
			case err == nil:
				out = append(out, found)
			case !errors.Is(err, fs.ErrNotExist):
				broken = append(broken, BrokenSegment{segmentPath(table, date, name), err})
			case !missing[name]: // a file that is listed a second time is a dangling link, and is left out
				vanished = name
			}
			if vanished != "" {
				break
			}
		}
		if vanished == "" {
			return out, broken, nil
		}
		missing[vanished] = true
	}
}

// stat reads the footer of one file.
func (c catalog) stat(table Table, date, name string) (Segment, error) {
	segment, _, err := c.statFile(table, date, name)
	return segment, err
}

// statFile is stat, and returns the file, which is closed, with its footer.
func (c catalog) statFile(table Table, date, name string) (Segment, parquetFile, error) {
	segment := Segment{Table: table, Path: segmentPath(table, date, name), Date: date}
	file, size, err := openParquet(c.path(segment.Path))
	if err != nil {
		return segment, file, err
	}
	defer file.close()
	segment.Rows, segment.Bytes = file.NumRows(), size
	return segment, file, checkColumns(file, schemaOf(table))
}

// TradesOf is Segments for the trades of one date, and returns the segments that are stray among those of
// the date separately too.
func (d *Dir) TradesOf(date string) ([]Segment, []BrokenSegment, error) {
	footers := map[string]footer{} // by path; of files too that were replaced before the partition was listed again
	segments, broken, err := readPartition(d.catalog, Trades, date, func(name string) (Segment, error) {
		segment, file, err := d.catalog.statFile(Trades, date, name)
		if err != nil {
			return segment, err
		}
		found, known := footers[segment.Path]
		if !known {
			found = footerOf(d.catalog.path(segment.Path), file)
			found.name = name
			footers[segment.Path] = found
		}
		return segment, found.err
	})
	part := newPartition()
	for _, s := range segments {
		part.add(footers[s.Path], date, d.identity(), true)
	}
	if err != nil || !part.suspect {
		return segments, broken, err
	}
	strays := findStrays(d.identity(), part.candidates(date, nil))
	segments = slices.DeleteFunc(segments, func(s Segment) bool {
		stray := strays[s.Path]
		if stray != nil {
			broken = append(broken, BrokenSegment{s.Path, stray})
		}
		return stray != nil
	})
	return segments, broken, nil
}

// laterColumn is the column of coverage that files of earlier versions do not have. It is 0 there.
const laterColumn = "conflicts"

// checkColumns returns an error if a file lacks one of a table's columns. Such a file comes from
// another program and would make every query over the table fail.
func checkColumns(file parquetFile, table *parquet.Schema) error {
	for _, column := range table.Columns() {
		if column[0] == laterColumn {
			continue
		}
		if _, ok := file.Schema().Lookup(column...); !ok {
			return fmt.Errorf("has no column %q", column[0])
		}
	}
	return nil
}

// ReadTrades reads all rows of one segment of trades. path is relative to the data directory.
func (d *Dir) ReadTrades(path string) ([]Trade, error) { return readRows[Trade](d.catalog.path(path)) }

// TimeRange returns the traded_at of the oldest and the newest row of a segment of trades, UTC. ok
// is false if it has no rows.
func (d *Dir) TimeRange(s Segment) (first, last time.Time, ok bool, err error) {
	bySymbol, err := readRuns(d.catalog.path(s.Path))
	if err != nil {
		return first, last, false, fmt.Errorf("read %q: %w", s.Path, err)
	}
	for _, runs := range bySymbol {
		for _, run := range runs {
			if !ok || run.FirstAt < first.UnixMicro() {
				first = timeOf(run.FirstAt)
			}
			if !ok || run.LastAt > last.UnixMicro() {
				last = timeOf(run.LastAt)
			}
			ok = true
		}
	}
	return first, last, ok, nil
}
