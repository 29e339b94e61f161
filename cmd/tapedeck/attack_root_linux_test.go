package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// rootAttacks are the attacks that only root can make.
func (a *attacker) rootAttacks() []namedAttack {
	if !mayChangeUser() {
		return nil
	}
	return []namedAttack{
		{"files and directories are denied", a.denyFiles},
		{"the disk is full", a.fillDisk},
	}
}

// denyFiles takes a permission away, and runs commands as another user. They claim nothing that they could
// not read, and lose nothing.
func (a *attacker) denyFiles() {
	if a.sick() || a.skew != 0 {
		return
	}
	victim, mode := a.victim()
	if victim == "" {
		return
	}
	giveTo(a.t, otherUser, a.dir.Path(), a.queries)
	info, err := os.Stat(a.path(victim))
	if err != nil {
		a.t.Fatal(err)
	}
	a.note("%s gets the mode %o", victim, mode)
	if err := os.Chmod(a.path(victim), mode); err != nil {
		a.t.Fatal(err)
	}
	if info.Mode().IsRegular() && strings.HasSuffix(victim, ".parquet") {
		a.denied[victim] = true
	}
	a.asOther()
	a.look()
	a.strain(fmt.Sprintf("%s has the mode %o", victim, mode))
	a.elsewhere = nil
	clear(a.denied)
	if err := os.Chmod(a.path(victim), info.Mode().Perm()); err != nil && !errors.Is(err, fs.ErrNotExist) { // a segment may have been merged
		a.t.Fatal(err)
	}
	giveTo(a.t, 0, a.dir.Path())
	a.look()
}

// asOther runs commands as another user from now on.
func (a *attacker) asOther() {
	a.elsewhere = func(args []string) (int, string, string) {
		p := a.start(&syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser, Gid: otherUser}}, nil, args...)
		select {
		case <-p.ended:
		case <-time.After(patience):
			a.fail("%v did not end in %v", args, patience)
		}
		return p.status(), p.stdout.String(), p.stderr.String()
	}
}

// victim draws a file or directory of the tape, and a mode for it.
func (a *attacker) victim() (path string, mode fs.FileMode) {
	segment, ok := a.someSegment()
	if !ok {
		return "", 0
	}
	paths := []string{segment, segment, filepath.Dir(segment), "trades", ".", ".state", ".staging", "tape.json"}
	path = paths[a.random.IntN(len(paths))]
	if a.chance(4) {
		if files, err := filepath.Glob(a.path(".state/*.json")); err == nil && len(files) > 0 {
			path = strings.TrimPrefix(files[a.random.IntN(len(files))], a.dir.Path()+"/")
		}
	}
	info, err := os.Stat(a.path(path))
	if errors.Is(err, fs.ErrNotExist) { // the state was lost
		return "", 0
	}
	if err != nil {
		a.t.Fatal(err)
	}
	if info.IsDir() && a.chance(2) {
		return path, 0o555
	}
	return path, 0
}

// strain runs commands in a situation in which they may fail. They say why, claim nothing that is not true, and
// no row is lost.
func (a *attacker) strain(situation string) {
	before, wrong := a.contents(), len(a.wrong)
	for range 3 {
		commands := [][]string{{"report", "--format", "json", "--sections", "completeness"}, {"verify", "--format", "json"}, {"backfill"}, {"compact", "--force"}, {"detect"}, {"health"}}
		args := commands[a.random.IntN(len(commands))]
		w := a.someWindow()
		switch args[0] {
		case "report", "backfill":
			args = append(args, "--from", w.Start.Format(time.RFC3339Nano), "--to", w.End.Format(time.RFC3339Nano), "--symbols", strings.Join(a.symbols, ","))
		}
		if args[0] == "backfill" {
			a.wait(time.Minute)
			for _, symbol := range a.symbols {
				a.asked[symbol] = a.now
			}
		}
		status, stdout, stderr := a.run(args...)
		a.counts["commands under strain"]++
		a.ends(args[0], status, stdout, stderr)
		if status != exitDone && strings.TrimSpace(stdout+stderr) == "" {
			a.fail("%s: %s exits with %d, and says nothing", situation, args[0], status)
		}
		var got reported
		_ = json.Unmarshal([]byte(stdout), &got)
		if got.Complete && a.sick() && (args[0] == "verify" || a.touched(w)) {
			a.fail("%s: %s says complete: true, but %s", situation, args[0], a.sickness())
		}
		a.look()
		if args[0] == "report" && got.Complete {
			for _, symbol := range a.symbols {
				if why := a.falsifies(symbol, w); why != "" {
					a.fail("%s: report says complete: true, but %s: %s", situation, symbol, why)
				}
			}
		}
		if args[0] == "health" && status == exitDone {
			a.fail("%s: health says %q, but no recorder runs", situation, stdout)
		}
		if args[0] == "backfill" && status == exitDone {
			a.checkFetched(w, stderr)
		}
	}
	if len(a.wrong) > wrong {
		a.fail("%s, and now %s", situation, a.sickness())
	}
	after := a.contents()
	for row := range before {
		if !after[row] {
			a.fail("%s, and the tape has no longer %s %d: %s", situation, row.symbol, row.id, row.content)
		}
	}
}

// fillDisk moves the tape to a small disk, fills that, and moves the tape back.
func (a *attacker) fillDisk() {
	if a.sick() || a.skew != 0 {
		return
	}
	data := a.dir.Path()
	kept := filepath.Join(filepath.Dir(data), "kept")
	if err := os.Rename(data, kept); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=32m"); err != nil {
		a.note("mount a tmpfs: %v", err)
		a.counts["disks that could not be mounted"]++
		if err := errors.Join(os.Remove(data), os.Rename(kept, data)); err != nil {
			a.t.Fatal(err)
		}
		return
	}
	mounted := true
	a.t.Cleanup(func() { // of a test that failed
		if mounted {
			_ = syscall.Unmount(data, syscall.MNT_DETACH)
		}
	})
	a.copy(kept, data)
	room := []int64{0, 4 << 10, 16 << 10, 100 << 10, 1 << 20}[a.random.IntN(5)]
	a.note("the disk has %d bytes left", room)
	ballast := filepath.Join(data, "ballast")
	var disk syscall.Statfs_t
	if err := syscall.Statfs(data, &disk); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(ballast, make([]byte, max(0, int64(disk.Bfree)*disk.Bsize-room)), 0o644); err != nil {
		a.t.Fatal(err)
	}
	a.strain(fmt.Sprintf("the disk has %d bytes left", room))
	if err := errors.Join(os.Remove(ballast), os.RemoveAll(kept), os.Mkdir(kept, 0o755)); err != nil {
		a.t.Fatal(err)
	}
	a.copy(data, kept)
	if err := syscall.Unmount(data, syscall.MNT_DETACH); err != nil {
		a.t.Fatal(err)
	}
	mounted = false
	if err := errors.Join(os.Remove(data), os.Rename(kept, data)); err != nil {
		a.t.Fatal(err)
	}
	a.look()
}

// copy copies the content of a directory, with its modes and times.
func (a *attacker) copy(from, to string) {
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		a.t.Fatalf("%v: %s", err, out)
	}
}
