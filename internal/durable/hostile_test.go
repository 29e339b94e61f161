package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// victim creates a file outside of the directory that is written to.
func victim(t *testing.T) (path string, check func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(path, []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, func() {
		t.Helper()
		if text, err := os.ReadFile(path); err != nil || string(text) != "untouched" {
			t.Errorf("the file that the link names: %q, %v", text, err)
		}
	}
}

func TestReplaceUnsyncedDoesNotFollowLinks(t *testing.T) {
	for name, link := range map[string]func(string, string) error{"symbolic": os.Symlink, "hard": os.Link} {
		t.Run(name, func(t *testing.T) {
			target, check := victim(t)
			path := filepath.Join(t.TempDir(), "budget.json")
			if err := link(target, path+".tmp"); err != nil {
				t.Fatal(err)
			}
			if err := ReplaceUnsynced(path, []byte("new")); err != nil {
				t.Fatal(err)
			}
			check()
			if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() != 3 {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
}

func TestReplaceUnsyncedReplacesWhatAKilledProcessLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "budget.json")
	if err := os.WriteFile(path+".tmp", []byte("half of a longer text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceUnsynced(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestOpenLockedDoesNotFollowLinks puts links at the name of a download: a new file replaces them.
func TestOpenLockedDoesNotFollowLinks(t *testing.T) {
	for name, link := range map[string]func(string, string) error{"symbolic": os.Symlink, "hard": os.Link} {
		t.Run(name, func(t *testing.T) {
			target, check := victim(t)
			path := filepath.Join(t.TempDir(), "download.part")
			if err := link(target, path); err != nil {
				t.Fatal(err)
			}
			file, err := OpenLocked(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := file.Truncate(0); err != nil {
				t.Fatal(err)
			}
			check()
		})
	}
}

func TestLockRefusesALink(t *testing.T) {
	dir := t.TempDir()
	target, path := filepath.Join(dir, "created"), filepath.Join(dir, "a.lock")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	_, err := TryLock(path)
	var irregular *IrregularError
	if !errors.As(err, &irregular) || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what the link names was created: %v", err)
	}
}

// TestNothingBlocksOnAPipe opens a pipe that has no other end in every way that opens a file.
func TestNothingBlocksOnAPipe(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() error{
		"Open":     func() error { _, err := Open(path); return err },
		"OpenOwn":  func() error { _, err := OpenOwn(path); return err },
		"ReadFile": func() error { _, err := ReadFile(path, 1000); return err },
		"Lock":     func() error { _, err := Lock(path); return err },
		"SyncFile": func() error { return OS{}.SyncFile(path) },
	} {
		var irregular *IrregularError
		if err := open(); !errors.As(err, &irregular) || !strings.Contains(err.Error(), "a pipe, not a regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if Abandoned(path) || Held(path) {
		t.Error("a pipe counts as a file")
	}
}

func TestOpenRefusesWhatIsNotARegularFile(t *testing.T) {
	dir := t.TempDir()
	regular, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(regular, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(regular, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: "a directory", "/dev/zero": "a device"} {
		if _, err := ReadFile(path, 1000); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if text, err := ReadFile(link, 4); err != nil || string(text) != "text" {
		t.Errorf("through a link: %q, %v", text, err)
	}
	if _, err := ReadFile(regular, 3); err == nil || !strings.Contains(err.Error(), "larger than 3 bytes") {
		t.Errorf("larger than allowed: %v", err)
	}
	if _, err := OpenOwn(link); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("an own file that is a link: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestReplacePrivateIsReadableByItsOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stream.json")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ReplacePrivate(OS{}, dir, path, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestWriteFileDoesNotFollowALink replaces a link by the file.
func TestWriteFileDoesNotFollowALink(t *testing.T) {
	target, check := victim(t)
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(t.Context(), path, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
		t.Fatal(err)
	}
	check()
}

// TestMakePrivateTightensWhatExists as an earlier version left it.
func TestMakePrivateTightensWhatExists(t *testing.T) {
	target, check := victim(t)
	dir := filepath.Join(t.TempDir(), ".state")
	sub := filepath.Join(dir, "outbox")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	files := []string{filepath.Join(dir, "stream.json"), filepath.Join(sub, "1.json")}
	for _, path := range files {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(target, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o755, sub: 0o755, files[0]: 0o644, files[1]: 0o644, target: 0o644} { // whatever the umask
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		MakePrivate(dir)
		for path, want := range map[string]os.FileMode{dir: 0o700, sub: 0o700, files[0]: 0o600, files[1]: 0o600, target: 0o644} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
			}
		}
	}
	check()
}
