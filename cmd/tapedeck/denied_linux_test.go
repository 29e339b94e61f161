package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapedeck/internal/tape"
)

// TestVerifyNoticesPermissions checks a tape as a user who may not read one of its files. The certificate does
// not rest on what an earlier check read, and is complete again once the file may be read.
func TestVerifyNoticesPermissions(t *testing.T) {
	if !mayChangeUser() {
		t.Skip("this user cannot run commands as another user")
	}
	base := t.TempDir()
	dir, err := tape.Create(filepath.Join(base, "data"), tape.AggTrade, oracleDay)
	if err != nil {
		t.Fatal(err)
	}
	row := tape.Trade{Symbol: "BTCUSDT", ID: 1, Price: 1, Qty: 1, TradedAt: oracleDay.UnixMicro()}
	if _, err := dir.Publish(t.Context(), []tape.Trade{row}, tape.Origin{Source: tape.FromStream, At: oracleDay}); err != nil {
		t.Fatal(err)
	}
	segments, _, err := dir.Segments(tape.Trades, "2026-01-15", "2026-01-15")
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	path := filepath.Join(dir.Path(), segments[0].Path)
	giveTo(t, otherUser, dir.Path())
	verify := func() (status int, said string) {
		command := exec.Command("tapedeck", "verify", "--data-dir", dir.Path(), "--now", oracleDay.Add(time.Hour).Format(time.RFC3339))
		command.Path = "/proc/self/exe" // another user may not enter the directory of the command
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser}}
		command.Dir = "/"
		out, err := command.CombinedOutput()
		if command.ProcessState == nil {
			t.Fatal(err)
		}
		return command.ProcessState.ExitCode(), string(out)
	}
	for _, step := range []struct {
		mode   os.FileMode
		status int
	}{{0o644, exitDone}, {0, exitPartial}, {0, exitPartial}, {0o644, exitDone}} {
		if err := os.Chmod(path, step.mode); err != nil {
			t.Fatal(err)
		}
		status, said := verify()
		if status != step.status || step.mode == 0 && !strings.Contains(said, segments[0].Path) {
			t.Errorf("with the mode %o, verify exits with %d:\n%s", step.mode, status, said)
		}
	}
}

// TestBackfillDoesNotFetchWhatItMayNotRead: its rows would be on the tape twice once the file may be read.
func TestBackfillDoesNotFetchWhatItMayNotRead(t *testing.T) {
	switch {
	case testing.Short():
		t.Skip("takes long with the race detector; make test-all runs it")
	case !mayChangeUser():
		t.Skip("this user cannot run commands as another user")
	}
	a := newAttacker(t, 8)
	a.wait(time.Minute)
	if status, _, stderr := a.run("backfill", "--symbols", strings.Join(a.symbols, ","), "--from", oracleDay.Format(time.RFC3339)); status != exitDone {
		t.Fatalf("backfill exits with %d: %s", status, stderr)
	}
	segment, ok := a.someSegment()
	if !ok {
		t.Fatal("nothing was fetched")
	}
	giveTo(t, otherUser, a.dir.Path(), a.queries)
	if err := os.Chmod(a.path(segment), 0); err != nil {
		t.Fatal(err)
	}
	a.asOther()
	a.wait(time.Minute)
	status, _, stderr := a.run("backfill", "--symbols", strings.Join(a.symbols, ","), "--from", oracleDay.Format(time.RFC3339))
	if status != exitPartial || !strings.Contains(stderr, "not fetched, because files that this user may not read can have") ||
		!strings.Contains(stderr, segment) || strings.Contains(stderr, "nothing was missing") {
		t.Errorf("backfill exits with %d: %s", status, stderr)
	}
	if err := os.Chmod(a.path(segment), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, stdout, stderr := a.run("verify"); status != exitDone {
		t.Errorf("verify exits with %d: %s%s", status, stdout, stderr)
	}
}

// otherUser is a user id that the tests of root give to commands. Nobody has it.
const otherUser = 65432

// mayChangeUser reports whether this process can give files and processes to another user: root can, unless its
// container has one user only.
func mayChangeUser() bool {
	command := exec.Command("/bin/true")
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser}}
	return os.Getuid() == 0 && command.Run() == nil
}

// giveTo gives directories of t.TempDir and what is in them to a user, and lets all enter the one that they
// are in.
func giveTo(t *testing.T, user int, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		base := dir
		for filepath.Dir(base) != filepath.Clean(os.TempDir()) && base != "/" {
			base = filepath.Dir(base)
		}
		if err := os.Chmod(base, 0o755); err != nil {
			t.Fatal(err)
		}
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, user, user)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
