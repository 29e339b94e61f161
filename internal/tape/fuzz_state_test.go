package tape

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/idset"
)

// FuzzManifest opens a tape with any tape.json: it is opened with one of the feeds, or the error is one line
// that names the file, and the trades stay.
func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		`{"format":1,"feed":"aggTrade","made_at":"2026-01-15T00:00:00Z"}`, `{"format":9}`, `{"format":1,"feed":"x"}`, "", "null", "[]",
		`{"format":1,"feed":"trade","made_at":"\u001b[2J"}`, "\xff", "{",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		d := newTape(t)
		publish(t, d, trades("BTCUSDT", 1, 3, day0))
		path := filepath.Join(d.Path(), manifestName)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		opened, err := Open(d.Path())
		if err != nil {
			if text := err.Error(); !strings.Contains(text, d.Path()) || strings.ContainsAny(text, "\n\x1b\x00") {
				t.Fatalf("%q: %q", content, text)
			}
		} else if _, err := ParseFeed(string(opened.Feed())); err != nil {
			t.Fatalf("%q was opened: %v", content, err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("tape.json is now %q, %v", got, err)
		}
		if rows := all(t, d)["BTCUSDT"]; len(rows) != 3 {
			t.Fatalf("%d rows", len(rows))
		}
	})
}

// FuzzStateFiles reads and writes a tape whose state files have any content: no row is lost or counted
// otherwise, and everything can be written again.
func FuzzStateFiles(f *testing.F) {
	f.Add([]byte(`{"BTCUSDT":[{"first":3,"last":4,"asked_at":"2026-01-15T00:00:00Z"},{"first":2,"last":1}]}`))
	f.Add([]byte(`{"BTCUSDT":{"first_id":-1,"last_id":9223372036854775807,"first_at":"2026-01-15T00:00:00Z","last_at":"9999-01-15T00:00:00Z"}}`))
	f.Add([]byte(`{"generation":-1,"symbols":{"BTCUSDT":[[1,2,3,4]],"":[]}}`))
	f.Add([]byte(`{"files":{"x.parquet":{"size":1}}}`))
	f.Add([]byte(`["../x","\u0000"]`))
	f.Add([]byte("null"))
	names := []string{absentName, droppedName, extentName, notSymbolsName, scannedName("2026-01-15")}
	f.Fuzz(func(t *testing.T, content []byte) {
		d := newTape(t)
		rows := trades("BTCUSDT", 1, 9, day0)
		publish(t, d, append(rows[:4:4], rows[6:]...))
		for _, name := range names {
			path := d.state.Path(name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, err := Open(d.Path())
		if err != nil {
			t.Fatal(err)
		}
		index, now := d.Index(), day0.Add(time.Hour)
		if err := index.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ids := index.IDs("BTCUSDT"); ids.Count() != 7 {
			t.Fatalf("%d ids", ids.Count())
		}
		index.Gaps("BTCUSDT")
		for _, full := range []bool{false, true} {
			if _, err := d.Certify(t.Context(), now, full); err != nil {
				t.Fatal(err)
			}
		}
		_, errAbsent := d.Absent()
		ids := idset.Set{{First: 5, Last: 5}}
		if err := errors.Join(errAbsent, d.RecordAbsent("BTCUSDT", ids, now), d.RestoreDropped("BTCUSDT", ids)); err != nil {
			t.Fatal(err)
		}
		publish(t, d, trades("ETHUSDT", 5, 6, day0))
		if got := all(t, d); len(got["BTCUSDT"]) != 7 || len(got["ETHUSDT"]) != 2 {
			t.Fatalf("%d and %d rows", len(got["BTCUSDT"]), len(got["ETHUSDT"]))
		}
	})
}

// FuzzPending opens a tape in whose staging directory a replacement of any description was interrupted: files
// outside of the partitions of the tape stay.
func FuzzPending(f *testing.F) {
	for _, seed := range []string{
		`{"table":"trades","date":"2026-01-15","replaced":{"x.parquet":true}}`, `{"table":"trades","date":"../../outside","replaced":{"file":true}}`,
		`{"table":"../outside","date":"","replaced":{"file":true}}`, `{"replaced":{"../../../outside/file":true,"..":true,"":true,".":true}}`, "null", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		d := newTape(t)
		publish(t, d, trades("BTCUSDT", 1, 3, day0))
		var victims []string
		for _, dir := range []string{"outside", "date=outside", "outside/date=", "outside/date=x"} {
			victim := filepath.Join(filepath.Dir(d.Path()), dir, "file")
			if err := os.MkdirAll(filepath.Dir(victim), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(victim, []byte("stays"), 0o644); err != nil {
				t.Fatal(err)
			}
			victims = append(victims, victim)
		}
		pending := filepath.Join(d.StagingPath(), movingPrefix+"a")
		if err := os.Mkdir(pending, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(pending, movingName), content, 0o600); err != nil {
			t.Fatal(err)
		}
		opened, err := Open(d.Path())
		if err == nil {
			_, err = opened.Publish(context.Background(), trades("ETHUSDT", 1, 2, day0), Origin{Source: FromStream})
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\x1b\x00") {
			t.Fatalf("%q", err)
		}
		for _, victim := range victims {
			if text, err := os.ReadFile(victim); err != nil || string(text) != "stays" {
				t.Fatalf("%s: %q, %v", victim, text, err)
			}
		}
	})
}

// FuzzDecimalText parses any text as a decimal: what is accepted are digits with at most one point.
func FuzzDecimalText(f *testing.F) {
	for _, seed := range []string{"1.50", ".5", "5.", ".", "", "-1", "1e5", "0x1", "1_0", "٣", "inf", "NaN", strings.Repeat("9", 400), "0." + strings.Repeat("0", 400) + "1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		value, _, err := ParseDecimal(text)
		if err != nil {
			return
		}
		if !(value >= 0) || len(text) == 0 || strings.Trim(string(text), "0123456789.") != "" || bytes.Count(text, []byte(".")) > 1 {
			t.Fatalf("%q is the number %v", text, value)
		}
	})
}
