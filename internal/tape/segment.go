package tape

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"tapedeck/internal/durable"

	"github.com/parquet-go/parquet-go"
)

// Table is one of the four directories of segments.
type Table string

// The tables.
const (
	Trades   Table = "trades"
	Alerts   Table = "alerts"
	Runs     Table = "runs"
	Coverage Table = "coverage"
)

// Segment is one published file.
type Segment struct {
	Table Table
	// Path is relative to the data directory: trades/date=2026-01-15/….parquet.
	Path string
	// Date is its partition, as in 2026-01-15.
	Date string
	// Rows in the file, and its size in bytes.
	Rows, Bytes int64
}

// BrokenSegment is a published file that cannot be read.
type BrokenSegment struct {
	// Path is relative to the data directory.
	Path string
	Err  error
}

func (b BrokenSegment) Error() string { return fmt.Sprintf("%s cannot be read: %v", b.Path, b.Err) }
func (b BrokenSegment) Unwrap() error { return b.Err }

// Keys of a segment's key-value metadata. spansKey holds, by symbol, the runs of ids and the times of their ends.
const (
	originKey = "tapedeck.origin"
	feedKey   = "tapedeck.feed"
	spansKey  = "tapedeck.spans"
)

// emptyDate is the partition of the one segment without rows that each table has from the start, so that a glob always
// finds a file and a query on an empty tape gives no rows instead of an error.
const emptyDate = "1970-01-01"

// timedSpan is a run of consecutive ids with the traded_at of its ends in microseconds.
type timedSpan struct{ first, last, firstAt, lastAt int64 }

// spansOf lists the runs of ids in trades that are sorted by (symbol, id).
func spansOf(trades []Trade) map[string][]timedSpan {
	out := map[string][]timedSpan{}
	addSpans(out, trades)
	return out
}

// addSpans adds to spans the runs of ids in trades that are sorted by (symbol, id) and come after those that spans holds.
func addSpans(spans map[string][]timedSpan, trades []Trade) {
	for start := 0; start < len(trades); {
		end := start + 1
		for end < len(trades) && trades[end].Symbol == trades[start].Symbol && trades[end].ID == trades[end-1].ID+1 {
			end++
		}
		first, last := trades[start], trades[end-1]
		runs := spans[first.Symbol]
		if n := len(runs); n > 0 && runs[n-1].last+1 == first.ID {
			runs[n-1].last, runs[n-1].lastAt = last.ID, last.TradedAt
		} else {
			runs = append(runs, timedSpan{first.ID, last.ID, first.TradedAt, last.TradedAt})
		}
		spans[first.Symbol] = runs
		start = end
	}
}

// rowGroupRows is DuckDB's own unit of parallel work, so that a scan of one large file uses every core.
const rowGroupRows = 122_880

// dictionaryLimit ends a dictionary that no longer pays, in bytes.
const dictionaryLimit = 1 << 20

func writerOptions() []parquet.WriterOption {
	return []parquet.WriterOption{
		parquet.DataPageVersion(2),
		// A codec of its own: the library shares one in the process, whose encoders hold channels that tests with a clock of their own must not share.
		parquet.Compression(newCodec()),
		parquet.MaxRowsPerRowGroup(rowGroupRows),
		parquet.DictionaryMaxBytes(dictionaryLimit),
		parquet.CreatedBy("tapedeck", "1", ""),
	}
}

// encoder writes trades as Parquet and keeps its buffers between files. It is not safe for concurrent use.
type encoder struct {
	writer *parquet.GenericWriter[Trade]
}

// encode writes trades, whose runs of ids are spans.
func (e *encoder) encode(w io.Writer, trades []Trade, spans map[string][]timedSpan, feed Feed, origin Origin) error {
	if e.writer == nil {
		e.writer = parquet.NewGenericWriter[Trade](w, writerOptions()...)
	} else {
		e.writer.Reset(w)
	}
	if err := setSegmentMetadata(e.writer, spans, feed, origin); err != nil {
		return err
	}
	if _, err := e.writer.Write(trades); err != nil {
		return err
	}
	return e.writer.Close()
}

func setSegmentMetadata(writer *parquet.GenericWriter[Trade], spans map[string][]timedSpan, feed Feed, origin Origin) error {
	ids, err := symbolSpans(spans).MarshalJSON()
	if err != nil {
		return err
	}
	from, err := json.Marshal(origin)
	if err != nil {
		return err
	}
	writer.SetKeyValueMetadata(spansKey, string(ids))
	writer.SetKeyValueMetadata(originKey, string(from))
	writer.SetKeyValueMetadata(feedKey, string(feed))
	return nil
}

// allTables are the directories of Parquet files.
func allTables() []Table { return []Table{Trades, Alerts, Runs, Coverage} }

// emptyName is a table's segment without rows.
func emptyName(table Table) string {
	return filepath.Join(string(table), "date="+emptyDate, "empty.parquet")
}

// layEmpty publishes the tables' segments without rows.
func (d *Dir) layEmpty(tables ...Table) error {
	writers := map[Table]func(io.Writer) error{
		Trades:   func(w io.Writer) error { return new(encoder).encode(w, nil, nil, d.Feed(), Origin{}) },
		Alerts:   func(w io.Writer) error { return encodeRows[Alert](w, nil) },
		Runs:     func(w io.Writer) error { return encodeRows[Run](w, nil) },
		Coverage: func(w io.Writer) error { return encodeRows[CoverageRow](w, nil) },
	}
	for _, table := range tables {
		staged, _, err := d.stage(durable.UniqueName("empty", ".tmp"), writers[table])
		if err != nil {
			return err
		}
		if err := d.place(staged, emptyName(table)); err != nil {
			return err
		}
	}
	return nil
}

// rowEncoder writes rows as Parquet and keeps its buffers between files: making them costs several times as much as writing a small file. It is not
// safe for concurrent use.
type rowEncoder[T any] struct {
	writer *parquet.GenericWriter[T]
}

func (e *rowEncoder[T]) encode(w io.Writer, rows []T) error {
	if e.writer == nil {
		e.writer = parquet.NewGenericWriter[T](w, writerOptions()...)
	} else {
		e.writer.Reset(w)
	}
	if _, err := e.writer.Write(rows); err != nil {
		return err
	}
	return e.writer.Close()
}

func encodeRows[T any](w io.Writer, rows []T) error { return new(rowEncoder[T]).encode(w, rows) }

// dates lists the partitions of a table between two dates, both included; an empty one leaves that end open.
func (d *Dir) dates(table Table, from, to string) ([]string, error) {
	if from != "" && from == to && from != emptyDate {
		// A compaction asks date by date: to list thousands for each would make it slower than in proportion.
		if _, err := os.Stat(filepath.Join(d.path, string(table), "date="+from)); err == nil {
			return []string{from}, nil
		}
	}
	entries, err := os.ReadDir(filepath.Join(d.path, string(table)))
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
	sort.Strings(out)
	return out, nil
}

// files lists the names of one partition's segments; none if the partition is not there.
func (d *Dir) files(table Table, date string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, string(table), "date="+date))
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

// Segments lists the published files of a table in the partitions from fromDate to toDate, both included (an empty one
// leaves that end open), in the order of their paths. Files whose footer cannot be read are listed apart. The segments without rows are left out.
func (d *Dir) Segments(table Table, fromDate, toDate string) ([]Segment, []BrokenSegment, error) {
	return eachFile(d, table, fromDate, toDate, func(date, name string) (Segment, error) { return d.look(table, date, name) })
}

// eachFile gives what look finds in the files of a table in the partitions from fromDate to toDate, both included, in the order of their paths, and lists those that
// it has an error for.
func eachFile[T any](d *Dir, table Table, fromDate, toDate string, look func(date, name string) (T, error)) (good []T, broken []BrokenSegment, err error) {
	dates, err := d.dates(table, fromDate, toDate)
	if err != nil {
		return nil, nil, err
	}
	for _, date := range dates {
		found, bad, err := eachFileOf(d, table, date, look)
		if err != nil {
			return nil, nil, err
		}
		good, broken = append(good, found...), append(broken, bad...)
	}
	return good, broken, nil
}

// eachFileOf is eachFile for one partition. Where a file vanishes under it, for a compaction replaced it, it begins anew: what that file held is in one that
// was not listed.
func eachFileOf[T any](d *Dir, table Table, date string, look func(date, name string) (T, error)) (good []T, broken []BrokenSegment, err error) {
	gone := map[string]bool{}
	for {
		names, err := d.files(table, date)
		if err != nil {
			return nil, nil, err
		}
		good, broken = nil, nil
		vanished := ""
		for _, name := range names {
			found, err := look(date, name)
			switch {
			case err == nil:
				good = append(good, found)
			case !errors.Is(err, fs.ErrNotExist):
				broken = append(broken, BrokenSegment{filepath.Join(string(table), "date="+date, name), err})
			case !gone[name]: // else it is listed and yet not there: a link to nothing
				vanished = name
			}
			if vanished != "" {
				break
			}
		}
		if vanished == "" {
			return good, broken, nil
		}
		gone[vanished] = true
	}
}

// look reads the footer of one file.
func (d *Dir) look(table Table, date, name string) (Segment, error) {
	segment := Segment{Table: table, Path: filepath.Join(string(table), "date="+date, name), Date: date}
	file, size, err := openParquet(filepath.Join(d.path, segment.Path))
	if err != nil {
		return segment, err
	}
	defer file.close()
	segment.Rows, segment.Bytes = file.NumRows(), size
	return segment, lacks(file, schemaOf(table))
}

// lacks says which column of a table a file does not have, if any: one that another program put there makes every query over the table fail, and its rows
// are not of that table.
func lacks(file parquetFile, table *parquet.Schema) error {
	for _, column := range table.Columns() {
		if _, ok := file.Schema().Lookup(column...); !ok {
			return fmt.Errorf("has no column %q", column[0])
		}
	}
	return nil
}

// schemaOf gives a table's columns.
func schemaOf(table Table) *parquet.Schema {
	switch table {
	case Alerts:
		return parquet.SchemaOf(Alert{})
	case Runs:
		return parquet.SchemaOf(Run{})
	case Coverage:
		return parquet.SchemaOf(CoverageRow{})
	}
	return parquet.SchemaOf(Trade{})
}

type parquetFile struct {
	*parquet.File
	os *os.File
}

func (f parquetFile) close() { f.os.Close() }

// openParquet opens a file and reads its footer.
func openParquet(path string) (parquetFile, int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return parquetFile{}, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return parquetFile{}, 0, err
	}
	footer, err := readFooter(file, info.Size())
	if err != nil {
		file.Close()
		return parquetFile{}, 0, err
	}
	return parquetFile{footer, file}, info.Size(), nil
}

// readFooter opens Parquet from r; a damaged footer that the library answers with a panic is an error here.
func readFooter(r io.ReaderAt, size int64) (file *parquet.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("damaged footer: %v", p)
		}
	}()
	return parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
}

// ReadTrades reads all rows of one segment of trades, given its path relative to the data directory.
func (d *Dir) ReadTrades(path string) ([]Trade, error) {
	return readRows[Trade](filepath.Join(d.path, path))
}

func readRows[T any](path string) (rows []T, err error) {
	file, _, err := openParquet(path)
	if err != nil {
		return nil, err
	}
	defer file.close()
	defer func() {
		if p := recover(); p != nil {
			rows, err = nil, fmt.Errorf("damaged content: %v", p)
		}
	}()
	if err := lacks(file, parquet.SchemaOf(*new(T))); err != nil {
		return nil, err
	}
	reader := parquet.NewGenericReader[T](file.File)
	defer reader.Close()
	rows = make([]T, file.NumRows())
	n := 0
	for n < len(rows) {
		k, err := reader.Read(rows[n:])
		n += k
		if err != nil && err != io.EOF {
			return nil, err
		}
		if k == 0 {
			break
		}
	}
	if n < len(rows) {
		return nil, fmt.Errorf("has %d of its %d rows", n, len(rows))
	}
	return rows, nil
}

// segmentSpans gives the ids of one segment of trades by symbol: from its metadata where tapedeck wrote it, else from its rows.
func segmentSpans(path string) (map[string][]timedSpan, error) {
	file, _, err := openParquet(path)
	if err != nil {
		return nil, err
	}
	text, ok := file.Lookup(spansKey)
	file.close()
	if !ok {
		trades, err := readRows[Trade](path)
		if err != nil {
			return nil, err
		}
		for i := range trades {
			if !tradeable(trades[i].TradedAt) {
				return nil, impossibleTime(int64(i), trades[i].TradedAt)
			}
		}
		slices.SortFunc(trades, compareTrades)
		return spansOf(slices.CompactFunc(trades, sameTrade)), nil
	}
	return parseSpans(text)
}

func compareTrades(a, b Trade) int {
	if c := strings.Compare(a.Symbol, b.Symbol); c != 0 {
		return c
	}
	switch {
	case a.ID < b.ID:
		return -1
	case a.ID > b.ID:
		return 1
	}
	return 0
}

func sameTrade(a, b Trade) bool { return a.ID == b.ID && a.Symbol == b.Symbol }
