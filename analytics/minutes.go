package analytics

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/tape"
)

// The relation minutes is the work of reading every trade of a day. A session that is asked for it over some days keeps what it makes of trades that
// can no longer change, and the next one only reads what came since. The rule: a minute of a symbol is kept where ids without a hole reach
// from a trade before it to one at least keepAfter later. Trades are never changed, so what is kept is right for good; losing it costs
// reading the trades again.
const (
	// minutesState names what is kept, minutesDir is where, below the state directory.
	minutesState = "minutes.json"
	minutesDir   = "minutes"
	// keepAfter is how far behind the next trade a minute must lie: ids and times of a symbol rise together but for milliseconds.
	keepAfter = 10 * time.Second
	// keepFiles is how many files of one date may lie beside one another before they become one: a run a minute writes one each.
	keepFiles = 24
	// keepDays is how many dates are kept.
	keepDays = 8
	// sweepAfter is after how long a file that is not named in the state is deleted; a session reads its files at its opening.
	sweepAfter = time.Hour
)

// keptMinutes is the state file.
type keptMinutes struct {
	// Version is of the SELECT that they were made with.
	Version string              `json:"version"`
	Days    map[string]*keptDay `json:"days"`
}

// keptDay is one UTC date: files with rows of traded_minutes, and for each symbol which minutes of the day they answer for.
type keptDay struct {
	Files   []string          `json:"files"`
	Symbols map[string][]span `json:"symbols"`
}

// span is a half-open run of minutes, counted from midnight.
type span [2]int

// subtract gives what of s is in none of others, which are sorted and disjoint.
func (s span) subtract(others []span) (out []span) {
	for _, other := range others {
		if other[1] <= s[0] || other[0] >= s[1] {
			continue
		}
		if other[0] > s[0] {
			out = append(out, span{s[0], other[0]})
		}
		s[0] = other[1]
	}
	if s[0] < s[1] {
		out = append(out, s)
	}
	return out
}

// addSpan adds a run to a sorted, disjoint list.
func addSpan(list []span, s span) []span {
	list = append(slices.Clone(list), s)
	slices.SortFunc(list, func(a, b span) int { return a[0] - b[0] })
	out := list[:1]
	for _, next := range list[1:] {
		if last := &out[len(out)-1]; next[0] <= last[1] {
			last[1] = max(last[1], next[1])
		} else {
			out = append(out, next)
		}
	}
	return out
}

// minuteWindow is minutes of a symbol that have to be made of trades; with kept, they can be kept for good.
type minuteWindow struct {
	symbol string
	date   time.Time
	span   span
	kept   bool
}

func (w minuteWindow) start() time.Time { return w.date.Add(time.Duration(w.span[0]) * time.Minute) }
func (w minuteWindow) end() time.Time   { return w.date.Add(time.Duration(w.span[1]) * time.Minute) }

// fillMinutes makes traded_minutes a table of the time from MinutesFrom to To. A segment that turns out to be damaged is an error, a
// tape.BrokenSegment: without its rows a minute would be wrong, and no hole in the ids would say so.
func (s *Session) fillMinutes(ctx context.Context) error {
	statement, err := derived("traded_minutes")
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(statement))
	version := hex.EncodeToString(sum[:8])
	for try := 0; ; try++ {
		kept := keptMinutes{}
		if err := s.dir.ReadState(minutesState, &kept); err != nil || kept.Version != version || kept.Days == nil || try == maxRetries-1 {
			// What is not there, or cannot be read, is made anew.
			kept = keptMinutes{Version: version, Days: map[string]*keptDay{}}
		}
		err := s.makeMinutes(ctx, statement, &kept)
		var known *duckdb.Error
		if err == nil || ctx.Err() != nil || try == maxRetries || !errors.As(err, &known) || !fileTrouble(known) {
			return err
		}
		// Files were replaced meanwhile, or one of them is damaged.
		if !vanished(known) {
			for _, culprit := range s.findDamaged(ctx, known.Msg) {
				return culprit
			}
		}
		if err := s.opt.Index.Refresh(ctx); err != nil {
			return err
		}
		if err := s.makeViews(ctx); err != nil {
			return err
		}
	}
}

func (s *Session) makeMinutes(ctx context.Context, statement string, kept *keptMinutes) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	run := func(format string, args ...any) error {
		_, err := conn.ExecContext(ctx, fmt.Sprintf(format, args...))
		return err
	}
	for _, first := range []string{"DROP VIEW IF EXISTS minutes", "DROP SCHEMA IF EXISTS fresh CASCADE", "CREATE SCHEMA fresh"} {
		if err := run("%s", first); err != nil {
			return err
		}
	}
	windows := s.minuteWindows(kept)
	if err := s.makeFresh(ctx, conn, statement, windows); err != nil {
		return err
	}
	var files []string
	for date, day := range kept.Days {
		if date >= s.opt.MinutesFrom.UTC().Format(time.DateOnly) && date <= s.opt.To.UTC().Format(time.DateOnly) {
			for _, name := range day.Files {
				files = append(files, quote(s.minutesPath(name)))
			}
		}
	}
	slices.Sort(files)
	from := "FROM fresh.minutes"
	if len(files) > 0 {
		from += fmt.Sprintf(" UNION ALL SELECT * FROM read_parquet([%s]) WHERE minute >= %s AND minute < %s", strings.Join(files, ", "), stamp(s.opt.MinutesFrom), stamp(s.opt.To))
	}
	if err := run("CREATE VIEW fresh.traded_minutes AS %s", from); err != nil {
		return err
	}
	minutes, err := derived("minutes")
	if err != nil {
		return err
	}
	// A table, and not a view that every query joins anew and that lets no condition through to what it is made of.
	if err := inFresh(ctx, conn, "CREATE TABLE main.minutes AS "+minutes); err != nil {
		return err
	}
	if s.opt.KeepMinutes {
		if err := s.keepMinutes(ctx, run, kept, windows); err != nil {
			s.log.Warn("minutes could not be kept, the next run reads their trades again", "error", err.Error())
		}
	}
	return run("DROP SCHEMA fresh CASCADE")
}

func (s *Session) minutesPath(name string) string {
	return filepath.Join(s.dir.StatePath(minutesDir), filepath.FromSlash(name))
}

func stamp(at time.Time) string {
	return "TIMESTAMP '" + at.UTC().Format("2006-01-02 15:04:05.999999") + "'"
}

// minuteWindows gives what of [MinutesFrom, To) is not kept, by symbol and date.
func (s *Session) minuteWindows(kept *keptMinutes) (out []minuteWindow) {
	index := s.opt.Index
	for _, symbol := range index.Symbols() {
		bounds, ok := index.Bounds(symbol)
		if !ok {
			continue
		}
		from, to := s.opt.MinutesFrom.UTC(), s.opt.To.UTC()
		if first := bounds.FirstAt.UTC().Truncate(time.Minute); first.After(from) {
			from = first
		}
		if end := bounds.LastAt.UTC().Truncate(time.Minute).Add(time.Minute); end.Before(to) {
			to = end
		}
		// What is settled: without the first minute, the last ones, and those around holes.
		settledFrom := bounds.FirstAt.UTC().Truncate(time.Minute).Add(time.Minute)
		settledTo := bounds.LastAt.UTC().Add(-keepAfter).Truncate(time.Minute)
		gaps := index.Gaps(symbol)
		for date := from.Truncate(24 * time.Hour); date.Before(to); date = date.Add(24 * time.Hour) {
			minute := func(at time.Time) int { return int(max(0, min(24*time.Hour, at.Sub(date))) / time.Minute) }
			var have []span
			if day := kept.Days[date.Format(time.DateOnly)]; day != nil {
				have = day.Symbols[symbol]
			}
			unsettled := []span{}
			for _, hole := range gaps {
				if s := (span{minute(hole.After.UTC().Truncate(time.Minute)), minute(hole.Before.UTC().Truncate(time.Minute).Add(time.Minute))}); s[0] < s[1] {
					unsettled = addSpan(unsettled, s)
				}
			}
			if s := (span{0, minute(settledFrom)}); s[0] < s[1] {
				unsettled = addSpan(unsettled, s)
			}
			if s := (span{minute(settledTo), 24 * 60}); s[0] < s[1] {
				unsettled = addSpan(unsettled, s)
			}
			for _, missing := range (span{minute(from), minute(to)}).subtract(have) {
				settled := missing.subtract(unsettled)
				for _, part := range settled {
					out = append(out, minuteWindow{symbol, date, part, true})
				}
				for _, part := range missing.subtract(settled) {
					out = append(out, minuteWindow{symbol, date, part, false})
				}
			}
		}
	}
	return out
}

// makeFresh makes the table fresh.minutes of the trades in the windows. It reads the segments that hold such trades and no others.
func (s *Session) makeFresh(ctx context.Context, conn *sql.Conn, statement string, windows []minuteWindow) error {
	if _, err := conn.ExecContext(ctx, "CREATE TABLE fresh.windows (symbol VARCHAR, starts TIMESTAMP, ends TIMESTAMP, is_kept BOOLEAN)"); err != nil {
		return err
	}
	bySymbol := map[string][]minuteWindow{}
	err := conn.Raw(func(raw any) error {
		appender, err := duckdb.NewAppender(raw.(driver.Conn), "memory", "fresh", "windows")
		if err != nil {
			return err
		}
		for _, w := range windows {
			bySymbol[w.symbol] = append(bySymbol[w.symbol], w)
			if err == nil {
				err = appender.AppendRow(w.symbol, w.start(), w.end(), w.kept)
			}
		}
		return errors.Join(err, appender.Close())
	})
	if err != nil {
		return err
	}
	touching, known := s.opt.Index.SegmentsWhere(s.opt.MinutesFrom, s.opt.To, func(symbol string, run tape.IDRun) bool {
		return slices.ContainsFunc(bySymbol[symbol], func(w minuteWindow) bool { return run.Overlaps(w.start(), w.end()) })
	})
	segments, err := s.segments(tape.Trades, s.opt.MinutesFrom, s.opt.To)
	if err != nil {
		return err
	}
	segments = slices.DeleteFunc(segments, func(path string) bool { return known[path] && !touching[path] })
	columns, err := columnsOf(ctx, conn, "canonical."+string(tape.Trades))
	if err != nil {
		return err
	}
	source := "SELECT * FROM canonical.trades"
	if len(segments) > 0 {
		if source, err = s.selectSegments(tape.Trades, columns, segments); err != nil {
			return err
		}
	}
	var first, last time.Time
	for _, w := range windows {
		if first.IsZero() || w.start().Before(first) {
			first = w.start()
		}
		if w.end().After(last) {
			last = w.end()
		}
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("CREATE VIEW fresh.trades AS SELECT trades.* FROM (%s) AS trades JOIN fresh.windows ON trades.symbol = windows.symbol AND traded_at >= starts AND traded_at < ends WHERE traded_at >= %s AND traded_at < %s",
		source, stamp(first), stamp(last))); err != nil {
		return err
	}
	return inFresh(ctx, conn, "CREATE TABLE fresh.minutes AS "+statement)
}

// inFresh runs a statement that means the relations of the schema fresh where it names some that are there.
func inFresh(ctx context.Context, conn *sql.Conn, statement string) error {
	if _, err := conn.ExecContext(ctx, "SET search_path = 'fresh,main'"); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, statement)
	_, back := conn.ExecContext(ctx, "SET search_path = 'main'")
	return errors.Join(err, back)
}

// keepMinutes writes what of fresh.minutes can be kept, and then the state that names it.
func (s *Session) keepMinutes(ctx context.Context, run func(string, ...any) error, kept *keptMinutes, windows []minuteWindow) error {
	dates := map[string]bool{}
	for _, w := range windows {
		if w.kept {
			dates[w.date.Format(time.DateOnly)] = true
		}
	}
	if len(dates) == 0 {
		return nil
	}
	for date := range dates {
		day := kept.Days[date]
		if day == nil {
			day = &keptDay{Symbols: map[string][]span{}}
			kept.Days[date] = day
		}
		source := fmt.Sprintf("SELECT minutes.* FROM fresh.minutes AS minutes JOIN fresh.windows AS windows ON minutes.symbol = windows.symbol AND minute >= starts AND minute < ends WHERE is_kept AND minute >= DATE '%s' AND minute < DATE '%s' + 1", date, date)
		replaces := len(day.Files) >= keepFiles
		if replaces {
			list := make([]string, len(day.Files))
			for i, name := range day.Files {
				list[i] = quote(s.minutesPath(name))
			}
			source += fmt.Sprintf(" UNION ALL SELECT * FROM read_parquet([%s])", strings.Join(list, ", "))
		}
		made := filepath.Join(s.scratch, "minutes.parquet")
		if err := run("COPY (SELECT * FROM (%s) ORDER BY symbol, minute) TO %s (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2)", source, quote(made)); err != nil {
			return err
		}
		name := date + "/" + filepath.Base(s.scratch) + ".parquet"
		if err := os.MkdirAll(filepath.Dir(s.minutesPath(name)), 0o755); err != nil {
			return err
		}
		if err := os.Rename(made, s.minutesPath(name)); err != nil {
			return err
		}
		if replaces {
			day.Files = nil
		}
		day.Files = append(day.Files, name)
	}
	for _, w := range windows {
		if w.kept {
			day := kept.Days[w.date.Format(time.DateOnly)]
			day.Symbols[w.symbol] = addSpan(day.Symbols[w.symbol], w.span)
		}
	}
	s.forget(kept)
	if err := s.dir.WriteState(minutesState, kept); err != nil {
		return err
	}
	s.sweepMinutes(kept)
	return nil
}

// forget drops the oldest dates that are too many and outside of what was asked for.
func (s *Session) forget(kept *keptMinutes) {
	dates := make([]string, 0, len(kept.Days))
	for date := range kept.Days {
		dates = append(dates, date)
	}
	slices.Sort(dates)
	for _, date := range dates {
		if len(kept.Days) > keepDays && (date < s.opt.MinutesFrom.UTC().Format(time.DateOnly) || date > s.opt.To.UTC().Format(time.DateOnly)) {
			delete(kept.Days, date)
		}
	}
}

// sweepMinutes deletes files that the state does not name, when nobody can be about to read them or to name them.
func (s *Session) sweepMinutes(kept *keptMinutes) {
	named := map[string]bool{}
	for _, day := range kept.Days {
		for _, name := range day.Files {
			named[s.minutesPath(name)] = true
		}
	}
	paths, err := filepath.Glob(s.minutesPath("*/*.parquet"))
	if err != nil || s.opt.Now.IsZero() {
		return
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && !named[path] && time.Since(info.ModTime()) > sweepAfter {
			os.Remove(path)
			os.Remove(filepath.Dir(path)) // only where nothing is left in it
		}
	}
}
