package tape

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"tapedeck/internal/state"
)

// Alert is one row of alerts: a detector's finding. (Detector, Symbol, At) identifies it.
type Alert struct {
	Detector string `parquet:"detector,dict,id(1)"`
	Symbol   string `parquet:"symbol,dict,id(2)"`
	// At is the instant from which it could be detected, in microseconds since the epoch, UTC.
	At int64 `parquet:"at,timestamp(microsecond:local),id(3)"`
	// Score is in the detector's own unit, larger is stronger.
	Score float64 `parquet:"score,id(4)"`
	// Severity is low, medium or high.
	Severity string `parquet:"severity,dict,id(5)"`
	Message  string `parquet:"message,id(6)"`
	// FirstID and LastID bound the trades that caused it.
	FirstID int64 `parquet:"first_id,id(7)"`
	LastID  int64 `parquet:"last_id,id(8)"`
	// Extra holds the detector's other columns as a JSON object.
	Extra string `parquet:"extra,json,id(9)"`
	// RunID is the run that found it.
	RunID string `parquet:"run_id,dict,id(10)"`
	// FoundAt is when it was found, in microseconds since the epoch, UTC.
	FoundAt int64 `parquet:"found_at,timestamp(microsecond:local),id(11)"`
}

// Run is one row of runs: what a job did. Times are in microseconds since the epoch, UTC; zero is
// NULL.
type Run struct {
	ID          string `parquet:"id,id(1)"`
	Job         string `parquet:"job,dict,id(2)"`
	Command     string `parquet:"command,dict,id(3)"`
	WindowStart int64  `parquet:"window_start,optional,timestamp(microsecond:local),id(4)"`
	WindowEnd   int64  `parquet:"window_end,optional,timestamp(microsecond:local),id(5)"`
	ScheduledAt int64  `parquet:"scheduled_at,optional,timestamp(microsecond:local),id(6)"`
	StartedAt   int64  `parquet:"started_at,optional,timestamp(microsecond:local),id(7)"`
	FinishedAt  int64  `parquet:"finished_at,optional,timestamp(microsecond:local),id(8)"`
	Attempt     int32  `parquet:"attempt,id(9)"`
	// Outcome is how it ended.
	Outcome state.Outcome `parquet:"outcome,dict,id(10)"`
	// Exit is the exit status, or -1 if there is none.
	Exit    int32  `parquet:"exit,id(11)"`
	Rows    int64  `parquet:"rows,id(12)"`
	Bytes   int64  `parquet:"bytes,id(13)"`
	Message string `parquet:"message,id(14)"`
	// Output is the end of the run's output, a few KiB at most.
	Output string `parquet:"output,optional,id(15)"`
}

// CoverageRow is one row of coverage: how complete the record of a symbol is on a UTC day.
type CoverageRow struct {
	Symbol string `parquet:"symbol,dict,id(1)"`
	// FirstID and LastID are the first and last id on the tape that day, NULL on a day without trades.
	FirstID *int64 `parquet:"first_id,optional,id(2)"`
	LastID  *int64 `parquet:"last_id,optional,id(3)"`
	// Trades is the number of ids on the tape, Missing of those that can still be fetched,
	// AbsentAtSource of those that the exchange itself does not have.
	Trades         int64 `parquet:"trades,id(4)"`
	Missing        int64 `parquet:"missing,id(5)"`
	AbsentAtSource int64 `parquet:"absent_at_source,id(6)"`
	// Conflicts is the number of conflicts of trades of that day that are not resolved. Files of earlier
	// versions do not have it.
	Conflicts int64 `parquet:"conflicts,id(7)"`
	// State is proven, open, gap, absent or dropped.
	State string `parquet:"state,dict,id(8)"`
	// CheckedAt is the time of the check, in microseconds since the epoch, UTC.
	CheckedAt int64 `parquet:"checked_at,timestamp(microsecond:local),id(9)"`
}

// PublishAlerts adds alerts to the tape, in the partitions of their At. An alert that is there
// already, by (Detector, Symbol, At), or is repeated in the call, is dropped. When it returns
// without an error, all of them are durable. After an error some of them may be on the tape.
func (d *Dir) PublishAlerts(ctx context.Context, alerts []Alert) (Published, error) {
	type identity struct {
		detector, symbol string
		at               int64
	}
	isNew := newRecord(d.catalog, Alerts, func(a Alert) identity { return identity{a.Detector, a.Symbol, a.At} })
	return publishRecords(ctx, d.publisher, Alerts, alerts, func(a Alert) int64 { return a.At }, isNew)
}

// newRecord returns a function that reports whether a row's identity occurs for the first time,
// neither on the tape nor in an earlier call.
func newRecord[T any, K comparable](c catalog, table Table, identity func(T) K) func(date string, row T) (bool, error) {
	published := map[string]map[K]bool{} // by date
	return func(date string, row T) (bool, error) {
		if published[date] == nil {
			published[date] = map[K]bool{}
			existing, err := readDate[T](c, table, date)
			if err != nil {
				return false, err
			}
			for _, old := range existing {
				published[date][identity(old)] = true
			}
		}
		key := identity(row)
		isNew := !published[date][key]
		published[date][key] = true
		return isNew, nil
	}
}

// PublishRuns adds run records to the tape, in the partitions of their FinishedAt, or of their
// ScheduledAt if that is zero. When it returns without an error, all of them are durable.
func (d *Dir) PublishRuns(ctx context.Context, runs []Run) (Published, error) {
	at := func(r Run) int64 {
		if r.FinishedAt != 0 {
			return r.FinishedAt
		}
		return r.ScheduledAt
	}
	isNew := func(string, Run) (bool, error) { return true, nil }
	return publishRecords(ctx, d.publisher, Runs, runs, at, isNew)
}

// publishRecords writes the rows that isNew accepts into one new segment for each date of at.
func publishRecords[T any](
	ctx context.Context, p *publisher, table Table, rows []T,
	at func(T) int64, isNew func(date string, row T) (bool, error),
) (Published, error) {
	unlock, err := p.lockUntil(ctx)
	if err != nil {
		return Published{}, err
	}
	defer unlock()
	return publishRecordsLocked(ctx, p, table, rows, at, isNew)
}

// publishRecordsLocked is publishRecords for a caller that holds the writers' lock.
func publishRecordsLocked[T any](
	ctx context.Context, p *publisher, table Table, rows []T,
	at func(T) int64, isNew func(date string, row T) (bool, error),
) (Published, error) {
	var out Published
	byDate := map[string][]T{}
	partial := map[string]bool{} // dates of which rows were dropped
	for _, row := range rows {
		date := DateOf(at(row))
		ok, err := isNew(date, row)
		if err != nil {
			return out, err
		}
		if !ok {
			out.Dropped++
			partial[date] = true
			continue
		}
		byDate[date] = append(byDate[date], row)
	}
	for _, date := range slices.Sorted(maps.Keys(partial)) {
		if err := p.sync(table, date); err != nil {
			return out, err
		}
	}
	for _, date := range slices.Sorted(maps.Keys(byDate)) {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		staged, bytes, err := p.staging.write(stagedName(string(table)), rowsWriter(byDate[date]))
		if err != nil {
			return out, err
		}
		path, err := p.publish(staged, table, date)
		if err != nil {
			p.staging.remove(staged)
			return out, err
		}
		out.add(path, int64(len(byDate[date])), bytes)
	}
	return out, nil
}

// rowsWriter returns a function that writes rows as Parquet.
func rowsWriter[T any](rows []T) func(io.Writer) error {
	return func(w io.Writer) error { return encodeRows(w, rows) }
}

// MergeRecords merges the segments of one date of a table of records, which is every table except
// trades and coverage, into one, in one atomic step, if there are more than limit. It returns how many there were and whether it merged them. A file that
// cannot be read stays where it is.
func (d *Dir) MergeRecords(
	ctx context.Context, table Table, date string, limit int,
) (before int, merged bool, err error) {
	switch table {
	case Alerts:
		return mergeRecords[Alert](ctx, d.publisher, table, date, limit)
	case Runs:
		return mergeRecords[Run](ctx, d.publisher, table, date, limit)
	case Conflicts:
		return mergeRecords[Conflict](ctx, d.publisher, table, date, limit)
	case Recorder:
		return mergeRecords[RecorderEvent](ctx, d.publisher, table, date, limit)
	case Drops:
		return mergeRecords[Drop](ctx, d.publisher, table, date, limit)
	}
	return 0, false, fmt.Errorf("merge the records of %q: it is not a table of records", table)
}

func mergeRecords[T any](ctx context.Context, p *publisher, table Table, date string, limit int) (int, bool, error) {
	unlock, err := p.lock()
	if err != nil {
		return 0, false, err
	}
	defer unlock()
	names, err := p.catalog.files(table, date)
	if err != nil || len(names) <= limit {
		return len(names), false, err
	}
	var rows []T
	replaced := map[string]bool{}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return len(names), false, err
		}
		part, err := readRows[T](p.catalog.segment(table, date, name))
		if err != nil {
			continue
		}
		rows = append(rows, part...)
		replaced[name] = true
	}
	if len(replaced) <= 1 {
		return len(names), false, nil
	}
	staged, _, err := p.staging.write(stagedName(string(FromCompact)), rowsWriter(rows))
	if err != nil {
		return len(names), false, err
	}
	rep := &replacement{table: table, date: date, staged: []string{staged}, replaced: replaced}
	if _, err := p.replacer.replace(rep); err != nil {
		p.staging.remove(staged)
		return len(names), false, err
	}
	return len(names), true, nil
}

// ReadAlerts reads the alerts of the partitions from fromDate to toDate, both included. An empty
// date leaves that end open. Files that cannot be read are skipped.
func (d *Dir) ReadAlerts(fromDate, toDate string) ([]Alert, error) {
	return readTable[Alert](d.catalog, Alerts, fromDate, toDate)
}

// ReadRuns reads run records as ReadAlerts reads alerts.
func (d *Dir) ReadRuns(fromDate, toDate string) ([]Run, error) {
	return readTable[Run](d.catalog, Runs, fromDate, toDate)
}

func readTable[T any](c catalog, table Table, fromDate, toDate string) ([]T, error) {
	parts, _, err := readSegments(c, table, fromDate, toDate, func(date, name string) ([]T, error) {
		return readRows[T](c.segment(table, date, name))
	})
	return slices.Concat(parts...), err
}

// readDate reads all rows of one partition. Files that cannot be read are skipped.
func readDate[T any](c catalog, table Table, date string) ([]T, error) {
	parts, _, err := readPartition(c, table, date, func(name string) ([]T, error) {
		return readRows[T](c.segment(table, date, name))
	})
	return slices.Concat(parts...), err
}
