package tape

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tapedeck/internal/durable"
)

// linkAway replaces a directory of a tape by a link to a directory with somebody else's old files.
func linkAway(t *testing.T, dir string) (victim string) {
	t.Helper()
	victim = t.TempDir()
	old := time.Now().Add(-30 * 24 * time.Hour)
	for _, name := range []string{"thesis.txt", "repair-20260101T000000-0123456789abcdef01234567", "stream-0123456789abcdef01234567.parquet.tmp"} {
		path := filepath.Join(victim, name)
		if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, dir); err != nil {
		t.Fatal(err)
	}
	return victim
}

func checkUntouched(t *testing.T, victim string) {
	t.Helper()
	if entries, err := os.ReadDir(victim); err != nil || len(entries) != 3 {
		t.Errorf("the directory that the link names has %v, %v", entries, err)
	}
}

var linkedDirs = []string{".aside", ".staging", ".state", ".state/scanned", ".state/judged", ".state/minutes", ".state/watched",
	".state/outbox", ".state/begun"}

// TestOpenRefusesLinkedDirs: what is in these directories is replaced and deleted, so that a link would
// reach files that are not of the tape.
func TestOpenRefusesLinkedDirs(t *testing.T) {
	for _, name := range linkedDirs {
		t.Run(name, func(t *testing.T) {
			d := newTape(t)
			victim := linkAway(t, filepath.Join(d.Path(), name))
			var linked *durable.LinkedDirError
			if _, err := Open(d.Path()); !errors.As(err, &linked) || linked.Path != filepath.Join(d.Path(), name) {
				t.Error("Open:", err)
			}
			if _, err := Create(d.Path(), "", time.Now()); !errors.As(err, &linked) {
				t.Error("Create:", err)
			}
			checkUntouched(t, victim)
			// A new tape is created in what is there.
			if err := os.Remove(filepath.Join(d.Path(), manifestName)); err != nil {
				t.Fatal(err)
			}
			if _, err := Create(d.Path(), "", time.Now()); !errors.As(err, &linked) {
				t.Error("Create without tape.json:", err)
			}
			checkUntouched(t, victim)
		})
	}
}

// TestSweepRefusesLinkedDirs that appeared while the tape was open.
func TestSweepRefusesLinkedDirs(t *testing.T) {
	for _, name := range []string{".aside", ".staging"} {
		t.Run(name, func(t *testing.T) {
			d := newTape(t)
			victim := linkAway(t, filepath.Join(d.Path(), name))
			var linked *durable.LinkedDirError
			if n, err := d.Sweep(time.Now()); n != 0 || !errors.As(err, &linked) {
				t.Error(n, err)
			}
			checkUntouched(t, victim)
		})
	}
}

// TestOpenFollowsALinkToTheDataDirectory, and to its partitions, which readers handle.
func TestOpenFollowsALinkToTheDataDirectory(t *testing.T) {
	d := newTape(t)
	link := filepath.Join(t.TempDir(), "data")
	if err := os.Symlink(d.Path(), link); err != nil {
		t.Fatal(err)
	}
	other, err := Open(link)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Sweep(time.Now()); err != nil {
		t.Error(err)
	}
}

// TestSweepLeavesWhatTapedeckDidNotName, however old it is.
func TestSweepLeavesWhatTapedeckDidNotName(t *testing.T) {
	d := newTape(t)
	old := time.Now().Add(-30 * 24 * time.Hour)
	put := func(name string, isDir bool) {
		path := filepath.Join(d.Path(), name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil && isDir {
			err = os.Mkdir(path, 0o755)
		} else if err == nil {
			err = os.WriteFile(path, []byte("x"), 0o644)
		}
		if err == nil {
			err = os.Chtimes(path, old, old)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	kept := []string{".aside/notes", ".aside/repair-mine", ".staging/thesis.txt", ".staging/notes.tmp", ".staging/a.parquet", ".staging/b.part"}
	for _, name := range kept {
		put(name, name == ".aside/notes" || name == ".aside/repair-mine")
	}
	swept := []string{
		".aside/" + asideName(old), ".staging/" + stagedName("stream"), ".staging/" + durable.UniqueName("state", ".tmp"),
		".staging/sort-123456.tmp", ".staging/BTCUSDT-aggTrades-2026-01-15.zip.part",
		".staging/" + durable.UniqueName("BTCUSDT-trades-2026-01-15.zip", ".part"),
	}
	for _, name := range swept {
		put(name, filepath.Dir(name) == ".aside")
	}
	if n, err := d.Sweep(time.Now()); n != len(swept)-1 || err != nil {
		t.Error(n, err)
	}
	for _, name := range kept {
		if _, err := os.Lstat(filepath.Join(d.Path(), name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range swept {
		if _, err := os.Lstat(filepath.Join(d.Path(), name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLinkedReplacementIsNotFinished: a link in the staging directory with the name of a replacement under way
// is not tapedeck's. Nothing behind it moves, and no segment is removed.
func TestLinkedReplacementIsNotFinished(t *testing.T) {
	d := newTape(t)
	out := publish(t, d, trades("BTCUSDT", 1, 3, day0))
	victim := t.TempDir()
	text, err := json.Marshal(moving{Trades, day0.Format(time.DateOnly), map[string]bool{filepath.Base(out.Segments[0]): true}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{movingName: text, "thesis.txt": []byte("mine")} {
		if err := os.WriteFile(filepath.Join(victim, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(victim, filepath.Join(d.StagingPath(), durable.UniqueName(movingPrefix, ""))); err != nil {
		t.Fatal(err)
	}
	publish(t, d, trades("ETHUSDT", 1, 2, day0))
	if rows := all(t, d); len(rows["BTCUSDT"]) != 3 || len(rows["ETHUSDT"]) != 2 {
		t.Errorf("rows on the tape: %v", rows)
	}
	if entries, err := os.ReadDir(victim); err != nil || len(entries) != 2 {
		t.Errorf("the directory that the link names has %v, %v", entries, err)
	}
}
