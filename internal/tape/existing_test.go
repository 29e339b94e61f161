package tape

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// manyRows returns n rows of each symbol, a millisecond apart.
func manyRows(n int64, symbols ...string) []Trade {
	var out []Trade
	for _, symbol := range symbols {
		rows := trades(symbol, 1, n, day0)
		for i := range rows {
			rows[i].TradedAt = day0.UnixMicro() + int64(i)*1000
		}
		out = append(out, rows...)
	}
	return out
}

// TestLoaderComparesWhileFilesAreReplaced compares with many files, which a compaction replaces in
// between.
func TestLoaderComparesWhileFilesAreReplaced(t *testing.T) {
	d := newTape(t)
	rows := manyRows(3000, "AUSDT", "BUSDT")
	for i := range 20 {
		var batch []Trade
		for k := i; k < len(rows); k += 20 {
			batch = append(batch, rows[k])
		}
		publish(t, d, batch)
	}
	again := slices.Clone(rows)
	for _, i := range []int{5, 2500, 4000, 5999} {
		again[i].IsBuyerMaker = !again[i].IsBuyerMaker
	}
	l := d.NewLoader(Origin{Source: FromFile})
	defer l.Discard()
	for i, part := range [][]Trade{again[:100], again[100:3500], again[3500:]} {
		if err := l.Add(context.Background(), part, 0); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			mergeEverything(t, d)
		}
	}
	if out, err := l.Publish(context.Background()); err != nil || out.Conflicts != 4 || out.Dropped != 6000 || out.Unreadable != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

// Rows that cannot be compared because their segment is damaged are left out as before, and counted.
func TestDamagedSegmentIsNotCompared(t *testing.T) {
	d := newTape(t)
	damaged := publish(t, d, manyRows(5000, "AUSDT")).Segments[0]
	publish(t, d, manyRows(100, "BUSDT"))
	path := filepath.Join(d.Path(), damaged)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 100; i < len(content)/2; i++ {
		content[i] ^= 0xff
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	again := append(manyRows(50, "AUSDT"), manyRows(100, "BUSDT")...)
	again[60].Price++
	for name, publish := range publications() {
		out, err := publish(d, slices.Clone(again), Origin{Source: FromFile})
		if err != nil || out.Unreadable != 50 || out.Conflicts != 1 || out.Dropped != 150 {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
}

// TestExistingRowsAreBounded reads more rows than are held at a time, in several symbols whose row
// groups are needed again.
func TestExistingRowsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes more than a million rows")
	}
	d := newTape(t)
	const n = 600_000
	var rows []Trade
	for _, symbols := range [][]string{{"AUSDT"}, {"BUSDT"}, {"CUSDT"}} {
		part := manyRows(n, symbols...)
		rows = append(rows, part...)
		publish(t, d, part)
	}
	again := slices.Clone(rows)
	for i := 7; i < len(again); i += 100_000 {
		again[i].Qty++
	}
	existing := d.newExistingRows([]string{"2026-01-15"})
	differing := 0
	for round := range 2 {
		for start := 0; start < len(again); start += n / 4 {
			absent, err := existing.each(again[start:start+n/4], func(row *Trade, c *columns, i int, _ Origin) {
				if !c.sameContent(i, row) {
					differing++
				}
			})
			if err != nil || absent != 0 || existing.rows > maxExistingRows+rowGroupRows {
				t.Fatalf("round %d: %d absent, %d rows held, %v", round, absent, existing.rows, err)
			}
		}
	}
	if want := 2 * len(again) / 100_000; differing != want {
		t.Errorf("%d rows differ, want %d", differing, want)
	}
}

// A publication with more conflicts than are kept is refused, however many agree.
func TestConflictsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes half a million rows")
	}
	d := newTape(t)
	rows := manyRows(disagreeMost*5/2, "AUSDT")
	publish(t, d, rows)
	for i := range rows {
		if i%9 < 4 {
			rows[i].Qty++
		}
	}
	var disagreement *DisagreementError
	if out, err := load(d, rows, Origin{Source: FromFile}); !errors.As(err, &disagreement) || len(conflictsOf(t, d)) > 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(d.Path(), "trades", "date=2026-01-15")); err != nil || len(segmentsOf(t, d)) != 1 {
		t.Error(err)
	}
}
