package tape

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// copySegments copies segments of a tape into another one.
func copySegments(t *testing.T, from, to *Dir, paths []string) {
	t.Helper()
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(from.Path(), path))
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(to.Path(), path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSegmentsOfAnotherTapeAreLeftOut copies segments with other ids and with the same ids from another tape.
func TestSegmentsOfAnotherTapeAreLeftOut(t *testing.T) {
	const symbol = "BTCUSDT"
	d, other := newTape(t), newTape(t)
	publish(t, d, trades(symbol, 10, 39, second(100)))
	copied := publish(t, other, trades(symbol, 40, 49, second(130))).Segments
	same := trades(symbol, 10, 34, second(100))
	for i := range same {
		same[i].Price *= 2
	}
	copied = append(copied, publish(t, other, same).Segments...)
	copySegments(t, other, d, copied)

	index := d.Index()
	if err := index.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strays := index.Strays(); len(strays) != 2 || !strays[0].isOtherTape() || index.IDs(symbol).Count() != 30 || len(index.StrayIDs(symbol)) > 0 {
		t.Errorf("strays %v, ids %v, ids of strays %v", strays, index.IDs(symbol), index.StrayIDs(symbol))
	}
	segments, broken, err := d.TradesOf(DateOf(day0.UnixMicro()))
	if err != nil || len(segments) != 1 || len(broken) != 2 {
		t.Errorf("segments %v, broken %v, %v", segments, broken, err)
	}
	for range 2 { // scanned, and from what was saved
		c, err := d.Certify(t.Context(), second(1000), false)
		if err != nil || c.Complete() || len(c.Strays) != 2 || c.Symbols[0].Trades != 30 {
			t.Errorf("%v, strays %v, complete: %t", err, c.Strays, c.Complete())
		}
	}
	// They are neither what a publication meets nor what it is compared with.
	if got := publish(t, d, trades(symbol, 10, 44, second(100))); got.Rows != 5 || got.Conflicts != 0 {
		t.Errorf("published %+v", got)
	}
	got, err := d.Repair(t.Context(), second(1000), nil)
	if err != nil || got.Moved != 5 || got.Twice != 5 || got.Conflicts != 0 || len(got.Left) != 1 {
		t.Errorf("%+v, %v", got, err) // the other world stays
	}
}

// TestSegmentsOfAnyTape: a tape that an earlier version created cannot tell its segments from others, and what an
// earlier version or another program wrote is of any tape.
func TestSegmentsOfAnyTape(t *testing.T) {
	withoutID := func(d *Dir) *Dir {
		path := filepath.Join(d.Path(), manifestName)
		if err := os.WriteFile(path, []byte(`{"format":1,"feed":"aggTrade","made_at":"2026-01-15T00:00:00Z"}`), 0o644); err != nil {
			t.Fatal(err)
		}
		again, err := Open(d.Path())
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	for _, c := range [][2]*Dir{{newTape(t), withoutID(newTape(t))}, {withoutID(newTape(t)), newTape(t)}} {
		from, to := c[0], c[1]
		publish(t, to, trades("BTCUSDT", 10, 19, second(100)))
		copySegments(t, from, to, publish(t, from, trades("BTCUSDT", 20, 29, second(110))).Segments)
		if certificate, err := to.Certify(t.Context(), second(1000), false); err != nil || !certificate.Complete() {
			t.Errorf("%v, %v", certificate.Strays, err)
		}
	}
}

// TestManifestOfAnotherTapeIsNoticed also requires the line that tape.json had, with an id that no segment can
// change into a command.
func TestManifestOfAnotherTapeIsNoticed(t *testing.T) {
	d, other := newTape(t), newTape(t)
	publish(t, d, trades("BTCUSDT", 10, 19, second(100)))
	copySegments(t, other, d, []string{manifestName, emptyPath(Trades)})
	var problem *ManifestError
	if err := d.CheckManifest(); !errors.As(err, &problem) || !strings.Contains(problem.Content, d.manifest.ID) {
		t.Errorf("%v, %+v", err, problem)
	}
	if text := describeManifest(d.catalog); !strings.Contains(text, other.manifest.ID) && !strings.Contains(text, d.manifest.ID) {
		t.Errorf("tape.json was %s", text)
	}
	publish(t, d, trades("BTCUSDT", 20, 29, second(24*60*60)))
	if text := describeManifest(d.catalog); !strings.Contains(text, d.manifest.ID) {
		t.Errorf("tape.json was %s, want the id %s", text, d.manifest.ID)
	}
	hostile := newTape(t)
	staged, _, err := hostile.staging.write(stagedName("stream"), func(w io.Writer) error {
		rows := trades("BTCUSDT", 1, 2, second(0))
		writer := parquet.NewGenericWriter[Trade](w, writerOptions()...)
		if err := setMetadata(writer, runsOf(rows), identity{AggTrade, "'; rm -r ~ #"}, Origin{Source: FromStream}); err != nil {
			return err
		}
		if _, err := writer.Write(rows); err != nil {
			return err
		}
		return writer.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hostile.publisher.publish(staged, Trades, DateOf(day0.UnixMicro())); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(hostile.catalog.partition(Trades, emptyDate)); err != nil {
		t.Fatal(err)
	}
	if text := describeManifest(hostile.catalog); !strings.Contains(text, `"aggTrade"`) || strings.Contains(text, "'") {
		t.Errorf("tape.json was %s", text)
	}
}
