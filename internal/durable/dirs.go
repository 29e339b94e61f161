package durable

import (
	"fmt"
	"os"
	"sync"
)

// Dirs creates directories and makes their names durable, each once: it remembers the directories whose names
// it has synced. It is safe for concurrent use.
type Dirs struct {
	Disk Disk

	durable sync.Map // path to fs.FileInfo
}

// Make creates those of the paths that do not exist, all directly below parent, and syncs parent unless it is
// known that every name is durable already. A directory that exists may have been created by a process that
// died before it could sync the name, so existing is not enough.
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
