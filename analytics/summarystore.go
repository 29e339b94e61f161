package analytics

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	mapping "github.com/duckdb/duckdb-go-bindings"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// What a summary has of a day that is over is stored in a file of its own, state.SummaryDir/NAME/DATE-KEY.parquet
// below the state directory. The key is a hash of everything that the rows depend on: the text of the
// summary, DuckDB's version, the day's segments with size and time and, if the summary reads gaps, those that touch the day.
// So a file that exists is right, whoever wrote it, and it can be deleted at any time.

// summaryKeyBytes is the length of a key in bytes.
const summaryKeyBytes = 16

// storedSummary is a summary with the dates of the session that are stored, and their files.
type storedSummary struct {
	Query
	dates, files []string
}

// summaryDay is a UTC date of the tape: its segments, and whether trades of a later date are on the tape.
type summaryDay struct {
	date     string
	segments []string
	versions []string // the names, sizes and modification times of the segments, as verify knows them
	isOver   bool
	gaps     [][]driver.Value // that touch the date, of all symbols
}

// loadSummaries makes the summaries of Options.Stored read what is stored of the days that are over. What is
// not stored yet is stored first, unless store is false.
func (s *Session) loadSummaries(ctx context.Context, store bool) error {
	return s.retryFiles(ctx, func() error { return s.tryLoadSummaries(ctx, store) })
}

// retryFiles calls try. While its error is about a file of the tape that was replaced, or about a file that is
// damaged and can be left out, it calls it again, over what is on the tape then.
func (s *Session) retryFiles(ctx context.Context, try func() error) error {
	for tries := 0; ; tries++ {
		err := try()
		if err == nil || ctx.Err() != nil || tries == maxRetries {
			return err
		}
		if s.forgetSummary(err) {
			continue
		}
		if !errors.Is(err, errSegmentLeftOut) {
			if !isMissingFile(err) {
				return err
			}
			if err := s.opt.Index.Refresh(ctx); err != nil { // segments were replaced meanwhile
				return err
			}
		}
		if err := s.createViews(ctx); err != nil {
			return err
		}
	}
}

func (s *Session) tryLoadSummaries(ctx context.Context, store bool) error {
	if len(s.opt.Stored) == 0 || !s.opt.Cutoff.IsZero() { // behind a cutoff, a day is not what the tape has of it
		return nil
	}
	p, err := s.planSummaries()
	if err != nil {
		return err
	}
	if store {
		if err := s.storeSummaries(ctx, p, func(what string, err error) { // the query that needs it fails as well, and says why
			s.log.Debug("a summary is not stored", "what", what, "error", err)
		}); err != nil && !errors.Is(err, errNotWritable) {
			return err
		}
	}
	for _, summary := range p.stored {
		if err := s.readStored(ctx, summary); err != nil {
			return err
		}
	}
	return nil
}

// summaryPlan is the summaries of Options.Stored, the days of the session, and what of them is not stored.
type summaryPlan struct {
	stored  []*storedSummary
	days    []summaryDay
	missing map[string][]*storedSummary // by date
}

// planSummaries makes the summaries use what is stored.
func (s *Session) planSummaries() (summaryPlan, error) {
	p := summaryPlan{missing: map[string][]*storedSummary{}}
	for _, summary := range s.summaries() {
		if slices.Contains(s.opt.Stored, summary.Name) {
			p.stored = append(p.stored, &storedSummary{Query: summary})
		}
	}
	if len(p.stored) == 0 {
		return p, nil
	}
	var err error
	if p.days, err = s.summaryDays(); err != nil {
		return p, err
	}
	for _, summary := range p.stored {
		have := s.storedFiles(summary.Name)
		for _, day := range p.days {
			if name := summary.file(day); have[name] {
				summary.use(s, day)
			} else if day.isOver {
				p.missing[day.date] = append(p.missing[day.date], summary)
			}
		}
	}
	return p, nil
}

// summaryDays returns the dates of the tape that overlap the session's window, in ascending order.
func (s *Session) summaryDays() (days []summaryDay, err error) {
	segments, err := s.segments(tape.Trades, s.opt.From, s.opt.To)
	if err != nil {
		return nil, err
	}
	for _, path := range segments {
		date := strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "date=")
		if len(days) == 0 || days[len(days)-1].date != date {
			days = append(days, summaryDay{date: date})
		}
		day := &days[len(days)-1]
		day.segments = append(day.segments, path)
		version := path
		if info, err := os.Stat(filepath.Join(s.root, path)); err == nil { // reading it says that it is missing
			version = fmt.Sprintf("%s %d %d", path, info.Size(), info.ModTime().UnixNano())
		}
		day.versions = append(day.versions, version)
	}
	newest := ""
	for symbol, bounds := range s.opt.Index.AllBounds() {
		newest = max(newest, bounds.LastAt.UTC().Format(time.DateOnly))
		for _, gap := range s.opt.Index.Gaps(symbol) {
			row := []driver.Value{symbol, gap.First, gap.Last, nullableTime(gap.After), nullableTime(gap.Before)}
			first, last := gap.After.UTC().Format(time.DateOnly), gap.Before.UTC().Format(time.DateOnly)
			for i := range days {
				if days[i].date == first || days[i].date == last {
					days[i].gaps = append(days[i].gaps, row)
				}
			}
		}
	}
	for i := range days {
		days[i].isOver = days[i].date < newest
	}
	return days, nil
}

// file returns the name of the file with the rows of a day.
func (q *storedSummary) file(day summaryDay) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%d\n%s\n", mapping.LibraryVersion(), len(q.Text), q.Text)
	for _, version := range day.versions {
		fmt.Fprintln(sum, version)
	}
	if q.ReadsRelation("gaps") {
		for _, gap := range day.gaps {
			fmt.Fprintf(sum, "%q\n", gap)
		}
	}
	return day.date + "-" + hex.EncodeToString(sum.Sum(nil)[:summaryKeyBytes]) + ".parquet"
}

// use makes the summary read the file of a day.
func (q *storedSummary) use(s *Session, day summaryDay) {
	q.dates = append(q.dates, day.date)
	q.files = append(q.files, s.summaryPath(q.Name, q.file(day)))
}

// summaryPath returns the path of a file of a summary; without a name, that of its directory.
func (s *Session) summaryPath(summary, name string) string {
	return filepath.Join(s.root, filepath.Base(s.dir.State().Path("")), state.SummaryDir, summary, name)
}

// storedFiles returns the names of the files of a summary.
func (s *Session) storedFiles(summary string) map[string]bool {
	names := map[string]bool{}
	entries, _ := os.ReadDir(s.summaryPath(summary, "")) // none if it cannot be listed
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			names[entry.Name()] = true
		}
	}
	return names
}

// computedSchema has, for each summary of a session with a window, the rows that are not stored.
const computedSchema = "computed"

// readStored makes the macro of a summary read the stored days from their files. The rest is computed from
// trades: other days, and the first and the last hour if the window cuts them. Of a session with a window,
// the rest of exactly that window is computed once, because many sections read it.
func (s *Session) readStored(ctx context.Context, summary *storedSummary) error {
	window := ""
	rest := summary.overTrades("SELECT * FROM main.trades WHERE " + summary.restCondition(windowStart, windowEnd))
	if !s.opt.From.IsZero() && !s.opt.To.IsZero() {
		from, to := Timestamp(s.opt.From), Timestamp(s.opt.To)
		table := computedSchema + "." + summary.Name
		err := exec(ctx, s.db, "CREATE SCHEMA IF NOT EXISTS "+computedSchema, fmt.Sprintf("CREATE OR REPLACE TABLE %s AS %s", table,
			summary.overTrades("SELECT * FROM main.trades WHERE "+summary.restCondition(from, to))))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case isMissingFile(err):
			return err
		case s.isDamage(ctx, err):
			return errSegmentLeftOut
		case err != nil: // the query that needs it fails as well, and says why
			s.log.Debug("a summary is not computed", "summary", summary.Name, "error", err)
		default:
			window = fmt.Sprintf("%s = %s AND %s = %s", windowStart, from, windowEnd, to)
			rest = fmt.Sprintf("SELECT * FROM %s WHERE %s UNION ALL SELECT * FROM (%s) WHERE NOT (%s)", table, window, rest, window)
		}
	}
	if len(summary.dates) == 0 {
		return exec(ctx, s.db, summaryMacro(summary.Query, rest))
	}
	return exec(ctx, s.db, summaryMacro(summary.Query, s.selectStored(summary)+" UNION ALL "+rest))
}

// restCondition is the condition on the trades in [since, until), expressions of SQL, of which no rows are
// stored.
func (q *storedSummary) restCondition(since, until string) string {
	condition := strings.ReplaceAll(strings.ReplaceAll(inWindow, windowStart, since), windowEnd, until)
	if len(q.dates) == 0 {
		return condition
	}
	dates := make([]string, len(q.dates))
	for i, date := range q.dates {
		dates[i] = "DATE '" + date + "'"
	}
	isOther := "date NOT IN (" + strings.Join(dates, ", ") + ")"
	// The first condition skips whole files, the second one rows.
	return fmt.Sprintf("%[1]s AND (%[2]s OR date = (%[3]s)::DATE AND %[3]s <> date_trunc('hour', %[3]s) "+
		"OR date = (%[4]s)::DATE AND %[4]s <> date_trunc('hour', %[4]s)) "+
		"AND (%[2]s OR traded_at < date_trunc('hour', %[3]s - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR OR traded_at >= date_trunc('hour', %[4]s))",
		condition, isOther, since, until)
}

// selectStored returns a SELECT of the stored hours that lie in the window of the macro.
func (s *Session) selectStored(summary *storedSummary) string {
	names := make([]string, len(summary.Columns))
	for i, column := range summary.Columns {
		names[i] = fmt.Sprintf("stored.%q", column.Name)
	}
	source := fmt.Sprintf("SELECT %s FROM read_parquet(%s) AS stored WHERE stored.hour >= %s AND stored.hour + INTERVAL 1 HOUR <= %s",
		strings.Join(names, ", "), pathList(summary.files), windowStart, windowEnd)
	if len(s.opt.Symbols) > 0 {
		source += " AND stored.symbol IN " + s.symbolList()
	}
	return source
}

// forgetSummary deletes the stored file that an error is about, because it cannot be read. It reports
// whether there is one; a file that another session has deleted counts.
func (s *Session) forgetSummary(err error) bool {
	start := strings.Index(err.Error(), s.summaryPath("", "")+string(filepath.Separator))
	if start < 0 {
		return false
	}
	path, _, found := strings.Cut(err.Error()[start:], ".parquet")
	if !found || strings.Contains(path, "..") {
		return false
	}
	if removed := os.Remove(path + ".parquet"); removed == nil {
		s.log.Warn("a stored summary cannot be read and is deleted; it is computed again", "file", path+".parquet", "error", err.Error())
	}
	return true
}
