package tape

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// MergePart is one file that a compaction is to write: all rows of some symbols from some segments of one date, sorted by (symbol, id).
type MergePart struct {
	Symbols []string // sorted; the part holds all rows of the symbols from the first to the last of them
	Rows    int64
	// Metadata goes into the file's key-value metadata as it stands.
	Metadata map[string]string
}

// PlanMerge splits the rows of some segments of one date into files of at most about maxRows rows, a symbol never in two.
func (d *Dir) PlanMerge(date string, segments []Segment, maxRows int64) ([]MergePart, error) {
	sets := map[string]*timedSet{}
	inexact := int64(0)
	for _, s := range segments {
		path := filepath.Join(d.path, s.Path)
		spans, err := segmentSpans(path)
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", s.Path, err)
		}
		for symbol, runs := range spans {
			if sets[symbol] == nil {
				sets[symbol] = &timedSet{}
			}
			sets[symbol].add(runs)
		}
		origin, err := d.OriginOf(s)
		if err != nil {
			return nil, err
		}
		inexact += origin.Inexact
	}
	var parts []MergePart
	spans := map[string][]timedSpan{}
	part := MergePart{}
	finish := func() error {
		text, err := json.Marshal(spans)
		if err != nil {
			return err
		}
		origin, err := json.Marshal(Origin{Source: FromCompact, Detail: fmt.Sprintf("%d segments", len(segments)), Inexact: inexact})
		if err != nil {
			return err
		}
		part.Metadata = map[string]string{spansKey: string(text), originKey: string(origin), feedKey: string(d.Feed())}
		parts = append(parts, part)
		part, spans = MergePart{}, map[string][]timedSpan{}
		return nil
	}
	for _, symbol := range sortedKeys(sets) {
		var rows int64
		for _, run := range sets[symbol].runs {
			rows += run.last - run.first + 1
		}
		if part.Rows > 0 && part.Rows+rows > maxRows {
			if err := finish(); err != nil {
				return nil, err
			}
		}
		part.Symbols = append(part.Symbols, symbol)
		part.Rows += rows
		spans[symbol] = sets[symbol].runs
	}
	if part.Rows > 0 {
		if err := finish(); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// OriginOf reads where a segment's rows came from; the zero Origin for a file that another program wrote.
func (d *Dir) OriginOf(s Segment) (Origin, error) {
	file, _, err := openParquet(filepath.Join(d.path, s.Path))
	if err != nil {
		return Origin{}, fmt.Errorf("read %q: %w", s.Path, err)
	}
	defer file.close()
	var origin Origin
	if text, ok := file.Lookup(originKey); ok {
		if err := json.Unmarshal([]byte(text), &origin); err != nil {
			return Origin{}, fmt.Errorf("read the metadata of %q: %w", s.Path, err)
		}
	}
	return origin, nil
}

// TimesOf gives the traded_at of the oldest and the newest row of a segment of trades; ok is false if it has none.
func (d *Dir) TimesOf(s Segment) (first, last time.Time, ok bool, err error) {
	spans, err := segmentSpans(filepath.Join(d.path, s.Path))
	if err != nil {
		return first, last, false, fmt.Errorf("read %q: %w", s.Path, err)
	}
	for _, runs := range spans {
		for _, run := range runs {
			if !ok || run.firstAt < first.UnixMicro() {
				first = timeOf(run.firstAt)
			}
			if !ok || run.lastAt > last.UnixMicro() {
				last = timeOf(run.lastAt)
			}
			ok = true
		}
	}
	return first, last, ok, nil
}

// IsCompacted says whether a compaction wrote the segment.
func (s Segment) IsCompacted() bool {
	return strings.HasPrefix(filepath.Base(s.Path), string(FromCompact)+"-")
}

// MergeRecords joins the segments of one date of alerts or runs into one, in one atomic step, if there are more than most of them.
// It gives how many there were, and whether it joined them.
func (d *Dir) MergeRecords(ctx context.Context, table Table, date string, most int) (before int, joined bool, err error) {
	switch table {
	case Alerts:
		return mergeRecords[Alert](d, table, date, most)
	case Runs:
		return mergeRecords[Run](d, table, date, most)
	}
	return 0, false, fmt.Errorf("merge the records of %q: it is not a table of records", table)
}

func mergeRecords[T any](d *Dir, table Table, date string, most int) (int, bool, error) {
	unlock, err := d.lock(writersLock)
	if err != nil {
		return 0, false, err
	}
	defer unlock()
	names, err := d.files(table, date)
	if err != nil || len(names) <= most {
		return len(names), false, err
	}
	slices.Sort(names)
	var rows []T
	replaced := map[string]bool{}
	for _, name := range names {
		part, err := readRows[T](filepath.Join(d.path, string(table), "date="+date, name))
		if err != nil {
			continue // a file that cannot be read stays where it is, for a person to look at
		}
		rows = append(rows, part...)
		replaced[name] = true
	}
	if len(replaced) <= 1 {
		return len(names), false, nil
	}
	staged, _, err := d.stage(uniqueName(string(FromCompact), ".parquet.tmp"), rowsWriter(rows))
	if err != nil {
		return len(names), false, err
	}
	if _, err := d.swapPartition(table, date, []string{staged}, replaced); err != nil {
		os.Remove(staged)
		return len(names), false, err
	}
	return len(names), true, nil
}

// Dates lists the partitions of a table, ascending.
func (d *Dir) Dates(table Table) ([]string, error) { return d.dates(table, "", "") }
