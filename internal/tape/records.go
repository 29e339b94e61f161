package tape

import (
	"context"
	"io"
	"path/filepath"
	"slices"

	"tapedeck/internal/durable"
	"tapedeck/internal/state"
)

// Alert is one row of alerts: a detector's finding. (detector, symbol, at) identifies it.
type Alert struct {
	Detector string `parquet:"detector,dict"`
	Symbol   string `parquet:"symbol,dict"`
	// At is the instant from which it could be known, in microseconds since the epoch, UTC.
	At int64 `parquet:"at,timestamp(microsecond:local)"`
	// Score is in the detector's own unit, larger is stronger.
	Score float64 `parquet:"score"`
	// Severity is low, medium or high.
	Severity string `parquet:"severity,dict"`
	Message  string `parquet:"message"`
	// FirstID and LastID bound the trades that it is about.
	FirstID int64 `parquet:"first_id"`
	LastID  int64 `parquet:"last_id"`
	// Extra holds the detector's other columns as a JSON object.
	Extra string `parquet:"extra,json"`
	// RunID names the run that found it, and FoundAt is when, in microseconds since the epoch, UTC.
	RunID   string `parquet:"run_id,dict"`
	FoundAt int64  `parquet:"found_at,timestamp(microsecond:local)"`
}

// Run is one row of runs: what a job did. Times are in microseconds since the epoch, UTC; zero is NULL.
type Run struct {
	ID          string `parquet:"id"`
	Job         string `parquet:"job,dict"`
	Command     string `parquet:"command,dict"`
	WindowStart int64  `parquet:"window_start,optional,timestamp(microsecond:local)"`
	WindowEnd   int64  `parquet:"window_end,optional,timestamp(microsecond:local)"`
	ScheduledAt int64  `parquet:"scheduled_at,optional,timestamp(microsecond:local)"`
	StartedAt   int64  `parquet:"started_at,optional,timestamp(microsecond:local)"`
	FinishedAt  int64  `parquet:"finished_at,optional,timestamp(microsecond:local)"`
	Attempt     int32  `parquet:"attempt"`
	// Outcome says how it ended.
	Outcome state.Outcome `parquet:"outcome,dict"`
	// Exit is the exit status, -1 where there is none.
	Exit    int32  `parquet:"exit"`
	Rows    int64  `parquet:"rows"`
	Bytes   int64  `parquet:"bytes"`
	Message string `parquet:"message"`
	// Output is the end of what the run printed, a few KiB at most.
	Output string `parquet:"output,optional"`
}

// CoverageRow is one row of coverage: how complete the record of a symbol is on a UTC day.
type CoverageRow struct {
	Symbol string `parquet:"symbol,dict"`
	// FirstID and LastID are the ends of what is on the tape that day; NULL on a day without trades.
	FirstID *int64 `parquet:"first_id,optional"`
	LastID  *int64 `parquet:"last_id,optional"`
	// Trades counts the ids on the tape, Missing those that are not and could be had, AbsentAtSource those that the exchange itself does not have.
	Trades         int64 `parquet:"trades"`
	Missing        int64 `parquet:"missing"`
	AbsentAtSource int64 `parquet:"absent_at_source"`
	// State is proven, open, gap or absent.
	State string `parquet:"state,dict"`
	// CheckedAt is when that was found, in microseconds since the epoch, UTC.
	CheckedAt int64 `parquet:"checked_at,timestamp(microsecond:local)"`
}

// PublishAlerts puts alerts on the tape, in the partitions of their At. What is there already by (detector, symbol, at), or stands twice in the call, is dropped.
func (d *Dir) PublishAlerts(ctx context.Context, alerts []Alert) (Published, error) {
	type identity struct {
		detector, symbol string
		at               int64
	}
	seen := map[string]map[identity]bool{}
	return publishRows(ctx, d, Alerts, alerts, func(a Alert) int64 { return a.At }, func(date string, a Alert) (bool, error) {
		if seen[date] == nil {
			seen[date] = map[identity]bool{}
			there, err := readDate[Alert](d, Alerts, date)
			if err != nil {
				return false, err
			}
			for _, old := range there {
				seen[date][identity{old.Detector, old.Symbol, old.At}] = true
			}
		}
		key := identity{a.Detector, a.Symbol, a.At}
		if seen[date][key] {
			return false, nil
		}
		seen[date][key] = true
		return true, nil
	})
}

// PublishRuns puts run records on the tape, in the partitions of their FinishedAt (else ScheduledAt).
func (d *Dir) PublishRuns(ctx context.Context, runs []Run) (Published, error) {
	at := func(r Run) int64 {
		if r.FinishedAt != 0 {
			return r.FinishedAt
		}
		return r.ScheduledAt
	}
	return publishRows(ctx, d, Runs, runs, at, func(string, Run) (bool, error) { return true, nil })
}

// publishRows writes rows into one new segment for each date of at, leaving out those that wanted refuses.
func publishRows[T any](ctx context.Context, d *Dir, table Table, rows []T, at func(T) int64, wanted func(date string, row T) (bool, error)) (Published, error) {
	var out Published
	unlock, err := d.lock(writersLock)
	if err != nil {
		return out, err
	}
	defer unlock()
	byDate := map[string][]T{}
	there := map[string]bool{} // dates of which rows were left out
	var dates []string
	for _, row := range rows {
		date := DateOf(at(row))
		ok, err := wanted(date, row)
		if err != nil {
			return out, err
		}
		if !ok {
			out.Dropped++
			there[date] = true
			continue
		}
		if byDate[date] == nil {
			dates = append(dates, date)
		}
		byDate[date] = append(byDate[date], row)
	}
	slices.Sort(dates)
	for _, date := range sortedKeys(there) {
		if err := d.settle(table, date); err != nil {
			return out, err
		}
	}
	for _, date := range dates {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		name, bytes, err := publishTable(d, table, date, byDate[date])
		if err != nil {
			return out, err
		}
		out.Rows += int64(len(byDate[date]))
		out.Bytes += bytes
		out.Segments = append(out.Segments, name)
	}
	return out, nil
}

func publishTable[T any](d *Dir, table Table, date string, rows []T) (name string, bytes int64, err error) {
	file := durable.UniqueName(string(table), ".parquet")
	staged, bytes, err := d.stage(file+".tmp", rowsWriter(rows))
	if err != nil {
		return "", 0, err
	}
	name = filepath.Join(string(table), "date="+date, file)
	if err := d.place(staged, name); err != nil {
		d.disk.Remove(staged)
		return "", 0, err
	}
	return name, bytes, nil
}

// rowsWriter gives what writes rows as Parquet.
func rowsWriter[T any](rows []T) func(io.Writer) error {
	return func(w io.Writer) error { return encodeRows(w, rows) }
}

// readDate reads all rows of one partition; files that cannot be read are passed over.
func readDate[T any](d *Dir, table Table, date string) ([]T, error) {
	parts, _, err := eachFileOf(d, table, date, func(date, name string) ([]T, error) {
		return readRows[T](filepath.Join(d.path, string(table), "date="+date, name))
	})
	return slices.Concat(parts...), err
}

// ReadAlerts reads the alerts of the partitions from fromDate to toDate, both included.
func (d *Dir) ReadAlerts(fromDate, toDate string) ([]Alert, error) {
	return readTable[Alert](d, Alerts, fromDate, toDate)
}

// ReadRuns reads the run records of the partitions from fromDate to toDate, both included.
func (d *Dir) ReadRuns(fromDate, toDate string) ([]Run, error) {
	return readTable[Run](d, Runs, fromDate, toDate)
}

func readTable[T any](d *Dir, table Table, fromDate, toDate string) ([]T, error) {
	dates, err := d.dates(table, fromDate, toDate)
	if err != nil {
		return nil, err
	}
	var out []T
	for _, date := range dates {
		rows, err := readDate[T](d, table, date)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	return out, nil
}
