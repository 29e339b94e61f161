package tape

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tapedeck/internal/durable"
	"tapedeck/internal/idset"
)

// State files are caches: damaged ones must not affect publishing, certifying and indexing.
func TestDamagedStateIsIgnored(t *testing.T) {
	contents := map[string]string{
		"empty": "", "truncated": `{"ETHUSDT": {"first_id": 1, "la`, "null": "null", "list": "[1, 2]", "number": "7",
		"zeros":                  strings.Repeat("\x00", 4096),
		"text instead of number": `{"ETHUSDT": {"first_id": "1"}, "files": {"x": 1}}`,
		"empty values": `{"ETHUSDT": {}, "": {}, "files": {"NAME": {"size": SIZE, "modified_ns": TIME,
			"spans": {"ETHUSDT": []}, "twice": 3}}}`,
		"impossible bounds": `{"ETHUSDT": {"first_id": 9, "last_id": 3, "first_at": "0001-01-01T00:00:00Z",
			"last_at": "9999-01-01T00:00:00Z"}}`,
		"impossible runs": `{"files": {"NAME": {"size": SIZE, "modified_ns": TIME,
			"spans": {"ETHUSDT": [[5, 1, 0, 0]]}}}}`,
		"reversed ranges": `{"ETHUSDT": [{"first": 9, "last": 3}, {"first": -4, "last": 3}]}`,
	}
	now := day0.Add(time.Hour)
	for name, content := range contents {
		for _, state := range []string{extentName, absentName, filepath.Join(scannedDir, "2026-01-15.json")} {
			t.Run(name+" in "+state, func(t *testing.T) {
				d := newTape(t)
				out := publish(t, d, trades("ETHUSDT", 1, 10, day0))
				publish(t, d, trades("ETHUSDT", 13, 20, day0.Add(time.Minute)))
				want := certify(t, d, now)
				info, err := os.Stat(filepath.Join(d.Path(), out.Segments[0]))
				if err != nil {
					t.Fatal(err)
				}
				text := strings.NewReplacer("NAME", filepath.Base(out.Segments[0]), "SIZE", fmt.Sprint(info.Size()),
					"TIME", fmt.Sprint(info.ModTime().UnixNano())).Replace(content)
				if err := os.WriteFile(d.State().Path(state), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				d, err = Open(d.Path())
				if err != nil {
					t.Fatal(err)
				}
				index := d.Index()
				if err := index.Refresh(context.Background()); err != nil || len(index.Gaps("ETHUSDT")) != 1 {
					t.Fatal(index.Gaps("ETHUSDT"), err)
				}
				if diff := cmp.Diff(want, certify(t, d, now), cmpopts.IgnoreFields(Certificate{}, "Scanned")); diff != "" {
					t.Errorf("certificate (-want +got):\n%s", diff)
				}
				publish(t, d, trades("ETHUSDT", 21, 30, day0.Add(2*time.Minute)))
				if err := d.RecordAbsent("ETHUSDT", idset.Set{{First: 11, Last: 12}}, now); err != nil {
					t.Fatal(err)
				}
				c := certify(t, d, now)
				if len(c.Symbols) != 1 || c.Symbols[0].Absent != 2 || c.Symbols[0].Trades != 28 || !c.Complete() {
					t.Errorf("%+v", c)
				}
			})
		}
	}
}

// Some files of the archive have an id on two days. It is published once, and counted as a
// duplicate if another program wrote it.
func TestIDIsPublishedOnOneDate(t *testing.T) {
	ctx := context.Background()
	midnight := day0.AddDate(0, 0, 1)
	seam := midnight.Add(-20 * time.Second)
	at := func(rows []Trade, at time.Time) []Trade {
		for i := range rows {
			rows[i].TradedAt = at.UnixMicro() + int64(i)
		}
		return rows
	}
	d := newTape(t)
	publish(t, d, trades("ETHUSDT", 1, 10, seam))
	next := at(trades("ETHUSDT", 10, 19, midnight), midnight) // its first id is on the tape, on the day before
	if out := publish(t, d, next); out.Rows != 9 || out.Dropped != 1 || out.Conflicts != 1 {
		t.Errorf("published %+v", out)
	}
	load := d.NewLoader(Origin{Source: FromFile})
	// Two are on the day after.
	if err := load.Add(ctx, at(trades("ETHUSDT", 18, 30, midnight), midnight.Add(-5*time.Second)), 0); err != nil {
		t.Fatal(err)
	}
	if out, err := load.Publish(ctx); err != nil || out.Rows != 11 || out.Dropped != 2 || out.Conflicts != 2 {
		t.Errorf("loaded %+v, %v", out, err)
	}
	all(t, d)
	if s := certify(t, d, seam).Symbols[0]; s.Trades != 30 || s.Missing+s.Duplicates != 0 {
		t.Errorf("%+v", s)
	}

	foreign, err := os.Create(filepath.Join(d.Path(), "trades", "date=2026-01-16", "foreign.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if err := encodeRows(foreign, trades("ETHUSDT", 5, 7, seam.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	c := certify(t, d, seam)
	if s := c.Symbols[0]; c.Complete() || s.Duplicates != 3 || s.Trades != 30 || s.Missing != 0 {
		t.Errorf("%+v", c.Symbols)
	}
}

// A Loader writes its segment again if another writer published some of its ids on the adjacent
// day.
func TestLoaderDropsIDsOfAdjacentDate(t *testing.T) {
	ctx := context.Background()
	d := newTape(t)
	load := d.NewLoader(Origin{Source: FromFile})
	rows := trades("ETHUSDT", 1, 20, day0)
	for i := range rows {
		rows[i].TradedAt = day0.UnixMicro() + int64(i)
	}
	if err := load.Add(ctx, rows, 0); err != nil {
		t.Fatal(err)
	}
	publish(t, d, trades("ETHUSDT", 20, 25, day0.Add(-6*time.Second)))
	if out, err := load.Publish(ctx); err != nil || out.Rows != 19 || out.Dropped != 1 || out.Conflicts != 1 {
		t.Errorf("loaded %+v, %v", out, err)
	}
	all(t, d)
}

// A time in another unit would make a record of thousands of years. Publish refuses it, and a file
// with one counts as broken.
func TestInvalidTimesAreRefused(t *testing.T) {
	for _, at := range []time.Time{
		time.UnixMicro(0), time.Date(2008, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		time.UnixMicro(1 << 62),
	} {
		d := newTape(t)
		publish(t, d, trades("ETHUSDT", 1, 10, day0))
		bad := trades("ETHUSDT", 11, 12, day0.Add(time.Minute))
		bad[1].TradedAt = at.UnixMicro()
		if _, err := d.Publish(context.Background(), bad, Origin{}); err == nil || !strings.Contains(err.Error(), "not a trade") {
			t.Errorf("%v: Publish returned %v", at, err)
		}
		for _, rows := range [][]Trade{bad, {bad[1], bad[0]}} { // sorted and unsorted
			file, err := os.Create(filepath.Join(d.Path(), "trades", "date=2026-01-15", "foreign.parquet"))
			if err != nil {
				t.Fatal(err)
			}
			if err := encodeRows(file, rows); err != nil {
				t.Fatal(err)
			}
			file.Close()
			c, err := d.Certify(context.Background(), day0, true)
			if err != nil || len(c.Broken) != 1 || len(c.Symbols) != 1 ||
				c.Symbols[0].Trades != 10 || len(c.Symbols[0].Days) != 1 {
				t.Errorf("%v: %+v, %v", at, c, err)
			}
			index := d.Index()
			if err := index.Refresh(context.Background()); err != nil || len(index.Broken()) != 1 {
				t.Errorf("%v: %v, %v", at, index.Broken(), err)
			}
		}
	}
	d := newTape(t)
	publish(t, d, trades("ETHUSDT", 1, 2, time.Date(2009, 1, 1, 0, 0, 0, 0, time.UTC)))
	publish(t, d, trades("ETHUSDT", 3, 4, time.Date(2099, 12, 31, 23, 59, 58, 0, time.UTC)))
	if c := certify(t, d, day0); len(c.Symbols[0].Days) != 33237 {
		t.Errorf("%d days", len(c.Symbols[0].Days))
	}
}

// Symbols are as the exchange spells them, and ids go up to MaxID.
func TestUnusualSymbolsAndIDs(t *testing.T) {
	d := newTape(t)
	const big = MaxID - 9 // not exact as a double
	symbols := []string{"币安人生USDT", "ÆØÅUSDT", "1000SATSUSDT", "A", "btc-usdt_2.x", strings.Repeat("X", 64)}
	for _, symbol := range symbols {
		rows := trades(symbol, big, big+9, day0)
		for i := range rows {
			rows[i].FirstTradeID, rows[i].LastTradeID = rows[i].ID, rows[i].ID
		}
		publish(t, d, rows)
		publish(t, d, trades(symbol, 1<<53+1, 1<<53+2, day0.Add(-time.Hour)))
	}
	got := all(t, d)
	segments, _, err := d.Segments(Trades, "2026-01-15", "2026-01-15")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Merge(context.Background(), "2026-01-15", segments, 1<<20, day0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, all(t, d)); diff != "" {
		t.Errorf("rows changed by merging (-before +after):\n%s", diff)
	}
	c := certify(t, d, day0)
	if len(c.Symbols) != len(symbols) || len(got) != len(symbols) {
		t.Fatalf("%+v", c)
	}
	for _, s := range c.Symbols {
		if s.Trades != 12 || s.FirstID != 1<<53+1 || s.LastID != big+9 || len(s.Gaps) != 1 ||
			s.Missing != big-(1<<53+3) {
			t.Errorf("%+v", s)
		}
	}
}

// readOnly is a file system that is mounted read-only.
type readOnly struct{ durable.Disk }

func (readOnly) Create(path string) (durable.File, error) {
	return nil, &os.PathError{Op: "open", Path: path, Err: syscall.EROFS}
}

func (readOnly) Mkdir(path string) error {
	return &os.PathError{Op: "mkdir", Path: path, Err: syscall.EROFS}
}

func TestCertifyReadOnlyVolume(t *testing.T) {
	writable := newTape(t)
	out := publish(t, writable, trades("ETHUSDT", 1, 10, day0))
	publish(t, writable, trades("ETHUSDT", 14, 20, day0.AddDate(0, 0, 1)))
	d, err := open(writable.Path(), readOnly{durable.OS{}})
	if err != nil {
		t.Fatal(err)
	}
	c := certify(t, d, day0)
	if !IsReadOnly(c.SaveErr) || c.Scanned != 2 || c.Symbols[0].Missing != 3 {
		t.Fatalf("%+v", c)
	}
	if _, err := d.PublishCoverage(context.Background(), c); !IsReadOnly(err) {
		t.Errorf("coverage: %v", err)
	}
	// If nothing new was read, nothing has to be saved.
	if c := certify(t, writable, day0); c.SaveErr != nil {
		t.Error(c.SaveErr)
	}
	if c := certify(t, d, day0); c.SaveErr != nil || c.Scanned != 0 || c.Symbols[0].Trades != 17 {
		t.Errorf("%+v", c)
	}
	if err := os.Remove(filepath.Join(d.Path(), out.Segments[0])); err != nil {
		t.Fatal(err)
	}
	if c := certify(t, d, day0); !IsReadOnly(c.SaveErr) || c.Symbols[0].Missing != 13 {
		t.Errorf("%+v", c)
	}
}

// A file with the columns of another table is listed as broken, because queries need the table's
// own.
func TestFileOfAnotherTableIsBroken(t *testing.T) {
	ctx := context.Background()
	d := newTape(t)
	out := publish(t, d, trades("ETHUSDT", 1, 10, day0))
	if _, err := d.PublishRuns(ctx, []Run{{ID: "a", FinishedAt: day0.UnixMicro()}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.PublishAlerts(ctx, []Alert{{Symbol: "ETHUSDT", At: day0.UnixMicro(), Extra: "{}"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.PublishCoverage(ctx, certify(t, d, day0)); err != nil {
		t.Fatal(err)
	}
	_, conflictsErr := d.PublishConflicts(ctx, []Conflict{{Symbol: "ETHUSDT", TradedAt: day0.UnixMicro()}})
	_, recorderErr := d.PublishRecorderEvents(ctx, []RecorderEvent{{At: day0.UnixMicro()}})
	_, dropsErr := d.PublishDrops(ctx, []Drop{{At: day0.UnixMicro()}})
	if err := errors.Join(conflictsErr, recorderErr, dropsErr); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(d.Path(), out.Segments[0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range allTables() {
		foreign := filepath.Join(string(table), "date=2026-01-15", "foreign.parquet")
		if table == Trades {
			runs, err := os.ReadDir(filepath.Join(d.Path(), "runs", "date=2026-01-15"))
			if err != nil {
				t.Fatal(err)
			}
			run, err := os.ReadFile(filepath.Join(d.Path(), "runs", "date=2026-01-15", runs[0].Name()))
			if err != nil {
				t.Fatal(err)
			}
			err = os.WriteFile(filepath.Join(d.Path(), foreign), run, 0o644)
			if err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(filepath.Join(d.Path(), foreign), content, 0o644); err != nil {
			t.Fatal(err)
		}
		good, broken, err := d.Segments(table, "", "")
		if err != nil || len(good) != 1 || len(broken) != 1 || broken[0].Path != foreign ||
			!strings.Contains(broken[0].Err.Error(), "has no column") {
			t.Errorf("%s: %v, %v, %v", table, good, broken, err)
		}
	}
	if c := certify(t, d, day0); len(c.Broken) != 1 || c.Symbols[0].Trades != 10 {
		t.Errorf("%+v", c)
	}
	// Reading and merging records skip it.
	for i := range 3 {
		if _, err := d.PublishRuns(ctx, []Run{{ID: fmt.Sprint(i), FinishedAt: day0.UnixMicro()}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, joined, err := d.MergeRecords(ctx, Runs, "2026-01-15", 1); err != nil || !joined {
		t.Fatal(joined, err)
	}
	if runs, err := d.ReadRuns("", ""); err != nil || len(runs) != 4 {
		t.Errorf("%+v, %v", runs, err)
	}
	if _, err := os.Stat(filepath.Join(d.Path(), "runs", "date=2026-01-15", "foreign.parquet")); err != nil {
		t.Error(err)
	}
}
