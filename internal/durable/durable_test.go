package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWriteFileKeepsTheOldFileWhenWritingFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := WriteFile(t.Context(), path, func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "old" {
		t.Errorf("content %q, error %v", text, err)
	}
	if err := WriteFile(t.Context(), path, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("permissions %v, error %v", info.Mode(), err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files left: %v, error %v", files, err)
	}
}

func TestWriteFileErrorNamesOnlyThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "report.html")
	err := WriteFile(t.Context(), path, func(io.Writer) error { return nil })
	if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), ".tmp") {
		t.Errorf("error %v", err)
	}
}

func TestTryLockReportsAHeldLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	unlock, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v, want ErrLocked", err)
	}
	unlock()
	again, err := TryLock(path)
	if err != nil {
		t.Fatalf("after unlocking: %v", err)
	}
	again()
}

func TestAbandonedIsFalseWhileTheWriterLives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.tmp")
	file, err := OS{}.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if Abandoned(path) {
		t.Error("abandoned while it is open")
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if !Abandoned(path) {
		t.Error("not abandoned after it was closed")
	}
}

func TestOpenLockedExcludesOthersUntilItIsClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "download.part")
	file, err := OpenLocked(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLocked(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second opening: %v, want ErrLocked", err)
	}
	file.Close()
	again, err := OpenLocked(path)
	if err != nil {
		t.Fatalf("after closing: %v", err)
	}
	again.Close()
}

func TestReplaceUnsyncedLeavesNoTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "budget.json")
	for _, text := range []string{"old", "new"} {
		if err := ReplaceUnsynced(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("content %q, error %v", got, err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files: %v, error %v", files, err)
	}
}
