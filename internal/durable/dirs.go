package durable

import (
	"fmt"
	"os"
	"sync"
)

// Dirs creates directories and makes their names durable. It remembers the directories whose names
// it has synced, and syncs each once. It is safe for concurrent use.
type Dirs struct {
	Disk Disk

	durable sync.Map // path to fs.FileInfo
}

// Make creates the paths that do not exist, all directly below parent. It syncs parent unless every
// name is known to be durable. An existing directory may have been created by a process that died
// before it synced the name.
func (d *Dirs) Make(parent string, paths ...string) error {
	made := map[string]os.FileInfo{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if known, ok := d.durable.Load(path); ok && err == nil && os.SameFile(known.(os.FileInfo), info) {
			continue
		}
		if err != nil {
			if err := d.Disk.Mkdir(path); err != nil {
				return fmt.Errorf("create %q: %w", path, err)
			}
			if info, err = os.Stat(path); err != nil {
				return err
			}
		}
		made[path] = info
	}
	if len(made) == 0 {
		return nil
	}
	if err := d.Disk.SyncDir(parent); err != nil {
		return fmt.Errorf("sync %q: %w", parent, err)
	}
	for path, info := range made {
		d.durable.Store(path, info)
	}
	return nil
}

// LinkedDirError is returned for a symbolic link in the place of a directory whose files tapedeck replaces
// and deletes.
type LinkedDirError struct{ Path string }

func (e *LinkedDirError) Error() string {
	return fmt.Sprintf("%q is a symbolic link, and tapedeck deletes and replaces files in it: "+
		"make it a directory, or mount a volume there, or link the whole data directory", e.Path)
}

// CheckNotLinked returns a *LinkedDirError if a path is a symbolic link. What does not exist is none, and the
// elements before the last may be links.
func CheckNotLinked(path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink != 0 {
		return &LinkedDirError{path}
	}
	return nil
}
