package analytics

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/durable"
	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
)

// Written is what StoreSummaries did.
type Written struct {
	// Files is the number of files that were written, of Days UTC dates.
	Files, Days int
	// Swept is the number of files that were deleted because nothing reads them any more.
	Swept int
}

// StoreSummaries stores what is not stored yet of the UTC dates that are over and overlap [From, To) of the
// options, of all summaries of the options. Then it deletes the stored files that nothing reads any more; now
// is the time of the file system, which decides how long that has been so. Of the options, Symbols and those
// of what queries see are not used. An error is about what was not written; the rest was.
func StoreSummaries(ctx context.Context, dir *tape.Dir, opt Options, now time.Time) (written Written, err error) {
	s, err := Open(ctx, dir, Options{
		Threads: opt.Threads, MemoryLimit: opt.MemoryLimit, Tables: []tape.Table{}, From: opt.From, To: opt.To,
		Summaries: opt.Summaries, Progress: opt.Progress, Index: opt.Index, Logger: opt.Logger, disk: opt.disk,
	})
	if err != nil {
		return written, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, summary := range s.summaries() {
		s.opt.Stored = append(s.opt.Stored, summary.Name)
	}
	problems := map[string]error{} // the first one of each summary
	err = s.retryFiles(ctx, func() error {
		p, err := s.planSummaries()
		if err != nil {
			return err
		}
		before := p.files()
		err = s.storeSummaries(ctx, p, func(what string, err error) {
			if problems[what] == nil {
				problems[what] = fmt.Errorf("store the summary %s: %w", what, inOneLine(err))
			}
		})
		written.Files += p.files() - before
		for date, summaries := range p.missing {
			if slices.ContainsFunc(summaries, func(q *storedSummary) bool { return slices.Contains(q.dates, date) }) {
				written.Days++
			}
		}
		return err
	})
	if ctx.Err() != nil {
		return written, ctx.Err()
	}
	for _, summary := range s.summaries() {
		err = errors.Join(err, problems[summary.Name])
	}
	written.Swept = s.sweepSummaries(now)
	return written, err
}

// inOneLine returns an error whose text has one line: DuckDB's has several.
func inOneLine(err error) error {
	var known *duckdb.Error
	if errors.As(err, &known) {
		_, message := splitDuckError(known, "")
		return errors.New(message)
	}
	return err
}

// files is the number of files that the summaries use.
func (p *summaryPlan) files() (n int) {
	for _, summary := range p.stored {
		n += len(summary.files)
	}
	return n
}

// storeSummaries computes and stores what is missing, by date, and uses it. What cannot be computed is given to
// failed with the summary's name. Errors about segments that were replaced or are damaged, and an
// errNotWritable, are returned.
func (s *Session) storeSummaries(ctx context.Context, p summaryPlan, failed func(summary string, err error)) error {
	if len(p.missing) == 0 {
		return nil
	}
	display := s.opt.Progress
	if display == nil {
		display = progress.None{}
	}
	display.Begin("summaries of days", int64(len(p.missing)))
	done := int64(0)
	for _, day := range p.days {
		if len(p.missing[day.date]) == 0 {
			continue
		}
		for _, summary := range p.missing[day.date] {
			err := s.storeSummary(ctx, summary, day)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case isMissingFile(err):
				return err
			case s.isDamage(ctx, err):
				return errSegmentLeftOut
			case errors.Is(err, errNotWritable):
				s.log.Debug("summaries of days are not stored", "error", err)
				return err
			case err != nil:
				failed(summary.Name, err)
			default:
				summary.use(s, day)
			}
		}
		done++
		display.Set("days", done)
	}
	return nil
}

// errSegmentLeftOut is returned if a segment turned out to be damaged. It is left out from now on.
var errSegmentLeftOut = errors.New("a segment is damaged")

// isDamage reports whether an error names a segment of trades that is damaged, and leaves it out.
func (s *Session) isDamage(ctx context.Context, err error) bool {
	return mayBeFileError(err) && strings.Contains(err.Error(), filepath.Join(s.root, string(tape.Trades))) && s.leaveOutDamaged(ctx, err)
}

// errNotWritable is returned if the state directory does not take another file.
var errNotWritable = errors.New("the state directory is not writable")

// storeSummary computes the rows of a day and publishes their file.
func (s *Session) storeSummary(ctx context.Context, summary *storedSummary, day summaryDay) error {
	trades, err := s.selectSegments(ctx, tape.Trades, day.segments)
	if err != nil {
		return err
	}
	if len(s.opt.Index.NotSymbols()) > 0 {
		trades = fmt.Sprintf("SELECT * FROM (%s) AS named WHERE symbol IN %s", trades, listOf(s.opt.Index.Symbols()))
	}
	temporary := filepath.Join(s.scratch.path, summary.Name+".parquet")
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := exec(ctx, conn, "DROP SCHEMA IF EXISTS work CASCADE", "CREATE SCHEMA work", "CREATE TABLE work.gaps AS FROM canonical.gaps LIMIT 0"); err != nil {
		return err
	}
	if err := appendRows(conn, "memory", "work", "gaps", day.gaps); err != nil {
		return err
	}
	if err = computeDay(ctx, conn, summary.Query, trades, day.date); err == nil {
		err = exec(ctx, conn, fmt.Sprintf("COPY (FROM work.summary ORDER BY %s) TO %s (%s)",
			strings.Join(summary.Key, ", "), Quote(temporary), copyOptions[Parquet]))
	}
	if err = errors.Join(err, exec(ctx, conn, "DROP SCHEMA work CASCADE")); err != nil {
		if strings.Contains(err.Error(), "No space left on device") {
			return fmt.Errorf("%w: %w", errNotWritable, err)
		}
		return err
	}
	return s.publishSummary(summary, day, temporary)
}

// computeDay creates the table work.summary of the rows of a date, from the rows of a SELECT of its trades. If
// memory is short, it computes parts of the day one after the other: no row depends on several hours.
func computeDay(ctx context.Context, conn *sql.Conn, summary Query, trades, date string) error {
	into := "CREATE TABLE work.summary AS "
	for parts := [][2]int{{0, 24}}; len(parts) > 0; {
		first, end, source := parts[0][0], parts[0][1], trades
		if end-first < 24 {
			source = fmt.Sprintf("SELECT * FROM (%s) AS day WHERE traded_at >= DATE '%s' + INTERVAL %d HOURS AND traded_at < DATE '%[2]s' + INTERVAL %[4]d HOURS",
				trades, date, first, end)
		}
		err := execInWork(ctx, conn, into+summary.overTrades(source))
		switch {
		case IsOutOfMemory(err) && end-first > 1:
			middle := (first + end) / 2
			parts = append([][2]int{{first, middle}, {middle, end}}, parts[1:]...)
			continue
		case err != nil:
			return err
		}
		into, parts = "INSERT INTO work.summary ", parts[1:]
	}
	return nil
}

// publishSummary gives a file its final name.
func (s *Session) publishSummary(summary *storedSummary, day summaryDay, temporary string) error {
	dir := s.summaryPath(summary.Name, "")
	if err := errors.Join(durable.CheckNotLinked(filepath.Dir(dir)), durable.CheckNotLinked(dir)); err != nil {
		return err
	}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = s.opt.disk.SyncFile(temporary)
	}
	if err == nil {
		err = durable.Publish(s.opt.disk, temporary, filepath.Join(dir, summary.file(day)))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNotWritable, err)
	}
	s.sweepSummary(summary.Name, day.date, s.scratch.createdAt, func(file summaryFile) bool {
		return file.name != summary.file(day) && file.replaced > summarySweepAfter
	})
	return nil
}

const (
	// summarySweepAfter is how long a file stays once a newer one of its date has replaced it: no session
	// reads it any more by then.
	summarySweepAfter = time.Hour
	// unknownSweepAfter is the age up to which a file of a summary that is not among the session's stays, for
	// a command with another directory of queries.
	unknownSweepAfter = 7 * 24 * time.Hour
)

// sweepSummaries deletes the files of all summaries that nothing reads any more. It returns their number.
func (s *Session) sweepSummaries(now time.Time) (swept int) {
	dates, err := s.dir.Dates(tape.Trades)
	if err != nil {
		return 0
	}
	days, err := s.summaryDays()
	if err != nil {
		return 0
	}
	directories, _ := os.ReadDir(s.summaryPath("", "")) // none, if it cannot be listed
	for _, entry := range directories {
		current, isKnown := map[string]bool{}, false
		for _, summary := range s.summaries() {
			if summary.Name == entry.Name() {
				isKnown = true
				for _, day := range days {
					current[(&storedSummary{Query: summary}).file(day)] = true
				}
			}
		}
		swept += s.sweepSummary(entry.Name(), "", now, func(file summaryFile) bool {
			return file.replaced > summarySweepAfter && !current[file.name] ||
				file.age > summarySweepAfter && !slices.Contains(dates, file.date) ||
				file.age > unknownSweepAfter && !isKnown
		})
	}
	return swept
}

// summaryFile is a stored file of a date.
type summaryFile struct {
	date, name string
	age        time.Duration // since it was written
	replaced   time.Duration // since a newer file of its date was written; 0 if there is none
}

// summaryFileName is the name of a stored file: its date and its key.
var summaryFileName = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)-[0-9a-f]+\.parquet$`)

// sweepSummary deletes the stored files of a summary, of one date if that is not empty, that are useless. It
// returns their number.
func (s *Session) sweepSummary(summary, date string, now time.Time, isUseless func(summaryFile) bool) (swept int) {
	dir := s.summaryPath(summary, "")
	if durable.CheckNotLinked(filepath.Dir(dir)) != nil || durable.CheckNotLinked(dir) != nil {
		return 0
	}
	entries, _ := os.ReadDir(dir) // none, if it cannot be listed
	byDate := map[string][]summaryFile{}
	for _, entry := range entries {
		match := summaryFileName.FindStringSubmatch(entry.Name())
		if match == nil || date != "" && match[1] != date {
			continue
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			byDate[match[1]] = append(byDate[match[1]], summaryFile{date: match[1], name: entry.Name(), age: now.Sub(info.ModTime())})
		}
	}
	for _, files := range byDate {
		for _, file := range files {
			for _, other := range files {
				if other.age < file.age {
					file.replaced = max(file.replaced, other.age)
				}
			}
			if isUseless(file) && os.Remove(filepath.Join(dir, file.name)) == nil {
				swept++
			}
		}
	}
	return swept
}
