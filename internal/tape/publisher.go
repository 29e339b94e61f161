package tape

import (
	"context"
	"fmt"
	"slices"

	"tapedeck/internal/durable"
)

// writersLock is the file whose lock is held while files become visible, so that one writer at a time
// publishes.
const writersLock = "writers.lock"

// publisher makes staged files visible. Its methods, except lock, are called with the writers' lock
// held.
type publisher struct {
	*partitions
	staging  staging
	catalog  catalog
	replacer replacer
	lockPath string
}

// lock takes the writers' lock, which excludes all other writers in all processes, and finishes
// replacements that a crash interrupted. It blocks until it has the lock. Holders keep it for
// milliseconds, even to replace a partition. The system releases the lock of a process that dies.
func (p *publisher) lock() (unlock func(), err error) { return p.locked(durable.Lock(p.lockPath)) }

// lockUntil is lock that waits until ctx is done at the latest.
func (p *publisher) lockUntil(ctx context.Context) (unlock func(), err error) {
	return p.locked(durable.LockUntil(ctx, p.lockPath))
}

func (p *publisher) locked(unlock func(), err error) (func(), error) {
	if err != nil {
		return nil, err
	}
	if err := p.replacer.finishInterrupted(); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// publish moves a staged segment into a partition. When it returns without an error, the file is
// visible and durable. It returns the segment's path relative to the data directory.
func (p *publisher) publish(staged string, table Table, date string) (path string, err error) {
	return p.publishAs(segmentPath(table, date, finalName(staged)), staged, table, date)
}

func (p *publisher) publishAs(path, staged string, table Table, date string) (string, error) {
	if err := p.create(table, date); err != nil {
		return "", err
	}
	return path, durable.Publish(p.disk, staged, p.path(path))
}

// publishFile is publish for a file that is still open, and closes it.
func (p *publisher) publishFile(f *stagedFile, table Table, date string) (path string, err error) {
	if path, err = p.publish(f.path, table, date); err != nil {
		return "", err
	}
	return path, f.release()
}

// partitions creates the directories of partitions and makes them durable.
type partitions struct {
	layout
	disk durable.Disk
	dirs durable.Dirs
}

// create creates the directories of some dates that do not exist, and makes their names durable.
func (p *partitions) create(table Table, dates ...string) error {
	if slices.Contains(laterTables(), table) {
		if err := p.dirs.Make(string(p.layout), p.table(table)); err != nil {
			return err
		}
	}
	paths := make([]string, len(dates))
	for i, date := range dates {
		paths[i] = p.partition(table, date)
	}
	return p.dirs.Make(p.table(table), paths...)
}

// sync makes durable what a partition holds. A file that is visible may have been put there by a
// process that died before it synced the directory.
func (p *partitions) sync(table Table, date string) error {
	if err := p.create(table, date); err != nil {
		return err
	}
	return p.syncDirs(p.partition(table, date))
}

func (p *partitions) syncDirs(paths ...string) error {
	for _, path := range paths {
		if err := p.disk.SyncDir(path); err != nil {
			return fmt.Errorf("sync %q: %w", path, err)
		}
	}
	return nil
}
