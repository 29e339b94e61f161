package analytics

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/idset"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

var testOrigin = tape.Origin{Source: tape.FromFile}

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// seconds returns the trades of a symbol with the ids first to last, one per second; id 1 is at noon.
func seconds(symbol string, first, last int64) []tape.Trade {
	var out []tape.Trade
	for id := first; id <= last; id++ {
		out = append(out, tape.Trade{Symbol: symbol, ID: id, Price: 100 + float64(id%7), Qty: 0.5, FirstTradeID: id, LastTradeID: id,
			TradedAt: noon.Add(time.Duration(id-1) * time.Second).UnixMicro(), IsBuyerMaker: id%3 == 0})
	}
	return out
}

func newTape(t *testing.T, batches ...[]tape.Trade) *tape.Dir {
	t.Helper()
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data"), tape.AggTrade, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, trades := range batches {
		if _, err := dir.Publish(t.Context(), trades, testOrigin); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openSession(t *testing.T, dir *tape.Dir, opt Options) *Session {
	t.Helper()
	s, err := Open(t.Context(), dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// rowsOf returns the rows of a statement as CSV.
func rowsOf(t *testing.T, s *Session, statement string) string {
	t.Helper()
	result, err := s.SQL(t.Context(), statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	_, rows, _ := strings.Cut(renderCSV(t, result), "\n")
	return strings.TrimSpace(rows)
}

func segments(t *testing.T, dir *tape.Dir) []tape.Segment {
	t.Helper()
	found, _, err := dir.Segments(tape.Trades, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRelationsShowTheTape(t *testing.T) {
	day := int64(24 * 60 * 60)
	dir := newTape(t, seconds("BTCUSDT", 1, 10), seconds("BTCUSDT", 14, 20), seconds("币安人生USDT", 5, 6), seconds("BTCUSDT", day-3, day+3))
	if _, err := dir.PublishAlerts(t.Context(), []tape.Alert{{Detector: "whale_order", Symbol: "BTCUSDT", At: noon.UnixMicro(), Score: 3.5, Severity: "low", Message: "m", Extra: `{"side":"buy"}`}}); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.PublishRuns(t.Context(), []tape.Run{{ID: "r1", Job: "detect", FinishedAt: noon.UnixMicro(), Outcome: "ok", Rows: 7}}); err != nil {
		t.Fatal(err)
	}
	certificate, err := dir.Certify(t.Context(), noon.Add(36*time.Hour), false)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := dir.PublishCoverage(t.Context(), certificate); err != nil {
			t.Fatal(err)
		}
	}
	s := openSession(t, dir, Options{Threads: 2, MemoryLimit: "512MB"})
	for statement, want := range map[string]string{
		"SELECT symbol, count(*), min(id), max(id) FROM trades GROUP BY symbol ORDER BY symbol": "BTCUSDT,24,1,86403\n币安人生USDT,2,5,6",
		"SELECT DISTINCT date, typeof(date), typeof(traded_at) FROM trades ORDER BY date":       "2026-01-15,DATE,TIMESTAMP\n2026-01-16,DATE,TIMESTAMP",
		"SELECT * FROM gaps ORDER BY first_id": "BTCUSDT,11,13,2026-01-15 12:00:09,2026-01-15 12:00:13\n" +
			"BTCUSDT,21,86396,2026-01-15 12:00:19,2026-01-16 11:59:56",
		"SELECT symbol, first_id, last_id, first_at, last_at FROM bounds WHERE symbol = 'BTCUSDT'":                     "BTCUSDT,1,86403,2026-01-15 12:00:00,2026-01-16 12:00:02",
		`SELECT detector, "at", extra->>'side', date, typeof(extra), found_at FROM alerts`:                             "whale_order,2026-01-15 12:00:00,buy,2026-01-15,JSON,1970-01-01 00:00:00",
		"SELECT id, window_start, finished_at, rows, date FROM runs":                                                   "r1,,2026-01-15 12:00:00,7,2026-01-15",
		"SELECT symbol, date, trades, missing, state FROM coverage ORDER BY symbol, date":                              "BTCUSDT,2026-01-15,17,86379,gap\nBTCUSDT,2026-01-16,7,0,gap\n币安人生USDT,2026-01-15,2,0,open",
		"SELECT current_setting('TimeZone'), current_setting('threads'), current_setting('autoload_known_extensions')": "UTC,2,false",
	} {
		if diff := cmp.Diff(want, rowsOf(t, s, statement)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", statement, diff)
		}
	}
	if len(s.Broken()) != 0 {
		t.Errorf("broken: %v", s.Broken())
	}
	t.Run("some symbols", func(t *testing.T) {
		one := openSession(t, dir, Options{Symbols: []string{"币安人生USDT", "NOSUCHUSDT"}, From: noon, To: noon.Add(48 * time.Hour), MinutesFrom: noon})
		for statement, want := range map[string]string{
			"SELECT symbol, count(*) FROM trades GROUP BY symbol":     "币安人生USDT,2",
			"SELECT symbol FROM bounds":                               "币安人生USDT",
			"SELECT count(*) FROM gaps":                               "0",
			"SELECT count(*) FROM alerts":                             "0",
			"SELECT count(*) FROM incidents":                          "0",
			"SELECT symbol FROM coverage":                             "币安人生USDT",
			"SELECT symbol, sum(trades) FROM minutes GROUP BY symbol": "币安人生USDT,2",
			"SELECT id FROM runs":                                     "r1",
		} {
			if diff := cmp.Diff(want, rowsOf(t, one, statement)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", statement, diff)
			}
		}
	})
	t.Run("some partitions", func(t *testing.T) {
		narrow := openSession(t, dir, Options{From: noon.Add(12 * time.Hour), To: noon.Add(36 * time.Hour)})
		if got := rowsOf(t, narrow, "SELECT count(*), min(date) FROM trades"); got != "7,2026-01-16" {
			t.Errorf("trades: %s", got)
		}
		if got := rowsOf(t, narrow, "SELECT count(*) FROM gaps"); got != "2" {
			t.Errorf("gaps: %s", got)
		}
	})
}

func TestEmptyTapeHasTheSameColumns(t *testing.T) {
	over := openSession(t, newTape(t), Options{})
	empty, err := OpenEmpty(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	full := newTape(t, seconds("A", 1, 1))
	for _, err := range []error{
		second(full.PublishAlerts(t.Context(), []tape.Alert{{At: noon.UnixMicro(), Extra: "{}"}})),
		second(full.PublishRuns(t.Context(), []tape.Run{{FinishedAt: noon.UnixMicro()}})),
		second(full.PublishConflicts(t.Context(), []tape.Conflict{{TradedAt: noon.UnixMicro(), FoundAt: noon.UnixMicro()}})),
		second(full.PublishRecorderEvents(t.Context(), []tape.RecorderEvent{{At: noon.UnixMicro()}})),
		second(full.PublishDrops(t.Context(), []tape.Drop{{At: noon.UnixMicro()}})),
		state.RecordJudged(full.State(), []state.Judged{{Spans: []state.JudgedSpan{{Start: noon, End: noon.Add(time.Minute)}}}}, false),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	certificate, err := full.Certify(t.Context(), noon, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := full.PublishCoverage(t.Context(), certificate); err != nil {
		t.Fatal(err)
	}
	with := openSession(t, full, Options{})
	for _, name := range relationNames {
		describe := fmt.Sprintf("SELECT column_name, column_type FROM (DESCRIBE %s)", name)
		want := rowsOf(t, empty, describe)
		if got := rowsOf(t, over, describe); got != want {
			t.Errorf("%s of an empty tape:\n%s\nwant:\n%s", name, got, want)
		}
		if got := rowsOf(t, with, describe); got != want {
			t.Errorf("%s of files:\n%s\nwant:\n%s", name, got, want)
		}
		if got := rowsOf(t, over, "SELECT count(*) FROM "+name); got != "0" {
			t.Errorf("%s of an empty tape has %s rows", name, got)
		}
		if got := rowsOf(t, with, "SELECT count(*) FROM "+name); got != "1" && name != "gaps" && name != "dropped_ids" {
			t.Errorf("%s has %s rows", name, got)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestSegmentWithoutFooterIsLeftOut(t *testing.T) {
	dir := newTape(t, seconds("A", 1, 10), seconds("A", 11, 20), seconds("A", 21, 30))
	broken := segments(t, dir)[1]
	if err := os.Truncate(filepath.Join(dir.Path(), broken.Path), broken.Bytes/2); err != nil {
		t.Fatal(err)
	}
	s := openSession(t, dir, Options{})
	if got := rowsOf(t, s, "SELECT count(*) FROM trades"); got != "20" {
		t.Errorf("%s trades", got)
	}
	if got := s.Broken(); len(got) != 1 || got[0].Path != broken.Path {
		t.Errorf("broken: %v", got)
	}
	if got := rowsOf(t, s, "SELECT count(*) FROM gaps"); got != "1" {
		t.Errorf("%s gaps", got)
	}
}

// damage overwrites pages of a segment, but not the footer.
func damage(t *testing.T, dir *tape.Dir, segment tape.Segment) {
	t.Helper()
	path := filepath.Join(dir.Path(), segment.Path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 40; i < len(content)/3; i++ {
		content[i] ^= 0x5a
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedSegmentIsLeftOut(t *testing.T) {
	dir := newTape(t, seconds("A", 1, 5000), seconds("A", 5001, 10000), seconds("A", 10001, 15000))
	broken := segments(t, dir)[2]
	damage(t, dir, broken)
	s := openSession(t, dir, Options{})
	if len(s.Broken()) != 0 {
		t.Errorf("broken before the first read: %v", s.Broken())
	}
	if got := rowsOf(t, s, "SELECT count(price), count(DISTINCT id), sum(qty) FROM trades"); got != "10000,10000,5000" {
		t.Errorf("trades: %s", got)
	}
	if got := s.Broken(); len(got) != 1 || got[0].Path != broken.Path || strings.Contains(got[0].Err.Error(), "\n") {
		t.Errorf("broken: %v", got)
	}
}

func TestReplacedFilesAreListedAgain(t *testing.T) {
	dir := newTape(t, seconds("A", 1, 100), seconds("A", 101, 200))
	s := openSession(t, dir, Options{})
	if got := rowsOf(t, s, "SELECT count(*) FROM trades"); got != "200" {
		t.Fatalf("%s trades", got)
	}
	for _, segment := range segments(t, dir) {
		path := filepath.Join(dir.Path(), segment.Path)
		if err := os.Rename(path, strings.TrimSuffix(path, ".parquet")+"-c.parquet"); err != nil {
			t.Fatal(err)
		}
	}
	queries, _ := Load("")
	for _, q := range queries {
		if q.Name == "duplicate_id" {
			if _, err := s.Run(t.Context(), q, nil); err != nil {
				t.Errorf("%s after the files were replaced: %v", q.Name, err)
			}
		}
	}
	if got := rowsOf(t, s, "SELECT count(*) FROM trades"); got != "200" {
		t.Errorf("%s trades after the files were replaced", got)
	}
	if len(s.Broken()) != 0 {
		t.Errorf("broken: %v", s.Broken())
	}
}

// TestOnlyAbandonedScratchIsDeleted checks that a session deletes the scratch directories of dead sessions,
// but not those of live ones, however old they are.
func TestOnlyAbandonedScratchIsDeleted(t *testing.T) {
	dir := newTape(t, seconds("A", 1, 3))
	live, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	abandoned, recent := filepath.Join(dir.StagingPath(), "duckdb-123"), filepath.Join(dir.StagingPath(), "duckdb-456")
	for _, path := range []string{abandoned, recent} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{live.scratch.path, abandoned} {
		if err := os.Chtimes(path, noon, noon); err != nil {
			t.Fatal(err)
		}
	}
	if err := openSession(t, dir, Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abandoned); !os.IsNotExist(err) {
		t.Errorf("the scratch directory of a dead session: %v", err)
	}
	for _, path := range []string{live.scratch.path, recent} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(live.Close(), os.Remove(recent)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir.StagingPath())
	if err != nil || len(entries) != 0 {
		t.Errorf("left in the staging directory: %v, %v", entries, err)
	}
}

// TestCachedMinutesEqualComputedOnes opens sessions over a growing tape that share cached minutes.
func TestCachedMinutesEqualComputedOnes(t *testing.T) {
	const all = "SELECT * FROM minutes ORDER BY symbol, minute"
	dir := newTape(t)
	from := noon.Add(-13 * time.Hour) // on the day before
	opt := Options{MinutesFrom: from, CacheMinutes: true, Tables: []tape.Table{tape.Trades}}
	batches := [][]tape.Trade{
		seconds("A", 1, 500), seconds("B", 200, 300), seconds("B", 500, 900), seconds("A", 501, 2000), seconds("B", 301, 499), seconds("B", 901, 2000),
	}
	publish := func(trades []tape.Trade) func() error {
		return func() error {
			_, err := dir.Publish(t.Context(), trades, testOrigin)
			return err
		}
	}
	var steps []func() error
	for _, trades := range batches {
		steps = append(steps, publish(trades))
	}
	// Trades are dropped, and come back with another content.
	steps = append(steps, func() error {
		plan, err := dir.PlanDrop(t.Context(), tape.DropQuery{
			What: tape.DropsTrades, Symbols: []string{"A"}, IDs: idset.Set{{First: 300, Last: 700}},
		})
		if err != nil || plan.Rows() != 401 {
			return fmt.Errorf("%d rows to drop: %w", plan.Rows(), err)
		}
		return dir.Drop(t.Context(), plan, tape.DropRecord{At: noon.UnixMicro(), RunID: "r"}, nil)
	}, func() error {
		other := seconds("A", 300, 700)
		for i := range other {
			other[i].Price *= 2
		}
		_, err := dir.Publish(t.Context(), other, tape.Origin{Source: tape.FromFile, Restores: true})
		return err
	})
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		opt.From, opt.To = from, noon.Add(time.Hour)
		computed := opt
		computed.MinutesFrom = time.Time{}
		want := rowsOf(t, openSession(t, dir, computed), fmt.Sprintf("SELECT * FROM minutes WHERE minute < %s ORDER BY symbol, minute", Timestamp(opt.To)))
		if diff := cmp.Diff(want, rowsOf(t, openSession(t, dir, opt), all)); diff != "" {
			t.Errorf("after step %d (-computed +cached):\n%s", i, diff)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir.State().Path(minuteCacheDir), "*", "*.parquet"))
	if err != nil || len(files) < 3 {
		t.Errorf("cached files: %q, %v", files, err)
	}
}

func TestPathWithSpecialCharacters(t *testing.T) {
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data[1]"), tape.AggTrade, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, Options{}); err == nil || !strings.Contains(err.Error(), "* ? [") {
		t.Errorf("error: %v", err)
	}
	quoted, err := tape.Create(filepath.Join(t.TempDir(), "it's data"), tape.AggTrade, noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quoted.Publish(t.Context(), seconds("A", 1, 3), tape.Origin{}); err != nil {
		t.Fatal(err)
	}
	if got := rowsOf(t, openSession(t, quoted, Options{}), "SELECT count(*) FROM trades"); got != "3" {
		t.Errorf("%s trades", got)
	}
}

// TestQueriesSpillToScratch checks that a query that needs more than its memory does not use the working
// directory.
func TestQueriesSpillToScratch(t *testing.T) {
	if testing.Short() {
		t.Skip("sorts three million rows")
	}
	dir := newTape(t, seconds("A", 1, 100_000))
	t.Chdir(t.TempDir())
	s := openSession(t, dir, Options{MemoryLimit: "60MB", Threads: 1})
	if got := rowsOf(t, s, "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY price, hash(trades.id + times.range)) AS n FROM trades, range(30) AS times)"); got != "3000000" {
		t.Errorf("%s rows", got)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("left in the working directory: %v, %v", entries, err)
	}
}

func TestOpenConflictsAreThoseThatAreNotResolved(t *testing.T) {
	dir := newTape(t)
	at := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	trade := func(id int64, price float64) tape.Trade {
		return tape.Trade{Symbol: "AUSDT", ID: id, FirstTradeID: id, LastTradeID: id, Price: price, Qty: 1, TradedAt: at.UnixMicro() + id}
	}
	for _, price := range []float64{1, 2} { // the second content is refused
		if _, err := dir.Publish(t.Context(), []tape.Trade{trade(1, price), trade(2, price)}, tape.Origin{Source: tape.FromFile, Run: "test", At: at}); err != nil {
			t.Fatal(err)
		}
	}
	open := func() string {
		t.Helper()
		session, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		if all := rowsOf(t, session, "SELECT count(*) FROM conflicts"); all != "2" {
			t.Errorf("%s conflicts, want 2", all)
		}
		return rowsOf(t, session, "SELECT string_agg(id, ' ' ORDER BY id) FROM open_conflicts WHERE other_price = 2 AND date = DATE '2026-01-15'")
	}
	if got := open(); got != "1 2" {
		t.Errorf("open: %s", got)
	}
	if err := dir.RecordDropped("AUSDT", tape.IDRun{Range: idset.Range{First: 2, Last: 2}, FirstAt: at.UnixMicro() + 2, LastAt: at.UnixMicro() + 2}); err != nil {
		t.Fatal(err)
	}
	if got := open(); got != "1" {
		t.Errorf("open after a drop: %s", got)
	}
	if err := Migrate(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	db := openMarket(t, filepath.Join(dir.Path(), MarketName))
	if got := queryMarket(t, db, "SELECT count(*) FROM open_conflicts"); got != "2" {
		t.Errorf("market.duckdb has %s open conflicts", got) // what was dropped is in drops, where RecordDropped writes nothing
	}
}

// TestMinutesAreNotCachedBehindALink: the directory of a date may have become a link to somebody's files.
func TestMinutesAreNotCachedBehindALink(t *testing.T) {
	dir := newTape(t)
	if _, err := dir.Publish(t.Context(), seconds("A", 1, 2000), testOrigin); err != nil {
		t.Fatal(err)
	}
	victim := t.TempDir()
	old := filepath.Join(victim, "mine.parquet")
	if err := os.WriteFile(old, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(old, noon.AddDate(-1, 0, 0), noon.AddDate(-1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	cached := dir.State().Path(minuteCacheDir)
	if err := os.MkdirAll(cached, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(cached, noon.Format(time.DateOnly))); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(cached, "2020-01-01")); err != nil {
		t.Fatal(err)
	}
	opt := Options{MinutesFrom: noon.Add(-time.Hour), CacheMinutes: true, From: noon.Add(-time.Hour), To: noon.Add(time.Hour), Tables: []tape.Table{tape.Trades}}
	if rows := rowsOf(t, openSession(t, dir, opt), "SELECT * FROM minutes"); len(rows) == 0 {
		t.Error("no minutes")
	}
	if entries, err := os.ReadDir(victim); err != nil || len(entries) != 1 || entries[0].Name() != "mine.parquet" {
		t.Errorf("the directory that the link names has %v, %v", entries, err)
	}
}
