package tape

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"tapedeck/internal/durable"
)

const (
	// asideDir has what repairs took off the tape, a directory for each. Nothing reads it.
	asideDir = ".aside"
	// AsideGrace is how long Sweep keeps what a repair took off the tape.
	AsideGrace = 7 * 24 * time.Hour
)

// asideNames matches the names that asideName returns.
var asideNames = regexp.MustCompile(`^repair-\d{8}T\d{6}-[0-9a-f]{24}$`)

// asideName returns the name of the directory of a repair.
func asideName(now time.Time) string {
	return durable.UniqueName("repair-"+now.UTC().Format("20060102T150405"), "")
}

// aside is the directory for what one repair takes off the tape.
type aside struct {
	layout layout
	disk   durable.Disk
	name   string
}

func (a aside) relative() string { return filepath.Join(asideDir, a.name) }

// keep makes the segments durable in the directory, under their paths in the data directory.
func (a aside) keep(strays []repairedStray) error {
	if err := durable.CheckNotLinked(a.layout.path(asideDir)); err != nil {
		return err
	}
	root := a.layout.path(a.relative())
	dirs := durable.Dirs{Disk: a.disk}
	changed := map[string]bool{}
	for _, parent := range []string{a.layout.path(asideDir), root, filepath.Join(root, string(Trades))} {
		if err := dirs.Make(filepath.Dir(parent), parent); err != nil {
			return err
		}
	}
	for _, stray := range strays {
		to := filepath.Join(root, stray.path)
		if err := dirs.Make(filepath.Dir(filepath.Dir(to)), filepath.Dir(to)); err != nil {
			return err
		}
		err := a.disk.Link(a.layout.path(stray.path), to)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = a.copy(a.layout.path(stray.path), to) // the file system may have no hard links
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("keep %q: %w", stray.path, err)
		}
		changed[filepath.Dir(to)] = true
	}
	for dir := range changed {
		if err := a.disk.SyncDir(dir); err != nil {
			return fmt.Errorf("keep what is removed: %w", err)
		}
	}
	return nil
}

func (a aside) copy(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := a.disk.Create(to)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// sweepAside deletes what repairs took off the tape longer ago than AsideGrace. What repairs did not
// create stays.
func (d *Dir) sweepAside(now time.Time) error {
	if err := durable.CheckNotLinked(d.layout.path(asideDir)); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.layout.path(asideDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list what repairs removed: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() || !asideNames.MatchString(entry.Name()) {
			continue
		}
		info, err := entry.Info()
		if err != nil || now.Sub(info.ModTime()) < AsideGrace {
			continue
		}
		if err := d.staging.disk.RemoveAll(filepath.Join(d.layout.path(asideDir), entry.Name())); err != nil {
			return fmt.Errorf("delete what a repair removed: %w", err)
		}
	}
	return nil
}
