package tape

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tapedeck/internal/durable"
	"tapedeck/internal/idset"
)

func certify(t *testing.T, d *Dir, now time.Time) Certificate {
	t.Helper()
	c, err := d.Certify(context.Background(), now, false)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// days formats a symbol's certificate, one line for each day.
func days(c Certificate, symbol string) []string {
	var out []string
	for _, s := range c.Symbols {
		if s.Symbol == symbol {
			for _, d := range s.Days {
				out = append(out, fmt.Sprintf("%s %s trades=%d missing=%d absent=%d",
					d.Date[5:], d.State, d.Trades, d.Missing, d.AbsentAtSource))
			}
		}
	}
	return out
}

func TestCertifyStates(t *testing.T) {
	d := newTape(t)
	day := func(n int) time.Time { return day0.AddDate(0, 0, n) }
	publish(t, d, trades("ETHUSDT", 101, 110, day(0)))
	publish(t, d, trades("ETHUSDT", 111, 120, day(1)))
	// Day 2 has no trades. Between days 3 and 4 five ids are missing. Day 5 has a gap of two ids that
	// the exchange does not have. Day 6 is today.
	publish(t, d, trades("ETHUSDT", 121, 130, day(3)))
	publish(t, d, trades("ETHUSDT", 136, 140, day(4)))
	publish(t, d, trades("ETHUSDT", 141, 145, day(5)))
	publish(t, d, trades("ETHUSDT", 148, 150, day(5).Add(time.Hour)))
	publish(t, d, trades("ETHUSDT", 151, 160, day(6)))
	if err := d.RecordAbsent("ETHUSDT", idset.Set{{First: 146, Last: 147}}, day(6)); err != nil {
		t.Fatal(err)
	}
	now := day(6).Add(time.Hour)
	want := []string{
		"01-15 open trades=10 missing=0 absent=0",
		"01-16 proven trades=10 missing=0 absent=0",
		"01-17 proven trades=0 missing=0 absent=0",
		"01-18 gap trades=10 missing=5 absent=0",
		"01-19 gap trades=5 missing=0 absent=0",
		"01-20 absent trades=8 missing=0 absent=2",
		"01-21 open trades=10 missing=0 absent=0",
	}
	c := certify(t, d, now)
	if diff := cmp.Diff(want, days(c, "ETHUSDT")); diff != "" {
		t.Fatal(diff)
	}
	gaps := c.Symbols[0].Gaps
	if c.Complete() || len(gaps) != 1 || gaps[0].First != 131 || gaps[0].Last != 135 {
		t.Fatalf("%+v", c)
	}
	again := certify(t, d, now)
	if again.Scanned != 0 || !cmp.Equal(c, again, cmpopts.IgnoreFields(Certificate{}, "Scanned")) {
		t.Fatalf("the second certificate differs; %d files scanned", again.Scanned)
	}
	publish(t, d, trades("ETHUSDT", 131, 135, day(3).Add(time.Hour)))
	if c := certify(t, d, now); !c.Complete() || c.Scanned != 1 {
		t.Fatalf("%+v", c)
	}
}

func TestCertifyFindsLaterDamage(t *testing.T) {
	d := newTape(t)
	path := publish(t, d, trades("ETHUSDT", 1, 5000, day0)).Segments[0]
	if c := certify(t, d, day0.AddDate(0, 0, 1)); !c.Complete() {
		t.Fatalf("%+v", c)
	}
	full := filepath.Join(d.Path(), path)
	content, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	for i := 100; i < len(content)/2; i++ {
		content[i] ^= 0x5a
	}
	if err := os.WriteFile(full, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(full, day0, day0); err != nil {
		t.Fatal(err)
	}
	c := certify(t, d, day0.AddDate(0, 0, 1))
	if c.Complete() || len(c.Broken) != 1 || c.Broken[0].Path != path || c.Symbols[0].Missing != 5000 {
		t.Fatalf("%+v", c)
	}
}

func TestCertifyCountsDuplicates(t *testing.T) {
	d := newTape(t)
	publish(t, d, trades("ETHUSDT", 1, 100, day0))
	file, err := os.Create(filepath.Join(d.Path(), "trades", "date=2026-01-15", "foreign.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	rows := append(trades("ETHUSDT", 91, 110, day0), trades("ETHUSDT", 105, 106, day0.Add(-time.Hour))...)
	if err := encodeRows(file, rows); err != nil {
		t.Fatal(err)
	}
	file.Close()
	c := certify(t, d, day0)
	s := c.Symbols[0]
	if s.Duplicates != 12 || s.Trades != 110 || s.Missing != 0 || c.Misplaced != 2 || c.Complete() {
		t.Fatalf("%+v", c)
	}
}

// stageRows writes the rows of segments to one staged file and returns its path.
func stageRows(t *testing.T, d *Dir, segments []Segment) string {
	t.Helper()
	var rows []Trade
	for _, s := range segments {
		part, err := d.ReadTrades(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, part...)
	}
	path := filepath.Join(d.StagingPath(), stagedName("compact"))
	writeRows(t, path, rows)
	return path
}

// writeRows writes rows to a new file at path.
func writeRows(t *testing.T, path string, rows []Trade) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := encodeRows(file, rows); err != nil {
		t.Fatal(err)
	}
}

func TestReplaceKeepsSegmentsPublishedMeanwhile(t *testing.T) {
	for _, atomic := range []bool{true, false} {
		d := newTape(t)
		if !atomic {
			var err error
			if d, err = open(d.Path(), noExchange{durable.OS{}}); err != nil {
				t.Fatal(err)
			}
		}
		publish(t, d, trades("ETHUSDT", 1, 100, day0))
		publish(t, d, trades("BTCUSDT", 1, 100, day0))
		old, _, err := d.Segments(Trades, "", "")
		if err != nil {
			t.Fatal(err)
		}
		staged := stageRows(t, d, old)
		publish(t, d, trades("ETHUSDT", 101, 150, day0.Add(100*time.Second)))
		out, err := d.publisher.replaceTrades(context.Background(), "2026-01-15", []string{staged}, old)
		if err != nil || out.Atomic != atomic || out.Before != 2 || out.After != 1 {
			t.Fatal(out, err)
		}
		if now, _, _ := d.Segments(Trades, "", ""); len(now) != 2 {
			t.Fatal(now)
		}
		rows := all(t, d)
		if len(rows["ETHUSDT"]) != 150 || len(rows["BTCUSDT"]) != 100 {
			t.Fatal("rows lost")
		}
		if _, err := d.publisher.replaceTrades(context.Background(), "2026-01-15", nil, old); err == nil {
			t.Fatal("replaced segments that do not exist")
		}
		if out := publish(t, d, trades("ETHUSDT", 1, 150, day0)); out.Rows != 0 {
			t.Fatal("rows published again after they were replaced", out)
		}
		if _, err := d.Sweep(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(d.StagingPath()); len(left) != 0 {
			t.Fatal(left)
		}
	}
}

func TestReplaceRefusesDifferentIDs(t *testing.T) {
	d := newTape(t)
	publish(t, d, trades("ETHUSDT", 1, 100, day0))
	old, _, _ := d.Segments(Trades, "", "")
	for name, rows := range map[string][]Trade{
		"fewer":          trades("ETHUSDT", 1, 99, day0),
		"repeated":       append(trades("ETHUSDT", 1, 100, day0), trades("ETHUSDT", 100, 100, day0)...),
		"another date":   trades("ETHUSDT", 1, 100, day0.AddDate(0, 0, 1)),
		"another symbol": trades("ETHUSDC", 1, 100, day0),
	} {
		path := filepath.Join(d.StagingPath(), stagedName("compact"))
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := encodeRows(file, rows); err != nil {
			t.Fatal(err)
		}
		file.Close()
		if _, err := d.publisher.replaceTrades(context.Background(), "2026-01-15", []string{path}, old); err == nil {
			t.Fatal(name, "was accepted")
		}
		if len(all(t, d)["ETHUSDT"]) != 100 {
			t.Fatal(name, "changed the tape")
		}
	}
}

type noExchange struct{ durable.Disk }

func (noExchange) Exchange(string, string) error { return errors.ErrUnsupported }

func TestCoverageHasOneRowPerSymbolAndDay(t *testing.T) {
	d := newTape(t)
	publish(t, d, trades("ETHUSDT", 1, 10, day0))
	for i, want := range []int64{1, 0} {
		out, err := d.PublishCoverage(context.Background(), certify(t, d, day0.Add(time.Duration(i)*time.Hour)))
		if err != nil || out.Rows != want {
			t.Fatal(out, err)
		}
	}
	publish(t, d, trades("ETHUSDT", 13, 20, day0.Add(time.Minute)))
	if _, err := d.PublishCoverage(context.Background(), certify(t, d, day0.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	rows, err := readTable[CoverageRow](d.catalog, Coverage, "", "")
	if err != nil || len(rows) != 1 || rows[0].Missing != 2 || rows[0].State != StateGap ||
		rows[0].CheckedAt != day0.Add(time.Hour).UnixMicro() {
		t.Fatal(rows, err)
	}
}

// A full check verifies the checksum of every page, also of columns that the ids do not need.
func TestFullCertifyFindsDamagedPages(t *testing.T) {
	d := newTape(t)
	published := publish(t, d, trades("BTCUSDT", 1, 5000, day0))
	path := filepath.Join(d.Path(), published.Segments[0])
	file, _, err := openParquet(path)
	if err != nil {
		t.Fatal(err)
	}
	price, ok := file.Schema().Lookup("price")
	if !ok {
		t.Fatal("no price")
	}
	meta := file.Metadata().RowGroups[0].Columns[price.ColumnIndex].MetaData
	file.close()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	now := day0.Add(48 * time.Hour)
	if c, err := d.Certify(context.Background(), now, true); err != nil || len(c.Broken) > 0 {
		t.Fatal(c.Broken, err)
	}
	content[meta.DataPageOffset+meta.TotalCompressedSize/2] ^= 1
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := d.Certify(context.Background(), now, true)
	if err != nil || len(c.Broken) != 1 || c.Complete() {
		t.Errorf("%+v %v", c.Broken, err)
	}
}
